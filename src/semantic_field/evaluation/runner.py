"""``semantic-field evaluate``: maps and scores a recording, and makes one report."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from semantic_field.config import Config, SourceConfig
from semantic_field.data.placed import placed
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.evaluation.appearances import named_renderers, score_appearances
from semantic_field.evaluation.baselines.label_tasks import score_label_task, verdicts
from semantic_field.evaluation.baselines.without_map import score_without_map, shortfalls
from semantic_field.evaluation.mapping_run import MappingJob, MappingRun, Progress
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.protocols.supervision import SupervisedFrames
from semantic_field.evaluation.report import provenance
from semantic_field.evaluation.report.keeping import kept_on_failure, writable_folder
from semantic_field.evaluation.report.off_path_table import off_path_shortfalls
from semantic_field.evaluation.scores.cost import ResourceMeter, Usage
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames, ViewScores
from semantic_field.evaluation.scores.off_path_scores import OffPathView
from semantic_field.evaluation.scores.refined_views import how_taken
from semantic_field.evaluation.scores.scoring import MapScores, held_out, render, score_map
from semantic_field.evaluation.truth.true_scene import true_scene
from semantic_field.evaluation.virtual_views import score_off_path
from semantic_field.field.map_file import dump_map
from semantic_field.field.map_state import MapState
from semantic_field.mapping import Mapper
from semantic_field.mapping.renderer import Renderer
from semantic_field.mapping.warm_up import warm_up
from semantic_field.query.engine import QueryEngine
from semantic_field.settings import to_dict
from semantic_field.teachers import make_language_teacher
from semantic_field.teachers.choice import for_label_images
from semantic_field.teachers.image_teachers import make_image_teachers
from semantic_field.teachers.language import LanguageTeacher

FORMAT = "semantic_field.report"
FORMAT_VERSION = 1
FIRST_QUESTION = "floor"
CURVE_WIDTH = 320


@dataclass
class Evaluation:
    """A finished evaluation: the report as plain values, and the data for its pictures.

    ``state``, ``renderer`` and ``engine`` are those of a map; None where a model predicts views
    without one. ``off_path`` has examples of the views off the path that were scored, ``targets``
    of those that a model predicted.
    """

    report: dict[str, Any]
    source: FrameSource
    protocol: Protocol
    state: MapState | None = None
    renderer: Renderer | None = None
    engine: QueryEngine | None = None
    off_path: list[OffPathView] = field(default_factory=list)
    targets: list[OffPathView] = field(default_factory=list)


def evaluate(
    location: str,
    protocol: Protocol,
    config: Config | None = None,
    labels: str = "auto",
    progress: Progress = lambda text, share: None,
    out: Path | None = None,
    reading: SourceConfig | None = None,
    baseline: bool = True,
) -> Evaluation:
    """Map the train frames of a recording, and score the held-out ones.

    Args:
        location: folder, rosbag2, published layout or ``room`` (see ``open_source``).
        labels: which label images of a folder to use.
        progress: called with what is being done and the share that is done (0..1).
        out: a folder to which the map is saved if scoring fails.
        reading: how the recording is read.
        baseline: whether predictions without a map are scored beside it.
    Raises:
        ValueError: if the recording is damaged or too short for the split, or its classes do
            not fit the protocol, or views off the path are wanted of a recording whose truth is
            not known everywhere.
        RuntimeError: if training fails, the budget allows no step, or the map cannot be scored.
    """
    config = for_label_images(config or Config())
    options = (reading or SourceConfig()).options()
    options |= {} if labels == "auto" else {"labels": labels}
    source = placed(open_source(location, **options))
    split = protocol.make_split(len(source))
    positions = held_out(split.test, protocol)
    mapped = SupervisedFrames(source, split, protocol.supervision)
    off_path = bool(protocol.off_path.distances_m)
    if off_path:
        true_scene(source)  # raises early
    teacher = make_language_teacher(config.teacher) if protocol.queries else None
    ViewScores(source.label_names, protocol)  # raises early if classes do not fit the protocol
    if out is not None:
        writable_folder(out)
    progress("warming up", 0.0)
    warm_up(config)
    live_labels = bool(config.teacher.segmenter)
    image_teachers = make_image_teachers(config, teacher) if live_labels else None
    mapper = Mapper(config, teacher, image_teachers=image_teachers)
    with tempfile.TemporaryDirectory() as folder:
        with ResourceMeter() as meter:
            job = MappingJob(
                mapper,
                mapped,
                protocol.training,
                Path(folder),
                protocol.views.curve_points if protocol.views.curve else 0,
                _first_question(teacher, config),
                progress,
            )
            run = job.run()
            usage = meter.usage()
        about = head(location, source, protocol, config)
        with kept_on_failure(out, mapper, about):
            frames = HeldOutFrames(source, positions, protocol.views.width)
            scores = score_map(
                run.state,
                run.renderer,
                frames,
                source,
                protocol,
                teacher,
                config.query,
                progress,
                run.is_refined,
            )
            curve = _curve(run, source, positions, protocol, progress)
            task = score_label_task(
                run.renderer, source, mapped, frames, protocol, config, progress
            )
            if baseline:
                scores.quality["baseline"] = score_without_map(
                    mapped,
                    frames,
                    scores.objects,
                    run.state,
                    protocol,
                    teacher,
                    config.query,
                    progress,
                )
            renderers = named_renderers(mapper)
            others = dict(list(renderers.items())[1:])  # the first is the map's own
            if others:
                scores.quality["appearances"] = score_appearances(
                    others, frames, source.label_names, protocol, progress
                )
            examples = []
            if off_path:
                views = {name: item.render for name, item in renderers.items()}
                beside = score_off_path(source, mapped, views, protocol, baseline, progress)
                scores.quality["off_path"], examples = beside.figures, beside.examples
    report = about | {
        "split": {
            "train": len(split.train),
            "test": len(split.test),
            "rendered": positions,
            "nearest_train_view_m": _nearest_train_view(source, split.train, positions),
        },
        "quality": scores.quality | {"label_task": task},
        "cost": _cost(run, usage, scores, protocol),
        "curve": curve,
        "switches": run.status.switches,
        "views": [asdict(record) for record in scores.records],
        "notes": label_notes(location, labels)
        + list(getattr(source, "notes", ()))
        + scores.notes
        + how_taken(run.status.switches)
        + shortfalls(scores.quality)
        + off_path_shortfalls(scores.quality)
        + verdicts(task, scores.quality["semantics"]),
    }
    return Evaluation(
        plain(report), source, protocol, run.state, run.renderer, scores.engine, examples
    )


def head(location: str, source: FrameSource, protocol: Protocol, config: Config) -> dict[str, Any]:
    """Return the part of a report that describes input, protocol, settings and machine."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "input": {
            "name": source.name,
            "location": Path(location).name if Path(location).exists() else location,
            "frames": len(source),
            "classes": len(source.label_names),
            "checksum": provenance.checksum(location),
            "skipped": dict(getattr(source, "skipped", {})),
            "origin_m": np.asarray(getattr(source, "origin", np.zeros(3))).tolist(),
        },
        "protocol": {
            "name": protocol.name,
            "hash": protocol.hash,
            "budget": protocol.training.describe(),
            "content": protocol.to_dict(),
        },
        "config": to_dict(config),
        "seed": config.mapping.seed,
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "commit": provenance.commit(),
    }


