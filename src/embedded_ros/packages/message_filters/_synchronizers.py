"""Time synchronisers: match messages of several streams by their stamps."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

from rclpy.duration import Duration

from message_filters._simple_filter import SimpleFilter
from message_filters._stamps import stamp_of

Queue = dict[int, Any]  # message by stamp in nanoseconds, in order of arrival


class TimeSynchronizer(SimpleFilter):
    """Outputs sets of messages with equal stamps, one of each input.

    Each input has a queue of ``queue_size`` messages; the oldest arrival is dropped first.
    (Dropping the smallest stamp first would starve a stream whose time has gone back: its
    messages would be dropped at once while those with later stamps stay.)
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        self.queues: list[Queue] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        """Add a message of one input; callbacks run in this call, outside the lock."""
        stamp = stamp_of(msg, False, "message_filters_time")
        if stamp is None:
            return
        with self.lock:
            self._keep(my_queue, stamp.nanoseconds, msg)
            common = set.intersection(*(set(queue) for queue in self.queues))
            sets = [[queue.pop(time) for queue in self.queues] for time in sorted(common)]
        for messages in sets:
            self.signalMessage(*messages)

    def _keep(self, queue: Queue, stamp_ns: int, msg: Any) -> None:
        queue.pop(stamp_ns, None)  # so that a repeated stamp counts as the newest arrival
        queue[stamp_ns] = msg
        while len(queue) > self.queue_size:
            del queue[next(iter(queue))]


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Outputs sets of messages whose stamps differ by less than ``slop`` seconds.

    A set is output as soon as it is complete, with the messages nearest to the newest arrival.
    With ``allow_headerless``, messages without header are stamped with their arrival time.
    """

    def __init__(
        self,
        fs: Sequence[SimpleFilter],
        queue_size: int,
        slop: float,
        allow_headerless: bool = False,
    ) -> None:
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless

    def add(self, msg: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        stamp = stamp_of(msg, self.allow_headerless, "message_filters_approx")
        if stamp is None:
            return
        with self.lock:
            self._keep(my_queue, stamp.nanoseconds, msg)
            times = self._matching(my_queue, stamp.nanoseconds)
            if times is None:
                return
            messages = [q.pop(time) for q, time in zip(self.queues, times, strict=True)]
        self.signalMessage(*messages)

    def _matching(self, my_queue: Queue, stamp_ns: int) -> tuple[int, ...] | None:
        """Return one stamp per queue, all within the slop, preferring those near ``stamp_ns``."""
        slop_ns = self.slop.nanoseconds
        candidates = []
        for queue in self.queues:
            if queue is my_queue:
                candidates.append([stamp_ns])
                continue
            near = [time for time in queue if abs(time - stamp_ns) <= slop_ns]
            if not near:
                return None
            candidates.append(sorted(near, key=lambda time: abs(time - stamp_ns)))
        for times in itertools.product(*candidates):
            if max(times) - min(times) < slop_ns:
                return times
        return None
