"""What the query node asks the mapping node for a completion: views of the object, and rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rclpy.node import Node

from semantic_field.nodes.asking.view_messages import view_from_message
from semantic_field.nodes.map.local_frame import cloud_header
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.client import Client
from semantic_field.object_prior.completion import ObservedView
from semantic_field.query.map_objects import MapObject
from semantic_field.srv import ObjectViews, Rest

ANSWER_S = 10.0  # a mapping node that does not answer in that time is taken for gone


class MapViews:
    """Client of the services ``object_views`` and ``rest`` of a mapping node, if there is one.

    A callback that waits for an answer would keep it from being received as soon as all threads of
    its executor wait. So the client has an own node and an own thread.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        options: dict[str, Any] = {
            "context": node.context,
            "namespace": node.get_namespace(),
            "use_global_arguments": False,  # a remapped name of the node would be that of both
            "enable_rosout": False,
            "start_parameter_services": False,
        }
        self._client = Client("_map_views", **options)
        self._names = {
            kind: node.resolve_service_name(name)
            for kind, name in ((ObjectViews, "object_views"), (Rest, "rest"))
        }
        for kind, name in self._names.items():
            self._client.is_there(kind, name)  # from now on it is looked for

    def views(self, thing: MapObject, most: int, side: int) -> tuple[ObservedView, ...]:
        """Return crops that show an object, in map coordinates; none without a mapping node."""
        if not most:
            return ()
        response = self._call(ObjectViews, _request(thing, most, side))
        if response is None:
            return ()
        if not response.success:
            self._warn(f"no images of the object: {response.message}")
        return tuple(view_from_message(message) for message in response.views)

    @contextmanager
    def resting(self, seconds: float) -> Iterator[None]:
        """Let training rest for the time of a ``with`` block, at most so many seconds.

        With 0 seconds it does not rest.
        """
        told = seconds and self._call(Rest, Rest.Request(seconds=seconds))
        try:
            yield
        finally:
            if told:
                self._call(Rest, Rest.Request(seconds=0.0))

    def _call(self, kind: type, request: Any) -> Any:
        """Return the response; None without such a service, or (logged) without an answer."""
        name = self._names[kind]
        if not self._client.is_there(kind, name):
            return None
        try:
            return self._client.call(kind, name, request, ANSWER_S)
        except TimeoutError as error:
            self._warn(f"the completion goes on without the mapping node: {error}")
            return None

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text)

    def close(self) -> None:
        self._client.close()


def _request(thing: MapObject, most: int, side: int) -> ObjectViews.Request:
    indices = np.concatenate([thing.indices, thing.around])
    chosen, own = thing.points.select(indices), np.zeros(len(indices), np.float32)
    own[: len(thing.indices)] = 1.0
    cloud = conversions.cloud_message(
        cloud_header(thing.state), chosen.xyz, chosen.color, own, chosen.label, chosen.normals
    )
    return ObjectViews.Request(points=cloud, max_views=most, max_pixels=side)
