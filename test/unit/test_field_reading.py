"""Reading a field in chunks on several threads, held against the plain modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semantic_field.config import FieldConfig
from semantic_field.field.description import describe
from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.views.tracing import ray_directions
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.geometry import Camera, look_at
from semantic_field.kernels.reference import hash_vertices
from semantic_field.settings import updated

CLASS_IDS = (4, 9, 30)
SMALL = {"grid.log2_table_size": 10, "grid.levels": 3, "grid.finest_cell_m": 0.1}


@pytest.fixture(scope="module")
def state() -> MapState:
    torch.manual_seed(0)
    field = SemanticField(updated(FieldConfig(), SMALL), len(CLASS_IDS))
    torch.nn.init.normal_(field.table)
    torch.nn.init.normal_(field.label_head.weight)
    torch.nn.init.zeros_(field.label_head.bias)
    torch.nn.init.normal_(field.latent_head[2].weight)
    voxels = VoxelGrid(0.1)
    voxels.insert(np.array([[0.05, 0.05, 0.05]], np.float32))
    return MapState(
        field=field.eval().requires_grad_(False),
        frame_id="map",
        bounds=voxels.bounds(),
        voxels=voxels,
        reach=voxels.copy(),
        label_names={},
        class_ids=CLASS_IDS,
        language=None,
        version=1,
        steps=1,
    )


def random_points(n: int) -> np.ndarray:
    return np.random.default_rng(n).uniform(-2, 2, (n, 3)).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 4096, 9001])
def test_description_is_what_the_modules_say(state: MapState, n: int) -> None:
    points, field = random_points(n), state.field
    found = describe(state, points)
    _, code = field.geometry(torch.from_numpy(points))
    latent = field.latent(code)
    np.testing.assert_allclose(found.latent, latent.numpy(), rtol=1e-3, atol=2e-3)
    color = 255 * field.color(code).numpy()
    assert (np.abs(found.color - color) <= 0.51).all()
    scores = field.label_scores(latent)
    top = scores.topk(2, dim=1).values
    clear = (top[:, 0] - top[:, 1] > 1e-4).numpy()
    expected = np.array(CLASS_IDS)[scores.argmax(1).numpy()]
    np.testing.assert_array_equal(found.label[clear], expected[clear])
    if n > 1:
        assert clear.mean() > 0.99 and len(np.unique(found.label)) > 1
    plain = describe(state, points, with_latent=False)
    assert plain.latent.shape == (n, 0)
    np.testing.assert_array_equal(plain.label, found.label)
    np.testing.assert_array_equal(plain.normal, found.normal)


def test_confidence_follows_the_observations(state: MapState) -> None:
    seen = describe(state, np.array([[0.05, 0.05, 0.05], [1.0, 1.0, 1.0]], np.float32))
    np.testing.assert_allclose(seen.confidence, [1 / 3, 0.0], atol=1e-6)


def test_distances_do_not_depend_on_the_chunks(state: MapState) -> None:
    points = torch.from_numpy(random_points(9001))
    whole, _ = state.field.geometry(points)
    torch.testing.assert_close(state.field.distance(points), whole, atol=1e-6, rtol=1e-4)
    assert state.field.distance(points[:0]).shape == (0,)


def test_ray_directions_are_the_cameras() -> None:
    camera = Camera(50.0, 60.0, 13.0, 9.0, 30, 20)
    pose = look_at([1.0, 2.0, 0.5], [0.0, 0.3, 0.7])
    expected = camera.rays().reshape(-1, 3) @ pose[:3, :3].T
    np.testing.assert_allclose(ray_directions(camera, pose), expected, atol=1e-6)


def test_surface_of_a_plane_is_complete() -> None:
    """A field that is a plane by construction: every cell that it crosses gets a point on it."""
    field = SemanticField(updated(FieldConfig(), SMALL | {"grid.log2_table_size": 16}), 0)
    cell = field.kernels.shape.cells_m[0]
    side = torch.arange(-2, 4)
    vertices = torch.stack(torch.meshgrid(side, side, side, indexing="ij"), -1).reshape(-1, 3)
    normal, offset = torch.tensor([0.36, 0.48, 0.8]), 0.02
    with torch.no_grad():
        rows = hash_vertices(vertices, field.table.shape[1])
        field.table[0, rows, 0] = vertices.float() * cell @ normal - offset
        for layer in (field.trunk_in, field.trunk_out):
            layer.weight.zero_()
            layer.bias.zero_()
        field.trunk_in.weight[:2, 0] = torch.tensor([1.0, -1.0])
        scale = 1 / field.config.truncation_m
        field.trunk_out.weight[0, :2] = torch.tensor([scale, -scale])
    on_plane = np.random.default_rng(0).uniform(-0.5, 0.5, (20000, 3))
    on_plane -= (on_plane @ normal.numpy() - offset)[:, None] * normal.numpy()
    voxels = VoxelGrid(0.1)
    voxels.insert(on_plane.astype(np.float32))
    state = MapState(
        field.eval(), "map", voxels.bounds(), voxels, voxels.copy(), {}, (), None, 1, 1
    )
    points = extract_surface(state, 0.05)
    distance = points.xyz @ normal.numpy() - offset
    assert np.abs(distance).max() < 1e-4
    np.testing.assert_allclose(points.normals, np.tile(normal, (len(points), 1)), atol=1e-4)
    gaps = np.linalg.norm(on_plane[::50, None] - points.xyz[None], axis=-1).min(1)
    assert gaps.max() < 0.05
