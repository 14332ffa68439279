"""Which frames become sources of views, and labels that come for a frame later."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from semantic_field.config import InferenceConfig
from semantic_field.data.image_files import fitted_labels
from semantic_field.frames import Frame
from semantic_field.geometry import moved_and_turned
from semantic_field.nodes.predicting.view_maker import ViewMaker


class SourceFrames:
    """Keeps frames that show something from elsewhere, and the newest ones for late labels.

    ``remember`` and ``forget`` may be called by another thread than the other methods.

    Attributes:
        version: grows whenever a view may look different from now on.
    """

    def __init__(self, views: ViewMaker, config: InferenceConfig) -> None:
        self._views, self._config = views, config
        self._recent: OrderedDict[int, Frame] = OrderedDict()
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[NDArray[np.float64], bool]] = {}  # pose, has labels
        self._labelled_ns: int | None = None
        self.version = 0

    def follow(self, config: InferenceConfig) -> None:
        """Apply new settings from the next frame on."""
        self._config = config

    @property
    def labelled_ns(self) -> list[int]:
        """Stamps of the frames that were kept with labels, or got them since."""
        return [stamp for stamp, (_, labelled) in list(self._kept.items()) if labelled]

    def remember(self, frame: Frame) -> None:
        """Keep a frame for a while: its labels may come later."""
        with self._lock:
            self._recent[frame.stamp_ns] = frame
            while len(self._recent) > self._config.late_frames:
                self._recent.popitem(last=False)

    def forget(self) -> None:
        """Wait for no more labels of the frames so far."""
        with self._lock:
            self._recent.clear()

    def take(self, frame: Frame) -> bool:
        """Make a frame a source if it is worth it; returns whether it was.

        Until there are frames enough for a view, every frame is.
        """
        if frame.labels is not None:
            self._labelled_ns = frame.stamp_ns
            self._views.hear(frame)
        if not self._views.missing and (self._may_be_labelled(frame) or self._is_known(frame)):
            return False
        self._views.add(frame)
        self._kept[frame.stamp_ns] = frame.T_world_camera, frame.labels is not None
        self.version += 1
        return True

    def label(self, stamp_ns: int, labels: NDArray[np.int32]) -> bool:
        """Give a frame its labels (H, W), class ids; returns False if it was forgotten already."""
        with self._lock:
            frame = self._recent.get(stamp_ns)
        if frame is None:
            return False
        labelled = with_labels(frame, labels)
        self.remember(labelled)
        assert labelled.labels is not None
        if self._views.relabel(stamp_ns, labelled.labels):
            self._views.hear(labelled)
            self._labelled_ns = stamp_ns
            self._kept[stamp_ns] = frame.T_world_camera, True
            self.version += 1
        else:
            self.take(labelled)
        return True

    def clear(self) -> None:
        """Forget all frames that views are made from."""
        self._kept.clear()
        self._labelled_ns = None
        self._views.clear()
        self.version += 1

    def _may_be_labelled(self, frame: Frame) -> bool:
        """Whether the frame has no labels although label images come: it may still get some."""
        if frame.labels is not None or self._labelled_ns is None:
            return False
        return frame.stamp_ns - self._labelled_ns < self._config.label_patience_s * 1e9

    def _is_known(self, frame: Frame) -> bool:
        """Whether a frame in memory was taken from there, and knows as much about classes."""
        there = set(self._views.stamps_ns)
        self._kept = {stamp: kept for stamp, kept in self._kept.items() if stamp in there}
        return any(
            (labelled or frame.labels is None) and self._is_near(pose, frame.T_world_camera)
            for pose, labelled in self._kept.values()
        )

    def _is_near(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
        apart, turned = moved_and_turned(one, other)
        config = self._config
        return bool(apart < config.frame_translation_m and turned < config.frame_rotation_rad)


def with_labels(frame: Frame, labels: NDArray[np.int32]) -> Frame:
    """Return the frame with labels (H, W) of its aspect, resized to its own by nearest pixel.

    Raises:
        ValueError: if the aspect differs.
    """
    height, width = frame.depth.shape
    fitted = fitted_labels(labels, (height, width))
    if fitted is None:
        raise ValueError(
            f"expected labels of the aspect of a frame of {width}x{height} pixels, got "
            f"{labels.shape[1]}x{labels.shape[0]}: publish labels of whole images"
        )
    return replace(frame, labels=fitted)
