"""Scores of the baseline without a map, which predicts from the recorded frames alone.

Views come from ``Reprojection``. Queries are answered from the sensor's point cloud: the mean
point of each voxel, with the majority class of its readings. The language embedding of a point is
that of its class name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from semantic_field.config import QueryConfig
from semantic_field.data.sources import FrameSource
from semantic_field.evaluation.baselines.reprojection import NEAREST, Reprojection
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.report.figures import QUALITY, worse
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames, quality_of_views
from semantic_field.evaluation.scores.queries import score_queries, take_latency
from semantic_field.evaluation.scores.surfaces import fuse
from semantic_field.evaluation.truth.true_objects import ReferenceObject
from semantic_field.field.map_state import MapState
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.mapping.language.basis import LanguageBasis
from semantic_field.query.engine import QueryEngine
from semantic_field.teachers.language import LanguageTeacher

NAME = f"reprojection of the {NEAREST} nearest frames"
Progress = Callable[[str, float], None]


def score_without_map(
    mapped: FrameSource,
    held: HeldOutFrames,
    objects: list[ReferenceObject],
    state: MapState,
    protocol: Protocol,
    teacher: LanguageTeacher | None,
    query: QueryConfig,
    progress: Progress = lambda text, share: None,
) -> dict[str, Any]:
    """Return ``views``, ``geometry``, ``semantics``, ``confidence`` and ``queries``.

    They are as in a report's ``quality``.

    The result also has the baseline's ``name``, its number of frames ``k``, and the mean share of
    ``holes``.

    Args:
        mapped: frames from which the map was made, with the labels that it was given.
        held: the held-out views.
        objects: true objects of the recording, against which queries are scored; [] = no queries.
        protocol: selects what is scored.
        state: state of the map, as a template for the point cloud.
        teacher: language teacher of the map; None = no queries.
        query: settings of the query engine.
        progress: called with what is being done and the share that is done, 0..1.
    """
    names = mapped.label_names
    figures, holes = _score_views(mapped, held, names, protocol, progress)
    figures |= {"name": NAME, "k": NEAREST, "holes": holes, "queries": None}
    if objects and teacher is not None and names:
        progress("queries without a map", 0.0)
        points = labelled_points(mapped, protocol)
        if len(points):
            engine = _engine(state, points, names, teacher, query)
            figures["queries"] = score_queries(engine, objects, names)
            take_latency(figures["queries"])
    return figures


def _score_views(
    mapped: FrameSource,
    held: HeldOutFrames,
    names: dict[int, str],
    protocol: Protocol,
    progress: Progress,
) -> tuple[dict[str, Any], float]:
    reproject, holes = Reprojection(mapped), []

    def render(frame: Frame) -> tuple[RenderedView, float]:
        found = reproject(frame.camera, frame.T_world_camera)
        holes.append(found.holes)
        return found.view, float("nan")

    told = partial(progress, "reprojected views")
    return quality_of_views(render, held, names, protocol, told), float(np.mean(holes))


def labelled_points(mapped: FrameSource, protocol: Protocol) -> SurfacePoints:
    """Return the point cloud of the mapped frames, without points that have no named class.

    Normals, colours and latents are empty or zero.
    """
    frames: Iterable = (mapped[i] for i in range(len(mapped)))
    cloud = fuse(frames, protocol.surface_voxel_m, protocol.max_depth_m)
    named = np.isin(cloud.label, list(mapped.label_names))
    n = int(named.sum())
    return SurfacePoints(
        xyz=cloud.xyz[named],
        normals=np.zeros((n, 3), np.float32),
        color=np.zeros((n, 3), np.uint8),
        latent=np.zeros((n, 0), np.float16),
        label=cloud.label[named],
        confidence=np.ones(n, np.float32),
    )


def _engine(
    state: MapState,
    points: SurfacePoints,
    names: dict[int, str],
    teacher: LanguageTeacher,
    query: QueryConfig,
) -> QueryEngine:
    """Return a query engine for points whose latents are those of their class names."""
    ids = sorted(names)
    basis = LanguageBasis(teacher, len(ids))
    latents = basis.latents_of([names[i] for i in ids]).numpy().astype(np.float16)
    latent = latents[np.searchsorted(ids, points.label)]
    engine = QueryEngine(teacher, query)
    language = replace(state, language=basis.space(), label_names=names)
    engine.set_points(language, replace(points, latent=latent))
    return engine


def shortfalls(quality: dict[str, Any]) -> list[str]:
    """Return one sentence with the figures in which the map is below the baseline.

    The list is empty if there are no such figures, or no baseline.

    Args:
        quality: ``quality`` of a report.
    """
    baseline = quality.get("baseline")
    if baseline is None:
        return []
    own, other = {"quality": quality}, {"quality": baseline}
    below = worse((figure, figure.value(own), figure.value(other)) for figure in QUALITY)
    return [f"The map is below the {baseline['name']} in {below}"] if below else []
