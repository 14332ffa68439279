"""The true objects of a recording, and the map's own objects as masks of a view."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.data.sources import FrameSource
from semantic_field.evaluation.truth.true_objects import ReferenceObject, reference_objects
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, transform_points
from semantic_field.query.clusters import cluster

MIN_READINGS = 200
TRIM = 0.005  # of the points on either side of a box: mixed pixels at an object's edge
MAX_FRAMES = 60
JOIN_M = 0.07
NEAR_M = 0.1
MIN_OBJECT_POINTS = 30


def true_objects(source: FrameSource, max_depth_m: float = 6.0) -> list[ReferenceObject]:
    """Named objects of a source: its own, by instance images, or by its label images.

    Where a recording has instances their boxes are axis-aligned and bound what was seen.
    """
    if getattr(source, "objects", None) is None and source.label_names and len(source):
        stride = max(1, len(source) // MAX_FRAMES)
        frames = (source[i] for i in range(0, len(source), stride))
        found = objects_from_instances(frames, source.label_names, max_depth_m)
        if found:
            return found
    return reference_objects(source, MAX_FRAMES)


def objects_from_instances(
    frames: Iterable[Frame], names: dict[int, str], max_depth_m: float = 6.0
) -> list[ReferenceObject]:
    """A box for each instance id with readings; [] where frames have no instances."""
    points: dict[int, list[NDArray]] = {}
    votes: dict[int, dict[int, int]] = {}
    for frame in frames:
        if frame.instances is None or frame.labels is None:
            return []
        use = (frame.depth > 0) & (frame.depth < max_depth_m) & (frame.instances >= 0)
        use[1::2] = use[:, 1::2] = False
        world = transform_points(frame.T_world_camera, frame.camera.backproject(frame.depth)[use])
        instances, labels = frame.instances[use], frame.labels[use]
        for instance in np.unique(instances).tolist():
            mine = instances == instance
            points.setdefault(instance, []).append(world[mine].astype(np.float32))
            ids, counts = np.unique(labels[mine], return_counts=True)
            for class_id, count in zip(ids.tolist(), counts.tolist()):
                own = votes.setdefault(instance, {})
                own[class_id] = own.get(class_id, 0) + count
    result = []
    for instance, parts in sorted(points.items()):
        xyz = np.concatenate(parts)
        class_id = max(votes[instance], key=lambda i: votes[instance][i])
        if len(xyz) >= MIN_READINGS and class_id in names:
            low, high = np.quantile(xyz, [TRIM, 1 - TRIM], axis=0).astype(np.float64)
            result.append(ReferenceObject(names[class_id], low, high, complete=True))
    return result


def thing_classes(frames: Iterable[Frame], share: float = 0.5) -> frozenset[int]:
    """Class ids most of whose pixels belong to an instance: those that can be counted."""
    seen: dict[int, list[int]] = {}
    for frame in frames:
        if frame.instances is None or frame.labels is None:
            continue
        for class_id in np.unique(frame.labels[frame.labels >= 0]).tolist():
            mine = frame.labels == class_id
            counts = seen.setdefault(class_id, [0, 0])
            counts[0] += int((frame.instances[mine] >= 0).sum())
            counts[1] += int(mine.sum())
    return frozenset(i for i, (part, whole) in seen.items() if part > share * whole)


class ObjectMasks:
    """The map's objects: connected surface points of one label, as masks of rendered views.

    Args:
        points: the map's surface.
        things: class ids that come as objects; others are background.
    """

    def __init__(self, points: SurfacePoints, things: frozenset[int]) -> None:
        chosen = np.flatnonzero(np.isin(points.label, list(things)))
        self._xyz = points.xyz[chosen]
        numbers = np.zeros(0, np.int64)
        if len(chosen):
            numbers = np.asarray(cluster(self._xyz, JOIN_M, points.label[chosen]))
            sizes = np.bincount(numbers + 1)  # -1 is noise
            numbers = np.where(sizes[numbers + 1] >= MIN_OBJECT_POINTS, numbers, -1)
        self._numbers, self._things = numbers, things
        self._tree = KDTree(self._xyz) if len(chosen) else None

    def __call__(
        self, view: RenderedView, camera: Camera, T_world_camera: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Object numbers (H, W) of a view, -1 = none."""
        result = np.full(view.depth.shape, -1, np.int64)
        use = (view.depth > 0) & np.isin(view.label, list(self._things))
        if self._tree is None or not use.any():
            return result
        world = transform_points(T_world_camera, camera.backproject(view.depth)[use])
        distance, nearest = self._tree.query(world, distance_upper_bound=NEAR_M)
        reached = np.isfinite(distance)
        numbers = np.full(len(world), -1, np.int64)
        numbers[reached] = self._numbers[np.asarray(nearest)[reached]]
        result[use] = numbers
        return result
