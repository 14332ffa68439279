"""Coarse search of an upright object's pose: prototypes in many places against the evidence."""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.object_prior.object_evidence import ObjectEvidence
from semantic_field.object_prior.prototypes import PrototypeBank

YAWS = 24
POINTS = 120
NORMAL_WEIGHT, FREE_WEIGHT = 0.5, 2.0
LARGEST = 2.5  # times the observed extent: of a larger thing more would have been seen
SLACK = 0.12  # share of its extent by which an object may be larger than a prototype


@dataclass(frozen=True)
class PoseCandidates:
    """Places of prototypes, best first.

    Attributes:
        prototype: (K,) index.
        pose: (K, 4) yaw (radians), x, y and base height (metres) in the level frame.
        score: (K,), 0 = no contradiction.
    """

    prototype: NDArray[np.int64]
    pose: NDArray[np.float64]
    score: NDArray[np.float64]

    def best(self, count: int) -> PoseCandidates:
        """Return the first ``count``."""
        return PoseCandidates(self.prototype[:count], self.pose[:count], self.score[:count])


def search(evidence: ObjectEvidence, bank: PrototypeBank, count: int) -> PoseCandidates:
    """Return the ``count`` best poses of prototypes; none if no prototype has the size.

    All yaws of a grid are tried, with the observed points at either side or in the middle of the
    prototype along both of its axes, on all heights at which the object may stand.
    """
    prototype, pose = _poses(evidence, bank)
    chosen = np.linspace(0, len(evidence.points) - 1, min(POINTS, len(evidence.points))).astype(int)
    space = evidence.space
    score = np.empty(len(pose))
    _score(
        evidence.points[chosen].astype(np.float64),
        evidence.normals[chosen].astype(np.float64),
        (space.low, space.cell, space.free),
        (bank.grids, bank.low, bank.step, bank.surface),
        prototype,
        pose,
        (evidence.tolerance_m, NORMAL_WEIGHT, FREE_WEIGHT),
        score,
    )
    order = np.argsort(score, kind="stable")
    order = _different(prototype[order], pose[order], order, count)
    return PoseCandidates(prototype[order], pose[order], score[order])


def _poses(evidence: ObjectEvidence, bank: PrototypeBank) -> tuple[NDArray, NDArray]:
    """Return prototypes (M,) and poses (M, 4) at which the observed points may fit."""
    yaws = np.arange(YAWS) * (2 * np.pi / YAWS)
    found_prototypes, found_poses = [], []
    top = float(np.quantile(evidence.points[:, 2], 0.99))
    size = bank.extents[:, 1] - bank.extents[:, 0]
    slack = SLACK * evidence.extent_m
    small = np.linalg.norm(size, axis=1) < LARGEST * evidence.extent_m
    for yaw in yaws:
        c, s = math.cos(yaw), math.sin(yaw)
        own = evidence.points[:, :2] @ np.array([[c, -s], [s, c]])  # turned by -yaw
        low, high = np.quantile(own, 0.01, axis=0), np.quantile(own, 0.99, axis=0)
        fits = np.flatnonzero(small & (high - low < size[:, :2] + slack).all(1))
        for base in evidence.bases:
            tall = fits[top - base < size[fits, 2] + slack]
            first, last = bank.extents[tall, 0, :2], bank.extents[tall, 1, :2]
            middle = (low + high) / 2 - (first + last) / 2
            options = np.stack([low - first, middle, high - last])  # (3, T, 2)
            shift = np.stack(
                [np.stack([options[i, :, 0], options[j, :, 1]], -1) for i, j in np.ndindex(3, 3)]
            )  # (9, T, 2)
            turned = shift @ np.array([[c, s], [-s, c]])
            pose = np.empty((*shift.shape[:2], 4))
            pose[..., 0], pose[..., 1:3], pose[..., 3] = yaw, turned, base
            found_poses.append(pose.reshape(-1, 4))
            found_prototypes.append(np.tile(tall, 9))
    return np.concatenate(found_prototypes), np.concatenate(found_poses)


def _different(prototype: NDArray, pose: NDArray, order: NDArray, count: int) -> NDArray:
    """Return the first ``count`` of ``order``, at most two for the same prototype and yaw."""
    seen: dict[tuple[int, float], int] = {}
    kept = []
    for rank in range(len(order)):
        key = (int(prototype[rank]), float(pose[rank, 0]))
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= 2:
            kept.append(order[rank])
        if len(kept) == count:
            break
    return np.array(kept, np.int64)


@njit(inline="always")
def _distance(grid, low, step, x, y, z):
    """Trilinear signed distance; outside the grid the value at its border plus the way there."""
    last = grid.shape[0] - 1.000001
    u, v, w = (x - low[0]) / step, (y - low[1]) / step, (z - low[2]) / step
    cu, cv, cw = min(max(u, 0.0), last), min(max(v, 0.0), last), min(max(w, 0.0), last)
    away = step * math.sqrt((u - cu) ** 2 + (v - cv) ** 2 + (w - cw) ** 2)
    i, j, k = int(cu), int(cv), int(cw)
    a, b, c = cu - i, cv - j, cw - k
    first = (grid[i, j, k] * (1 - c) + grid[i, j, k + 1] * c) * (1 - b) + (
        grid[i, j + 1, k] * (1 - c) + grid[i, j + 1, k + 1] * c
    ) * b
    second = (grid[i + 1, j, k] * (1 - c) + grid[i + 1, j, k + 1] * c) * (1 - b) + (
        grid[i + 1, j + 1, k] * (1 - c) + grid[i + 1, j + 1, k + 1] * c
    ) * b
    return first * (1 - a) + second * a + away


@njit(cache=True, nogil=True, error_model="numpy")
def _score(points, normals, space, bank, prototype, pose, weights, score):
    """Fill ``score``: mean clamped distance of points and of points before them, share of the
    prototype's surface in free space; parts in units of the tolerance."""
    low, cell, free = space
    grids, grid_low, step, surface = bank
    tolerance, normal_weight, free_weight = weights
    for m in range(len(pose)):
        grid = grids[prototype[m]]
        c, s = math.cos(pose[m, 0]), math.sin(pose[m, 0])
        total = 0.0
        for n in range(len(points)):
            x, y = points[n, 0] - pose[m, 1], points[n, 1] - pose[m, 2]
            z = points[n, 2] - pose[m, 3]
            x, y = c * x + s * y, -s * x + c * y
            nx, ny = normals[n, 0], normals[n, 1]
            nx, ny = c * nx + s * ny, -s * nx + c * ny
            at = abs(_distance(grid, grid_low, step, x, y, z))
            total += min(at / tolerance, 1.0)
            ahead = _distance(
                grid,
                grid_low,
                step,
                x + tolerance * nx,
                y + tolerance * ny,
                z + tolerance * normals[n, 2],
            )
            total += normal_weight * min(abs(ahead - tolerance) / tolerance, 1.0)
        contradicted = 0
        shape = surface[prototype[m]]
        for n in range(len(shape)):
            x = c * shape[n, 0] - s * shape[n, 1] + pose[m, 1]
            y = s * shape[n, 0] + c * shape[n, 1] + pose[m, 2]
            z = shape[n, 2] + pose[m, 3]
            i = math.floor((x - low[0]) / cell[0])
            j = math.floor((y - low[1]) / cell[1])
            k = math.floor((z - low[2]) / cell[2])
            inside = 0 <= i < free.shape[0] and 0 <= j < free.shape[1] and 0 <= k < free.shape[2]
            if inside and free[i, j, k]:
                contradicted += 1
        score[m] = total / len(points) + free_weight * contradicted / len(shape)
