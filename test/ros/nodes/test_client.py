"""Ctrl-C while a command waits, and where Python would swallow it."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from std_srvs.srv import Trigger

from semantic_field.nodes.client import connected


@pytest.fixture(autouse=True)
def own_domain(monkeypatch, domain_id):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain_id))


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_a_call_that_nobody_answers():
    handler = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.5, press_ctrl_c)
    with pytest.raises(KeyboardInterrupt), connected("test") as client:
        timer.start()
        client.call(Trigger, "nobody/answers", Trigger.Request(), timeout_s=3600.0)
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_in_a_finalizer_is_not_lost():
    class Thing:
        def __del__(self) -> None:
            press_ctrl_c()
            time.sleep(0.01)  # the signal's handler runs here; an exception would go no further

    reached = False
    with pytest.raises(KeyboardInterrupt), connected("test") as client:
        thing = Thing()
        del thing
        reached = True
        client.pause(3600.0)
    assert reached


def test_a_command_that_waits_no_more_says_so_at_its_end():
    with pytest.raises(KeyboardInterrupt), connected("test"):
        press_ctrl_c()
        time.sleep(0.01)


def test_ctrl_c_twice_does_not_wait():
    with pytest.raises(KeyboardInterrupt), connected("test"):
        press_ctrl_c()
        time.sleep(0.01)
        press_ctrl_c()
        time.sleep(3600.0)


def test_it_works_in_a_thread_as_well():
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with connected("test") as client:
                client.pause(0.01)
        except BaseException as error:  # to be seen by the test's thread
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
