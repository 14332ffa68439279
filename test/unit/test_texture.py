"""Colours, labels and textures of exported surfaces, from the keyframes of a map."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from semantic_field.cli import main
from semantic_field.config import Config
from semantic_field.field.description import describe
from semantic_field.field.map_file import dump_map, load_map, read_map, write_map
from semantic_field.field.map_state import MapState
from semantic_field.field.rays.keyframe_arrays import KeyframeCameras, KeyframeImages
from semantic_field.field.rays.sampling import DEPTH_UNIT_M
from semantic_field.field.surface.extraction import describe_points
from semantic_field.field.surface.mesh import Mesh
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.surface_files import write_textured
from semantic_field.field.texture.baking import MOST_PAGES, TexturedPart, bake, lay_out
from semantic_field.field.texture.charts import SIDE, charts_of
from semantic_field.field.texture.faces import neighbours_of, normals_of
from semantic_field.field.texture.packing import packed
from semantic_field.field.views.source_views import SourceViews
from semantic_field.field.views.surface_views import SurfaceViews
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping import Mapper
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.settings import updated

CAMERA = Camera.from_field_of_view(160, 120, 1.2)
SMALL = {
    "field.grid.log2_table_size": 12,
    "field.grid.levels": 4,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 16,
}
WALL_M, BOX_M, CELL_M = 1.6, 1.2, 0.1
CELLS = np.random.default_rng(3).integers(30, 226, (60, 60, 3))  # of the wall: it has no symmetry
BOX_COLOR, NO_COLOR = (250, 250, 5), (128, 128, 128)
WALL, BOX = 3, 7


def wall_color(xy: NDArray) -> NDArray:
    """Colours (N, 3) of the wall: squares of random colours."""
    x, y = np.floor(xy / CELL_M).astype(np.int64).T + 30
    return CELLS[x, y]


def inside_cells(xy: NDArray, margin_m: float = 0.02) -> NDArray[np.bool_]:
    """Which points (N, 2) are far from the borders of the wall's squares."""
    return (np.abs((xy / CELL_M) % 1 - 0.5) < 0.5 - margin_m / CELL_M).all(1)


def photograph(x: float, gain: float = 1.0, box: bool = False) -> Frame:
    """The wall from (x, 0, 0); with a box before the part left of x = -0.2 m."""
    rays = CAMERA.rays()
    hit = box & (rays[..., 0] * BOX_M + x < -0.2)
    depth = np.where(hit, BOX_M, WALL_M).astype(np.float32)
    at = (rays * WALL_M)[..., :2].reshape(-1, 2) + [x, 0]
    color = np.where(hit[..., None], BOX_COLOR, wall_color(at).reshape(120, 160, 3)) * gain
    labels = np.where(hit, BOX, WALL).astype(np.int32)
    pose = make_transform(np.eye(3), [x, 0, 0])
    return Frame(int(1e9 + 1e9 * x), color.astype(np.uint8), depth, CAMERA, pose, labels=labels)


def sources_of(frames: list[Frame]) -> SourceViews:
    """Frames as keyframes, as they are stored."""
    K = len(frames)
    labels = np.stack([np.where(f.labels == BOX, 1, 0).reshape(-1) for f in frames])
    depths = np.stack([(f.depth / DEPTH_UNIT_M + 0.5).reshape(-1) for f in frames])
    return SourceViews(
        KeyframeImages(
            np.stack([f.color.reshape(-1, 3) for f in frames]),
            depths.astype(np.uint16),
            labels.astype(np.int16),
        ),
        KeyframeCameras(
            np.tile(CAMERA.intrinsics, (K, 1)).astype(np.float32),
            np.stack([f.T_world_camera for f in frames]).astype(np.float32),
            np.tile([CAMERA.width, CAMERA.height], (K, 1)).astype(np.int64),
        ),
        np.tile([1.0, 0.0], (K, 3, 1)),
        np.array([f.stamp_ns for f in frames]),
        np.array([WALL, BOX], np.int32),
    )


