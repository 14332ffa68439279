"""Exceptions of transform look-ups."""


class TransformException(Exception):
    """Base of the exceptions below."""


class LookupException(TransformException):
    """A frame does not exist."""


class ConnectivityException(TransformException):
    """The frames are not connected by transforms."""


class ExtrapolationException(TransformException):
    """The requested time is outside the range of the stored transforms."""


class InvalidArgumentException(TransformException):
    """A frame name is invalid."""


class TimeoutException(TransformException):
    """A wait timed out."""
