"""True objects of a recording, the reference for query answers.

A simulated room knows its objects. For a recording with labels, the label images are back-projected
with the sensor's depth, so the reference is independent of the field that it is used to judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame
from semantic_field.geometry import depth_to_world


@dataclass(frozen=True)
class ReferenceObject:
    """A named object: an axis-aligned box in the world frame, metres.

    ``complete`` is False if the box bounds only the part that the camera has seen.
    """

    name: str
    low: NDArray[np.float64]  # (3,)
    high: NDArray[np.float64]  # (3,)
    complete: bool = True

    @property
    def centre(self) -> NDArray[np.float64]:
        return 0.5 * (self.low + self.high)

    def distance(self, point: NDArray) -> float:
        """Return the distance in metres from the box to a point (3,), 0 inside."""
        outside = np.maximum(0.0, np.maximum(self.low - point, point - self.high))
        return float(np.linalg.norm(outside))


def reference_objects(source: FrameSource, max_frames: int = 60) -> list[ReferenceObject]:
    """Return the objects of a source; empty if it has neither objects nor labels."""
    objects = getattr(source, "objects", None)
    if objects is not None:
        return [_from_box(item) for item in objects]
    if not source.label_names:
        return []
    stride = max(1, len(source) // max_frames)
    frames = (source[i] for i in range(0, len(source), stride))
    return objects_from_labels(frames, source.label_names)


def _from_box(item) -> ReferenceObject:
    c, s = abs(np.cos(item.yaw)), abs(np.sin(item.yaw))
    sx, sy, sz = item.size
    half = 0.5 * np.array([c * sx + s * sy, s * sx + c * sy, sz])
    centre = np.asarray(item.centre, dtype=np.float64)
    return ReferenceObject(item.name, centre - half, centre + half)


def objects_from_labels(
    frames: Iterable[Frame],
    names: dict[int, str],
    voxel_m: float = 0.08,
    min_share: float = 0.1,
    max_depth_m: float = 6.0,
) -> list[ReferenceObject]:
    """Return connected components of voxels with the same majority label as objects.

    Components smaller than ``min_share`` of the largest one with the same name are dropped as
    labelling errors. Readings from ``max_depth_m`` on are ignored.
    """
    points, labels = [], []
    for frame in frames:
        if frame.labels is None:
            continue
        use = (frame.depth > 0) & (frame.depth < max_depth_m) & (frame.labels >= 0)
        use[1::2] = use[:, 1::2] = False  # every fourth pixel is plenty
        points.append(depth_to_world(frame.depth, frame.camera, frame.T_world_camera, use))
        labels.append(frame.labels[use])
    if not points:
        return []
    return _components(np.concatenate(points), np.concatenate(labels), names, voxel_m, min_share)


def _components(
    points: NDArray, labels: NDArray, names: dict[int, str], voxel_m: float, min_share: float
) -> list[ReferenceObject]:
    origin = points.min(axis=0)
    cells = np.floor((points - origin) / voxel_m).astype(np.int64)
    shape = tuple(cells.max(axis=0) + 1)
    flat = np.ravel_multi_index(cells.T, shape)
    unique, index = np.unique(flat, return_inverse=True)
    ids = sorted(set(names) & set(np.unique(labels).tolist()))
    votes = np.stack([np.bincount(index[labels == i], minlength=len(unique)) for i in ids])
    winner, seen = votes.argmax(axis=0), votes.sum(axis=0)
    result = []
    for row, class_id in enumerate(ids):
        mine = unique[(winner == row) & (seen >= 3)]
        volume = np.zeros(shape, bool)
        volume.flat[mine] = True
        parts, count = ndimage.label(volume, structure=np.ones((3, 3, 3)))  # type: ignore[misc]
        if not count:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        for part, box in enumerate(ndimage.find_objects(parts)):
            if sizes[part] < max(10, min_share * sizes.max()):
                continue
            low = origin + voxel_m * np.array([axis.start for axis in box])
            high = origin + voxel_m * np.array([axis.stop for axis in box])
            result.append(ReferenceObject(names[class_id], low, high, complete=False))
    return result
