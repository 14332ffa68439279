"""Views of single objects: colour on white, exact depth, part ids and mask, by ray casting."""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.objects.object_views import ObjectView
from semantic_field.data.room import textures
from semantic_field.data.room.lighting import AMBIENT, LightMaps, bake
from semantic_field.data.room.ray_caster import group_bounds_in_image
from semantic_field.data.room.room_renderer import is_edge, look_along, select_groups
from semantic_field.data.room.scene_tables import group_tables, shape_tables, surface_tables
from semantic_field.data.room.shading import decode_table, to_byte, tone_table
from semantic_field.geometry import Camera, invert_transform

SOLIDS_PER_GROUP = 5
TILE = 8
LIT_RADIUS_M = 0.8  # of the scaled object, at which the light falls on it
LIGHT_SPACING_M = 0.09
# Position, metres, and power of the key light, the fill light and a light from behind.
LIGHTS = (
    ((-1.6, -2.2, 3.2), 7.5),
    ((2.6, -1.2, 1.2), 3.0),
    ((0.8, 2.8, 2.2), 3.6),
)
LIGHT_SAMPLES = 3
_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})


@dataclass(frozen=True, eq=False)
class LitObject:
    """An object ready to be rendered.

    Attributes:
        model: the object.
        scene: the compiled renderer's tables, looks, light maps and decoding table.
    """

    model: ObjectModel
    scene: tuple


@lru_cache(maxsize=16)
def lit(model: ObjectModel) -> LitObject:
    """Return the object with its light maps: fixed lamps, shadows and ambient occlusion.

    The light is computed on the object scaled to a fixed size, so that a mug is lit as a table is.
    """
    tables = (*shape_tables(model.shapes), *group_tables([model.shapes], [SOLIDS_PER_GROUP]))
    light = _light_maps(tables, model)
    surfaces = (*surface_tables(model.shapes), *textures.make_textures())
    return LitObject(model, (tables, surfaces, (light.patches, light.values), decode_table()))


def _light_maps(tables: tuple, model: ObjectModel) -> LightMaps:
    shapes, kinds, groups, spans = tables
    scale, middle = LIT_RADIUS_M / model.radius(), model.middle()
    scaled = shapes.copy()
    scaled[:, :3] = (shapes[:, :3] - middle) * scale
    scaled[:, 3:6] *= scale
    boxes = (groups - np.tile(middle, 2)) * scale
    inside = np.array([[-9.0] * 3, [9.0] * 3])
    maps = bake((scaled, kinds, boxes, spans), inside, _lamps(), LIGHT_SPACING_M, threads=1)
    _light_buried_nodes(maps)
    return maps


def _light_buried_nodes(maps: LightMaps) -> None:
    """Give nodes inside other solids, which are black, the light of the nearest node of the face.

    Otherwise they would darken their surroundings where solids join.
    """
    for start, columns, rows in maps.patches.reshape(-1, 3):
        grid = maps.values[start : start + columns * rows].reshape(rows, columns, 3)
        buried = ~grid.any(axis=2)
        if buried.all():
            grid[...] = AMBIENT
        elif buried.any():
            nearest = np.asarray(
                distance_transform_edt(buried, return_distances=False, return_indices=True)
            )
            grid[...] = grid[nearest[0], nearest[1]]


def _lamps() -> NDArray[np.float64]:
    """Return light samples (K, 9) of the lamps; see ``lighting.bake``."""
    rng, rows = np.random.default_rng(5), []
    for position, power in LIGHTS:
        for _ in range(LIGHT_SAMPLES):
            at = np.asarray(position) + rng.uniform(-0.35, 0.35, 3)
            rows.append([*at, 0.0, 0.0, 0.0, *([power / LIGHT_SAMPLES] * 3)])
    return np.array(rows)


def render_object(
    model: ObjectModel, camera: Camera, T_object_camera: NDArray[np.float64]
) -> ObjectView:
    """Return the view (colour, exact depth, parts, mask) of a camera in the object's own frame."""
    return render_views(lit(model), camera, np.asarray(T_object_camera, np.float64)[None])[0]


