"""Annotations as markers for RViz: each name where it was said."""

from __future__ import annotations

from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from semantic_field.msg import Annotation

TEXT_HEIGHT_M = 0.12


def markers(header: Header, annotations: list[Annotation]) -> MarkerArray:
    """Replaces all earlier ones."""
    array = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    for entry in annotations:
        text = Marker(
            header=header,
            ns="annotations",
            id=entry.id,
            type=Marker.TEXT_VIEW_FACING,
            action=Marker.ADD,
            text=f"{entry.id}: {entry.name}",
            color=ColorRGBA(r=1.0, g=0.85, b=0.2, a=1.0),
        )
        text.pose.position = entry.center
        text.scale.z = TEXT_HEIGHT_M
        array.markers.append(text)
    return array
