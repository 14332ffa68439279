"""Exceptions that users import from rclpy's compiled module."""

from __future__ import annotations


class RCLError(RuntimeError):
    """Base of errors of the ROS client library below rclpy."""


class RCLInvalidROSArgsError(RCLError):
    """An argument after ``--ros-args`` is invalid."""


class InvalidHandle(Exception):
    """An entity was used after it was destroyed."""


class RMWError(RuntimeError):
    """An error of the middleware."""
