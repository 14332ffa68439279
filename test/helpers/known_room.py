"""A room with known objects as a map state without a field: two chairs, a table, the floor."""

from __future__ import annotations

import numpy as np

from semantic_field.field.map_state import MapState
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.mapping.language.basis import LanguageBasis

NAMES = {3: "chair", 7: "diningtable", 9: "floor", 12: "bed"}  # no bed in the room
CHAIRS = np.array([[1.0, 1.0, 0.45], [3.0, 1.0, 0.45]])


def shell(centre, size, step=0.03):
    """Points on the faces of a box."""
    axes = [np.arange(0, s + step / 2, step) - s / 2 for s in size]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    on_face = (np.abs(np.abs(grid) - np.array([a[-1] for a in axes])) < 1e-9).any(1)
    return grid[on_face] + centre


def room(teacher, names=NAMES, version=1, seed=0):
    """A map state without a field, and its surface: two chairs, a table, the floor."""
    floor = np.stack(np.meshgrid(np.arange(0, 4, 0.03), np.arange(0, 4, 0.03)), -1).reshape(-1, 2)
    parts = [
        (shell(CHAIRS[0], [0.45, 0.45, 0.9]), 3),
        (shell(CHAIRS[1], [0.45, 0.45, 0.9]), 3),
        (shell([2.0, 3.0, 0.72], [1.4, 0.8, 0.06]), 7),
        (np.column_stack([floor, np.zeros(len(floor))]), 9),
    ]
    xyz = np.concatenate([p for p, _ in parts]).astype(np.float32)
    label = np.concatenate([np.full(len(p), i, np.int32) for p, i in parts])
    basis = LanguageBasis(teacher, 16)
    latents = basis.latents_of(list(names.values())).numpy()
    rows = np.array([list(names).index(i) for i in label.tolist()])
    noise = 0.05 * np.random.default_rng(seed).normal(size=(len(xyz), 16))
    points = SurfacePoints(
        xyz,
        np.tile(np.float32([0, 0, 1]), (len(xyz), 1)),
        np.full((len(xyz), 3), 128, np.uint8),
        (latents[rows] + noise).astype(np.float16),
        label,
        np.ones(len(xyz), np.float32),
    )
    state = MapState(
        field=None,  # type: ignore[arg-type]  # the surface is given
        frame_id="map",
        bounds=np.stack([xyz.min(0), xyz.max(0)]).astype(np.float64),
        voxels=None,  # type: ignore[arg-type]
        reach=None,  # type: ignore[arg-type]
        label_names=dict(names),
        class_ids=tuple(names),
        language=basis.space(),
        version=version,
        steps=1,
    )
    return state, points
