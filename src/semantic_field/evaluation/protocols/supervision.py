"""Which labels the mapper is given: all of the recording's, or what a task leaves of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource
from semantic_field.data.view_selection import choose_views
from semantic_field.evaluation.protocols import corruptors
from semantic_field.evaluation.protocols.splits import Split, TrainFrames
from semantic_field.frames import VOID_LABEL, Frame

KINDS = ("all", "frames", "sparse", "pixel_noise", "region_noise", "super_resolution", "clicks")


@dataclass(frozen=True)
class Supervision:
    """A task on labels; ``corruptors`` has the rules.

    Attributes:
        kind: "all" = as recorded; "frames" = ``count`` labelled frames; "sparse" = a ``share`` of
            the frames loses its labels; "pixel_noise", "region_noise" = a ``share`` of the
            pixels, or of the frames of each instance of ``classes``, is mislabelled;
            "super_resolution" = ``factor`` times fewer rows and columns; "clicks" = of each class
            in each frame one pixel (``share`` 0), or a ``share`` of its area.
        choice: how "frames" are chosen: "even", or "coverage" = those that together show the most
            surface (by depth and pose; labels are not looked at).
        frames: positions of the labelled frames in the recording, instead of a choice.
        dense: of "super_resolution". even: of "region_noise".
    """

    kind: str = "all"
    share: float = 0.0
    count: int = 10
    choice: str = "even"
    frames: tuple[int, ...] = ()
    factor: int = 8
    dense: bool = False
    even: bool = False
    classes: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("choice", ("even", "coverage"))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"expected supervision.{name} of {known}, got {getattr(self, name)!r}"
                )
        if not 0 <= self.share <= 1 or self.count < 1 or self.factor < 1:
            raise ValueError(
                "expected supervision.share in 0..1, count and factor from 1 on, got "
                f"{self.share}, {self.count} and {self.factor}"
            )

    def describe(self) -> str:
        """The task in words."""
        percent = f"{100 * self.share:g} %"
        return {
            "all": "all label images",
            "frames": f"{len(self.frames) or self.count} labelled frames"
            + (" chosen by coverage" if self.choice == "coverage" and not self.frames else ""),
            "sparse": f"{percent} of the label images dropped",
            "pixel_noise": f"{percent} of the pixels mislabelled",
            "region_noise": f"{', '.join(self.classes)}: {percent} of each one's frames "
            f"mislabelled ({'even' if self.even else 'sort'})",
            "super_resolution": f"labels of {self.factor}x fewer rows and columns, "
            + ("dense" if self.dense else "sparse"),
            "clicks": f"{percent} of each class of each frame clicked"
            if self.share
            else "one click for each class of each frame",
        }[self.kind]


class SupervisedFrames(TrainFrames):
    """The mapped frames with the labels that a task leaves of them.

    Attributes:
        labelled: positions among the mapped frames that have a label image.
    """

    def __init__(self, source: FrameSource, split: Split, task: Supervision) -> None:
        super().__init__(source, split)
        self._task = task
        self._classes = sorted(self.label_names)
        self.labelled = frozenset(self._choose(split.train))
        self._flips = self._region_flips() if task.kind == "region_noise" else {}

    def __getitem__(self, index: int) -> Frame:
        frame = self._source[self._indices[index]]
        labels = frame.labels if index in self.labelled else None
        if labels is not None:
            labels = self._corrupted(index, labels, frame.instances)
        return replace(frame, labels=labels, instances=None)

    def position(self, index: int) -> int:
        """Where a mapped frame stands in the recording."""
        return self._indices[index]

    def _choose(self, train: Sequence[int]) -> Sequence[int]:
        task, n = self._task, len(train)
        if task.kind == "sparse":
            return corruptors.sparse_views(n, task.share)
        if task.kind != "frames" or task.count >= n:
            return range(n)
        if task.frames:
            missing = sorted(set(task.frames) - set(train))
            if missing:
                raise ValueError(f"expected labelled frames among the mapped ones, got {missing}")
            return [i for i, position in enumerate(train) if position in task.frames]
        if task.choice == "coverage":
            return choose_views((self._source[i] for i in train), task.count)
        return corruptors.evenly(n, task.count)

    def _corrupted(
        self, index: int, labels: NDArray[np.int32], instances: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        task, random = self._task, np.random.default_rng((self._task.seed, index))
        if task.kind == "pixel_noise":
            return corruptors.pixel_noise(labels, task.share, self._classes, random)
        if task.kind == "super_resolution":
            return corruptors.super_resolution(labels, task.factor, task.dense)
        if task.kind == "clicks":
            return corruptors.clicks(labels, task.share, random)
        if task.kind == "region_noise":
            labels = labels.copy()
            for (frame, instance), class_id in self._flips.items():
                if frame == index:
                    labels[instances == instance] = class_id
        return labels

    def _region_flips(self) -> dict[tuple[int, int], int]:
        """Which instances of the task's classes are mislabelled in which mapped frames."""
        wanted = [i for i, name in self.label_names.items() if name in self._task.classes]
        areas: dict[int, dict[int, int]] = {}
        for index, position in enumerate(self._indices):
            frame = self._source[position]
            if frame.labels is None or frame.instances is None:
                continue
            found = frame.instances[np.isin(frame.labels, wanted)]
            for instance, area in zip(*np.unique(found, return_counts=True), strict=True):
                if instance != VOID_LABEL:
                    areas.setdefault(int(instance), {})[index] = int(area)
        if not areas:
            raise ValueError(
                f"expected instances of {self._task.classes} in the recording for region noise, "
                "found none"
            )
        random = np.random.default_rng(self._task.seed)
        return corruptors.region_noise(
            areas, self._task.share, self._task.even, self._classes, random
        )
