"""Labels between label images: where they are brought, who votes, and which way is believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.frames import Frame
from semantic_field.generalizable.frame_pool import FramePool
from semantic_field.generalizable.label_follower import (
    Agreement,
    Calibration,
    FollowedLabels,
    LabelFollower,
    brought,
    voted,
    voted_in_segments,
)
from semantic_field.generalizable.predictor import Predictor, ViewSettings
from semantic_field.generalizable.training.weight_files import load_model
from semantic_field.geometry import Camera, make_transform

CAMERA = Camera(fx=50.0, fy=50.0, cx=31.5, cy=23.5, width=64, height=48)
SIZE = 48, 64


def frame(stamp: int, x_m: float = 0.0, depth=2.0, labels=None, color=100) -> Frame:
    """A frame at ``x_m`` to the right, looking ahead."""
    color = np.broadcast_to(np.uint8(color), (*SIZE, 3)).copy()
    depth = np.broadcast_to(np.float32(depth), SIZE).copy()
    return Frame(stamp, color, depth, CAMERA, make_transform(np.eye(3), [x_m, 0, 0]), labels)


def halves(edge: int = 32, right: int = 7, left: int = 3) -> np.ndarray:
    return np.where(np.arange(64) < edge, left, right)[None].repeat(48, 0).astype(np.int32)


def test_labels_move_with_the_surface() -> None:
    """0.2 m to the right at 2 m: 50 px * 0.2 / 2 = 5 columns to the left."""
    old = frame(0, labels=halves())
    found = brought(old, frame(1, 0.2))
    assert (found.label[:, :27] == 3).all() and (found.label[:, 27:59] == 7).all()
    assert (found.label[:, 59:] == -1).all() and (found.confidence[:, 59:] == 0).all()
    np.testing.assert_allclose(found.confidence[:, :59], 1.0, atol=1e-5)


def test_nothing_is_brought_through_a_nearer_thing_or_from_behind_the_camera() -> None:
    old = frame(0, labels=halves())
    near = np.full(SIZE, 2.0, np.float32)
    near[:, :20] = 1.0  # a thing that hides what the new frame sees there
    found = brought(replace(old, depth=near), frame(1))
    assert (found.confidence[:, :20] < 1e-6).all() and (found.confidence[:, 20:] > 0.99).all()
    ahead = replace(old, T_world_camera=make_transform(np.eye(3), [0, 0, 3.0]))
    assert (brought(ahead, frame(1)).label == -1).all()


def test_pixels_without_depth_take_that_of_their_neighbours() -> None:
    holed = frame(1, 0.2)
    holed.depth[10:20, 10:20] = 0
    assert (brought(frame(0, labels=halves()), holed).label[:, :27] == 3).all()


def test_a_reading_that_is_missing_counts_half() -> None:
    old = frame(0, depth=0.0, labels=halves())
    np.testing.assert_allclose(brought(old, frame(1)).confidence, 0.5)


def test_labels_end_where_colours_end() -> None:
    """The labels' border is four pixels too far; both votes bring it back to that of the colour."""
    color = np.where(np.arange(64) < 32, 40, 220)[None, :, None]
    image = frame(1, color=color)
    given = FollowedLabels(halves(edge=36), np.ones(SIZE, np.float32))
    pixels, segments = voted(given, image), voted_in_segments(given, image)
    assert (pixels.label[:, 38:] == 7).all() and (pixels.label[:, :31] == 3).all()
    assert (pixels.label[:, 34] == 7).all()  # two of the five pixels of its colour that it sees
    np.testing.assert_array_equal(segments.label, halves(edge=32))
    np.testing.assert_allclose(segments.confidence[:, 40], 28 / 32, atol=0.02)


def test_votes_by_brute_force() -> None:
    random = np.random.default_rng(0)
    image = frame(1)
    image.color[:] = random.integers(90, 130, (*SIZE, 3))
    label = random.integers(-1, 3, SIZE).astype(np.int32)
    given = FollowedLabels(label, random.random(SIZE).astype(np.float32))
    found = voted(given, image)
    import cv2

    color = cv2.GaussianBlur(image.color, (0, 0), 1.0).astype(float)
    for i, j in ((20, 30), (9, 11), (33, 50)):
        votes, total = np.zeros(3), 0.0
        for di in range(-4, 5):
            for dj in range(-4, 5):
                r, c = i + 2 * di, j + 2 * dj
                off = ((color[r, c] - color[i, j]) ** 2).sum()
                weight = np.exp(-off / (2 * 25.0**2) - (di**2 + dj**2) / (2 * (4 / 1.5) ** 2))
                total += weight
                if label[r, c] >= 0:
                    votes[label[r, c]] += weight * given.confidence[r, c]
        assert found.label[i, j] == votes.argmax()
        assert found.confidence[i, j] == pytest.approx(votes.max() / total, rel=0.02)


