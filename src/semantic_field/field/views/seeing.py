"""Whether a keyframe sees a surface point: projection into it, and comparison with its depth.

A keyframe sees a point if the point lies inside its image and its own depth reading there is as
far away as the point, within the noise of depth sensors. A nearer reading hides the point; a
farther one contradicts it, because the keyframe looks through the place where it should be.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.geometry import transform_points

NOISE_M, NOISE_PER_M = 0.01, 0.015  # two readings of one surface differ by this at most
FLATTEST = 0.35  # lower bound of the cosine of incidence by which the noise grows
NEAREST_M = 0.05  # points nearer to a keyframe's camera are not seen by it
NO_READING, NOT_USED = np.float32(0), np.float32(-1)
_inline = njit(inline="always", error_model="numpy")


def projections(
    intrinsics: NDArray[np.float32], poses: NDArray[np.floating], T_map_target: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how points of a frame project into K cameras.

    Args:
        intrinsics: (K, 4), fx fy cx cy in pixels.
        poses: (K, 4, 4), ``T_map_camera``.
        T_map_target: (4, 4), pose of the frame in which points are given.
    Returns:
        Projection matrices float32 (K, 3, 4), whose product with a point [x y z 1] is
        [u d, v d, d] with pixel coordinates u, v and z-depth d; and the cameras' positions in the
        frame, float32 (K, 3).
    """
    poses = np.asarray(poses, np.float64)
    T_camera_target = np.linalg.inv(poses) @ T_map_target
    K = np.zeros((len(poses), 3, 3))
    K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2] = np.asarray(intrinsics, np.float64).T
    K[:, 2, 2] = 1.0
    positions = transform_points(np.linalg.inv(T_map_target), poses[:, :3, 3])
    return (K @ T_camera_target[:, :3]).astype(np.float32), positions.astype(np.float32)


@_inline
def projected(P, k, x, y, z):
    """Pixel coordinates u, v and z-depth of a point in camera ``k``; the depth may be negative."""
    far = P[k, 2, 0] * x + P[k, 2, 1] * y + P[k, 2, 2] * z + P[k, 2, 3]
    inverse = np.float32(1) / far
    u = (P[k, 0, 0] * x + P[k, 0, 1] * y + P[k, 0, 2] * z + P[k, 0, 3]) * inverse
    v = (P[k, 1, 0] * x + P[k, 1, 1] * y + P[k, 1, 2] * z + P[k, 1, 3]) * inverse
    return u, v, far


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
def tolerance(far, cosine):
    """Largest difference in metres between a point's z-depth and a reading of its surface.

    Args:
        far: z-depth of the point. cosine: of the angle between its normal and the viewing ray.
    """
    steepest = max(cosine, np.float32(FLATTEST))
    return (np.float32(NOISE_M) + np.float32(NOISE_PER_M) * far) / steepest
