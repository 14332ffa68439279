"""What sensors and the world do to a map: moved things, bad poses, exposure, noise, holes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from semantic_field.config import Config
from semantic_field.field.confidence import confidence_of
from semantic_field.field.rays.device_sampling import Placing, draw_rays_on_device
from semantic_field.field.rays.sampling import GUESSED, MASKED, draw_rays
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, look_at, make_transform
from semantic_field.mapping import Mapper
from semantic_field.mapping.keyframes.depth_packing import hangs_between, pack_depth
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.robustness.carving import carve, clear_depth
from semantic_field.mapping.robustness.interpolation import corrected_pose, interpolated
from semantic_field.mapping.robustness.pose_refinement import corrected
from semantic_field.settings import updated

CAMERA = Camera.from_field_of_view(64, 48, 1.2)
HALF_M = np.array([1.6, 1.3, 1.1])
SMALL = {
    "field.grid.log2_table_size": 13,
    "field.grid.levels": 5,
    "field.grid.finest_cell_m": 0.05,
    "field.latent_dim": 8,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 64,
}


def small_mapper(**more: object) -> Mapper:
    return Mapper(updated(Config(), SMALL | {f"mapping.{name}": v for name, v in more.items()}))


def room(
    number: int, pose: NDArray | None = None, person: bool = False, at: tuple = (0.0, 0.0)
) -> Frame:
    """A painted box of a room from inside, with a white pillar at a place (x, y) or without."""
    if pose is None:
        turn = 0.35 * number
        eye = [0.9 * np.cos(turn), 0.7 * np.sin(turn), 0.1]
        pose = look_at(eye, [-eye[0], -eye[1], 0.05 * np.sin(3 * turn)])
    rays = CAMERA.rays() @ pose[:3, :3].T
    origin = pose[:3, 3]
    with np.errstate(divide="ignore"):
        depth = np.max([(-HALF_M - origin) / rays, (HALF_M - origin) / rays], axis=0).min(-1)
    points = origin + depth[..., None] * rays
    color = 127 + 100 * np.sin(points @ np.array([[4, 1, 2], [1, 5, 3], [2, 3, 4]]))
    if person:
        away = origin[:2] - at
        a, b = (rays[..., :2] ** 2).sum(-1), rays[..., :2] @ away
        root = b * b - a * (away @ away - 0.2**2)
        hit = (root > 0) & (b < 0)
        near = (-b - np.sqrt(np.maximum(root, 0))) / a
        depth, color = np.where(hit, near, depth), np.where(hit[..., None], 255, color)
    return Frame(
        round(number * 2e8), color.astype(np.uint8), depth.astype(np.float32), CAMERA, pose
    )


def in_the_middle(mapper: Mapper) -> tuple[float, int]:
    """Share of a view's pixels that end at the pillar, and surface points on it."""
    truth = room(4, person=True)
    view = mapper.render(CAMERA, truth.T_world_camera)
    is_pillar = truth.depth < room(4).depth - 0.3
    shown = (view.depth > 0) & (np.abs(view.depth - truth.depth) < 0.2)
    points = extract_surface(mapper.snapshot(), 0.04, least_observations=1)
    near = (np.linalg.norm(points.xyz[:, :2], axis=1) < 0.35) & (abs(points.xyz[:, 2]) < 0.8)
    return float(shown[is_pillar].mean()), int(near.sum())


def test_a_person_who_leaves_is_forgotten() -> None:
    mapper = small_mapper()
    for number in range(10):
        assert mapper.add_frame(room(number, person=True))
    mapper.train_steps(250)
    shown, points = in_the_middle(mapper)
    assert shown > 0.9 and points > 200
    for number in range(10, 20):  # the robot goes on; the pillar is gone
        mapper.add_frame(replace(room(number), stamp_ns=number * 200_000_000))
    mapper.train_steps(60)
    shown, points = in_the_middle(mapper)
    assert shown < 0.02 and points < 10
    store = mapper.live_map.keyframes
    assert store is not None
    for slot in range(store.count):  # nor will a replay bring it back
        white = (store.images.colors[slot] == 255).all(1)
        assert (store.images.labels[slot][white] != MASKED).sum() <= 0.05 * white.sum()
    truth = room(4)
    view = mapper.render(CAMERA, truth.T_world_camera)
    assert np.median(np.abs(view.depth - truth.depth)) < 0.02


