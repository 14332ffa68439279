"""Scene of a furnished layout: tables for the ray caster and renderer, and baked lighting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.room import lighting, room_renderer, textures
from semantic_field.data.room.layout import LABELS, STRUCTURE, Layout, Piece
from semantic_field.data.room.scene_tables import group_tables, shape_tables, surface_tables
from semantic_field.frames import VOID_LABEL
from semantic_field.geometry import Camera

SHAPES_PER_GROUP = 8
DAYLIGHT, LAMPLIGHT = np.array([0.95, 1.0, 1.08]), np.array([1.0, 0.90, 0.74])


@dataclass(frozen=True)
class SceneImages:
    """Noise-free images of a camera.

    Attributes:
        color: uint8 (H, W, 3).
        depth: z-depth (H, W), metres.
        labels, instances: class and instance ids int32 (H, W), -1 = none.
        cosine: (H, W), of the angle between viewing ray and surface normal."""

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    labels: NDArray[np.int32]
    instances: NDArray[np.int32]
    cosine: NDArray[np.float32]


class Scene:
    """A room with lighting that can be rendered from any pose inside."""

    def __init__(self, layout: Layout, threads: int = 2) -> None:
        self._threads = threads
        shapes = [shape for piece in layout.pieces for shape in piece.shapes]
        owner = np.repeat(np.arange(len(layout.pieces)), [len(p.shapes) for p in layout.pieces])
        labels = np.array([LABELS.index(piece.name) for piece in layout.pieces])
        instances = np.array([piece.instance for piece in layout.pieces])
        self._labels = np.append(labels[owner], VOID_LABEL).astype(np.int32)
        self._instances = np.append(instances[owner], VOID_LABEL).astype(np.int32)
        self._tables = (*shape_tables(shapes), *_group_tables(layout.pieces))
        self._surfaces = (*surface_tables(shapes), *textures.make_textures())
        w, d, h = layout.size
        inside = np.array([[-w / 2, -d / 2, 0], [w / 2, d / 2, h]])
        self._light = lighting.bake(self._tables, inside, _lights(layout), threads=threads)

    def view(self, camera: Camera, T_world_camera: NDArray[np.float64]) -> SceneImages:
        """Render the view of a pinhole camera at ``T_world_camera`` (4, 4)."""
        color, depth, shape, cosine = room_renderer.render(
            self._tables, self._surfaces, self._light, camera, T_world_camera, self._threads
        )
        return SceneImages(color, depth, self._labels[shape], self._instances[shape], cosine)


def _group_tables(pieces: list[Piece]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    sizes = [1 if piece.name in STRUCTURE else SHAPES_PER_GROUP for piece in pieces]
    return group_tables([piece.shapes for piece in pieces], sizes)


def _lights(layout: Layout) -> NDArray[np.float64]:
    """Return samples (K, 9) of the lamps and of the window's daylight; see ``lighting.bake``."""
    rows: list[list[float]] = []
    rng = np.random.default_rng(1)
    for piece in layout.pieces:
        x, y, z = piece.position
        if piece.name == "window":
            front = np.array([np.sin(piece.yaw), -np.cos(piece.yaw), 0.0])
            along, power = np.array([front[1], -front[0], 0.0]), 7.0 * DAYLIGHT / 16
            for a in range(4):
                for b in range(4):
                    u, v = (np.array([a, b]) + rng.random(2)) / 4 - 0.5
                    at = piece.position + 0.06 * front
                    at = at + along * u * (piece.high[0] - piece.low[0] - 0.2) + [0, 0, 1.2 * v]
                    rows.append([*at, *front, *power])
        elif piece.name == "lamp":
            hangs = piece.position[2] > 1
            flat = hangs and piece.low[2] > -0.2  # the lamp directly under the ceiling
            drop = piece.low[2] - 0.03 if hangs else 1.72
            strength = 3.4 if flat else (1.5 if hangs else 0.8)
            radius = 0.2 if flat else 0.1
            n = 10 if flat else 6
            for k in range(n):
                r, angle = radius * np.sqrt((k + 0.5) / n), 2.4 * k
                at = [x + r * np.cos(angle), y + r * np.sin(angle), z + drop]
                normal = [0.0, 0.0, -1.0] if hangs and not flat else [0.0, 0.0, 0.0]
                rows.append([*at, *normal, *(strength * LAMPLIGHT / n)])
    return np.array(rows)
