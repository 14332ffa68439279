"""Crops of keyframes as messages, and back."""

from __future__ import annotations

import numpy as np
from std_msgs.msg import Header

from semantic_field.msg import ObjectView
from semantic_field.nodes.ros import conversions
from semantic_field.object_prior.completion import ObservedView

FREE, OTHERS, OBJECT = 0, 128, 255


def view_message(view: ObservedView, header: Header) -> ObjectView:
    """Convert a crop to a message; its pose is in the frame of the header."""
    mask = np.full(view.mask.shape, FREE, np.uint8)
    mask[view.others], mask[view.mask] = OTHERS, OBJECT
    return ObjectView(
        pose=conversions.to_pose(view.T_world_camera),
        camera_info=conversions.camera_info(view.camera, header),
        color=conversions.image_message(view.color, "rgb8", header),
        depth=conversions.image_message(view.depth, "32FC1", header),
        mask=conversions.image_message(mask, "mono8", header),
    )


def view_from_message(message: ObjectView) -> ObservedView:
    """Return the crop of a message.

    Raises:
        ValueError: if its images or camera are not valid, or differ in size.
    """
    mask, depth = conversions.image_array(message.mask), conversions.depth_metres(message.depth)
    camera, _ = conversions.camera_from_info(message.camera_info)
    color = conversions.rgb_image(message.color)
    size = (camera.height, camera.width)
    if not (color.shape[:2] == depth.shape == mask.shape == size):
        raise ValueError(
            f"expected images of {size}, got {color.shape}, {depth.shape}, {mask.shape}"
        )
    return ObservedView(
        color=color,
        depth=depth,
        mask=mask == OBJECT,
        others=mask == OTHERS,
        camera=camera,
        T_world_camera=conversions.matrix_from_pose(message.pose),
    )
