"""Views off the recorded path: where cameras stand, what was observed, and how views are scored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semantic_field.cli import main
from semantic_field.config import Config
from semantic_field.data.folder_writer import write_folder
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.data.sources import open_source
from semantic_field.evaluation import runner
from semantic_field.evaluation.protocols.off_path import CLEARANCE_M, OffPath, place_cameras
from semantic_field.evaluation.protocols.protocol import (
    HeldOutViews,
    Protocol,
    Training,
    load_protocol,
    make_protocol,
)
from semantic_field.evaluation.protocols.splits import TrainFrames, make_split
from semantic_field.evaluation.report import compare
from semantic_field.evaluation.report.off_path_table import off_path_shortfalls, off_path_table
from semantic_field.evaluation.report.report_files import write_report
from semantic_field.evaluation.runner import Evaluation, evaluate
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.confusion import Rule
from semantic_field.evaluation.scores.off_path_scores import OffPathScores, OffPathView
from semantic_field.evaluation.scores.region_views import Knowledge, RegionViews
from semantic_field.evaluation.truth.observed import ObservedSurface
from semantic_field.evaluation.truth.true_scene import true_scene
from semantic_field.evaluation.virtual_views import score_off_path
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.geometry import (
    Camera,
    invert_transform,
    look_at,
    make_transform,
    moved_and_turned,
    transform_points,
)
from semantic_field.settings import updated

NAMES = {0: "wall", 1: "chair"}
CAMERA = Camera(40.0, 40.0, 19.5, 14.5, 40, 30)


@pytest.fixture(scope="module")
def room() -> SimulatedRoom:
    return SimulatedRoom(2, n_frames=24, size=(64, 48))


# where the cameras are


@pytest.mark.parametrize("distance", [0.3, 0.6, 1.0])
def test_cameras_are_off_the_path_in_free_space_and_turned(room, distance: float) -> None:
    cameras = place_cameras(room.poses, distance, OffPath(views=12, turn_deg=40), room.clearance)
    assert len(cameras) == 12 and len({item.base for item in cameras}) > 6
    for item in cameras:
        moved, turned = moved_and_turned(np.stack(room.poses), item.T_world_camera)
        assert moved[item.base] == pytest.approx(distance)
        assert 0.95 * distance <= moved.min() <= distance + 1e-9
        assert np.degrees(turned[item.base]) == pytest.approx(item.turned_deg, abs=1e-4)
        assert item.turned_deg <= 40
        sideways = room.poses[item.base][:3, :3].T @ item.T_world_camera[:3, :3]
        assert sideways[0, 1] == pytest.approx(sideways[1, 0])  # turned, but not rolled
    assert max(item.turned_deg for item in cameras) > 20
    # From a camera in free space nothing is nearer than its clearance, in any direction.
    around = [look_at(np.zeros(3), axis, up) for axis, up in DIRECTIONS]
    for item in cameras[:3]:
        for pose in around:
            view = room.view(WIDE, make_transform(pose[:3, :3], item.T_world_camera[:3, 3]))
            points = WIDE.backproject(view.depth)
            assert np.linalg.norm(points, axis=-1).min() >= CLEARANCE_M


DIRECTIONS = [((1, 0, 0), (0, 0, 1)), ((-1, 0, 0), (0, 0, 1)), ((0, 1, 0), (0, 0, 1))]
DIRECTIONS += [((0, -1, 0), (0, 0, 1)), ((0, 0, 1), (1, 0, 0)), ((0, 0, -1), (1, 0, 0))]
WIDE = Camera(16.0, 16.0, 15.5, 15.5, 32, 32)  # 90 degrees: six of them see everything


def test_cameras_are_those_of_the_seed(room) -> None:
    def positions(**options: object) -> list[float]:
        settings = OffPath(views=4, **options)  # type: ignore[arg-type]
        cameras = place_cameras(room.poses, 0.3, settings, room.clearance)
        return np.concatenate([item.T_world_camera.ravel() for item in cameras]).tolist()

    assert positions() == positions() != positions(seed=1)


def test_no_space_off_the_path_is_said_with_the_remedy(room) -> None:
    with pytest.raises(ValueError, match=r"free space 0.6 m off the path.*smaller"):
        place_cameras(room.poses, 0.6, OffPath(), lambda points: np.zeros(len(points)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distances_m": [0.0]}, "above 0"),
        ({"distances_m": [0.3, 0.3]}, "differ by millimetres"),
        ({"views": 0}, "from 1 on"),
        ({"turn_deg": 200}, "0..180"),
        ({"distance": 1}, r"off_path\.distance"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_protocol({"name": "bad", "off_path": settings})


def test_clearance_of_a_room_by_hand(room) -> None:
    width, _, height = room.layout.size
    inside = np.array([0.0, 0.0, height - 0.1])  # under the ceiling, in the middle
    sofa = next(item for item in room.objects if item.name == "sofa")
    refrigerator = next(item for item in room.objects if item.name == "refrigerator")
    above = refrigerator.centre + [0, 0, refrigerator.size[2] / 2 + 0.15]
    points = np.array([[width, 0, 1], [0, 0, -0.2], sofa.centre, inside, above])
    found = room.clearance(points)
    assert (found[:2] == 0).all()  # outside
    assert found[2] < 0.2  # among the parts of the sofa
    assert found[3] <= 0.1 + 1e-9
    assert found[4] == pytest.approx(0.15, abs=0.02)


def test_only_a_recording_with_a_known_truth_has_views_off_the_path(tmp_path: Path) -> None:
    write_folder(open_source("room:seed=2,frames=3,width=32,height=24"), tmp_path / "recording")
    protocol = load_protocol("off_path")
    with pytest.raises(ValueError, match=r"expected a simulated room.*use room:seed=3"):
        evaluate(str(tmp_path / "recording"), protocol)
    assert true_scene(open_source("room:seed=2,frames=3,noise=1")) is not None


def test_a_noisy_room_says_how_far_its_sensor_sees() -> None:
    exact, noisy = (SimulatedRoom(2, 2, (32, 24), noise) for noise in (False, True))
    assert exact.depth_range_m == (0.0, float("inf"))
    near, far = noisy.depth_range_m
    readings = noisy[0].depth[noisy[0].depth > 0]
    assert 0.4 < near <= readings.min() and readings.max() <= far < 7
    # the truth has no noise in either
    for room in (exact, noisy):
        assert (room.view(room.camera, room.poses[0]).depth == exact[0].depth).all()


# what was observed


def plate_scene(camera: Camera, T_world_camera: np.ndarray) -> Frame:
    """A wall at z = 3, and a square plate of .6 m in front of it at z = 1.5."""
    depth = cast_plate_scene(camera.rays().reshape(-1, 3).astype(float), T_world_camera)
    size = (camera.height, camera.width)
    depth = depth.reshape(size).astype(np.float32)
    color = np.zeros((*size, 3), np.uint8)
    return Frame(0, color, depth, camera, T_world_camera)


def cast_plate_scene(rays: np.ndarray, T_world_camera: np.ndarray) -> np.ndarray:
    """Ray parameters (N,) of the first hits of rays (N, 3) of a camera."""
    direction, eye = rays @ T_world_camera[:3, :3].T, T_world_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        plate, wall = ((z - eye[2]) / direction[:, 2] for z in (1.5, 3.0))
        at = eye + plate[:, None] * direction
    hit = (plate > 0) & (np.abs(at[:, :2]) <= 0.3).all(axis=1)
    return np.where(hit, plate, np.where(wall > 0, wall, 0.0))


def test_observed_surface_of_a_plate_before_a_wall_by_hand() -> None:
    mapped = [plate_scene(CAMERA, make_transform(np.eye(3), [x, 0, 0])) for x in (-0.5, 0.5)]
    observed = ObservedSurface(mapped, (0.0, np.inf))
    # The plate's shadows on the wall, from x = -.1 to 1.1 and from -1.1 to .1 (y: +- .6), overlap
    # in the middle. That is hidden from a camera between the two, too, but not from behind it.
    assert observed(plate_scene(CAMERA, np.eye(4))).mean() > 0.99
    behind = plate_scene(CAMERA, make_transform(np.eye(3), [0, 0, 2.0]))
    mask = observed(behind)
    wall = transform_points(behind.T_world_camera, CAMERA.backproject(behind.depth))
    x, y = wall[..., 0], wall[..., 1]
    assert (np.abs(y) < 0.6).all() and np.abs(x).max() < 0.6  # the view is within both shadows' y
    assert not mask[np.abs(x) < 0.07].any() and mask[np.abs(x) > 0.13].all()
    one = ObservedSurface(mapped[:1], (0.0, np.inf))(behind)
    assert one[x < -0.13].all() and not one[x > -0.07].any()


def test_what_is_out_of_sight_or_range_is_not_observed() -> None:
    frame = plate_scene(CAMERA, np.eye(4))
    itself = ObservedSurface([frame], (0.0, np.inf))
    assert itself(frame).all()
    aside = plate_scene(CAMERA, make_transform(np.eye(3), [4.0, 0, 0]))
    assert not itself(aside)[:, 15:].any()  # its view of the wall ends at x = 1.5
    near = ObservedSurface([frame], (0.0, 2.0))(frame)
    assert (near == (frame.depth < 2)).all() and near.any()
    assert (ObservedSurface([frame], (2.0, 4.0))(frame) == ~near).all()
    turned = make_transform(np.diag([-1.0, 1.0, -1.0]), [0, 0, 0])
    assert not ObservedSurface([plate_scene(CAMERA, turned)], (0.0, np.inf))(frame).any()
    empty = replace(frame, depth=np.zeros_like(frame.depth))
    assert not itself(empty).any()


def test_observed_surface_against_every_ray() -> None:
    random = np.random.default_rng(3)
    eyes = random.uniform([-1, -1, -0.5], [1, 1, 1], (5, 3))
    poses = [look_at(eye, random.uniform([-0.8, -0.8, 3], [0.8, 0.8, 3])) for eye in eyes]
    target = plate_scene(CAMERA, look_at((0.9, 0.3, 0.2), (-0.2, 0, 3)))
    points = transform_points(target.T_world_camera, CAMERA.backproject(target.depth))
    points = points.reshape(-1, 3)
    seen, edge = np.zeros(len(points), bool), np.zeros(len(points), bool)
    for pose in poses:
        own = transform_points(invert_transform(pose), points)
        ahead = own[:, 2] > 0
        pixels, z = CAMERA.project(own)
        inside = ahead & (np.abs(pixels - [19.5, 14.5]) <= [20, 15]).all(axis=1)
        rays = own / np.where(ahead, own[:, 2], 1)[:, None]
        first = cast_plate_scene(rays, pose)
        seen |= inside & (np.abs(first - z) < 1e-3)
        # within a pixel of the plate's outline, or of the image's, it depends on sampling
        for step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            beside = rays + np.array([*step, 0]) * 1.5 / 40
            edge |= inside & (np.abs(cast_plate_scene(beside, pose) - first) > 0.5)
        edge |= ahead & (np.abs(np.abs(pixels - [19.5, 14.5]) - [20, 15]).min(axis=1) < 0.01)
    frames = [plate_scene(CAMERA, pose) for pose in poses]
    found = ObservedSurface(frames, (0.0, np.inf))(target).ravel()
    assert 0.05 < seen.mean() < 0.95 and edge.mean() < 0.35
    assert (found == seen)[~edge].all()


# how views are scored


def flat_view(label: int = 0, grey: int = 100, depth: float = 2.0, confidence: float = 1.0):
    size = (12, 20)
    return RenderedView(
        color=np.full((*size, 3), grey, np.uint8),
        depth=np.full(size, depth, np.float32),
        normal=np.zeros((*size, 3), np.float32),
        label=np.full(size, label, np.int32),
        confidence=np.full(size, confidence, np.float32),
    )


def flat_truth() -> Frame:
    """A wall; its right half is a chair, but the last column has no class."""
    view, camera = flat_view(), Camera(10.0, 10.0, 9.5, 5.5, 20, 12)
    labels = view.label.copy()
    labels[:, 10:], labels[:, 19] = 1, -1
    return Frame(0, view.color, view.depth, camera, np.eye(4), labels)


def left(columns: int) -> np.ndarray:
    mask = np.zeros((12, 20), bool)
    mask[:, :columns] = True
    return mask


def test_only_pixels_of_the_mask_count() -> None:
    view = flat_view()
    view.color[:, :5] = 110
    view.color[:, 10:] = 0
    view.depth[:, :5] = 2.06
    view.depth[:, 10:] = 9
    scores = RegionViews(ClassSet(NAMES), Rule())
    scores.add(flat_truth(), view, left(10))
    found = scores.result()
    assert found["share"] == 0.5
    assert found["psnr"] == pytest.approx(10 * np.log10(255**2 / 50))
    assert found["miou"] == 1.0  # the chair, which is missed, is outside
    assert found["depth_l1_m"] == pytest.approx(0.03, abs=1e-6)
    assert (found["depth_late_5cm"], found["depth_early_5cm"]) == (0.5, 0.0)
    assert found["label_ece"] == 0.0 and found["depth_ece"] == pytest.approx(0.5)


def test_a_pixel_without_label_is_a_miss_where_the_truth_has_a_class_and_only_there() -> None:
    whole = np.ones((12, 20), bool)
    view = flat_view()
    view.label[:, 10:], view.label[:, 18:] = 1, -1  # one column of the chair, and that of no class
    scores = RegionViews(ClassSet(NAMES), Rule())
    scores.add(flat_truth(), view, whole)
    assert scores.result()["miou"] == pytest.approx((1 + 8 / 9) / 2)
    nothing = RegionViews(ClassSet(NAMES), Rule())
    nothing.add(flat_truth(), flat_view(label=-1), whole)
    assert nothing.result()["miou"] == 0.0
    void_counts = RegionViews(ClassSet(NAMES), Rule(void="class"))
    void_counts.add(flat_truth(), flat_view(), left(10))  # all right; outside is not "void"
    assert void_counts.result()["miou"] == 1.0
    empty = RegionViews(ClassSet(NAMES), Rule())
    empty.add(flat_truth(), view, ~whole)
    assert empty.result()["miou"] is empty.result()["psnr"] is None


def test_filled_pixels_count_as_colour_and_as_nothing_else() -> None:
    """A view may fill colours in where it knows nothing: confidence 0, depth 0, label -1."""
    black, filled = flat_view(), flat_view()
    for view, grey in ((black, 0), (filled, 100)):
        view.color[:, 15:] = grey
        view.depth[:, 15:] = view.confidence[:, 15:] = 0
        view.label[:, 15:] = -1
    truth = flat_truth()
    scores = OffPathScores(NAMES, Protocol(name="test"), ["black", "filled"])
    scores.add(OffPathView("here", truth, left(15), {"black": black, "filled": filled}))
    found = scores.result()
    assert found["filled"]["whole"]["psnr"] is None  # without an error
    assert found["black"]["whole"]["psnr"] < 20
    other = ("miou", "miou_frequent", "depth_l1_m", "depth_covered", "label_ece", "depth_ece")
    for name in other:
        assert found["filled"]["whole"][name] == found["black"]["whole"][name]
    assert found["filled"]["observed"] == found["black"]["observed"]
    assert found["filled"]["whole"]["miou"] == pytest.approx(10 / 15 / 2)  # the chair is missed
    assert found["filled"]["whole"]["depth_covered"] == 0.75
    assert found["filled"]["unobserved_said"] == 1.0 and found["filled"]["observed_said"] == 0.0


def test_covered_is_what_all_views_show() -> None:
    views = {"one": flat_view(), "two": flat_view(), "three": flat_view()}
    views["one"].depth[:, 5:] = 0
    views["two"].depth[:, :2] = 0
    views["three"].confidence[:] = 0  # still shows a surface
    scores = OffPathScores(NAMES, Protocol(name="test"), list(views))
    scores.add(OffPathView("here", flat_truth(), left(20), views))
    found = scores.result()
    assert {item["covered"]["share"] for item in found.values()} == {3 / 20}
    assert {item["whole"]["share"] for item in found.values()} == {1.0}


def test_what_is_said_to_be_unknown_by_hand() -> None:
    view = flat_view()
    view.depth[:, 18:] = 0  # 2 of the 8 unobserved columns
    view.confidence[:, 16:18] = 0  # 2 more
    view.confidence[:, :3] = 0  # 3 of the 12 observed ones
    counts = Knowledge()
    counts.add(view, left(12))
    assert counts.result() == {"unobserved_said": 0.5, "observed_said": 0.25}
    all_seen = Knowledge()
    all_seen.add(view, left(20))
    assert all_seen.result()["unobserved_said"] is None


def shown(frame: Frame) -> RenderedView:
    """A perfect rendering of an exact view."""
    assert frame.labels is not None
    return RenderedView(
        frame.color,
        frame.depth,
        np.zeros_like(frame.color, np.float32),
        frame.labels,
        np.ones(frame.depth.shape, np.float32),
    )


def test_the_truth_itself_has_no_errors_and_the_baseline_is_beside_it(room) -> None:
    settings = OffPath(distances_m=(0.3, 0.6), views=3)
    protocol = Protocol(name="test", views=HeldOutViews(width=48), off_path=settings)
    mapped = TrainFrames(room, make_split("every_nth", len(room), n=4))
    exact = {"exact": lambda camera, pose: shown(room.view(camera, pose))}
    found = score_off_path(room, mapped, exact, protocol)
    assert found.figures["names"] == ["exact", "reprojection"]
    assert list(found.figures["distances"]) == ["300 mm", "600 mm"]
    shares = [item.observed.mean() for item in found.examples]
    assert 2 <= len(found.examples) <= 4 and min(shares) < 1
    assert {item.truth.camera.width for item in found.examples} == {48}
    for item in found.figures["distances"].values():
        mine, its = (item["scores"][name] for name in ("exact", "reprojection"))
        assert mine["observed"]["miou"] == mine["whole"]["miou"] == 1.0
        assert mine["whole"]["psnr"] is None and mine["whole"]["depth_l1_m"] == 0.0
        assert mine["unobserved_said"] == mine["observed_said"] == 0.0  # it claims to know it all
        assert 0.5 < its["observed"]["share"] < 1 and its["whole"]["psnr"] > 10
        assert 0.2 < its["whole"]["miou"] < its["covered"]["miou"] < 1
        assert its["unobserved_said"] > its["observed_said"] > 0.02
    alone = score_off_path(room, mapped, exact, protocol, baseline=False)
    assert alone.figures["names"] == ["exact"]
    assert alone.figures["distances"]["300 mm"]["scores"]["exact"]["covered"]["share"] == 1.0


# in a whole evaluation

SMALL = {
    "field.grid.log2_table_size": 14,
    "field.grid.levels": 5,
    "field.voxel_m": 0.08,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 32,
}
PROTOCOL = Protocol(
    name="test",
    split_options={"n": 6},
    training=Training(steps=40),
    views=HeldOutViews(width=48, curve=0),
    points=(),
    queries=False,
    surface_voxel_m=0.1,
    off_path=OffPath(distances_m=(0.3, 0.6), views=2),
)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    room = "room:seed=2,frames=18,width=64,height=48,noise=1"
    return evaluate(room, PROTOCOL, updated(Config(), SMALL))


def test_every_appearance_is_scored_beside_the_baseline(evaluation: Evaluation) -> None:
    quality = evaluation.report["quality"]
    found = quality["off_path"]
    assert found["names"] == ["views", "field", "reprojection"]
    for item in found["distances"].values():
        scores = item["scores"]
        assert scores["field"] != scores["views"] != scores["reprojection"]
        assert len(item["cameras"]) == 2
        assert 0 < scores["field"]["observed"]["miou"] < 1
    appearances = quality["appearances"]
    assert list(appearances) == ["field"]  # the map's own figures are those of "views"
    assert appearances["field"]["views"]["count"] == quality["views"]["count"]
    for part in ("views", "confidence", "semantics"):
        assert appearances["field"][part] != quality[part]
    assert 0 < quality["confidence"]["label_ece"] < 1
    assert quality["baseline"]["confidence"]["label_ece"] is not None


def test_the_table_has_a_column_for_each_name(evaluation: Evaluation) -> None:
    head, parts = off_path_table(evaluation.report)
    assert head == ["off the path", "", "views", "field", "reprojection"]
    assert [part[0][0] for part in parts] == ["0.3 m", "0.6 m"]
    for part, item in zip(parts, off_path_of(evaluation)["distances"].values(), strict=True):
        rows = {row[1]: row[2:] for row in part}
        for column, name in enumerate(off_path_of(evaluation)["names"]):
            scores = item["scores"][name]
            psnr, miou = scores["covered"]["psnr"], scores["observed"]["miou"]
            assert rows["PSNR, covered by all"][column] == f"{psnr:.2f} dB"
            assert rows["mIoU, observed"][column] == f"{miou:.3f}"
            said = f"{100 * scores['unobserved_said']:.1f} %"
            assert rows["unobserved, rightly said to be"][column] == said
    assert off_path_table({"quality": {}}) == ([], [])


def off_path_of(evaluation: Evaluation) -> dict:
    return evaluation.report["quality"]["off_path"]


def test_the_report_says_in_words_where_the_map_is_below(evaluation: Evaluation) -> None:
    quality = json.loads(json.dumps(evaluation.report["quality"]))
    scores = quality["off_path"]["distances"]["600 mm"]["scores"]
    for part in ("observed", "covered", "whole"):
        for name in scores:
            scores[name][part] |= {"psnr": 20.0, "miou": 0.5, "depth_l1_m": 0.1}
    scores["views"]["whole"]["psnr"] = 19.0
    scores["field"]["covered"] |= {"psnr": 21.0, "depth_l1_m": 0.2}
    said = off_path_shortfalls(quality)
    field = next(line for line in said if line.startswith("0.6 m off the path the map (field)"))
    views = next(line for line in said if line.startswith("0.6 m off the path the map (views)"))
    assert "PSNR, whole view (19.00 dB against 20.00 dB)" in views
    assert "depth L1, covered by all (20.00 cm against 10.00 cm)" in field
    assert "PSNR" not in field and "the reprojection in " in field
    assert off_path_shortfalls({"off_path": None}) == off_path_shortfalls({}) == []
    notes = evaluation.report["notes"]
    assert any(note.startswith("0.3 m off the path the map (field) is below") for note in notes)


def test_page_terminal_and_comparison_show_it(
    evaluation: Evaluation, tmp_path: Path, monkeypatch, capsys
) -> None:
    page = write_report(evaluation, tmp_path / "first")[1].read_text()
    assert "Off the recorded path" in page and "observed, said to be unobserved" in page
    assert "Confidence of pixels" in page
    for item in evaluation.off_path:
        assert item.about in page
    monkeypatch.setattr(runner, "evaluate", lambda *_, **__: evaluation)
    assert main(["evaluate", "room", "--out", str(tmp_path / "second")]) == 0
    printed = capsys.readouterr().out
    assert "views off the recorded path" in printed and "PSNR, whole view" in printed
    assert "2 views at each distance from the recorded path, turned by up to 40°" in printed
    report = json.loads((tmp_path / "second" / "report.json").read_text())
    scores = report["quality"]["off_path"]["distances"]["300 mm"]["scores"]
    scores["field"]["observed"]["psnr"] += 2
    lines = {line[0]: line for line in compare.table([evaluation.report, report], ["a", "b"])}
    assert "+2.00 better" in lines["0.3 m off, field: PSNR, observed"][2]
    assert lines["0.6 m off, views: PSNR, observed"][2].endswith("(=)")


def test_the_protocol_counts_in_the_hash_only_where_it_is_used() -> None:
    plain, off = Protocol("a"), Protocol("a", off_path=OffPath(distances_m=(0.5,)))
    assert plain.hash != off.hash
    assert Protocol("a", off_path=OffPath()).hash == plain.hash == "ba2c7793b041"
    own = load_protocol("off_path")
    assert own.off_path.distances_m == (0.3, 0.6, 1.0) and own.off_path.turn_deg == 40
    assert own.training.steps == 1000 and own.views.width == 320
