"""Base class of filters, and the subscriber filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SimpleFilter:
    """Passes its output to registered callbacks."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Call ``cb(*messages, *args)`` on each output; returns the key of the callback."""
        connection = max(self.callbacks, default=-1) + 1
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Output these messages."""
        for callback, args in list(self.callbacks.values()):
            callback(*msg, *args)


class Subscriber(SimpleFilter):
    """A subscription as a filter: ``Subscriber(node, type, topic, qos_profile=10, ...)``."""

    def __init__(self, node: Any, msg_type: type, topic: str, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.node, self.topic = node, topic
        if args:
            kwargs["qos_profile"], *args = args
        kwargs.setdefault("qos_profile", 10)
        self.sub = node.create_subscription(msg_type, topic, self.callback, *args, **kwargs)

    def callback(self, msg: Any) -> None:
        self.signalMessage(msg)

    def getTopic(self) -> str:
        return self.topic

    def __getattr__(self, key: str) -> Any:
        # Unknown attributes are looked up in the subscription.
        if key == "sub":  # not set yet: __init__ is still running
            raise AttributeError(key)
        return getattr(self.sub, key)
