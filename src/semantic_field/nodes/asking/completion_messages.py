"""Completed objects as messages: the response of ``complete_object``, markers, JSON."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from semantic_field.msg import ObjectPart
from semantic_field.nodes.map.local_frame import cloud_header, header_of, to_vector
from semantic_field.nodes.ros import conversions
from semantic_field.object_prior.completion import Completion, PartBox
from semantic_field.query.colors import label_colors
from semantic_field.query.object_completion import CompletedObject, sentence
from semantic_field.srv import CompleteObject

TEXT_HEIGHT_M = 0.06
LINE_M = 0.006
OBSERVED = 0.5  # share from which a part's box is drawn as observed
_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_EDGES = [
    (a, b) for a in range(8) for b in range(a) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 1
]


def response_of(completed: CompletedObject) -> CompleteObject.Response:
    """Return the response of the service for a completed object."""
    state, found = completed.thing.state, completed.completion
    return CompleteObject.Response(
        success=True,
        message=sentence(completed),
        header=header_of(state),
        snapshot_version=state.version,
        category=found.category,
        confidence=float(found.confidence),
        residual=float(found.residual_m),
        view_count=completed.view_count,
        pose=conversions.to_pose(found.T_world_object),
        yaw_known=found.yaw_known,
        size=to_vector(np.asarray(found.size, np.float64)),
        part_names=list(found.part_names),
        parts=[_part(box) for box in found.boxes],
        cloud=conversions.cloud_message(
            cloud_header(state),
            found.points - state.origin,
            found.colors,
            found.observed.astype(np.float32),
            found.parts.astype(np.int64),
            found.normals,
        ),
        observed_count=int(found.observed.sum()),
        origin=to_vector(state.origin),
    )


def _part(box: PartBox) -> ObjectPart:
    return ObjectPart(
        name=box.name,
        pose=conversions.to_pose(box.T_world_part),
        size=to_vector(np.asarray(box.size, np.float64)),
        observed=float(box.observed),
        point_count=int(box.point_count),
    )


def completion_of(response: CompleteObject.Response) -> Completion:
    """Return the completed object of a response."""
    cloud = conversions.surface_points(response.cloud, response.origin)
    size = [getattr(response.size, axis) for axis in "xyz"]
    return Completion(
        category=response.category,
        confidence=float(response.confidence),
        residual_m=float(response.residual),
        T_world_object=conversions.matrix_from_pose(response.pose),
        size=np.array(size),
        points=cloud.world,
        normals=cloud.normals.astype(np.float64),
        colors=cloud.color,
        parts=cloud.label.astype(np.uint8),
        observed=np.arange(len(cloud)) < response.observed_count,
        part_names=tuple(response.part_names),
        boxes=tuple(_part_box(part) for part in response.parts),
        yaw_known=bool(response.yaw_known),
    )


def _part_box(part: ObjectPart) -> PartBox:
    size = [getattr(part.size, axis) for axis in "xyz"]
    pose = conversions.matrix_from_pose(part.pose)
    return PartBox(part.name, pose, np.array(size), float(part.observed), int(part.point_count))


def part_markers(response: CompleteObject.Response) -> MarkerArray:
    """Return a box and a name for each part; a DELETEALL marker first removes earlier ones.

    Observed parts are filled boxes; predicted ones are drawn by edges, and their names say so.
    """
    header = response.header
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    names = list(response.part_names)
    for number, part in enumerate(response.parts):
        r, g, b = (label_colors(np.array([names.index(part.name)]))[0] / 255.0).tolist()
        is_seen = part.observed >= OBSERVED
        color = ColorRGBA(r=r, g=g, b=b, a=0.4 if is_seen else 0.9)
        draw = _filled if is_seen else _edges
        markers.append(draw(header, number, part, color))
        markers.append(_name(header, number, part, "" if is_seen else " (predicted)"))
    return MarkerArray(markers=markers)


def _filled(header: Header, number: int, part: ObjectPart, color: ColorRGBA) -> Marker:
    box = Marker(header=header, ns="observed parts", id=number, type=Marker.CUBE, color=color)
    box.pose, box.scale = part.pose, part.size
    return box


def _edges(header: Header, number: int, part: ObjectPart, color: ColorRGBA) -> Marker:
    size = np.array([part.size.x, part.size.y, part.size.z])
    ends = [_CORNERS[corner] * size for edge in _EDGES for corner in edge]
    lines = Marker(header=header, ns="predicted parts", id=number, type=Marker.LINE_LIST)
    lines.pose, lines.color = part.pose, color
    lines.scale = Vector3(x=LINE_M, y=0.0, z=0.0)
    lines.points = [_point(end) for end in ends]
    return lines


def _point(place: NDArray[np.float64]) -> Point:
    x, y, z = place.tolist()
    return Point(x=x, y=y, z=z)


def _name(header: Header, number: int, part: ObjectPart, remark: str) -> Marker:
    text = Marker(header=header, ns="names", id=number, type=Marker.TEXT_VIEW_FACING)
    text.pose.position = Point(
        x=part.pose.position.x, y=part.pose.position.y, z=part.pose.position.z
    )
    text.pose.position.z += 0.5 * part.size.z + TEXT_HEIGHT_M
    text.scale.z = TEXT_HEIGHT_M
    text.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
    text.text = part.name + remark
    return text


def completion_summary(response: CompleteObject.Response) -> dict:
    """Return a response without its cloud as JSON-compatible types: metres, in the map's frame."""
    if not response.success:
        return {"success": False, "message": response.message}
    return {
        "success": True,
        "message": response.message,
        "frame_id": response.header.frame_id,
        "category": response.category,
        "confidence": round(float(response.confidence), 3),
        "residual_m": round(float(response.residual), 4),
        "images": int(response.view_count),
        "position": _rounded(response.pose.position, "xyz"),
        "orientation": _rounded(response.pose.orientation, "xyzw"),
        "yaw_known": bool(response.yaw_known),
        "size": _rounded(response.size, "xyz"),
        "points": int(response.cloud.width),
        "observed_points": int(response.observed_count),
        "parts": [
            {
                "name": part.name,
                "observed": round(float(part.observed), 2),
                "position": _rounded(part.pose.position, "xyz"),
                "orientation": _rounded(part.pose.orientation, "xyzw"),
                "size": _rounded(part.size, "xyz"),
                "points": int(part.point_count),
            }
            for part in response.parts
        ],
    }


def _rounded(value: object, names: str) -> list[float]:
    return [round(float(getattr(value, name)), 3) for name in names]