def walking(count: int) -> list[Frame]:
    """The room again, at 5 Hz from the twelfth view on, while a pillar walks through it."""
    places = [(-0.4 + 0.16 * step, -0.2 + 0.08 * step) for step in range(count)]
    return [room(12 + step, person=True, at=at) for step, at in enumerate(places)]


def shown_of(mapper: Mapper, frame: Frame) -> float:
    """Share of a frame's white pixels at which the map shows what the frame shows."""
    view = mapper.render(CAMERA, frame.T_world_camera)
    white = (frame.color == 255).all(-1)
    return float((np.abs(view.depth - frame.depth) < 0.15)[white].mean())


@pytest.mark.parametrize("doubting", [True, False])
def test_a_person_who_walks_through_a_known_room_is_not_mapped(doubting: bool) -> None:
    mapper = small_mapper(forget_moved=doubting)
    for number in range(12):
        mapper.add_frame(room(number))
    for frame in walking(6):
        mapper.add_frame(frame)
    mapper.train_steps(200)
    shown = [shown_of(mapper, frame) for frame in walking(6)]
    points = extract_surface(mapper.snapshot(), 0.04, least_observations=1)
    inside = (np.abs(points.xyz) < HALF_M - 0.25).all(1)
    if doubting:
        assert np.mean(shown) < 0.05 and inside.sum() < 5
    else:
        assert max(shown) > 0.5 and inside.sum() > 10
    truth = room(4)
    view = mapper.render(CAMERA, truth.T_world_camera)
    assert np.median(np.abs(view.depth - truth.depth)) < 0.02


def test_what_stays_is_believed() -> None:
    mapper = small_mapper()
    for number in range(12):
        mapper.add_frame(room(number))
    for number in range(12, 48):  # twice around it in 7.2 s, each time nearer
        eye = (0.8 if number < 30 else 0.65) * room(number).T_world_camera[:3, 3]
        pose = look_at(eye, [-eye[0], -eye[1], 0.0])
        mapper.add_frame(room(number, pose, person=True))
    store = mapper.live_map.keyframes
    assert store is not None
    masked = np.array([store.masked_share(slot) for slot in range(store.count)])
    assert store.count == 48 and masked[12:20].min() > 0.2  # doubted at first
    assert masked[-12:].max() < 0.05
    mapper.train_steps(250)
    assert max(store.masked_share(slot) for slot in range(12)) > 0.1  # they look through it
    shown, points = in_the_middle(mapper)
    assert shown > 0.7 and points > 200


def test_a_robot_that_stands_still_notices_too() -> None:
    mapper = small_mapper()
    mapper.add_frame(room(4, person=True))
    mapper.train_steps(100)
    assert in_the_middle(mapper)[1] > 50
    for number in range(5, 12):
        mapper.add_frame(replace(room(4), stamp_ns=number * 400_000_000))
    mapper.train_steps(100)
    shown, points = in_the_middle(mapper)
    assert shown < 0.02 and points == 0
    assert mapper.status().dropped["view_covered"] >= 3  # nothing new: no more keyframes
    for number in range(12, 15):
        mapper.add_frame(replace(room(4, person=True), stamp_ns=number * 400_000_000))
    mapper.train_steps(100)
    assert in_the_middle(mapper)[1] > 50  # and back again


def test_a_world_at_rest_loses_nothing() -> None:
    mapper = small_mapper()
    random = np.random.default_rng(0)
    for number in range(30):
        frame = room(number % 18, person=True)
        depth = frame.depth * (1 + random.normal(0, 0.004, frame.depth.shape))
        depth[random.random(depth.shape) < 0.3] = 0
        mapper.add_frame(replace(frame, depth=depth, stamp_ns=number * 400_000_000))
    assert (
        mapper.live_map.intake.moved is not None
        and mapper.live_map.intake.moved.forgotten_voxels == 0
    )
    assert (
        mapper.live_map.keyframes is not None
        and not (mapper.live_map.keyframes.images.labels == MASKED).any()
    )
    mapper.train_steps(200)
    assert in_the_middle(mapper)[0] > 0.9


