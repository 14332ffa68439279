"""One way to run a node as a process: spin, stop on Ctrl-C or SIGTERM, clean up."""

from __future__ import annotations

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

THREADS = 4


def run_node(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """Spin the node that ``make_node`` makes until it is told to stop; the exit code.

    rclpy's own signal handler would invalidate the context at once, under the feet of threads
    that still publish. Here the node is destroyed first, which joins them; a second Ctrl-C ends
    the process at once.
    """
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
    return 0


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
