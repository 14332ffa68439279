"""Scores of views off the recorded path: of what was observed, of what all cover, of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.conventions import convention
from semantic_field.evaluation.scores.region_views import Knowledge, RegionViews
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame

REGIONS = ("observed", "covered", "whole")


@dataclass(frozen=True)
class OffPathView:
    """One view of the truth, and what the map and its baseline show of it.

    Attributes:
        about: where the camera is, in words.
        truth: the exact view.
        observed: mask (H, W) of the pixels whose surface was observed by some mapped frame.
        views: the rendered ones by name.
    """

    about: str
    truth: Frame
    observed: NDArray[np.bool_]
    views: dict[str, RenderedView]


class OffPathScores:
    """Accumulates the scores of views by name, all of them over the same pixels.

    The regions are the ``observed`` pixels, those ``covered`` by all names (which show a depth
    there), and the ``whole`` view.

    Args:
        label_names: class ids and names of the recording; {} without labels.
        protocol: its classes, and the definition of its mIoU.
        names: of the views.
    """

    def __init__(
        self, label_names: dict[int, str], protocol: Protocol, names: Sequence[str]
    ) -> None:
        part = protocol.classes
        classes = ClassSet(label_names, part.ignore, part.subset, part.groups)
        rule = convention(protocol.headline).rule
        self._regions = {n: {r: RegionViews(classes, rule) for r in REGIONS} for n in names}
        self._knowledge = {name: Knowledge() for name in names}
        self.count = 0

    def add(self, item: OffPathView) -> None:
        """Score the views of one camera."""
        covered = np.logical_and.reduce([view.depth > 0 for view in item.views.values()])
        masks = (item.observed, covered, np.ones(covered.shape, bool))
        for name, view in item.views.items():
            for region, mask in zip(REGIONS, masks, strict=True):
                self._regions[name][region].add(item.truth, view, mask)
            self._knowledge[name].add(view, item.observed)
        self.count += 1

    def result(self) -> dict[str, Any]:
        """Return for each name the scores of each region, and what it says to be unknown."""
        return {
            name: {region: item.result() for region, item in regions.items()}
            | self._knowledge[name].result()
            for name, regions in self._regions.items()
        }