def test_carving_needs_a_clear_view() -> None:
    grid = VoxelGrid(0.1)
    points = np.array([[0.05, 0.05, 1.05], [0.05, 0.05, 1.95], [0.45, 0.05, 1.05]], np.float32)
    for _ in range(5):
        grid.insert(points)
    depth = np.full((48, 64), 2.0, np.float32)
    depth[:, 40:] = 0.0  # no reading where the third one is
    intrinsics = np.array([CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy])
    assert len(carve(grid, clear_depth(depth), intrinsics, np.eye(4))) == 0
    assert grid.lookup(points).tolist() == [1, 5, 5]
    gone = carve(grid, clear_depth(depth), intrinsics, np.eye(4))
    np.testing.assert_allclose(gone, points[:1])
    assert grid.lookup(points).tolist() == [0, 5, 5]
    behind = make_transform(np.diag([-1.0, 1.0, -1.0]), [0, 0, 0])  # looks the other way
    assert len(carve(grid, clear_depth(depth), intrinsics, behind)) == 0


def test_masked_pixels_are_not_drawn() -> None:
    mapper = small_mapper()
    mapper.add_frame(room(0))
    store, reach = mapper.live_map.keyframes, mapper.live_map.intake.reach
    assert store is not None
    gone = np.arange(64 * 48) % 64 < 32  # the left half of the image
    serial = store.serials[0]
    store.mask(0, gone)
    assert store.masked_share(0) == 0.5 and store.serials[0] != serial
    slots = np.zeros(4000, np.int64)
    rays = draw_rays(store.images, store.cameras, slots, reach, (2, 1), 0.05, 0.1, 0.1, seed=1)
    copied = DeviceKeyframes(store, "cpu")
    copied.follow(store)
    placing = Placing((2, 1), 0.05, 0.1, 0.1, 0.3)
    voxels = DeviceVoxels.of(reach, "cpu")
    on_device = draw_rays_on_device(
        copied.images,
        copied.cameras,
        copied.contours,
        torch.from_numpy(slots),
        voxels,
        placing,
    )
    for pixel, trust in ((rays.pixel, rays.trust), (on_device.pixel, on_device.trust)):
        masked = gone[np.asarray(pixel)]
        assert masked.mean() < 0.04  # 1 in 64 or 128: after that many tries one is taken as it is
        assert not np.asarray(trust)[masked].any()


def test_nothing_is_learnt_from_masked_pixels_even_where_nearly_all_are() -> None:
    mapper = small_mapper()
    mapper.add_frame(room(0))
    store, reach = mapper.live_map.keyframes, mapper.live_map.intake.reach
    assert store is not None
    gone = np.ones(64 * 48, bool)
    gone[[100, 2000]] = False
    labels = np.zeros(gone.size, np.int16)
    store.set_labels(0, np.arange(gone.size), labels)
    store.mask(0, gone)
    slots, pixels = store.choose_labelled(500, 0.5, np.random.default_rng(0))
    assert len(slots) == 500 and set(pixels.tolist()) == {100, 2000}
    slots, given = np.zeros(500, np.int64), np.arange(500)
    rays = draw_rays(
        store.images, store.cameras, slots, reach, (2, 1), 0.05, 0.1, 0.1, seed=1, pixels=given
    )
    copied = DeviceKeyframes(store, "cpu")
    copied.follow(store)
    on_device = draw_rays_on_device(
        copied.images,
        copied.cameras,
        copied.contours,
        torch.from_numpy(slots),
        DeviceVoxels.of(reach, "cpu"),
        Placing((2, 1), 0.05, 0.1, 0.1),
        pixels=torch.from_numpy(given),
    )
    for drawn in (rays, on_device):
        masked = gone[np.asarray(drawn.pixel)]
        assert masked.mean() > 0.5
        for weight in (drawn.color_weight, drawn.trust):
            assert not np.asarray(weight)[masked].any()
        assert (np.asarray(drawn.label)[masked] == -1).all()
        assert (np.asarray(drawn.color_weight)[~masked] == 1).all()


