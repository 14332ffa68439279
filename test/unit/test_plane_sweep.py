"""Depth from colour: a textured, slanted wall whose depth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semantic_field.data import plane_sweep
from semantic_field.data.plane_sweep import EstimatedDepth, confirmed, neighbours, sweep, view_of
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform

CAMERA = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setattr(plane_sweep, "WIDTH", 64)
    monkeypatch.setattr(plane_sweep, "PLANES", 64)


def frame(x: float) -> Frame:
    """A wall z = 2 + 0.3 X with a smooth random pattern, from (x, 0, 0) looking along z."""
    rays = CAMERA.rays()
    z = (2 + 0.3 * x) / (1 - 0.3 * rays[..., 0])
    along, down = rays[..., 0] * z + x, rays[..., 1] * z
    random, grey = np.random.default_rng(0), np.zeros(z.shape)
    for _ in range(40):
        a, b, phase = random.normal(0, 9, 2).tolist() + [random.uniform(0, 6.3)]
        grey += np.sin(a * along + b * down + phase)
    color = np.clip(128 + 18 * grey, 0, 255).astype(np.uint8)[..., None].repeat(3, -1)
    T = make_transform(np.eye(3), [x, 0, 0])
    return Frame(0, color, z.astype(np.float32), CAMERA, T)


class Recording:
    name, label_names, stamps = "wall", {}, (0, 0, 0, 0)

    def __init__(self) -> None:
        self.frames, self.asked = [frame(x) for x in (0.0, 0.2, 0.4, 0.6)], 0

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        self.asked += 1
        f = self.frames[index]
        return Frame(0, f.color, 0 * f.depth, f.camera, f.T_world_camera)


def test_a_wall_is_found() -> None:
    frames = [frame(x) for x in (0.0, 0.2, 0.4)]
    views = [view_of(f) for f in frames]
    depth = sweep(views[1], [views[0], views[2]])
    inner = depth[6:-6, 14:-14]
    error = np.abs(inner - frames[1].depth[6:-6, 14:-14])[inner > 0]
    assert (inner > 0).mean() > 0.9
    assert np.median(error) < 0.03 and np.percentile(error, 90) < 0.1


def test_neighbours_are_near_and_look_the_same_way() -> None:
    poses = np.stack([np.eye(4)] * 5)
    poses[:, 0, 3] = 0.0, 0.001, 0.25, 3.0, 0.3
    poses[4, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    assert neighbours(poses, 0) == [2, 3]  # not the same place, not the one that looks away


def test_unconfirmed_depth_is_left_out() -> None:
    views = [view_of(frame(x)) for x in (0.0, 0.2, 0.4)]
    truth = [frame(x).depth for x in (0.0, 0.2, 0.4)]
    others = list(zip(views[1:], truth[1:]))
    wrong = truth[0].copy()
    wrong[:24] *= 1.2
    kept = confirmed(wrong, views[0], others)
    assert (kept[:24] == 0).all()
    assert (kept[26:, 24:60] > 0).all()
    assert not confirmed(truth[0], views[0], others[:1]).any()  # one witness is not enough


def test_depths_are_kept_and_a_run_goes_on(tmp_path: Path) -> None:
    source = Recording()
    estimated = EstimatedDepth(source, tmp_path)
    inner = estimated[1].depth[8:-8, 20:-20]
    assert (inner > 0).mean() > 0.5
    truth = source.frames[1].depth[8:-8, 20:-20]
    assert np.median(np.abs(inner - truth)[inner > 0]) < 0.05
    (tmp_path / "depth" / "000002.png").unlink()
    asked = source.asked
    again = EstimatedDepth(source, tmp_path)
    np.testing.assert_array_equal(again[1].depth, estimated[1].depth)
    assert source.asked - asked == len(source) + 2
    EstimatedDepth(source, tmp_path)
    assert source.asked - asked == len(source) + 2  # nothing to do: no frame is read


def test_a_camera_that_only_turns_is_refused(tmp_path: Path) -> None:
    source = Recording()
    source.frames = [source.frames[0]] * 3
    with pytest.raises(ValueError, match="only turns"):
        EstimatedDepth(source, tmp_path)
