"""XML launch files without ROS 2."""
