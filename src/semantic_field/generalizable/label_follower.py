"""Labels for every image of a camera, while label images come at a lower rate.

A model that knows nothing of the image itself votes over all views. A camera's own image is known,
however: its depth says where each pixel was in the newest label image, and its colours where things
end. Which way is better depends on how the segmenter errs. If its errors are independent from
image to image, a vote over many views mends them. If it makes the same errors again from near by,
the newest label image is the best guess of what it would say now. Every new label image shows
which way has guessed it best, so nothing has to be assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from semantic_field.field.views.blended_view import filled
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.generalizable.gathering import SAME_M, SAME_SHARE
from semantic_field.generalizable.label_kernels import bring, vote
from semantic_field.kernels.threads import run_chunks

UNREAD = 0.5  # weight of labels where the label image's frame has no depth
REACH, STEP = 4, 2  # neighbours that vote: up to four steps of two pixels away
COLOR = 25.0  # deviation of colours of one thing, 0..255
SPACE = REACH / 1.5  # deviation of the neighbours' distance, steps
TABLE, PER_STEP = 512, 512 / (8 * COLOR**2)  # colours further apart than 4 deviations do not count
ROWS = 16  # of a task
KEPT = 0.9  # share that an older comparison keeps when a new one is made
BINS, PRIOR = 10, 0.01  # of the confidence; strength of the share itself, in images
LEAST_SURE = 0.13  # of labels that are taken as they are: at a tolerance of depth from it
NOTHING = 1e-3  # shares below are none
WAYS = "newest", "pixels", "segments", "model"
SCALES = 100.0, 200.0, 400.0  # of segments, see skimage's felzenszwalb: larger, larger segments
LEAST_PIXELS = 60  # of a segment


class FollowedLabels(NamedTuple):
    """Labels of an image.

    Attributes:
        label: int32 (H, W), class ids, -1 where nothing is known.
        confidence: float32 (H, W), the probability that the label is what the segmenter says.
    """

    label: Int[NDArray, "H W"]
    confidence: Float[NDArray, "H W"]


Guess = Callable[[], FollowedLabels | None]
"""Returns the labels of an image that a model predicts from other frames; None = it cannot yet."""


class LabelFollower:
    """Brings labels to images. Not thread-safe.

    Four ways are known: the ``newest`` label image as it is; the same after a vote of the
    ``pixels`` about each one that have its colour, or of whole ``segments`` of the colour image,
    as a segmenter's borders are rough; and the ``model``. Which is best is learnt for what the
    newest label image shows, and for the rest.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self.clear()

    def clear(self) -> None:
        """Forget the label images and what was learnt from them."""
        self._newest: Frame | None = None
        self._records = {(name, seen): Record() for name in WAYS for seen in (True, False)}

    def ranking(self, seen: bool) -> list[str]:
        """Return the ways, the one first that guessed the last label images best.

        Args:
            seen: where the label image before them shows the surface; else where it does not.
        """
        return sorted(WAYS, key=lambda name: -self._records[name, seen].ahead)

    def take(self, frame: Frame, guess: Guess = lambda: None) -> None:
        """Take a frame with labels: it becomes the newest, and shows which way guesses best.

        One that is older than the newest is left out.

        Args:
            guess: of the model, without this frame.
        Raises:
            ValueError: if it has no labels.
        """
        if frame.labels is None:
            raise ValueError("expected a frame with labels, got one without")
        if self._newest is not None and frame.stamp_ns < self._newest.stamp_ns:
            return
        if self._newest is not None:
            guesses = Guesses(self._newest, frame, guess, self._threads)
            first = guesses(WAYS[0])
            assert first is not None
            for (name, seen), record in self._records.items():
                found = guesses(name)
                if found is not None:
                    record.learn(found, first, np.where(guesses.seen == seen, frame.labels, -1))
        self._newest = frame

    def labels(self, frame: Frame, guess: Guess = lambda: None) -> FollowedLabels:
        """Return the labels of a frame: its own, if it has any; void before the first of all."""
        if frame.labels is not None:
            return FollowedLabels(frame.labels, (frame.labels >= 0).astype(np.float32))
        nothing = np.full(frame.depth.shape, VOID_LABEL, np.int32)
        void = FollowedLabels(nothing, np.zeros(frame.depth.shape, np.float32))
        if self._newest is None:
            return guess() or void
        guesses = Guesses(self._newest, frame, guess, self._threads)
        seen, unseen = (self._best(guesses, seen) for seen in (True, False))
        return FollowedLabels(*(np.where(guesses.seen, *pair) for pair in zip(seen, unseen)))

    def _best(self, guesses: Guesses, seen: bool) -> FollowedLabels:
        """Return the labels of the best way that has any, their confidence calibrated."""
        for name in self.ranking(seen):
            found = guesses(name)
            if found is not None:
                return self._records[name, seen].truth.calibrated(found)
        raise AssertionError("the newest label image can always be brought along")