def disturbed(count: int) -> list[tuple[Frame, Frame]]:
    """True frames, and the same ones with slowly changing pose errors of 2 cm and half a degree."""
    pairs = []
    for number in range(count):
        frame, phase = room(number), 0.9 * number
        error = [0.009 * np.sin(phase), 0.009 * np.cos(phase), 0.004, 0.02 * np.cos(phase)]
        error += [0.02 * np.sin(phase), 0.01 * np.sin(2 * phase)]
        pose = corrected(frame.T_world_camera[None], np.array([error]))[0]
        pairs.append((frame, replace(frame, T_world_camera=pose)))
    return pairs


def pose_error_m(mapper: Mapper, true: list[Frame]) -> float:
    """Error of the keyframes' positions and view directions against their mean, metres."""
    store = mapper.live_map.keyframes
    assert store is not None
    poses = store.cameras.poses[: store.count].astype(float)
    ahead = np.array([0, 0, 1.0, 1.0])
    expected = np.stack([f.T_world_camera for f in true])
    errors = (poses - expected) @ ahead
    errors -= errors.mean(0)
    return float(np.sqrt((errors[:, :3] ** 2).sum(1).mean()))


def test_bad_poses_get_better() -> None:
    mapper = small_mapper(refine_poses="on", pose_rate=1e-3)
    pairs = disturbed(14)
    for _, frame in pairs:
        mapper.add_frame(frame)
    true = [frame for frame, _ in pairs]
    before = pose_error_m(mapper, true)
    mapper.train_steps(700)
    after = pose_error_m(mapper, true)
    assert after < 0.6 * before
    store = mapper.live_map.keyframes
    assert store is not None
    corrections = store.learnt["pose"][:14]
    np.testing.assert_allclose(corrections.mean(0), 0, atol=2e-3)
    assert np.linalg.norm(corrections[:, 3:], axis=1).max() <= 0.0301
    assert np.linalg.norm(corrections[:, :3], axis=1).max() <= np.radians(1.01)


def test_good_poses_stay() -> None:
    mapper = small_mapper(refine_poses="on")
    true = [room(number) for number in range(10)]
    for frame in true:
        mapper.add_frame(frame)
    mapper.train_steps(450)
    assert pose_error_m(mapper, true) < 0.006


def test_corrections_and_exposures_come_back_from_a_file(tmp_path) -> None:
    mapper = small_mapper(refine_poses="on", adapt_exposure="on")
    for _, frame in disturbed(4):
        mapper.add_frame(frame)
    mapper.train_steps(320)
    mapper.save(tmp_path / "map")
    again = small_mapper(refine_poses="on", adapt_exposure="on")
    again.load(tmp_path / "map")
    old, new = mapper.live_map.keyframes, again.live_map.keyframes
    assert old is not None and new is not None
    for name, values in old.learnt.items():
        np.testing.assert_array_equal(values[:4], new.learnt[name][:4])
    np.testing.assert_array_equal(old.cameras.poses[:4], new.cameras.poses[:4])
    errors = mapper.snapshot().voxels.errors
    assert errors.any()
    np.testing.assert_array_equal(errors, again.snapshot().voxels.errors)
    again.train_steps(2)