def guess(labels: np.ndarray):
    return lambda: FollowedLabels(labels, np.ones(SIZE, np.float32))


def test_the_way_that_guessed_the_label_images_is_believed() -> None:
    """One that errs alike from near by favours the newest; errors that change favour the model."""
    right, wrong = halves(), halves(left=9)
    alike, changing = LabelFollower(), LabelFollower()
    for number in range(4):
        alike.take(frame(number, labels=wrong), guess(right))
        changing.take(frame(number, labels=wrong if number % 2 else right), guess(right))
    assert alike.ranking(seen=True)[0] != "model" and changing.ranking(seen=True)[0] == "model"
    assert (alike.labels(frame(9), guess(right)).label[:, :28] == 9).all()
    assert (changing.labels(frame(9), guess(right)).label[:, :28] == 3).all()
    assert (changing.labels(frame(9)).label[:, :28] == 9).all()  # the model cannot: what there is


def test_an_older_label_image_changes_nothing() -> None:
    follower = LabelFollower()
    follower.take(frame(5, labels=halves()))
    follower.take(frame(4, labels=halves(left=8)))
    assert (follower.labels(frame(6)).label[:, :28] == 3).all()


def test_void_before_the_first_label_image_and_after_clearing() -> None:
    follower = LabelFollower()
    for _ in range(2):
        found = follower.labels(frame(1))
        assert (found.label == -1).all() and (found.confidence == 0).all()
        follower.take(frame(0, labels=halves()))
        follower.clear()
    with pytest.raises(ValueError, match="with labels"):
        follower.take(frame(1))


def test_agreement_by_hand() -> None:
    """Class 3: 30 of 34 columns; class 7: 28 of 34, since void ones are misses."""
    measure = Agreement()
    assert measure.mean == 0
    found = halves(edge=34)
    found[:, 34:36] = -1
    measure.learn(FollowedLabels(found, np.ones(SIZE, np.float32)), halves(edge=30))
    assert measure.mean == pytest.approx((30 / 34 + 28 / 34) / 2)


def test_what_the_newest_label_image_does_not_show_is_learnt_by_itself() -> None:
    """The model is wrong where that shows the surface, and right beside it."""
    follower, x = LabelFollower(), 0.0
    for number in range(4):
        x = 0.4 * number  # ten columns further each time, whose last ten are new
        said = np.full(SIZE, 9, np.int32)
        said[:, 54:] = 7
        truth = np.full(SIZE, 3, np.int32)
        truth[:, 54:] = 7
        truth[:, 44:54] = 7 if number else 3
        follower.take(frame(number, x, labels=truth), guess(said))
    found = follower.labels(frame(9, x + 0.4), guess(said)).label
    assert follower.ranking(seen=False)[0] == "model" != follower.ranking(seen=True)[0]
    assert (found[:, 54:] == 7).all() and (found[:, :34] == 3).all()


def test_confidence_is_how_often_such_labels_were_right() -> None:
    truth = Calibration()
    share = np.where(np.arange(64) < 32, 0.95, 0.65)[None].repeat(48, 0).astype(np.float32)
    said = np.zeros(SIZE, np.int32)
    label = np.zeros(SIZE, np.int32)
    label[:24, 32:] = 1  # half of those with a share of .65 are wrong
    for _ in range(30):
        truth.learn(FollowedLabels(said, share), label)
    found = truth.calibrated(FollowedLabels(said, share))
    np.testing.assert_allclose(found.confidence[:, :32], 1.0, atol=0.01)
    np.testing.assert_allclose(found.confidence[:, 32:], 0.5, atol=0.01)
    nothing = FollowedLabels(np.full(SIZE, -1, np.int32), share)
    assert (truth.calibrated(nothing).confidence == 0).all()


def test_exact_labels_of_a_room_reach_every_frame() -> None:
    """Better than the newest label image as it is, and than no label where it shows nothing."""
    room = SimulatedRoom(seed=2, n_frames=80, size=(64, 48), noise=False)
    predictor = Predictor(load_model("gsnerf"), FramePool(8, 64), ViewSettings(views=3))
    right, stale = [], []
    for number in range(0, 16, 4):
        heard = room[number]
        predictor.hear(heard)
        predictor.add(heard)
        target = room[number + 3]
        label, confidence = predictor.follow(replace(target, labels=None))
        known = (target.labels >= 0) & (confidence > 0.8)
        assert known.mean() > 0.4
        right.append((label == target.labels)[known].mean())
        stale.append((heard.labels == target.labels)[known].mean())
    assert np.mean(right) > 0.9 and np.mean(right) > np.mean(stale) + 0.1
