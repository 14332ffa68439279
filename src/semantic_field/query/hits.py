"""Object hits: relevant points clustered into objects, with box, score, label and track id."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semantic_field.config import QueryConfig
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.geometry import moved, transform_points
from semantic_field.query.axes import ground_axes
from semantic_field.query.boxes import oriented_box
from semantic_field.query.clusters import cluster, groups_of, join_stacked

CLUSTER_VOXELS = 2.0
STRAY_SHARE = 0.01
MIN_PART_POINTS = 8
CONFIRMED_SHARE = 0.1  # of the median number of views of an object's points


@dataclass(frozen=True)
class Hit:
    """One object that answers a query.

    Attributes:
        id: track id, the same for one object over snapshots and query texts.
        label: most frequent class name of its points, "" if the map has none.
        score: relevancy, 0..1.
        T_world_object: pose of the box (4, 4) at its centre, metres; z is up.
        size: full edge lengths of the box along its axes (3,), metres.
        point_count: number of surface points.
        indices: (point_count,), indices into the points of the query result.
        part: the name of a part, if one was asked for; ``indices`` are then its observed points,
            which may be none, and ``point_count`` counts the predicted ones as well.
        predicted: share of a part's points that are predicted, not observed, 0..1.
    """

    id: int
    label: str
    score: float
    T_world_object: NDArray[np.float64]
    size: NDArray[np.float64]
    point_count: int
    indices: NDArray[np.int64]
    part: str = ""
    predicted: float = 0.0

    @property
    def centre(self) -> NDArray[np.float64]:
        return self.T_world_object[:3, 3]

    def places(self, points: SurfacePoints) -> NDArray[np.float64]:
        """Return where it is (N, 3), map coordinates: its surface points, or if it has none (a part
        that nobody has seen) the corners and the centre of its box.
        """
        if len(self.indices):
            return points.xyz[self.indices].astype(np.float64)
        corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3), axis=-1).reshape(-1, 3) * self.size
        inside = np.concatenate([corners, np.zeros((1, 3))])
        return transform_points(self.T_world_object, inside) - points.origin


def find_hits(
    points: SurfacePoints,
    relevancy: NDArray[np.float32],
    label_names: dict[int, str],
    config: QueryConfig,
    threshold: float,
) -> list[Hit]:
    """Cluster the points with relevancy (N,) of at least ``threshold`` into objects.

    Adjacent points with different labels belong to different objects; parts above each other
    (a table's top and its legs) are one object. A hit's score is the upper quartile of its
    relevancies, reduced if it has few points.

    Returns:
        Hits, best first, with id 0; ``HitTracker`` assigns ids.
    """
    relevant = np.flatnonzero(relevancy >= threshold)
    chosen = points.select(relevant)
    numbers = cluster(chosen.xyz, CLUSTER_VOXELS * config.voxel_m, chosen.label)
    axes = ground_axes(config.up)
    groups = [g for g in groups_of(numbers) if len(g) >= MIN_PART_POINTS]
    groups = join_stacked(groups, chosen.xyz @ axes.T.astype(np.float32), chosen.label)
    hits = [
        _make_hit(points, relevancy, relevant[group], label_names, axes, config.min_hit_points)
        for group in groups
        if len(group) >= config.min_hit_points
    ]
    hits = [hit for hit in hits if hit.score >= threshold]
    return sorted(hits, key=lambda hit: (-round(hit.score, 2), -hit.point_count))


def _make_hit(
    points: SurfacePoints,
    relevancy: NDArray[np.float32],
    indices: NDArray[np.int64],
    label_names: dict[int, str],
    axes: NDArray[np.float64],
    few: int,
) -> Hit:
    xyz = points.xyz[indices]
    xyz = xyz[_confirmed(points, indices)]
    T_map_object, size = oriented_box(xyz[_without_strays(xyz)], axes)
    ids, counts = np.unique(points.label[indices], return_counts=True)
    label = label_names.get(int(ids[np.argmax(counts)]), "")
    evidence = len(indices) / (len(indices) + 0.2 * few)
    score = evidence * float(np.quantile(relevancy[indices], 0.75))
    T_world_object = moved(T_map_object, points.origin)
    return Hit(0, label, score, T_world_object, size, len(indices), indices)


def _confirmed(points: SurfacePoints, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask (N,) of those of an object's points (N,) that the images confirm.

    At silhouettes the map's surface has fringes that hardly any depth reading shows, whereas the
    rest of the object was seen often. All are kept if nothing is known about that.
    """
    if not len(points.seen):
        return np.ones(len(indices), bool)
    seen = points.seen[indices]
    return seen >= CONFIRMED_SHARE * np.median(seen)


def _without_strays(xyz: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a mask (N,) without outliers: beyond the 1 % and 99 % quantiles by a margin.

    Quantiles alone would cut off an object's corners; outliers are also far from the rest.
    """
    keep = np.ones(len(xyz), bool)
    if len(xyz) < 100:
        return keep
    low, high = np.quantile(xyz, [STRAY_SHARE, 1.0 - STRAY_SHARE], axis=0)
    slack = 0.15 * (high - low) + 0.03
    return ((xyz >= low - slack) & (xyz <= high + slack)).all(1)


@dataclass
class _Known:
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    label: str
    used: int = 0


class HitTracker:
    """Assigns track ids to hits: an object is recognised by its position.

    Thread-safe. Remembers at most ``capacity`` objects, the most recently found ones.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._known: dict[int, _Known] = {}
        self._capacity, self._next, self._turn = capacity, 1, 0
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget all objects; their ids are still never reused."""
        with self._lock:
            self._known.clear()

    def assign(self, hits: list[Hit], points: SurfacePoints) -> list[Hit]:
        """Return the hits with their track ids, in the same order."""
        with self._lock:
            self._turn += 1
            boxes = [
                (points.xyz[hit.indices].min(0), points.xyz[hit.indices].max(0)) for hit in hits
            ]
            numbers = self._match(hits, boxes)
            for hit, number, (low, high) in zip(hits, numbers, boxes, strict=True):
                self._known[number] = _Known(low, high, hit.label, self._turn)
            self._forget()
            return [replace(hit, id=number) for hit, number in zip(hits, numbers, strict=True)]

    def _match(self, hits: list[Hit], boxes: list) -> list[int]:
        """Match greedily by descending overlap; a hit without a match gets a new id."""
        numbers = [0] * len(hits)
        known = list(self._known)
        if hits and known:
            overlap = _overlaps(boxes, [self._known[number] for number in known])
            for i, hit in enumerate(hits):
                same = np.array([self._known[number].label == hit.label for number in known])
                overlap[i, ~same] *= 0.5  # prefer objects with the same label
            for flat in np.argsort(-overlap, axis=None):
                i, j = np.unravel_index(flat, overlap.shape)
                if overlap[i, j] < MATCH_OVERLAP:
                    break
                if not numbers[i] and known[j] not in numbers:
                    numbers[i] = known[j]
        for i, number in enumerate(numbers):
            if not number:
                numbers[i] = self._next
                self._next += 1
        return numbers

    def _forget(self) -> None:
        if len(self._known) > self._capacity:
            oldest = sorted(self._known, key=lambda number: self._known[number].used)
            for number in oldest[: len(self._known) - self._capacity]:
                del self._known[number]


MATCH_OVERLAP = 0.2


def _overlaps(boxes: list, known: list[_Known]) -> NDArray[np.float64]:
    """Return the intersection over union (hits, known) of axis-aligned boxes, slightly padded."""
    low, high = (np.stack([box[k] for box in boxes])[:, None] for k in (0, 1))
    known_low = np.stack([item.low for item in known])[None]
    known_high = np.stack([item.high for item in known])[None]
    pad = 0.02  # so that flat boxes have a volume
    shared = np.minimum(high, known_high) - np.maximum(low, known_low) + 2 * pad
    shared = np.clip(shared, 0.0, None).prod(-1)
    volume = (high - low + 2 * pad).prod(-1)
    known_volume = (known_high - known_low + 2 * pad).prod(-1)
    return shared / (volume + known_volume - shared)
