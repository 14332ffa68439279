"""Scores held-out views: colour, depth and labels of what the map renders there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.confusion import ConfusionMatrix, Rule
from semantic_field.evaluation.scores.conventions import convention
from semantic_field.evaluation.scores.image_quality import Lpips, color_score, depth_score
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame

PER_IMAGE = Rule(scope="set", classes="gt")


@dataclass(frozen=True)
class ViewRecord:
    """One held-out view; NaN where a figure is undefined, None where it was left out."""

    position: int
    stamp_ns: int
    psnr: float
    ssim: float
    psnr_valid: float
    ssim_valid: float
    lpips: float | None
    depth_l1_m: float
    depth_median_m: float
    depth_within_5cm: float
    depth_covered: float
    miou: float
    accuracy: float
    render_s: float


def fit(frame: Frame, width: int) -> Frame:
    """The frame at ``width`` pixels, where that is smaller than it is (0 = as it is)."""
    camera = frame.camera
    if not 0 < width < camera.width:
        return frame
    return frame.resized(width, max(1, round(camera.height * width / camera.width)))


class HeldOutFrames:
    """Held-out frames at the size at which they are rendered, decoded when asked for."""

    def __init__(self, source: FrameSource, positions: Sequence[int], width: int) -> None:
        self.positions = list(positions)
        self._source, self._width = source, width

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Frame:
        return fit(self._source[self.positions[index]], self._width)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))


class ViewScores:
    """Accumulates views.

    Args:
        label_names: class ids and names of the recording; {} where it has no labels.
        protocol: conventions and classes.
    """

    def __init__(self, label_names: dict[int, str], protocol: Protocol) -> None:
        classes = protocol.classes
        self.classes = ClassSet(label_names, classes.ignore, classes.subset, classes.groups)
        self._protocol, self._lpips = protocol, Lpips()
        wanted = dict.fromkeys((protocol.headline, *protocol.conventions))
        self._matrices = {
            name: ConfusionMatrix(self.classes.names, convention(name).rule) for name in wanted
        }
        self.records: list[ViewRecord] = []
        self._labelled = 0

    def add(self, position: int, truth: Frame, view: RenderedView, render_s: float) -> ViewRecord:
        """Score one view; ``truth`` has the size of the rendered images."""
        valid = truth.depth > 0
        color = color_score(truth.color, view.color, valid)
        depth = depth_score(truth.depth, view.depth)
        miou, accuracy = self._add_labels(truth.labels, view.label)
        record = ViewRecord(
            position=position,
            stamp_ns=truth.stamp_ns,
            psnr=color.psnr,
            ssim=color.ssim,
            psnr_valid=color.psnr_valid,
            ssim_valid=color.ssim_valid,
            lpips=self._lpips(truth.color, view.color),
            depth_l1_m=depth.l1,
            depth_median_m=depth.median,
            depth_within_5cm=depth.within_5cm,
            depth_covered=depth.covered,
            miou=miou,
            accuracy=accuracy,
            render_s=render_s,
        )
        self.records.append(record)
        return record

    def _add_labels(self, truth: NDArray[np.int32] | None, label: NDArray) -> tuple[float, float]:
        if truth is None or not len(self.classes):
            return float("nan"), float("nan")
        rows = self.classes.rows(truth), self.classes.rows(label)
        for matrix in self._matrices.values():
            matrix.add(*rows)
        self._labelled += 1
        own = ConfusionMatrix(self.classes.names, PER_IMAGE)
        own.add(*rows)
        scores = own.result()
        return scores.miou, scores.total_accuracy

    def result(self) -> dict[str, Any]:
        """``views`` and ``geometry`` means, and ``semantics`` (None without labels)."""

        def mean(name: str) -> float | None:
            values = [getattr(record, name) for record in self.records]
            finite = [v for v in values if v is not None and np.isfinite(v)]
            return float(np.mean(finite)) if finite else None

        names = ("psnr", "ssim", "psnr_valid", "ssim_valid", "lpips")
        depth = ("depth_l1_m", "depth_median_m", "depth_within_5cm", "depth_covered")
        return {
            "views": {"count": len(self.records), **{name: mean(name) for name in names}},
            "left_out": [self._lpips.missing] if self._lpips.missing else [],
            "depth": {name: mean(name) for name in depth},
            "semantics": self._semantics() if self._labelled else None,
        }

    def _semantics(self) -> dict[str, Any]:
        figures = {}
        for name, matrix in self._matrices.items():
            item, scores = convention(name), matrix.result()
            figures[name] = {
                "value": item.headline(scores),
                "miou": scores.miou,
                "miou_frequent": scores.miou_frequent,
                "fw_iou": scores.fw_iou,
                "total_accuracy": scores.total_accuracy,
                "class_accuracy": scores.class_accuracy,
                "pixels": scores.pixels,
                "rule": item.rule.describe(),
                "about": item.about,
            }
        headline = self._matrices[self._protocol.headline]
        return {
            "headline": self._protocol.headline,
            "images": self._labelled,
            "conventions": figures,
            "classes": [asdict(score) for score in headline.result().classes],
            "confusion": {
                "names": [*self.classes.names, "none or left out"],
                "counts": headline.counts.tolist(),
            },
        }
