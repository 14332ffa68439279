"""Services of the mapping node for programs that look at objects: ``object_views`` and ``rest``."""

from __future__ import annotations

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode

from semantic_field.mapping.mapper import Mapper
from semantic_field.nodes.asking.view_messages import view_message
from semantic_field.nodes.ros import conversions
from semantic_field.object_prior.best_views import SIDE, VIEWS, best_views
from semantic_field.object_prior.object_crops import SurroundedObject
from semantic_field.srv import ObjectViews, Rest

MOST_PIXELS = 1024
MOST_VIEWS = 64


class ObjectViewService:
    """Answers with crops of the keyframes, and lets training rest; errors become refusals."""

    def __init__(self, node: LifecycleNode, mapper: Mapper) -> None:
        self._node, self._mapper = node, mapper
        group = MutuallyExclusiveCallbackGroup()  # not that of saving a map, which takes seconds
        self._services = [
            node.create_service(kind, name, handler, callback_group=group)
            for kind, name, handler in (
                (ObjectViews, "object_views", self._on_views),
                (Rest, "rest", self._on_rest),
            )
        ]

    def close(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)

    def _on_views(
        self, request: ObjectViews.Request, response: ObjectViews.Response
    ) -> ObjectViews.Response:
        cloud = conversions.cloud_arrays(request.points)
        xyz = np.stack([cloud[axis] for axis in "xyz"], axis=1).astype(np.float64)
        normals = np.stack([cloud["normal_" + axis] for axis in "xyz"], axis=1)
        own = cloud["intensity"] > 0.5
        most, side = int(request.max_views) or VIEWS, int(request.max_pixels) or SIDE
        if not own.any() or not np.isfinite(xyz).all() or most > MOST_VIEWS or side > MOST_PIXELS:
            raise ValueError(
                "expected finite points, some of them with intensity 1, at most "
                f"{MOST_VIEWS} views and {MOST_PIXELS} pixels, got {int(own.sum())} points of the "
                f"object, {most} views and {side} pixels"
            )
        thing = SurroundedObject(xyz[own], xyz[~own])
        views = self._mapper.ask_keyframes(
            lambda sources: best_views(thing, normals[own], sources, most, side)
        )
        header = request.points.header
        response.views = [view_message(view, header) for view in views or ()]
        response.success = views is not None
        text = f"{len(response.views)} views of {int(own.sum())} points"
        response.message = text if response.success else "the map has no keyframes yet"
        return response

    def _on_rest(self, request: Rest.Request, response: Rest.Response) -> Rest.Response:
        self._mapper.rest(float(request.seconds))
        response.success = True
        response.message = f"training rests for {request.seconds:.1f} s"
        return response
