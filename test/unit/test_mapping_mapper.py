"""The mapper end to end on a small made-up wall."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.config import Config, updated
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping import Mapper

CAMERA = Camera.from_field_of_view(64, 48, 1.2)
SMALL = {
    "field.grid.log2_table_size": 12,
    "field.grid.levels": 4,
    "field.grid.finest_cell_m": 0.08,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 16,
}


def small_config(**more: object) -> Config:
    return updated(Config(), SMALL | more)


def wall(x: float = 0.0, depth_m: float = 1.5) -> Frame:
    """A wall facing the camera at z = ``depth_m``: left half red (7), right half blue (3)."""
    left = (np.arange(64) - CAMERA.cx) / CAMERA.fx * depth_m + x < 0
    color = np.where(left[None, :, None], [200, 30, 30], [30, 30, 200]).astype(np.uint8)
    labels = np.where(left, 7, 3).astype(np.int32)
    return Frame(
        stamp_ns=int(x * 1e9),
        color=np.broadcast_to(color, (48, 64, 3)).copy(),
        depth=np.full((48, 64), depth_m, np.float32),
        camera=CAMERA,
        T_world_camera=make_transform(np.eye(3), [x, 0, 0]),
        labels=np.broadcast_to(labels, (48, 64)).copy(),
    )


@pytest.fixture(scope="module")
def trained() -> Mapper:
    mapper = Mapper(small_config())
    mapper.set_label_names({3: "blue wall", 7: "red wall"})
    for x in (-0.2, 0.0, 0.2):
        assert mapper.add_frame(wall(x))
    mapper.train_steps(200)
    return mapper


def test_renders_what_it_saw(trained: Mapper) -> None:
    frame = wall(0.1)
    view = trained.render(CAMERA, frame.T_world_camera)
    inner = np.s_[4:-4, 4:-4]
    error = np.abs(view.depth[inner] - 1.5)
    assert np.median(error) < 0.01
    assert (view.label[inner] == frame.labels[inner]).mean() > 0.95
    difference = view.color[inner].astype(float) - frame.color[inner]
    assert np.abs(difference).mean() < 15
    assert (view.normal[inner] @ [0, 0, -1.0] > 0.9).mean() > 0.9


def test_resumes_where_it_stopped(trained: Mapper, tmp_path) -> None:
    trained.save(tmp_path / "map")
    again = Mapper(small_config())
    again.load(tmp_path / "map")
    assert again.status().steps == trained.status().steps
    assert again.status().keyframes == 3
    again.train_steps(1)
    loss = sum(again.status().losses.values())
    assert loss < 1.5 * sum(trained.status().losses.values())
    assert again.snapshot().label_names == {3: "blue wall", 7: "red wall"}
