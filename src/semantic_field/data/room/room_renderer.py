"""Ray-cast renderer of a scene: colour, exact depth and the shape at each pixel."""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.data.room.lighting import LightMaps
from semantic_field.data.room.ray_caster import (
    face_normal,
    group_bounds_in_image,
    local_point,
    scene_order,
    trace,
)
from semantic_field.data.room.shading import decode_table, shade, to_byte, tone_table
from semantic_field.geometry import Camera, invert_transform
from semantic_field.kernels.threads import run_parallel, split

TILE = 16
_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})


def render(
    tables: tuple,
    surfaces: tuple,
    light: LightMaps,
    camera: Camera,
    T_world_camera: NDArray[np.float64],
    threads: int = 2,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Render one view.

    Args:
        tables: shapes, kinds, groups, spans as in ``ray_caster``.
        surfaces: looks (N, 8) = tint RGB, repeats per metre, emission, offset of u and of v,
            unused; textures (N, 2) = number and whether it is fitted; pixels and starts of
            ``make_textures``.
    Returns:
        Colour uint8 (H, W, 3), z-depth float32 (H, W) in metres (0 = nothing hit), shape int32
        (H, W), cosine of the angle between view ray and surface normal float32 (H, W).
    """
    h, w = camera.height, camera.width
    bounds = np.zeros((len(tables[2]), 5))
    intrinsics = camera.intrinsics
    group_bounds_in_image(tables[2], invert_transform(T_world_camera), *intrinsics, bounds)
    order = scene_order(bounds)
    color = np.zeros((h, w, 3), np.uint8)
    depth, cosine = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    faces = np.full((h, w), -1, np.int32)
    scene = (tables, surfaces, (light.patches, light.values), decode_table())
    tone = tone_table()
    eye = (intrinsics, np.ascontiguousarray(T_world_camera), bounds, order)
    rows = split(h, threads * 2, TILE)
    for work, extra in ((_draw, (cosine,)), (_smooth_edges, ())):
        shares = [(scene, eye, tone, color, depth, faces, *extra, a, b) for a, b in rows]
        for start in range(0, len(shares), threads):
            run_parallel(work, shares[start : start + threads])
    return color, depth, np.where(faces < 0, -1, faces // 8), cosine


@njit(inline="always")
def select_groups(bounds, order, x0, x1, y0, y1, chosen):
    """Fill ``chosen`` with the groups that may be visible in an image tile, nearest first.

    Returns their number.
    """
    n = 0
    for k in range(order.shape[0]):
        g = order[k]
        across = bounds[g, 0] <= x1 and bounds[g, 1] >= x0
        if across and bounds[g, 2] <= y1 and bounds[g, 3] >= y0:
            chosen[n] = g
            n += 1
    return n


@njit(inline="always")
def look_along(scene, eye, chosen, n, column, row):
    """Cast one ray: z-depth, shape * 8 + face (-1: nothing), cosine and linear RGB."""
    (shapes, kinds, groups, spans), surfaces, light, decode = scene
    intrinsics, pose, bounds, _ = eye
    nears = bounds[:, 4]
    x, y = (column - intrinsics[2]) / intrinsics[0], (row - intrinsics[3]) / intrinsics[1]
    dx = pose[0, 0] * x + pose[0, 1] * y + pose[0, 2]
    dy = pose[1, 0] * x + pose[1, 1] * y + pose[1, 2]
    dz = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2]
    ox, oy, oz = pose[0, 3], pose[1, 3], pose[2, 3]
    t, i, face = trace(
        shapes, kinds, groups, spans, chosen, n, nears, ox, oy, oz, dx, dy, dz, 1e6, False
    )
    if i < 0:
        return 0.0, -1, 0.0, (0.0, 0.0, 0.0)
    p = local_point(shapes, i, ox + t * dx, oy + t * dy, oz + t * dz)
    normal = face_normal(shapes, i, kinds[i], face, p)
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    cosine = abs(normal[0] * dx + normal[1] * dy + normal[2] * dz) / length
    footprint = t / intrinsics[0] / math.sqrt(max(cosine, 0.05))
    rgb = shade(shapes, i, kinds[i], face, surfaces, light, decode, p, footprint)
    return t, i * 8 + face, cosine, rgb


@_jit
def _draw(scene, eye, tone, color, depth, faces, cosines, first, last):
    """Fill the rows first..last, with one ray through the centre of each pixel."""
    _, _, bounds, order = eye
    chosen = np.zeros(order.shape[0], np.int64)
    width = depth.shape[1]
    for y0 in range(first, last, TILE):
        y1 = min(y0 + TILE, last)
        for x0 in range(0, width, TILE):
            x1 = min(x0 + TILE, width)
            n = select_groups(bounds, order, x0 - 1, x1, y0 - 1, y1, chosen)
            for row in range(y0, y1):
                for column in range(x0, x1):
                    t, face, cosine, rgb = look_along(scene, eye, chosen, n, column, row)
                    depth[row, column], faces[row, column] = t, face
                    cosines[row, column] = cosine
                    color[row, column, 0] = to_byte(rgb[0], tone)
                    color[row, column, 1] = to_byte(rgb[1], tone)
                    color[row, column, 2] = to_byte(rgb[2], tone)


@_jit
def is_edge(faces, row, column):
    """Return whether a neighbouring pixel shows another face."""
    own, height, width = faces[row, column], faces.shape[0], faces.shape[1]
    return (
        (column > 0 and faces[row, column - 1] != own)
        or (column + 1 < width and faces[row, column + 1] != own)
        or (row > 0 and faces[row - 1, column] != own)
        or (row + 1 < height and faces[row + 1, column] != own)
    )


@_jit
def _smooth_edges(scene, eye, tone, color, depth, faces, first, last):
    """Anti-alias edge pixels of rows first..last: mean colour of four rays."""
    _, _, bounds, order = eye
    chosen = np.zeros(order.shape[0], np.int64)
    width = depth.shape[1]
    for y0 in range(first, last, TILE):
        y1 = min(y0 + TILE, last)
        for x0 in range(0, width, TILE):
            x1 = min(x0 + TILE, width)
            n = select_groups(bounds, order, x0 - 1, x1, y0 - 1, y1, chosen)
            for row in range(y0, y1):
                for column in range(x0, x1):
                    if not is_edge(faces, row, column):
                        continue
                    red = green = blue = 0.0
                    for k in range(4):
                        across = column + (0.375 if k & 1 else -0.125) - 0.125 * (k >> 1)
                        down = row + (0.25 if k >> 1 else -0.25) + 0.125 * (1 - 2 * (k & 1))
                        _, _, _, rgb = look_along(scene, eye, chosen, n, across, down)
                        # Averaged after the tone curve, or bright lamps would fray.
                        red += to_byte(rgb[0], tone)
                        green += to_byte(rgb[1], tone)
                        blue += to_byte(rgb[2], tone)
                    color[row, column, 0] = int(red / 4 + 0.5)
                    color[row, column, 1] = int(green / 4 + 0.5)
                    color[row, column, 2] = int(blue / 4 + 0.5)
