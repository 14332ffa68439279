"""Shading: outgoing light of a surface point from texture, tint, light map and emission."""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.data.room.lighting import light_uv
from semantic_field.data.room.ray_caster import face_uv

TONE_STEPS, TONE_RANGE = 4096, 4.0
DECODE_STEPS = 8  # entries of the decoding table for one step of an 8-bit value


def decode_table() -> NDArray[np.float32]:
    """Return linear light 0..1 of sRGB values 0..255 (gamma 2.2), ``DECODE_STEPS`` per value."""
    return ((np.arange(255 * DECODE_STEPS + 2) / (255.0 * DECODE_STEPS)) ** 2.2).astype(np.float32)


def tone_table() -> NDArray[np.uint8]:
    """Return the tone mapping table for ``to_byte``: a soft shoulder, then gamma 2.2.

    sRGB values of linear light 0..``TONE_RANGE`` in ``TONE_STEPS`` steps.
    """
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
def shade(shapes, i, kind, face, surfaces, light, decode, p, footprint):
    """Return the outgoing linear light (red, green, blue) of a point; 1 is full sRGB white.

    ``shapes``, ``i``, ``kind`` and ``face`` are as in ``ray_caster``, ``surfaces`` as in
    ``renderer.render``; ``light``: patches and values of the ``LightMaps``; ``decode``: of
    ``decode_table``. ``p`` is the point in the shape's own frame; ``footprint`` is the size of a
    pixel there in metres, which selects the mipmap level of the texture.
    """
    looks, textures, pixels, starts = surfaces
    patches, values = light
    u, v, width, height = face_uv(shapes, i, kind, face, p)
    if textures[i, 1] == 1:
        per_metre = 1.0 / max(width, height)
        v = 1.0 - v
    else:
        per_metre = looks[i, 3]
        u, v = u * width * per_metre + looks[i, 5], (1.0 - v) * height * per_metre + looks[i, 6]
        if height > width:
            u, v = v, u  # the wood grain is along the longer side
    size0 = 512
    level = int(math.log2(max(1.0, footprint * per_metre * size0)) + 0.5)
    level = min(level, starts.shape[1] - 1)
    albedo = _texel(pixels, starts[textures[i, 0], level], size0 >> level, u, v, decode)
    lu, lv = light_uv(shapes, i, kind, face, p)
    falling = _light(patches, i, face, values, lu, lv)
    glow = looks[i, 4]
    return (
        albedo[0] * looks[i, 0] * (falling[0] + glow),
        albedo[1] * looks[i, 1] * (falling[1] + glow),
        albedo[2] * looks[i, 2] * (falling[2] + glow),
    )


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def to_byte(value, tone):
    """Return the sRGB value 0..255 of linear light by the table ``tone`` of ``tone_table``."""
    return tone[min(int(value * (TONE_STEPS - 1) / TONE_RANGE + 0.5), TONE_STEPS - 1)]
