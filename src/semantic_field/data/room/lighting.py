"""Baked lighting, computed once per room: direct light with soft shadows, ambient occlusion.

Every face of every solid has a small grid of irradiance values (a light map), which is interpolated
when rendering, so that colours do not depend on the view.
"""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.data.room.ray_caster import face_normal, trace
from semantic_field.data.room.shapes import BOX, CONE, ELLIPSOID
from semantic_field.kernels.threads import run_parallel, split

AMBIENT_DIRECTIONS = 24
AMBIENT_REACH_M = 1.3
AMBIENT = np.array([0.42, 0.41, 0.40])
FACES = {BOX: 6, CONE: 3, ELLIPSOID: 1}


@dataclass(frozen=True)
class LightMaps:
    """Irradiance of all faces.

    Attributes:
        patches: int32 (N, 6, 3): first index of the grid of each face, its columns and rows.
        values: (M, 3) float32 irradiance, 1 = a well-lit place.
    """

    patches: NDArray[np.int32]
    values: NDArray[np.float32]


def bake(
    tables: tuple, inside: NDArray, lights: NDArray, spacing_m: float = 0.06, threads: int = 2
) -> LightMaps:
    """Compute the light maps of a scene.

    Args:
        tables: shapes, kinds, groups and spans as in ``ray_caster``.
        inside: lower and upper corner (2, 3) of the room; faces outside stay dark.
        lights: (K, 9) light samples: position, normal (0 = in all directions), RGB power.
        spacing_m: distance of the grid nodes.
        threads: number of threads.
    """
    shapes, kinds = tables[:2]
    patches, points, normals = _make_nodes(shapes, kinds, inside, spacing_m)
    values = np.zeros((len(points), 3), np.float32)
    directions = _hemisphere(AMBIENT_DIRECTIONS)
    shares = [
        (*tables, points, normals, lights, directions, AMBIENT, values, a, b)
        for a, b in split(len(points), threads * 4)
    ]
    for start in range(0, len(shares), threads):
        run_parallel(_irradiance, shares[start : start + threads])
    return LightMaps(patches, values)


def _make_nodes(
    shapes: NDArray, kinds: NDArray, inside: NDArray, spacing_m: float
) -> tuple[NDArray[np.int32], NDArray, NDArray]:
    """Return the grids of all faces: patches, and the nodes' points and normals (M, 3)."""
    patches = np.zeros((len(shapes), 6, 3), np.int32)
    points, normals, used = [], [], 0
    for i, (shape, kind) in enumerate(zip(shapes, kinds)):
        for face in range(FACES[int(kind)]):
            width, height = _face_size(shape, int(kind), face)
            columns, rows = (
                int(np.clip(round(size / spacing_m) + 1, 2, 160)) for size in (width, height)
            )
            if kind != BOX:
                columns = max(columns, 9)
            local = _face_points(shape, int(kind), face, columns, rows)
            normal = np.array([face_normal(shapes, i, int(kind), face, p) for p in local])
            world = local @ shape[6:15].reshape(3, 3).T + shape[:3] + 1e-3 * normal
            if not ((world > inside[0] - 0.02) & (world < inside[1] + 0.02)).all(axis=1).any():
                columns, rows, world, normal = 1, 1, world[:1], normal[:1]
            patches[i, face] = used, columns, rows
            points.append(world)
            normals.append(normal)
            used += columns * rows
    return patches, np.concatenate(points), np.concatenate(normals)


