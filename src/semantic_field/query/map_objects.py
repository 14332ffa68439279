"""Objects of the map as sets of its surface points: those of a hit, and those in a box."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.field.map_state import MapState
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.geometry import invert_transform, transform_points
from semantic_field.query.axes import ground_axes
from semantic_field.query.boxes import oriented_box
from semantic_field.query.clusters import cluster, groups_of
from semantic_field.query.hits import CLUSTER_VOXELS, MIN_PART_POINTS, Hit

AROUND_M = 0.15  # how far the surroundings of an object reach
FOUND_AGAIN = 0.3  # least share of an object's points that must be there in a later map
WITHIN = 0.8  # least share of the points of a label around a box that must be inside the box
LEAST_POINTS = 30
GROWTH = 1.25  # by how much pieces of one thing may be longer together than the longest of them


@dataclass(frozen=True)
class MapObject:
    """The points of one object in one snapshot of a map.

    Attributes:
        label: its class name, "" if the map has none.
        state, points: the snapshot and all its surface points.
        indices: int64 (N,), those of the object. around: int64 (M,), those near it.
        hit_id: of the hit; 0 for what is in a box.
    """

    label: str
    state: MapState
    points: SurfacePoints
    indices: NDArray[np.int64]
    around: NDArray[np.int64]
    hit_id: int = 0

    @property
    def own(self) -> SurfacePoints:
        """The points of the object."""
        return self.points.select(self.indices)


@dataclass(frozen=True)
class _Remembered:
    label: str
    world: NDArray[np.float64]  # (N, 3), its points
    version: int  # of the map in which it was found, and the number of points of that map
    count: int
    indices: NDArray[np.int64]


class KnownObjects:
    """The objects that recent answers named, by the ids of their hits. Thread-safe.

    Args:
        capacity: largest number of objects; the ones that were found longest ago are forgotten.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._known: OrderedDict[int, _Remembered] = OrderedDict()
        self._capacity, self._lock = capacity, threading.Lock()

    def keep(self, hits: list[Hit], points: SurfacePoints, state: MapState) -> None:
        """Remember the objects of an answer."""
        with self._lock:
            for hit in hits:
                world = points.xyz[hit.indices] + points.origin
                about = hit.label, world, state.version, len(points), hit.indices
                self._known[hit.id] = _Remembered(*about)
                self._known.move_to_end(hit.id)
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget all objects."""
        with self._lock:
            self._known.clear()

    def find(
        self, hit_id: int, state: MapState, points: SurfacePoints, spacing_m: float
    ) -> MapObject:
        """Return the object of a hit in a map, which may be newer than the answer.

        In a newer map its points are those of its label within ``spacing_m`` of where they were.

        Raises:
            ValueError: if no answer named such a hit, or the object is not there any more.
        """
        with self._lock:
            known, ids = self._known.get(hit_id), sorted(self._known)
        if known is None:
            told = f"one of {', '.join(map(str, ids[-20:]))}" if ids else "none yet"
            raise ValueError(
                f"expected the id of a hit, got {hit_id}: ask where the thing is (semantic-field "
                f'query "chair"), and give the id of its hit; known is {told}'
            )
        indices = known.indices
        if (known.version, known.count) != (state.version, len(points)):
            indices = _again(known, state, points, spacing_m)
        if len(indices) < FOUND_AGAIN * len(known.world):
            raise ValueError(
                f"expected hit {hit_id} where it was, got {len(indices)} of its {len(known.world)} "
                "points in the newest map: ask for it again"
            )
        return MapObject(known.label, state, points, indices, _around(points, indices), hit_id)


def _again(
    known: _Remembered, state: MapState, points: SurfacePoints, spacing_m: float
) -> NDArray[np.int64]:
    """Return the indices of a known object's points in another map."""
    before = known.world - points.origin
    low, high = before.min(0) - spacing_m, before.max(0) + spacing_m
    near = np.flatnonzero(((points.xyz >= low) & (points.xyz <= high)).all(1))
    names = state.label_names
    same = [names.get(int(label), "") == known.label for label in points.label[near]]
    near = near[np.array(same, bool)]
    if not len(near):
        return near
    distance, _ = KDTree(before).query(points.xyz[near])
    return near[np.asarray(distance) <= spacing_m]


