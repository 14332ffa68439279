"""One way to run nodes as a process: spin, stop on Ctrl-C or SIGTERM, clean up."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from semantic_field.mapping.language.teacher_worker import THREAD as TEACHER
from semantic_field.nodes.ros.spinning import Spinning

THREADS = 4
WARM_UP = "warm-up"  # the thread that compiles
START_ERRORS = (ValueError, OSError, RCLError, ParameterException, NameValidationException)


def run_node(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """As ``run_nodes``, of one node."""
    return run_nodes([make_node], args)


def run_nodes(make_nodes: Sequence[Callable[[], Node]], args: list[str] | None = None) -> int:
    """Spin the nodes in one executor until they are told to stop; the exit code.

    What is wrong at the start (a parameter, a file) is one line and the code 1. What a callback
    or a thread raises later is a fault of the program: its traceback, and the code 1. What bad
    messages and requests raise does not come here, see ``GuardedNode``. A node may have an
    ``exit_code`` of its own: of the mapping node it is 1 where its map could not be saved. Where a
    ``Worker`` has failed the node goes on, and the code is 1 in the end.

    rclpy's own signal handler would invalidate the context at once, under the feet of threads
    that still publish. Here the node is destroyed first, which joins them; a second Ctrl-C ends
    the process at once. Where a thread is busy then that cannot be told to stop, this does not
    return: see ``_end_beside_threads``.
    """
    code = _run(make_nodes, args)
    _end_beside_threads(code)
    return code


def _run(make_nodes: Sequence[Callable[[], Node]], args: list[str] | None) -> int:
    stop = _stop_on_signals()
    faults = _stop_on_faults(stop)
    nodes: list[Node] = []
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        for make_node in make_nodes:
            nodes.append(make_node())
    except START_ERRORS as error:
        sys.stderr.write(f"error: {error}\n")
        _close(nodes)
        return 1
    _spin(nodes, stop)
    _close(nodes)
    failed = faults or any(getattr(node, "failures", None) for node in nodes)
    return 1 if failed else max(getattr(node, "exit_code", 0) for node in nodes)


def _close(nodes: Sequence[Node]) -> None:
    for node in reversed(nodes):
        node.destroy_node()
    rclpy.try_shutdown()


def _stop_on_faults(stop: threading.Event) -> list[BaseException]:
    """Let what a thread raises end the node; what has been raised so far."""
    faults: list[BaseException] = []

    def on_fault(raised: threading.ExceptHookArgs) -> None:
        threading.__excepthook__(raised)
        if raised.exc_value is not None and not stop.is_set():
            faults.append(raised.exc_value)
        stop.set()

    threading.excepthook = on_fault
    return faults


def _end_beside_threads(code: int) -> None:
    """End the process at once where a teacher is in the middle of a keyframe, or compiling goes on.

    It may need minutes for it, in torch or LLVM. When Python shuts down around it, the thread is
    unwound through C++ as soon as it asks for the interpreter, and the process aborts. All that
    has to be kept was kept when the node was destroyed.
    """
    if any(thread.name in (TEACHER, WARM_UP) for thread in threading.enumerate()):
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


def _spin(nodes: Sequence[Node], stop: threading.Event) -> None:
    """Serve callbacks until ``stop`` is set, the context ends or a callback raises.

    The executor is not shut down before it has stopped spinning: see ``Spinning``.
    """
    executor = MultiThreadedExecutor(num_threads=THREADS * len(nodes))
    for node in nodes:
        executor.add_node(node)

    def ended() -> None:
        if sys.exc_info()[0] is None:  # a fault is noted before, by ``_stop_on_faults``
            stop.set()

    spinning = Spinning(executor, at_end=ended)
    stop.wait()
    spinning.stop()
