"""Exceptions with rclpy's names."""

from __future__ import annotations

from rclpy._rclpy_pybind11 import InvalidHandle as InvalidHandle
from rclpy._rclpy_pybind11 import RCLError


class NotInitializedException(Exception):
    """rclpy was used before ``rclpy.init()`` or after shutdown."""

    def __init__(self, *args: object) -> None:
        super().__init__("rclpy.init() has not been called", *args)


class NameValidationException(Exception):
    """A topic, service or node name is invalid."""

    def __init__(self, name_type: str, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__(f"Invalid {name_type}: {error_msg}:\n  '{name}'")
        self.name_type, self.name = name_type, name
        self.error_msg, self.invalid_index = error_msg, invalid_index


class InvalidNamespaceException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__("namespace", name, error_msg, invalid_index)


class InvalidNodeNameException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__("node name", name, error_msg, invalid_index)


class InvalidTopicNameException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__("topic name", name, error_msg, invalid_index)


class InvalidServiceNameException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__("service name", name, error_msg, invalid_index)


class ParameterException(Exception):
    """Base of parameter errors."""

    def __init__(self, error_msg: str, parameters: object, *args: object) -> None:
        super().__init__(f"{error_msg}: {parameters}", *args)


class ParameterNotDeclaredException(ParameterException):
    """A parameter was used without being declared."""

    def __init__(self, parameters: object, *args: object) -> None:
        super().__init__("Invalid access to undeclared parameter(s)", parameters, *args)


class ParameterAlreadyDeclaredException(ParameterException):
    """A parameter was declared twice."""

    def __init__(self, parameters: object, *args: object) -> None:
        super().__init__("Parameter(s) already declared", parameters, *args)


class InvalidParameterException(ParameterException):
    """The name of a parameter is invalid."""

    def __init__(self, parameter: object, *args: object) -> None:
        super().__init__("Invalid parameter name", parameter, *args)


class InvalidParameterTypeException(ParameterException):
    """A parameter was given a value of a type other than declared."""

    def __init__(self, desired_parameter: object, expected_type: object, *args: object) -> None:
        super().__init__(
            f"Trying to set parameter to a type other than '{expected_type}'",
            desired_parameter,
            *args,
        )


class InvalidParameterValueException(ParameterException):
    """A parameter was given a value that its descriptor or a callback rejects."""

    def __init__(self, parameter: object, value: object, reason: str, *args: object) -> None:
        super().__init__(
            f"Invalid parameter value ({value}) for parameter. Reason: {reason}", parameter, *args
        )


class ParameterImmutableException(ParameterException):
    """A read-only parameter was set or undeclared."""

    def __init__(self, parameter: object, *args: object) -> None:
        super().__init__("Attempted to modify read-only parameter", parameter, *args)


class ParameterUninitializedException(ParameterException):
    """A parameter was read that has a type but no value yet."""

    def __init__(self, parameter: object, *args: object) -> None:
        super().__init__("The parameter is not initialized", parameter, *args)


class ROSInterruptException(Exception):
    """An operation was interrupted by shutdown."""

    def __init__(self) -> None:
        super().__init__("rclpy.shutdown() has been called")


class TimerCancelledError(RCLError):
    """A cancelled timer was asked for its next call."""
