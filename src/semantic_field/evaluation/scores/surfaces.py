"""How close the mapped surface is to the true one, as point clouds (metres)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.frames import Frame
from semantic_field.geometry import transform_points

NEAR_M = 0.05
CELL_BITS, LABEL_BITS = 17, 12  # of a voxel along one axis, and of a class id: 63 in all


@dataclass(frozen=True)
class SurfaceScore:
    """Distances between a mapped and a true surface; NaN where one of them is empty.

    Attributes:
        accuracy_m: mean distance of mapped points to the nearest true point.
        completeness_m: mean distance of true points to the nearest mapped point.
        chamfer_m: mean of the two (some papers print their sum).
        accuracy_ratio: share of mapped points within 5 cm (precision).
        completeness_ratio: share of true points within 5 cm (recall).
        f_score: harmonic mean of the two shares.
    """

    accuracy_m: float
    completeness_m: float
    chamfer_m: float
    accuracy_ratio: float
    completeness_ratio: float
    f_score: float
    mapped_points: int
    true_points: int


def surface_score(mapped: NDArray[np.floating], truth: NDArray[np.floating]) -> SurfaceScore:
    """Compare two clouds (N, 3) and (M, 3) of one frame, metres."""
    if not len(mapped) or not len(truth):
        nan = float("nan")
        return SurfaceScore(nan, nan, nan, nan, nan, nan, len(mapped), len(truth))
    to_truth = np.asarray(KDTree(truth).query(mapped)[0])
    to_mapped = np.asarray(KDTree(mapped).query(truth)[0])
    precision, recall = float((to_truth < NEAR_M).mean()), float((to_mapped < NEAR_M).mean())
    both = precision + recall
    return SurfaceScore(
        accuracy_m=float(to_truth.mean()),
        completeness_m=float(to_mapped.mean()),
        chamfer_m=float(0.5 * (to_truth.mean() + to_mapped.mean())),
        accuracy_ratio=precision,
        completeness_ratio=recall,
        f_score=2 * precision * recall / both if both else 0.0,
        mapped_points=len(mapped),
        true_points=len(truth),
    )


@dataclass(frozen=True)
class LabelledCloud:
    """Points (N, 3) in metres, and the class ids (N,) that most readings of them had (-1 none)."""

    xyz: NDArray[np.float32]
    label: NDArray[np.int32]


def fuse(
    frames: Iterable[Frame],
    voxel_m: float = 0.02,
    max_depth_m: float = 6.0,
    pixel_stride: int = 2,
    least_readings: int = 1,
) -> LabelledCloud:
    """The sensor's own cloud: the mean point of each voxel, labelled by vote.

    Only depth readings and given labels enter, nothing of a map. Void votes count as votes: a
    voxel that was mostly void stays void.
    """
    parts: list[tuple[NDArray, NDArray]] = []
    for frame in frames:
        parts.append(_compact(*_readings(frame, max_depth_m, pixel_stride), voxel_m))
    if not parts:
        return LabelledCloud(np.zeros((0, 3), np.float32), np.zeros(0, np.int32))
    xyz = np.concatenate([points for points, _ in parts])
    votes = np.concatenate([labels for _, labels in parts])
    return _vote(xyz, votes, voxel_m, least_readings)


def _readings(frame: Frame, max_depth_m: float, stride: int) -> tuple[NDArray, NDArray]:
    use = (frame.depth > 0) & (frame.depth < max_depth_m)
    grid = np.zeros_like(use)
    grid[::stride, ::stride] = True
    use &= grid
    points = transform_points(frame.T_world_camera, frame.camera.backproject(frame.depth)[use])
    labels = frame.labels[use] if frame.labels is not None else np.full(len(points), -1, np.int32)
    return points, labels


def _compact(points: NDArray, labels: NDArray, voxel_m: float) -> tuple[NDArray, NDArray]:
    """One mean point for each (voxel, label) of a frame: one vote a frame, and far less memory."""
    keys = (_keys(points, voxel_m) << LABEL_BITS) | (labels.astype(np.int64) + 1)
    unique, index = np.unique(keys, return_inverse=True)
    mean = _means(points, index, len(unique))
    return mean, ((unique & ((1 << LABEL_BITS) - 1)) - 1).astype(np.int32)


def _vote(xyz: NDArray, votes: NDArray, voxel_m: float, least: int) -> LabelledCloud:
    _, index, counts = np.unique(_keys(xyz, voxel_m), return_inverse=True, return_counts=True)
    keep = counts >= least
    labels = majority(index, votes, len(counts))
    return LabelledCloud(_means(xyz, index, len(counts))[keep], labels[keep])


def _keys(points: NDArray, voxel_m: float) -> NDArray[np.int64]:
    """One number for each point's voxel; ValueError for points too far out to have one."""
    cells = np.floor(points / voxel_m).astype(np.int64) + (1 << (CELL_BITS - 1))
    if len(cells) and (cells.min() < 0 or cells.max() >= 1 << CELL_BITS):
        raise ValueError(
            f"expected points within {voxel_m * 2 ** (CELL_BITS - 1):.0f} m of the origin, got "
            f"{np.abs(points).max():.0f} m; are all poses in one frame?"
        )
    return (((cells[:, 0] << CELL_BITS) | cells[:, 1]) << CELL_BITS) | cells[:, 2]


def _means(points: NDArray, index: NDArray, n: int) -> NDArray[np.float32]:
    counts = np.bincount(index, minlength=n)[:, None]
    sums = np.stack([np.bincount(index, points[:, i], minlength=n) for i in range(3)], axis=1)
    return (sums / counts).astype(np.float32)


def majority(index: NDArray, votes: NDArray, n: int) -> NDArray[np.int32]:
    """The most frequent vote of each of ``n`` groups; of equal ones the smallest."""
    span = int(votes.max(initial=0)) + 2
    keys, counts = np.unique(index.astype(np.int64) * span + votes + 1, return_counts=True)
    groups, labels = keys // span, keys % span - 1
    order = np.lexsort((-labels, counts))  # later entries overwrite earlier ones
    result = np.full(n, -1, np.int32)
    result[groups[order]] = labels[order]
    return result