class Guesses:
    """What the ways say of a frame, each found out when it is asked for first.

    Attributes:
        seen: bool (H, W), where the newest label image shows the surface.
    """

    def __init__(self, newest: Frame, frame: Frame, guess: Guess, threads: int) -> None:
        brought_along = brought(newest, frame, threads)
        plain = sure(brought_along)
        self.seen = plain.label >= 0
        self._found: dict[str, FollowedLabels | None] = {"newest": plain}
        self._ways: dict[str, Guess] = {
            "pixels": lambda: voted(brought_along, frame, threads),
            "segments": lambda: voted_in_segments(brought_along, frame),
            "model": guess,
        }

    def __call__(self, name: str) -> FollowedLabels | None:
        """Return the labels that a way of ``WAYS`` finds; None = the model cannot yet."""
        if name not in self._found:
            self._found[name] = self._ways[name]()
        return self._found[name]


class Record:
    """How a way has guessed.

    Attributes:
        truth: how often its labels were right.
    """

    def __init__(self) -> None:
        self._own, self._first, self.truth = Agreement(), Agreement(), Calibration()

    def learn(
        self, found: FollowedLabels, first: FollowedLabels, truth: Int[NDArray, "H W"]
    ) -> None:
        """Compare its labels, and those of the first way, with those that came; -1 = left out."""
        self._own.learn(found, truth)
        self._first.learn(first, truth)
        self.truth.learn(found, truth)

    @property
    def ahead(self) -> float:
        """By how much it is better than the first way was on the same images, in mean IoU."""
        return self._own.mean - self._first.mean


class Agreement:
    """Mean IoU of labels with the label images that came, older ones counting less."""

    def __init__(self) -> None:
        self._areas: dict[int, NDArray[np.float64]] = {}  # of each class: both, either, truth

    def learn(self, found: FollowedLabels, truth: Int[NDArray, "H W"]) -> None:
        """Compare labels with those that came; void pixels are misses."""
        for areas in self._areas.values():
            areas *= KEPT
        label, truth = found.label[truth >= 0], truth[truth >= 0]
        for number in np.union1d(truth, label[label >= 0]).tolist():
            said, true = label == number, truth == number
            new = np.array([(said & true).sum(), (said | true).sum(), true.sum()], float)
            self._areas[number] = self._areas.get(number, 0.0) + new

    @property
    def mean(self) -> float:
        """Mean over the classes that were in the label images; 0 before the first."""
        areas = [
            both / either for both, either, true in self._areas.values() if true >= LEAST_PIXELS
        ]
        return float(np.mean(areas)) if areas else 0.0


class Calibration:
    """How often labels with a share of the votes are right, learnt from label images."""

    def __init__(self) -> None:
        self._right, self._asked = np.zeros(BINS), np.zeros(BINS)

    def learn(self, found: FollowedLabels, truth: Int[NDArray, "H W"]) -> None:
        """Compare labels with those that came; older comparisons count less."""
        known = (truth >= 0) & (found.label >= 0)
        number = _bins(found.confidence[known])
        right = (found.label == truth)[known]
        self._right = KEPT * self._right + np.bincount(number, right, BINS) / truth.size
        self._asked = KEPT * self._asked + np.bincount(number, minlength=BINS) / truth.size

    def calibrated(self, found: FollowedLabels) -> FollowedLabels:
        """Return the labels with the share of right ones among the like; 0 without a label."""
        middles = (np.arange(BINS) + 0.5) / BINS
        rate = (self._right + PRIOR * middles) / (self._asked + PRIOR)
        confidence = np.where(found.label >= 0, rate[_bins(found.confidence)], 0.0)
        return found._replace(confidence=confidence.astype(np.float32))


