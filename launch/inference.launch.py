"""Inference node for a robot that is already running: what a virtual camera would see.

ros2 launch semantic_field inference.launch.py color:=/camera/color/image_raw \
    depth:=/camera/aligned_depth_to_color/image_raw camera_info:=/camera/color/camera_info \
    labels:=/segmenter/labels label_info:=/segmenter/label_info follow:=camera
"""

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from semantic_field.nodes.ros import inference_launch, launch_parts


def generate_launch_description() -> LaunchDescription:
    arguments = launch_parts.declared(
        inference_launch.INPUT_ARGUMENTS | inference_launch.INFERENCE_ARGUMENTS
    )
    inference = inference_launch.inference_node(follow=LaunchConfiguration("follow"))
    return LaunchDescription([*arguments, launch_parts.rviz(), inference])
