"""Which frames are mapped and which are held out, by the rules that papers published.

A mapper is only ever given a ``TrainFrames``: it cannot reach a held-out frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame


@dataclass(frozen=True)
class Split:
    """Positions of frames in a recording; the two never share one.

    Raises:
        ValueError: where they do, where one comes twice or lies outside, or a part is empty.
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
    """Frames 0, n, 2n, ... are held out, all others are mapped (OV-NeRF: n = 10)."""
    test = range(0, n_frames, n)
    return Split(tuple(i for i in range(n_frames) if i % n), tuple(test), n_frames)


def semantic_nerf(n_frames: int, step: int = 5, shift: int = 2) -> Split:
    """Mapped 0, 5, 10, ...; held out 2, 7, 12, ... (Semantic-NeRF on Replica)."""
    train = range(0, n_frames, step)
    return Split(tuple(train), tuple(i + shift for i in train if i + shift < n_frames), n_frames)


def source_target(
    n_frames: int, last: int = 700, source_step: int = 5, target_step: int = 20, targets: int = 10
) -> Split:
    """Sources [:700:5], targets [2:700:20][:10] (GSNeRF, GP-NeRF and Semantic-Ray at test)."""
    end = min(last, n_frames)
    test = tuple(range(2, end, target_step))[:targets]
    return Split(tuple(i for i in range(0, end, source_step) if i not in test), test, n_frames)


def explicit(n_frames: int, train: Sequence[int] = (), test: Sequence[int] = ()) -> Split:
    """Given positions; without ``train`` everything that is not held out."""
    chosen = tuple(train) or tuple(i for i in range(n_frames) if i not in set(test))
    return Split(chosen, tuple(test), n_frames)


SPLITS: dict[str, Callable[..., Split]] = {
    "every_nth": every_nth,
    "ov_nerf": every_nth,
    "semantic_nerf": semantic_nerf,
    "gsnerf": source_target,
    "gp_nerf": source_target,
    "explicit": explicit,
}


def make_split(rule: str, n_frames: int, **options: Any) -> Split:
    """A split by its rule's name; ValueError on an unknown name or option."""
    if rule not in SPLITS:
        raise ValueError(f"expected a split of {sorted(SPLITS)}, got {rule!r}")
    try:
        return SPLITS[rule](n_frames, **options)
    except TypeError as error:
        raise ValueError(f"expected other options of the split {rule}: {error}") from error


class TrainFrames:
    """The mapped frames of a recording, and no others: a ``FrameSource`` of its own.

    Instances (ground truth for scoring) are taken off the frames as well.
    """

    def __init__(self, source: FrameSource, split: Split) -> None:
        self.name, self.label_names = source.name, dict(source.label_names)
        self._source, self._indices = source, split.train
        self.stamps: Sequence[int] = [source.stamps[i] for i in split.train]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Frame:
        return replace(self._source[self._indices[index]], instances=None)


def nearest_by_distance(
    centres: NDArray[np.floating], target: NDArray[np.floating], k: int
) -> NDArray[np.int64]:
    """The k cameras whose centres (N, 3) are nearest to a target centre (3,), nearest first.

    GSNeRF's own code compares world-to-camera translations here, which gives another order.
    """
    distances = np.linalg.norm(centres - target, axis=1)
    return np.argsort(distances, kind="stable")[:k]


def nearest_by_angle(
    T_world_cameras: NDArray[np.floating], T_world_target: NDArray[np.floating], k: int
) -> NDArray[np.int64]:
    """The k cameras (N, 4, 4) whose orientation is nearest to the target's (GP-NeRF's pool)."""
    relative = np.einsum("ji,njk->nik", T_world_target[:3, :3], T_world_cameras[:, :3, :3])
    cosine = np.clip((np.trace(relative, axis1=1, axis2=2) - 1) / 2, -1, 1)
    return np.argsort(np.arccos(cosine), kind="stable")[:k]
