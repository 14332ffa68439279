"""What a completed object is: from an observation in the map to a whole with named parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import Camera


@dataclass(frozen=True)
class ObservedView:
    """A crop of an image in which the object is seen.

    Attributes:
        color: (H, W, 3) uint8 sRGB.
        depth: (H, W) float32 along z, metres; 0 = not measured.
        mask: (H, W) bool, pixels of the object; ``others`` (H, W) bool, pixels of something nearer
            or not known, which say nothing about the object. All other pixels are free of it.
        camera: intrinsics of the crop.
        T_world_camera: (4, 4), OpenCV axes.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    mask: NDArray[np.bool_]
    others: NDArray[np.bool_]
    camera: Camera
    T_world_camera: NDArray[np.float64]


@dataclass(frozen=True)
class ObservedObject:
    """What is known of an object that is to be completed.

    Attributes:
        points, normals: (N, 3) of its observed surface, world frame, metres.
        colors: (N, 3) uint8.
        views: its best views, most informative first; may be empty.
        up: (3,) unit vector of the world's up.
        ground_m: height along ``up`` of the surface on which it stands, metres, in the same frame;
            None = not known.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    colors: NDArray[np.uint8]
    views: tuple[ObservedView, ...]
    up: NDArray[np.float64]
    ground_m: float | None = None


@dataclass(frozen=True)
class PartBox:
    """A named part of a completed object.

    Attributes:
        name: such as "backrest".
        T_world_part: (4, 4) pose of the middle of its box.
        size: (3,) edge lengths, metres.
        observed: share of its points that were observed, 0..1.
        point_count: points of the part.
    """

    name: str
    T_world_part: NDArray[np.float64]
    size: NDArray[np.float64]
    observed: float
    point_count: int


@dataclass(frozen=True)
class Completion:
    """A whole object.

    Attributes:
        category: that fits best.
        confidence: 0..1, calibrated: how often such a residual comes from that category.
        residual_m: median distance of the observed points to the completed surface, metres.
        T_world_object: (4, 4), the object's own frame (metres, origin on the ground, front -y).
        size: (3,) of its box in its own frame, metres.
        points, normals: (N, 3), world frame: first all observed ones as they were, then predicted.
        colors: (N, 3) uint8.
        parts: (N,) uint8, index into ``part_names``.
        observed: (N,) bool; False = predicted.
        part_names: names of the category's parts.
        boxes: of its parts.
        yaw_known: False for round things: their yaw about the vertical means nothing.
    """

    category: str
    confidence: float
    residual_m: float
    T_world_object: NDArray[np.float64]
    size: NDArray[np.float64]
    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    colors: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    observed: NDArray[np.bool_]
    part_names: tuple[str, ...]
    boxes: tuple[PartBox, ...]
    yaw_known: bool = True


class NoPriorError(ValueError):
    """No category fits: the message says so, such as "no prior for 'sofa'"."""
