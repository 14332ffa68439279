"""Transform buffer filled by a TransformListener; look-ups can wait."""

from __future__ import annotations

import threading
import time as wall
from collections.abc import Callable

import rclpy
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time
from tf2_msgs.srv import FrameGraph
from tf2_py import BufferCore, TransformException

from tf2_ros.buffer_interface import BufferInterface

AnyTime = Time | TimeMsg
SHUTDOWN_CHECK_S = 0.1


class Buffer(BufferCore, BufferInterface):
    """Transforms of the last ``cache_time`` (default 10 s).

    With a node it provides the service ``tf2_frames``, and clears itself when the node's clock
    jumps back by a second or changes its source; without a node it ignores clock jumps. Waiting
    look-ups block their thread: another thread must spin the listener.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        BufferCore.__init__(self, cache_time)
        BufferInterface.__init__(self)
        self._new_data = threading.Condition()
        self._waiting: list[Callable[[], None]] = []
        if node is not None:
            self.srv = node.create_service(FrameGraph, "tf2_frames", self._on_frame_graph)
            threshold = JumpThreshold(
                min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True
            )
            self.jump_handle = node.get_clock().create_jump_callback(
                threshold, post_callback=self.time_jump_callback
            )

    def _on_frame_graph(self, request, response):
        response.frame_yaml = self.all_frames_as_yaml()
        return response

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        get_logger("tf2_buffer").warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()

    # --- new data -----------------------------------------------------------------------------

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        super().set_transform(transform, authority)
        self._announce()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        super().set_transform_static(transform, authority)
        self._announce()

    def _announce(self) -> None:
        with self._new_data:
            self._new_data.notify_all()
            waiting = list(self._waiting)
        for callback in waiting:
            callback()

    def _wait_until(self, possible: Callable[[], bool], timeout: Duration) -> None:
        """Wait until ``possible()``, the timeout, or shutdown."""
        if timeout.nanoseconds <= 0:
            return
        end = wall.monotonic() + timeout.nanoseconds / 1e9
        running = rclpy.ok()
        with self._new_data:
            while not possible():
                left = end - wall.monotonic()
                if left <= 0 or (running and not rclpy.ok()):
                    return
                self._new_data.wait(min(left, SHUTDOWN_CHECK_S))

    # --- look-ups -----------------------------------------------------------------------------

    def lookup_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: AnyTime,
        timeout: Duration = Duration(),  # noqa: B008 (immutable, and as rclpy writes it)
    ) -> TransformStamped:
        """Return the transform that converts points from the source to the target frame.

        Args:
            time: zero means the newest time at which the whole chain is known.
            timeout: how long to wait for the transform, in wall time.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException,
            InvalidArgumentException; all are TransformException.
        """
        where = (target_frame, source_frame, time)
        self._wait_until(lambda: self.can_transform_core(*where)[0], timeout)
        return self.lookup_transform_core(*where)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: AnyTime,
        source_frame: str,
        source_time: AnyTime,
        fixed_frame: str,
        timeout: Duration = Duration(),  # noqa: B008
    ) -> TransformStamped:
        """Like ``lookup_transform``, between two times, through a fixed frame."""
        where = (target_frame, target_time, source_frame, source_time, fixed_frame)
        self._wait_until(lambda: self.can_transform_full_core(*where)[0], timeout)
        return self.lookup_transform_full_core(*where)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: AnyTime,
        timeout: Duration = Duration(),  # noqa: B008
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Return True if the look-up is possible within the timeout; optionally with a reason."""
        where = (target_frame, source_frame, time)
        self._wait_until(lambda: self.can_transform_core(*where)[0], timeout)
        result = self.can_transform_core(*where)
        return result if return_debug_tuple else result[0]

    def can_transform_full(
        self,
        target_frame: str,
        target_time: AnyTime,
        source_frame: str,
        source_time: AnyTime,
        fixed_frame: str,
        timeout: Duration = Duration(),  # noqa: B008
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Return True if the full look-up is possible within the timeout."""
        where = (target_frame, target_time, source_frame, source_time, fixed_frame)
        self._wait_until(lambda: self.can_transform_full_core(*where)[0], timeout)
        result = self.can_transform_full_core(*where)
        return result if return_debug_tuple else result[0]

    # --- futures ------------------------------------------------------------------------------

    async def lookup_transform_async(
        self, target_frame: str, source_frame: str, time: AnyTime
    ) -> TransformStamped:
        """Return the transform once it is available."""
        return await self.wait_for_transform_async(target_frame, source_frame, time)

    async def lookup_transform_full_async(
        self,
        target_frame: str,
        target_time: AnyTime,
        source_frame: str,
        source_time: AnyTime,
        fixed_frame: str,
    ) -> TransformStamped:
        """Return the transform of a full look-up once it is available."""
        return await self.wait_for_transform_full_async(
            target_frame, target_time, source_frame, source_time, fixed_frame
        )

    def wait_for_transform_async(
        self, target_frame: str, source_frame: str, time: AnyTime
    ) -> Future:
        """Return a future of the transform; cancel it to stop waiting."""
        return self._future_of(lambda: self.lookup_transform_core(target_frame, source_frame, time))

    def wait_for_transform_full_async(
        self,
        target_frame: str,
        target_time: AnyTime,
        source_frame: str,
        source_time: AnyTime,
        fixed_frame: str,
    ) -> Future:
        """Return a future of the full look-up."""
        return self._future_of(
            lambda: self.lookup_transform_full_core(
                target_frame, target_time, source_frame, source_time, fixed_frame
            )
        )

    def _future_of(self, look_up: Callable[[], TransformStamped]) -> Future:
        future = Future()

        def attempt() -> None:
            if future.done():
                return
            try:
                future.set_result(look_up())
            except TransformException:
                return  # not yet: retried on the next transform

        with self._new_data:
            self._waiting.append(attempt)
        future.add_done_callback(lambda _: self._forget(attempt))
        attempt()
        return future

    def _forget(self, attempt: Callable[[], None]) -> None:
        with self._new_data:
            if attempt in self._waiting:
                self._waiting.remove(attempt)