def grid_mesh(state: MapState, x: tuple[float, float], z: float = WALL_M) -> Mesh:
    """A flat mesh at depth z, from x[0] to x[1] and y = -0.4 to 0.4 m, seen from the origin."""
    columns, rows = np.arange(x[0], x[1] + 0.01, 0.04), np.arange(-0.4, 0.41, 0.04)
    xx, yy = (a.reshape(-1) for a in np.meshgrid(columns, rows))
    xyz = np.stack([xx, yy, np.full_like(xx, z)], 1).astype(np.float32)
    index = np.arange(len(xyz)).reshape(len(rows), len(columns))
    a, b, c, d = (
        i.reshape(-1) for i in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1])
    )
    triangles = np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)]).astype(np.int32)
    points = describe_points(state, xyz, with_latent=False)
    normals = np.tile(np.float32([0, 0, -1]), (len(xyz), 1))
    mesh = Mesh(replace(points, normals=normals), triangles)
    assert (normals_of(xyz, triangles)[0] == normals[0]).all()
    return mesh


@pytest.fixture(scope="module")
def mapper() -> Mapper:
    """A map of the wall and the box."""
    mapper = Mapper(updated(Config(), SMALL))
    mapper.set_label_names({WALL: "wall", BOX: "box"})
    for x in (-0.1, 0.0, 0.1):
        assert mapper.add_frame(photograph(x, box=True))
    mapper.train_steps(150)
    return mapper


@pytest.fixture(scope="module")
def state(mapper: Mapper) -> MapState:
    return mapper.snapshot()


