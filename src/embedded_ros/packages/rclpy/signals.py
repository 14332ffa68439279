"""Signal handlers: SIGINT and SIGTERM shut the contexts down, which ends spinning."""

from __future__ import annotations

import signal
import threading
import weakref
from enum import IntEnum
from types import FrameType
from typing import Any


class SignalHandlerOptions(IntEnum):
    """Which signals rclpy handles."""

    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3


_CONTEXTS: weakref.WeakSet[Any] = weakref.WeakSet()
_PREVIOUS: dict[int, Any] = {}


def watch_context(context: Any) -> None:
    """Let the handled signals shut this context down."""
    _CONTEXTS.add(context)


def install_signal_handlers(options: SignalHandlerOptions = SignalHandlerOptions.ALL) -> None:
    """Handle the signals of ``options``; does nothing if not in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return
    if options & SignalHandlerOptions.SIGINT:
        _install(signal.SIGINT)
    if options & SignalHandlerOptions.SIGTERM:
        _install(signal.SIGTERM)


def uninstall_signal_handlers() -> None:
    """Restore the previous signal handlers."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, previous in list(_PREVIOUS.items()):
        if signal.getsignal(number) is _handle:
            signal.signal(number, previous)
        del _PREVIOUS[number]


def get_current_signal_handlers_options() -> SignalHandlerOptions:
    """Return which signals are handled."""
    options = 0
    if signal.SIGINT in _PREVIOUS:
        options |= SignalHandlerOptions.SIGINT
    if signal.SIGTERM in _PREVIOUS:
        options |= SignalHandlerOptions.SIGTERM
    return SignalHandlerOptions(options)


def _install(number: int) -> None:
    if number not in _PREVIOUS:
        _PREVIOUS[number] = signal.signal(number, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    for context in list(_CONTEXTS):
        context._shutdown_by_signal()
    # As in rclpy, Ctrl-C still raises KeyboardInterrupt, through Python's own handler.
    previous = _PREVIOUS.get(number)
    if callable(previous):
        previous(number, frame)
