"""Which points of an object's surface a camera sees, by exact rays."""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.room.ray_caster import hit_shape
from semantic_field.data.room.scene_tables import shape_tables

SHORT_OF = 1e-6  # share of the way at which a hit is the point itself


def visible_points(
    model: ObjectModel, points: NDArray[np.float64], T_object_camera: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which surface points (N, 3), object's own frame, nothing hides from a camera.

    The edges of the image are not considered.
    """
    shapes, kinds = shape_tables(model.shapes)
    visible = np.empty(len(points), np.bool_)
    eye = np.ascontiguousarray(T_object_camera[:3, 3], np.float64)
    _look(shapes, kinds, np.ascontiguousarray(points, np.float64), eye, visible)
    return visible


@njit(cache=True, nogil=True)
def _look(shapes, kinds, points, eye, visible):
    for n in range(points.shape[0]):
        dx, dy, dz = points[n, 0] - eye[0], points[n, 1] - eye[1], points[n, 2] - eye[2]
        visible[n] = True
        for i in range(kinds.shape[0]):
            t, _ = hit_shape(shapes, kinds[i], i, eye[0], eye[1], eye[2], dx, dy, dz)
            if t < 1.0 - SHORT_OF:
                visible[n] = False
                break
