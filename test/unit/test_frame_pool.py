"""The pool of frames: what is chosen, what is kept, and what is handed to models."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.frames import Frame
from semantic_field.generalizable.episodes import rays_of
from semantic_field.generalizable.frame_pool import FramePool
from semantic_field.generalizable.label_segments import segment_agreement, segments_of
from semantic_field.generalizable.sensor_noise import (
    EXACT,
    SensorNoise,
    corrupted,
    with_merged_segments,
    with_wrong_segments,
)
from semantic_field.generalizable.source_exposure import equalized
from semantic_field.geometry import moved


@lru_cache
def frames() -> list[Frame]:
    room = SimulatedRoom(seed=5, n_frames=24, size=(96, 72), noise=False)
    return [room[i] for i in range(len(room))]


def pool_of(chosen: list[Frame], most: int = 32) -> FramePool:
    pool = FramePool(most, 96)
    for frame in chosen:
        pool.add(frame)
    return pool


def test_nearest_rule_takes_the_nearest_camera_centres_in_the_world() -> None:
    pool, goal = pool_of(frames()), frames()[7]
    found = pool.choose(goal.camera, goal.T_world_camera, 4, "nearest", exclude_ns=goal.stamp_ns)
    centres = np.array([frame.T_world_camera[:3, 3] for frame in frames()])
    by_hand = np.argsort(np.linalg.norm(centres - centres[7], axis=1), kind="stable")
    assert found == by_hand[1:5].tolist()


def test_the_excluded_frame_is_never_a_source() -> None:
    pool, goal = pool_of(frames()), frames()[7]
    for rule in ("coverage", "nearest"):
        found = pool.choose(goal.camera, goal.T_world_camera, 8, rule, exclude_ns=goal.stamp_ns)
        assert len(found) == 8
        assert 7 not in found
    assert 7 in pool.choose(goal.camera, goal.T_world_camera, 8)


def test_coverage_shows_more_of_the_target_than_the_nearest_frames() -> None:
    pool = pool_of(frames()[::2])
    shares = {"coverage": 0.0, "nearest": 0.0}
    for goal in frames()[1::4]:
        for rule in shares:
            chosen = pool.choose(goal.camera, goal.T_world_camera, 3, rule)
            shares[rule] += _seen_share(goal, [pool[i].frame for i in chosen])
    assert shares["coverage"] > shares["nearest"]


def _seen_share(goal: Frame, sources: list[Frame]) -> float:
    """Brute force: the share of the target's pixels whose true surface a source sees."""
    points = goal.camera.backproject(goal.depth).reshape(-1, 3).astype(np.float64)
    points = points @ goal.T_world_camera[:3, :3].T + goal.T_world_camera[:3, 3]
    seen = np.zeros(len(points), bool)
    for frame in sources:
        local = points - frame.T_world_camera[:3, 3]
        local = local @ frame.T_world_camera[:3, :3]
        index, u, v, z = frame.camera.pixels_inside(local)
        seen[index[np.abs(frame.depth[v, u] - z) < 0.05]] = True
    return float(seen.mean())


def test_a_full_pool_keeps_what_shows_most() -> None:
    copies = [replace(frames()[0], stamp_ns=i + 1) for i in range(6)]
    others = frames()[4::5]
    pool = pool_of([*copies, *others], most=5)
    assert len(pool) == 5
    assert sum(stamp <= 6 for stamp in pool.stamps_ns) == 1
    assert {frame.stamp_ns for frame in others} <= set(pool.stamps_ns)


def test_the_newest_frame_is_always_kept() -> None:
    pool = pool_of(frames()[::6], most=4)
    again = replace(frames()[0], stamp_ns=99)
    pool.add(again)
    assert pool.stamps_ns[-1] == 99


def test_without_depth_the_frame_next_to_another_goes() -> None:
    blind = [replace(frame, depth=np.zeros_like(frame.depth)) for frame in frames()[::5]]
    twin = replace(blind[1], stamp_ns=5)
    pool = pool_of([*blind, twin, replace(blind[-1], stamp_ns=7)], most=len(blind) + 1)
    assert len({5, blind[1].stamp_ns} & set(pool.stamps_ns)) == 1 or 7 not in pool.stamps_ns


def test_late_labels_reach_the_frame_of_their_stamp() -> None:
    bare = [replace(frame, labels=None) for frame in frames()[:3]]
    pool = pool_of(bare)
    labels = frames()[1].labels
    assert labels is not None
    assert pool.relabel(bare[1].stamp_ns, labels)
    assert not pool.relabel(12345, labels)
    sources, class_ids = pool.sources([0, 1])
    assert sources.labels is not None
    given = sources.labels.numpy()
    assert (given[0] == -1).all()
    np.testing.assert_array_equal(np.where(given[1] >= 0, class_ids[given[1]], -1), labels)


def test_another_size_is_refused_with_a_remedy() -> None:
    pool = pool_of(frames()[:1])
    with pytest.raises(ValueError, match="clear the pool"):
        pool.add(frames()[1].resized(48, 36))


def test_sources_are_the_frames_as_tensors() -> None:
    pool = pool_of(frames()[:4])
    sources, _ = pool.sources([3, 1])
    frame = frames()[3]
    torch.testing.assert_close(
        sources.colors[0].permute(1, 2, 0), torch.from_numpy(frame.color).float() / 255
    )
    assert sources.depths is not None
    np.testing.assert_array_equal(sources.depths[1].numpy(), frames()[1].depth)
    pose = moved(frame.T_world_camera, -pool.origin)
    np.testing.assert_allclose(sources.poses[0].numpy(), pose, atol=1e-6)


