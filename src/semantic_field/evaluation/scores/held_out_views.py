"""Scores of held-out views: colour, depth and labels of rendered images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from semantic_field.evaluation.scores.pixel_confidence import PixelConfidence
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame

PER_IMAGE = Rule(scope="set", classes="gt")


@dataclass(frozen=True)
class ViewRecord:
    """Scores of one held-out view; NaN if undefined, None if not computed."""

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
    depth_early_5cm: float
    depth_late_5cm: float
    depth_covered: float
    miou: float
    accuracy: float
    render_s: float


def fit(frame: Frame, width: int) -> Frame:
    """Return the frame, resized in proportion if it is wider than ``width`` (0 = unchanged)."""
    return frame.no_wider_than(width) if width > 0 else frame


class HeldOutFrames:
    """Held-out frames at the size of the rendered views; decoded on access."""

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
    """Accumulates the scores of views.

    Args:
        label_names: class ids and names of the recording; {} without labels.
        protocol: conventions and classes.
    Raises:
        ValueError: if the classes do not fit the protocol, see ``ClassSet``.
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
        self._confidence = PixelConfidence()
        self._labelled = 0

    def add(self, position: int, truth: Frame, view: RenderedView, render_s: float) -> ViewRecord:
        """Score one view and return its record; ``truth`` has the size of the rendered images.

        Args:
            position: of the frame in the recording.
            render_s: rendering time, seconds.
        """
        valid = truth.depth > 0
        color = color_score(truth.color, view.color, valid)
        depth = depth_score(truth.depth, view.depth)
        self._confidence.add_depths(truth.depth, view)
        miou, accuracy = self._add_labels(truth.labels, view)
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
            depth_early_5cm=depth.early_5cm,
            depth_late_5cm=depth.late_5cm,
            depth_covered=depth.covered,
            miou=miou,
            accuracy=accuracy,
            render_s=render_s,
        )
        self.records.append(record)
        return record

    def _add_labels(
        self, truth: NDArray[np.int32] | None, view: RenderedView
    ) -> tuple[float, float]:
        if truth is None or not len(self.classes):
            return float("nan"), float("nan")
        rows = self.classes.rows(truth), self.classes.rows(view.label)
        self._confidence.add_labels(*rows, view)
        for matrix in self._matrices.values():
            matrix.add(*rows)
        self._labelled += 1
        own = ConfusionMatrix(self.classes.names, PER_IMAGE)
        own.add(*rows)
        scores = own.result()
        return scores.miou, scores.total_accuracy

    def result(self) -> dict[str, Any]:
        """Return mean scores in ``views`` and ``depth``, ``semantics`` (None without labels), the
        calibration of ``confidence``, and in ``left_out`` why a score was not computed.
        """

        def mean(name: str) -> float | None:
            values = [getattr(record, name) for record in self.records]
            finite = [v for v in values if v is not None and np.isfinite(v)]
            return float(np.mean(finite)) if finite else None

        names = ("psnr", "ssim", "psnr_valid", "ssim_valid", "lpips")
        depth = ("l1_m", "median_m", "within_5cm", "early_5cm", "late_5cm", "covered")
        return {
            "views": {"count": len(self.records), **{name: mean(name) for name in names}},
            "left_out": [self._lpips.missing] if self._lpips.missing else [],
            "depth": {f"depth_{name}": mean(f"depth_{name}") for name in depth},
            "confidence": self._confidence.result(),
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


def quality_of_views(
    render: Callable[[Frame], tuple[RenderedView, float]],
    held: HeldOutFrames,
    label_names: dict[int, str],
    protocol: Protocol,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Return ``views``, ``geometry``, ``semantics`` and ``confidence`` of a report's ``quality``.

    Args:
        render: returns the view at a held-out frame, and the seconds that it took.
        label_names: class ids and names of the recording.
        progress: called with the share of the views that is done, 0..1.
    """
    scores = ViewScores(label_names, protocol)
    for number, position in enumerate(held.positions):
        frame = held[number]
        scores.add(position, frame, *render(frame))
        progress((number + 1) / len(held))
    result = scores.result()
    kept = {name: result[name] for name in ("views", "semantics", "confidence")}
    return kept | {"geometry": result["depth"]}
