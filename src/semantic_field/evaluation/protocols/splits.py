"""Train/test splits of the frames of a recording, by published rules.

A mapper is only given a ``TrainFrames``, through which it cannot access held-out frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource, poses_of
from semantic_field.frames import Frame
from semantic_field.geometry import moved_and_turned


@dataclass(frozen=True)
class Split:
    """Positions of mapped (``train``) and held-out (``test``) frames in a recording.

    Raises:
        ValueError: if the parts overlap, a position comes twice or is out of range, or a part is
            empty.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    n_frames: int

    def __post_init__(self) -> None:
        leaked = sorted(set(self.train) & set(self.test))
        if leaked:
            raise ValueError(f"expected held-out frames only in one part, got {leaked} in both")
        for name, part in (("train", self.train), ("test", self.test)):
            if len(set(part)) != len(part):
                raise ValueError(f"expected each frame once in {name}, got {part}")
            if not part or min(part) < 0 or max(part) >= self.n_frames:
                raise ValueError(
                    f"expected {name} frames in 0..{self.n_frames - 1}, got {part}: is the "
                    "recording long enough for this split?"
                )


def every_nth(n_frames: int, n: int = 10) -> Split:
    """Hold out frames 0, n, 2n, ...; map all others (OV-NeRF: n = 10)."""
    test = range(0, n_frames, n)
    return Split(tuple(i for i in range(n_frames) if i % n), tuple(test), n_frames)


def semantic_nerf(n_frames: int, step: int = 5, shift: int = 2) -> Split:
    """Map frames 0, 5, 10, ...; hold out 2, 7, 12, ... (Semantic-NeRF on Replica)."""
    train = range(0, n_frames, step)
    return Split(tuple(train), tuple(i + shift for i in train if i + shift < n_frames), n_frames)


def source_target(
    n_frames: int,
    last: int = 700,
    source_step: int = 5,
    target_step: int = 20,
    targets: int = 10,
    shift: int = 2,
) -> Split:
    """Map [:700:5], hold out [2:700:20][:10] (test views of GSNeRF, GP-NeRF and Semantic-Ray)."""
    end = min(last, n_frames)
    test = tuple(range(shift, end, target_step))[:targets]
    return Split(tuple(i for i in range(0, end, source_step) if i not in test), test, n_frames)


def carried(n_frames: int, source_step: int = 5, target_step: int = 10, shift: int = 2) -> Split:
    """Map frames 0, 5, 10, ...; hold out 2, 12, 22, ... of the whole recording."""
    return source_target(n_frames, n_frames, source_step, target_step, n_frames, shift)


def follow(n_frames: int, label_step: int = 5, first: int = 8) -> Split:
    """Map frames 0, 5, 10, …; hold out all others after the first ``first`` of these.

    It is what a segmenter does that is slower than the camera: every fifth image has labels.
    """
    start = (first - 1) * label_step
    test = tuple(i for i in range(start, n_frames) if i % label_step)
    return Split(tuple(range(0, n_frames, label_step)), test, n_frames)


def explicit(n_frames: int, train: Sequence[int] = (), test: Sequence[int] = ()) -> Split:
    """Use the given positions; by default ``train`` is everything that is not held out."""
    chosen = tuple(train) or tuple(i for i in range(n_frames) if i not in set(test))
    return Split(chosen, tuple(test), n_frames)


SPLITS: dict[str, Callable[..., Split]] = {
    "every_nth": every_nth,
    "ov_nerf": every_nth,
    "semantic_nerf": semantic_nerf,
    "gsnerf": source_target,
    "gp_nerf": source_target,
    "carried": carried,
    "follow": follow,
    "explicit": explicit,
}


def make_split(rule: str, n_frames: int, **options: Any) -> Split:
    """Return a split by its rule's name; ValueError on an unknown name or option."""
    if rule not in SPLITS:
        raise ValueError(f"expected a split of {sorted(SPLITS)}, got {rule!r}")
    try:
        return SPLITS[rule](n_frames, **options)
    except TypeError as error:
        raise ValueError(f"expected other options of the split {rule}: {error}") from error


class TrainFrames:
    """A ``FrameSource`` with only the mapped frames of a recording.

    Instances (ground truth for scoring) are removed from the frames.
    """

    def __init__(self, source: FrameSource, split: Split) -> None:
        self.name, self.label_names = source.name, dict(source.label_names)
        self._source, self._indices = source, split.train
        self.stamps: Sequence[int] = [source.stamps[i] for i in split.train]

    @property
    def poses(self) -> list[NDArray[np.float64]]:
        """``T_world_camera`` of all frames; images are decoded only where the source needs it."""
        known = poses_of(self._source)
        return [known[i] for i in self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Frame:
        return replace(self._source[self._indices[index]], instances=None)


def nearest_by_distance(
    centres: NDArray[np.floating], target: NDArray[np.floating], k: int
) -> NDArray[np.int64]:
    """Return the indices of the k camera centres (N, 3) nearest to ``target`` (3,), nearest first.

    GSNeRF's released code compares world-to-camera translations instead, which orders them
    differently.
    """
    distances = np.linalg.norm(centres - target, axis=1)
    return np.argsort(distances, kind="stable")[:k]


def nearest_by_angle(
    T_world_cameras: NDArray[np.floating], T_world_target: NDArray[np.floating], k: int
) -> NDArray[np.int64]:
    """Return the indices of the k cameras (N, 4, 4) closest in orientation (GP-NeRF's pool)."""
    _, turned = moved_and_turned(T_world_cameras, T_world_target)
    return np.argsort(turned, kind="stable")[:k]
