"""The ROS 2 nodes: the only modules that import rclpy or messages.

Where ROS 2 is installed its own rclpy is used; elsewhere ``embedded_ros`` serves the same names.
"""

import embedded_ros

embedded_ros.install()
