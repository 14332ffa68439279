"""Views and walks in torch against those of the processor, on every device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semantic_field.config import Config
from semantic_field.data.sources import open_source
from semantic_field.field.map_state import MapState
from semantic_field.field.views.device_rendering import DeviceMap
from semantic_field.field.views.rendering import render_view
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.mapping import Mapper
from semantic_field.settings import updated

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))


@pytest.fixture(params=["cpu", GPU])
def device(request) -> str:
    return request.param


@pytest.mark.parametrize(("spread", "number"), [(0.4, 300), (3.0, 9000)])
def test_rays_go_where_the_processors_go(device: str, spread: float, number: int) -> None:
    random = np.random.default_rng(1)
    grid = VoxelGrid(0.1)
    grid.insert(random.normal(0, spread, (number, 3)).astype(np.float32))
    origin = np.array([0.21, -2.03, 0.55])
    directions = (random.normal(0, 0.6, (2000, 3)) - origin).astype(np.float32)
    directions[:60, 2] = 0.0
    near = np.full(2000, 0.05, np.float32)
    expected, all_rays = near.copy(), np.arange(2000)
    grid.advance(origin, directions, expected, 20.0, all_rays, 1)
    copied, listed = DeviceVoxels.of(grid, device), torch.arange(0, 2000, 2, device=device)
    start = torch.from_numpy(near.copy()).to(device)
    # as a column of a pose, whose numbers do not lie side by side
    at = torch.eye(4, device=device)[:3, 3]
    at.copy_(torch.from_numpy(origin.astype(np.float32)))
    copied.advance(at, torch.from_numpy(directions).to(device), start, 20.0, listed)
    found = start.cpu().numpy()
    assert (found[1::2] == near[1::2]).all()
    found, expected = found[::2], expected[::2]
    met = np.isfinite(expected)
    assert 0.1 < met.mean() < 0.99
    # rays that graze a corner of a voxel may miss it by a hair's breadth, here or there
    assert (np.isfinite(found) == met).mean() > 0.995
    both = met & np.isfinite(found)
    assert (np.abs(found[both] - expected[both]) < 1e-3).mean() > 0.995


@pytest.fixture(scope="module")
def room() -> tuple[MapState, object]:
    """A simulated room after a few steps on four small frames."""
    source = open_source("room:frames=4,width=96,height=72")
    small = {
        "mapping.device": "cpu", "mapping.rays_per_step": 512, "field.grid.log2_table_size": 15,
        "mapping.keyframe_translation_m": 0.0, "field.truncation_m": 0.035,
        "field.grid.finest_cell_m": 0.02,
    }  # fmt: skip
    mapper = Mapper(updated(Config(), small))
    mapper.set_label_names(source.label_names)
    for i in range(4):
        mapper.add_frame(source[i])
    mapper.train_steps(120)
    return mapper.snapshot(), source[1]


def test_views_are_the_processors(device: str, room) -> None:
    state, frame = room
    expected = render_view(state, frame.camera, frame.T_world_camera, with_latent=True)
    found = DeviceMap.of(state, device).render(frame.camera, frame.T_world_camera, with_latent=True)
    for name in ("color", "depth", "normal", "label", "confidence", "latent"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.shape == other.shape and one.dtype == other.dtype, name
    assert (expected.depth > 0).mean() > 0.8
    assert ((found.depth > 0) == (expected.depth > 0)).mean() > 0.99
    close = np.abs(found.depth - expected.depth) < 0.02
    assert close.mean() > 0.97
    same = close & (found.depth > 0)
    assert np.median(np.abs(found.depth - expected.depth)[same]) < 2e-3
    away = np.abs(found.color.astype(int) - expected.color)[same]
    assert np.median(away) <= 2 and (away < 25).mean() > 0.95
    assert (found.label == expected.label)[same].mean() > 0.95
    assert (found.confidence == expected.confidence)[same].mean() > 0.9
    assert np.median((found.normal * expected.normal).sum(-1)[same]) > 0.99
    nothing = found.depth == 0
    assert (found.label[nothing] == -1).all() and not found.color[nothing].any()


def test_a_view_of_an_empty_map_is_empty(device: str, room) -> None:
    state, frame = room
    grid = VoxelGrid(0.1)
    empty = DeviceMap(state.field.frozen_copy(device), grid, grid, ())
    view = empty.render(frame.camera, frame.T_world_camera)
    assert not view.depth.any() and (view.label == -1).all() and view.latent is None
