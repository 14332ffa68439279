"""What a person points at, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.annotations import Annotation, Conflict
from semantic_field.frames import VOID_LABEL, split_void
from semantic_field.geometry import Camera
from semantic_field.mapping.claims import View
from semantic_field.mapping.keyframes import KeyframeStore

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


def nearest_view(views: Iterable[View], stamp_ns: int) -> View:
    """The view of that time, or for 0 the newest one.

    Raises:
        ValueError: where there is none within ``STAMP_SLOP_S``.
    """
    views = list(views)
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
    intrinsics, poses, sizes = keyframes.cameras
    return [
        View(
            int(keyframes.stamps_ns[slot]),
            Camera(*(float(v) for v in intrinsics[slot]), int(sizes[slot, 0]), int(sizes[slot, 1])),
            poses[slot].astype(np.float64),
        )
        for slot in range(keyframes.count)
    ]
