"""Service ``infer_view``: the view of a virtual camera as the answer to a request."""

from __future__ import annotations

import numpy as np
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node

from semantic_field.config import InferenceConfig
from semantic_field.geometry import check_transform
from semantic_field.nodes.map.local_frame import offset_of
from semantic_field.nodes.map.map_publisher import requested_camera, view_images
from semantic_field.nodes.predicting.view_maker import ViewMaker
from semantic_field.nodes.ros import conversions
from semantic_field.srv import RenderView


class ViewService:
    """Responds with a view, or why there is none; ``GuardedNode`` turns errors into refusals."""

    def __init__(
        self, node: Node, views: ViewMaker, config: InferenceConfig, group: CallbackGroup
    ) -> None:
        self._node, self._views, self._config = node, views, config
        self._service = node.create_service(
            RenderView, "infer_view", self._on_request, callback_group=group
        )

    def follow(self, config: InferenceConfig) -> None:
        """Apply new settings from the next request on."""
        self._config = config

    def close(self) -> None:
        self._node.destroy_service(self._service)

    def _on_request(
        self, request: RenderView.Request, response: RenderView.Response
    ) -> RenderView.Response:
        header, frame_id = request.camera_pose.header, self._config.input.global_frame
        offset_of(header.frame_id, frame_id, np.zeros(3), "camera_pose")  # refuses other frames
        if request.text:
            raise ValueError(
                f"expected no text, got {request.text!r}: this node has no language; ask "
                "render_view of the mapping node"
            )
        pose = check_transform(conversions.matrix_from_pose(request.camera_pose.pose))
        stamp_ns = conversions.to_nanoseconds(header.stamp)
        # A frame of just that stamp is what the view can be compared with, not its source.
        view = self._views.render(requested_camera(request), pose, stamp_ns or None)
        images = view_images(view, conversions.make_header(stamp_ns, frame_id))
        for name, image in images.items():
            setattr(response, name, image)
        response.success = True
        return response