def label_notes(location: str, labels: str = "auto") -> list[str]:
    """Return a sentence if the labels of a folder are not ground truth, else []."""
    from semantic_field.data.folder import find_labels

    path = Path(location)
    if labels == "none" or not (path / "poses.txt").exists():
        return []
    found = find_labels(path, labels)
    if found is None or found.folder.name == "semantic":
        return []
    return [
        f"The labels come from {found.folder.name}/, which is not ground truth: mIoU is agreement "
        "with that labelling on held-out views, and queries are judged by objects made of it"
    ]


def _first_question(teacher: LanguageTeacher | None, config: Config):
    """Return a function that queries a snapshot for the first time; None without language."""
    if teacher is None:
        return None

    def ask(state: MapState) -> None:
        engine = QueryEngine(teacher, config.query)
        engine.set_map(state)
        engine.query(FIRST_QUESTION)

    return ask


def _curve(
    run: MappingRun,
    source: FrameSource,
    positions: list[int],
    protocol: Protocol,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return quality, losses and memory at each milestone, over a few held-out views."""
    few = dataclasses.replace(
        protocol,
        conventions=(),
        views=dataclasses.replace(protocol.views, limit=protocol.views.curve),
    )
    frames = HeldOutFrames(source, held_out(positions, few), CURVE_WIDTH)
    points = []
    for number, milestone in enumerate(run.milestones):
        scores = ViewScores(source.label_names, few)
        renderer = run.renderer.earlier(milestone.load())
        for i in range(len(frames)):
            scores.add(i, frames[i], *render(renderer, frames[i]))
        result, status = scores.result(), milestone.status
        semantics = result["semantics"]
        points.append(
            {
                "seconds": milestone.seconds,
                "steps": status.steps,
                "keyframes": status.keyframes,
                "psnr": result["views"]["psnr"],
                "depth_l1_m": result["depth"]["depth_l1_m"],
                "miou": _value(semantics, protocol.headline),
                "losses": status.losses,
                "rays_per_s": status.rays_per_s,
                "memory_mb": status.memory_bytes / 1e6,
            }
        )
        progress("curves", (number + 1) / len(run.milestones))
    return points


def _value(semantics: dict[str, Any] | None, name: str) -> float | None:
    return semantics["conventions"][name]["value"] if semantics else None


def _cost(run: MappingRun, usage: Usage, scores: MapScores, protocol: Protocol) -> dict[str, Any]:
    status = run.status
    return scores.cost | {
        "mapping_s": run.seconds,
        "loading_s": run.loading_s,
        "frames_given": run.given,
        "frames_taken": run.taken,
        "frames_dropped": dict(status.dropped),
        "keyframes": status.keyframes,
        "keyframes_per_s": run.taken / (run.seconds if run.loading_s == 0 else run.loading_s),
        "steps": status.steps,
        "steps_per_s": status.steps / run.seconds,
        "rays_per_s": status.rays / run.seconds,
        "first_answer_s": run.first_answer_s,
        "cpu_s": usage.cpu_s,
        "wall_s": usage.wall_s,
        "peak_rss_mb": usage.peak_rss_mb,
        "start_rss_mb": usage.start_rss_mb,
        "peak_gpu_mb": usage.peak_gpu_mb,
        "mapper_memory_mb": status.memory_bytes / 1e6,
        "map_file_mb": len(dump_map(run.state)) / 1e6,
        "kernels": status.kernels,
        "mode": protocol.training.mode,
    }


def _nearest_train_view(
    source: FrameSource, train: tuple[int, ...], positions: list[int]
) -> dict[str, float]:
    """Return the distances (metres) of held-out cameras to the mapped frames just before and after.

    Small distances mean that held-out views are easy to predict.
    """
    near = sorted({i for p in positions for i in _around(train, p)})
    centres = {i: source[i].T_world_camera[:3, 3] for i in {*near, *positions}}
    distances = [
        min(float(np.linalg.norm(centres[p] - centres[i])) for i in _around(train, p))
        for p in positions
    ]
    return {"median": float(np.median(distances)), "max": float(np.max(distances))}


def _around(train: tuple[int, ...], position: int) -> list[int]:
    """Return the mapped frames just before and just after a position."""
    before = [i for i in train if i < position][-1:]
    after = [i for i in train if i > position][:1]
    return before + after


def plain(value: Any) -> Any:
    """Convert to plain JSON values; NaN and infinities become None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
