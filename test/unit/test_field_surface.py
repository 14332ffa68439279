"""The shared surface: lattice, views, points, mesh, held against the field itself."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from pypcd4 import PointCloud

from semantic_field.cli import main
from semantic_field.config import Config
from semantic_field.field.description import describe
from semantic_field.field.map_file import dump_map, write_map
from semantic_field.field.map_state import LanguageSpace, MapState
from semantic_field.field.rays.compositing import composite
from semantic_field.field.surface.cache import SurfaceCache
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.surface.lattice import Lattice
from semantic_field.field.surface.mesh import Mesh, extract_mesh
from semantic_field.field.surface.surface_files import write_mesh, write_pcd
from semantic_field.field.views.rendering import lerf_relevancy, render_view
from semantic_field.field.views.tracing import ray_directions
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping import Mapper
from semantic_field.settings import updated

CAMERA = Camera.from_field_of_view(80, 60, 1.2)
SETTINGS = {
    "field.grid.log2_table_size": 14,
    "field.grid.levels": 5,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 512,
    "mapping.memory_budget_mb": 16,
}
STEP_M = 0.002


def corner(x: float) -> Frame:
    """A wall at z = 1.6 m, and before its left third a box whose face is at 1.2 m."""
    depth = np.full((60, 80), 1.6, np.float32)
    across = (np.arange(80) - CAMERA.cx) / CAMERA.fx
    box = across * 1.2 + x < -0.2
    depth[:, box] = 1.2
    color = np.where(box[None, :, None], [200, 40, 30], [40, 60, 200]).astype(np.uint8)
    labels = np.broadcast_to(np.where(box, 7, 3).astype(np.int32), (60, 80)).copy()
    pose = make_transform(np.eye(3), [x, 0, 0])
    image = np.broadcast_to(color, (60, 80, 3)).copy()
    return Frame(int(1e9 + 1e9 * x), image, depth, CAMERA, pose, labels=labels)


@pytest.fixture(scope="module")
def states() -> list[MapState]:
    """Three snapshots of one map: early, a little later, and with a new view after that."""
    mapper = Mapper(updated(Config(), SETTINGS))
    mapper.set_label_names({3: "wall", 7: "box"})
    for x in (-0.1, 0.0, 0.1):
        assert mapper.add_frame(corner(x))
    taken = []
    for steps in (150, 5, 20):
        mapper.train_steps(steps)
        taken.append(mapper.snapshot())
        mapper.add_frame(corner(0.3))
    return taken


def alone(state: MapState) -> MapState:
    """The state without what others have found out about its surface."""
    return replace(state, surfaces=SurfaceCache())


def dense_view(state: MapState, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, depth and label of every fourth row by uniform samples and first-surface weights."""
    directions = ray_directions(CAMERA, frame.T_world_camera)
    z = np.arange(0.9, 1.9, STEP_M, dtype=np.float32)
    colors, depths, labels = [], [], []
    for ray in directions.reshape(60, 80, 3)[::4]:
        points = (frame.T_world_camera[:3, 3] + z[:, None] * ray[:, None]).astype(np.float32)
        points = points.reshape(-1, 3)
        seen = describe(state, points)
        distance, code = state.field.geometry(torch.from_numpy(points))
        distance[torch.from_numpy(state.reach.lookup(points) == 0)] = 1.0  # nobody looks there
        config, along = state.field.config, torch.from_numpy(np.tile(z, (80, 1)))
        sharpness, behind = config.truncation_m / config.sharpness_m, 2 * config.truncation_m
        both = composite(distance / config.truncation_m, code.T, along, sharpness, behind)
        colors.append(255 * state.field.color(both.code.T).numpy())
        depths.append(both.depth.numpy())
        first = np.abs(z - depths[-1][:, None]).argmin(1)
        labels.append(seen.label.reshape(80, -1)[np.arange(80), first])
    return np.stack(colors), np.stack(depths), np.stack(labels)


def test_views_are_those_of_dense_sampling(states: list[MapState]) -> None:
    frame = corner(0.05)
    color, depth, label = dense_view(states[0], frame)
    view = render_view(alone(states[0]), CAMERA, frame.T_world_camera)
    inner = np.s_[1:-1, 3:-3]
    error = np.abs(view.depth[::4] - depth)[inner]
    assert np.median(error) < 0.003
    assert (error < 0.02).mean() > 0.97
    difference = np.abs(view.color[::4] - color)[inner]
    assert np.median(difference) < 3 and difference.mean() < 8
    assert (view.label[::4] == label)[inner].mean() > 0.98


