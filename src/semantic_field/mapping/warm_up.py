"""Compilation of all kernels before a run, so that it does not count towards the run's time."""

from __future__ import annotations

import numpy as np

from semantic_field.config import Config
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.views.rendering import render_view
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.mapping.mapper import Mapper
from semantic_field.settings import updated

SMALL = {
    "field.grid.log2_table_size": 12,
    "mapping.memory_budget_mb": 16,
    "language.source": "labels",  # needs no teachers
}


def warm_up(config: Config) -> None:
    """Compile the kernels of ``config``: map a wall in three steps, render it, extract points."""
    camera = Camera.from_field_of_view(64, 48, 1.2)
    frame = Frame(
        1,
        np.full((48, 64, 3), 128, np.uint8),
        np.full((48, 64), 1.5, np.float32),
        camera,
        np.eye(4),
        labels=np.zeros((48, 64), np.int32),
    )
    mapper = Mapper(updated(config, SMALL))
    mapper.set_label_names({0: "wall"})
    mapper.add_frame(frame)
    mapper.train_steps(3)
    state = mapper.snapshot()
    render_view(state, camera, frame.T_world_camera)
    extract_surface(state, 0.05)
