"""The order and times in which a recording's events come."""

import threading
import time

import pytest

from semantic_field.data.replay import Event, Pacer

MS = 1_000_000


class Stamps:
    """A recording of bare stamps."""

    def __init__(self, *stamps: int) -> None:
        self.stamps = stamps
        self.start_ns, self.end_ns = stamps[0], stamps[-1]

    def events(self):
        return (Event(stamp, index) for index, stamp in enumerate(self.stamps))


def test_events_come_in_order_with_progress_and_not_early():
    stamps = [1000, 1000 + 20 * MS, 1000 + 50 * MS]
    start = time.monotonic()
    times, dues = [], []
    for due in Pacer(Stamps(*stamps)).play(threading.Event()):
        times.append(time.monotonic() - start)
        dues.append(due)
    assert [d.event.payload for d in dues] == [0, 1, 2]
    assert [d.event.stamp_ns for d in dues] == stamps
    assert dues[-1].progress == 1.0
    assert times[1] >= 0.020 and times[2] >= 0.050


def test_loop_restarts_the_stamps():
    stop, seen = threading.Event(), []
    for due in Pacer(Stamps(5, 6), rate=1000.0, loop=True).play(stop):
        seen.append((due.round, due.event.stamp_ns))
        if len(seen) == 5:
            stop.set()
    assert seen == [(0, 5), (0, 6), (1, 5), (1, 6), (2, 5)]


def test_step_gives_one_event_a_call():
    pacer, stop, seen = Pacer(Stamps(0, 10**12), step=True), threading.Event(), []
    taken = threading.Semaphore(0)

    def run():
        for due in pacer.play(stop):
            seen.append(due.event.payload)
            taken.release()

    thread = threading.Thread(target=run)
    thread.start()
    assert not taken.acquire(timeout=0.1)
    pacer.step()
    assert taken.acquire(timeout=5.0) and seen == [0]
    assert not taken.acquire(timeout=0.1)
    pacer.step()
    assert taken.acquire(timeout=5.0) and seen == [0, 1]  # and not 10^12 ns later
    thread.join(5.0)
    assert not thread.is_alive()


def test_clock_waits_for_the_next_event_and_while_paused():
    pacer = Pacer(Stamps(100, 200))
    assert pacer.now_ns() == 100  # the first event has not been given out
    events = pacer.play(threading.Event())
    next(events)
    next(events)
    assert pacer.now_ns() == 200
    time.sleep(0.01)
    assert pacer.now_ns() == 200  # not past the last event
    slow = Pacer(Stamps(0, 10**15))
    events = slow.play(threading.Event())
    next(events)
    waiting = threading.Thread(target=lambda: next(events, None), daemon=True)
    waiting.start()
    time.sleep(0.02)
    slow.pause(True)
    frozen = slow.now_ns()
    assert frozen > 0
    time.sleep(0.02)
    assert slow.now_ns() == frozen
    slow.pause(False)
    time.sleep(0.02)
    assert slow.now_ns() > frozen


def test_stop_ends_a_long_wait():
    stop = threading.Event()
    events = Pacer(Stamps(0, 10**15)).play(stop)
    next(events)
    threading.Timer(0.05, stop.set).start()
    assert next(events, None) is None


def test_an_event_behind_its_predecessor_comes_at_once():
    stamps = [d.event.stamp_ns for d in Pacer(Stamps(0, 9, 3, 10)).play(threading.Event())]
    assert stamps == [0, 9, 3, 10]


@pytest.mark.parametrize(("stamps", "rate"), [((2, 1), 1.0), ((1, 2), 0.0)])
def test_bad_recordings_are_refused(stamps, rate):
    with pytest.raises(ValueError, match="expected"):
        Pacer(Stamps(*stamps), rate)


def test_speed_and_loop_may_change_on_the_way():
    """The second event is due in a day, and in some milliseconds at the new rate."""
    day = 86_400_000 * MS
    pacer, stop, seen = Pacer(Stamps(0, day)), threading.Event(), []
    for due in pacer.play(stop):
        seen.append((due.round, due.event.payload))
        pacer.follow(1e9, loop=len(seen) < 4)
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]
