"""rclpy's API over Cyclone DDS, for machines with no ROS 2.

``install()`` puts an import finder in place that serves ``rclpy``, the message packages,
``tf2_ros`` and the other names under ``packages/``. Where real rclpy can be imported it does
nothing.
"""

from __future__ import annotations

import importlib.util
import sys


def install() -> bool:
    """Serve ROS 2's Python names from this package where ROS 2 itself is not there.

    Returns:
        True where the names come from this package, False where real rclpy is used. May be called
        any number of times.
    """
    if is_installed():
        return True
    if importlib.util.find_spec("rclpy") is not None:
        return False
    # Not before: `ros2` itself may run under the system's Python, which has none of pip's packages.
    from embedded_ros import definitions
    from embedded_ros.finder import EmbeddedFinder

    # The definitions must be read by now: reading them imports modules, which asks the finder.
    definitions.prepare()
    sys.meta_path.insert(0, EmbeddedFinder())
    return True


def is_installed() -> bool:
    """Whether the finder of this package is in place."""
    return any(type(finder).__module__ == "embedded_ros.finder" for finder in sys.meta_path)
