"""Methods that predict a target from the same source frames: a model, and the simplest others."""

from __future__ import annotations

import copy
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.config import Config
from semantic_field.data.plane_sweep import EstimatedDepth
from semantic_field.evaluation.baselines.hand_set_views import hand_blended
from semantic_field.evaluation.baselines.reprojection import reprojected
from semantic_field.evaluation.generalizable.target_views import blind
from semantic_field.evaluation.mapping_run import MappingJob
from semantic_field.evaluation.protocols.protocol import Training
from semantic_field.evaluation.protocols.view_sources import SourceFrames
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.generalizable.frame_pool import FramePool
from semantic_field.generalizable.generalizable_model import (
    GeneralizableModel,
    Prediction,
    Truth,
    set_options,
)
from semantic_field.generalizable.predictor import Predictor, ViewSettings
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.mapping import Mapper

Method = Callable[[Frame], RenderedView]
"""Predicts the view of a target's camera; the images of the target are not to be looked at, but
by those that follow a camera and look at its colours and depth."""


def pool_of(frames: list[Frame]) -> FramePool:
    """Return an unbounded pool of frames."""
    pool = FramePool(most=len(frames), width=frames[0].camera.width)
    for frame in frames:
        pool.add(frame)
    return pool


def reprojection(pool: FramePool, settings: SourceFrames) -> Method:
    """Baseline (a): the sources reprojected with a z-buffer, a vote, and filled holes."""

    def predict(target: Frame) -> RenderedView:
        frames = [pool[i].frame for i in _chosen(pool, settings, target)]
        return reprojected(frames, target.camera, target.T_world_camera).view

    return predict


def hand_set(pool: FramePool, settings: SourceFrames) -> Method:
    """Baseline (d): the sources blended by set rules, on the depth that they show together."""

    def predict(target: Frame) -> RenderedView:
        numbers = _chosen(pool, settings, target)
        threads = torch.get_num_threads()
        return hand_blended(pool, numbers, target.camera, target.T_world_camera, threads)

    return predict


def _chosen(pool: FramePool, settings: SourceFrames, target: Frame) -> list[int]:
    pose, stamp, among = target.T_world_camera, target.stamp_ns, None
    if settings.arriving:
        among = np.flatnonzero(np.array(pool.stamps_ns) < stamp)
    return pool.choose(target.camera, pose, settings.views, settings.rule, stamp, among)


def model_method(model: GeneralizableModel, frames: list[Frame], settings: SourceFrames) -> Method:
    """Return a model that predicts from the frames, whose features are computed here.

    Frames that arrive while targets are predicted are added when their time has come; then the
    target's own image is known, as it is to a robot, and its labels are those of
    ``Predictor.follow``. With the
    depth "volume" it gets no depth; with "none" no target depth, so that its samples are
    spread over each ray.
    """
    model = with_samples(model, settings.samples)
    wanted = "volume" if settings.depth == "volume" else "sensor"
    given = blind(frames) if settings.depth == "volume" else frames
    predictor = Predictor(
        unguided(model) if settings.depth == "none" else model,
        FramePool(most=len(frames), width=frames[0].camera.width),
        ViewSettings(settings.views, settings.rule, wanted),
    )
    waiting = deque(given)

    def predict(target: Frame) -> RenderedView:
        add(target.stamp_ns)
        view = predictor.render(target.camera, target.T_world_camera, target.stamp_ns)
        if not settings.arriving:
            return view
        label, confidence = predictor.follow(replace(target, labels=None))
        return replace(view, label=label, confidence=confidence)

    def add(until_ns: int | None) -> None:
        while waiting and (until_ns is None or waiting[0].stamp_ns < until_ns):
            frame = waiting.popleft()
            if settings.arriving and frame.labels is not None:
                predictor.hear(frame)
            predictor.add(frame)

    add(until_ns=0 if settings.arriving else None)
    return predict


def trained_field(
    frames: list[Frame], names: Mapping[int, str], training: Training, config: Config
) -> Method:
    """Baseline (c): a field, with its views, trained on all frames of the pool.

    Raises:
        RuntimeError: if training fails, or takes no step.
    """
    mapper = Mapper(config)
    with tempfile.TemporaryDirectory() as folder:
        job = MappingJob(mapper, FrameList(frames, names), training, Path(folder))
        renderer = job.run().renderer
    return lambda target: renderer.render(target.camera, target.T_world_camera)


def with_map_depth(frames: list[Frame], field: Method) -> list[Frame]:
    """Return the frames with the depth that a field renders at their poses, where it has one."""
    found = [field(frame).depth for frame in frames]
    return [
        replace(frame, depth=np.where(depth > 0, depth, frame.depth))
        for frame, depth in zip(frames, found, strict=True)
    ]


def with_swept_depth(frames: list[Frame]) -> list[Frame]:
    """Return the frames with the depth that a classical plane sweep finds from their colours.

    Holes, where other frames' depths do not confirm it, stay.

    Raises:
        ValueError: if no two frames are a stereo pair.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = EstimatedDepth(FrameList(frames, {}), Path(folder))
        return [found[i] for i in range(len(frames))]


class FrameList:
    """Frames in memory as a recording (``FrameSource``)."""

    name = "pool"

    def __init__(self, frames: list[Frame], names: Mapping[int, str]) -> None:
        self._frames, self.label_names = frames, dict(names)
        self.stamps: Sequence[int] = [frame.stamp_ns for frame in frames]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int, /) -> Frame:
        return self._frames[index]


def with_samples(model: GeneralizableModel, samples: int) -> GeneralizableModel:
    """Return a copy of the model with another number of samples for each ray.

    Raises:
        ValueError: if no part of the model has such a setting.
    """
    changed = copy.deepcopy(model)
    if not set_options(changed, samples=samples):
        raise ValueError(
            f"expected a model with the setting samples, got a {type(model).__name__} without"
        )
    return changed


def unguided(model: GeneralizableModel) -> GeneralizableModel:
    """Return a copy of the model whose samples are spread over each ray."""
    changed = copy.deepcopy(model)
    set_options(
        changed, guided=False
    )  # others place samples so wherever the target depth is unknown
    return Unguided(changed)


class Unguided(GeneralizableModel):
    """A model that is not told the target depth: its samples are spread over each ray."""

    def __init__(self, model: GeneralizableModel) -> None:
        super().__init__()
        self.model = model
        self.class_names = model.class_names

    def extract(self, colors: Tensor) -> tuple[Tensor, ...]:
        return self.model.extract(colors)

    def source_depths(self, sources: SourceImages) -> Tensor:
        return self.model.source_depths(sources)

    def forward(self, sources: SourceImages, rays: TargetRays) -> Prediction:
        unknown = torch.zeros_like(rays.depth)
        return self.model(sources, replace(rays, depth=unknown, behind=unknown))

    def losses(
        self, prediction: Prediction, truth: Truth, sources: SourceImages
    ) -> dict[str, Tensor]:
        return self.model.losses(prediction, truth, sources)


def recognised(method: Method, ids: NDArray[np.int32]) -> Method:
    """Return a method whose labels, rows of a model's classes, become ids of the recording.

    Args:
        ids: the class id of each row (C,), -1 where the recording has no such class.
    """

    def predict(target: Frame) -> RenderedView:
        view = method(target)
        label = np.where(view.label >= 0, ids[view.label.clip(min=0)], VOID_LABEL)
        return replace(view, label=label.astype(np.int32))

    return predict
