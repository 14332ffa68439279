"""Scores of label tasks: mapped views and baselines when only some labels were given."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semantic_field.config import Config
from semantic_field.data.sources import FrameSource
from semantic_field.evaluation.baselines.label_baselines import (
    BaselineScores,
    labelled_frames,
    summary,
)
from semantic_field.evaluation.mapping_run import MappingJob
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.protocols.supervision import SupervisedFrames
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.confusion import ConfusionMatrix
from semantic_field.evaluation.scores.conventions import convention
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames
from semantic_field.evaluation.scores.scoring import held_out
from semantic_field.mapping.renderer import Renderer

Progress = Callable[[str, float], None]
NETWORK_VIEW_WIDTH = 160  # a view of the large network takes minutes at full size
MISSED = 0.05


def score_label_task(
    renderer: Renderer,
    source: FrameSource,
    frames: SupervisedFrames,
    held: HeldOutFrames,
    protocol: Protocol,
    config: Config,
    progress: Progress = lambda text, share: None,
) -> dict[str, Any] | None:
    """Score mapped views against clean labels, and the baselines on held-out views.

    Args:
        frames: the frames that the mapper was given.
        held: the held-out views.
    Returns:
        The task in words and its scores, or None if the protocol has no label task and no
        baselines, or the recording has no labels.
    """
    plain_task = protocol.supervision.kind == "all" and not protocol.views.mapped
    if (plain_task and not protocol.baselines) or not source.label_names:
        return None
    part = protocol.classes
    classes = ClassSet(source.label_names, part.ignore, part.subset, part.groups)
    return {
        "task": protocol.supervision.describe(),
        "labelled_frames": [frames.position(i) for i in sorted(frames.labelled)],
        "mapped_views": _mapped_views(renderer, source, frames, protocol, classes, progress),
        "baselines": _baselines(renderer, frames, held, protocol, classes, progress)
        | _network(source, frames, held.positions, protocol, config, classes, progress),
    }


def label_figures(
    renderer: Renderer, views: HeldOutFrames, protocol: Protocol, classes: ClassSet
) -> tuple[dict[str, Any], list[str]]:
    """Return the scores of rendered labels, and the names of classes with an IoU below 0.05."""
    matrix = ConfusionMatrix(classes.names, convention(protocol.headline).rule)
    for frame in views:
        if frame.labels is not None:
            label = renderer.render(frame.camera, frame.T_world_camera).label
            matrix.add(classes.rows(frame.labels), classes.rows(label))
    scores = matrix.result()
    return summary(scores), [c.name for c in scores.classes if c.truth and c.iou < MISSED]


def _mapped_views(
    renderer: Renderer,
    source: FrameSource,
    frames: SupervisedFrames,
    protocol: Protocol,
    classes: ClassSet,
    progress: Progress,
) -> dict[str, Any] | None:
    """Score mapped views against the recorded labels: how far the map corrects given errors."""
    if not protocol.views.mapped:
        return None
    progress("mapped views", 0.0)
    every = [frames.position(i) for i in range(len(frames))]
    step = max(1, len(every) // protocol.views.mapped)
    views = HeldOutFrames(source, every[::step][: protocol.views.mapped], protocol.views.width)
    return label_figures(renderer, views, protocol, classes)[0] | {"views": len(views)}


def _baselines(
    renderer: Renderer,
    frames: SupervisedFrames,
    held: HeldOutFrames,
    protocol: Protocol,
    classes: ClassSet,
    progress: Progress,
) -> dict[str, Any]:
    names = tuple(name for name in protocol.baselines if name != "frequency_mlp")
    if not names:
        return {}
    labelled = (frames[i] for i in sorted(frames.labelled))
    scores = BaselineScores(labelled_frames(labelled, classes), classes, protocol, names)
    for number, frame in enumerate(held):
        if frame.labels is not None:
            scores.add(frame, renderer.render(frame.camera, frame.T_world_camera).label)
        progress("baselines", (number + 1) / len(held))
    return scores.result()


def _network(
    source: FrameSource,
    frames: SupervisedFrames,
    positions: list[int],
    protocol: Protocol,
    config: Config,
    classes: ClassSet,
    progress: Progress,
) -> dict[str, Any]:
    """Train and score the frequency field with the same budget as the map."""
    if "frequency_mlp" not in protocol.baselines:
        return {}
    from semantic_field.evaluation.baselines.frequency_field import FrequencyMapper

    def told(text: str, share: float) -> None:
        progress(f"network: {text}", share)

    with tempfile.TemporaryDirectory() as folder:
        mapper = FrequencyMapper(config)
        run = MappingJob(
            mapper, frames, protocol.training, Path(folder), points=0, progress=told
        ).run()
    views = HeldOutFrames(source, held_out(positions, protocol), NETWORK_VIEW_WIDTH)
    told("held-out views", 0.0)
    figures, _ = label_figures(run.renderer.field_only(), views, protocol, classes)
    return {"frequency_mlp": figures | {"steps": run.status.steps, "width": NETWORK_VIEW_WIDTH}}


def verdicts(task: dict[str, Any] | None, semantics: dict[str, Any] | None) -> list[str]:
    """Return a sentence for each baseline: whether the map is better, and by how much."""
    if task is None or semantics is None:
        return []
    own = semantics["conventions"][semantics["headline"]]["miou"]
    sentences = []
    for name, figures in task["baselines"].items():
        points = 100 * (own - figures["miou"])
        word = "beats" if points > 0 else "does not beat"
        sentences.append(
            f"The map {word} the baseline {name}: mIoU {own:.3f} against {figures['miou']:.3f} "
            f"({points:+.1f} points)"
        )
    return sentences
