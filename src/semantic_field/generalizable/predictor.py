"""Views of a scene from its last frames, by a model that was trained on other scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.views.blended_view import filled
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.generalizable.episodes import rays_of
from semantic_field.generalizable.frame_pool import RULES, FramePool, normals_of
from semantic_field.generalizable.generalizable_model import GeneralizableModel, Prediction
from semantic_field.generalizable.label_follower import FollowedLabels, LabelFollower
from semantic_field.generalizable.pool_depths import PoolDepths
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.target_depth import readings_of, released_depth, splatted
from semantic_field.geometry import Camera, moved

DEPTHS = ("sensor", "volume", "map")
FILLS = ("z_buffer", "released")

MapDepth = Callable[[Camera, NDArray[np.float64]], NDArray[np.float32]]
"""Returns the depth (H, W), metres, 0 = none, that a map shows to a camera at a pose (4, 4)."""


@dataclass(frozen=True)
class ViewSettings:
    """How views are predicted.

    Attributes:
        views: number K of source frames.
        rule: by which they are chosen, see ``FramePool.choose``.
        depth: of the sources: "sensor" = their readings, holes completed by the model where it
            can; "volume" = found by the model from colours alone; "map" = rendered by a map where
            it knows the surface, else the readings.
        fill: "z_buffer" = target depth as ``target_depth`` describes; "released" = as in the
            released GSNeRF, for comparison.
    Raises:
        ValueError: on an unknown word, or ``views`` below 1.
    """

    views: int = 8
    rule: str = "coverage"
    depth: str = "sensor"
    fill: str = "z_buffer"

    def __post_init__(self) -> None:
        for name, known in (("rule", RULES), ("depth", DEPTHS), ("fill", FILLS)):
            if getattr(self, name) not in known:
                raise ValueError(f"expected {name} of {known}, got {getattr(self, name)!r}")
        if self.views < 1:
            raise ValueError(f"expected views from 1 on, got {self.views}")


class Predictor:
    """Keeps frames with their features, and predicts views from them. Thread-safe.

    Args:
        model: a trained model; it is put into evaluation mode.
        pool: the frames.
        settings: how views are predicted.
        device: where the model runs.
        map_depth: for ``settings.depth`` "map"; may be replaced at any time.
        follower: what is known of label images, for ``follow``.
    """

    def __init__(
        self,
        model: GeneralizableModel,
        pool: FramePool | None = None,
        settings: ViewSettings | None = None,
        device: torch.device | str = "cpu",
        map_depth: MapDepth | None = None,
        follower: LabelFollower | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._model = model.eval().to(self._device)
        self._pool = FramePool() if pool is None else pool
        self._settings = ViewSettings() if settings is None else settings
        self._lock, self._sweeping = Lock(), Lock()
        self._depths = None if model.sweep is None else PoolDepths(model.sweep)
        self._follower = LabelFollower() if follower is None else follower
        self.map_depth = map_depth

    def __len__(self) -> int:
        return len(self._pool)

    @property
    def missing(self) -> int:
        """Frames that are still needed before the first view."""
        return max(self._settings.views - len(self._pool), 0)

    @torch.inference_mode()
    def add(self, frame: Frame, latent: NDArray[np.float16] | None = None) -> None:
        """Add a frame, and an image of features to carry (D, h, w); its features are computed here.

        Raises:
            ValueError: if it is of another size than the frames before.
        """
        with self._lock:
            frame = self._pool.resized(frame)
            color = torch.from_numpy(frame.color).to(self._device)
            color = color.permute(2, 0, 1)[None].float() / 255.0
            features = tuple(part[0] for part in self._model.extract(color))
            self._pool.add(frame, features, latent)

    def relabel(self, stamp_ns: int, labels: NDArray[np.int32]) -> bool:
        """Give the frame of a stamp labels (H, W) that came later; whether there is one."""
        with self._lock:
            return self._pool.relabel(stamp_ns, labels)

    def clear(self) -> None:
        """Forget all frames."""
        with self._lock:
            self._pool.clear()
            self._follower.clear()
        if self._depths is not None:
            with self._sweeping:
                self._depths.clear()

    def hear(self, frame: Frame) -> None:
        """Take the labels of a frame for ``follow``, whether or not it is added.

        Frames have to come in the order of their stamps; call it before ``add``.
        """
        frame = frame.no_wider_than(self._pool.width)
        self._follower.take(frame, lambda: self._guess(frame))

    def follow(self, frame: Frame) -> FollowedLabels:
        """Return labels for a frame from its own image and depth, and the labels heard.

        See ``LabelFollower``: it is not made by the model, unless this predicts label images best.
        The labels are of the size of the pool's frames.
        """
        frame = frame.no_wider_than(self._pool.width)
        return self._follower.labels(frame, lambda: self._guess(frame))

    def _guess(self, frame: Frame) -> FollowedLabels | None:
        """Return the labels that the model predicts at a frame, from others; None = not yet."""
        if self.missing or not self._pool.is_labelled:
            return None
        view = self.render(frame.camera, frame.T_world_camera, frame.stamp_ns)
        return FollowedLabels(view.label, view.confidence)

    @torch.inference_mode()
    def render(
        self, camera: Camera, T_world_camera: NDArray[np.float64], exclude_ns: int | None = None
    ) -> RenderedView:
        """Predict the view of a camera at a pose (4, 4).

        Args:
            exclude_ns: the frame of this stamp is not a source.
        Returns:
            A view with normals in world axes. Where no source sees the surface, depth and
            confidence are 0 and there is no label; the colour is that of the nearest pixel.
        Raises:
            ValueError: if frames are missing.
        """
        if self.missing:
            views = self._settings.views
            raise ValueError(
                f"expected {views} frames before the first view, got {views - self.missing}; "
                f"{self.missing} are missing"
            )
        sources, class_ids, origin = self._chosen(camera, T_world_camera, exclude_ns)
        pose = moved(T_world_camera, -origin)
        prediction = self._model(sources, self._rays(sources, camera, pose))
        if self._model.class_names:
            class_ids = np.arange(len(self._model.class_names), dtype=np.int32)
        return rendered(prediction, class_ids, camera, T_world_camera)

    def _chosen(
        self, camera: Camera, T_world_camera: NDArray[np.float64], exclude_ns: int | None
    ) -> tuple[SourceImages, NDArray[np.int32], NDArray[np.float64]]:
        """Return the sources of a view with their depth, and the class id of each label row.

        Also the origin (3,) to which the sources' poses are relative.
        """
        settings = self._settings
        with self._lock:
            numbers = self._pool.choose(
                camera, T_world_camera, settings.views, settings.rule, exclude_ns
            )
            sources, class_ids = self._pool.sources(numbers)
            origin = self._pool.origin
            frames = [self._pool[number].frame for number in numbers]
            pooled = [self._pool[i].frame for i in range(len(self._pool))]
        sources = sources.to(self._device)
        if settings.depth == "map" and self.map_depth is not None:
            known = np.stack([self.map_depth(f.camera, f.T_world_camera) for f in frames])
            by_map = torch.from_numpy(known).to(self._device)
            read = torch.zeros_like(by_map) if sources.depths is None else sources.depths
            sources = replace(sources, depths=torch.where(by_map > 0, by_map, read))
        if settings.depth == "volume":
            sources = replace(sources, depths=None)
        if sources.depths is None and self._depths is not None:
            with self._sweeping:
                swept = self._depths.find(pooled, numbers, exclude_ns)
            depths = torch.from_numpy(swept).to(self._device)
        else:
            depths = self._model.source_depths(sources)
        return replace(sources, depths=depths), class_ids, origin

    def _rays(self, sources: SourceImages, camera: Camera, pose: NDArray[np.float64]) -> TargetRays:
        rays = rays_of(sources, camera, pose)
        if self._settings.fill == "z_buffer" or sources.depths is None:
            return rays
        readings = readings_of(
            sources.depths, sources.intrinsics, sources.poses, rays.intrinsics, rays.pose, rays.size
        )
        depth = released_depth(splatted(readings), rays.size)
        return replace(rays, depth=depth, behind=torch.zeros_like(depth))


def rendered(
    prediction: Prediction,
    class_ids: NDArray[np.int32],
    camera: Camera,
    T_world_camera: NDArray[np.float64],
) -> RenderedView:
    """Return a prediction of a whole view as a view; ``class_ids`` (C,) are those of the scores."""
    known = prediction.depth > 0  # also where the sources that see it have no labels
    is_known = known.cpu().numpy()
    depth = torch.where(known, prediction.depth, 0.0).cpu().numpy()
    label = np.full(depth.shape, VOID_LABEL, np.int32)
    if prediction.scores is not None and len(class_ids):
        best = prediction.scores.argmax(-1).cpu().numpy()
        is_named = is_known & (prediction.confidence > 0).cpu().numpy()
        label = np.where(is_named, class_ids[best], VOID_LABEL).astype(np.int32)
    color = prediction.color.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    normal = normals_of(depth, camera) @ np.asarray(T_world_camera[:3, :3].T, np.float32)
    latent = prediction.latent
    return RenderedView(
        color=filled(color, is_known),
        depth=depth,
        normal=np.where(is_known[..., None], normal, 0).astype(np.float32),
        label=label,
        confidence=torch.where(known, prediction.confidence, 0.0).cpu().numpy(),
        latent=None if latent is None else latent.half().cpu().numpy(),
    )
