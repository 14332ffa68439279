"""Loggers: levels, filters and what each place in the code may not change, as rclpy has it."""

from __future__ import annotations

import pytest

import embedded_ros

embedded_ros.install()

from rclpy import logging  # noqa: E402
from rclpy.clock import Clock, ROSClock  # noqa: E402
from rclpy.logging import LoggingSeverity  # noqa: E402


@pytest.fixture
def logger():
    yield logging.get_logger("unit.test")
    logging.clear_config()


def test_levels_are_inherited(logger, capfd):
    assert not logger.debug("no") and logger.info("yes")
    logging.set_logger_level("unit", LoggingSeverity.ERROR)
    assert not logger.warning("no") and logger.error("error")
    logger.set_level(LoggingSeverity.DEBUG)
    assert logger.debug("debug") and not logging.get_logger("unit.other").info("no")
    lines = capfd.readouterr().err.splitlines()
    assert [line.split("]: ")[1] for line in lines] == ["yes", "error", "debug"]


def test_severities_by_name():
    assert logging.get_logging_severity_from_string("warn") == LoggingSeverity.WARN
    for wrong in ("loud", "warning", "30"):
        with pytest.raises(RuntimeError):
            logging.get_logging_severity_from_string(wrong)


def test_once_and_skip_first(logger):
    once = [logger.info("once", once=True) for _ in range(4)]
    skipped = [logger.info("skipped", skip_first=True) for _ in range(4)]
    both = [logger.info("both", skip_first=True, once=True) for _ in range(4)]
    assert once == [True, False, False, False]
    assert skipped == [False, True, True, True]
    assert both == [False, True, False, False]


def test_throttling_is_per_place_in_the_code(logger):
    results = [logger.info("a", throttle_duration_sec=100.0) for _ in range(3)]
    pair = (
        logger.info("b", throttle_duration_sec=100.0), logger.info("c", throttle_duration_sec=100.0)
    )  # fmt: skip
    assert results == [True, False, False] and pair == (True, True)


def test_throttling_belongs_to_the_logger_object():
    """A logger got anew has not said anything yet; a node's own is one object."""
    results = [
        logging.get_logger("unit.fresh").info("a", throttle_duration_sec=100.0) for _ in range(3)
    ]
    assert results == [True, True, True]


def say(call, *arguments, **options):
    """One place in the code for all calls of a test."""
    return call(*arguments, **options)


def test_one_place_has_one_severity(logger):
    assert say(logger.info, "yes") and say(logger.info, "again")
    for other in (logger.warning, logger.error):
        with pytest.raises(ValueError, match="severity cannot be changed between calls"):
            say(other, "no")
    assert say(logger.info, "still")


def test_a_severity_that_is_not_put_out_settles_nothing(logger):
    assert not say(logger.debug, "quiet")
    assert say(logger.warning, "settled here")
    assert not say(logger.debug, "quiet")


def test_two_loggers_at_one_place_do_not_meet(logger):
    assert say(logger.info, "yes") and say(logging.get_logger("unit.other").error, "yes, too")


def test_one_place_has_one_name(logger):
    assert say(logger.log, "a", LoggingSeverity.INFO, name="one")
    with pytest.raises(ValueError, match="name cannot be changed"):
        say(logger.log, "a", LoggingSeverity.INFO, name="two")


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({"once": True}, {}, "filters"),
        ({}, {"skip_first": True}, "filters"),
        ({"once": True}, {"once": True, "throttle_duration_sec": 1.0}, "filters"),
        ({"throttle_duration_sec": 1.0}, {"throttle_duration_sec": 2.0}, "parameters"),
        (
            {"throttle_duration_sec": 1.0},
            {"throttle_duration_sec": 1.0, "throttle_time_source_type": Clock()},
            "parameters",
        ),
    ],
)
def test_one_place_has_one_set_of_filters(logger, first, second, what):
    say(logger.info, "a", **first)
    with pytest.raises(ValueError, match=f"(?i){what} cannot be changed between calls"):
        say(logger.info, "a", **second)
    say(logger.info, "a", **first)


def test_options_that_are_off_are_no_filters(logger):
    off = {"once": False, "skip_first": False, "throttle_duration_sec": 0}
    assert say(logger.info, "a", **off) and say(logger.info, "a")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"nonsense": True}, TypeError),
        ({"throttle_time_source_type": Clock()}, TypeError),
        ({"throttle_duration_sec": 1.0, "throttle_time_source_type": "STEADY"}, ValueError),
    ],
)
def test_options_that_are_refused(logger, options, error):
    with pytest.raises(error):
        say(logger.info, "a", **options)


def test_a_message_is_a_string(logger):
    for message in (ValueError("no"), 3, ["no"]):
        with pytest.raises(TypeError):
            say(logger.info, message)
    assert say(logger.info, "yes")


def test_throttling_by_a_clock_that_has_not_started(logger):
    """A clock at zero lets nothing through before the duration is over; one that goes back, too."""
    clock = ROSClock()
    clock._set_ros_time_is_active(True)
    seen = []
    for second in (0, 1, 3, 4, 6, 1, 9):
        set_seconds(clock, second)
        seen.append(logger.info("t", throttle_duration_sec=3, throttle_time_source_type=clock))
    assert seen == [False, False, True, False, True, False, True]


def set_seconds(clock: ROSClock, seconds: int) -> None:
    from rclpy.clock import ClockType
    from rclpy.time import Time

    clock.set_ros_time_override(Time(seconds=seconds, clock_type=ClockType.ROS_TIME))


def test_children_carry_the_name_of_their_parent(logger, capfd):
    child = logger.get_child("child")
    assert child.name == "unit.test.child" and child.info("hello")
    assert "[unit.test.child]: hello" in capfd.readouterr().err
    with pytest.raises(ValueError):
        logger.get_child("")
    with pytest.raises(ValueError):
        logging.get_logger("")
