"""Splits as published, and that a mapper cannot see a held-out frame."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.evaluation.protocols.splits import (
    Split,
    TrainFrames,
    make_split,
    nearest_by_angle,
    nearest_by_distance,
)
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, look_at, make_transform


def test_ov_nerf() -> None:
    split = make_split("ov_nerf", 25)
    assert split.test == (0, 10, 20)
    assert split.train[:3] == (1, 2, 3) and len(split.train) == 22


def test_semantic_nerf_on_900_frames() -> None:
    split = make_split("semantic_nerf", 900)
    assert len(split.train) == len(split.test) == 180
    assert split.train[:3] == (0, 5, 10) and split.test[:3] == (2, 7, 12)
    assert make_split("semantic_nerf", 11).test == (2, 7)


def test_sources_and_targets() -> None:
    for rule in ("gsnerf", "gp_nerf"):
        split = make_split(rule, 900)
        assert split.test == tuple(range(2, 202, 20))
        assert split.train == tuple(range(0, 700, 5))
    assert make_split("gsnerf", 160).test == (2, 22, 42, 62, 82, 102, 122, 142)


def test_no_split_leaks_at_any_length() -> None:
    for rule in ("ov_nerf", "every_nth", "semantic_nerf", "gsnerf", "gp_nerf"):
        for n_frames in (6, 30, 157, 701, 900):
            split = make_split(rule, n_frames)
            assert not set(split.train) & set(split.test)
    for n in (2, 3, 7):
        split = make_split("every_nth", 30, n=n)
        assert not set(split.train) & set(split.test)


def test_rejects_leaks_and_nonsense() -> None:
    with pytest.raises(ValueError, match=r"\[2\] in both"):
        Split((0, 1, 2), (2, 3), 4)
    with pytest.raises(ValueError, match="long enough"):
        Split((0, 1), (5,), 4)
    with pytest.raises(ValueError, match="long enough"):
        make_split("gsnerf", 2)
    with pytest.raises(ValueError, match="expected a split"):
        make_split("random", 10)
    with pytest.raises(ValueError, match="other options"):
        make_split("ov_nerf", 10, every=3)
    with pytest.raises(ValueError, match="in both"):
        make_split("explicit", 10, train=[0, 1], test=[1])
    assert make_split("explicit", 5, test=[1, 3]).train == (0, 2, 4)


class Recording:
    """A source that remembers which frames were read."""

    def __init__(self) -> None:
        self.name, self.label_names, self.read = "recording", {1: "wall"}, []
        self.stamps = list(range(30))

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Frame:
        self.read.append(index)
        camera = Camera.from_field_of_view(16, 12, 1.0)
        return Frame(
            index,
            np.full((12, 16, 3), index, np.uint8),
            np.ones((12, 16), np.float32),
            camera,
            make_transform(np.eye(3), [0, 0, index]),
            instances=np.zeros((12, 16), np.int32),
        )


def test_train_frames_reach_no_held_out_frame() -> None:
    source = Recording()
    split = make_split("ov_nerf", len(source))
    frames = TrainFrames(source, split)
    stamps = [frames[i].stamp_ns for i in range(len(frames))]
    assert stamps == list(split.train) == source.read == frames.stamps
    assert frames[0].instances is None  # ground truth stays behind
    with pytest.raises(IndexError):
        frames[len(frames)]


def test_nearest_cameras_against_all_pairs() -> None:
    random = np.random.default_rng(4)
    poses = np.stack([look_at(random.normal(size=3), random.normal(size=3)) for _ in range(12)])
    target = look_at(random.normal(size=3), random.normal(size=3))
    centres = poses[:, :3, 3]
    by_distance = sorted(range(12), key=lambda i: np.linalg.norm(centres[i] - target[:3, 3]))
    assert nearest_by_distance(centres, target[:3, 3], 5).tolist() == by_distance[:5]
    angles = [
        np.arccos(np.clip((np.trace(target[:3, :3].T @ pose[:3, :3]) - 1) / 2, -1, 1))
        for pose in poses
    ]
    expected = sorted(range(12), key=lambda i: angles[i])[:5]
    assert nearest_by_angle(poses, target, 5).tolist() == expected
