"""Why a transform cannot be had."""


class TransformException(Exception):
    """Any of the reasons below."""


class LookupException(TransformException):
    """A frame is not known."""


class ConnectivityException(TransformException):
    """No chain of transforms leads from one frame to the other."""


class ExtrapolationException(TransformException):
    """The chain has no transforms before and after the requested time."""


class InvalidArgumentException(TransformException):
    """A frame name that cannot be one."""


class TimeoutException(TransformException):
    """The time to wait is over."""
