"""The simplest alternative to a map: the nearest frames, reprojected through their own depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from semantic_field.data.placed import PlacedSource
from semantic_field.data.sources import open_source, poses_of
from semantic_field.evaluation.baselines.reprojection import Reprojection
from semantic_field.evaluation.baselines.without_map import labelled_points, shortfalls
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.protocols.splits import TrainFrames, make_split
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform, pose_distances

CAMERA = Camera(10.0, 10.0, 9.5, 4.5, 20, 10)


class Frames(list):
    """A recording in memory."""

    name = "frames"
    label_names = {3: "wall", 8: "box"}

    @property
    def stamps(self) -> list[int]:
        return [frame.stamp_ns for frame in self]


def frame(x: float = 0.0, grey: int = 100, label: int = 3, depth: float = 2.0) -> Frame:
    """A camera at x that looks along z at a wall."""
    size = CAMERA.height, CAMERA.width
    return Frame(
        0,
        np.full((*size, 3), grey, np.uint8),
        np.full(size, depth, np.float32),
        CAMERA,
        make_transform(np.eye(3), [x, 0, 0]),
        np.full(size, label, np.int32),
    )


def test_a_frame_predicts_itself() -> None:
    own = frame()
    color = np.random.default_rng(0).integers(0, 256, own.color.shape, dtype=np.uint8)
    found = Reprojection(Frames([replace(own, color=color)]))(CAMERA, own.T_world_camera)
    assert found.holes == 0 and (found.view.color == color).all()
    np.testing.assert_allclose(found.view.depth, 2.0)
    assert (found.view.label == 3).all() and (found.view.confidence == 1).all()


def test_pixels_move_by_the_disparity_and_holes_are_filled_with_what_is_near() -> None:
    own = frame()
    own.color[:, 10:] = 200
    own.labels[:, 10:] = 8  # type: ignore[index]
    found = Reprojection(Frames([own]))(CAMERA, frame(0.6).T_world_camera)  # 0.6 m * 10 px / 2 m
    assert (found.view.color[:, :7] == 100).all() and (found.view.color[:, 7:] == 200).all()
    assert (found.view.label[:, 7:] == 8).all()
    assert found.holes == pytest.approx(3 / 20)
    assert (found.view.depth[:, 17:] == 0).all() and (found.view.depth[:, :17] == 2).all()
    assert (found.view.confidence[:, 17:] == 0).all()


def test_what_is_in_front_hides_what_is_behind() -> None:
    frames = Frames([frame(grey=50, label=3), frame(grey=250, label=8, depth=1.0)])
    view = Reprojection(frames)(CAMERA, frame().T_world_camera).view
    assert (view.color == 250).all() and (view.label == 8).all() and (view.depth == 1).all()


def test_near_frames_weigh_more_and_far_ones_are_left_out() -> None:
    frames = Frames([frame(0.0, 100), frame(0.05, 200, label=8), frame(1.0, 0, label=8)])
    view = Reprojection(frames, nearest=2)(CAMERA, frame().T_world_camera).view
    middle = view.color[5, 10]  # weights 1 / 0.05 and 1 / 0.1
    assert middle.tolist() == [133, 133, 133] and view.label[5, 10] == 3


def test_a_frame_without_labels_gives_colour_only() -> None:
    frames = Frames([replace(frame(), labels=None)])
    view = Reprojection(frames)(CAMERA, frame().T_world_camera).view
    assert (view.color == 100).all() and (view.label == -1).all()


def test_a_radian_counts_as_a_metre() -> None:
    turned = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    poses = [make_transform(np.eye(3), [0, 2, 0]), make_transform(turned, [0, 0, 0])]
    np.testing.assert_allclose(pose_distances(np.stack(poses), np.eye(4)), [2.0, np.pi / 2])


def test_poses_are_known_without_decoding_in_every_wrapping() -> None:
    room = open_source("room:seed=2,frames=6,width=32,height=24")
    placed = PlacedSource(room, np.array([1.0, 2.0, 3.0]), [0, 2, 3, 5], {})
    train = TrainFrames(placed, make_split("every_nth", 4, n=2))
    for source in (room, placed, train):
        poses = poses_of(source)
        assert len(poses) == len(source)
        for index in range(len(source)):
            np.testing.assert_allclose(poses[index], source[index].T_world_camera)


def test_the_cloud_of_the_baseline_has_the_given_labels() -> None:
    points = labelled_points(Frames([frame(), replace(frame(3.0), labels=None)]), Protocol("p"))
    assert len(points) and (points.label == 3).all()
    np.testing.assert_allclose(points.xyz[:, 2], 2.0, atol=1e-5)


@pytest.mark.parametrize(("psnr", "below"), [(29.0, True), (31.0, False)])
def test_a_report_says_in_words_where_the_map_is_below(psnr: float, below: bool) -> None:
    quality = {"views": {"psnr": psnr}, "baseline": {"name": "other", "views": {"psnr": 30.0}}}
    sentences = shortfalls(quality)
    assert bool(sentences) is below
    if below:
        assert sentences == ["The map is below the other in PSNR (29.00 dB against 30.00 dB)"]
    assert shortfalls({"views": {"psnr": psnr}}) == []
