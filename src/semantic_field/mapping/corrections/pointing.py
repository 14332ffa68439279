"""Targets of annotations: points, pixels, boxes and label images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.annotations import Annotation, Conflict
from semantic_field.field.map_state import MapState
from semantic_field.frames import VOID_LABEL, split_void
from semantic_field.geometry import moved
from semantic_field.mapping.corrections.claims import (
    Claim,
    StampedCamera,
    claim_at_point,
    claim_in_box,
    claim_in_view,
    point_at_pixel,
)
from semantic_field.mapping.keyframes.store import KeyframeStore

STAMP_SLOP_S = 0.05


@dataclass(frozen=True)
class Point:
    """A clicked point (3,) on a surface of the map, metres in the map frame."""

    kind: ClassVar[str] = "point"
    xyz: NDArray[np.float64]


@dataclass(frozen=True)
class Pixel:
    """A pixel of the (rectified) colour image with this stamp; stamp 0 = the newest frame."""

    kind: ClassVar[str] = "pixel"
    u: float
    v: float
    stamp_ns: int = 0


@dataclass(frozen=True)
class Box:
    """A box: pose of its centre (4, 4) in the map frame, full edge lengths (3,) in metres."""

    kind: ClassVar[str] = "box"
    T_world_box: NDArray[np.float64]
    size: NDArray[np.float64]


@dataclass(frozen=True)
class Labels:
    """A label image (H, W) of class ids for the frame with this stamp; 0 = the newest frame.

    -1, ids without a name in ``names``, and ids named "void" or similar are unlabelled."""

    kind: ClassVar[str] = "labels"
    labels: NDArray[np.int32]
    names: dict[int, str]
    stamp_ns: int = 0

    def named_labels(self) -> NDArray[np.int32]:
        """Return the label image, int32 (H, W), with -1 for unlabelled pixels."""
        known = np.isin(self.labels, list(split_void(self.names)[0]))
        return np.where(known, self.labels, VOID_LABEL).astype(np.int32)


PointedAt = Point | Pixel | Box | Labels


@dataclass(frozen=True)
class Answer:
    """A new annotation, and the earlier ones that it contradicts."""

    annotation: Annotation
    conflicts: tuple[Conflict, ...]


def claim_of(
    state: MapState,
    pointed_at: PointedAt,
    cameras: list[StampedCamera],
    newest: StampedCamera | None,
    cell_m: float,
) -> Claim:
    """Return the cells that are pointed at.

    Args:
        cameras: of frames to which a stamp can refer.
        newest: that of the newest frame, for stamp 0.
        cell_m: edge of a cell, metres.
    Raises:
        ValueError: if the map is empty, or there is no surface, or no frame of that stamp.
    """
    if isinstance(pointed_at, Box):
        return claim_in_box(state, pointed_at.T_world_box, pointed_at.size, cell_m)
    if isinstance(pointed_at, Point):
        return claim_at_point(state, np.asarray(pointed_at.xyz, np.float64), cell_m)
    camera = (
        newest
        if newest and not pointed_at.stamp_ns
        else _nearest_camera(cameras, pointed_at.stamp_ns)
    )
    if isinstance(pointed_at, Labels):
        return claim_in_view(state, camera, pointed_at.named_labels(), cell_m)
    return claim_at_point(state, point_at_pixel(state, camera, pointed_at.u, pointed_at.v), cell_m)


def relative_to(pointed_at: PointedAt, origin: NDArray[np.float64]) -> PointedAt:
    """Return what is pointed at in the coordinates of a map with ``origin`` (3,)."""
    if isinstance(pointed_at, Box):
        return replace(pointed_at, T_world_box=moved(pointed_at.T_world_box, -origin))
    if isinstance(pointed_at, Point):
        return replace(pointed_at, xyz=np.asarray(pointed_at.xyz, np.float64) - origin)
    return pointed_at


def _nearest_camera(cameras: list[StampedCamera], stamp_ns: int) -> StampedCamera:
    """Return the one nearest to a stamp, or for 0 the latest one; ValueError if there is none."""
    if not cameras:
        raise ValueError("expected a frame before an annotation, got no frame yet; map first")
    if stamp_ns == 0:
        return max(cameras, key=lambda camera: camera.stamp_ns)
    best = min(cameras, key=lambda camera: abs(camera.stamp_ns - stamp_ns))
    apart_s = abs(best.stamp_ns - stamp_ns) * 1e-9
    if apart_s > STAMP_SLOP_S:
        raise ValueError(
            f"expected the stamp of a frame that the mapper saw, got {stamp_ns * 1e-9:.3f} s, "
            f"{apart_s:.2f} s from the nearest one; take it from the image that was looked at"
        )
    return best


def keyframe_cameras(keyframes: KeyframeStore) -> list[StampedCamera]:
    """Return cameras and poses of all keyframes."""
    cameras = []
    for slot in range(keyframes.count):
        camera, pose = keyframes.camera(slot), keyframes.cameras.poses[slot]
        cameras.append(
            StampedCamera(int(keyframes.stamps_ns[slot]), camera, pose.astype(np.float64))
        )
    return cameras
