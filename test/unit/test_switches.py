"""Options that a map switches on by itself: when, why, without a jump, and without a drift."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from semantic_field.annotation.labelled_view import LabelRenderer
from semantic_field.config import Config, MappingConfig, load_config
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.field.rays.rays import Rays
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, look_at, make_transform, transform_points
from semantic_field.mapping import Mapper
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.renderer import Renderer
from semantic_field.mapping.robustness.evidence import LEAST_PAIRS
from semantic_field.mapping.robustness.exposure import Exposure
from semantic_field.mapping.robustness.pose_refinement import (
    PoseRefiner,
    common_motion,
    corrected,
    settle,
)
from semantic_field.mapping.robustness.reduced_view import ReducedView
from semantic_field.mapping.robustness.switches import Switches, neighbours
from semantic_field.mapping.robustness.view_comparison import compare
from semantic_field.settings import updated

SIZE = (160, 120)
SMALL = {
    "field.grid.log2_table_size": 13,
    "field.grid.levels": 5,
    "field.grid.finest_cell_m": 0.05,
    "field.latent_dim": 8,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 64,
}


@pytest.fixture(scope="module")
def exact() -> list[Frame]:
    """A simulated room, with exact poses and depth and one exposure."""
    source = SimulatedRoom(seed=5, n_frames=60, size=SIZE)
    return [source[i] for i in range(len(source))]


@pytest.fixture(scope="module")
def noisy() -> list[Frame]:
    """The same room through a noisy sensor, whose brightness flickers by 3 per cent at most."""
    source = SimulatedRoom(seed=5, n_frames=60, size=SIZE, noise=True)
    return [source[i] for i in range(len(source))]


def jittered(frames: Iterable[Frame]) -> list[Frame]:
    """Frames with slowly changing pose errors of 1 cm and half a degree."""
    result = []
    for number, frame in enumerate(frames):
        phase = 0.4 * number
        turn = np.radians(0.5) * np.sin([phase, 0.7 * phase + 1, 1.3 * phase])
        error = np.concatenate([turn, 0.01 * np.cos([phase, 0.8 * phase, 2 * phase])])
        pose = corrected(frame.T_world_camera[None], error[None])[0]
        result.append(replace(frame, T_world_camera=pose))
    return result


def exposed(frames: Iterable[Frame], gain: Callable[[int], object]) -> list[Frame]:
    """Frames whose colours are multiplied by ``gain`` of their number."""
    return [
        replace(f, color=np.clip(f.color * np.asarray(gain(n)), 0, 255).astype(np.uint8))
        for n, f in enumerate(frames)
    ]


def watched(frames: Iterable[Frame], **options: object) -> Switches:
    """What the switches have decided after these frames, all of which are keyframes."""
    settings = updated(MappingConfig(), options)
    switches, store = Switches(settings), KeyframeStore(*SIZE, 64, (0.1, 20.0))
    for frame in frames:
        switches.look(store, store.add(frame, None))
    return switches


def are_on(switches: Switches) -> tuple[bool, bool]:
    return switches.is_on("refine_poses"), switches.is_on("adapt_exposure")


# when


def test_what_is_exact_stays_off(exact) -> None:
    switches = watched(exact)
    assert are_on(switches) == (False, False)
    for state in switches.states().values():
        assert state.startswith("off: ") and "pairs" in state
        assert "so far" not in state  # decided, not undecided


def test_noise_and_flicker_are_no_reason(noisy) -> None:
    switches = watched(noisy)
    assert are_on(switches) == (False, False)
    assert "so far" not in "".join(switches.states().values())


@pytest.mark.parametrize("of", ["exact", "noisy"])
def test_wrong_poses_need_poses_alone(of, request) -> None:
    switches = watched(jittered(request.getfixturevalue(of)))
    assert are_on(switches) == (True, False)
    assert "mm" in switches.states()["refine_poses"]


GAINS = {
    "slow drift": lambda n: 1 + 0.3 * np.sin(n / 5),
    "automatic exposure that jumps": lambda n: (0.75, 1.0)[n // 8 % 2],
    "two cameras": lambda n: (0.8, 1.0)[n % 2],
    "white balance": lambda n: 1 + 0.3 * np.sin(n / 3) * np.array([1.0, 0.0, -1.0]),
}


@pytest.mark.parametrize("kind", GAINS)
def test_other_exposures_need_exposures_alone(exact, kind) -> None:
    switches = watched(exposed(exact, GAINS[kind]))
    assert are_on(switches) == (False, True)
    assert "%" in switches.states()["adapt_exposure"]


def test_a_light_that_is_switched_off_counts_where_the_camera_comes_back(exact) -> None:
    there, back = exact[::2], exact[::-2]
    seen_once = exposed(exact, lambda n: 1.0 if n < 30 else 0.7)
    assert are_on(watched(seen_once)) == (False, False)  # hardly a surface in both lights
    again = there + exposed(back, lambda n: 0.7)
    assert are_on(watched(again)) == (False, True)


def test_both_at_once(exact) -> None:
    both = exposed(jittered(exact), GAINS["two cameras"])
    assert are_on(watched(both)) == (True, True)


def wall(number: int) -> Frame:
    """A bare wall, seen from places 6 cm apart that are wrong by up to 3 cm along the wall."""
    camera = Camera.from_field_of_view(*SIZE, 1.2)
    wrong = 0.03 * np.sin([1.7 * number, 2.3 * number, 0.0])
    pose = make_transform(np.eye(3), np.array([0.06 * number, 0.0, 0.0]) + wrong)
    depth = np.full(SIZE[::-1], 1.5, np.float32)
    return Frame(number, np.full((*SIZE[::-1], 3), 160, np.uint8), depth, camera, pose)


def test_a_bare_wall_says_nothing_about_poses() -> None:
    states = watched(wall(n) for n in range(40)).states()
    assert states["refine_poses"].startswith(f"off: 0 of {LEAST_PAIRS} pairs")
    assert states["adapt_exposure"].startswith("off: the same surfaces differ in brightness by 0.0")


def test_too_few_frames_decide_nothing(exact) -> None:
    states = watched(exposed(jittered(exact[:8]), GAINS["two cameras"])).states()
    assert all("so far" in state and state.startswith("off") for state in states.values())


def test_what_is_on_stays_on(exact) -> None:
    switches, store = Switches(MappingConfig()), KeyframeStore(*SIZE, 64, (0.1, 20.0))
    for frame in exposed(jittered(exact), GAINS["two cameras"]):
        switches.look(store, store.add(frame, None))
    reasons = switches.states()
    for frame in exact:
        switches.look(store, store.add(frame, None))
    assert switches.states() == reasons and are_on(switches) == (True, True)


@pytest.mark.parametrize("setting", ["on", "off"])
def test_a_person_overrules(exact, setting) -> None:
    bad = exposed(jittered(exact[:30]), GAINS["two cameras"])
    for frames in (exact[:30], bad):
        switches = watched(frames, refine_poses=setting, adapt_exposure=setting)
        assert are_on(switches) == (setting == "on",) * 2
        assert set(switches.states().values()) == {f"{setting}: as set"}


def test_truth_values_of_older_files_mean_on_and_off(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    for text, value in (("true", "on"), ("on", "on"), ("off", "off"), ("auto", "auto")):
        file.write_text(f"mapping:\n  refine_poses: {text}\n  adapt_exposure: {text}\n")
        mapping = load_config(file).mapping
        assert (mapping.refine_poses, mapping.adapt_exposure) == (value, value)
    assert MappingConfig().refine_poses == MappingConfig().adapt_exposure == "auto"
    for bad in ("yes", 1, None):
        with pytest.raises(ValueError, match=r"refine_poses"):
            updated(MappingConfig(), {"refine_poses": bad})


# what is measured


def test_a_known_error_is_measured(exact) -> None:
    """Two views, one moved by 2 cm, turned by 0.4 degrees, and darker by a fifth."""
    store = KeyframeStore(*SIZE, 64, (0.1, 20.0))
    first, second = exact[3], exact[4]
    shift, turn = np.array([0.012, -0.016, 0.0]), np.radians([0.0, 0.0, 0.4])
    wrong = corrected(second.T_world_camera[None], np.concatenate([turn, shift])[None])[0]
    dark = exposed([second], lambda n: [0.8, 0.8, 0.9])[0]
    for frame in (first, second, replace(dark, T_world_camera=wrong)):
        store.add(frame, None)
    views = [ReducedView.of(store, slot) for slot in range(3)]
    right, bad = compare(views[0], views[1]), compare(views[0], views[2])
    assert right is not None and bad is not None
    assert right.shift_m < 0.004 and right.shift_pixels < 0.2
    points = views[0].points[views[0].usable].astype(float)
    seen = transform_points(first.T_world_camera, points)
    true = np.median(np.linalg.norm(moved_apart(seen, second.T_world_camera, wrong), axis=1))
    assert bad.shift_m == pytest.approx(true, rel=0.25) and true > 0.015
    np.testing.assert_allclose(right.log_gain, 0, atol=0.005)
    np.testing.assert_allclose(bad.log_gain, np.log([0.8, 0.8, 0.9]), atol=0.02)
    assert compare(views[0], replace(views[1], pose=look_at([0, 50.0, 0], [0, 60.0, 0]))) is None


def moved_apart(points: NDArray, T_world_true: NDArray, T_world_given: NDArray) -> NDArray:
    """How far points (N, 3) of the world move in a camera whose pose is wrong."""
    in_true = transform_points(np.linalg.inv(T_world_true), points)
    return in_true - transform_points(np.linalg.inv(T_world_given), points)


def test_compared_are_the_nearest_and_the_oldest_nearby() -> None:
    store = KeyframeStore(*SIZE, 64, (0.1, 20.0))
    for number, x in enumerate([0.5, 5.0, 0.1, 0.3, 0.0]):
        frame = replace(wall(number), T_world_camera=make_transform(np.eye(3), [x, 0, 0]))
        store.add(frame, None)
    assert neighbours(store, 4) == [2, 0]
    assert neighbours(store, 1) == [0]
    assert neighbours(store_of(wall(0)), 0) == []


def store_of(frame: Frame) -> KeyframeStore:
    store = KeyframeStore(*SIZE, 64, (0.1, 20.0))
    store.add(frame, None)
    return store


# the set does not drift


def circle(count: int) -> NDArray[np.float64]:
    """Poses (K, 4, 4) on a circle of 2 m, not around the origin, looking inwards."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    eyes = [[3 + 2 * np.cos(a), 1 + 2 * np.sin(a), 0.3 * np.sin(3 * a)] for a in angles]
    return np.stack([look_at(eye, [3.0, 1.0, 0.0]) for eye in eyes])


