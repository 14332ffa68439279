"""What ``semantic-field topic`` and ``semantic-field service`` do, over rclpy."""

from __future__ import annotations

import itertools
import os
import queue
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import rclpy
import yaml
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosidl_runtime_py import message_to_yaml, set_message_fields
from rosidl_runtime_py.utilities import get_message, get_service

from semantic_field.nodes.ros.client import Client, connected

TRUNCATED = 128
# A leading underscore hides the node from listings.
_NODE = "_semantic_field_cli"
_LEAST_S, _MOST_S, _QUIET_S = 1.0, 4.0, 0.5
_POLL_S = 0.05
NamesAndTypes = list[tuple[str, list[str]]]


def list_topics(show_types: bool) -> int:
    """Print the names of all topics that are published or subscribed to."""
    with connected(_NODE) as client:
        found = _settled(client.node.get_topic_names_and_types)
    return _print_names(found, show_types)


def list_services(show_types: bool) -> int:
    """Print the names of all services."""
    with connected(_NODE) as client:
        found = _settled(client.node.get_service_names_and_types)
    own = f"/{_NODE}_{os.getpid()}/"
    return _print_names([entry for entry in found if not entry[0].startswith(own)], show_types)


def call_service(name: str, type_name: str, values: str, timeout_s: float) -> int:
    """Call a service and print request and answer.

    Raises:
        ValueError: there is no such type, or the values do not fit it.
        TimeoutError: nobody answers.
    """
    kind = _kind(get_service, type_name, "service", "semantic_field/srv/Query")
    request = kind.Request()
    _fill(request, values, type_name)
    with connected(_NODE) as client:
        _say(f"requester: making request: {request!r}\n")
        response = client.call(kind, name, request, timeout_s)
    _say("response:\n" + message_to_yaml(response, truncate_length=TRUNCATED))
    return 0


def echo(
    topic: str,
    type_name: str | None,
    *,
    once: bool,
    field: str | None,
    truncate: int | None,
    no_arr: bool,
    wait_s: float,
) -> int:
    """Print the messages of a topic as YAML, ``---`` between them.

    Raises:
        ValueError: the topic's type is unknown, or it has no such field.
        TimeoutError: there is no such topic.
    """
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with connected(_NODE) as client:
        _subscribe(client, topic, type_name, messages.put, wait_s, raw=False)
        while rclpy.ok():
            try:
                message = messages.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            text = _shown(message, field, truncate, no_arr)
            _say(text if text.endswith("\n") else text + "\n")
            _say("---\n")
            if once:
                return 0
    return 0


def measure_rate(topic: str, window: int, duration_s: float | None, wait_s: float) -> int:
    """Print once a second how many messages come; 1 where none came at all.

    Raises:
        TimeoutError: there is no such topic.
    """
    arrivals: queue.SimpleQueue[float] = queue.SimpleQueue()
    times: deque[float] = deque(maxlen=window + 1)
    with connected(_NODE) as client:
        _subscribe(client, topic, None, lambda _: arrivals.put(time.monotonic()), wait_s, raw=True)
        end = time.monotonic() + duration_s if duration_s is not None else float("inf")
        while rclpy.ok() and time.monotonic() < end:
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))
            new = arrivals.qsize()
            times.extend(arrivals.get() for _ in range(new))
            _say(rate_text(list(times)) if new else "no new messages\n")
    return 0 if times else 1


def rate_text(times: list[float]) -> str:
    """Rate and spread of the intervals between arrivals (seconds), in ``ros2 topic hz``'s words."""
    if len(times) < 2:
        return "one message\n"
    intervals = [late - early for early, late in itertools.pairwise(times)]
    mean = sum(intervals) / len(intervals)
    return (
        f"average rate: {1.0 / mean if mean > 0 else float('inf'):.3f}\n"
        f"\tmin: {min(intervals):.3f}s max: {max(intervals):.3f}s "
        f"std dev: {statistics.pstdev(intervals):.5f}s window: {len(intervals)}\n"
    )


def _subscribe(
    client: Client,
    topic: str,
    type_name: str | None,
    callback: Callable[[Any], None],
    wait_s: float,
    raw: bool,
) -> None:
    name = topic if topic.startswith("/") else f"/{topic}"
    kind = _kind(
        get_message,
        type_name or _type_of(client, name, wait_s),
        "message",
        "sensor_msgs/msg/Image",
    )
    client.node.create_subscription(kind, name, callback, _fitting_qos(client, name), raw=raw)


def _type_of(client: Client, topic: str, wait_s: float) -> str:
    """The type that is published on a topic, once somebody does."""
    deadline = time.monotonic() + wait_s
    while True:
        found = dict(client.node.get_topic_names_and_types())
        if topic in found:
            break
        if time.monotonic() >= deadline:
            names = ", ".join(sorted(found)) or "none"
            raise TimeoutError(f"no topic {topic} after {wait_s:g} s; there are: {names}")
        time.sleep(_POLL_S)
    if len(found[topic]) > 1:
        raise ValueError(
            f"topic {topic} has several types ({', '.join(found[topic])}): name the one you mean"
        )
    return found[topic][0]


def _fitting_qos(client: Client, topic: str) -> QoSProfile:
    """A profile that matches all that publish: no stricter than the least of them."""
    offered = [info.qos_profile for info in client.node.get_publishers_info_by_topic(topic)]
    reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    kept = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=10,
        reliability=(
            ReliabilityPolicy.RELIABLE if offered and reliable else ReliabilityPolicy.BEST_EFFORT
        ),
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL if offered and kept else DurabilityPolicy.VOLATILE
        ),
    )


def _settled(look: Callable[[], NamesAndTypes]) -> NamesAndTypes:
    """What ``look`` finds once nothing new has come for a while: others need time to answer."""
    started = changed = time.monotonic()
    found = look()
    while True:
        time.sleep(_POLL_S)
        now = time.monotonic()
        newer = look()
        if newer != found:
            found, changed = newer, now
        settled = now - started > _LEAST_S and now - changed > _QUIET_S
        if settled or now - started > _MOST_S:
            return found


def _print_names(found: NamesAndTypes, show_types: bool) -> int:
    for name, types in sorted(found):
        if not any(part.startswith("_") for part in name.split("/")):
            _say(f"{name} [{', '.join(types)}]\n" if show_types else f"{name}\n")
    return 0


def _kind(get: Callable[[str], Any], name: str, what: str, example: str) -> Any:
    try:
        return get(name)
    except (ValueError, AttributeError, ImportError, LookupError) as error:
        raise ValueError(f"no {what} type {name!r}: expected one such as {example}") from error


def _fill(request: Any, values: str, type_name: str) -> None:
    try:
        tree = yaml.safe_load(values)
        if not isinstance(tree, dict):
            raise ValueError("not a mapping")
        set_message_fields(request, tree)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, AssertionError) as error:
        fields = ", ".join(
            f"{name}: {kind}" for name, kind in request.get_fields_and_field_types().items()
        )
        raise ValueError(
            f"the values {values!r} do not fit {type_name} ({error}): its request is {{{fields}}}"
        ) from error


def _shown(message: Any, field: str | None, truncate: int | None, no_arr: bool) -> str:
    for name in field.split(".") if field else ():
        if name not in getattr(message, "get_fields_and_field_types", dict)():
            raise ValueError(f"no field {name!r} in {type(message).__name__}: got --field {field}")
        message = getattr(message, name)
    if hasattr(message, "get_fields_and_field_types"):
        return message_to_yaml(message, truncate_length=truncate, no_arr=no_arr)
    return str(message)


def _say(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read this (head, grep -q) has enough; the interpreter's own flush must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
