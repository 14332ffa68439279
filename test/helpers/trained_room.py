"""A small map of the simulated room, trained once for all tests of a process."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from semantic_field.config import Config, FieldConfig, GridConfig, MappingConfig
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.frames import Frame
from semantic_field.mapping.mapper import Mapper
from semantic_field.teachers import make_language_teacher


@lru_cache(maxsize=1)
def trained():
    """A mapper that has seen the sofa and the chairs of a simulated room."""
    config = Config(
        field=FieldConfig(grid=GridConfig(log2_table_size=16)),
        mapping=MappingConfig(rays_per_step=1024, keyframe_translation_m=0.0),
    )
    room = SimulatedRoom(n_frames=24, size=(160, 120))
    mapper = Mapper(config, make_language_teacher(config.teacher))
    mapper.set_label_names(room.label_names)
    for frame in best_views(room, ("sofa", "chair")):
        mapper.add_frame(frame)
    mapper.train_steps(450)
    return mapper, room


def best_views(room: SimulatedRoom, names: tuple[str, ...], count: int = 4) -> list[Frame]:
    """The frames that show the most of each of the named things."""
    frames = list(room)
    chosen: set[int] = set()
    for name in names:
        class_id = next(i for i, known in room.label_names.items() if known == name)
        shown = [int((frame.labels == class_id).sum()) for frame in frames]
        chosen |= set(np.argsort(shown)[-count:].tolist())
    return [frames[i] for i in sorted(chosen)]


@lru_cache(maxsize=1)
def half_walk() -> tuple[Mapper, SimulatedRoom]:
    """A mapper that has seen the first half of a walk: every chair from one side only."""
    config = Config(
        field=FieldConfig(grid=GridConfig(log2_table_size=16)),
        mapping=MappingConfig(rays_per_step=1024, threads=1),
    )
    room = SimulatedRoom(n_frames=60, size=(240, 180))
    mapper = Mapper(config, make_language_teacher(config.teacher))
    mapper.set_label_names(room.label_names)
    for index in range(30):
        mapper.add_frame(room[index])
    mapper.train_steps(350)
    return mapper, room
