"""The thread of the inference node: takes frames in, attaches late labels, renders views."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode

from semantic_field.frames import Frame
from semantic_field.nodes.predicting.latest_work import LatestWork
from semantic_field.nodes.predicting.source_frames import SourceFrames
from semantic_field.nodes.predicting.view_maker import ViewMaker
from semantic_field.nodes.predicting.view_publisher import Viewpoint, ViewPublisher
from semantic_field.nodes.ros.drops import DropCounter
from semantic_field.nodes.ros.workers import Worker


class InferenceWork:
    """Does in one thread what its methods are called for; what it cannot keep up with is counted.

    Views are made only while somebody subscribes to them.
    """

    def __init__(
        self,
        node: LifecycleNode,
        views: ViewMaker,
        sources: SourceFrames,
        publisher: ViewPublisher,
        drops: DropCounter,
    ) -> None:
        self._node, self._drops = node, drops
        self._views, self._sources, self._publisher = views, sources, publisher
        self._work = LatestWork()
        self._worker = Worker(node, "inference", self._work.run)
        self._worker.start()

    def stop(self) -> None:
        """Stop the thread, after it has finished its current work."""
        self._work.stop()
        self._worker.join()

    def take(self, frame: Frame, viewpoint: Viewpoint | None) -> None:
        """Take a frame in; then show the view of ``viewpoint``, if one is given."""
        self._sources.remember(frame)
        kind = "frame" if frame.labels is None else "labelled frame"
        self._put(kind, partial(self._take, frame, viewpoint))

    def label(self, stamp_ns: int, labels: NDArray[np.int32]) -> None:
        """Give the frame of a stamp its labels (H, W)."""
        self._put("label image", partial(self._label, stamp_ns, labels))

    def show(self, viewpoint: Viewpoint) -> None:
        """Render and publish a view."""
        if self._publisher.is_heard:
            self._put("view", partial(self._show, viewpoint))

    def forget(self, reason: str) -> None:
        """Forget all frames, with a warning that gives the reason."""
        self._node.get_logger().warning(f"{reason}: the frames in memory are cleared")
        self._sources.forget()
        self._work.clear()
        self._work.put("clear", self._sources.clear)

    def _put(self, kind: str, work: Callable[[], None]) -> None:
        if self._work.put(kind, work):
            self._drops.add("inference_busy", "a newer one came before it was begun", what=kind)

    # --- in the thread ------------------------------------------------------------------------

    def _take(self, frame: Frame, viewpoint: Viewpoint | None) -> None:
        self._sources.take(frame)
        if viewpoint is not None:
            self._show(viewpoint)

    def _label(self, stamp_ns: int, labels: NDArray[np.int32]) -> None:
        if not self._sources.label(stamp_ns, labels):
            text = "its image is not among the newest that are remembered"
            self._drops.add("late_labels", text, what="label image")

    def _show(self, viewpoint: Viewpoint) -> None:
        v = viewpoint
        try:
            if v.image is None:
                view = self._views.render(v.camera, v.T_world_camera, v.exclude_ns)
            else:
                view = self._views.along(v.image, v.exclude_ns, self._publisher.is_pictured)
        except ValueError as error:
            self._drops.add("no_view", str(error), what="view")
        else:
            self._publisher.publish(view, viewpoint)