def test_segments_are_connected_areas_of_one_label() -> None:
    labels = np.array([[1, 1, 2], [2, 1, 2], [2, 2, -1]], np.int32)
    segments = segments_of(labels)
    assert segments.min() == 0
    assert len(np.unique(segments)) == 4  # ones, the right twos, the left twos, void
    assert segments[0, 0] == segments[1, 1]
    assert segments[0, 2] != segments[2, 1]


def test_wrong_segments_are_wrong_as_a_whole_and_as_often_as_asked() -> None:
    labels = frames()[3].labels
    assert labels is not None
    segments, classes = segments_of(labels), np.arange(40, dtype=np.int32)
    shares = []
    for seed in range(40):
        wrong = with_wrong_segments(labels, 0.3, classes, np.random.default_rng(seed))
        changed = wrong != labels
        for number in np.unique(segments):
            area = segments == number
            assert changed[area].all() or not changed[area].any()
            assert len(np.unique(wrong[area])) == 1
        first = np.unique(segments, return_index=True)[1]
        shares.append(changed.ravel()[first].mean())
    assert abs(np.mean(shares) - 0.3) < 0.05


def test_faults_are_as_large_as_asked() -> None:
    frame, random = frames()[3], np.random.default_rng(0)
    classes = np.arange(5, dtype=np.int32)
    same = corrupted(frame, EXACT, classes, random)
    np.testing.assert_array_equal(same.depth, frame.depth)
    np.testing.assert_array_equal(same.color, frame.color)
    noisy = corrupted(frame, SensorNoise(edges=False, missing=0.2), classes, random)
    assert abs((noisy.depth == 0).mean() - 0.2) < 0.02
    read = (noisy.depth > 0) & (frame.depth > 0)
    scale = 0.0012 + 0.0019 * (frame.depth[read] - 0.4) ** 2
    assert abs(np.std((noisy.depth - frame.depth)[read] / scale) - 1) < 0.1
    moved = corrupted(frame, SensorNoise(position_m=0.01), classes, random)
    assert 0 < np.linalg.norm((moved.T_world_camera - frame.T_world_camera)[:3, 3]) < 0.06


def test_agreement_tells_wrong_segments_from_right_ones() -> None:
    exact = frames()[:8]
    pool, truth, given = FramePool(8, 96), [], []
    wrong = SensorNoise(depth=0, edges=False, missing=0, wrong_segments=0.25)
    classes = np.unique(np.stack([frame.labels for frame in exact if frame.labels is not None]))
    for number, frame in enumerate(exact):
        noisy = corrupted(frame, wrong, classes[classes >= 0], np.random.default_rng(number))
        pool.add(noisy)
        truth.append(frame.labels)
        given.append(noisy.labels)
    sources, _ = pool.sources(list(range(8)))
    agreement = segment_agreement(sources)[:, 0].numpy()
    right = np.stack(truth) == np.stack(given)
    assert agreement[right].mean() > 0.75
    assert agreement[~right].mean() < 0.25


def test_agreement_of_all_the_same_labels_is_high_and_of_nobody_is_half() -> None:
    pool = pool_of(frames()[:4])
    sources, _ = pool.sources([0, 1, 2, 3])
    found = segment_agreement(sources)
    assert sources.segments is not None
    big = found[:, 1] > np.log(50)
    assert found[:, 0][big].mean() > 0.9
    alone, _ = pool.sources([2])
    assert (segment_agreement(alone)[:, 0] == 0.5).all()


def test_merged_segments_take_a_label_beside_them() -> None:
    labels = np.zeros((12, 12), np.int32)
    labels[2:5, 2:5], labels[7:10, 6:10] = 1, 2
    seen = set()
    for seed in range(30):
        found = with_merged_segments(labels, 0.5, np.random.default_rng(seed))
        things = found[3, 3], found[8, 8], found[0, 0]
        assert things[0] in (0, 1) and things[1] in (0, 2)  # a thing joins what is around it
        seen.add((int(things[0]), int(things[1])))
    assert seen == {(0, 0), (0, 2), (1, 0), (1, 2)}


def test_sources_of_other_exposure_are_made_equal() -> None:
    near = [frames()[i] for i in (6, 7, 8)]
    dark = replace(near[2], color=(near[2].color * 0.7).astype(np.uint8), stamp_ns=99)
    pool = pool_of([near[0], near[1], dark])
    sources, _ = pool.sources([0, 1, 2])
    goal = near[1]
    rays = rays_of(sources, goal.camera, moved(goal.T_world_camera, -pool.origin))
    found = equalized(sources, rays)
    ratio = found.colors[2].mean() / sources.colors[2].mean()
    assert 1.3 < float(ratio) < 1.5
    assert abs(float(found.colors[1].mean() / sources.colors[1].mean()) - 1) < 0.05


def test_old_frames_go_when_a_newer_one_comes() -> None:
    """Stamps are 0.2 s apart; 0.5 s keep the newest and the two before."""
    pool = FramePool(32, 96, oldest_s=0.5)
    for frame in frames()[:6]:
        pool.add(frame)
    assert pool.stamps_ns == [frame.stamp_ns for frame in frames()[3:6]]
    pool.add(frames()[0])  # one from long ago does not stay
    assert pool.stamps_ns == [frame.stamp_ns for frame in frames()[3:6]]
    with pytest.raises(ValueError, match="oldest_s from 0"):
        FramePool(32, 96, oldest_s=-1.0)