def test_exposure_is_the_cameras_not_the_maps() -> None:
    gains = [0.75, 1.25] * 5
    mapper = small_mapper(adapt_exposure="on")
    for number, gain in enumerate(gains):
        frame = room(number)
        color = np.clip(frame.color * gain, 0, 255).astype(np.uint8)
        mapper.add_frame(replace(frame, color=color))
    mapper.train_steps(400)
    store = mapper.live_map.keyframes
    assert store is not None
    exposure = store.learnt["exposure"][:10]
    np.testing.assert_allclose(np.log(exposure[..., 0]).mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(exposure[..., 1].mean(0), 0, atol=1e-9)
    brightness = exposure @ np.array([0.5, 1.0])  # what a middle grey becomes
    ratio = brightness[1::2].mean() / brightness[::2].mean()
    assert 1.3 < ratio < 1.9  # 1.67, less what clipping takes
    pose, stamp_ns = room(4).T_world_camera, room(4).stamp_ns
    shown = np.clip(room(4).color * 0.75, 0, 255)
    field = mapper.renderer().field_only()
    dark, view = field.render(CAMERA, pose, stamp_ns).color, field.render(CAMERA, pose).color
    assert np.abs(dark - shown).mean() < 0.8 * np.abs(view - shown).mean()
    for stamp in (stamp_ns, None):  # keyframes are as dark as the nearest one without a moment, too
        seen = mapper.renderer().render(CAMERA, pose, stamp).color
        assert np.abs(seen - shown).mean() < 0.5 * np.abs(dark - shown).mean()


def test_corrections_hold_between_keyframes() -> None:
    mapper = small_mapper()
    for number in range(3):
        mapper.add_frame(room(number))
    store = mapper.live_map.keyframes
    assert store is not None
    store.learnt["pose"][:3, 3] = [0.01, 0.02, -0.02]
    halfway = interpolated(store, "pose", 100_000_000)
    assert halfway is not None and halfway[3] == pytest.approx(0.015)
    pose = corrected_pose(store, 300_000_000, np.eye(4))
    np.testing.assert_allclose(pose[:3, 3], [0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(corrected_pose(store, 500_000_000, np.eye(4))[0, 3], -0.02)
    assert interpolated(store, "pose", 60_000_000_000) is None
    np.testing.assert_array_equal(corrected_pose(store, 60_000_000_000, np.eye(4)), np.eye(4))


def test_readings_at_an_angle_count_less() -> None:
    """A wall that turns away by 60 degrees from the image plane."""
    turn = np.radians(60)
    normal = np.array([np.sin(turn), 0, -np.cos(turn)])
    depth = (-1.5 * np.cos(turn) / (CAMERA.rays() @ normal)).astype(np.float32)
    depth[(depth < 0) | (depth > 3)] = 0
    mapper = small_mapper()
    mapper.add_frame(replace(room(0), depth=depth, T_world_camera=np.eye(4)))
    store = mapper.live_map.keyframes
    assert store is not None
    drawn = draw_rays(
        store.images, store.cameras, np.zeros(4000, np.int64), mapper.live_map.intake.reach,
        (2, 1), 0.05, 0.1, 0.1, seed=1, depth_noise=0.002,
    )  # fmt: skip
    pixel, read = drawn.pixel.numpy(), drawn.depth.numpy()
    v, u = np.divmod(pixel, 64)
    inner = (read > 0) & (store.images.depths[0, pixel] & GUESSED == 0) & (u > 1)
    inner &= depth[v, u - 1] > 0
    z = read[inner]
    slope = np.abs(z - depth[v[inner], u[inner] - 1]) * CAMERA.fx / z
    noise = 0.002 * z * z * np.sqrt(1 + slope**2) / 0.01
    assert inner.sum() > 1000 and np.median(slope) > 1
    np.testing.assert_allclose(drawn.trust.numpy()[inner], 1 / (1 + noise**2), rtol=0.02)


def test_veils_between_front_and_background() -> None:
    depth = np.full((6, 8), 3.0, np.float32)
    depth[:, :4] = 1.0
    assert not hangs_between(depth).any()  # a clean silhouette
    depth[:, 4] = 2.0
    expected = np.zeros((6, 8), bool)
    expected[:, 4] = True
    np.testing.assert_array_equal(hangs_between(depth), expected)
    np.testing.assert_array_equal(hangs_between(depth.T), expected.T)
    slope = np.broadcast_to(np.linspace(1.0, 1.15, 8, dtype=np.float32), (6, 8))
    assert not hangs_between(slope).any()  # 1.5 to 2 % a pixel
    packed = pack_depth(depth, (0.1, 10.0), drop_veils=True)
    np.testing.assert_array_equal((packed & GUESSED) > 0, expected)


def test_holes_and_bleeding_do_little_harm() -> None:
    """30 % of the readings missing, silhouettes blurred, NaN and infinite values among them."""
    random = np.random.default_rng(0)
    errors = {}
    for kind in ("clean", "bad"):
        mapper = small_mapper(drop_veils=True, depth_noise=0.002)
        for number in range(10):
            frame = room(number, person=True)
            depth = frame.depth
            if kind == "bad":
                depth = cv2.blur(depth, (3, 3)) + random.normal(0, 0.003, depth.shape)
                hole = random.random(depth.shape) < 0.3
                depth[hole] = random.choice([0, np.nan, np.inf], int(hole.sum()))
            mapper.add_frame(replace(frame, depth=depth.astype(np.float32)))
        mapper.train_steps(300)
        truth = room(4, person=True)
        view = mapper.render(CAMERA, truth.T_world_camera)
        errors[kind] = np.median(np.abs(view.depth - truth.depth))
        assert (view.depth > 0).mean() > 0.97
    assert errors["bad"] < max(2.5 * errors["clean"], 0.015)


def test_confidence_falls_where_images_disagree() -> None:
    errors = np.array([[0, 0], [0.01, 0], [0, 0.2], [0.05, 0.5]], np.float32)
    found = confidence_of(np.full(4, 8), errors)
    np.testing.assert_allclose(found[:3], [0.8, 0.4, 0.4])
    assert found[3] < 0.01
    np.testing.assert_allclose(confidence_of(np.array([0, 2, 8])), [0, 0.5, 0.8])


def test_voxels_keep_running_means_of_errors() -> None:
    grid = VoxelGrid(0.1, with_errors=True)
    here = np.array([[0.05, 0.05, 0.05]], np.float32)
    grid.insert(here)
    for _ in range(100):
        grid.note_errors(here, np.array([0.02], np.float32), np.array([0.1], np.float32))
    grid.note_errors(here + 5, np.array([0.02], np.float32), np.array([0.1], np.float32))
    np.testing.assert_allclose(grid.lookup_errors(here), [[0.02, 0.1]], rtol=0.01)
    assert not grid.lookup_errors(here + 5).any()
    for n in range(600):  # more bricks than were stored: errors move along
        grid.insert(np.array([[n * 0.8, 0, 0]], np.float32))
    np.testing.assert_allclose(grid.copy().lookup_errors(here), [[0.02, 0.1]], rtol=0.01)


def test_confidence_falls_where_frames_do_not_agree() -> None:
    truth = room(5, person=True)
    pillar = cv2.erode((truth.color == 255).all(-1).astype(np.uint8), np.ones((5, 5))) > 0
    confidence = {}
    for offset in (0.0, 0.025):
        mapper = small_mapper(forget_moved=False)
        for number in range(10):
            frame = room(number, person=True)
            is_pillar = (frame.color == 255).all(-1)
            moved = frame.depth + np.where(is_pillar, [-offset, offset][number % 2], 0)
            mapper.add_frame(replace(frame, depth=moved.astype(np.float32)))
        mapper.train_steps(300)
        view = mapper.renderer().field_only().render(CAMERA, truth.T_world_camera)
        confidence[offset] = view.confidence[pillar].mean()
    assert confidence[0.025] < 0.85 * confidence[0.0]


def test_keyframes_with_larger_errors_are_drawn_more_often() -> None:
    mapper = small_mapper()
    for number in range(4):
        mapper.add_frame(room(number))
    store = mapper.live_map.keyframes
    assert store is not None
    store.learnt["error"][:4] = [0.1, 0.1, 0.1, 0.7]
    drawn = np.bincount(store.choose(20000, np.random.default_rng(0), by_error=0.5), minlength=4)
    assert drawn[3] > 2 * drawn[:3].max() and drawn[:3].min() > 0.1 * 20000
