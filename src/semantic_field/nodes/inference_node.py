#!/usr/bin/env python3
"""Inference node: what a virtual camera would see, from the last frames, without training."""

from __future__ import annotations

from contextlib import ExitStack

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from semantic_field.config import InferenceConfig
from semantic_field.frames import Frame
from semantic_field.generalizable.generalizable_model import GeneralizableModel
from semantic_field.generalizable.training.weight_files import load_model
from semantic_field.nodes.camera.inputs import FrameInput
from semantic_field.nodes.predicting.inference_status import InferenceStatus
from semantic_field.nodes.predicting.inference_work import InferenceWork
from semantic_field.nodes.predicting.snapshot_depth import SnapshotDepth
from semantic_field.nodes.predicting.source_frames import SourceFrames
from semantic_field.nodes.predicting.view_maker import ViewMaker
from semantic_field.nodes.predicting.view_publisher import ViewPublisher
from semantic_field.nodes.predicting.view_service import ViewService
from semantic_field.nodes.predicting.viewpoints import CameraFollower, Viewpoints
from semantic_field.nodes.ros.drops import DropCounter
from semantic_field.nodes.ros.parameters import declare_settings, follow_changes
from semantic_field.nodes.ros.run import run_node
from semantic_field.nodes.ros.staged_node import StagedNode


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
        self._follower = CameraFollower(self.settings)
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
        assert self.views is not None
        self._work = InferenceWork(self, self.views, self.sources, self.publisher, self.drops)
        running.callback(self._work.stop)

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
            self._work.label,
            self._on_backward_time,
            with_depth=settings.depth != "volume",
        )
        self._viewpoints = Viewpoints(
            self, self.input, settings, self.drops, self._work.show, lambda: self.sources.version
        )
        self.get_logger().info("inference: waiting for images")

    def mute(self) -> None:
        for part in (self._viewpoints, self.input):
            if part is not None:
                part.close()
        self._viewpoints = self.input = None

    # --- callbacks ----------------------------------------------------------------------------

    def _on_frame(self, frame: Frame) -> None:
        assert self.input is not None
        frame = frame.no_wider_than(self.settings.image_width)
        if self._shape and frame.color.shape != self._shape:
            self._work.forget("the camera's images have another size")
        self._shape = frame.color.shape
        is_heard = self.publisher.is_heard
        viewpoint = self._follower.viewpoint(frame, self.input.frame_id) if is_heard else None
        self._work.take(frame, viewpoint)

    def _on_label_names(self, names: dict[int, str]) -> None:
        if self.views is not None and not self.views.label_names:
            self.publisher.publish_names(names)

    def _on_backward_time(self) -> None:
        self.publisher.restart()
        self._follower.restart()
        self._work.forget("time went backwards")

    def _on_settings(self, settings: InferenceConfig) -> None:
        """Apply new settings while the node runs; the views may refuse them."""
        if self.views is not None:
            parts = self.views, self.sources, self.publisher, self._service, self._status
            for part in parts:
                part.follow(settings)
        self._follower.follow(settings)
        self.settings = settings
        if self.input is not None and self._viewpoints is not None:
            self.input.follow(settings.input)
            self._viewpoints.follow(settings)


def main(args: list[str] | None = None) -> int:
    """Run the inference node; returns the exit code."""
    return run_node(InferenceNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
