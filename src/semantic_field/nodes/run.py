"""One way to run a node as a process: spin, stop on Ctrl-C or SIGTERM, clean up."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from semantic_field.teachers.worker import THREAD

THREADS = 4


def run_node(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """Spin the node that ``make_node`` makes until it is told to stop; the exit code, which is
    the node's own ``exit_code`` where it has one.

    rclpy's own signal handler would invalidate the context at once, under the feet of threads
    that still publish. Here the node is destroyed first, which joins them; a second Ctrl-C ends
    the process at once. Where a teacher of images is still busy then, this does not return: see
    ``_end_beside_teachers``.
    """
    code = _run(make_node, args)
    _end_beside_teachers(code)
    return code


def _run(make_node: Callable[[], Node], args: list[str] | None) -> int:
    stop = _stop_on_signals()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = None
    try:
        node = make_node()
        _spin(node, stop)
    except (ValueError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return getattr(node, "exit_code", 0)


def _end_beside_teachers(code: int) -> None:
    """End the process at once where a teacher is in the middle of a keyframe.

    It may need minutes for it, in torch. When Python shuts down around it, the thread is unwound
    through C++ as soon as it asks for the interpreter, and the process aborts. All that has to be
    kept was kept when the node was destroyed.
    """
    if any(thread.name == THREAD for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def on_signal(number: int, _) -> None:
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop


def _spin(node: Node, stop: threading.Event) -> None:
    """Serve callbacks until ``stop`` is set, the context ends or a callback raises."""
    executor = MultiThreadedExecutor(num_threads=THREADS)
    executor.add_node(node)
    with ThreadPoolExecutor(1, "spin") as pool:
        spinning = pool.submit(executor.spin)
        spinning.add_done_callback(lambda _: stop.set())
        stop.wait()
        executor.shutdown()
    error = spinning.exception()
    if error is not None and not isinstance(error, ExternalShutdownException):
        raise error