def render_views(
    subject: LitObject, camera: Camera, T_object_camera: NDArray[np.float64]
) -> list[ObjectView]:
    """Return the views of one camera at V poses (V, 4, 4)."""
    poses = np.ascontiguousarray(T_object_camera, np.float64)
    shape = (len(poses), camera.height, camera.width)
    color, depth = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.float32)
    faces = np.full(shape, -1, np.int32)
    inverses = np.stack([invert_transform(pose) for pose in poses])
    tone = tone_table()
    _draw_views(subject.scene, camera.intrinsics, poses, inverses, tone, color, depth, faces)
    parts = np.append(subject.model.parts + 1, 0).astype(np.uint8)
    seen = parts[np.where(faces < 0, -1, faces // 8)]
    return [
        ObjectView(color[v], camera, poses[v], depth[v], seen[v], faces[v] >= 0)
        for v in range(len(poses))
    ]


@_jit
def _draw_views(scene, intrinsics, poses, inverses, tone, color, depth, faces):
    """Fill colour (V, H, W, 3), z-depth (V, H, W) and shape * 8 + face (-1: nothing)."""
    groups = scene[0][2]
    bounds = np.zeros((groups.shape[0], 5))
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    for v in range(poses.shape[0]):
        group_bounds_in_image(groups, inverses[v], fx, fy, cx, cy, bounds)
        order = np.argsort(bounds[:, 4])
        eye = (intrinsics, poses[v], bounds, order)
        _draw(scene, eye, tone, color[v], depth[v], faces[v])
        _smooth(scene, eye, tone, color[v], faces[v])


@_jit
def _look(scene, eye, chosen, n, column, row):
    """``look_along``, compiled once for both passes."""
    return look_along(scene, eye, chosen, n, column, row)


@_jit
def _draw(scene, eye, tone, color, depth, faces):
    """Draw one view with one ray through the centre of each pixel."""
    _, _, bounds, order = eye
    chosen = np.zeros(order.shape[0], np.int64)
    height, width = depth.shape
    for y0 in range(0, height, TILE):
        y1 = min(y0 + TILE, height)
        for x0 in range(0, width, TILE):
            x1 = min(x0 + TILE, width)
            n = select_groups(bounds, order, x0 - 1, x1, y0 - 1, y1, chosen)
            for row in range(y0, y1):
                for column in range(x0, x1):
                    face = -1
                    if n > 0:
                        t, face, _, rgb = _look(scene, eye, chosen, n, column, row)
                        depth[row, column] = t
                        color[row, column, 0] = to_byte(rgb[0], tone)
                        color[row, column, 1] = to_byte(rgb[1], tone)
                        color[row, column, 2] = to_byte(rgb[2], tone)
                    faces[row, column] = face
                    if face < 0:
                        depth[row, column] = 0.0
                        color[row, column, :] = 255


@_jit
def _smooth(scene, eye, tone, color, faces):
    """Give edge pixels the mean colour of four rays, white where nothing is."""
    _, _, bounds, order = eye
    chosen = np.zeros(order.shape[0], np.int64)
    height, width = faces.shape
    for y0 in range(0, height, TILE):
        y1 = min(y0 + TILE, height)
        for x0 in range(0, width, TILE):
            x1 = min(x0 + TILE, width)
            n = select_groups(bounds, order, x0 - 1, x1, y0 - 1, y1, chosen)
            for row in range(y0, y1):
                for column in range(x0, x1):
                    if n > 0 and is_edge(faces, row, column):
                        red = green = blue = 0.0
                        for k in range(4):
                            across = column + (0.375 if k & 1 else -0.125) - 0.125 * (k >> 1)
                            down = row + (0.25 if k >> 1 else -0.25) + 0.125 * (1 - 2 * (k & 1))
                            _, face, _, rgb = _look(scene, eye, chosen, n, across, down)
                            if face < 0:
                                red, green, blue = red + 255.0, green + 255.0, blue + 255.0
                            else:
                                red += to_byte(rgb[0], tone)
                                green += to_byte(rgb[1], tone)
                                blue += to_byte(rgb[2], tone)
                        color[row, column, 0] = int(red / 4 + 0.5)
                        color[row, column, 1] = int(green / 4 + 0.5)
                        color[row, column, 2] = int(blue / 4 + 0.5)
