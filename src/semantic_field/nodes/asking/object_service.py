"""The service ``complete_object`` and its topics: hits and boxes become whole objects."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import Vector3
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String, UInt32
from visualization_msgs.msg import MarkerArray

from semantic_field.config import CompletionConfig
from semantic_field.geometry import check_transform, moved
from semantic_field.nodes.asking.completion_messages import (
    completion_summary,
    part_markers,
    response_of,
)
from semantic_field.nodes.asking.map_views import MapViews
from semantic_field.nodes.map.local_frame import offset_of
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE
from semantic_field.object_prior.completer import Completer, NoPriors
from semantic_field.object_prior.completion import Completion
from semantic_field.query.engine import QueryEngine
from semantic_field.query.map_objects import MapObject, gathered
from semantic_field.query.object_completion import (
    CompletedObject,
    category_for,
    complete_object,
)
from semantic_field.query.part_answers import PartEngine
from semantic_field.srv import CompleteObject


class ObjectService:
    """Completes objects one after another, for requests, for a topic, and for questions for parts.

    Args:
        engine: knows the map and the hits. completer: makes wholes.
        settings: returns the current settings.
    Attributes:
        parts: answers texts, also those that ask for parts.
    """

    def __init__(
        self,
        node: Node,
        engine: QueryEngine,
        completer: Completer,
        settings: Callable[[], CompletionConfig],
        group: CallbackGroup,
    ) -> None:
        self._node, self._engine, self._completer = node, engine, completer
        self._settings, self._one_by_one = settings, threading.Lock()
        if isinstance(completer, NoPriors):
            node.get_logger().warning(f"objects are not completed: {completer.reason}")
        self._views = MapViews(node)
        asked = completer.part_names if settings().answer_parts else {}
        self.parts = PartEngine(engine, asked, self._complete_part)
        kinds = {"": PointCloud2, "/markers": MarkerArray, "/answer": String}
        self._publish = {
            name: node.create_publisher(kind, f"grasp/completed{name}", LATCHED).publish
            for name, kind in kinds.items()
        }
        node.create_service(
            CompleteObject, "complete_object", self._on_request, callback_group=group
        )
        node.create_subscription(
            UInt32, "complete_hit", self._on_hit, RELIABLE, callback_group=group
        )

    def close(self) -> None:
        """End the thread that asks the mapping node."""
        self._views.close()

    def _on_request(
        self, request: CompleteObject.Request, response: CompleteObject.Response
    ) -> CompleteObject.Response:
        return self._completed(self._thing(request), request.category)[1]

    def _on_hit(self, message: UInt32) -> None:
        try:
            self._completed(self._engine.object_of_hit(int(message.data)), "")
        except ValueError as error:
            answer = {"success": False, "message": str(error)}
            self._publish["/answer"](String(data=json.dumps(answer)))
            self._node.get_logger().warning(f"hit {message.data} is not completed: {error}")

    def _thing(self, request: CompleteObject.Request) -> MapObject:
        if request.id:
            return self._engine.object_of_hit(int(request.id))
        size = _vector(request.box_size)
        if not (size > 0).all():
            raise ValueError(
                "expected the id of a hit or a box with positive edges, got id 0 and edges "
                f"{size.tolist()} m"
            )
        state = self._engine.state
        offset = offset_of(request.header.frame_id, state.frame_id, state.origin, "box")
        box = check_transform(conversions.matrix_from_pose(request.box))
        return self._engine.object_in_box(moved(box, offset), size)

    def _complete_part(self, thing: MapObject, category: str) -> Completion:
        return self._completed(thing, category)[0].completion

    def _completed(
        self, thing: MapObject, category: str
    ) -> tuple[CompletedObject, CompleteObject.Response]:
        """Complete an object while training rests, publish it and return it."""
        category_for(thing.label, category, self._completer.part_names)  # before anything rests
        settings, query = self._settings(), self._engine.config
        thing = gathered(thing, query.voxel_m, query.up)
        with self._one_by_one:
            with self._views.resting(settings.rest_s):
                views = self._views.views(thing, settings.views, settings.view_pixels)
                completed = complete_object(thing, self._completer, views, category, query.up)
            response = response_of(completed)
            self._publish[""](response.cloud)
            self._publish["/markers"](part_markers(response))
            self._publish["/answer"](String(data=json.dumps(completion_summary(response))))
        self._node.get_logger().info(response.message)
        return completed, response


def _vector(message: Vector3) -> NDArray[np.float64]:
    return np.array([message.x, message.y, message.z], np.float64)