def test_handed_on_views_are_close_to_fresh_ones(states: list[MapState]) -> None:
    assert states[0].surfaces is states[-1].surfaces  # the mapper hands it on
    shared = SurfaceCache()
    for state in states:
        pose = corner(0.0).T_world_camera
        view = render_view(replace(state, surfaces=shared), CAMERA, pose)
    fresh = render_view(alone(states[-1]), CAMERA, pose)
    error = np.abs(view.depth - fresh.depth)[3:-3, 3:-3]
    assert np.median(error) < 0.001
    assert (error < 0.01).mean() > 0.98


def test_lattice_is_the_fields_distance(states: list[MapState]) -> None:
    state = states[0]
    lattice = Lattice(state.field, state.reach, None)
    lattice.refresh(exact=True)
    slot, z, y, x = np.nonzero(np.abs(lattice.stored.astype(int)) < 40)
    nodes = state.reach.bricks[slot] * 16 + np.stack([x, y, z], 1)
    points = (nodes * (0.5 * state.reach.voxel_m)).astype(np.float32)
    distance = state.field.distance(torch.from_numpy(points)).numpy()
    assert len(points) > 1000
    assert np.abs(distance - lattice.unit_m * lattice.stored[slot, z, y, x]).max() < 0.0003


class ThinPlate:
    """Signed distances of a plate at z = 1.01 m, half-way between nodes, and a wall behind it."""

    def __init__(self, thickness_m: float) -> None:
        self.config, self.thickness_m = Config().field, thickness_m
        self.kernels = SimpleNamespace(threads=1)

    def on_one_thread(self) -> ThinPlate:
        return self

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        plate = (points[:, 2] - 1.01).abs() - self.thickness_m / 2
        return torch.minimum(plate, 1.6 - points[:, 2]).clamp(-0.025, 0.025)


@pytest.mark.parametrize("thickness_m", [0.006, 0.01, 0.02, 0.04])
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_what_is_thinner_than_the_lattice_is_met(thickness_m: float, tilt: float) -> None:
    across = np.arange(-1.2, 1.2, 0.02, np.float32)
    planes = (np.stack(np.meshgrid(across, across, [z]), -1) for z in (1.01, 1.6))
    reach = VoxelGrid(Config().field.voxel_m)
    reach.insert(np.concatenate([plane.reshape(-1, 3) for plane in planes]).astype(np.float32))
    lattice = Lattice(ThinPlate(thickness_m), reach, None)  # type: ignore[arg-type]
    slopes = np.linspace(-0.4, 0.4, 40, dtype=np.float32)
    x, y = (slope.ravel() for slope in np.meshgrid(slopes, slopes))
    directions = np.stack([x + tilt, y, np.ones_like(x)], 1)
    hit = lattice.cast(np.zeros(3), directions, 0.05, 10.0)
    np.testing.assert_allclose(hit, 1.01, atol=0.011 + thickness_m / 2)


def test_incremental_is_full_on_a_map_at_rest(states: list[MapState]) -> None:
    shared = SurfaceCache()
    for state in states:
        state = replace(state, surfaces=shared)
        found = extract_surface(state, 0.05)
    with shared.lattice(states[-1].field, states[-1].reach) as lattice:
        some_taken_over = (lattice.baked < lattice.number).any()
    exact = extract_surface(replace(states[-1], surfaces=shared), 0.05, exact=True)
    full = extract_surface(alone(states[-1]), 0.05)
    np.testing.assert_allclose(exact.xyz, full.xyz, atol=1e-5)
    np.testing.assert_allclose(exact.latent, full.latent, atol=0.02, rtol=0.01)
    assert (np.abs(exact.color.astype(int) - full.color) <= 1).all()
    np.testing.assert_array_equal(exact.label, full.label)
    distance = states[-1].field.distance(torch.from_numpy(found.xyz)).numpy()
    assert np.quantile(np.abs(distance), 0.95) < 0.006
    assert some_taken_over
    again = extract_surface(replace(states[-1], surfaces=shared), 0.05)
    np.testing.assert_array_equal(again.xyz, exact.xyz)


def test_an_older_map_and_another_map_get_their_own_surface(states: list[MapState]) -> None:
    shared = SurfaceCache()
    extract_surface(replace(states[2], surfaces=shared), 0.05)
    older = extract_surface(replace(states[0], surfaces=shared), 0.05, exact=True)
    np.testing.assert_allclose(older.xyz, extract_surface(alone(states[0]), 0.05).xyz, atol=1e-5)


