#!/usr/bin/env python3
"""Inference node: what a virtual camera would see, from the last frames, without training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from semantic_field.config import InferenceConfig
from semantic_field.frames import Frame
from semantic_field.generalizable.generalizable_model import GeneralizableModel
from semantic_field.generalizable.training.weight_files import load_model
from semantic_field.nodes.camera.inputs import FrameInput
from semantic_field.nodes.predicting.inference_status import InferenceStatus
from semantic_field.nodes.predicting.latest_work import LatestWork
from semantic_field.nodes.predicting.snapshot_depth import SnapshotDepth
from semantic_field.nodes.predicting.source_frames import SourceFrames
from semantic_field.nodes.predicting.view_maker import ViewMaker
from semantic_field.nodes.predicting.view_publisher import Viewpoint, ViewPublisher
from semantic_field.nodes.predicting.view_service import ViewService
from semantic_field.nodes.predicting.viewpoints import Viewpoints
from semantic_field.nodes.ros.drops import DropCounter
from semantic_field.nodes.ros.parameters import declare_settings, follow_changes
from semantic_field.nodes.ros.run import run_node
from semantic_field.nodes.ros.staged_node import StagedNode
from semantic_field.nodes.ros.workers import Worker

RATE_SLACK = 0.9  # of a period: stamps are not quite regular


class InferenceNode(StagedNode):
    """Lifecycle node around a ``ViewMaker``; one thread takes frames in and renders views.

    Args:
        model: renders the views; by default the one named by the parameter ``weights``.

    Attributes:
        views, sources: what renders and what it renders from, while the node is configured.
        input: the subscriptions of the camera, while the node listens.
    """

    def __init__(self, model: GeneralizableModel | None = None, **options) -> None:
        super().__init__("inference_node", **options)
        self._model = model
        self.settings = declare_settings(self, InferenceConfig())
        follow_changes(self, self.settings, "", self._on_settings)
        self.views: ViewMaker | None = None
        self.input: FrameInput | None = None
        self._viewpoints: Viewpoints | None = None
        self._work = LatestWork()
        self._followed_ns = 0
        self._shape: tuple[int, ...] = ()  # of the frames
        if self.settings.autostart:
            self.start()

    # --- states -------------------------------------------------------------------------------

    def open_parts(self, opened: ExitStack) -> None:
        settings = self.settings
        self.drops = DropCounter(self)
        maps = None
        if settings.depth == "map":
            maps = SnapshotDepth(self, settings.input.global_frame, settings.pool_frames)
            opened.callback(maps.close)
        model = load_model(settings.weights) if self._model is None else self._model
        views = ViewMaker(model, settings, maps)
        self.sources = SourceFrames(views, settings)
        self.publisher = ViewPublisher(self, settings)
        opened.callback(self.publisher.close)
        self._service = ViewService(self, views, settings, MutuallyExclusiveCallbackGroup())
        opened.callback(self._service.close)
        self._status = InferenceStatus(self)
        opened.callback(self._status.close)
        self.views = views
        opened.callback(setattr, self, "views", None)
        if views.label_names:
            self.publisher.publish_names(views.label_names)

    def run_parts(self, running: ExitStack) -> None:
        self._work = work = LatestWork()
        worker = Worker(self, "inference", work.run)
        worker.start()
        running.callback(worker.join)
        running.callback(work.stop)

    def warm_up(self) -> None:
        assert self.views is not None
        self.views.warm_up()

    def listen(self) -> None:
        settings = self.settings
        self.input = FrameInput(
            self,
            settings.input,
            self.drops,
            self._on_frame,
            self._on_label_names,
            self._on_late_labels,
            self._on_backward_time,
        )
        self._viewpoints = Viewpoints(
            self, self.input, settings, self.drops, self._on_viewpoint, lambda: self.sources.version
        )
        self.get_logger().info("inference: waiting for images")

    def mute(self) -> None:
        for part in (self._viewpoints, self.input):
            if part is not None:
                part.close()
        self._viewpoints = self.input = None

    # --- callbacks ----------------------------------------------------------------------------

    def _put(self, kind: str, work: Callable[[], None]) -> None:
        """Have the thread do something; what nobody has begun of that kind is dropped."""
        if self._work.put(kind, work):
            self.drops.add("inference_busy", "a newer one came before it was begun", what=kind)

    def _on_frame(self, frame: Frame) -> None:
        assert self.input is not None
        frame = frame.no_wider_than(self.settings.image_width)
        if frame.color.shape != self._shape:
            if self._shape:
                self._forget("the camera's images have another size")
            self._shape = frame.color.shape
        self.sources.remember(frame)
        kind = "frame" if frame.labels is None else "labelled frame"
        self._put(kind, partial(self._take, frame, self._followed(frame, self.input.frame_id)))

    def _followed(self, frame: Frame, frame_id: str) -> Viewpoint | None:
        """Return the camera of a frame if a view is wanted from there, else None."""
        settings, since_s = self.settings, (frame.stamp_ns - self._followed_ns) / 1e9
        wanted = settings.follow == "camera" and self.publisher.is_heard
        if not wanted or since_s < RATE_SLACK / settings.follow_rate_hz:
            return None
        self._followed_ns = frame.stamp_ns
        # Without labels, an image has nothing to say about its own.
        exclude_ns = frame.stamp_ns if frame.labels is None else None
        return Viewpoint(frame.camera, frame.T_world_camera, frame.stamp_ns, frame_id, exclude_ns)

    def _on_label_names(self, names: dict[int, str]) -> None:
        if self.views is not None and not self.views.label_names:
            self.publisher.publish_names(names)

    def _on_late_labels(self, stamp_ns: int, labels: NDArray[np.int32]) -> None:
        self._put("label image", partial(self._label, stamp_ns, labels))

    def _on_viewpoint(self, viewpoint: Viewpoint) -> None:
        if self.publisher.is_heard:
            self._put("view", partial(self._show, viewpoint))

    def _on_backward_time(self) -> None:
        self.publisher.restart()
        self._followed_ns = 0
        self._forget("time went backwards")

    def _forget(self, reason: str) -> None:
        self.get_logger().warning(f"{reason}: the frames in memory are cleared")
        self.sources.forget()
        self._work.clear()
        self._work.put("clear", self.sources.clear)

    def _on_settings(self, settings: InferenceConfig) -> None:
        """Apply new settings while the node runs."""
        self.settings = settings
        if self.views is None:
            return
        for part in (self.views, self.sources, self.publisher, self._service, self._status):
            part.follow(settings)
        if self.input is not None and self._viewpoints is not None:
            self.input.follow(settings.input)
            self._viewpoints.follow(settings)

    # --- in the thread ------------------------------------------------------------------------

    def _take(self, frame: Frame, viewpoint: Viewpoint | None) -> None:
        self.sources.take(frame)
        if viewpoint is not None:
            self._show(viewpoint)

    def _label(self, stamp_ns: int, labels: NDArray[np.int32]) -> None:
        if not self.sources.label(stamp_ns, labels):
            age = f"its frame is not among the {self.settings.late_frames} newest"
            self.drops.add("late_labels", age, what="label image")

    def _show(self, viewpoint: Viewpoint) -> None:
        assert self.views is not None
        v = viewpoint
        try:
            view = self.views.render(v.camera, v.T_world_camera, v.exclude_ns)
        except ValueError as error:
            self.drops.add("no_view", str(error), what="view")
        else:
            self.publisher.publish(view, viewpoint)


def main(args: list[str] | None = None) -> int:
    """Run the inference node; returns the exit code."""
    return run_node(InferenceNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
