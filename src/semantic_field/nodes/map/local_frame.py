"""Far worlds on topics: what is float32 comes in a frame near the map.

A PointCloud2 has float32 coordinates, which in UTM are half a metre apart. Where a map has an
origin of its own (``MapState.origin``), clouds are in the frame ``<global_frame>_local``, which the
mapping node broadcasts on /tf_static; poses, boxes and markers are float64 and stay in the global
frame.
"""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import TransformStamped, Vector3
from numpy.typing import NDArray
from std_msgs.msg import Header

from semantic_field.field.map_state import MapState
from semantic_field.geometry import make_transform
from semantic_field.nodes.ros import conversions

Origin = NDArray[np.float64]


def local_frame(frame_id: str, origin: Origin) -> str:
    """The frame of a map's float32 coordinates."""
    return f"{frame_id}_local" if origin.any() else frame_id


def header_of(state: MapState) -> Header:
    """Of poses in the frame of a map."""
    return conversions.make_header(state.stamp_ns, state.frame_id)


def cloud_header(state: MapState) -> Header:
    """Of clouds of a map."""
    return conversions.make_header(state.stamp_ns, local_frame(state.frame_id, state.origin))


def offset_of(asked: str, frame_id: str, origin: Origin, what: str) -> Origin:
    """What to add to coordinates that somebody gave in the frame ``asked``, empty = the global.

    Raises:
        ValueError: where that is neither the global frame nor that of the map's clouds.
    """
    local, asked = local_frame(frame_id, origin), asked.lstrip("/")
    if asked in ("", frame_id):
        return np.zeros(3)
    if asked == local:
        return origin
    frames = " or ".join(repr(name) for name in dict.fromkeys((frame_id, local)))
    raise ValueError(
        f"expected a {what} in frame {frames}, got one in {asked!r}; set the fixed frame of RViz "
        "to that of the map"
    )


def to_vector(origin: Origin) -> Vector3:
    """The origin as a message."""
    return Vector3(**dict(zip("xyz", origin.tolist(), strict=True)))


def local_transform(state: MapState) -> TransformStamped:
    """Where the frame of a map's clouds lies in the global frame."""
    return TransformStamped(
        header=header_of(state),
        child_frame_id=local_frame(state.frame_id, state.origin),
        transform=conversions.to_transform(make_transform(np.eye(3), state.origin)),
    )