@pytest.fixture(scope="module")
def map_file(mapper: Mapper, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "wall.map"
    mapper.save(path)
    return path


def baked(mesh: Mesh, views: SurfaceViews, texel_m: float, largest: int = 8192) -> list:
    layout = lay_out(mesh, texel_m, largest)
    return [part for _, part in bake(mesh, layout, views.appearance) if part is not None]


def read_back(path: Path) -> list[tuple[NDArray, NDArray]]:
    """Points in map axes and their colours in the texture, of each part of a GLB file.

    The points are the corners of the triangles and points inside them.
    """
    scene = trimesh.load_scene(path, process=False)
    weights = np.random.default_rng(0).dirichlet((1, 1, 1), 4)
    weights = np.vstack([np.eye(3), weights])
    found = []
    for node in scene.graph.nodes_geometry:
        T, name = scene.graph[node]
        part = scene.geometry[name]
        xyz = trimesh.transform_points(part.vertices, T)
        xyz = np.stack([xyz[:, 0], -xyz[:, 2], xyz[:, 1]], 1)  # y up becomes z up
        points = np.einsum("pc,mcd->mpd", weights, xyz[part.faces]).reshape(-1, 3)
        uv = np.einsum("pc,mcd->mpd", weights, part.visual.uv[part.faces]).reshape(-1, 2)
        image = np.asarray(part.visual.material.baseColorTexture.convert("RGB"), np.float64)
        u = uv[:, 0] * image.shape[1] - 0.5
        v = (1 - uv[:, 1]) * image.shape[0] - 0.5  # trimesh counts v from below
        found.append((points, interpolated(image, u, v)))
    return found


def interpolated(image: NDArray, u: NDArray, v: NDArray) -> NDArray:
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    s, t = (u - left)[:, None], (v - top)[:, None]
    upper = (1 - s) * image[top, left] + s * image[top, left + 1]
    lower = (1 - s) * image[top + 1, left] + s * image[top + 1, left + 1]
    return (1 - t) * upper + t * lower


def test_a_texture_shows_the_photographs_unmirrored(state: MapState, tmp_path) -> None:
    mesh = grid_mesh(state, (-0.6, 0.6))
    frames = [photograph(-0.3), photograph(0.3)]
    views = SurfaceViews.of(state, sources_of(frames), mesh.vertices)
    assert views.detail_m == pytest.approx(WALL_M / CAMERA.fx, rel=0.01)
    write_textured(tmp_path / "wall.glb", baked(mesh, views, 0.005))
    ((points, colors),) = read_back(tmp_path / "wall.glb")
    clear = inside_cells(points[:, :2])
    assert clear.sum() > 1000
    assert np.abs(colors - wall_color(points[:, :2]))[clear].max() <= 3
    mirrored = wall_color(points[:, :2] * [-1, 1])
    assert np.abs(colors - mirrored)[clear].mean() > 30


def test_texels_are_those_of_their_points(state: MapState) -> None:
    """Colours as functions of position and normal come back at the texture's coordinates."""
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    points = describe_points(state, sphere.vertices.astype(np.float32), with_latent=False)
    normals = sphere.vertex_normals.astype(np.float32)
    mesh = Mesh(replace(points, normals=normals), sphere.faces.astype(np.int32))

    def paint(xyz: NDArray, normal: NDArray, texel_m: float) -> NDArray[np.uint8]:
        assert np.abs(np.linalg.norm(normal, axis=1) - 1).max() < 1e-5
        return np.rint(128 + 150 * xyz).clip(0, 255).astype(np.uint8)

    layout = lay_out(mesh, 0.004, largest=512)
    parts = [part for _, part in bake(mesh, layout, paint) if part is not None]
    assert sum(len(part.mesh.triangles) for part in parts) == len(sphere.faces)
    for part in parts:
        page = decoded(part)
        u, v = (part.uv * part.size - 0.5).T
        expected = 128 + 150 * part.mesh.vertices.xyz
        assert np.abs(interpolated(page, u, v) - expected).max() < 1.2


def decoded(part: TexturedPart) -> NDArray[np.float64]:
    import cv2

    image = cv2.imdecode(np.frombuffer(part.png, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(image)[..., ::-1].astype(np.float64)


def test_photographs_of_other_exposure_leave_no_seam(state: MapState) -> None:
    mesh = grid_mesh(state, (-0.6, 0.6))
    frames = [photograph(-0.4), photograph(0.0, gain=0.7), photograph(0.4)]
    views = SurfaceViews.of(state, sources_of(frames), mesh.vertices)
    row = np.stack([np.arange(-0.55, 0.55, 0.002), *[np.full(550, v) for v in (0.05, WALL_M)]], 1)
    color = views.appearance(
        row.astype(np.float32), np.tile(np.float32([0, 0, -1]), (550, 1)), 0.005
    )
    clear = inside_cells(row[:, :2])
    ratio = color[clear].astype(float).mean(1) / wall_color(row[clear, :2]).mean(1)
    assert ratio.max() / ratio.min() < 1.08  # 1 / 0.7 without exposures


def test_hidden_surfaces_take_no_colour_through_what_hides_them(state: MapState) -> None:
    """The wall behind the box: the box's colour is in the photographs where the wall would be."""
    mesh = grid_mesh(state, (-0.6, -0.4))
    sources = sources_of([photograph(x, box=True) for x in (-0.05, 0.05)])
    views = SurfaceViews.of(state, sources, mesh.vertices)
    color = views.appearance(mesh.vertices.xyz, mesh.vertices.normals, 0.01)
    expected = describe(state, mesh.vertices.xyz, with_latent=False).color
    np.testing.assert_array_equal(color, expected)
    assert (views.painted(mesh.vertices).label == mesh.vertices.label).all()


def test_the_map_hides_what_photographs_without_depth_cannot_see(state: MapState) -> None:
    mesh = grid_mesh(state, (-0.6, -0.5))
    sources = sources_of([photograph(x, box=True) for x in (-0.05, 0.05)])
    sources.images.depths[:] = 0
    views = SurfaceViews.of(state, sources, mesh.vertices)
    color = views.appearance(mesh.vertices.xyz, mesh.vertices.normals, 0.01)
    expected = describe(state, mesh.vertices.xyz, with_latent=False).color
    np.testing.assert_array_equal(color, expected)
    seeing = replace(views, hiding=np.zeros_like(views.hiding))
    color = seeing.appearance(mesh.vertices.xyz, mesh.vertices.normals, 0.01)
    assert np.abs(color.astype(int) - BOX_COLOR).max() < 12  # it would be painted on the wall


def test_colours_at_a_silhouette_are_not_mixed_with_what_is_before_it(state: MapState) -> None:
    frame = photograph(0.0, box=True)
    beside = photograph(0.1, box=True)
    # The wall's first visible column, whose interpolated colour is half the box's in one frame.
    column = np.flatnonzero(frame.depth[60] == np.float32(WALL_M))[0] - 0.3
    xyz = CAMERA.lift(column, 60.0, WALL_M).astype(np.float32)[None]
    normal = np.float32([[0, 0, -1]])
    points = replace(describe_points(state, xyz, with_latent=False), normals=normal)
    views = SurfaceViews.of(state, sources_of([frame, beside]), points)
    assert np.abs(views.appearance(xyz, normal, 0.01) - wall_color(xyz[:, :2])).max() < 6


def test_vertices_take_colours_and_labels_by_votes(mapper: Mapper, state: MapState) -> None:
    mesh = grid_mesh(state, (-0.2, 0.6))
    frames = [photograph(0.0), photograph(0.2), photograph(0.3)]
    frames[1].labels[:] = BOX  # outvoted
    wrong = replace(mesh.vertices, label=np.full(len(mesh.vertices), BOX, np.int32))
    views = SurfaceViews.of(state, sources_of(frames), mesh.vertices)
    painted = views.painted(wrong)
    clear = inside_cells(painted.xyz[:, :2])
    assert np.abs(painted.color - wall_color(painted.xyz[:, :2]))[clear].max() <= 3
    assert (painted.label == WALL).mean() > 0.95
    assert (wrong.label == BOX).all()

    class Overruled:
        def overrule(self, xyz: NDArray, label: NDArray) -> NDArray:
            return np.where(xyz[:, 0] > 0.3, BOX, label)

    told = replace(views, state=replace(state, annotations=Overruled()))
    label = told.painted(wrong).label
    assert (label[painted.xyz[:, 0] > 0.3] == BOX).all()


def test_neighbours_share_an_edge() -> None:
    triangles = np.array([[0, 1, 2], [2, 1, 3], [5, 6, 7], [2, 1, 4], [1, 2, 8]], np.int32)
    found = neighbours_of(triangles)
    pairs = {(i, int(j)) for i, row in enumerate(found) for j in row if j >= 0}
    assert {(b, a) for a, b in pairs} == pairs
    assert len(pairs) == 4 and 2 not in np.array(list(pairs))


def ramp() -> trimesh.Trimesh:
    """A ramp that winds upwards twice: nowhere steep, and above itself."""
    angle, radius = np.linspace(0, 4 * np.pi, 200), np.linspace(0.3, 0.5, 9)
    a, r = (grid.reshape(-1) for grid in np.meshgrid(angle, radius, indexing="ij"))
    n = np.arange(199 * 9).reshape(199, 9)[:, :-1].reshape(-1)
    faces = np.concatenate([np.stack([n, n + 1, n + 10], 1), np.stack([n, n + 10, n + 9], 1)])
    return trimesh.Trimesh(np.stack([r * np.cos(a), r * np.sin(a), 0.05 * a], 1), faces)


SHAPES = {
    "torus": (lambda: trimesh.creation.torus(0.5, 0.2), 200),
    "box": (lambda: trimesh.creation.box((0.5, 0.4, 0.3)).subdivide().subdivide(), 12),
    "ramp": (ramp, 8),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_charts_lie_flat_without_overlap(shape: str) -> None:
    make, most = SHAPES[shape]
    solid = make()
    xyz, triangles = solid.vertices.astype(np.float32), solid.faces.astype(np.int32)
    texel = 0.003
    charts = charts_of(xyz, triangles, texel)
    normals, _ = normals_of(xyz, triangles)
    assert (charts.chart >= 0).all() and len(charts) <= most, len(charts)
    assert ((charts.axes[charts.chart, 2] * normals).sum(1) > 0).all()
    assert charts.size.max() <= SIDE
    np.testing.assert_allclose(np.linalg.det(charts.axes), 1, atol=1e-5)
    for number in range(len(charts)):
        flat = xyz[triangles[charts.chart == number]] @ charts.axes[number, :2].T
        assert covered_twice(flat / texel) <= 0.002 * charts.size[number].prod()


def covered_twice(flat: NDArray) -> int:
    """Number of unit squares whose centres lie in more than one of the triangles (M, 3, 2)."""
    flat = flat - flat.min((0, 1))
    count = np.zeros(np.ceil(flat.max((0, 1))).astype(int) + 1, int)
    for triangle in flat:
        low, high = np.floor(triangle.min(0)).astype(int), np.ceil(triangle.max(0)).astype(int)
        x, y = np.mgrid[low[0] : high[0], low[1] : high[1]] + 0.5
        sides = []
        for a, b in zip(triangle, np.roll(triangle, -1, 0), strict=True):
            sides.append((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) > 0.01)
        count[low[0] : high[0], low[1] : high[1]] += np.all(sides, 0)
    return int((count > 1).sum())


def test_packed_rectangles_do_not_overlap() -> None:
    size = np.random.default_rng(0).integers(1, 60, (300, 2))
    packing = packed(size, largest=200)
    assert len(packing.sizes) > 1 and np.max(packing.sizes) <= 200
    assert len(packing.sizes) == packing.page.max() + 1
    for number, (width, height) in enumerate(packing.sizes):
        used = np.zeros((height, width), int)
        for n in np.flatnonzero(packing.page == number):
            (column, row), (w, h) = packing.place[n], size[n]
            assert column + w <= width and row + h <= height
            used[row : row + h, column : column + w] += 1
        assert used.max() == 1 and used.mean() > 0.7
    with pytest.raises(ValueError, match="at most 200 pixels, got 201"):
        packed(np.array([[201, 5]]), largest=200)


def test_an_atlas_has_a_limited_size(state: MapState, tmp_path) -> None:
    mesh = grid_mesh(state, (-0.6, 0.6))
    fine = lay_out(mesh, 0.0005, largest=256)
    assert fine.charts.texel_m > 0.0015
    assert len(fine.packing.sizes) <= MOST_PAGES and np.max(fine.packing.sizes) <= 256
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    points = describe_points(state, sphere.vertices.astype(np.float32), with_latent=False)
    ball = Mesh(replace(points, normals=sphere.vertex_normals.astype(np.float32)), sphere.faces)
    views = SurfaceViews.of(state, sources_of([photograph(0.0)]), points)
    parts = baked(ball, views, 0.008, largest=256)
    assert len(parts) > 1
    write_textured(tmp_path / "ball.glb", parts)
    assert len(read_back(tmp_path / "ball.glb")) == len(parts)


def test_the_rest_of_a_page_has_colours_from_nearby(state: MapState) -> None:
    mesh = grid_mesh(state, (-0.6, 0.6))
    layout = lay_out(mesh, 0.01)
    grey = lambda points, normals, texel_m: np.full((len(points), 3), NO_COLOR, np.uint8)  # noqa: E731
    ((part,),) = [[p for _, p in bake(mesh, layout, grey) if p is not None]]
    assert np.abs(decoded(part) - NO_COLOR).max() <= 1


def test_export_paints_with_the_keyframes(map_file: Path, tmp_path, capsys) -> None:
    files = {name: str(tmp_path / name) for name in ("m.ply", "f.ply", "t.glb", "c.ply")}
    assert main(["export", str(map_file), "--mesh", files["m.ply"], "--cloud", files["c.ply"]]) == 0
    field = ["--mesh", files["f.ply"], "--appearance", "field"]
    assert main(["export", str(map_file), *field]) == 0
    assert main(["export", str(map_file), "--mesh", files["t.glb"], "--texture"]) == 0
    printed = capsys.readouterr()
    assert "texture of" in printed.out and "no keyframes" not in printed.out
    errors = {}
    for name in ("m.ply", "f.ply", "c.ply"):
        back = trimesh.load(files[name], process=False)
        errors[name] = color_error(back.vertices, colors_of(back))
    assert errors["m.ply"] < 0.25 * errors["f.ply"] and errors["c.ply"] < 0.25 * errors["f.ply"]
    ((points, colors),) = read_back(tmp_path / "t.glb")
    assert color_error(points, colors) < 0.25 * errors["f.ply"]


def colors_of(geometry) -> NDArray:
    return (geometry.visual.vertex_colors if hasattr(geometry, "visual") else geometry.colors)[
        :, :3
    ]


def color_error(points: NDArray, colors: NDArray) -> float:
    """Mean error of colours of the wall that is not behind the box, inside its squares."""
    wall = (points[:, 2] > 1.5) & (points[:, 0] > 0.1) & (points[:, 0] < 0.6)
    wall &= inside_cells(points[:, :2], 0.025) & (np.abs(points[:, 1]) < 0.5)
    assert wall.sum() > 50
    return float(np.abs(colors[wall] - wall_color(points[wall, :2])).mean())


def test_a_map_without_keyframes_is_coloured_by_the_field(
    state: MapState, tmp_path, capsys
) -> None:
    write_map(tmp_path / "bare.map", dump_map(state))
    bare = load_map(read_map(tmp_path / "bare.map"))
    assert KeyframeViews.of(bare) is None
    texture = ["--mesh", str(tmp_path / "t.glb"), "--texture", "--texel", "0.01"]
    assert main(["export", str(tmp_path / "bare.map"), *texture]) == 0
    assert "holds no keyframes, so colours and labels are the field's" in capsys.readouterr().out
    ((points, colors),) = read_back(tmp_path / "t.glb")
    expected = describe(bare, points.astype(np.float32), with_latent=False).color
    assert np.abs(colors - expected).mean() < 4


def test_export_says_what_does_not_fit_together(map_file: Path, tmp_path, capsys) -> None:
    command = ["export", str(map_file)]
    glb = str(tmp_path / "m.glb")
    for options, message in (
        (["--texture", "--cloud", glb.replace("glb", "ply")], "--mesh FILE.glb, got no --mesh"),
        (["--texture", "--mesh", glb.replace("glb", "ply")], "--mesh FILE.glb, got 'm.ply'"),
        (["--mesh", glb, "--texel", "0.01"], "--texel only with --texture"),
        (["--mesh", glb, "--texture", "--texel", "5"], "of 0.0001 to 0.1 metres, got 5.0"),
        (["--mesh", str(tmp_path / "no" / "m.glb")], "expected an existing folder"),
        (["--mesh", glb.replace("glb", "obj")], "expected a file .ply or .glb, got 'm.obj'"),
    ):
        assert main([*command, *options]) == 1
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [["--mesh", "out.glb", "--texture"], ["--mesh", "out.ply"], ["--cloud", "out.ply"]]
)
def test_a_full_disk_is_reported_before_anything_is_written(
    options: list[str], map_file: Path, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    (tmp_path / options[1]).write_bytes(b"old")
    assert main(["export", str(map_file), *options]) == 1
    assert f"of free space for {options[1]}, got 0 MB; delete" in capsys.readouterr().err
    assert (tmp_path / options[1]).read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_empty_points_are_painted(state: MapState) -> None:
    nothing: SurfacePoints = describe_points(state, np.zeros((0, 3), np.float32), False)
    views = SurfaceViews.of(state, sources_of([photograph(0.0)]), nothing)
    assert len(views.painted(nothing)) == 0
