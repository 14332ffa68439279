"""Whether a keyframe sees a surface point: projection into it, and comparison with its depth.

A keyframe sees a point if the point lies inside its image and its own depth reading there is as
far away as the point, within the noise of depth sensors. A nearer reading hides the point; a
farther one contradicts it, because the keyframe looks through the place where it should be. Pixels
without a reading are beside silhouettes for the most part, and then show what is in front.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.rays.keyframe_arrays import KeyframeCameras
from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.geometry import invert_transform, transform_points

NOISE_M, NOISE_PER_M = 0.01, 0.015  # two readings of one surface differ by this at most
FLATTEST = 0.35  # lower bound of the cosine of incidence by which the noise grows
NEAREST_M = 0.05  # points nearer to a keyframe's camera are not seen by it
NO_READING, NOT_USED = np.float32(0), np.float32(-1)
_inline = njit(inline="always", error_model="numpy")


class Lenses(NamedTuple):
    """How points of one frame (the target) project into K keyframes.

    Attributes:
        matrix: float32 (K, 3, 4), whose product with a point [x y z 1] of the target frame is
            [u d, v d, d] with pixel coordinates u, v and z-depth d.
        position: float32 (K, 3), the cameras' positions in the target frame, metres.
        last: float32 (K, 2), the last column and row. focal: float32 (K,), in pixels.
        width: int64 (K,), columns. trust: float32 (K,) in 0..1, weight of the whole keyframe.
    """

    matrix: NDArray[np.float32]
    position: NDArray[np.float32]
    last: NDArray[np.float32]
    focal: NDArray[np.float32]
    width: NDArray[np.int64]
    trust: NDArray[np.float32]


def lenses_of(cameras: KeyframeCameras, T_map_target: NDArray[np.floating]) -> Lenses:
    """Return the lenses of keyframes, for points in a frame of pose ``T_map_target`` (4, 4)."""
    poses = np.asarray(cameras.poses, np.float64)
    fx, fy, cx, cy = np.asarray(cameras.intrinsics, np.float64).T[..., None]
    relative = np.array(T_map_target, np.float64)[None, :3] - [[0, 0, 0, 1]] * poses[:, :3, 3:]
    rows = poses[:, :3, :3].transpose(0, 2, 1) @ relative  # of T_keyframe_target
    x, y, z = rows.transpose(1, 0, 2)
    matrix = np.stack([fx * x + cx * z, fy * y + cy * z, z], 1)
    T_target_map = invert_transform(np.asarray(T_map_target, np.float64))
    return Lenses(
        matrix=np.ascontiguousarray(matrix, np.float32),
        position=transform_points(T_target_map, poses[:, :3, 3]).astype(np.float32),
        last=(cameras.sizes - 1).astype(np.float32),
        focal=np.ascontiguousarray(cameras.intrinsics[:, 0]),
        width=np.ascontiguousarray(cameras.sizes[:, 0]),
        trust=np.ones(len(poses), np.float32),
    )


@_inline
def projected(matrix, k, x, y, z):
    """Pixel coordinates u, v and z-depth of a point in keyframe ``k``; depth may be negative."""
    far = matrix[k, 2, 0] * x + matrix[k, 2, 1] * y + matrix[k, 2, 2] * z + matrix[k, 2, 3]
    inverse = np.float32(1) / far
    u = matrix[k, 0, 0] * x + matrix[k, 0, 1] * y + matrix[k, 0, 2] * z + matrix[k, 0, 3]
    v = matrix[k, 1, 0] * x + matrix[k, 1, 1] * y + matrix[k, 1, 2] * z + matrix[k, 1, 3]
    return u * inverse, v * inverse, far


@_inline
def nearest_pixel(u, v, width):
    """Number of the pixel at coordinates inside an image of this width."""
    return int(v + np.float32(0.5)) * width + int(u + np.float32(0.5))


@_inline
def reading(depths, labels, k, pixel):
    """Depth reading of a keyframe's pixel in metres.

    ``NO_READING`` if its depth is unknown or was filled in, ``NOT_USED`` if it is masked.
    """
    stored = depths[k, pixel]
    if labels[k, pixel] == MASKED:
        return NOT_USED
    if stored & GUESSED:
        return NO_READING
    return np.float32(stored) * np.float32(DEPTH_UNIT_M)


@_inline
def filled_in(depths, k, pixel):
    """Depth of a keyframe's pixel, or of the reading nearest to it, in metres; 0 = none."""
    return np.float32(depths[k, pixel] & np.uint16(GUESSED - 1)) * np.float32(DEPTH_UNIT_M)


@_inline
def tolerance(far, cosine):
    """Largest difference in metres between a point's z-depth and a reading of its surface.

    Args:
        far: z-depth of the point. cosine: of the angle between its normal and the viewing ray.
    """
    steepest = max(cosine, np.float32(FLATTEST))
    return (np.float32(NOISE_M) + np.float32(NOISE_PER_M) * far) / steepest
