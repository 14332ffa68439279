"""Scores of a finished map: views, surface, labelled points, instance masks, queries."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semantic_field.config import QueryConfig
from semantic_field.data.sources import FrameSource
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames, ViewRecord, ViewScores
from semantic_field.evaluation.scores.instances import InstanceScore, instance_score, mean_score
from semantic_field.evaluation.scores.point_labels import POINT_PROTOCOLS, point_scores
from semantic_field.evaluation.scores.queries import score_queries, take_latency
from semantic_field.evaluation.scores.refined_views import score_refined
from semantic_field.evaluation.scores.surfaces import LabelledCloud, fuse, surface_score
from semantic_field.evaluation.truth.object_masks import ObjectMasks, thing_classes, true_objects
from semantic_field.evaluation.truth.true_objects import ReferenceObject
from semantic_field.field.map_state import MapState
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.mapping.renderer import Renderer
from semantic_field.query.engine import QueryEngine
from semantic_field.teachers.language import LanguageTeacher

MAX_FUSED_FRAMES = 80
FUSED_VOXEL_M = 0.02
LEAST_READINGS = 2  # frames that must have seen a point of the sensor's cloud

Progress = Callable[[str, float], None]


@dataclass
class MapScores:
    """Scores of one map. ``quality`` is reproducible from run to run, ``cost`` is not.

    ``objects`` are the true objects that queries were scored against; empty without queries.
    """

    quality: dict[str, Any]
    cost: dict[str, Any]
    records: list[ViewRecord]
    notes: list[str]
    objects: list[ReferenceObject]
    engine: QueryEngine | None = None


def held_out(positions: Sequence[int], protocol: Protocol) -> list[int]:
    """Return the positions that are rendered: all, or ``views.limit`` evenly spaced ones."""
    limit = protocol.views.limit
    if not limit or len(positions) <= limit:
        return list(positions)
    chosen = np.linspace(0, len(positions) - 1, limit).round().astype(int)
    return [positions[i] for i in dict.fromkeys(chosen.tolist())]


def render(
    renderer: Renderer, frame: Frame, as_refined: bool = False
) -> tuple[RenderedView, float]:
    """Render the map at a frame's camera; returns the view and the rendering time in seconds.

    With ``as_refined``, pose and exposure are those learnt for the frame's moment.
    """
    began, stamp_ns = time.perf_counter(), frame.stamp_ns if as_refined else None
    view = renderer.render(frame.camera, frame.T_world_camera, stamp_ns)
    return view, time.perf_counter() - began


def score_map(
    state: MapState,
    renderer: Renderer,
    frames: HeldOutFrames,
    source: FrameSource,
    protocol: Protocol,
    teacher: LanguageTeacher | None,
    query: QueryConfig,
    progress: Progress = lambda text, share: None,
    is_refined: bool = False,
) -> MapScores:
    """Compute all scores of the protocol for one map.

    Args:
        renderer: renders the views of the map. frames: the held-out views.
        source: the recording; its depth, labels and objects are the ground truth in 3D.
        teacher: the teacher that the map was built with; None leaves queries out.
        is_refined: whether the map has learnt poses or exposures; views are then scored a second
            time, as refined.
    """
    points = extract_surface(state, protocol.surface_voxel_m)
    scores, instances = _score_views(
        renderer, points, frames, source.label_names, protocol, progress
    )
    quality, notes = scores.result(), []
    notes += quality.pop("left_out")
    quality["refined"] = None
    if is_refined:
        quality["refined"] = score_refined(
            lambda frame: render(renderer, frame, True), frames, source.label_names, protocol
        )
    quality["instances"] = {rule: asdict(mean_score(v)) for rule, v in instances.items()} or None
    progress("surface", 0.0)
    cloud = fuse(_spread(source), FUSED_VOXEL_M, protocol.max_depth_m, 2, LEAST_READINGS)
    quality["geometry"] = quality.pop("depth") | asdict(surface_score(points.xyz, cloud.xyz))
    quality["points"] = _score_points(points, cloud, source.label_names, protocol)
    cost: dict[str, Any] = {"render_ms_median": _median_ms([r.render_s for r in scores.records])}
    quality["queries"], engine, objects = None, None, []
    if protocol.queries and teacher is not None:
        progress("queries", 0.0)
        engine = _make_engine(state, points, protocol, teacher, query)
        objects = _judged_objects(source, protocol)
        quality["queries"], cost["query_latency"] = _score_queries(
            engine, objects, source.label_names
        )
        if quality["queries"] is None:
            notes.append("Queries left out: the recording has no objects and no labels to judge by")
    return MapScores(quality, cost, scores.records, notes, objects, engine)


def _score_views(
    renderer: Renderer,
    points: SurfacePoints,
    frames: HeldOutFrames,
    names: dict[int, str],
    protocol: Protocol,
    progress: Progress,
) -> tuple[ViewScores, dict[str, list[InstanceScore]]]:
    scores = ViewScores(names, protocol)
    has_instances = bool(protocol.instances) and frames[0].instances is not None
    things = thing_classes(frames) if has_instances else frozenset()
    masks = ObjectMasks(points, things) if things else None
    instances: dict[str, list[InstanceScore]] = {r: [] for r in protocol.instances if masks}
    for number, position in enumerate(frames.positions):
        frame = frames[number]
        view, seconds = render(renderer, frame)
        scores.add(position, frame, view, seconds)
        progress("held-out views", (number + 1) / len(frames))
        if masks is None or frame.instances is None:
            continue
        predicted = masks(view, frame.camera, frame.T_world_camera)
        for rule, images in instances.items():
            images.append(instance_score(frame.instances, predicted, view.confidence, rule, 50))
    return scores, instances


def _spread(source: FrameSource) -> Iterable[Frame]:
    """Return evenly spaced frames of the whole recording."""
    stride = max(1, -(-len(source) // MAX_FUSED_FRAMES))
    return (source[i] for i in range(0, len(source), stride))


def _score_points(
    points: SurfacePoints, cloud: LabelledCloud, names: dict[int, str], protocol: Protocol
) -> dict[str, Any] | None:
    if not names or not (cloud.label >= 0).any():
        return None
    predicted = LabelledCloud(points.xyz, points.label)
    ignored = frozenset(protocol.classes.ignore)
    result = {}
    for name in protocol.points:
        rules = POINT_PROTOCOLS[name]
        rules = dataclasses.replace(
            rules, exclude=tuple(dict.fromkeys((*rules.exclude, *sorted(ignored))))
        )
        scores = point_scores(predicted, cloud, names, rules)
        result[name] = {
            "miou": scores.miou,
            "fw_iou": scores.fw_iou,
            "class_accuracy": scores.class_accuracy,
            "total_accuracy": scores.total_accuracy,
            "points": scores.pixels,
            "k": rules.k,
            "voxel_m": rules.voxel_m,
            "ask": rules.ask,
            "exclude": list(rules.exclude),
        }
    return result


def _make_engine(
    state: MapState,
    points: SurfacePoints,
    protocol: Protocol,
    teacher: LanguageTeacher,
    query: QueryConfig,
) -> QueryEngine:
    engine = QueryEngine(teacher, query)
    if query.voxel_m == protocol.surface_voxel_m:
        engine.set_points(state, points)
    else:
        engine.set_map(state)
    return engine


def _judged_objects(source: FrameSource, protocol: Protocol) -> list[ReferenceObject]:
    objects = true_objects(source, protocol.max_depth_m)
    return [item for item in objects if item.name not in protocol.classes.ignore]


def _score_queries(
    engine: QueryEngine, objects: list[ReferenceObject], names: dict[int, str]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    if not objects:
        return None, None
    result = score_queries(engine, objects, names)
    return result, take_latency(result) | {"points": len(engine.points)}


def _median_ms(seconds: list[float]) -> float | None:
    return float(np.median(seconds) * 1e3) if seconds else None
