"""Base class that transforms stamped messages, based on ``lookup_transform``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builtin_interfaces.msg import Time as TimeMsg
from rclpy.duration import Duration
from rclpy.time import Time
from std_msgs.msg import Header


class TypeException(Exception):
    """No transform function is registered for messages of this type."""

    def __init__(self, errstr: str) -> None:
        super().__init__(errstr)
        self.errstr = errstr


class NotImplementedException(Exception):
    """The buffer does not implement this look-up."""


class TransformRegistration:
    """Functions ``(message, TransformStamped) -> message`` by message type."""

    _functions: dict[type, Callable[[Any, Any], Any]] = {}

    def add(self, key: type, callback: Callable[[Any, Any], Any]) -> None:
        TransformRegistration._functions[key] = callback

    def get(self, key: type) -> Callable[[Any, Any], Any]:
        """Return the function of a type; raises TypeException if there is none."""
        if key not in TransformRegistration._functions:
            raise TypeException(
                f"Type {key} is not loaded or supported: import the package that transforms it, "
                "such as tf2_geometry_msgs"
            )
        return TransformRegistration._functions[key]


class BufferInterface:
    """Message transforms, provided by a buffer in addition to look-ups."""

    def __init__(self) -> None:
        self.registration = TransformRegistration()

    def transform(
        self, object_stamped: Any, target_frame: str, timeout: Duration | None = None
    ) -> Any:
        """Transform a stamped message to another frame, at the message's time.

        Raises:
            TransformException: see ``lookup_transform``.
            TypeException: if no function is registered for the message's type.
        """
        apply = self.registration.get(type(object_stamped))
        header = object_stamped.header
        found = self.lookup_transform(
            target_frame, header.frame_id, header.stamp, timeout or Duration()
        )
        return apply(object_stamped, found)

    def transform_full(
        self,
        object_stamped: Any,
        target_frame: str,
        target_time: Time | TimeMsg,
        fixed_frame: str,
        timeout: Duration | None = None,
    ) -> Any:
        """Like ``transform``, to another time, through a fixed frame."""
        apply = self.registration.get(type(object_stamped))
        header = object_stamped.header
        found = self.lookup_transform_full(
            target_frame,
            target_time,
            header.frame_id,
            header.stamp,
            fixed_frame,
            timeout or Duration(),
        )
        return apply(object_stamped, found)

    def lookup_transform(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedException("lookup_transform")

    def lookup_transform_full(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedException("lookup_transform_full")


def Stamped(obj: Any, stamp: TimeMsg, frame_id: str) -> Any:
    """Return the object with a header of that time and frame."""
    obj.header = Header(frame_id=frame_id, stamp=stamp)
    return obj