def _around(points: SurfacePoints, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices (M,) of the other points within ``AROUND_M`` of an object's box."""
    own = points.xyz[indices]
    low, high = own.min(0) - AROUND_M, own.max(0) + AROUND_M
    near = ((points.xyz >= low) & (points.xyz <= high)).all(1)
    near[indices] = False
    return np.flatnonzero(near)


def gathered(thing: MapObject, spacing_m: float, up: str = "+z") -> MapObject:
    """Return an object with the other pieces of the map that belong to it.

    Of a thing that was seen from one side, the map may have pieces that do not touch, such as the
    back and the edge of the seat of a chair, which are hits of their own. Pieces of one label are
    one thing if they are hardly larger together than the largest of them.

    Args:
        spacing_m: of the surface points. up: the axis of the map that points up.
    """
    points, axes = thing.points, ground_axes(up)
    label = np.bincount(points.label[thing.indices] + 1).argmax() - 1
    rest = points.label == label
    rest[thing.indices] = False
    loose = np.flatnonzero(rest)
    groups = groups_of(cluster(points.xyz[loose], CLUSTER_VOXELS * spacing_m))
    pieces = [loose[group] for group in groups if len(group) >= MIN_PART_POINTS]
    indices, longest = thing.indices, _longest(points, thing.indices, axes)
    for piece in sorted(pieces, key=lambda piece: _apart(points, thing.indices, piece)):
        both = np.concatenate([indices, piece])
        limit = GROWTH * max(longest, _longest(points, piece, axes))
        if _longest(points, both, axes) <= limit:
            indices, longest = both, limit / GROWTH
    return replace(thing, indices=indices, around=_around(points, indices))


def _longest(points: SurfacePoints, indices: NDArray[np.int64], axes: NDArray) -> float:
    """Return the longest horizontal edge of the box of some points, metres."""
    return float(oriented_box(points.xyz[indices], axes)[1][:2].max())


def _apart(points: SurfacePoints, one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    return float(np.linalg.norm(points.xyz[one].mean(0) - points.xyz[other].mean(0)))


def object_in_box(
    state: MapState,
    points: SurfacePoints,
    T_world_box: NDArray[np.float64],
    size: NDArray[np.float64],
) -> MapObject:
    """Return what is in a box, without what only reaches into it: a floor, a wall, a table.

    Points of a label belong to the object if most of the points of that label in a box twice as
    large are inside.

    Args:
        T_world_box: pose of the box's centre (4, 4), metres. size: its edge lengths (3,), metres.
    Raises:
        ValueError: if fewer than ``LEAST_POINTS`` points of the map are left.
    """
    place = np.abs(transform_points(invert_transform(T_world_box), points.world)) / (0.5 * size)
    inside, near = (place <= 1.0).all(1), (place <= 2.0).all(1)
    labels = np.unique(points.label[inside])
    for label in labels if len(labels) > 1 else ():
        of_label = points.label == label
        if (inside & of_label).sum() < WITHIN * (near & of_label).sum():
            inside &= ~of_label
    indices = np.flatnonzero(inside)
    if len(indices) < LEAST_POINTS:
        raise ValueError(
            f"expected a box around an object, got {len(indices)} points of the map in it, at "
            f"least {LEAST_POINTS} are needed: give its centre and full edge lengths in metres, in "
            f"the frame {state.frame_id!r}"
        )
    label = np.bincount(points.label[indices] + 1).argmax() - 1
    name = state.label_names.get(int(label), "")
    return MapObject(name, state, points, indices, _around(points, indices))
