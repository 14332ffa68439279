"""The mapper end to end on a small made-up wall."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.config import Config
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.views.rendering import render_view
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, look_at, make_transform
from semantic_field.mapping import Mapper
from semantic_field.settings import updated

CAMERA = Camera.from_field_of_view(64, 48, 1.2)
SMALL = {
    "field.grid.log2_table_size": 12,
    "field.grid.levels": 4,
    "field.grid.finest_cell_m": 0.08,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 16,
}


def small_config(**more: object) -> Config:
    return updated(Config(), SMALL | more)


def wall(x: float = 0.0, depth_m: float = 1.5) -> Frame:
    """A wall facing the camera at z = ``depth_m``: left half red (7), right half blue (3)."""
    left = (np.arange(64) - CAMERA.cx) / CAMERA.fx * depth_m + x < 0
    color = np.where(left[None, :, None], [200, 30, 30], [30, 30, 200]).astype(np.uint8)
    labels = np.where(left, 7, 3).astype(np.int32)
    return Frame(
        stamp_ns=int(x * 1e9),
        color=np.broadcast_to(color, (48, 64, 3)).copy(),
        depth=np.full((48, 64), depth_m, np.float32),
        camera=CAMERA,
        T_world_camera=make_transform(np.eye(3), [x, 0, 0]),
        labels=np.broadcast_to(labels, (48, 64)).copy(),
    )


@pytest.fixture(scope="module")
def trained() -> Mapper:
    mapper = Mapper(small_config())
    mapper.set_label_names({3: "blue wall", 7: "red wall"})
    for x in (-0.2, 0.0, 0.2):
        assert mapper.add_frame(wall(x))
    mapper.train_steps(200)
    return mapper


def test_renders_what_it_saw(trained: Mapper) -> None:
    frame = wall(0.1)
    view = trained.render(CAMERA, frame.T_world_camera)
    inner = np.s_[4:-4, 4:-4]
    error = np.abs(view.depth[inner] - 1.5)
    assert np.median(error) < 0.01
    assert (view.label[inner] == frame.labels[inner]).mean() > 0.95
    difference = view.color[inner].astype(float) - frame.color[inner]
    assert np.abs(difference).mean() < 15
    assert (view.normal[inner] @ [0, 0, -1.0] > 0.9).mean() > 0.9


def test_resumes_where_it_stopped(trained: Mapper, tmp_path) -> None:
    trained.save(tmp_path / "map")
    again = Mapper(small_config())
    again.load(tmp_path / "map")
    assert again.status().steps == trained.status().steps
    assert again.status().keyframes == 3
    fresh = Mapper(small_config())
    fresh.add_frame(wall())
    again.train_steps(1)
    fresh.train_steps(1)
    losses = [sum(mapper.status().losses.values()) for mapper in (again, fresh)]
    assert losses[0] < 0.01 * losses[1]
    assert again.snapshot().label_names == {3: "blue wall", 7: "red wall"}


def test_confidence_and_surface(trained: Mapper) -> None:
    points = extract_surface(trained.snapshot(), 0.05)
    assert len(points) > 300
    np.testing.assert_allclose(np.linalg.norm(points.normals, axis=1), 1, atol=1e-3)
    assert np.median(np.abs(points.xyz[:, 2] - 1.5)) < 0.01
    assert (points.normals[:, 2] < -0.9).mean() > 0.9  # towards the camera
    assert points.latent.shape == (len(points), 16)
    inner = np.abs(points.xyz[:, 0]) > 0.1
    expected = np.where(points.xyz[:, 0] < 0, 7, 3)
    assert (points.label == expected)[inner].mean() > 0.95
    cells = np.floor(points.xyz / 0.05)
    assert len(points) < 1.5 * len(np.unique(cells, axis=0))
    assert points.confidence.min() > 0 and points.confidence.max() < 1
    assert len(points.select(points.label == 7)) == (points.label == 7).sum()


def test_empty_map_can_be_asked() -> None:
    mapper = Mapper(small_config())
    view = mapper.render(CAMERA, np.eye(4))
    assert not view.depth.any() and (view.label == -1).all()
    assert len(extract_surface(mapper.snapshot())) == 0
    assert mapper.status().state == "stopped"
    with pytest.raises(ValueError, match="add_frame"):
        mapper.train_steps(1)


def test_frames_are_dropped_by_cause() -> None:
    mapper = Mapper(small_config())
    assert mapper.add_frame(wall(0.0))
    assert not mapper.add_frame(wall(0.01))
    blind = replace(wall(3.0), depth=np.zeros((48, 64), np.float32))
    assert not mapper.add_frame(blind)
    millimetres = replace(wall(3.0), depth=wall(3.0).depth * np.float32(1000))
    assert not mapper.add_frame(millimetres)
    lost = replace(wall(3.0), T_world_camera=make_transform(np.eye(3), [1e5, 1e5, 1e5]))
    assert not mapper.add_frame(lost)
    status = mapper.status()
    assert status.dropped == {
        "view_covered": 1,
        "no_depth": 1,
        "depth_out_of_range": 1,
        "outside_map": 1,
    }
    assert (status.keyframes, status.frames) == (1, 5)
    mapper.train_steps(1)


def test_worker_thread() -> None:
    mapper = Mapper(small_config())
    mapper.start()
    try:
        assert mapper.status().state == "waiting"
        assert mapper.add_frame(wall(0.0))
        wait_for(lambda: mapper.status().steps > 3)
        first = mapper.snapshot()
        before = first.field.table.clone()
        steps = mapper.status().steps
        wait_for(lambda: mapper.status().steps > steps + 3)
        assert torch.equal(first.field.table, before)  # a snapshot never changes
        second = mapper.snapshot()
        assert second.version > first.version and second.steps > first.steps
        mapper.pause()
        assert mapper.status().state == "paused"
        assert mapper.add_frame(wall(0.5))  # frames are taken while training rests
        wait_for(lambda: mapper.status().keyframes == 2)
        steps = mapper.status().steps
        assert mapper.add_frame(wall(1.0))
        wait_for(lambda: mapper.status().keyframes == 3)
        assert mapper.status().steps == steps
        mapper.resume()
        wait_for(lambda: mapper.status().steps > steps)
        mapper.reset()
        wait_for(lambda: mapper.status().keyframes == 0)
        assert mapper.snapshot().version > second.version
    finally:
        mapper.stop()
    assert mapper.status().error == ""


def test_cameras_of_other_sizes_may_come_in_mid_stream() -> None:
    mapper = Mapper(small_config())
    cameras = [
        CAMERA,
        Camera.from_field_of_view(32, 24, 0.8),  # smaller: keeps its size
        Camera(150.0, 140.0, 60.0, 50.0, 128, 96),  # larger: made to fit
        Camera.from_field_of_view(300, 40, 1.0),  # of another shape
    ]
    mapper.start()
    try:
        for number, camera in enumerate(cameras):
            frame = seen_by(camera, 0.3 * number)
            assert mapper.add_frame(frame)
            wait_for(lambda n=number: mapper.status().keyframes == n + 1)
        steps = mapper.status().steps
        wait_for(lambda: mapper.status().steps > steps + 200)
    finally:
        mapper.stop()
    assert mapper.status().error == "" and mapper.status().dropped == {}
    view = mapper.render(CAMERA, make_transform(np.eye(3), [0.6, 0, 0]))
    inner = view.depth[12:-12, 12:-12]
    assert np.median(np.abs(inner - 1.5)) < 0.02
    points = extract_surface(mapper.snapshot(), 0.05)
    assert np.abs(points.xyz[:, 2] - 1.5).max() < 0.1  # no camera put its readings elsewhere


def seen_by(camera: Camera, x: float) -> Frame:
    """The wall of ``wall`` as another camera sees it."""
    size = (camera.height, camera.width)
    left = (np.arange(camera.width) - camera.cx) / camera.fx * 1.5 + x < 0
    color = np.where(left[None, :, None], [200, 30, 30], [30, 30, 200]).astype(np.uint8)
    return Frame(
        stamp_ns=int(x * 1e9),
        color=np.broadcast_to(color, (*size, 3)).copy(),
        depth=np.full(size, 1.5, np.float32),
        camera=camera,
        T_world_camera=make_transform(np.eye(3), [x, 0, 0]),
        labels=np.broadcast_to(np.where(left, 7, 3).astype(np.int32), size).copy(),
    )


def test_newest_waiting_frame_wins() -> None:
    mapper = Mapper(small_config())
    mapper.start()
    try:
        with mapper.turns.visit():  # the worker is busy: it cannot take frames
            assert all(mapper.add_frame(wall(float(x))) for x in (0, 1, 2, 3))
            blind = replace(wall(4.0), depth=np.zeros((48, 64), np.float32))
            assert not mapper.add_frame(blind)  # nor does it take the place of one that sees
        wait_for(lambda: mapper.status().keyframes == 1)
    finally:
        mapper.stop()
    assert mapper.snapshot().stamp_ns == wall(3.0).stamp_ns
    assert mapper.status().dropped == {"mapper_busy": 3, "no_depth": 1}


def test_new_classes_forget_nothing(tmp_path) -> None:
    mapper = Mapper(small_config(), teacher=LetterTeacher())
    mapper.set_label_names({7: "red"})
    mapper.add_frame(wall(0.0))
    mapper.train_steps(30)
    before = mapper.snapshot()
    assert before.class_ids == (7, 3)  # class 3 came with the frame
    mapper.set_label_names({3: "blue", 50: "green"})
    after = mapper.snapshot()
    assert after.class_ids == (7, 3, 50)
    head, old = after.field.label_head.weight, before.field.label_head.weight
    assert torch.equal(head[:2], old)
    assert after.language is not None and after.language.rank >= 2
    mapper.train_steps(5)
    mapper.save(tmp_path / "map")
    with pytest.raises(ValueError, match=r"teacher\.kind"):
        Mapper(small_config(), teacher=LetterTeacher("other")).load(tmp_path / "map")
    with pytest.raises(ValueError, match="settings of the map"):
        Mapper(small_config(**{"field.latent_dim": 8})).load(tmp_path / "map")
    again = Mapper(small_config(), teacher=LetterTeacher())
    again.load(tmp_path / "map")
    again.set_label_names({3: "blue", 7: "red", 50: "green"})
    assert again.snapshot().class_ids == (7, 3, 50)
    assert again.add_frame(wall(0.4))
    again.train_steps(2)
    assert again.status().steps == 37


def test_a_map_learnt_from_images_goes_on_within_its_memory(tmp_path) -> None:
    config = small_config(**{"language.source": "images"})
    mapper, again = (Mapper(config, teacher=LetterTeacher()) for _ in range(2))
    mapper.add_frame(wall(0.0))
    mapper.train_steps(1)
    mapper.save(tmp_path / "map")
    again.load(tmp_path / "map")
    assert mapper.live_map.keyframes is not None and again.live_map.keyframes is not None
    assert again.live_map.keyframes.capacity == mapper.live_map.keyframes.capacity


def test_a_map_keeps_its_language_while_its_teacher_is_away(tmp_path) -> None:
    """Loaded, trained and saved without a teacher, then loaded with it again."""
    first = Mapper(small_config(), LetterTeacher())
    first.set_label_names({3: "blue wall", 7: "red wall"})
    first.add_frame(wall())
    first.train_steps(2)
    first.save(tmp_path / "map")
    space = first.snapshot().language
    without = Mapper(small_config())
    without.load(tmp_path / "map")
    without.train_steps(2)
    without.save(tmp_path / "map")
    assert torch.equal(without.snapshot().language.basis, space.basis)
    again = Mapper(small_config(), LetterTeacher())
    again.load(tmp_path / "map")
    kept = again.snapshot().language
    assert kept.fingerprint == "letters" and kept.rank == space.rank == 2
    assert torch.equal(kept.basis, space.basis)
    without.reset()
    assert without.snapshot().language is None


def test_language_latents_follow_the_names() -> None:
    teacher = LetterTeacher()
    mapper = Mapper(small_config(), teacher=teacher)
    mapper.set_label_names({3: "b", 7: "r"})
    for x in (-0.2, 0.0, 0.2):
        mapper.add_frame(wall(x))
    mapper.train_steps(250)
    state = mapper.snapshot()
    points = extract_surface(state, 0.05)
    assert state.language is not None
    similarity = state.language.similarity(
        torch.from_numpy(points.latent), teacher.embed_text(["r", "b", "q"])
    ).numpy()
    is_red = points.label == 7
    assert np.median(similarity[is_red, 0]) > 0.9
    assert np.median(similarity[~is_red, 1]) > 0.9
    assert np.median(np.abs(similarity[:, 2])) < 0.3


def test_damaged_file_leaves_the_map_alone(trained: Mapper, tmp_path) -> None:
    trained.save(tmp_path / "map")
    data = (tmp_path / "map").read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    steps = trained.status().steps
    with pytest.raises(ValueError, match="damaged"):
        trained.load(tmp_path / "cut")
    assert (trained.status().steps, trained.status().keyframes) == (steps, 3)


class LetterTeacher:
    """One dimension for each letter a text begins with."""

    dim = 26

    def __init__(self, fingerprint: str = "letters") -> None:
        self.fingerprint = fingerprint

    def knows(self, text: str) -> bool:
        return True

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        letters = torch.tensor([ord(text[0]) - ord("a") for text in texts])
        return torch.nn.functional.one_hot(letters, self.dim).float()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return as soon as the condition holds; fail where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "condition did not come true"
        time.sleep(0.01)


def test_tracing_finds_what_dense_sampling_finds(trained: Mapper) -> None:
    state = trained.snapshot()
    pose = look_at([0.5, -0.2, 0.4], [0.0, 0.1, 1.5], up=[0, -1, 0])
    directions = (CAMERA.rays().reshape(-1, 3)[::7] @ pose[:3, :3].T).astype(np.float32)
    depth = render_view(state, CAMERA, pose).depth.reshape(-1)[::7]
    found = np.where(depth > 0, depth, np.inf)
    t = np.arange(0.05, 3.0, 0.002)
    points = (pose[:3, 3] + t[:, None, None] * directions).astype(np.float32)
    flat = points.reshape(-1, 3)
    inside = state.field.distance(torch.from_numpy(flat)).numpy() < 0
    inside &= state.reach.lookup(flat) > 0
    inside = inside.reshape(len(t), -1)
    expected = np.where(inside.any(0), t[inside.argmax(0)], np.inf)
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.mean() > 0.7
    assert (np.isfinite(found) == np.isfinite(expected)).mean() > 0.98
    difference = np.abs(found[both] - expected[both])
    assert np.median(difference) < 0.002  # the step of the dense samples
    assert np.percentile(difference, 95) < 0.005
