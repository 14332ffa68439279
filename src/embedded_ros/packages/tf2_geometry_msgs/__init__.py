"""Transforms points, vectors and poses; importing it registers them for ``Buffer.transform``."""

from __future__ import annotations

from geometry_msgs.msg import (
    Point,
    PointStamped,
    Pose,
    PoseStamped,
    Quaternion,
    TransformStamped,
    Vector3,
    Vector3Stamped,
)
from tf2_py._rigid import Rigid, rotate
from tf2_ros import TransformRegistration

__all__ = [
    "do_transform_point",
    "do_transform_pose",
    "do_transform_pose_stamped",
    "do_transform_vector3",
]


def _rigid(transform: TransformStamped) -> Rigid:
    t, q = transform.transform.translation, transform.transform.rotation
    return Rigid((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def do_transform_point(point: PointStamped, transform: TransformStamped) -> PointStamped:
    """Return the point, rotated and translated, with the transform's header."""
    x, y, z = _rigid(transform).apply((point.point.x, point.point.y, point.point.z))
    return PointStamped(header=transform.header, point=Point(x=x, y=y, z=z))


def do_transform_vector3(vector: Vector3Stamped, transform: TransformStamped) -> Vector3Stamped:
    """Return the vector, rotated, with the transform's header."""
    v = vector.vector
    x, y, z = rotate(_rigid(transform).rotation, (v.x, v.y, v.z))
    return Vector3Stamped(header=transform.header, vector=Vector3(x=x, y=y, z=z))


def do_transform_pose(pose: Pose, transform: TransformStamped) -> Pose:
    """Return the pose, rotated and translated."""
    p, q = pose.position, pose.orientation
    moved = _rigid(transform) @ Rigid((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    x, y, z = moved.translation
    qx, qy, qz, qw = moved.rotation
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def do_transform_pose_stamped(pose: PoseStamped, transform: TransformStamped) -> PoseStamped:
    """Return the pose, rotated and translated, with the transform's header."""
    return PoseStamped(header=transform.header, pose=do_transform_pose(pose.pose, transform))


for _kind, _function in (
    (PointStamped, do_transform_point),
    (Vector3Stamped, do_transform_vector3),
    (PoseStamped, do_transform_pose_stamped),
):
    TransformRegistration().add(_kind, _function)