def test_a_rigid_motion_of_all_is_all_common() -> None:
    positions = circle(9)[:, :3, 3]
    turn, shift = np.array([0.01, -0.02, 0.005]), np.array([0.3, 0.1, -0.2])
    arms = positions - positions.mean(0)
    rigid = np.concatenate([np.tile(turn, (9, 1)), shift + np.cross(turn, arms)], axis=1)
    np.testing.assert_allclose(common_motion(positions, rigid), rigid, atol=1e-12)
    single = np.random.default_rng(0).normal(0, 0.01, (9, 6))
    rest = single - common_motion(positions, single)
    np.testing.assert_allclose(common_motion(positions, rest), 0, atol=1e-12)
    np.testing.assert_allclose(rest.mean(0)[3:], 0, atol=1e-12)


@pytest.mark.parametrize("pull", [[0.2, 0.0, 0.1, 0, 0, 0], [0, 0, 0, 0.05, 0.0, 0.1]])
def test_single_wrong_poses_get_better_and_the_set_stays(pull) -> None:
    """Every step also pulls the whole set the same way: a shift, or a turn about a point."""
    random, poses = np.random.default_rng(1), circle(12)
    store = KeyframeStore(32, 24, 4, (0.1, 20.0))
    camera = Camera(30.0, 30.0, 15.5, 11.5, 32, 24)
    wrong = np.zeros((12, 6))
    wrong[[3, 7], 3:] = [[0.02, 0.0, 0.01], [0.0, -0.02, 0.0]]
    wrong[7, :3] = [0.0, 0.0, 0.01]
    for n, pose in enumerate(corrected(poses, wrong)):
        color, depth = np.zeros((24, 32, 3), np.uint8), np.ones((24, 32), np.float32)
        store.add(Frame(n, color, depth, camera, pose), None)
    refiner = PoseRefiner(MappingConfig())
    before = errors_m(store, poses)
    for _ in range(800):
        rays, grad = pulled_rays(store, poses, np.asarray(pull, float), random)
        refiner.update(store, rays, grad, 1.0)
        motion = common_motion(store.learnt["given_pose"][:12, :3, 3], store.learnt["pose"][:12])
        assert np.abs(motion).max() < 1e-12
    after = errors_m(store, poses)
    assert (after[[3, 7]] < 0.35 * before[[3, 7]]).all()
    centre = store.cameras.poses[:12, :3, 3].mean(0) - corrected(poses, wrong)[:, :3, 3].mean(0)
    np.testing.assert_allclose(centre, 0, atol=1e-6)  # float32


