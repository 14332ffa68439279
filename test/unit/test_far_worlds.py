"""Worlds far from their zero, poses that jump, and worlds that move: the map stays right."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from pypcd4 import PointCloud

from semantic_field.config import Config, QueryConfig
from semantic_field.data.believed_poses import PoseJudge, chains_of, origin_of
from semantic_field.data.placed import placed
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.evaluation.protocols.protocol import HeldOutViews, Protocol, Training
from semantic_field.evaluation.runner import evaluate
from semantic_field.field.map_file import dump_map, load_map
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.surface.mesh import extract_mesh
from semantic_field.field.surface.ply import write_ply
from semantic_field.field.surface.surface_files import write_mesh, write_pcd
from semantic_field.field.views.rendering import render_view
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform, moved
from semantic_field.mapping import Mapper
from semantic_field.mapping.corrections.pointing import Box, Point
from semantic_field.query.hits import find_hits
from semantic_field.query.navigation import goal_pose
from semantic_field.settings import updated

UTM = np.array([458_000.0, 5_429_000.0, 100.0])
CAMERA = Camera.from_field_of_view(64, 48, 1.2)
SMALL = {
    "field.grid.log2_table_size": 12,
    "field.grid.levels": 4,
    "field.grid.finest_cell_m": 0.08,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 16,
}
RATE_NS = 200_000_000


def config(**more: object) -> Config:
    return updated(Config(), SMALL | more)


def wall(number: int, offset=(0.0, 0.0, 0.0), x: float | None = None, depth=1.5) -> Frame:
    """A wall 1.5 m before a camera that slides along it, 0.2 m and 0.2 s a frame."""
    x = 0.2 * number if x is None else x
    rng = np.random.default_rng(0)
    color = np.broadcast_to(rng.integers(0, 255, (1, 64, 3), np.uint8), (48, 64, 3)).copy()
    return Frame(
        stamp_ns=RATE_NS * (number + 1),
        color=color,
        depth=np.full((48, 64), depth, np.float32),
        camera=CAMERA,
        T_world_camera=moved(make_transform(np.eye(3), [x, 0, 0]), offset),
        labels=np.full((48, 64), 7, np.int32),
    )


# --- poses ----------------------------------------------------------------------------------------


def judged(positions, speed=10.0) -> str:
    """B, D or M for each position, 0.2 s apart."""
    judge = PoseJudge(speed)
    verdicts = [judge.judge(RATE_NS * i, np.asarray(p, float)) for i, p in enumerate(positions)]
    return "".join(verdict.name[0] for verdict in verdicts)


def line(*x: float) -> list:
    return [(value, 0.0, 0.0) for value in x]


def test_one_pose_alone_is_not_believed():
    assert judged(line(0, 0.1, 0.2, 5000, 0.3, 0.4)) == "BBBDBB"
    assert judged(line(0, 0.1, 0.2, 4e27, 0.3)) == "BBBDB"
    assert judged(line(4e27, 0.1, 0.2)) == "DBB"


def test_the_first_pose_does_not_fix_the_world():
    assert judged(line(5e7, 0.0, 0.1, 0.2)) == "BDMB"
    assert judged(line(5e7, 6e7, 0.0, 0.1, 0.2)) == "BDDMB"


def test_three_agree_about_a_jump():
    assert judged(line(0, 0.1, 0.2, 900, 900.1, 900.2, 900.3)) == "BBBDDMB"
    assert judged(line(0, 0.1, 0.2, 900, 900.1, 0.3, 0.4)) == "BBBDDBB"  # two wrong ones


def test_a_fast_car_and_photographs_far_apart():
    assert judged(line(*(6.0 * np.arange(12)))).endswith("BBBBB")  # 30 m/s: known after some
    assert judged(line(*(100.0 * np.arange(4))), speed=0.0) == "BBBB"  # all are believed


def test_chains_of_a_recording():
    stamps = [RATE_NS * i for i in range(8)]
    x = [5000.0, 0.0, 0.1, 0.2, 4e27, 0.3, -9000.0, 0.4]
    assert chains_of(stamps, [np.array([v, 0, 0]) for v in x]).tolist() == [0, 1, 1, 1, -1, 1, 2, 1]
    corners = [np.array([10.0 * (i % 3), 7.0 * i, 0]) for i in range(8)]  # photographs
    assert set(chains_of(stamps, corners)) == {0}


def test_origins_are_round_and_zero_where_that_is_near():
    assert origin_of(np.array([499.0, -499.0, 3.0])).tolist() == [0, 0, 0]
    assert origin_of(UTM + [12.0, -7.0, 1.6]).tolist() == UTM.tolist()


# --- the mapper -----------------------------------------------------------------------------------


def trained(offset, steps: int = 150) -> Mapper:
    mapper = Mapper(config())
    mapper.set_label_names({7: "wall"})
    for number in range(4):
        assert mapper.add_frame(wall(number, offset))
    mapper.train_steps(steps)
    return mapper


@pytest.fixture(scope="module")
def near() -> Mapper:
    return trained(np.zeros(3))


@pytest.fixture(scope="module")
def far() -> Mapper:
    return trained(UTM)


def test_a_far_map_is_as_good_as_a_near_one(near, far):
    """Without an origin a map in UTM is broken: float32 is half a metre there."""
    inner = np.s_[4:-4, 4:-4]
    for mapper, offset in ((near, np.zeros(3)), (far, UTM)):
        view = mapper.render(CAMERA, wall(1, offset).T_world_camera)
        assert (view.depth[inner] > 0).mean() > 0.99
        assert np.median(np.abs(view.depth[inner] - 1.5)) < 0.01
    assert far.origin.tolist() == UTM.tolist() and not near.origin.any()


def test_every_reader_speaks_of_the_world(near, far):
    pose = wall(1).T_world_camera
    state = far.snapshot()
    np.testing.assert_allclose(
        render_view(state, CAMERA, moved(pose, UTM)).depth,
        render_view(near.snapshot(), CAMERA, pose).depth,
        atol=0.02,
    )
    points = extract_surface(state, 0.05)
    assert points.xyz.dtype == np.float32 and np.abs(points.xyz).max() < 10
    assert np.median(np.abs(points.world[:, 2] - (UTM[2] + 1.5))) < 0.01
    relevancy = np.ones(len(points), np.float32)
    (hit,) = find_hits(points, relevancy, {7: "wall"}, QueryConfig(), 0.5)
    np.testing.assert_allclose(hit.centre, UTM + [0.3, 0.0, 1.5], atol=0.1)


def test_goals_lie_in_the_world():
    """A floor with a box on it, in UTM."""
    xy = np.stack(np.meshgrid(np.arange(-2, 2, 0.03), np.arange(-2, 2, 0.03)), -1).reshape(-1, 2)
    floor = np.column_stack([xy, np.zeros(len(xy))]).astype(np.float32)
    box = floor[(np.abs(xy) < 0.2).all(1)] + np.float32([0, 0, 0.5])
    xyz = np.concatenate([floor, box])
    from semantic_field.field.surface.points import SurfacePoints

    count = len(xyz)
    points = SurfacePoints(
        xyz,
        np.tile(np.float32([0, 0, 1]), (count, 1)),
        np.zeros((count, 3), np.uint8),
        np.zeros((count, 0), np.float16),
        np.zeros(count, np.int32),
        np.ones(count, np.float32),
        UTM,
    )
    relevancy = (np.arange(count) >= len(floor)).astype(np.float32)
    (hit,) = find_hits(points, relevancy, {0: "box"}, QueryConfig(), 0.5)
    goal = goal_pose(hit, points)
    assert goal is not None and np.linalg.norm(goal[:2, 3] - UTM[:2]) < 2.5
    assert goal[2, 3] == pytest.approx(UTM[2], abs=0.02)


def test_corrections_are_given_in_the_world():
    mapper = trained(UTM)
    answer = mapper.annotate("door", Point(UTM + [0.3, 0.0, 1.5]))
    assert answer.annotation.points > 50
    middle = np.median(answer.annotation.cells, axis=0) * mapper.annotations().cell_m
    assert np.linalg.norm(middle - [0.3, 0, 1.5]) < 0.5  # kept in the map's own coordinates
    size = np.array([0.4, 0.4, 0.4])
    box = make_transform(np.eye(3), UTM + [0.3, 0.0, 1.5])
    assert mapper.annotate("window", Box(box, size)).annotation.points > 10
    label = mapper.render(CAMERA, wall(1, UTM).T_world_camera).label
    assert (label[24, 28:36] != 7).any()


def test_the_map_file_keeps_the_origin(far, tmp_path):
    again = load_map(dump_map(far.snapshot()))
    assert again.origin.tolist() == UTM.tolist()
    far.save(tmp_path / "map")
    mapper = Mapper(config())
    mapper.load(tmp_path / "map")
    view = mapper.render(CAMERA, wall(1, UTM).T_world_camera)
    assert np.median(np.abs(view.depth[4:-4, 4:-4] - 1.5)) < 0.01
    assert mapper.add_frame(wall(9, UTM, x=-1.0)) and mapper.origin.tolist() == UTM.tolist()
    assert not mapper.add_frame(wall(10, np.zeros(3)))  # a world that is not this map's
    assert mapper.status().dropped["outside_map"] == 1


def test_exported_files_are_in_the_world(far, tmp_path):
    state = far.snapshot()
    points, mesh = extract_surface(state, 0.05), extract_mesh(state)
    write_ply(tmp_path / "cloud.ply", points)
    write_pcd(tmp_path / "cloud.pcd", points)
    write_mesh(tmp_path / "mesh.ply", mesh)
    write_mesh(tmp_path / "mesh.glb", mesh)
    read = trimesh.load(tmp_path / "cloud.ply").vertices
    np.testing.assert_allclose(read, points.world, atol=1e-6)
    read = PointCloud.from_path(tmp_path / "cloud.pcd").numpy(("x", "y", "z"))
    np.testing.assert_allclose(read, points.xyz, atol=1e-6)  # PCL reads floats alone
    header = (tmp_path / "cloud.pcd").read_bytes()[:400].decode("ascii", "replace")
    assert "VIEWPOINT 458000.0 5429000.0 100.0 1 0 0 0" in header
    read = trimesh.load_mesh(tmp_path / "mesh.ply", process=False).vertices
    np.testing.assert_allclose(read, mesh.vertices.world, atol=1e-6)
    data = (tmp_path / "mesh.glb").read_bytes()
    node = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])["nodes"][0]
    x, y, z = UTM.tolist()
    assert node["translation"] == [x, z, -y]


def test_wild_poses_are_no_keyframes_and_fix_no_world():
    mapper = Mapper(config())
    for number, x in enumerate((4e27, 5e7, 0.0, 0.3, 0.6, 5000.0, 0.9)):
        mapper.add_frame(wall(number, x=x))
    status = mapper.status()
    assert status.keyframes == 3 and not mapper.origin.any()  # 0.3, 0.6, 0.9
    assert status.dropped == {"pose_outlier": 2, "outside_map": 2}
    mapper.train_steps(50)
    assert mapper.render(CAMERA, wall(0, x=0.5).T_world_camera).depth.any()


def test_the_speed_limit_may_change_while_mapping():
    mapper = Mapper(config())
    assert mapper.add_frame(wall(0)) and not mapper.add_frame(wall(1, x=300.0))
    mapper.set_config(config(**{"mapping.max_speed_mps": 0.0}))
    assert mapper.add_frame(wall(2, x=600.0))


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("move", [[60.0, 0, 0], [458_000.0, 5_429_000.0, 100.0]])
def test_a_world_that_moves_begins_a_new_map(threaded, move, caplog):
    """The first GPS fix: the same view, 60 m away. The old map can still be saved."""
    told, kept = [], []

    def before(reason):
        told.append(reason)
        kept.append(mapper.snapshot())

    mapper = Mapper(config(), before_new_map=before)
    if threaded:
        mapper.start()
    for number in range(4):
        mapper.add_frame(wall(number))
        if threaded:
            while mapper.status().keyframes < number + 1:
                pass
    for number in range(4, 9):
        mapper.add_frame(wall(number, offset=move, x=0.8))
    if threaded:
        while not mapper.status().keyframes:
            pass
        mapper.stop()
    (reason,) = told
    assert "a new map: the world has moved by" in reason and reason in caplog.text
    assert mapper.status().keyframes == 1 and kept[0].bounds[0, 0] < 5
    assert not kept[0].origin.any()
    assert mapper.origin.tolist() == (move if move[0] > 500 else [0, 0, 0])
    assert mapper.snapshot().bounds[0, 0] + mapper.origin[0] > 50
    assert sum(mapper.status().dropped.get(c, 0) for c in ("pose_outlier", "outside_map")) == 2


def test_a_camera_that_was_carried_away_keeps_its_map(caplog):
    """Another place of the same world: what lies before the camera has changed as well."""
    mapper = Mapper(config())
    for number in range(4):
        mapper.add_frame(wall(number))
    for number in range(4, 9):
        mapper.add_frame(wall(number, x=60.0 + number, depth=2.5))
    assert mapper.status().keyframes >= 6
    assert "the camera jumped by" in caplog.text
    assert mapper.snapshot().bounds[0, 0] < 5 and mapper.snapshot().bounds[1, 0] > 50


# --- recordings -----------------------------------------------------------------------------------


class Shifted:
    """A simulated room elsewhere, some of its poses replaced."""

    def __init__(self, room: SimulatedRoom, offset, wild=None) -> None:
        self._room, self.name = room, "shifted"
        self.label_names, self.stamps = room.label_names, room.stamps
        offsets = [np.asarray(offset(i) if callable(offset) else offset) for i in range(len(room))]
        self.poses = [moved(pose, add) for pose, add in zip(room.poses, offsets, strict=True)]
        for index, place in (wild or {}).items():
            self.poses[index] = moved(room.poses[index], [place, 0.0, 0.0])

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, index: int) -> Frame:
        return replace(self._room[index], T_world_camera=self.poses[index])


@pytest.fixture(scope="module")
def room() -> SimulatedRoom:
    return SimulatedRoom(n_frames=30, size=(80, 60))


def test_a_recording_that_is_all_right_stays_what_it_is(room):
    assert placed(room) is room


def test_outliers_of_a_recording_are_named(room):
    source = placed(Shifted(room, UTM, {0: 1e9, 17: 5000.0}))
    assert len(source) == 28 and source.skipped == {"pose_outlier": 2}
    (note,) = source.notes
    assert "2 of 30 frames left out" in note and "frame 0 (" in note and "frame 17 (" in note
    np.testing.assert_allclose(source[0].T_world_camera, room.poses[1], atol=30)
    true = moved(source[0].T_world_camera, source.origin)
    np.testing.assert_allclose(true, moved(room.poses[1], UTM), atol=1e-6)


def test_of_a_world_that_moves_the_longer_part_is_used(room):
    source = placed(Shifted(room, lambda i: [0.0, 0, 0] if i < 10 else [30.0, 40.0, 0]))
    assert len(source) == 20 and source.skipped == {"world_moved": 10}
    assert "10 of 30 frames left out, the world was elsewhere for them" in source.notes[0]


def test_no_place_on_earth(room):
    with pytest.raises(ValueError, match=r"none that is a place on Earth.*check their unit"):
        placed(Shifted(room, [1e12, 0, 0]))


PROTOCOL = Protocol(
    name="test",
    split="every_nth",
    split_options={"n": 6},
    training=Training(steps=60),
    views=HeldOutViews(curve=1, curve_points=2),
    points=(),
    surface_voxel_m=0.06,
)


def test_evaluate_in_utm_and_with_an_outlier(room, tmp_path):
    from semantic_field.data.folder_writer import write_folder

    small = config(**{"field.voxel_m": 0.08, "query.voxel_m": 0.06})
    figures = []
    for name, source in (
        ("near", room),
        ("far", Shifted(room, UTM)),
        ("outlier", Shifted(room, UTM, {17: 5000.0})),
    ):
        write_folder(source, tmp_path / name)
        report = evaluate(str(tmp_path / name), PROTOCOL, small).report
        figures.append(report["quality"]["geometry"]["depth_l1_m"])
        wanted = {"pose_outlier": 1} if name == "outlier" else {}
        assert report["input"]["skipped"] == wanted
        assert report["input"]["origin_m"] == ([0, 0, 0] if name == "near" else UTM.tolist())
    assert "frame 17" in " ".join(report["notes"])
    assert figures[1] == pytest.approx(figures[0], rel=0.1)
    assert figures[2] == pytest.approx(figures[0], rel=0.3)
