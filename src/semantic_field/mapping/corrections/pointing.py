"""What a person points at, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.annotations import Annotation, Conflict
from semantic_field.field.map_state import MapState
from semantic_field.frames import VOID_LABEL, split_void
from semantic_field.geometry import Camera, moved
from semantic_field.mapping.corrections.claims import (
    Claim,
    View,
    claim_at_point,
    claim_in_box,
    claim_in_view,
    point_at_pixel,
)
from semantic_field.mapping.keyframes.store import KeyframeStore

STAMP_SLOP_S = 0.05


@dataclass(frozen=True)
class Point:
    """A point (3,) on a surface of the map, metres in the map frame: a click."""

    kind: ClassVar[str] = "point"
    xyz: NDArray[np.float64]


@dataclass(frozen=True)
class Pixel:
    """A pixel of the (rectified) colour image of one stamp; stamp 0 = the newest frame."""

    kind: ClassVar[str] = "pixel"
    u: float
    v: float
    stamp_ns: int = 0


@dataclass(frozen=True)
class Box:
    """A box: centre and axes (4, 4) in the map frame, full edge lengths (3,) in metres."""

    kind: ClassVar[str] = "box"
    T_world_box: NDArray[np.float64]
    size: NDArray[np.float64]


@dataclass(frozen=True)
class Labels:
    """A label image (H, W) of the frame of one stamp: ids by ``names``; -1, ids without a name
    and those named "void" say nothing. Stamp 0 = the newest frame."""

    kind: ClassVar[str] = "labels"
    labels: NDArray[np.int32]
    names: dict[int, str]
    stamp_ns: int = 0

    def named_labels(self) -> NDArray[np.int32]:
        """The image with -1 where it says nothing."""
        known = np.isin(self.labels, list(split_void(self.names)[0]))
        return np.where(known, self.labels, VOID_LABEL).astype(np.int32)


Target = Point | Pixel | Box | Labels


@dataclass(frozen=True)
class Answer:
    """A new annotation, and the earlier ones that it contradicts."""

    annotation: Annotation
    conflicts: tuple[Conflict, ...]


def claim_of(
    state: MapState, target: Target, views: list[View], newest: View | None, cell_m: float
) -> Claim:
    """The cells that are meant; ``views`` are those of frames whose stamps may be named.

    Raises:
        ValueError: where there is no map, no surface or no view at the target.
    """
    if isinstance(target, Box):
        return claim_in_box(state, target.T_world_box, target.size, cell_m)
    if isinstance(target, Point):
        return claim_at_point(state, np.asarray(target.xyz, np.float64), cell_m)
    view = newest if newest and not target.stamp_ns else _nearest_view(views, target.stamp_ns)
    if isinstance(target, Labels):
        return claim_in_view(state, view, target.named_labels(), cell_m)
    return claim_at_point(state, point_at_pixel(state, view, target.u, target.v), cell_m)


def target_from(target: Target, origin: NDArray[np.float64]) -> Target:
    """The target in the coordinates of a map that begins at ``origin`` (3,)."""
    if isinstance(target, Box):
        return replace(target, T_world_box=moved(target.T_world_box, -origin))
    if isinstance(target, Point):
        return replace(target, xyz=np.asarray(target.xyz, np.float64) - origin)
    return target


def _nearest_view(views: list[View], stamp_ns: int) -> View:
    """The view of that time, or for 0 the latest one; ValueError where there is none."""
    if not views:
        raise ValueError("expected a frame before an annotation, got no frame yet; map first")
    if stamp_ns == 0:
        return max(views, key=lambda view: view.stamp_ns)
    best = min(views, key=lambda view: abs(view.stamp_ns - stamp_ns))
    apart_s = abs(best.stamp_ns - stamp_ns) * 1e-9
    if apart_s > STAMP_SLOP_S:
        raise ValueError(
            f"expected the stamp of a frame that the mapper saw, got {stamp_ns * 1e-9:.3f} s, "
            f"{apart_s:.2f} s from the nearest one; take it from the image that was looked at"
        )
    return best


def keyframe_views(keyframes: KeyframeStore) -> list[View]:
    """Cameras and poses of all keyframes."""
    views = []
    for slot in range(keyframes.count):
        intrinsics, pose, size = (part[slot] for part in keyframes.cameras)
        fx, fy, cx, cy = (float(value) for value in intrinsics)
        camera = Camera(fx, fy, cx, cy, int(size[0]), int(size[1]))
        views.append(View(int(keyframes.stamps_ns[slot]), camera, pose.astype(np.float64)))
    return views