def _face_size(shape: NDArray, kind: int, face: int) -> tuple[float, float]:
    hx, hy, hz = shape[3:6]
    if kind == BOX:
        return ((2 * hy, 2 * hz), (2 * hx, 2 * hz), (2 * hx, 2 * hy))[face // 2]
    if kind == CONE:
        widest = hx * max(1.0, shape[15])
        return (2 * math.pi * widest, 2 * hz) if face == 0 else (widest, widest)
    return 2 * math.pi * max(hx, hy), math.pi * hz


def _face_points(shape: NDArray, kind: int, face: int, columns: int, rows: int) -> NDArray:
    """Return the nodes (rows * columns, 3) of a face in the shape's own frame; see ``light_uv``."""
    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
    u, v = u.ravel(), v.ravel()
    hx, hy, hz = shape[3:6]
    if kind == BOX:
        # A little inside the edge, where neighbouring solids touch.
        a, b = (np.clip(2 * w - 1, -0.985, 0.985) for w in (u, v))
        end = np.full_like(a, 1.0 if face % 2 else -1.0)
        unit = ((end, a, b), (a, end, b), (a, b, end))[face // 2]
        return np.stack(unit, axis=1) * (hx, hy, hz)
    if kind == CONE:
        if face == 0:
            angle, z = (u - 0.5) * 2 * math.pi, np.clip(2 * v - 1, -0.985, 0.985) * hz
            radius = 0.5 * hx * ((1 + shape[15]) + (shape[15] - 1) * z / hz)
            return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
        radius = hx * (shape[15] if face == 2 else 1.0) * 0.69
        z = np.full_like(u, hz if face == 2 else -hz)
        return np.stack([radius * (2 * u - 1), radius * (2 * v - 1), z], axis=1)
    angle, latitude = (u - 0.5) * 2 * math.pi, (v - 0.5) * math.pi * 0.98
    ring = np.cos(latitude)
    unit = np.stack([ring * np.cos(angle), ring * np.sin(angle), np.sin(latitude)], axis=1)
    return unit * (hx, hy, hz)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def light_uv(shapes, i, kind, face, p):
    """Return the light map position (0..1, 0..1) on a face of a point in the shape's own frame."""
    if kind == BOX:
        x, y, z = p[0] / shapes[i, 3], p[1] / shapes[i, 4], p[2] / shapes[i, 5]
        a, b = (y, z) if face < 2 else ((x, z) if face < 4 else (x, y))
        return 0.5 * (a + 1.0), 0.5 * (b + 1.0)
    if kind == CONE:
        if face == 0:
            angle = math.atan2(p[1], p[0]) / (2.0 * math.pi) + 0.5
            return angle, 0.5 * (p[2] / shapes[i, 5] + 1.0)
        r = shapes[i, 3] * (shapes[i, 15] if face == 2 else 1.0) * 0.69 + 1e-12
        return 0.5 * (p[0] / r + 1.0), 0.5 * (p[1] / r + 1.0)
    x, y, z = p[0] / shapes[i, 3], p[1] / shapes[i, 4], p[2] / shapes[i, 5]
    return math.atan2(y, x) / (2.0 * math.pi) + 0.5, math.asin(
        min(1.0, max(-1.0, z))
    ) / math.pi + 0.5


def _hemisphere(n: int) -> NDArray:
    """Return ``n`` cosine-distributed directions (n, 3) around +z (Malley's method)."""
    k = np.arange(n) + 0.5
    radius, angle = np.sqrt(k / n), k * math.pi * (3 - math.sqrt(5))
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return np.stack([x, y, np.sqrt(1 - radius**2)], axis=1)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def _irradiance(
    shapes,
    kinds,
    groups,
    spans,
    points,
    normals,
    lights,
    directions,
    ambient,
    values,
    start,
    stop,
):
    """Fill ``values[start:stop]`` with the irradiance at those nodes."""
    order = np.arange(groups.shape[0])
    n_order, nears = order.shape[0], np.zeros(groups.shape[0])
    for i in range(start, stop):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        red = green = blue = 0.0
        for k in range(lights.shape[0]):
            lx, ly, lz = lights[k, 0] - px, lights[k, 1] - py, lights[k, 2] - pz
            square = lx * lx + ly * ly + lz * lz
            distance = math.sqrt(square)
            facing = (nx * lx + ny * ly + nz * lz) / distance
            if facing <= 0.0:
                continue
            shines = -(lights[k, 3] * lx + lights[k, 4] * ly + lights[k, 5] * lz) / distance
            if lights[k, 3] == 0.0 and lights[k, 4] == 0.0 and lights[k, 5] == 0.0:
                shines = 1.0
            if shines <= 0.0:
                continue
            _, hit, _ = trace(
                shapes,
                kinds,
                groups,
                spans,
                order,
                n_order,
                nears,
                px,
                py,
                pz,
                lx,
                ly,
                lz,
                0.93,
                True,
            )
            if hit < 0:
                share = facing * shines / (square + 0.25)
                red += share * lights[k, 6]
                green += share * lights[k, 7]
                blue += share * lights[k, 8]
        open_share = _openness(
            shapes, kinds, groups, spans, order, nears, px, py, pz, nx, ny, nz, directions
        )
        values[i, 0] = red + ambient[0] * open_share
        values[i, 1] = green + ambient[1] * open_share
        values[i, 2] = blue + ambient[2] * open_share


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def _openness(shapes, kinds, groups, spans, order, nears, px, py, pz, nx, ny, nz, directions):
    """Return the open share (0..1) of the hemisphere; near obstacles count more than far ones."""
    # A tangent frame without branches on the normal (Duff et al. 2017).
    sign = math.copysign(1.0, nz)
    a = -1.0 / (sign + nz)
    b = nx * ny * a
    t = (1.0 + sign * nx * nx * a, sign * b, -sign * nx)
    s = (b, sign + ny * ny * a, -ny)
    total = 0.0
    for k in range(directions.shape[0]):
        x, y, z = directions[k, 0], directions[k, 1], directions[k, 2]
        dx = x * t[0] + y * s[0] + z * nx
        dy = x * t[1] + y * s[1] + z * ny
        dz = x * t[2] + y * s[2] + z * nz
        distance, _, _ = trace(
            shapes,
            kinds,
            groups,
            spans,
            order,
            order.shape[0],
            nears,
            px,
            py,
            pz,
            dx,
            dy,
            dz,
            AMBIENT_REACH_M,
            False,
        )
        total += math.sqrt(distance / AMBIENT_REACH_M)
    return total / directions.shape[0]
