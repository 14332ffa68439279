"""Renders views from the frames in memory, as the settings of the node want them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.config import InferenceConfig
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.generalizable.frame_pool import FramePool
from semantic_field.generalizable.generalizable_model import GeneralizableModel, set_options
from semantic_field.generalizable.label_follower import LabelFollower
from semantic_field.generalizable.predictor import MapDepth, Predictor, ViewSettings
from semantic_field.geometry import Camera

WARM_UP_STEP_M = 0.3  # between the two frames with which everything is compiled


class ViewMaker:
    """A predictor with its pool of frames, and what is known of the views it has made.

    Poses are in the global frame.

    Args:
        map_depth: the depth of a map, for the setting ``depth`` = "map".

    Attributes:
        made: number of views so far. seconds: that the newest one took.
    """

    def __init__(
        self,
        model: GeneralizableModel,
        config: InferenceConfig,
        map_depth: MapDepth | None = None,
    ) -> None:
        self._model, self._map_depth = model, map_depth
        self._pool = FramePool(config.pool_frames, config.image_width, config.pool_age_s)
        self._follower = LabelFollower()
        self._lock = threading.Lock()
        self.made, self.seconds = 0, 0.0
        self.follow(config)

    def follow(self, config: InferenceConfig) -> None:
        """Apply new settings from the next view on."""
        names = ("views", "rule", "depth", "fill")
        settings = ViewSettings(**{name: getattr(config, name) for name in names})
        with self._lock:
            set_samples(self._model, config.samples)
            device = device_of(config.device)
            self._predictor = Predictor(
                self._model, self._pool, settings, device, self._map_depth, self._follower
            )
            self._config = config

    @property
    def label_names(self) -> dict[int, str]:
        """The classes that the model knows by itself; empty if it carries the frames' labels."""
        return dict(enumerate(self._model.class_names))

    @property
    def missing(self) -> int:
        """Number of frames that are still needed before the first view."""
        return self._predictor.missing

    @property
    def frames(self) -> int:
        """Number of frames in memory."""
        return len(self._pool)

    @property
    def stamps_ns(self) -> list[int]:
        """Stamps of the frames in memory."""
        with self._lock:
            return self._pool.stamps_ns

    def add(self, frame: Frame) -> None:
        """Take a frame into memory; its features are computed now."""
        with self._lock:
            self._predictor.add(frame)

    def hear(self, frame: Frame) -> None:
        """Take the labels of a frame for ``along``, before it is added."""
        with self._lock:
            if self._config.follow == "camera":
                self._predictor.hear(frame)

    def relabel(self, stamp_ns: int, labels: NDArray[np.int32]) -> bool:
        """Give a frame in memory labels (H, W); returns False if it is not there."""
        with self._lock:
            return self._predictor.relabel(stamp_ns, labels)

    def clear(self) -> None:
        """Forget all frames."""
        with self._lock:
            self._predictor.clear()

    def render(
        self, camera: Camera, T_world_camera: NDArray[np.float64], exclude_ns: int | None = None
    ) -> RenderedView:
        """Return the view, without labels that are less probable than ``least_confidence``.

        Raises:
            ValueError: if frames are missing; the message says how many.
        """
        with self._lock:
            began = time.perf_counter()
            view = self._predictor.render(camera, T_world_camera, exclude_ns)
            self.made, self.seconds = self.made + 1, time.perf_counter() - began
            return without_doubt(view, self._config.least_confidence)

    def along(self, frame: Frame, exclude_ns: int | None, pictured: bool) -> RenderedView:
        """Return the view at a frame's pose with labels that follow its own image and depth.

        Args:
            pictured: whether colour and depth are wanted as the model predicts them; otherwise
                they are the frame's own.
        Raises:
            ValueError: if frames are missing; the message says how many.
        """
        with self._lock:
            began = time.perf_counter()
            if pictured or self._predictor.missing:
                view = self._predictor.render(frame.camera, frame.T_world_camera, exclude_ns)
            else:
                view = own_view(frame)
            found = self._predictor.follow(frame)
            self.made, self.seconds = self.made + 1, time.perf_counter() - began
            view = replace(view, label=found.label, confidence=found.confidence)
            return without_doubt(view, self._config.least_confidence)

    def warm_up(self) -> None:
        """Render one view of next to nothing: what has to be compiled is compiled then.

        Two frames from beside each other, so that depth can be found from their colours.
        """
        config = replace(self._config, views=2, pool_frames=2)
        width, height = config.image_width, config.image_width * 3 // 4
        camera = Camera.from_field_of_view(width, height, 1.0)
        color = np.full((height, width, 3), 128, np.uint8)
        depth, labels = np.ones((height, width), np.float32), np.zeros((height, width), np.int32)
        if config.depth == "volume":
            depth = np.zeros_like(depth)
        maker, pose = ViewMaker(self._model, config), np.eye(4)
        for stamp_ns in (1, 2):
            pose[0, 3] = WARM_UP_STEP_M * stamp_ns
            frame = Frame(stamp_ns, color, depth, camera, pose.copy(), labels)
            maker.hear(frame)
            maker.add(frame)
        maker.render(camera, np.eye(4))
        if config.follow == "camera":
            maker.along(frame, None, pictured=False)


def own_view(frame: Frame) -> RenderedView:
    """Return what a frame itself shows, without labels."""
    nothing = np.zeros(frame.depth.shape, np.float32)
    return RenderedView(
        color=frame.color,
        depth=frame.depth,
        normal=np.zeros((*frame.depth.shape, 3), np.float32),
        label=np.full(frame.depth.shape, VOID_LABEL, np.int32),
        confidence=nothing,
    )


def device_of(name: str) -> str:
    """Return where the model runs; "auto" is a GPU if there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def set_samples(model: GeneralizableModel, samples: int) -> None:
    """Have the model use N samples of each ray; 0 = as many as it was trained with.

    Raises:
        ValueError: if the model has no such option.
    """
    if samples and not set_options(model, samples=samples):
        raise ValueError(
            f"expected a model whose rays have a number of samples, got {type(model).__name__}: "
            "set samples to 0"
        )


def without_doubt(view: RenderedView, least: float) -> RenderedView:
    """Return the view with void labels where they are less probable than ``least``."""
    doubtful = (view.confidence < least) | (view.confidence == 0)
    return replace(view, label=np.where(doubtful, VOID_LABEL, view.label).astype(np.int32))
