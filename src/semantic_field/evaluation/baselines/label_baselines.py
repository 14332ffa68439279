"""Labels of held-out views without a field: what the map has to beat."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.confusion import ConfusionMatrix, Scores
from semantic_field.evaluation.scores.conventions import convention
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.geometry import invert_transform

SAME_SURFACE = 0.03  # share of the depth by which two readings of one surface may differ
METRES_PER_RADIAN = 1.0
_jit = njit(nogil=True, cache=True, error_model="numpy")


@dataclass(frozen=True)
class LabelledView:
    """A labelled frame as a baseline keeps it: rows of the classes (H, W), -1 = void."""

    rows: NDArray[np.int32]
    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    T_world_camera: NDArray[np.float64]


def labelled_views(frames: Iterable[Frame], classes: ClassSet) -> list[LabelledView]:
    """The frames that have labels."""
    return [
        LabelledView(
            classes.rows(frame.labels), frame.depth, _intrinsics(frame), frame.T_world_camera
        )
        for frame in frames
        if frame.labels is not None
    ]


def nearest_frame(views: list[LabelledView], target: Frame, classes: int = 0) -> NDArray[np.int32]:
    """No field at all: the label image of the nearest labelled frame, as it is.

    Distances are metres, a radian counts as one.
    """
    view = min(views, key=lambda v: _apart(v.T_world_camera, target.T_world_camera))
    size = target.camera.height, target.camera.width
    down, right = (np.arange(n) * old // n for n, old in zip(size, view.rows.shape))
    return view.rows[down[:, None], right]


def projection(views: list[LabelledView], target: Frame, classes: int) -> NDArray[np.int32]:
    """Labelled pixels thrown into the target view through their own sensor depth.

    Of what falls on a pixel only the nearest surface counts (within 3 % of its depth). The class
    with the most votes wins, the first one where several have them; -1 without any. The target's
    own depth is not used: it is a view, as it is for the map.
    """
    nearest = np.full(target.depth.shape, np.inf, np.float32)
    votes = np.zeros((*target.depth.shape, classes), np.uint16)
    for count in (False, True):
        for view in views:
            T_target_view = invert_transform(target.T_world_camera) @ view.T_world_camera
            _throw(
                view.depth, view.intrinsics, view.rows, T_target_view, _intrinsics(target),
                SAME_SURFACE, nearest, votes, count,
            )  # fmt: skip
    return _winner(votes)


def depth_projection(views: list[LabelledView], target: Frame, classes: int) -> NDArray[np.int32]:
    """Each pixel of the target, lifted by *its own sensor depth*, asks all labelled frames.

    A frame votes for the label at the pixel it projects to, where its reading there is that of
    the same surface (within 3 % of the depth). This knows the target's depth, which the map is
    not given.
    """
    votes = np.zeros((*target.depth.shape, classes), np.uint16)
    for view in views:
        T_view_target = invert_transform(view.T_world_camera) @ target.T_world_camera
        _vote(
            target.depth, _intrinsics(target), T_view_target, view.depth, view.intrinsics,
            view.rows, SAME_SURFACE, votes,
        )  # fmt: skip
    return _winner(votes)


def _winner(votes: NDArray[np.uint16]) -> NDArray[np.int32]:
    return np.where(votes.any(axis=-1), votes.argmax(axis=-1), VOID_LABEL).astype(np.int32)


@njit(inline="always")
def _meets(u, v, depth, intrinsics, T, camera):
    """Row, column and z-depth at which another camera meets a pixel's point; row -1: behind it."""
    x, y = (u - intrinsics[2]) / intrinsics[0] * depth, (v - intrinsics[3]) / intrinsics[1] * depth
    z = T[2, 0] * x + T[2, 1] * y + T[2, 2] * depth + T[2, 3]
    if depth <= 0 or z <= 0:
        return -1, -1, 0.0
    px = (T[0, 0] * x + T[0, 1] * y + T[0, 2] * depth + T[0, 3]) / z * camera[0] + camera[2]
    py = (T[1, 0] * x + T[1, 1] * y + T[1, 2] * depth + T[1, 3]) / z * camera[1] + camera[3]
    return int(np.rint(py)), int(np.rint(px)), z


@_jit
def _throw(depth, intrinsics, rows, T, camera, tolerance, nearest, votes, count):
    """Note the nearest depths of the target (``count`` false), or vote where they are met."""
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            i, j, z = _meets(u, v, depth[v, u], intrinsics, T, camera)
            if not (0 <= i < nearest.shape[0] and 0 <= j < nearest.shape[1]):
                continue
            if not count:
                nearest[i, j] = min(nearest[i, j], z)
            elif rows[v, u] >= 0 and z <= nearest[i, j] * (1 + tolerance):
                votes[i, j, rows[v, u]] += 1


@_jit
def _vote(depth, intrinsics, T, seen, camera, rows, tolerance, votes):
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            i, j, z = _meets(u, v, depth[v, u], intrinsics, T, camera)
            if not (0 <= i < seen.shape[0] and 0 <= j < seen.shape[1]):
                continue
            if rows[i, j] >= 0 and abs(seen[i, j] - z) <= tolerance * z:
                votes[v, u, rows[i, j]] += 1


class BaselineScores:
    """Scores of the baselines, and of the map where the projection leaves holes.

    Args:
        views: the labelled frames, as the mapper was given them.
        names: of ``PREDICTORS``.
    """

    def __init__(
        self, views: list[LabelledView], classes: ClassSet, protocol: Protocol, names: tuple
    ) -> None:
        self._views, self._classes = views, classes
        rule = convention(protocol.headline).rule
        self._matrices = {name: ConfusionMatrix(classes.names, rule) for name in names}
        self._in_holes = {name: ConfusionMatrix(classes.names, rule) for name in names}

    def add(self, truth: Frame, labels: NDArray[np.int32]) -> None:
        """Predict a held-out view; ``labels`` are the class ids that the map renders there."""
        assert truth.labels is not None
        rows, mapped = self._classes.rows(truth.labels), self._classes.rows(labels)
        for name, matrix in self._matrices.items():
            found = PREDICTORS[name](self._views, truth, len(self._classes))
            matrix.add(rows, found)
            self._in_holes[name].add(np.where(found < 0, rows, VOID_LABEL), mapped)

    def result(self) -> dict[str, dict[str, Any]]:
        """Figures by baseline, with the share of pixels without a label (``holes``), and how
        many of those the map gets right."""
        figures = {}
        for name, matrix in self._matrices.items():
            scores, inside = matrix.result(), self._in_holes[name].result()
            figures[name] = summary(scores) | {
                "holes": inside.pixels / max(scores.pixels, 1),
                "map_accuracy_in_holes": inside.total_accuracy if inside.pixels else None,
            }
        return figures


def summary(scores: Scores) -> dict[str, Any]:
    """The figures of a table's row."""
    return {
        "miou": scores.miou,
        "miou_frequent": scores.miou_frequent,
        "total_accuracy": scores.total_accuracy,
    }


def _intrinsics(frame: Frame) -> NDArray[np.float64]:
    camera = frame.camera
    return np.array([camera.fx, camera.fy, camera.cx, camera.cy])


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    cosine = (np.trace(one[:3, :3].T @ other[:3, :3]) - 1) / 2
    turned = float(np.arccos(np.clip(cosine, -1, 1)))
    return float(np.linalg.norm(one[:3, 3] - other[:3, 3])) + METRES_PER_RADIAN * turned


PREDICTORS = {
    "nearest_frame": nearest_frame,
    "projection": projection,
    "depth_projection": depth_projection,
}
