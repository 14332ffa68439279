"""The names that users import from rclpy's compiled module."""

from __future__ import annotations


class RCLError(RuntimeError):
    """Base of what goes wrong below rclpy."""


class RCLInvalidROSArgsError(RCLError):
    """An argument after ``--ros-args`` cannot be understood."""


class InvalidHandle(Exception):
    """An entity is used after it was destroyed."""


class RMWError(RuntimeError):
    """An error of the middleware."""
