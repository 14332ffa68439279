"""Views of a map show its keyframes' images: live, from a file, and of an earlier time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semantic_field.config import Config
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.evaluation.scores.image_quality import color_score
from semantic_field.field.map_file import load_map, read_map
from semantic_field.field.views.source_views import Target
from semantic_field.frames import Frame
from semantic_field.mapping import Mapper
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.mapping.renderer import Renderer
from semantic_field.settings import updated
from semantic_field.teachers.label_text import LabelTextTeacher

SMALL = {
    "field.grid.log2_table_size": 15,
    "mapping.rays_per_step": 512,
    "mapping.memory_budget_mb": 128,
}
HELD_OUT = 6


@pytest.fixture(scope="module")
def room() -> SimulatedRoom:
    return SimulatedRoom(n_frames=60, size=(96, 72))


@pytest.fixture(scope="module")
def mapper(room: SimulatedRoom) -> Mapper:
    mapper = Mapper(updated(Config(), SMALL), LabelTextTeacher())
    mapper.set_label_names(room.label_names)
    for i in range(0, 13):
        if i != HELD_OUT:
            mapper.add_frame(room[i])
    mapper.train_steps(200)
    return mapper


def psnr(frame: Frame, renderer: Renderer) -> float:
    view = renderer.render(frame.camera, frame.T_world_camera)
    return color_score(frame.color, view.color, frame.depth > 0).psnr


def accuracy(frame: Frame, renderer: Renderer) -> float:
    assert frame.labels is not None
    view = renderer.render(frame.camera, frame.T_world_camera)
    return float((view.label == frame.labels)[frame.labels >= 0].mean())


def test_keyframes_show_more_than_the_field(mapper: Mapper, room: SimulatedRoom) -> None:
    frame, renderer = room[HELD_OUT], mapper.renderer()
    assert psnr(frame, renderer) > psnr(frame, renderer.field_only()) + 2
    assert accuracy(frame, renderer) > accuracy(frame, renderer.field_only())


def test_the_appearance_is_an_option_that_may_change(mapper: Mapper, room: SimulatedRoom) -> None:
    frame, config = room[HELD_OUT], mapper.config
    views = mapper.render(frame.camera, frame.T_world_camera)
    mapper.set_config(updated(config, {"mapping.appearance": "field"}))
    field = mapper.render(frame.camera, frame.T_world_camera)
    mapper.set_config(config)
    alone = mapper.renderer().field_only().render(frame.camera, frame.T_world_camera)
    assert np.array_equal(field.color, alone.color) and not np.array_equal(field.color, views.color)


def test_a_map_file_shows_its_keyframes(
    mapper: Mapper, room: SimulatedRoom, tmp_path: Path
) -> None:
    frame = room[HELD_OUT]
    mapper.save(tmp_path / "room.map")
    state = load_map(read_map(tmp_path / "room.map"))
    stored = Renderer.of(state, sources=KeyframeViews.of(state))
    view = stored.render(frame.camera, frame.T_world_camera)
    live = mapper.render(frame.camera, frame.T_world_camera)
    difference = np.abs(view.color.astype(int) - live.color)
    assert difference.mean() < 3  # colours are compressed in the file
    assert (view.label == live.label).mean() > 0.995
    assert KeyframeViews.of(mapper.snapshot()) is None  # a snapshot carries none


def test_latents_are_those_of_the_names_that_keyframes_give(
    mapper: Mapper, room: SimulatedRoom
) -> None:
    frame, live_map = room[HELD_OUT], mapper.live_map
    view = mapper.render(frame.camera, frame.T_world_camera, with_latent=True)
    assert view.latent is not None
    latents, ids = live_map.class_latents(), live_map.classes.ids
    for class_id in np.unique(view.label[view.label >= 0]).tolist():
        shown = view.latent[(view.label == class_id) & (view.depth > 0)]
        assert (shown == latents[ids.index(class_id)]).all()
    assert not view.latent[view.depth == 0].any()


def test_an_earlier_map_has_only_earlier_keyframes(mapper: Mapper, room: SimulatedRoom) -> None:
    store = mapper.live_map.keyframes
    assert store is not None
    every = KeyframeViews(lambda: store, lambda: mapper.live_map.classes.ids)
    frame = room[HELD_OUT]
    view = mapper.renderer().field_only().render(frame.camera, frame.T_world_camera)
    target = Target(frame.camera, frame.T_world_camera, view.depth, view.normal)
    sources = every.until(room[3].stamp_ns)(target)
    assert sources is not None and sources.stamps_ns.max() == room[3].stamp_ns
    now = every(target)
    assert now is not None and now.stamps_ns.max() > room[3].stamp_ns
    assert every.until(-1)(target) is None


def test_what_is_chosen_is_a_copy(mapper: Mapper, room: SimulatedRoom) -> None:
    store = mapper.live_map.keyframes
    assert store is not None
    frame = room[HELD_OUT]
    view = mapper.renderer().field_only().render(frame.camera, frame.T_world_camera)
    target = Target(frame.camera, frame.T_world_camera, view.depth, view.normal)
    sources = KeyframeViews(lambda: store, lambda: mapper.live_map.classes.ids)(target)
    assert sources is not None
    for array in (*sources.images, *sources.cameras, sources.exposures):
        originals = (*store.images, *store.cameras, store.learnt["exposure"])
        assert not any(np.shares_memory(array, original) for original in originals)
