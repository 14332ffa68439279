"""ROS message types for reading and writing recordings."""

from __future__ import annotations

from functools import cache
from typing import Final

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

# vision_msgs 4, which is not part of the ROS 2 core distributions.
VISION_CLASS: Final = """
uint16 class_id
string class_name
"""
LABEL_INFO: Final = """
std_msgs/Header header
vision_msgs/VisionClass[] class_map
float32 threshold
"""

IMAGE: Final = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE: Final = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO: Final = "sensor_msgs/msg/CameraInfo"
TF: Final = "tf2_msgs/msg/TFMessage"
POSE: Final = "geometry_msgs/msg/PoseStamped"
ODOMETRY: Final = "nav_msgs/msg/Odometry"
LABEL_INFO_TYPE: Final = "vision_msgs/msg/LabelInfo"


@cache
def typestore() -> Typestore:
    """Return the types of ROS 2 Jazzy, plus LabelInfo and VisionClass of vision_msgs.

    Sensor and geometry messages are the same in every ROS 2 since Foxy."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types = get_types_from_msg(VISION_CLASS, "vision_msgs/msg/VisionClass")
    types |= get_types_from_msg(LABEL_INFO, LABEL_INFO_TYPE)
    store.register(types)
    return store
