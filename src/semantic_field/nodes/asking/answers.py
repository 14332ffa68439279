"""Publishes query answers on topics: relevancy cloud, hits, markers, goal, grasp clouds, text.

All topics are transient local, so late subscribers receive the last answer. Together with the
input topics ``query_text`` and ``query_image``, queries work without service calls.
"""

from __future__ import annotations

import json

import numpy as np
from geometry_msgs.msg import PoseStamped, Vector3
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA, Header, String
from visualization_msgs.msg import Marker, MarkerArray

from semantic_field.field.surface.points import SurfacePoints
from semantic_field.msg import Hit as HitMessage
from semantic_field.nodes.map.local_frame import cloud_header, header_of
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.qos import LATCHED
from semantic_field.query.colors import relevancy_colors
from semantic_field.query.engine import QueryEngine, QueryResult
from semantic_field.query.grasp import grasp_clouds
from semantic_field.query.hits import Hit
from semantic_field.query.navigation import goal_pose
from semantic_field.query.part_answers import seen_or_not


def cloud_of(header: Header, points: SurfacePoints, relevancy: np.ndarray) -> PointCloud2:
    """Return the points as PointCloud2 with relevancy (N,) as intensity."""
    return conversions.cloud_message(
        header, points.xyz, points.color, relevancy, points.label, points.normals
    )


def hit_message(hit: Hit) -> HitMessage:
    """Convert a hit to a message: metres, in the map frame."""
    size = Vector3(**dict(zip("xyz", hit.size.tolist(), strict=True)))
    return HitMessage(
        id=hit.id,
        label=hit.label,
        score=float(hit.score),
        pose=conversions.to_pose(hit.T_world_object),
        size=size,
        point_count=hit.point_count,
        part=hit.part,
        predicted=float(hit.predicted),
    )


def hit_from_message(message: HitMessage) -> Hit:
    """Return the hit; its point indices are not in the message, so they are empty."""
    size = message.size
    return Hit(
        id=int(message.id),
        label=message.label,
        score=float(message.score),
        T_world_object=conversions.matrix_from_pose(message.pose),
        size=np.array([size.x, size.y, size.z]),
        point_count=int(message.point_count),
        indices=np.zeros(0, np.int64),
        part=message.part,
        predicted=float(message.predicted),
    )


class AnswerPublisher:
    """Publishes an answer on all topics (transient local); not thread-safe."""

    def __init__(self, node: Node, engine: QueryEngine) -> None:
        self._node, self._engine = node, engine
        kinds = {
            "relevancy": PointCloud2,
            "hits/markers": MarkerArray,
            "goal": PoseStamped,
            "grasp/object": PointCloud2,
            "grasp/scene": PointCloud2,
            "answer": String,
        }
        self._detections = _detection_types()
        if self._detections is not None:
            kinds["hits"] = self._detections[0]
        else:
            node.get_logger().warning("vision_msgs is not installed: hits come as markers only")
        self._publishers = {n: node.create_publisher(k, n, LATCHED) for n, k in kinds.items()}
        self._keeps_goal = False  # for late joiners

    def publish(self, result: QueryResult) -> None:
        """Publish an answer on all topics; the goal and grasp clouds are of its best hit."""
        header, near = header_of(result.state), cloud_header(result.state)
        publish = {name: publisher.publish for name, publisher in self._publishers.items()}
        publish["relevancy"](cloud_of(near, result.points, result.relevancy))
        publish["hits/markers"](_markers(header, result))
        if self._detections is not None:
            publish["hits"](_detection_array(self._detections, header, result))
        publish["answer"](String(data=json.dumps(summary(result))))
        self._publish_goal(header, result)
        grasp = {"grasp/object": _no_points(result), "grasp/scene": _no_points(result)}
        if result.hits:
            clouds = grasp_clouds(result.hits[0], result.points)
            grasp = {"grasp/object": clouds.object, "grasp/scene": clouds.scene}
        for name, points in grasp.items():
            publish[name](cloud_of(near, points, points.confidence))

    def _publish_goal(self, header: Header, result: QueryResult) -> None:
        """Publish the goal pose; without one, remove the last goal for late subscribers."""
        goal = None
        if result.hits:
            goal = goal_pose(result.hits[0], result.points, self._engine.config)
        if goal is not None:
            self._publishers["goal"].publish(
                PoseStamped(header=header, pose=conversions.to_pose(goal))
            )
        elif self._keeps_goal:
            # A PoseStamped cannot say "none"; destroying the publisher drops its latched message.
            self._node.destroy_publisher(self._publishers["goal"])
            self._publishers["goal"] = self._node.create_publisher(PoseStamped, "goal", LATCHED)
        self._keeps_goal = goal is not None


def _no_points(result: QueryResult) -> SurfacePoints:
    return result.points.select(np.zeros(0, np.int64))


def summary(result: QueryResult) -> dict:
    """Return the answer as JSON-compatible types: metres, in the map frame."""
    return {
        "text": result.text,
        "found": result.found,
        "best_score": round(float(result.best_score), 3),
        "message": result.message,
        "hits": [
            {
                "id": hit.id,
                "label": hit.label,
                "score": round(float(hit.score), 3),
                "centre": [round(v, 3) for v in hit.T_world_object[:3, 3].tolist()],
                "size": [round(v, 3) for v in hit.size.tolist()],
                "points": hit.point_count,
            }
            | ({"predicted": round(float(hit.predicted), 2)} if hit.part else {})
            for hit in result.hits
        ],
    }


def _detection_types():
    try:
        from vision_msgs.msg import (
            BoundingBox3D,
            Detection3D,
            Detection3DArray,
            ObjectHypothesis,
            ObjectHypothesisWithPose,
        )
    except ImportError:
        return None
    return Detection3DArray, Detection3D, BoundingBox3D, ObjectHypothesisWithPose, ObjectHypothesis


def _detection_array(types, header: Header, result: QueryResult):
    make_array, make_detection, make_box, make_result, make_hypothesis = types
    detections = []
    for hit in result.hits:
        message = hit_message(hit)
        hypothesis = make_hypothesis(class_id=hit.label or result.text, score=float(hit.score))
        detection = make_detection(
            header=header, bbox=make_box(center=message.pose, size=message.size), id=str(hit.id)
        )
        scored = make_result(hypothesis=hypothesis)
        scored.pose.pose = message.pose
        detection.results = [scored]
        detections.append(detection)
    return make_array(header=header, detections=detections)


def _markers(header: Header, result: QueryResult) -> MarkerArray:
    """Return a box and a caption per hit; a DELETEALL marker first removes the last answer's."""
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for number, hit in enumerate(result.hits):
        message = hit_message(hit)
        marker_id = number if hit.part else int(hit.id)  # parts of one thing share its id
        r, g, b = (relevancy_colors(np.array([hit.score]))[0] / 255.0).tolist()
        box = Marker(header=header, ns="boxes", id=marker_id, type=Marker.CUBE)
        box.pose, box.scale = message.pose, message.size
        box.color = ColorRGBA(r=r, g=g, b=b, a=0.35)
        caption = Marker(header=header, ns="captions", id=marker_id, type=Marker.TEXT_VIEW_FACING)
        caption.pose = conversions.to_pose(hit.T_world_object)
        caption.pose.position.z += 0.5 * float(hit.size[2]) + 0.15
        caption.scale.z = 0.15
        caption.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        caption.text = f"{hit.label or result.text} {hit.score:.2f}"
        if hit.part:
            caption.text += f" ({seen_or_not(hit.predicted)})"
        markers += [box, caption]
    return MarkerArray(markers=markers)