def errors_m(store: KeyframeStore, true: NDArray) -> NDArray[np.float64]:
    """Distance of each keyframe's point 1 m ahead from where it truly is (K,)."""
    ahead = np.array([0.0, 0.0, 1.0, 1.0])
    return np.linalg.norm((store.cameras.poses[: len(true)] - true) @ ahead, axis=1)


def pulled_rays(store, true, pull, random) -> tuple[Rays, torch.Tensor]:
    """Rays, and the gradient of |sample - where it truly is|^2 / 2 plus a pull (6,) on all."""
    slots = np.arange(12).repeat(16)
    local = random.uniform([-0.5, -0.5, 1.0], [0.5, 0.5, 2.0], (len(slots), 3))
    given, here = (
        np.einsum("nij,nj->ni", p[slots, :3, :3], local) + p[slots, :3, 3]
        for p in (true, store.cameras.poses.astype(float))
    )
    grad = (here - given) + 0.02 * (pull[:3] + np.cross(pull[3:], here))
    empty = torch.zeros(len(slots))
    rays = Rays(
        points=torch.from_numpy(here).float(),
        near_z=empty[:, None],
        origin=torch.from_numpy(store.cameras.poses[slots, :3, 3]),
        depth=empty,
        stretch=empty,
        trust=empty,
        color=empty[:, None].expand(-1, 3),
        color_weight=empty,
        label=empty.long(),
        label_weight=empty,
        pixel=empty.long(),
        slot=torch.from_numpy(slots),
        clearance=empty[:, None],
        inside=empty,
    )
    return rays, torch.from_numpy(grad).float()


