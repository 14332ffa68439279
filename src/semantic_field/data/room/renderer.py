"""Pictures of a lit scene: colour, exact depth and which solid each pixel shows."""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.data.room.lighting import LightMaps, light_uv
from semantic_field.data.room.ray_caster import (
    face_normal,
    face_uv,
    group_bounds_in_image,
    local_point,
    scene_order,
    trace,
)
from semantic_field.geometry import Camera, invert_transform
from semantic_field.kernels.threads import run_parallel, split

TILE = 16
TONE_STEPS, TONE_RANGE = 4096, 4.0
DECODE_STEPS = 8  # entries of the decoding table for one step of an 8-bit value


def render(
    tables: tuple,
    surfaces: tuple,
    light: LightMaps,
    camera: Camera,
    T_world_camera: NDArray[np.float64],
    threads: int = 2,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """One view.

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
    intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    group_bounds_in_image(tables[2], invert_transform(T_world_camera), *intrinsics, bounds)
    order = scene_order(bounds)
    color = np.zeros((h, w, 3), np.uint8)
    depth, cosine = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    faces = np.full((h, w), -1, np.int32)
    scene = (*tables, *surfaces, light.patches, light.values, _decode_table(), _tone_table())
    pose = np.ascontiguousarray(T_world_camera)
    rows = split(h, threads * 2, TILE)
    for work, extra in ((_draw, (cosine,)), (_smooth_edges, ())):
        shares = [
            (*scene, intrinsics, pose, bounds, order, color, depth, faces, *extra, a, b)
            for a, b in rows
        ]
        for start in range(0, len(shares), threads):
            run_parallel(work, shares[start : start + threads])
    return color, depth, np.where(faces < 0, -1, faces // 8), cosine


def _decode_table() -> NDArray[np.float32]:
    """Linear light of the sRGB values 0..255 in fine steps (gamma 2.2)."""
    return ((np.arange(255 * DECODE_STEPS + 2) / (255.0 * DECODE_STEPS)) ** 2.2).astype(np.float32)


def _tone_table() -> NDArray[np.uint8]:
    """sRGB value of linear light 0..``TONE_RANGE``: a soft shoulder, then gamma 2.2."""
    linear = np.linspace(0, TONE_RANGE, TONE_STEPS)
    return (255 * (1 - np.exp(-1.35 * linear)) ** (1 / 2.2) + 0.5).astype(np.uint8)


@njit(inline="always")
def _texel(pixels, start, size, u, v, decode):
    """Bilinear linear-light sample of one texture level; u and v wrap around."""
    x, y = (u - math.floor(u)) * size - 0.5, (v - math.floor(v)) * size - 0.5
    x0, y0 = np.int64(math.floor(x)), np.int64(math.floor(y))
    fx, fy = x - x0, y - y0
    mask = size - 1
    a = start + (y0 & mask) * size
    b = start + ((y0 + 1) & mask) * size
    left, right = x0 & mask, (x0 + 1) & mask
    w00, w10, w01, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    rgb = (0.0, 0.0, 0.0)
    for c in range(3):
        value = (
            w00 * pixels[a + left, c]
            + w10 * pixels[a + right, c]
            + w01 * pixels[b + left, c]
            + w11 * pixels[b + right, c]
        )
        rgb = (rgb[1], rgb[2], decode[np.int64(value * DECODE_STEPS)])
    return rgb


@njit(inline="always")
def _light(patches, i, face, values, u, v):
    """Bilinear irradiance of a face; u and v are clamped to 0..1."""
    columns, rows = patches[i, face, 1], patches[i, face, 2]
    x = min(max(u, 0.0), 1.0) * (columns - 1)
    y = min(max(v, 0.0), 1.0) * (rows - 1)
    x0, y0 = min(int(x), max(columns - 2, 0)), min(int(y), max(rows - 2, 0))
    fx, fy = x - x0, y - y0
    right, down = min(x0 + 1, columns - 1), min(y0 + 1, rows - 1)
    start = patches[i, face, 0]
    a, b = start + y0 * columns, start + down * columns
    w00, w10, w01, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    rgb = (0.0, 0.0, 0.0)
    for c in range(3):
        value = (
            w00 * values[a + x0, c]
            + w10 * values[a + right, c]
            + w01 * values[b + x0, c]
            + w11 * values[b + right, c]
        )
        rgb = (rgb[1], rgb[2], value)
    return rgb


@njit(inline="always")
def _shade(
    shapes,
    i,
    kind,
    face,
    looks,
    textures,
    pixels,
    starts,
    patches,
    values,
    decode,
    p,
    footprint,
):
    """Linear light that leaves a point ``p`` (own frame); ``footprint`` = metres of a pixel."""
    u, v, width, height = face_uv(shapes, i, kind, face, p)
    if textures[i, 1] == 1:
        per_metre = 1.0 / max(width, height)
        v = 1.0 - v
    else:
        per_metre = looks[i, 3]
        u, v = u * width * per_metre + looks[i, 5], (1.0 - v) * height * per_metre + looks[i, 6]
        if height > width:
            u, v = v, u  # the grain runs along the longer side
    size0 = 512
    level = int(math.log2(max(1.0, footprint * per_metre * size0)) + 0.5)
    level = min(level, starts.shape[1] - 1)
    albedo = _texel(pixels, starts[textures[i, 0], level], size0 >> level, u, v, decode)
    lu, lv = light_uv(shapes, i, kind, face, p)
    light = _light(patches, i, face, values, lu, lv)
    glow = looks[i, 4]
    return (
        albedo[0] * looks[i, 0] * (light[0] + glow),
        albedo[1] * looks[i, 1] * (light[1] + glow),
        albedo[2] * looks[i, 2] * (light[2] + glow),
    )


@njit(inline="always")
def _select(bounds, order, x0, x1, y0, y1, chosen):
    """The groups that may show in a tile of the image, from near to far; returns their number."""
    n = 0
    for k in range(order.shape[0]):
        g = order[k]
        across = bounds[g, 0] <= x1 and bounds[g, 1] >= x0
        if across and bounds[g, 2] <= y1 and bounds[g, 3] >= y0:
            chosen[n] = g
            n += 1
    return n


@njit(inline="always")
def _look_along(
    shapes,
    kinds,
    groups,
    spans,
    looks,
    textures,
    pixels,
    starts,
    patches,
    values,
    decode,
    intrinsics,
    pose,
    chosen,
    n,
    nears,
    column,
    row,
):
    """What one ray sees: z-depth, shape * 8 + face (-1: nothing), cosine and linear RGB."""
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
    rgb = _shade(
        shapes,
        i,
        kinds[i],
        face,
        looks,
        textures,
        pixels,
        starts,
        patches,
        values,
        decode,
        p,
        footprint,
    )
    return t, i * 8 + face, cosine, rgb


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def _to_byte(value, tone):
    return tone[min(int(value * (TONE_STEPS - 1) / TONE_RANGE + 0.5), TONE_STEPS - 1)]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def _draw(
    shapes,
    kinds,
    groups,
    spans,
    looks,
    textures,
    pixels,
    starts,
    patches,
    values,
    decode,
    tone,
    intrinsics,
    pose,
    bounds,
    order,
    color,
    depth,
    faces,
    cosines,
    first,
    last,
):
    """Fill the rows first..last, one ray through the middle of each pixel."""
    chosen, nears = np.zeros(order.shape[0], np.int64), bounds[:, 4]
    width = depth.shape[1]
    for y0 in range(first, last, TILE):
        y1 = min(y0 + TILE, last)
        for x0 in range(0, width, TILE):
            x1 = min(x0 + TILE, width)
            n = _select(bounds, order, x0 - 1, x1, y0 - 1, y1, chosen)
            for row in range(y0, y1):
                for column in range(x0, x1):
                    t, face, cosine, rgb = _look_along(
                        shapes,
                        kinds,
                        groups,
                        spans,
                        looks,
                        textures,
                        pixels,
                        starts,
                        patches,
                        values,
                        decode,
                        intrinsics,
                        pose,
                        chosen,
                        n,
                        nears,
                        column,
                        row,
                    )
                    depth[row, column], faces[row, column] = t, face
                    cosines[row, column] = cosine
                    color[row, column, 0] = _to_byte(rgb[0], tone)
                    color[row, column, 1] = _to_byte(rgb[1], tone)
                    color[row, column, 2] = _to_byte(rgb[2], tone)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def _is_edge(faces, row, column):
    """Whether a neighbour shows another face."""
    own, height, width = faces[row, column], faces.shape[0], faces.shape[1]
    return (
        (column > 0 and faces[row, column - 1] != own)
        or (column + 1 < width and faces[row, column + 1] != own)
        or (row > 0 and faces[row - 1, column] != own)
        or (row + 1 < height and faces[row + 1, column] != own)
    )


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def _smooth_edges(
    shapes,
    kinds,
    groups,
    spans,
    looks,
    textures,
    pixels,
    starts,
    patches,
    values,
    decode,
    tone,
    intrinsics,
    pose,
    bounds,
    order,
    color,
    depth,
    faces,
    first,
    last,
):
    """Colour edge pixels of rows first..last anew as the mean of four rays (anti-aliasing)."""
    chosen, nears = np.zeros(order.shape[0], np.int64), bounds[:, 4]
    width = depth.shape[1]
    for y0 in range(first, last, TILE):
        y1 = min(y0 + TILE, last)
        for x0 in range(0, width, TILE):
            x1 = min(x0 + TILE, width)
            n = _select(bounds, order, x0 - 1, x1, y0 - 1, y1, chosen)
            for row in range(y0, y1):
                for column in range(x0, x1):
                    if not _is_edge(faces, row, column):
                        continue
                    red = green = blue = 0.0
                    for k in range(4):
                        _, _, _, rgb = _look_along(
                            shapes,
                            kinds,
                            groups,
                            spans,
                            looks,
                            textures,
                            pixels,
                            starts,
                            patches,
                            values,
                            decode,
                            intrinsics,
                            pose,
                            chosen,
                            n,
                            nears,
                            column + (0.375 if k & 1 else -0.125) - 0.125 * (k >> 1),
                            row + (0.25 if k >> 1 else -0.25) + 0.125 * (1 - 2 * (k & 1)),
                        )
                        # Averaged after the tone curve, or bright lamps would fray.
                        red += _to_byte(rgb[0], tone)
                        green += _to_byte(rgb[1], tone)
                        blue += _to_byte(rgb[2], tone)
                    color[row, column, 0] = int(red / 4 + 0.5)
                    color[row, column, 1] = int(green / 4 + 0.5)
                    color[row, column, 2] = int(blue / 4 + 0.5)
