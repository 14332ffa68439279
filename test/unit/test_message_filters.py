"""Synchronisers and cache by hand-worked streams."""

from __future__ import annotations

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from builtin_interfaces.msg import Time as TimeMsg  # noqa: E402
from message_filters import (  # noqa: E402
    ApproximateTimeSynchronizer,
    Cache,
    SimpleFilter,
    TimeSynchronizer,
)
from rclpy.clock import ClockType  # noqa: E402
from rclpy.time import Time  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

MILLISECOND = 1_000_000


def message(time_ms, frame=""):
    stamp_ns = round(time_ms * MILLISECOND)
    stamp = TimeMsg(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return CameraInfo(header=Header(stamp=stamp, frame_id=frame))


def milliseconds(*messages):
    return tuple(round(Time.from_msg(m.header.stamp).nanoseconds / MILLISECOND) for m in messages)


class Streams:
    """``count`` inputs of a synchroniser and what came out of it."""

    def __init__(self, kind, count, *args, **kwargs):
        self.inputs = [SimpleFilter() for _ in range(count)]
        self.synchroniser = kind(self.inputs, *args, **kwargs)
        self.output = []
        self.synchroniser.registerCallback(lambda *m: self.output.append(milliseconds(*m)))

    def send(self, index, *times_ms):
        for time_ms in times_ms:
            self.inputs[index].signalMessage(message(time_ms))


def test_callbacks_get_their_own_arguments():
    source, seen = SimpleFilter(), []
    assert source.registerCallback(lambda *a: seen.append(a), "x", 1) == 0
    assert source.registerCallback(lambda *a: seen.append(a)) == 1
    source.signalMessage("m", "n")
    assert seen == [("m", "n", "x", 1), ("m", "n")]


# --- equal stamps ---------------------------------------------------------------------------------


def test_equal_stamps_come_out_together():
    streams = Streams(TimeSynchronizer, 2, 10)
    streams.send(0, 10, 20, 30)
    streams.send(1, 20, 25)
    assert streams.output == [(20, 20)]
    streams.send(1, 10)
    assert streams.output == [(20, 20), (10, 10)]


def test_three_streams_need_all_three():
    streams = Streams(TimeSynchronizer, 3, 10)
    streams.send(0, 10)
    streams.send(2, 10)
    assert streams.output == []
    streams.send(1, 10)
    assert streams.output == [(10, 10, 10)]


def test_a_message_is_used_once():
    streams = Streams(TimeSynchronizer, 2, 10)
    streams.send(0, 10)
    streams.send(1, 10, 10)
    assert streams.output == [(10, 10)]


def test_queues_are_bounded_and_drop_what_came_first():
    streams = Streams(TimeSynchronizer, 2, 3)
    streams.send(0, 10, 20, 30, 40)
    assert [len(queue) for queue in streams.synchroniser.queues] == [3, 0]
    streams.send(1, 10, 20)
    assert streams.output == [(20, 20)]


# --- stamps within a slop -------------------------------------------------------------------------


def test_pairs_within_the_slop():
    streams = Streams(ApproximateTimeSynchronizer, 2, 10, 0.02)
    streams.send(0, 0, 33, 66, 100)
    streams.send(1, 5, 54, 95)  # 54 is 12 from 66 and 21 from 33
    assert streams.output == [(0, 5), (66, 54), (100, 95)]


def test_outside_the_slop_nothing_comes():
    streams = Streams(ApproximateTimeSynchronizer, 2, 10, 0.02)
    streams.send(0, 0)
    streams.send(1, 21, 20)  # the difference must be less than the slop
    assert streams.output == []
    streams.send(1, 19)
    assert streams.output == [(0, 19)]


def test_the_nearest_of_several_is_taken():
    streams = Streams(ApproximateTimeSynchronizer, 2, 10, 0.1)
    streams.send(0, 0, 30, 60)
    streams.send(1, 35)
    assert streams.output == [(30, 35)]


def test_three_streams_have_to_lie_within_the_slop_all_together():
    streams = Streams(ApproximateTimeSynchronizer, 3, 10, 0.02)
    streams.send(0, 0)
    streams.send(1, 15)
    streams.send(2, 30)  # near the second, too far from the first
    assert streams.output == []
    streams.send(2, 8)
    assert streams.output == [(0, 15, 8)]


def test_out_of_order_stamps_are_paired():
    streams = Streams(ApproximateTimeSynchronizer, 2, 10, 0.005)
    streams.send(0, 40, 10, 30, 20)
    streams.send(1, 20, 40, 30, 10)
    assert sorted(streams.output) == [(10, 10), (20, 20), (30, 30), (40, 40)]


@pytest.mark.embedded_only("Jazzy's own pairs nothing then; nodes make a new one")
@pytest.mark.parametrize("kind", [TimeSynchronizer, ApproximateTimeSynchronizer])
def test_time_that_goes_backwards_does_not_wedge_it(kind):
    """A looping recording: full queues of the future must not keep the past out."""
    arguments = (5,) if kind is TimeSynchronizer else (5, 0.005)
    streams = Streams(kind, 2, *arguments)
    streams.send(0, *range(100_000, 100_100, 10))  # nothing to pair with: the queue is full
    streams.send(0, 0, 10, 20)
    streams.send(1, 0, 10, 20)
    assert streams.output == [(0, 0), (10, 10), (20, 20)]


def test_a_stream_with_jitter_loses_nothing():
    """Depth 3 ms behind colour with up to 4 ms jitter, delivered late and in bursts."""
    generator = np.random.default_rng(5)
    color = np.arange(200) * 33.0
    depth = color + 3.0 + generator.uniform(-4.0, 4.0, len(color))
    streams = Streams(ApproximateTimeSynchronizer, 2, 10, 0.01)
    for start in range(0, 200, 5):
        streams.send(0, *color[start : start + 5])
        streams.send(1, *depth[start : start + 5])
    assert [pair[0] for pair in streams.output] == [round(c) for c in color]
    assert all(abs(a - b) <= 8 for a, b in streams.output)


def test_messages_without_header_need_permission():
    refused = Streams(ApproximateTimeSynchronizer, 2, 10, 0.5)
    refused.inputs[0].signalMessage(String(data="a"))
    assert [len(queue) for queue in refused.synchroniser.queues] == [0, 0]
    filters, seen = [SimpleFilter(), SimpleFilter()], []
    allowed = ApproximateTimeSynchronizer(filters, 10, 60.0, allow_headerless=True)
    allowed.registerCallback(lambda *m: seen.append(tuple(x.data for x in m)))
    filters[0].signalMessage(String(data="a"))
    filters[1].signalMessage(String(data="b"))
    assert seen == [("a", "b")]


@pytest.mark.embedded_only("the lock of Jazzy's own is not reentrant: it would wait for ever")
def test_a_callback_may_feed_the_synchroniser_again():
    streams = Streams(ApproximateTimeSynchronizer, 2, 10, 0.005)

    def feed(first, second):
        if milliseconds(first) == (10,):
            streams.send(0, 20)
            streams.send(1, 20)

    streams.synchroniser.registerCallback(feed)
    streams.send(0, 10)
    streams.send(1, 10)
    assert streams.output == [(10, 10), (20, 20)]


# --- cache ----------------------------------------------------------------------------------------


def test_cache_keeps_the_last_and_answers_by_time():
    source, passed = SimpleFilter(), []
    cache = Cache(source, 3)
    cache.registerCallback(lambda m: passed.append(m))
    for time_ms in (10, 20, 30, 40):
        source.signalMessage(message(time_ms))

    def time(time_ms):
        return Time(nanoseconds=time_ms * MILLISECOND, clock_type=ClockType.ROS_TIME)

    assert len(passed) == 4
    assert milliseconds(*cache.getInterval(time(20), time(30))) == (20, 30)
    assert milliseconds(cache.getElemAfterTime(time(25))) == (30,)
    assert milliseconds(cache.getElemBeforeTime(time(25))) == (20,)
    assert cache.getElemBeforeTime(time(15)) is None and cache.getElemAfterTime(time(45)) is None
    assert cache.getOldestTime() == time(20) and cache.getLastestTime() == time(40)
    assert milliseconds(cache.getLast()) == (40,)
    assert Cache(SimpleFilter(), 3).getLast() is None
