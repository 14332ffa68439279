"""A completer that knows nothing: things look from behind as from the front, parts are heights."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from semantic_field.object_prior.completion import (
    Completion,
    NoPriorError,
    ObservedObject,
    PartBox,
)

PARTS = {"chair": ("leg", "seat", "backrest"), "mug": ("body", "handle")}
HEIGHTS = {"chair": (0.42, 0.55), "mug": (2.0,)}  # shares of the height at which parts end
HANDLE_M = 0.03
NEAR_M = 0.02


class MirroredCompleter:
    """Turns what was observed by half a turn around the middle of its box, z up.

    A mug gets a handle of eight points beside its box, which nobody has seen.

    Attributes:
        asked: the observations so far, with their categories.
    """

    def __init__(self) -> None:
        self.part_names = dict(PARTS)
        self.asked: list[tuple[ObservedObject, str | None]] = []

    def __call__(self, observed: ObservedObject, category: str | None) -> Completion:
        self.asked.append((observed, category))
        assert np.allclose(observed.up, [0, 0, 1])
        low, high = observed.points.min(0), observed.points.max(0)
        category = category or ("chair" if high[2] - low[2] > 0.3 else "mug")
        if category == "chair" and high[2] - low[2] < 0.3:
            raise NoPriorError(f"no prior for what is {high[2] - low[2]:.2f} m high")
        turned = observed.points * [-1, -1, 1] + (low + high) * [1, 1, 0]
        new = np.asarray(KDTree(observed.points).query(turned)[0]) > NEAR_M
        points = np.concatenate([observed.points, turned[new]])
        normals = np.concatenate([observed.normals, observed.normals[new] * [-1, -1, 1]])
        colors = np.concatenate([observed.colors, observed.colors[new]])
        share = (points[:, 2] - low[2]) / (high[2] - low[2])
        parts = np.searchsorted(HEIGHTS[category], share).astype(np.uint8)
        if category == "mug":
            corners = np.stack(np.meshgrid([0, 1], [-1, 1], [-1, 1]), -1).reshape(-1, 3)
            handle = [high[0], *(0.5 * (low + high))[1:]] + HANDLE_M * corners
            points, parts = np.concatenate([points, handle]), np.append(parts, np.ones(8, np.uint8))
            normals = np.concatenate([normals, np.tile([1.0, 0, 0], (8, 1))])
            colors = np.concatenate([colors, np.zeros((8, 3), np.uint8)])
        seen = np.arange(len(points)) < len(observed.points)
        return Completion(
            category=category,
            confidence=0.8,
            residual_m=0.01,
            T_world_object=_standing(low, high),
            size=high - low,
            points=points,
            normals=normals,
            colors=colors,
            parts=parts,
            observed=seen,
            part_names=PARTS[category],
            boxes=tuple(
                _box(name, points[parts == i], seen[parts == i])
                for i, name in enumerate(PARTS[category])
                if (parts == i).any()
            ),
        )


def _standing(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    T_world_object = np.eye(4)
    T_world_object[:3, 3] = [*(0.5 * (low + high))[:2], low[2]]
    return T_world_object


def _box(name: str, points: np.ndarray, seen: np.ndarray) -> PartBox:
    T_world_part = np.eye(4)
    T_world_part[:3, 3] = 0.5 * (points.min(0) + points.max(0))
    return PartBox(name, T_world_part, np.ptp(points, axis=0), float(seen.mean()), len(points))
