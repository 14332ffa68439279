"""The ROS 2 nodes: the only modules that import rclpy or messages.

If ROS 2 is installed, its rclpy is used; otherwise ``embedded_ros`` provides the same modules.
"""

import embedded_ros

embedded_ros.install()
