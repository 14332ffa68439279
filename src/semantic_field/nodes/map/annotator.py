"""ROS interface of annotations: services ``annotate`` and ``forget``, and matching topics."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import Point as PointMessage
from geometry_msgs.msg import PointStamped, Pose, Vector3
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String, UInt32
from visualization_msgs.msg import MarkerArray

from semantic_field.config import MappingNodeConfig
from semantic_field.field.annotations import Annotation
from semantic_field.geometry import moved
from semantic_field.mapping.corrections.pointing import Answer, Box, Labels, Pixel, Point, PointedAt
from semantic_field.mapping.mapper import Mapper
from semantic_field.msg import Annotation as AnnotationMessage
from semantic_field.msg import AnnotationList
from semantic_field.nodes.map.annotation_markers import markers
from semantic_field.nodes.map.local_frame import offset_of
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE
from semantic_field.srv import Annotate, Forget

KINDS = ("point", "pixel", "box", "labels")


class Annotator:
    """Passes annotations to the mapper and publishes the resulting list.

    Args:
        on_correction: called after each annotation or removal with the two corners (3,) of its
            bounding box, metres, in map coordinates (relative to the map's origin).

    Attributes:
        name: class of annotations that come without one.
        label_names: names of the ids in label images.
    """

    def __init__(
        self,
        node: LifecycleNode,
        mapper: Mapper,
        config: MappingNodeConfig,
        group: CallbackGroup,
        on_correction: Callable[[NDArray, NDArray], None],
    ) -> None:
        self._node, self._mapper, self._on_correction = node, mapper, on_correction
        self._frame_id, self._config = config.input.global_frame, config
        self.name = config.annotation_name
        self.label_names: dict[int, str] = {}
        self._lock = threading.Lock()  # lists are published in the order of the changes
        self._list = node.create_publisher(AnnotationList, "annotations", LATCHED)
        self._markers = node.create_publisher(MarkerArray, "annotations/markers", LATCHED)
        self._answer = node.create_publisher(String, "annotate/answer", LATCHED)
        self._publishers = [self._list, self._markers, self._answer]
        self._names = None
        self._services = [
            node.create_service(Annotate, "annotate", self._on_annotate, callback_group=group),
            node.create_service(Forget, "forget", self._on_forget, callback_group=group),
        ]
        topics = [
            (PointStamped, "clicked_point", self._on_click, RELIABLE),
            (String, "annotate/name", self._on_name, LATCHED),
            (Image, "annotate/labels", self._on_labels, RELIABLE),
            (UInt32, "annotate/forget", lambda message: self._forget(message.data), RELIABLE),
            *self._vision_topics(),
        ]
        self._subscriptions = [
            node.create_subscription(kind, name, handler, qos, callback_group=group)
            for kind, name, handler, qos in topics
        ]
        self.tell()

    def _vision_topics(self) -> list[tuple]:
        try:
            from vision_msgs.msg import Detection3D, LabelInfo
        except ImportError:
            text = "vision_msgs is not installed: no annotate/box, annotate/label_info, label_info"
            self._node.get_logger().warning(text)
            return []
        self._names = self._node.create_publisher(LabelInfo, "label_info", LATCHED)
        self._publishers.append(self._names)
        return [
            (Detection3D, "annotate/box", self._on_box, RELIABLE),
            (LabelInfo, "annotate/label_info", self._on_label_info, LATCHED),
        ]

    def follow(self, config: MappingNodeConfig) -> None:
        """Apply new settings: a changed default name for annotations without one."""
        if config.annotation_name != self._config.annotation_name:
            self.name = config.annotation_name
        self._config = config

    def close(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)

    def tell(self) -> None:
        """Publish the list of all annotations, and the names of all classes."""
        with self._lock:
            said = self._mapper.annotations()
            header = conversions.make_header(self._now(), self._frame_id)
            messages = [self._message(entry, said.cell_m) for entry in said.entries]
            self._list.publish(AnnotationList(header=header, annotations=messages))
            self._markers.publish(markers(header, messages))
            if self._names is not None:
                self._names.publish(self._label_info(header))

    def _label_info(self, header: Header):
        """Return the names of all class ids in clouds and views, including annotated ones."""
        from vision_msgs.msg import LabelInfo, VisionClass

        names = sorted(self._mapper.label_names().items())
        classes = [VisionClass(class_id=i, class_name=name) for i, name in names]
        return LabelInfo(header=header, class_map=classes)

    def _now(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _message(self, entry: Annotation, cell_m: float) -> AnnotationMessage:
        middle = (np.median(entry.cells, axis=0) + 0.5) * cell_m + self._mapper.origin
        return AnnotationMessage(
            header=conversions.make_header(entry.stamp_ns, self._frame_id),
            id=entry.id,
            kind=entry.kind,
            name=entry.name,
            center=PointMessage(**dict(zip("xyz", middle.tolist(), strict=True))),
            point_count=entry.points,
        )

    # --- topics -------------------------------------------------------------------------------

    def _on_name(self, message: String) -> None:
        self.name = message.data

    def _on_label_info(self, message) -> None:
        self.label_names = {int(c.class_id): str(c.class_name) for c in message.class_map}

    def _on_click(self, message: PointStamped) -> None:
        request = Annotate.Request(kind="point", header=message.header, point=message.point)
        self._annotate(request)

    def _on_box(self, message) -> None:
        said = [result.hypothesis.class_id for result in message.results]
        box = {"box": message.bbox.center, "box_size": message.bbox.size}
        name = said[0] if said else ""
        self._annotate(Annotate.Request(name=name, kind="box", header=message.header, **box))

    def _on_labels(self, message: Image) -> None:
        self._annotate(Annotate.Request(kind="labels", header=message.header, labels=message))

    # --- services -----------------------------------------------------------------------------

    def _on_annotate(
        self, request: Annotate.Request, response: Annotate.Response
    ) -> Annotate.Response:
        answer, response.message = self._annotate(request)
        if answer is not None:
            response.success, response.id = True, answer.annotation.id
            response.point_count = answer.annotation.points
            response.conflicts = [conflict.id for conflict in answer.conflicts]
            response.overlaps = [float(conflict.overlap) for conflict in answer.conflicts]
        return response

    def _on_forget(self, request: Forget.Request, response: Forget.Response) -> Forget.Response:
        response.success, response.message = self._forget(request.id)
        return response

    def _annotate(self, request: Annotate.Request) -> tuple[Answer | None, str]:
        try:
            answer = self._mapper.annotate(request.name or self.name, self._pointed_at(request))
        except ValueError as error:
            self._say(False, f"not annotated: {error}")
            return None, f"not annotated: {error}"
        entry = answer.annotation
        text = f"annotation {entry.id}: {entry.name}, {entry.points} surface points"
        for conflict in answer.conflicts:
            text += (
                f"; it overrules {100 * conflict.overlap:.0f} % of annotation {conflict.id} "
                f"({conflict.name})"
            )
        self._corrected(text, entry)
        return answer, text

    def _forget(self, annotation_id: int) -> tuple[bool, str]:
        try:
            entry = self._mapper.forget(annotation_id)
        except ValueError as error:
            self._say(False, f"not forgotten: {error}")
            return False, f"not forgotten: {error}"
        text = f"annotation {entry.id} ({entry.name}) is taken back"
        self._corrected(text, entry)
        return True, text

    def _corrected(self, text: str, entry: Annotation) -> None:
        cell_m = self._mapper.annotations().cell_m
        self._on_correction(entry.cells.min(0) * cell_m, entry.cells.max(0) * cell_m)
        self.tell()
        self._say(True, text, id=entry.id)

    def _say(self, success: bool, text: str, **details) -> None:
        """Publish the answer for topic users, and log it."""
        # Two calls: rclpy does not let one line of code log with varying severity.
        if success:
            self._node.get_logger().info(text)
        else:
            self._node.get_logger().warning(text)
        answer = {"success": success, "message": text} | details
        self._answer.publish(String(data=json.dumps(answer)))

    # --- annotation targets -------------------------------------------------------------------

    def _pointed_at(self, request: Annotate.Request) -> PointedAt:
        kind = request.kind or _given(request)
        if kind not in KINDS:
            raise ValueError(f"expected the kind to be one of {KINDS}, got {kind!r}")
        stamp_ns = conversions.to_nanoseconds(request.header.stamp)
        if kind == "pixel":
            return Pixel(float(request.u), float(request.v), stamp_ns)
        if kind == "labels":
            names = dict(enumerate(request.label_names)) or self.label_names
            return Labels(
                conversions.label_ids(request.labels), names or self._node.label_names, stamp_ns
            )
        frame_id = request.header.frame_id
        offset = offset_of(frame_id, self._frame_id, self._mapper.origin, kind)
        if kind == "point":
            return Point(_vector(request.point) + offset)
        return _box(request.box, request.box_size, offset)


def _given(request: Annotate.Request) -> str:
    if len(request.labels.data):
        return "labels"
    return "box" if request.box_size.x > 0 else "point"


def _vector(message: PointMessage | Vector3) -> NDArray[np.float64]:
    vector = np.array([message.x, message.y, message.z])
    if not np.isfinite(vector).all():
        raise ValueError(f"expected finite numbers, got {vector.tolist()}")
    return vector


def _box(pose: Pose, size: Vector3, offset: NDArray) -> Box:
    edges = _vector(size)
    if not (edges > 0).all():
        raise ValueError(f"expected a box with positive edges, got {edges.tolist()}")
    _vector(pose.position)
    return Box(moved(conversions.matrix_from_pose(pose), offset), edges)