@pytest.fixture(scope="module")
def mesh(states: list[MapState]) -> Mesh:
    return extract_mesh(alone(states[-1]))


def test_mesh_faces_free_space_and_has_no_cracks(mesh: Mesh) -> None:
    xyz, triangles = mesh.vertices.xyz, mesh.triangles
    a, b, c = (xyz[corner] for corner in triangles.T)
    facing = np.cross(b - a, c - a)
    assert np.median(facing[:, 2]) < 0  # the camera looks along +z
    assert ((facing * mesh.vertices.normals[triangles[:, 0]]).sum(1) > 0).mean() > 0.95
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, ::2]])
    edges, uses = np.unique(np.sort(edges), axis=0, return_counts=True)
    middle = (np.abs(xyz[:, 0] - 0.3) < 0.25) & (np.abs(xyz[:, 1]) < 0.4)
    assert middle.sum() > 500  # of the wall, across borders of bricks: nothing is open there
    assert not middle[edges[uses == 1]].all(1).any()


def test_mesh_files_read_back(mesh: Mesh, tmp_path) -> None:
    for suffix in ("ply", "glb"):
        path = tmp_path / f"mesh.{suffix}"
        write_mesh(path, mesh)
        scene = trimesh.load_scene(path, process=False)
        (back,) = scene.geometry.values()
        assert np.array_equal(back.faces, mesh.triangles)
        expected = mesh.vertices.xyz[mesh.triangles].mean(1)
        if suffix == "glb":
            expected = expected[:, [0, 2, 1]] * [1, 1, -1]  # z up becomes y up
        np.testing.assert_allclose(scene.to_mesh().triangles.mean(1), expected, atol=1e-4)
        np.testing.assert_allclose(back.vertex_normals, mesh.vertices.normals, atol=1e-6)
        if suffix == "ply":
            assert np.array_equal(back.visual.vertex_colors[:, :3], mesh.vertices.color)
        else:  # glTF's colours are linear
            colors = back.visual.vertex_attributes["color"][:, :3]
            np.testing.assert_allclose(colors / 255, (mesh.vertices.color / 255) ** 2.2, atol=0.03)
    with pytest.raises(ValueError, match="expected a mesh file"):
        write_mesh(tmp_path / "mesh.obj", mesh)


def test_clouds_read_back(mesh: Mesh, tmp_path) -> None:
    write_pcd(tmp_path / "cloud.pcd", mesh.vertices)
    back = PointCloud.from_path(tmp_path / "cloud.pcd")
    np.testing.assert_allclose(back.numpy(("x", "y", "z")), mesh.vertices.xyz, atol=1e-6)
    colors = PointCloud.decode_rgb(back.pc_data["rgb"].view(np.float32))
    np.testing.assert_array_equal(colors, mesh.vertices.color)


def test_export_command(states: list[MapState], tmp_path, capsys) -> None:
    write_map(tmp_path / "map", dump_map(states[0]))
    files = [str(tmp_path / name) for name in ("map", "m.glb", "c.ply")]
    assert main(["export", files[0], "--mesh", files[1], "--cloud", files[2]]) == 0
    assert (tmp_path / "m.glb").read_bytes()[:4] == b"glTF"
    assert (tmp_path / "c.ply").read_bytes()[:3] == b"ply"
    assert main(["export", files[0]]) == 1
    assert main(["export", files[0], "--mesh", files[2].replace("ply", "obj")]) == 1
    assert "expected a file .ply or .glb" in capsys.readouterr().err


def test_relevancy_of_a_view(states: list[MapState]) -> None:
    language = LanguageSpace(torch.eye(20, 16), torch.zeros(20), 16, "test")
    state = replace(alone(states[0]), language=language)
    pose = corner(0.0).T_world_camera
    texts = torch.nn.functional.normalize(torch.randn(3, 20), dim=1)
    view = render_view(state, CAMERA, pose, with_latent=True, relevant_to=texts)
    seen = view.depth > 0
    expected = lerf_relevancy(language.similarity(torch.from_numpy(view.latent[seen]), texts))
    np.testing.assert_allclose(view.relevancy[seen], expected, atol=1e-6)
    cosine = torch.tensor([[0.5, 0.3, 0.4]])
    assert lerf_relevancy(cosine).item() == pytest.approx(1 / (1 + np.exp(-1.0)))
    with pytest.raises(ValueError, match="without a teacher"):
        render_view(states[0], CAMERA, pose, relevant_to=texts)
