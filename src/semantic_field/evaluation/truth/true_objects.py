"""What is really there: named objects of a recording, to hold a query's answers against.

A simulated room knows its objects. Of a recording with labels the label images are back-projected
with the sensor's own depth, so the reference owes nothing to the field that it judges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame
from semantic_field.geometry import transform_points


@dataclass(frozen=True)
class ReferenceObject:
    """A named object: an axis-aligned box in the world frame, metres.

    ``complete`` is False where the box bounds only the part that the camera has seen.
    """

    name: str
    low: NDArray[np.float64]  # (3,)
    high: NDArray[np.float64]  # (3,)
    complete: bool = True

    @property
    def centre(self) -> NDArray[np.float64]:
        return 0.5 * (self.low + self.high)

    def distance(self, point: NDArray) -> float:
        """Metres from the box to a point (3,), 0 inside."""
        outside = np.maximum(0.0, np.maximum(self.low - point, point - self.high))
        return float(np.linalg.norm(outside))


def reference_objects(source: FrameSource, max_frames: int = 60) -> list[ReferenceObject]:
    """The objects of a source; empty where it has neither objects nor labels."""
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
    """Connected voxels of one label as objects.

    A voxel has the label that most of its pixels have; a component smaller than ``min_share`` of
    the largest one with its name is taken for a labelling error.
    """
    points, labels = [], []
    for frame in frames:
        if frame.labels is None:
            continue
        use = (frame.depth > 0) & (frame.depth < max_depth_m) & (frame.labels >= 0)
        use[1::2] = use[:, 1::2] = False  # every fourth pixel is plenty
        camera_points = frame.camera.backproject(frame.depth)[use]
        points.append(transform_points(frame.T_world_camera, camera_points))
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
