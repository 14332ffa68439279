"""A live map without a mapper: one thread, no locks, any number of cameras and maps."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.config import Config
from semantic_field.field.views.rendering import render_view
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping.labels import renaming
from semantic_field.mapping.live_map import LiveMap
from semantic_field.settings import updated

LEFT = Camera.from_field_of_view(64, 48, 1.2)
RIGHT = Camera.from_field_of_view(48, 32, 0.9)
CONFIG = updated(
    Config(),
    {
        "field.grid.log2_table_size": 12,
        "field.grid.levels": 4,
        "field.grid.finest_cell_m": 0.08,
        "field.latent_dim": 16,
        "mapping.rays_per_step": 256,
        "mapping.memory_budget_mb": 16,
    },
)


class Letters:
    """One dimension for each letter a text begins with."""

    dim, fingerprint = 26, "letters"

    def knows(self, text: str) -> bool:
        return True

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        letters = torch.tensor([ord(text[0]) - ord("a") for text in texts])
        return torch.nn.functional.one_hot(letters, self.dim).float()


def wall(camera: Camera, x: float, depth_m: float = 1.5, camera_id: int = 0) -> Frame:
    size = (camera.height, camera.width)
    return Frame(
        stamp_ns=1_000_000_000,  # all at once
        color=np.full((*size, 3), 120, np.uint8),
        depth=np.full(size, depth_m, np.float32),
        camera=camera,
        T_world_camera=make_transform(np.eye(3), [x, 0, 0]),
        labels=np.full(size, 7, np.int32),
        camera_id=camera_id,
    )


def trained(depth_m: float) -> LiveMap:
    live_map = LiveMap(CONFIG, names={7: "wall"})
    for x in (-0.3, 0.0, 0.3):
        assert live_map.take(wall(LEFT, x, depth_m, 0))
        assert live_map.take(wall(RIGHT, x + 0.15, depth_m, 1))
    for _ in range(120):
        live_map.step()
    return live_map


def test_two_cameras_feed_one_map_and_two_maps_stand_side_by_side():
    near, far = trained(1.5), trained(2.5)
    for live_map, depth_m in ((near, 1.5), (far, 2.5)):
        assert live_map.keyframes is not None and live_map.keyframes.count == 6
        state = live_map.state("map", version=3)
        assert (state.version, state.frame_id, state.label_names) == (3, "map", {7: "wall"})
        assert not state.origin.any()
        for camera in (LEFT, RIGHT):
            view = render_view(state, camera, np.eye(4))
            inner = np.s_[6:-6, 6:-6]
            assert np.median(np.abs(view.depth[inner] - depth_m)) < 0.02
            assert (view.label[inner] == 7).mean() > 0.9


def test_the_revision_changes_with_what_readers_see():
    live_map = LiveMap(CONFIG)
    changes = [
        lambda: live_map.take(wall(LEFT, 0.0)),
        live_map.step,
        lambda: renaming.set_label_names(live_map, {7: "wall"}),
        lambda: renaming.set_label_names(live_map, {7: "door"}),
        lambda: live_map.take(wall(LEFT, 0.5)),
    ]
    seen = [live_map.revision()]
    for change in changes:
        change()
        live_map.state()  # reading changes nothing
        seen.append(live_map.revision())
    assert len(set(seen)) == len(seen)
    renaming.set_label_names(live_map, {7: "door"})
    assert live_map.revision() == seen[-1]


def test_nothing_can_be_learnt_without_a_keyframe():
    live_map = LiveMap(CONFIG)
    with pytest.raises(ValueError, match="expected a keyframe before training"):
        live_map.check_keyframes()
    assert not live_map.has_keyframes and not live_map.is_corrected


@pytest.mark.parametrize("enhancement", ["surface", "views"])
def test_a_map_that_is_given_up_is_freed_at_once(enhancement):
    """Two maps may be in memory for a moment, never longer: nothing in them forms a circle."""
    settings = {"language.source": "images", "language.enhancement": enhancement}
    live_map = LiveMap(updated(CONFIG, settings), Letters(), texts=["door", "wall"])
    live_map.take(replace(wall(LEFT, 0.0), labels=None))
    live_map.step()
    parts = [weakref.ref(part) for part in (live_map, live_map.field, live_map.keyframes)]
    gc.disable()  # the collector may come late: it is not asked
    try:
        del live_map
        assert [part() for part in parts] == [None, None, None]
    finally:
        gc.enable()
