"""The queue of one for each kind of work."""

from __future__ import annotations

import threading

from semantic_field.nodes.predicting.latest_work import LatestWork


def test_the_newest_of_each_kind_is_done_in_the_order_of_the_kinds():
    work, done = LatestWork(), []
    assert not work.put("frame", lambda: done.append("frame 1"))
    assert not work.put("view", lambda: done.append("view 1"))
    assert work.put("frame", lambda: done.append("frame 2"))
    work.put("last", work.stop)
    work.run()
    assert done == ["frame 2", "view 1"]


def test_what_is_cleared_is_not_done():
    work, done = LatestWork(), []
    work.put("frame", lambda: done.append("frame"))
    work.clear()
    work.put("last", work.stop)
    work.run()
    assert done == []


def test_what_has_begun_is_replaced_by_nothing_and_finished_before_the_end():
    work, done = LatestWork(), []
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(60.0)
        done.append("slow")

    thread = threading.Thread(target=work.run)
    work.put("view", slow)
    thread.start()
    assert begun.wait(60.0)
    assert not work.put("view", lambda: done.append("never"))
    work.stop()
    go_on.set()
    thread.join(60.0)
    assert not thread.is_alive() and done == ["slow"]
