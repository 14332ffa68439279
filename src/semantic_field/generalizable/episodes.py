"""Episodes: a target view of a scene, the sources it is to be predicted from, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.frames import Frame
from semantic_field.generalizable.frame_pool import FramePool, PooledFrame, source_images
from semantic_field.generalizable.generalizable_model import Truth
from semantic_field.generalizable.label_segments import segments_of
from semantic_field.generalizable.sensor_noise import EXACT, SensorNoise, corrupted
from semantic_field.generalizable.source_images import SourceImages, TargetRays, target_rays
from semantic_field.generalizable.target_depth import with_target_depth
from semantic_field.geometry import Camera, moved

NO_CELLS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Scene:
    """Frames of one size of one scene, exact, and the names of its classes by id."""

    frames: list[Frame]
    class_names: dict[int, str]


@dataclass(frozen=True)
class EpisodeSettings:
    """How episodes are drawn.

    Attributes:
        views: least and largest number of sources.
        strides: least and largest distance of the frames in the pool, in frames.
        rule: by which sources are chosen from the pool, see ``FramePool.choose``.
        crop: rows and columns of the target that are predicted; the whole target if it is smaller.
        noises: faults of the sources; one set is drawn for each episode.
        without_depth: share of the episodes whose sources have no depth.
        stereo: episodes for the plane sweep: the first source is to be compared with the others,
            see ``StereoEpisodeMaker``.
    """

    views: tuple[int, int] = (3, 8)
    strides: tuple[int, int] = (2, 6)
    rule: str = "coverage"
    crop: tuple[int, int] = (64, 96)
    noises: tuple[SensorNoise, ...] = field(
        default=(
            EXACT,
            SensorNoise(),
            SensorNoise(color=2.0, exposure=0.03, position_m=0.002, angle_rad=0.001),
            SensorNoise(wrong_segments=0.15, ragged_px=1.5, color=2.0, exposure=0.03),
            SensorNoise(
                depth=2.0,
                missing=0.25,
                wrong_segments=0.05,
                merged_segments=0.25,
                ragged_px=2.0,
                exposure=0.05,
                color=3.0,
                position_m=0.01,
                angle_rad=0.005,
            ),
        )
    )
    without_depth: float = 0.0
    stereo: bool = False


@dataclass(frozen=True)
class Episode:
    """One training example: predict ``truth`` at ``rays`` from ``sources``.

    Attributes:
        class_ids: int32 (C,), the class id of each row of labels.
    """

    sources: SourceImages
    rays: TargetRays
    truth: Truth
    class_ids: NDArray[np.int32]


class EpisodeMaker:
    """Draws episodes from a scene. What is drawn depends on the random generator alone.

    Args:
        targets: numbers of the scene's frames that may be targets; None = all.
    """

    def __init__(
        self, scene: Scene, settings: EpisodeSettings, targets: Sequence[int] | None = None
    ) -> None:
        self._settings = settings
        # The pool holds one frame of a stamp.
        self._frames = list({(f.stamp_ns, f.camera_id): f for f in scene.frames}.values())
        self._pool = FramePool(len(self._frames), self._frames[0].camera.width)
        for frame in self._frames:
            self._pool.add(frame)
        self._classes = np.array(sorted(scene.class_names), np.int32)
        numbers = range(len(self._frames)) if targets is None else targets
        self._targets = [number for number in numbers if number < len(self._frames)]

    def __call__(self, random: np.random.Generator) -> Episode:
        """Return an episode with a random target, pool, number of sources, faults and crop."""
        settings, frames = self._settings, self._frames
        target = self._targets[int(random.integers(len(self._targets)))]
        stride = int(random.integers(settings.strides[0], settings.strides[1] + 1))
        pool = np.arange(int(random.integers(stride)), len(frames), stride)
        views = int(random.integers(settings.views[0], settings.views[1] + 1))
        goal = frames[target]
        chosen = self._pool.choose(
            goal.camera, goal.T_world_camera, views, settings.rule, among=pool[pool != target]
        )
        noise = settings.noises[int(random.integers(len(settings.noises)))]
        without_depth = bool(random.random() < settings.without_depth)
        exact = [frames[i] for i in chosen]
        given = [corrupted(frame, noise, self._classes, random) for frame in exact]
        if without_depth:
            given = [replace(frame, depth=np.zeros_like(frame.depth)) for frame in given]
        crop = _crop(goal.camera, settings.crop, random)
        return make_episode(goal, given, exact, crop)


def make_episode(
    goal: Frame,
    given: list[Frame],
    exact: list[Frame],
    crop: tuple[slice, slice] = (slice(None), slice(None)),
) -> Episode:
    """Return the episode of a target frame and its sources.

    Args:
        given: the sources as they are shown to the model. exact: the same without faults.
        crop: rows and columns of the target.
    """
    items = [
        PooledFrame(
            frame, None, None, NO_CELLS, None if frame.labels is None else segments_of(frame.labels)
        )
        for frame in given
    ]
    origin = goal.T_world_camera[:3, 3]
    sources, class_ids = source_images(items, origin)
    rays = rays_of(sources, goal.camera, moved(goal.T_world_camera, -origin)).part(*crop)
    labels = None if exact[0].labels is None else np.stack([_labels(f) for f in exact])
    truth = Truth(
        color=torch.from_numpy(goal.color[crop]).float() / 255.0,
        depth=torch.from_numpy(goal.depth[crop].copy()),
        labels=torch.from_numpy(_as_rows(_labels(goal)[crop], class_ids)),
        source_labels=None if labels is None else torch.from_numpy(_as_rows(labels, class_ids)),
        source_depths=torch.from_numpy(np.stack([frame.depth for frame in exact])),
    )
    return Episode(sources, rays, truth, class_ids)


def rays_of(
    sources: SourceImages, camera: Camera, T_world_camera: NDArray[np.float64]
) -> TargetRays:
    """Return all rays of a target, with the depth that the sources' depths show; 0 without."""
    intrinsics = torch.as_tensor(camera.intrinsics, dtype=torch.float32)
    pose = torch.as_tensor(T_world_camera, dtype=torch.float32)
    size = camera.height, camera.width
    device = sources.colors.device
    intrinsics, pose = intrinsics.to(device), pose.to(device)
    nothing = torch.zeros(size, device=device)
    return with_target_depth(target_rays(intrinsics, pose, nothing, nothing), sources)


def _crop(
    camera: Camera, size: tuple[int, int], random: np.random.Generator
) -> tuple[slice, slice]:
    parts = []
    for whole, part in zip((camera.height, camera.width), size):
        start = int(random.integers(max(whole - part, 0) + 1))
        parts.append(slice(start, start + min(part, whole)))
    return parts[0], parts[1]


def _labels(frame: Frame) -> NDArray[np.int32]:
    return np.full(frame.depth.shape, -1, np.int32) if frame.labels is None else frame.labels


def _as_rows(labels: NDArray[np.int32], class_ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return label rows; classes that no source carries become -1."""
    if not len(class_ids):
        return np.full(labels.shape, -1, np.int64)
    row = np.searchsorted(class_ids, labels).clip(max=len(class_ids) - 1)
    return np.where(class_ids[row] == labels, row, -1).astype(np.int64)
