"""rclpy's API implemented on Cyclone DDS, for machines without ROS 2.

``install()`` registers an import finder that provides ``rclpy``, the message packages,
``tf2_ros`` and the other packages under ``packages/``. If the real rclpy can be imported, it does
nothing.
"""

from __future__ import annotations

import importlib.util
import sys


def install() -> bool:
    """Provide ROS 2's Python packages from this package if ROS 2 is not installed.

    May be called any number of times.

    Returns:
        True if this package provides them, False if the real rclpy is used.
    """
    if is_installed():
        return True
    if importlib.util.find_spec("rclpy") is not None:
        return False
    # Not earlier: `ros2` may run under the system's Python, which lacks the packages from pip.
    from embedded_ros import definitions
    from embedded_ros.finder import EmbeddedFinder

    # Read the definitions before registering the finder: reading them imports modules.
    definitions.prepare()
    sys.meta_path.insert(0, EmbeddedFinder())
    return True


def is_installed() -> bool:
    """Return True if the finder of this package is registered."""
    return any(type(finder).__module__ == "embedded_ros.finder" for finder in sys.meta_path)
