"""Pinhole cameras, rigid transforms, projection and back-projection.

Units are metres and radians; camera axes are OpenCV's (x right, y down, z forward), and
``T_target_source`` transforms points from the *source* to the *target* frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]
METRES_PER_RADIAN = 1.0  # how a turn weighs against a motion when poses are compared


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion: focal lengths and principal point in pixels.

    Pixel centres are at integer coordinates, so the image spans ``[-0.5, width - 0.5]``.

    Raises:
        ValueError: if a number is not finite, or a focal length or size is not positive.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        finite = all(map(math.isfinite, (self.fx, self.fy, self.cx, self.cy)))
        positive = self.fx > 0 and self.fy > 0 and self.width > 0 and self.height > 0
        if not (finite and positive):
            raise ValueError(
                f"expected finite numbers, positive focal lengths and image size, got {self}; "
                "is the CameraInfo filled in?"
            )

    @classmethod
    def from_field_of_view(cls, width: int, height: int, horizontal_fov_rad: float) -> Camera:
        """Return a camera with this horizontal field of view (radians) and central principal point.

        Raises:
            ValueError: if the field of view is not between 0 and pi.
        """
        if not 0.0 < horizontal_fov_rad < math.pi:
            raise ValueError(
                f"expected a horizontal field of view in (0, pi) rad, got {horizontal_fov_rad}"
            )
        focal = 0.5 * width / math.tan(0.5 * horizontal_fov_rad)
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)

    @property
    def matrix(self) -> Array:
        """The 3x3 intrinsic matrix K."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """The array (4,) of fx, fy, cx, cy in pixels, as compiled functions take it."""
        return np.array([self.fx, self.fy, self.cx, self.cy])

    def resized(self, width: int, height: int) -> Camera:
        """Return the camera of the same view resampled to ``width`` x ``height`` pixels."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            width=width,
            height=height,
        )

    def rays(self) -> Array:
        """Return the ray directions of all pixels in the camera frame, z = 1, float32 (H, W, 3)."""
        x = (np.arange(self.width, dtype=np.float32) - self.cx) / self.fx
        y = (np.arange(self.height, dtype=np.float32) - self.cy) / self.fy
        directions = np.ones((self.height, self.width, 3), dtype=np.float32)
        directions[..., 0], directions[..., 1] = x[None, :], y[:, None]
        return directions

    def columns_and_rows(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return x / z of the rays of each column (W,), and y / z of those of each row (H,)."""
        x = (np.arange(self.width) - self.cx) / self.fx
        y = (np.arange(self.height) - self.cy) / self.fy
        return x.astype(np.float32), y.astype(np.float32)

    def spread_pixels(self, rows: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows and columns (N,) of N = rows * columns evenly spaced pixels, row by row."""
        v = ((np.arange(rows) + 0.5) / rows * self.height).astype(np.int64)
        u = ((np.arange(columns) + 0.5) / columns * self.width).astype(np.int64)
        v, u = np.meshgrid(v, u, indexing="ij")
        return v.reshape(-1), u.reshape(-1)

    def backproject(self, depth: Array) -> Array:
        """Return camera-frame points (H, W, 3) of a z-depth image (H, W) in metres."""
        return self.rays() * depth[..., None]

    def lift(self, u: NDArray | float, v: NDArray | float, z: NDArray | float) -> Array:
        """Return camera-frame points (..., 3) of columns ``u``, rows ``v`` and z-depths ``z``."""
        return np.stack([(u - self.cx) / self.fx * z, (v - self.cy) / self.fy * z, z], axis=-1)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Return pixel coordinates (..., 2) and z-depth (...) of camera-frame points (..., 3).

        Points at or behind the camera (z <= 0) get NaN pixels.
        """
        z = points[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.where(z > 0, 1.0 / z, np.nan)
        u = points[..., 0] * inverse * self.fx + self.cx
        v = points[..., 1] * inverse * self.fy + self.cy
        return np.stack([u, v], axis=-1), z

    def pixels_inside(
        self, points: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Array]:
        """Find the pixels of the M camera-frame points, of (N, 3), that project into the image.

        Returns:
            Indices of these points, columns and rows of their nearest pixels, all int64 (M,), and
            their z-depths (M,), above 0. Occlusion is not considered.
        """
        pixels, z = self.project(points)
        u, v = np.rint(pixels).T
        inside = (u >= 0) & (u < self.width) & (v >= 0) & (v < self.height)  # NaN is outside
        index = np.flatnonzero(inside)
        return index, u[index].astype(np.int64), v[index].astype(np.int64), z[index]


def depth_to_world(
    depth: Array, camera: Camera, T_world_camera: Array, use: NDArray[np.bool_] | None = None
) -> Array:
    """Return world points (N, 3) of the pixels ``use`` (H, W) of a z-depth image (H, W), metres.

    With ``use`` None all pixels are returned, as an image (H, W, 3); pixels without depth give
    the camera's own position.
    """
    points = camera.backproject(depth)
    return transform_points(T_world_camera, points if use is None else points[use])


def transform_points(T_target_source: Array, points: Array) -> Array:
    """Transform points (..., 3) from the source frame to the target frame."""
    return points @ T_target_source[:3, :3].T + T_target_source[:3, 3]


def invert_transform(T_target_source: Array) -> Array:
    """Return the inverse ``T_source_target`` (4, 4) of a rigid transform."""
    rotation = T_target_source[:3, :3].T
    inverse = np.eye(4)
    inverse[:3, :3] = rotation
    inverse[:3, 3] = -rotation @ T_target_source[:3, 3]
    return inverse


def make_transform(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """Return a rigid transform (4, 4) from a rotation matrix (3, 3) and a translation (3,)."""
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = translation
    return transform


def moved(T_target_source: Array, offset: ArrayLike) -> NDArray[np.float64]:
    """Return the transform (4, 4) with ``offset`` (3,) added to its translation."""
    transform = np.array(T_target_source, dtype=np.float64)
    transform[:3, 3] += np.asarray(offset, dtype=np.float64)
    return transform


def moved_and_turned(T_world_first: Array, T_world_second: Array) -> tuple[Array, Array]:
    """Return distances (m) and rotation angles (rad), both (...), between poses (..., 4, 4)."""
    distance = np.linalg.norm(T_world_first[..., :3, 3] - T_world_second[..., :3, 3], axis=-1)
    rotations = T_world_first[..., :3, :3], T_world_second[..., :3, :3]
    trace = np.einsum("...ij,...ij->...", *rotations)
    return distance, np.arccos(np.clip((trace - 1) / 2, -1, 1))


def pose_distances(T_world_first: Array, T_world_second: Array) -> NDArray[np.float64]:
    """Return distances (...) of poses (..., 4, 4): metres, where one radian counts as a metre."""
    moved, turned = moved_and_turned(T_world_first, T_world_second)
    return np.asarray(moved + METRES_PER_RADIAN * turned, np.float64)


def check_transform(transform: ArrayLike, tolerance: float = 1e-3) -> Array:
    """Return the transform as float64 (4, 4); ValueError if it is not rigid and finite."""
    matrix = np.asarray(transform, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"expected a finite 4x4 transform, got {matrix.tolist()}")
    rotation = matrix[:3, :3]
    rigid = np.allclose(rotation @ rotation.T, np.eye(3), atol=tolerance)
    if not (rigid and np.linalg.det(rotation) > 0 and np.allclose(matrix[3], [0, 0, 0, 1])):
        raise ValueError(f"expected a rotation and a translation, got {matrix.tolist()}")
    return matrix


def quaternion_from_matrix(rotation: Array) -> Array:
    """Return the unit quaternion (x, y, z, w), w >= 0, of a rotation matrix (3, 3)."""
    from scipy.spatial.transform import Rotation  # here: its import takes a quarter of a second

    return Rotation.from_matrix(rotation).as_quat(canonical=True)


def matrix_from_quaternion(quaternion: ArrayLike) -> Array:
    """Return the rotation matrix (3, 3) of a quaternion (x, y, z, w), which is normalised first.

    Raises:
        ValueError: if the quaternion is zero, not finite or of another shape.
    """
    from scipy.spatial.transform import Rotation

    q = np.asarray(quaternion, dtype=np.float64)
    norm = np.linalg.norm(q)
    if q.shape != (4,) or not np.isfinite(norm) or norm < 1e-6:
        raise ValueError(f"expected a quaternion (x, y, z, w) that is not zero, got {q.tolist()}")
    return Rotation.from_quat(q).as_matrix()


def interpolate_transform(T0: Array, T1: Array, fraction: float) -> Array:
    """Interpolate two rigid transforms at ``fraction`` 0..1: linear, and slerp (Shoemake 1985)."""
    from scipy.spatial.transform import Rotation, Slerp

    ends = Rotation.from_matrix(np.stack([T0[:3, :3], T1[:3, :3]]))
    translation = (1 - fraction) * T0[:3, 3] + fraction * T1[:3, 3]
    return make_transform(Slerp([0, 1], ends)(fraction).as_matrix(), translation)


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """Return ``T_world_camera`` of a camera at ``eye`` that looks at ``target``, with ``up`` up.

    Raises:
        ValueError: if ``up`` is parallel to the view direction.
    """
    eye = np.asarray(eye, dtype=np.float64)
    forward = np.asarray(target, dtype=np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, np.asarray(up, dtype=np.float64))
    if np.linalg.norm(right) < 1e-6:
        raise ValueError(f"expected 'up' not parallel to the view direction {forward.tolist()}")
    right /= np.linalg.norm(right)
    return make_transform(np.stack([right, np.cross(forward, right), forward], axis=1), eye)
