"""rclpy's API on Cyclone DDS: initialisation, nodes, spinning."""

from __future__ import annotations

from typing import Any

from rclpy import logging, utilities
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import (
    SignalHandlerOptions,
    install_signal_handlers,
    uninstall_signal_handlers,
    watch_context,
)
from rclpy.task import Future
from rclpy.utilities import (
    get_default_context,
    get_rmw_implementation_identifier,
    ok,
    remove_ros_args,
)

_EXECUTOR: list[Any] = []


def init(
    *,
    args: list[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
) -> None:
    """Initialise a context. For the default one, SIGINT and SIGTERM end spinning by default.

    Raises:
        RuntimeError: if the context was initialised before.
        RCLError: if a ROS argument is invalid.
        ValueError: if an environment variable is invalid.
    """
    chosen = get_default_context() if context is None else context
    if signal_handler_options is None:
        is_default = context is None
        signal_handler_options = SignalHandlerOptions.ALL if is_default else SignalHandlerOptions.NO
    chosen.init(args, domain_id=domain_id)
    install_signal_handlers(signal_handler_options)
    watch_context(chosen)


def shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Shut the context down; raises RuntimeError if it is not running."""
    _forget_executor(context)
    utilities.shutdown(context=context)
    if uninstall_handlers or (uninstall_handlers is None and context is None):
        uninstall_signal_handlers()


def try_shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Shut the context down if it is running."""
    _forget_executor(context)
    utilities.try_shutdown(context=context)
    if uninstall_handlers or (uninstall_handlers is None and context is None):
        uninstall_signal_handlers()


def create_node(node_name: str, **kwargs: Any) -> Node:
    """Create a node; the arguments are those of ``Node``."""
    return Node(node_name, **kwargs)


def get_global_executor() -> Any:
    """Return the default executor of the functions below."""
    if not _EXECUTOR:
        _EXECUTOR.append(SingleThreadedExecutor())
        get_default_context().on_shutdown(lambda: _EXECUTOR[0].wake() if _EXECUTOR else None)
    return _EXECUTOR[0]


def _forget_executor(context: Context | None) -> None:
    if _EXECUTOR and (context is None or _EXECUTOR[0].context is context):
        executor = _EXECUTOR.pop()
        executor._is_shutdown = True
        executor.wake()


def spin_once(node: Node, *, executor: Any = None, timeout_sec: float | None = None) -> None:
    """Run one callback of the node, waiting for it up to ``timeout_sec``."""
    executor = executor or get_global_executor()
    try:
        executor.add_node(node)
        executor.spin_once(timeout_sec=timeout_sec)
    finally:
        executor.remove_node(node)


def spin(node: Node, executor: Any = None) -> None:
    """Run the node's callbacks until shutdown.

    Raises:
        rclpy.executors.ExternalShutdownException: if the context was shut down meanwhile.
        KeyboardInterrupt: on Ctrl-C.
    """
    executor = executor or get_global_executor()
    try:
        executor.add_node(node)
        while executor.context.ok() and not executor._is_shutdown:
            executor.spin_once()
    finally:
        executor.remove_node(node)


def spin_until_future_complete(
    node: Node, future: Future, executor: Any = None, timeout_sec: float | None = None
) -> None:
    """Run the node's callbacks until the future is done, or for ``timeout_sec``."""
    executor = executor or get_global_executor()
    try:
        executor.add_node(node)
        executor.spin_until_future_complete(future, timeout_sec)
    finally:
        executor.remove_node(node)
