"""``semantic-field evaluate --weights``: a report of a model that was not trained on the scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from semantic_field.config import SourceConfig
from semantic_field.data.placed import placed
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.evaluation.generalizable.contestants import (
    HAND_SET,
    REPROJECTION,
    Contestants,
    class_ids,
)
from semantic_field.evaluation.generalizable.method_scores import Contest
from semantic_field.evaluation.generalizable.target_views import TargetViews
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.report.keeping import writable_folder
from semantic_field.evaluation.report.method_table import method_shortfalls
from semantic_field.evaluation.runner import Evaluation, head, label_notes, plain
from semantic_field.evaluation.scores.cost import ResourceMeter, Usage
from semantic_field.evaluation.scores.off_path_scores import OffPathView

Progress = Callable[[str, float], None]


def evaluate_model(
    location: str,
    protocol: Protocol,
    contestants: Contestants,
    labels: str = "auto",
    progress: Progress = lambda text, share: None,
    out: Path | None = None,
    reading: SourceConfig | None = None,
) -> Evaluation:
    """Predict the targets of a recording from its other frames, and score all methods alike.

    Args:
        location: folder, rosbag2, published layout or ``room`` (see ``open_source``).
        labels: which label images of a folder to use.
        progress: called with what is being done and the share that is done (0..1).
        out: the folder of the report; whether it can be written is found out first.
        reading: how the recording is read.
    Raises:
        ValueError: if the recording is damaged or too short for the split, has no class that the
            model knows, or the protocol has no sources.
        RuntimeError: if a field has to be trained as a baseline and that fails.
    """
    options = (reading or SourceConfig()).options()
    options |= {} if labels == "auto" else {"labels": labels}
    source = placed(open_source(location, **options))
    if out is not None:
        writable_folder(out)
    protocol = _of_known_classes(protocol, contestants, source)
    views = TargetViews(source, protocol)
    contestants = contestants.tuned(views.pool(0), source.label_names, views.settings, progress)
    contest, draws = Contest(source.label_names, protocol), views.settings.draws
    with ResourceMeter() as meter:
        for draw in range(draws):
            part = f"draw {draw + 1} of {draws}" if draws > 1 else "targets"
            progress(part, 0.0)
            methods = contestants.methods(views.pool(draw), source.label_names, views.settings)
            contest.run(methods, views.truth, lambda share, part=part: progress(part, share))
        usage = meter.usage()
    quality, cost = _figures(contest, contestants)
    report = head(location, source, protocol, contestants.config) | {
        "split": {
            "train": len(views.split.train),
            "test": len(views.split.test),
            "rendered": views.truth.positions,
            "pool": True,
        },
        "model": _described(contestants),
        "quality": quality,
        "cost": cost | _resources(usage),
        "curve": [],
        "views": [asdict(record) for record in contest.methods[contestants.name].records],
        "notes": label_notes(location, labels)
        + list(getattr(source, "notes", ()))
        + contestants.notes()
        + method_shortfalls(contestants.name, quality, cost),
    }
    report["protocol"]["budget"] = views.settings.describe()
    return Evaluation(plain(report), source, protocol, targets=_pictured(contest, contestants))


def _of_known_classes(
    protocol: Protocol, contestants: Contestants, source: FrameSource
) -> Protocol:
    """Return the protocol with only those classes that the model can name."""
    ids = class_ids(contestants.model.class_names, source.label_names)
    if ids is None:
        return protocol
    known = tuple(dict.fromkeys(source.label_names[i] for i in ids.tolist() if i >= 0))
    return replace(protocol, classes=replace(protocol.classes, subset=known))


def _figures(contest: Contest, contestants: Contestants) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``quality``, with that of other methods, and ``cost`` of a report."""
    results = contest.results()
    times = {name: result.pop("render_ms") for name, result in results.items()}
    cpu = {name: result.pop("cpu_ms") for name, result in results.items()}
    varied = {item.name for item in contestants.variations}
    quality = results.pop(contestants.name) | {
        "methods": {name: item for name, item in results.items() if name not in varied},
        "ablation": {name: item for name, item in results.items() if name in varied},
        "points": None,
        "queries": None,
        "instances": None,
    }
    cost = {"render_ms_median": times[contestants.name], "render_ms": times, "cpu_ms": cpu}
    return quality, cost


def _pictured(contest: Contest, contestants: Contestants) -> list[OffPathView]:
    """Return the examples with the views of the model and of the baselines without training."""
    names = (contestants.name, REPROJECTION, HAND_SET)
    return [
        replace(item, views={name: item.views[name] for name in names}) for item in contest.examples
    ]


def _described(contestants: Contestants) -> dict[str, Any]:
    model = contestants.model
    return {
        "name": contestants.name,
        "system": type(model).__name__,
        "parameters": int(sum(np.prod(part.shape) for part in model.parameters())),
        "classes": list(model.class_names),
        "first_baseline": REPROJECTION,
    }


def _resources(usage: Usage) -> dict[str, Any]:
    names = ("cpu_s", "wall_s", "peak_rss_mb", "start_rss_mb", "peak_gpu_mb")
    return {name: getattr(usage, name) for name in names}