def _bins(share: NDArray[np.float32]) -> NDArray[np.int64]:
    return (share * BINS).astype(np.int64).clip(0, BINS - 1)


def brought(newest: Frame, frame: Frame, threads: int = 1) -> FollowedLabels:
    """Return the labels that the surfaces of a frame have in an older one that shows them.

    Both frames may be of any size. Pixels without depth take that of the nearest one with depth.
    """
    assert newest.labels is not None
    T = np.linalg.inv(newest.T_world_camera) @ frame.T_world_camera
    out = np.empty(frame.depth.shape, np.int32), np.empty(frame.depth.shape, np.float32)
    depth = filled(frame.depth, frame.depth > 0)
    given = (
        np.ascontiguousarray(depth, np.float32),
        frame.camera.intrinsics.astype(np.float32),
        np.ascontiguousarray(T[:3], np.float32),
        np.ascontiguousarray(newest.depth, np.float32),
        newest.camera.intrinsics.astype(np.float32),
        np.ascontiguousarray(newest.labels, np.int32),
        np.array([SAME_M, SAME_SHARE], np.float32),
        np.float32(UNREAD),
    )
    run_chunks(lambda a, b: bring(*given, a, b, out), len(depth), threads, ROWS)
    return FollowedLabels(*out)


def sure(given: FollowedLabels) -> FollowedLabels:
    """Return only labels of whose surface it is likely that the older image shows it."""
    known = given.confidence > LEAST_SURE
    return FollowedLabels(
        np.where(known, given.label, VOID_LABEL).astype(np.int32),
        np.where(known, given.confidence, 0).astype(np.float32),
    )


def voted(given: FollowedLabels, frame: Frame, threads: int = 1) -> FollowedLabels:
    """Return labels for which pixels nearby and of like colour vote; confidence is their share."""
    ids = np.unique(given.label)
    ids = ids[ids >= 0]
    if not len(ids):
        return given
    rows = np.where(given.label >= 0, np.searchsorted(ids, given.label), -1).astype(np.int32)
    color = cv2.GaussianBlur(frame.color, (0, 0), 1.0).astype(np.float32)
    shares = np.arange(TABLE) / PER_STEP
    table = np.stack([
        np.exp(-shares / (2 * COLOR**2)),
        np.exp(-np.arange(TABLE) / (2 * SPACE**2)),
    ]).astype(np.float32)  # fmt: skip
    out = np.empty_like(rows), np.empty(rows.shape, np.float32)
    weights = np.ascontiguousarray(given.confidence, np.float32)
    fixed = rows, weights, color, REACH, STEP, table, np.float32(PER_STEP), len(ids)
    run_chunks(lambda a, b: vote(*fixed, a, b, out), len(rows), threads, ROWS)
    found, share = out
    known = (found >= 0) & (share > NOTHING)
    label = np.where(known, ids[found.clip(0)], VOID_LABEL).astype(np.int32)
    return FollowedLabels(label, np.where(known, share, 0).astype(np.float32))


def voted_in_segments(given: FollowedLabels, frame: Frame) -> FollowedLabels:
    """Return labels for which the segments of a frame's colours vote; confidence is their share.

    Segments of three sizes (Felzenszwalb and Huttenlocher 2004) vote alike, so that a large one
    that joins two things is outvoted by the smaller ones.
    """
    ids = np.unique(given.label)
    ids = ids[ids >= 0]
    if not len(ids):
        return given
    known = given.label >= 0
    row, weight = np.searchsorted(ids, given.label[known]), given.confidence[known]
    votes = np.zeros((*given.label.shape, len(ids)), np.float32)
    for scale in SCALES:
        segment = felzenszwalb(frame.color, scale, 0.8, LEAST_PIXELS)
        count = int(segment.max()) + 1
        sums = np.bincount(segment[known] * len(ids) + row, weight, count * len(ids))
        sums = sums.reshape(count, len(ids))
        share = sums / np.maximum(sums.sum(1, keepdims=True), 1e-6)
        votes += share.astype(np.float32)[segment] / len(SCALES)
    best = votes.argmax(-1)
    share = np.take_along_axis(votes, best[..., None], -1)[..., 0]
    label = np.where(share > NOTHING, ids[best], VOID_LABEL).astype(np.int32)
    return FollowedLabels(label, share)