def test_limits_hold_although_the_mean_is_removed() -> None:
    store = KeyframeStore(32, 24, 4, (0.1, 20.0))
    camera = Camera(30.0, 30.0, 15.5, 11.5, 32, 24)
    for n, pose in enumerate(circle(12)):
        color, depth = np.zeros((24, 32, 3), np.uint8), np.ones((24, 32), np.float32)
        store.add(Frame(n, color, depth, camera, pose), None)
    store.learnt["pose"][:12] = np.random.default_rng(0).normal(0, 0.05, (12, 6))
    settle(store, (np.radians(1.0), 0.03))
    corrections = store.learnt["pose"][:12]
    assert np.linalg.norm(corrections[:, 3:], axis=1).max() < 0.033
    assert np.linalg.norm(corrections[:, :3], axis=1).max() < np.radians(1.1)
    given = store.learnt["given_pose"][:12, :3, 3]
    np.testing.assert_allclose(common_motion(given, corrections), 0, atol=1e-12)


def test_brightness_does_not_drift() -> None:
    """A map that renders everything too dark, for hundreds of steps, explains nothing by gains."""
    store, random = KeyframeStore(32, 24, 4, (0.1, 20.0)), np.random.default_rng(2)
    for number in range(6):
        store.add(replace(wall(number), T_world_camera=np.eye(4)), None)
    gains = np.array([0.7, 1.0, 1.0, 1.0, 1.0, 1.3])
    slots = np.arange(6).repeat(40)
    for step in range(0, 400, 4):
        true = random.uniform(0.1, 0.6, (len(slots), 3))
        photographed = true * gains[slots, None]
        args = (torch.from_numpy(x.astype(np.float32)) for x in (0.8 * true, photographed))
        Exposure().update(store, torch.from_numpy(slots), *args, step)
    exposure = store.learnt["exposure"][:6]
    np.testing.assert_allclose(np.log(exposure[..., 0]).mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(exposure[..., 1].mean(0), 0, atol=1e-12)
    expected = gains / np.exp(np.log(gains).mean())
    np.testing.assert_allclose(exposure[..., 0], np.tile(expected[:, None], 3), rtol=0.1)


# in a map


def mapper_of(**options: object) -> Mapper:
    return Mapper(updated(Config(), SMALL | {f"mapping.{k}": v for k, v in options.items()}))


def learnt_from(frames: Iterable[Frame], steps: int, **options: object) -> Mapper:
    mapper = mapper_of(**options)
    for frame in frames:
        mapper.add_frame(frame)
    mapper.train_steps(steps)
    return mapper


def table_of(mapper: Mapper) -> torch.Tensor:
    return mapper.snapshot().field.table.detach()


def test_an_exact_room_is_learnt_as_if_there_were_no_switches(exact) -> None:
    auto = learnt_from(exact, 30)
    off = learnt_from(exact, 30, refine_poses="off", adapt_exposure="off")
    assert torch.equal(table_of(auto), table_of(off))
    on = learnt_from(exact, 30, refine_poses="off", adapt_exposure="on")
    assert not torch.equal(table_of(auto), table_of(on))


def test_a_map_switches_on_while_it_is_learnt_without_a_jump(exact) -> None:
    """Good frames first, then ones of two exposures; the map is as without switches until then."""
    bad = exposed(exact[20:], GAINS["two cameras"])
    auto = learnt_from(exact[:20], 40)
    off = learnt_from(exact[:20], 40, refine_poses="off", adapt_exposure="off")
    for mapper in (auto, off):
        for frame in bad:
            mapper.add_frame(frame)
    states = auto.status().switches
    assert states["adapt_exposure"].startswith("on: the same surfaces differ")
    assert states["refine_poses"].startswith("off: ")
    assert torch.equal(table_of(auto), table_of(off))
    for mapper in (auto, off):
        mapper.train_steps(1)
    difference = (table_of(auto) - table_of(off)).abs().max()
    assert 0 < difference <= 2 * auto.config.mapping.learning_rate  # one step, no more
    auto.train_steps(400)
    store = auto.live_map.keyframes
    assert store is not None
    kept = np.isin(store.stamps_ns[: store.count], [f.stamp_ns for f in bad])
    gains = store.learnt["exposure"][: store.count][kept, :, 0].mean(1)
    dark = [(n % 2 == 0) for n, f in enumerate(bad) if f.stamp_ns in store.stamps_ns[: store.count]]
    assert gains[~np.array(dark)].mean() > 1.08 * gains[dark].mean()


def test_labels_of_a_frame_lie_where_its_image_is(exact) -> None:
    """Not where its recorded pose is, where poses were refined."""
    mapper = learnt_from(exact[:10], 60)
    store, frame = mapper.live_map.keyframes, exact[3]
    assert store is not None
    correction = np.array([0, 0, 0, 0.03, 0.0, 0.02])
    store.learnt["pose"][: store.count] = correction
    state = mapper.snapshot()
    there = corrected(frame.T_world_camera[None], correction[None])[0]
    moved = LabelRenderer(state, mapper.renderer().field_only()).render(frame)
    recorded = LabelRenderer(state, Renderer.of(state))
    expected = recorded.render(replace(frame, T_world_camera=there))
    np.testing.assert_allclose(moved.depth, expected.depth, atol=1e-4)
    assert np.abs(moved.depth - recorded.render(frame).depth).mean() > 0.003


def test_a_saved_map_goes_on_as_it_was(exact, tmp_path: Path) -> None:
    mapper = learnt_from(exposed(exact, GAINS["two cameras"]), 40)
    assert mapper.status().switches["adapt_exposure"].startswith("on: the same")
    mapper.save(tmp_path / "map")
    again = mapper_of()
    again.load(tmp_path / "map")
    states = again.status().switches
    assert states["adapt_exposure"] == "on: it was when the map was saved"
    assert states["refine_poses"].startswith("off: at their given poses")
    again.train_steps(1)
    fixed = mapper_of(adapt_exposure="off")
    fixed.load(tmp_path / "map")
    assert fixed.status().switches["adapt_exposure"] == "off: as set"
