"""Runs nodes as a process: spins, stops on Ctrl-C or SIGTERM, cleans up."""

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
    """Run a single node; see ``run_nodes``."""
    return run_nodes([make_node], args)


def run_nodes(make_nodes: Sequence[Callable[[], Node]], args: list[str] | None = None) -> int:
    """Spin the nodes in one executor until they are told to stop; returns the exit code.

    An error at the start (a parameter, a file) prints one line and returns 1. An exception later,
    in a callback or thread, is a bug: its traceback is printed, and the code is 1. Exceptions of
    invalid messages and requests do not arrive here, see ``GuardedNode``. A node may have its own
    ``exit_code``; that of the mapping node is 1 if its map could not be saved. If a ``Worker``
    has failed, the node continues, and the code is 1 at the end.

    rclpy's signal handler would invalidate the context at once, while threads still publish.
    Here the nodes are destroyed first, which joins their threads; a second Ctrl-C ends the
    process at once. If a busy thread cannot be told to stop, this function ends the process
    instead of returning: see ``_end_beside_threads``.
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
    """Make exceptions of threads set ``stop``; returns the list that collects them."""
    faults: list[BaseException] = []

    def on_fault(raised: threading.ExceptHookArgs) -> None:
        threading.__excepthook__(raised)
        if raised.exc_value is not None and not stop.is_set():
            faults.append(raised.exc_value)
        stop.set()

    threading.excepthook = on_fault
    return faults


def _end_beside_threads(code: int) -> None:
    """End the process at once if a teacher thread or the compilation is still running.

    These may need minutes, in torch or LLVM. If Python shuts down meanwhile, such a thread is
    unwound through C++ as soon as it needs the interpreter, and the process aborts. Everything
    that must be saved was saved when the node was destroyed.
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
        if sys.exc_info()[0] is None:  # else ``_stop_on_faults`` records it and sets ``stop``
            stop.set()

    spinning = Spinning(executor, at_end=ended)
    stop.wait()
    spinning.stop()
