"""ROS 2's ``launch_ros`` for machines without ROS 2: nodes as processes of their own."""

from launch_ros import actions, descriptions, parameter_descriptions, substitutions
