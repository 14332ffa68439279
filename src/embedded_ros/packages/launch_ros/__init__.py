"""A replacement of ROS 2's ``launch_ros`` for machines without ROS 2: runs nodes as processes."""

from launch_ros import actions, descriptions, parameter_descriptions, substitutions
