"""ROS 2 utilities shared by all nodes: conversions, QoS, parameters, spinning."""
