"""What all nodes share of ROS 2: conversions, QoS, parameters, spinning."""
