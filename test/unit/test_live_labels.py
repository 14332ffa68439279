"""Labels of a segmenter in the map: beside label images or instead, weighted by confidence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.config import Config, MappingConfig
from semantic_field.field.map_file import dump_map, load_map
from semantic_field.field.rays.rays import Rays
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.labels.surface_votes import HALF_SEEN, UNITS, SurfaceVotes
from semantic_field.mapping.mapper import Mapper
from semantic_field.settings import updated
from semantic_field.teachers.image_teachers import (
    ImageTeachers,
    TeacherInput,
    make_image_teachers,
)
from semantic_field.teachers.segmentation import Segmentation

CAMERA = Camera.from_field_of_view(64, 48, 1.2)
CONFIG = updated(
    Config(),
    {
        "field.grid.log2_table_size": 12,
        "mapping.rays_per_step": 256,
        "mapping.threads": 1,
        "mapping.memory_budget_mb": 64,
        "teacher.segmenter": "halves",
    },
)


class Halves:
    """Labels the left half of an image as chair and the right one as lamp, with given doubts."""

    name, fingerprint = "halves", "halves"
    names = {0: "chair", 1: "lamp", 2: "void"}

    def __init__(self, doubt: int = 0) -> None:
        self.doubt, self.calls = doubt, 0

    def segment(self, color):
        self.calls += 1
        labels = np.zeros(color.shape[:2], np.int16)
        labels[:, labels.shape[1] // 2 :] = 1
        labels[0], labels[-1] = 2, -1  # void, and nothing at all
        return Segmentation(labels, np.full(labels.shape, self.doubt, np.uint8))


def frame(x: float = 0.0, labels=None, depth_m: float = 1.5) -> Frame:
    size = (CAMERA.height, CAMERA.width)
    return Frame(
        stamp_ns=int((1 + x) * 1e9),
        color=np.full((*size, 3), 120, np.uint8),
        depth=np.full(size, depth_m, np.float32),
        camera=CAMERA,
        T_world_camera=make_transform(np.eye(3), [x, 0, 0]),
        labels=labels,
    )


def mapper_with(segmenter, stands_in=False, config=CONFIG) -> Mapper:
    teachers = ImageTeachers(None, segmenter=segmenter, stands_in=stands_in)
    return Mapper(config, image_teachers=teachers)


def rows_of(mapper: Mapper, slot: int = 0) -> np.ndarray:
    return mapper.live_map.keyframes.images.labels[slot].reshape(48, 64)


def test_labels_come_to_the_map_without_any_label_image():
    mapper = mapper_with(Halves(doubt=51))
    for x in (-0.2, 0.0, 0.2):
        assert mapper.add_frame(frame(x))
    mapper.train_steps(120)
    names = mapper.label_names()
    assert sorted(names.values()) == ["chair", "lamp"]
    row = {name: list(names.values()).index(name) for name in names.values()}
    rows = rows_of(mapper)
    assert (rows[1:-1, :32] == row["chair"]).all() and (rows[1:-1, 32:] == row["lamp"]).all()
    assert (rows[0] == -1).all() and (rows[-1] == -1).all()
    assert (mapper.live_map.keyframes.doubts[0].reshape(48, 64)[1:-1] == 51).all()
    view = mapper.render(CAMERA, np.eye(4))
    said = np.array(mapper.live_map.classes.ids)[view.label] if view.label.max() < 9 else view.label
    chair = next(i for i, name in names.items() if name == "chair")
    lamp = next(i for i, name in names.items() if name == "lamp")
    assert (said[10:38, 6:26] == chair).mean() > 0.95
    assert (said[10:38, 38:58] == lamp).mean() > 0.95


def test_beside_a_label_image_what_it_leaves_open_is_filled():
    segmenter = Halves()
    mapper = mapper_with(segmenter)
    mapper.set_label_names({7: "lamp", 8: "wall"})
    labels = np.full((48, 64), -1, np.int32)
    labels[10:20] = 8
    labels[20:30] = 7
    mapper.add_frame(frame(labels=labels))
    mapper.train_steps(1)
    names = mapper.live_map.classes.row_names()
    assert names == ["lamp", "wall", "chair"]  # "lamp" of both is one class
    rows = rows_of(mapper)
    assert (rows[10:20] == 1).all() and (rows[20:30] == 0).all()
    assert (rows[30:47, :32] == 2).all() and (rows[30:47, 32:] == 0).all()


def test_alone_it_replaces_label_images():
    mapper = mapper_with(Halves(), config=updated(CONFIG, {"teacher.segmenter_alone": True}))
    mapper.set_label_names({8: "wall"})
    mapper.add_frame(frame(labels=np.full((48, 64), 8, np.int32)))
    mapper.train_steps(1)
    wall = mapper.live_map.classes.row_names().index("wall")
    assert not (rows_of(mapper) == wall).any() and (rows_of(mapper)[1:-1] >= 0).all()


def test_one_that_stands_in_stops_when_label_images_come():
    segmenter = Halves()
    mapper = mapper_with(segmenter, stands_in=True)
    mapper.set_label_names({8: "wall"})
    mapper.add_frame(frame(-0.2))
    assert segmenter.calls == 1
    mapper.add_frame(frame(0.0, np.full((48, 64), 8, np.int32)))
    mapper.add_frame(frame(0.2))
    assert segmenter.calls == 1
    mapper.train_steps(1)
    assert (rows_of(mapper, 0)[1:-1] >= 0).all() and (rows_of(mapper, 2) == -1).all()


def test_a_closed_vocabulary_takes_only_its_own_names():
    table = ClassTable.of_texts(["lamp", "sofa"], {})
    assert table.rows_named(["chair", "Lamp", "void", "sofa"]).tolist() == [-1, 0, -1, 1]
    table = ClassTable()
    table.set_names({3: "wall"})
    assert table.rows_named(["chair", "WALL", "unlabelled", "chair"]).tolist() == [1, 0, -1, 1]
    assert table.row_names() == ["wall", "chair"]


def rays_at(store: KeyframeStore, pixels: list[int]) -> Rays:
    n = len(pixels)
    pixel = torch.tensor(pixels)
    rows = torch.from_numpy(store.images.labels[0].astype(np.int64))[pixel]
    one = torch.ones(n)
    return Rays(
        torch.zeros(2 * n, 3), one[:, None], torch.zeros(n, 3), one, one, one, torch.zeros(n, 3),
        one, rows, torch.ones(n), pixel, torch.zeros(n, dtype=torch.int64), one[:, None], one,
    )  # fmt: skip


def doubted_store() -> KeyframeStore:
    store = KeyframeStore(64, 48, 4, (0.1, 10.0))
    store.add(frame(), None)
    store.set_labels(
        0, np.arange(3), np.array([0, 1, 0], np.int16), np.array([0, 51, 255], np.uint8)
    )
    return store


def test_a_label_weighs_as_much_as_its_confidence():
    store, corrections = doubted_store(), Corrections(MappingConfig(stream_label_weight=0.5))
    rays = rays_at(store, [0, 1, 2, 3])
    corrections.apply(rays, store)
    np.testing.assert_allclose(rays.label_weight, [0.5, 0.4, 0.0, 0.5], atol=1e-6)
    assert rays.label.tolist() == [0, 1, 0, -1]
    store.set_labels(0, np.arange(3), np.zeros(3, np.int16))  # certain labels again
    corrections.apply(rays, store)
    assert rays.label_weight.tolist() == [0.5] * 4


def test_the_device_has_the_same_doubts():
    store = doubted_store()
    copy = DeviceKeyframes(store, "cpu", reserve=1)
    copy.follow(store)
    assert torch.equal(copy.doubts[0], torch.from_numpy(store.doubts[0]))
    store.add(frame(1.0), None)
    store.set_labels(1, np.array([7]), np.array([0], np.int16), np.array([9], np.uint8))
    assert copy.is_behind(store)
    copy.follow(store)
    assert copy.doubts[:2].numpy().tolist() == store.doubts[:2].tolist()


def test_votes_weigh_as_much_as_confidence():
    """A single pixel in a voxel: its units are w c / (w c + 1/2 vote)."""
    units = {}
    for doubt in (0, 128, 255):
        store = KeyframeStore(64, 48, 4, (0.1, 10.0))
        store.add(frame(depth_m=9.0), None)  # so far away that each pixel has a voxel of its own
        store.set_labels(
            0, np.array([24 * 64 + 32]), np.array([0], np.int16), np.array([doubt], np.uint8)
        )
        votes = SurfaceVotes(1 << 20)
        votes.count(store)
        units[doubt] = int(votes.table.votes[: len(votes.table)].sum())
    share = units[0] / UNITS
    weight = share * HALF_SEEN / (1.0 - share)
    half = weight * 127 / 255
    assert units[0] > 0 and units[255] == 0
    assert abs(units[128] - UNITS * half / (half + HALF_SEEN)) <= 2


def test_doubts_move_with_their_keyframe_and_end_with_it():
    store = doubted_store()
    store.add(frame(1.0), None)
    store.set_labels(1, np.array([7]), np.array([0], np.int16), np.array([9], np.uint8))
    store.remove(0)
    assert store.count == 1 and store.doubts[0, 7] == 9 and store.doubts[0, 2] == 0
    assert store.memory_bytes() == 64 * 48 * 9
    store.add(frame(0.5), None)
    assert not store.doubts[1].any()


def test_doubts_are_in_the_map_file(tmp_path):
    mapper = mapper_with(Halves(doubt=77))
    mapper.add_frame(frame(0.0))
    mapper.train_steps(2)
    path = tmp_path / "map.safetensors"
    mapper.save(path)
    again = Mapper(CONFIG)
    again.load(path)
    store, before = again.live_map.keyframes, mapper.live_map.keyframes
    assert np.array_equal(store.doubts[0], before.doubts[0]) and store.doubts[0].max() == 77
    assert np.array_equal(store.images.labels[0], before.images.labels[0])
    assert again.label_names() == mapper.label_names()
    again.train_steps(1)
    assert load_map(dump_map(again.snapshot())).label_names == mapper.label_names()


def test_keyframes_from_before_the_first_doubt_are_kept(tmp_path):
    mapper = Mapper(CONFIG)
    mapper.add_frame(frame(0.0))
    mapper.add_frame(frame(0.3))
    path, store = tmp_path / "map.safetensors", mapper.live_map.keyframes
    mapper.train_steps(1)
    mapper.save(path)
    labels = np.array([mapper.live_map.classes.row(5)], np.int16)
    mapper.live_map.extend_classes(mapper.live_map.classes.copy())
    store.set_labels(1, np.array([3]), labels, np.array([40], np.uint8))
    mapper.train_steps(1)
    mapper.save(path)
    again = Mapper(CONFIG)
    again.load(path)
    assert not again.live_map.keyframes.doubts[0].any()
    assert again.live_map.keyframes.doubts[1, 3] == 40


def test_results_are_kept_in_the_store(tmp_path):
    image = TeacherInput(1, 0, frame().color)
    first, second = Halves(5), Halves(5)
    seen = [
        ImageTeachers(None, store=str(tmp_path), segmenter=segmenter).look(image)
        for segmenter in (first, second)
    ]
    assert (first.calls, second.calls) == (1, 0)
    for name in ("labels", "doubts"):
        kept = [getattr(targets.segmentation, name) for targets in seen]
        assert np.array_equal(*kept) and kept[1].dtype == kept[0].dtype
    assert seen[1].class_names == Halves.names


def test_labels_of_another_size_are_refused(tmp_path):
    segmenter = Halves()
    fine = segmenter.segment
    segmenter.segment = lambda color: fine(color[:-2])
    with pytest.raises(ValueError, match=r"expected labels \(48, 64\) of halves, got \(46, 64\)"):
        ImageTeachers(None, segmenter=segmenter).look(TeacherInput(1, 0, frame().color))


def test_no_segmenter_without_weights():
    assert make_image_teachers(Config(), None) is None
    none = updated(Config(), {"teacher.segmenter": ""})
    assert make_image_teachers(none, None) is None
    absent = updated(Config(), {"teacher.segmenter": "segformer-b0"})
    with pytest.raises(ValueError, match="semantic-field weights get segformer-b0"):
        make_image_teachers(absent, None)
    hub = updated(Config(), {"teacher.segmenter": "nvidia/no-such-segformer"})
    with pytest.raises(ValueError, match="hf download nvidia/no-such-segformer"):
        make_image_teachers(hub, None)


def test_doubts_have_their_share_of_the_memory():
    """A map with a segmenter has room for eight ninths of the keyframes."""
    with_one = Mapper(CONFIG)
    without = Mapper(updated(CONFIG, {"teacher.segmenter": ""}))
    for mapper in (with_one, without):
        mapper.add_frame(replace(frame(), labels=None))
    most = [mapper.live_map.keyframes.capacity for mapper in (with_one, without)]
    assert most[0] == pytest.approx(most[1] * 8 / 9, rel=0.05)
