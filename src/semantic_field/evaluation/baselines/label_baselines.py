"""Label baselines without a field: nearest frame, projection, depth projection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.evaluation.baselines.reprojection import SAME_SURFACE
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.confusion import ConfusionMatrix, Scores
from semantic_field.evaluation.scores.conventions import convention
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.geometry import Camera, invert_transform, pose_distances, transform_points


@dataclass(frozen=True)
class LabelledFrame:
    """A labelled frame, with labels as class rows.

    Attributes:
        rows: int32 (H, W), rows of a ``ClassSet``, -1 = void.
        depth: float32 (H, W), metres, 0 = no reading.
        camera: pinhole camera of the frame.
        T_world_camera: (4, 4), metres.
    """

    rows: NDArray[np.int32]
    depth: NDArray[np.float32]
    camera: Camera
    T_world_camera: NDArray[np.float64]


def labelled_frames(frames: Iterable[Frame], classes: ClassSet) -> list[LabelledFrame]:
    """Return the frames that have labels."""
    return [
        LabelledFrame(classes.rows(frame.labels), frame.depth, frame.camera, frame.T_world_camera)
        for frame in frames
        if frame.labels is not None
    ]


def nearest_frame(
    labelled: list[LabelledFrame], frame: Frame, classes: int = 0
) -> NDArray[np.int32]:
    """Predict the label image of the nearest labelled frame, unchanged except for its size.

    The distance of poses is translation in metres plus rotation in radians.

    Returns:
        Class rows (H, W) of the frame, -1 = void.
    """
    poses = np.stack([one.T_world_camera for one in labelled])
    nearest = labelled[int(pose_distances(poses, frame.T_world_camera).argmin())]
    size = frame.camera.height, frame.camera.width
    down, right = (np.arange(n) * old // n for n, old in zip(size, nearest.rows.shape))
    return nearest.rows[down[:, None], right]


def projection(labelled: list[LabelledFrame], frame: Frame, classes: int) -> NDArray[np.int32]:
    """Predict labels by projecting labelled pixels into a held-out view with their sensor depth.

    At each pixel only the nearest surface counts (within 3 % of its depth). The frame's
    own depth is not used, as it is not given to the map either.

    Returns:
        Class rows (H, W) with the most votes (the first on ties), -1 without votes.
    """
    nearest = np.full(frame.depth.shape, np.inf, np.float32)
    votes = np.zeros((*frame.depth.shape, classes), np.uint16)
    thrown = [_project(one, frame) for one in labelled]
    for _, u, v, z in thrown:
        np.minimum.at(nearest, (v, u), z.astype(np.float32))
    for one, (pixel, u, v, z) in zip(labelled, thrown, strict=True):
        rows = one.rows.ravel()[pixel]
        counts = (rows >= 0) & (z <= nearest[v, u] * (1 + SAME_SURFACE))
        np.add.at(votes, (v[counts], u[counts], rows[counts]), 1)
    return _winner(votes)


def depth_projection(
    labelled: list[LabelledFrame], frame: Frame, classes: int
) -> NDArray[np.int32]:
    """Predict labels by projecting the frame's pixels, with *their own sensor depth*, into frames.

    Each labelled frame votes for the label at that pixel if its depth there is of the same surface
    (within 3 %). This baseline uses the frame's depth, which the map is not given.

    Returns:
        Class rows (H, W) with the most votes (the first on ties), -1 without votes.
    """
    votes = np.zeros((frame.depth.size, classes), np.uint16)
    for one in labelled:
        pixel, u, v, z = _project(frame, one)
        rows = one.rows[v, u]
        counts = (rows >= 0) & (np.abs(one.depth[v, u] - z) <= SAME_SURFACE * z)
        votes[pixel[counts], rows[counts]] += 1
    return _winner(votes.reshape(*frame.depth.shape, classes))


def _project(
    source: Frame | LabelledFrame, other: Frame | LabelledFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]:
    """Project the readings of one image into another one.

    Returns:
        The flat pixel indices of the M readings that fall inside the other image, and the
        columns, rows and z-depths at which they do, all (M,).
    """
    pixel = np.flatnonzero(source.depth > 0)
    v, u = np.divmod(pixel, source.depth.shape[1])
    points = source.camera.lift(u, v, source.depth.ravel()[pixel])
    T_other_source = invert_transform(other.T_world_camera) @ source.T_world_camera
    inside, u, v, z = other.camera.pixels_inside(transform_points(T_other_source, points))
    return pixel[inside], u, v, z


def _winner(votes: NDArray[np.uint16]) -> NDArray[np.int32]:
    return np.where(votes.any(axis=-1), votes.argmax(axis=-1), VOID_LABEL).astype(np.int32)


class BaselineScores:
    """Scores baselines, and the map in the pixels for which they predict nothing ("holes").

    Args:
        labelled: the labelled frames, as the mapper was given them.
        names: keys of ``PREDICTORS``.
    """

    def __init__(
        self, labelled: list[LabelledFrame], classes: ClassSet, protocol: Protocol, names: tuple
    ) -> None:
        self._labelled, self._classes = labelled, classes
        rule = convention(protocol.headline).rule
        self._matrices = {name: ConfusionMatrix(classes.names, rule) for name in names}
        self._in_holes = {name: ConfusionMatrix(classes.names, rule) for name in names}

    def add(self, truth: Frame, labels: NDArray[np.int32]) -> None:
        """Score the predictions of a held-out view; ``labels`` are the map's class ids (H, W)."""
        assert truth.labels is not None
        rows, mapped = self._classes.rows(truth.labels), self._classes.rows(labels)
        for name, matrix in self._matrices.items():
            found = PREDICTORS[name](self._labelled, truth, len(self._classes))
            matrix.add(rows, found)
            self._in_holes[name].add(np.where(found < 0, rows, VOID_LABEL), mapped)

    def result(self) -> dict[str, dict[str, Any]]:
        """Return the scores of each baseline.

        ``holes`` is the share of pixels without a predicted label, ``map_accuracy_in_holes`` the
        map's accuracy in them (None if there are none)."""
        figures = {}
        for name, matrix in self._matrices.items():
            scores, inside = matrix.result(), self._in_holes[name].result()
            figures[name] = summary(scores) | {
                "holes": inside.pixels / max(scores.pixels, 1),
                "map_accuracy_in_holes": inside.total_accuracy if inside.pixels else None,
            }
        return figures


def summary(scores: Scores) -> dict[str, Any]:
    """Return mIoU, mIoU of frequent classes and total accuracy, for a row of a table."""
    return {
        "miou": scores.miou,
        "miou_frequent": scores.miou_frequent,
        "total_accuracy": scores.total_accuracy,
    }


PREDICTORS = {
    "nearest_frame": nearest_frame,
    "projection": projection,
    "depth_projection": depth_projection,
}
