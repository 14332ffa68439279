"""YAML launch files without ROS 2."""
