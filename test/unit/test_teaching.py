"""Teachers at work beside the mapper: newest first, failures said, results at their keyframes."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.config import Config
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping.language import teacher_worker as worker_module
from semantic_field.mapping.language.teacher_worker import TeacherWorker
from semantic_field.mapping.language.teaching import TeacherInbox, precompute, teacher_input
from semantic_field.mapping.mapper import Mapper
from semantic_field.settings import updated
from semantic_field.teachers.depth_regions import DepthRegions
from semantic_field.teachers.image_teachers import (
    ImageTargets,
    ImageTeachers,
    TeacherInput,
    make_image_teachers,
    regions_from_arrays,
    regions_to_arrays,
)

SMALL = updated(
    Config(),
    {
        "language.source": "images",
        "mapping.max_image_width": 64,
        "mapping.rays_per_step": 64,
        "mapping.threads": 1,
        "mapping.memory_budget_mb": 64,
        "field.grid.log2_table_size": 12,
    },
)


class MeanColor:
    """Embeds an image as its mean colour; may be told to wait or to fail."""

    name, dim, fingerprint, things, footprint = "mean colour", 3, "mean", (), ()

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []
        self.open = threading.Event()
        self.open.set()
        self.failing = False

    def knows(self, text):
        return True

    def embed_text(self, texts):
        return torch.eye(3)[torch.arange(len(texts)) % 3]

    def embed_image(self, color, labels=None, label_names=None):
        assert self.open.wait(30)
        self.images.append(color)
        if self.failing:
            raise ValueError("no idea")
        mean = torch.from_numpy(color.mean((0, 1), dtype=np.float32))
        return (mean / mean.norm()).view(1, 1, 1, 3)


@pytest.fixture(scope="module")
def frames():
    """Six views of a wall 2 m away, with a box 1 m before it, from places 20 cm apart."""
    random = np.random.default_rng(0)
    depth = np.full((48, 64), 2.0, np.float32)
    depth[10:30, 20:40] = 1.0
    camera = Camera.from_field_of_view(64, 48, 1.2)
    color = np.where(depth[..., None] == 1.0, 200, 90).astype(np.uint8)
    return [
        Frame(
            stamp_ns=i,
            color=color + random.integers(0, 9, (48, 64, 3), dtype=np.uint8),
            depth=depth,
            camera=camera,
            T_world_camera=make_transform(np.eye(3), [0.2 * i, 0.0, 0.0]),
        )
        for i in range(6)
    ]


def taught(teacher: MeanColor) -> tuple[Mapper, list]:
    """A mapper that learns from images, and a record of what comes in: slot and targets."""
    mapper, got = Mapper(SMALL, teacher, image_teachers=ImageTeachers(teacher)), []
    add = mapper.live_map.trainer.language.add

    def recorded(store, slot, targets) -> None:
        add(store, slot, targets)
        got.append((slot, targets))

    mapper.live_map.trainer.language.add = recorded
    return mapper, got


def until(condition) -> None:
    while not condition():
        time.sleep(0.005)


def test_a_keyframe_as_teachers_see_it(frames):
    mapper = Mapper(SMALL, MeanColor())
    mapper.set_label_names({7: "chair"})
    holed = frames[0].depth.copy()
    holed[:5] = 0
    frame = replace(frames[0], depth=holed)
    mapper.add_frame(frame)
    store = mapper.live_map.keyframes
    image = teacher_input(store, 0, {0: "chair"})
    assert np.array_equal(image.color, frame.color) and image.stamp_ns == frame.stamp_ns
    assert np.allclose(image.depth, holed, atol=1e-3)
    assert image.camera.fx == pytest.approx(frame.camera.fx) and image.label_names == {0: "chair"}
    assert image.serial == store.identities[0]


def test_results_come_to_their_keyframes_at_once_without_a_thread(frames):
    teacher = MeanColor()
    mapper, got = taught(teacher)
    for frame in frames[:3]:
        mapper.add_frame(frame)
    assert len(teacher.images) == 3 and not got
    mapper.train_steps(1)
    assert [slot for slot, _ in got] == [0, 1, 2]
    for (_, targets), frame in zip(got, frames[:3], strict=True):
        mean = frame.color.mean((0, 1), dtype=np.float32)
        assert np.allclose(targets.embedding.view(3), mean / np.linalg.norm(mean), atol=1e-4)
    mapper.train_steps(1)
    assert len(got) == 3 and mapper.status().teachers.backlog == 0


def test_newest_keyframe_first_while_the_map_trains_on(frames):
    teacher = MeanColor()
    mapper, got = taught(teacher)
    teacher.open.clear()
    mapper.start()
    try:
        for i, frame in enumerate(frames):
            mapper.add_frame(frame)
            until(lambda n=i + 1: mapper.status().keyframes == n)
        steps = mapper.status().steps
        until(lambda: mapper.status().steps > steps + 3)  # the teacher hangs, the map does not
        status = mapper.status().teachers
        assert status.state == "running" and status.done == 0 and status.backlog == 6
        teacher.open.set()
        until(lambda: len(got) == 6)
        slots = [slot for slot, _ in got]
        first = slots[0]  # what it hung at; then from the newest to the oldest
        assert slots[1:] == sorted(set(range(6)) - {first}, reverse=True)
        until(lambda: mapper.status().teachers.state == "waiting")
        status = mapper.status().teachers
        assert status.done == 6 and status.backlog == 0 and status.rate_hz > 0
    finally:
        teacher.open.set()
        mapper.stop()
    assert mapper.status().teachers.state == "off"


def test_failing_teachers_are_reported_and_mapping_goes_on(frames):
    teacher = MeanColor()
    teacher.failing = True
    mapper, _ = taught(teacher)
    mapper.start()
    try:
        for i, frame in enumerate(frames[:4]):
            mapper.add_frame(frame)
            until(lambda n=i + 1: mapper.status().keyframes == n)
        until(lambda: mapper.status().teachers.state == "failed")
        status = mapper.status()
        assert "no idea" in status.teachers.error and status.teachers.failures == 3
        assert status.teachers.backlog == status.keyframes - 3
        until(lambda: mapper.status().steps > status.steps + 3)
        assert mapper.status().state == "running"
    finally:
        mapper.stop()


UNFIT = {
    "without scales": torch.ones(2, 3, 3),
    "other length": torch.ones(1, 2, 3, 4),
    "no cell": torch.ones(1, 0, 3, 3),
    "overflow": torch.full((1, 2, 3, 3), torch.inf, dtype=torch.float16),
    "one cell": torch.ones(1, 2, 3, 3).index_fill_(2, torch.tensor(1), torch.nan),
    "other scales": torch.ones(2, 2, 3, 3),
}


@pytest.mark.parametrize("fault", UNFIT)
def test_embeddings_that_do_not_fit_cost_their_keyframe_alone(frames, fault):
    """Whatever comes out of a store of own features, or out of a model, training goes on."""
    teacher = MeanColor()
    mapper, got = taught(teacher)
    fine = teacher.embed_image
    teacher.embed_image = lambda *image: UNFIT[fault] if len(got) == 1 else fine(*image)
    mapper.start()
    try:
        for n, frame in enumerate(frames[:2], 1):
            mapper.add_frame(frame)
            until(lambda n=n: (t := mapper.status().teachers).done + t.failures == n)
            until(lambda: len(got) == 1)
        steps = mapper.status().steps
        until(lambda: mapper.status().steps > steps + 3 or mapper.status().error)
        status = mapper.status()
        assert status.state == "running" and status.teachers.failures == 1
        assert "ValueError: expected dense embeddings" in status.teachers.error
        assert "teacher.device" in status.teachers.error or "store them" in status.teachers.error
    finally:
        mapper.stop()


def test_a_new_map_may_have_other_scales(frames):
    teacher = MeanColor()
    mapper, _ = taught(teacher)
    mapper.add_frame(frames[0])
    teacher.embed_image = lambda *image: UNFIT["other scales"]
    with pytest.raises(ValueError, match=r"expected dense embeddings \(1, h, w, 3\)"):
        mapper.add_frame(frames[1])
    mapper.reset()
    assert mapper.add_frame(frames[0])
    mapper.train_steps(2)


def test_patches_that_do_not_fit_are_refused(frames):
    class Patches:
        name, dim, patch, fingerprint = "patches", 2, 8, "p"

        def patch_features(self, color):
            return self.features

    patches = Patches()
    image_teachers = ImageTeachers(MeanColor(), patches=patches)
    image = TeacherInput(1, 0, frames[0].color)
    for features in (torch.ones(2, 3), torch.ones(2, 3, 4), torch.full((2, 3, 2), torch.nan)):
        patches.features = features
        with pytest.raises(ValueError, match=r"expected finite patch features .*'patches'"):
            image_teachers.look(image)
    patches.features = torch.ones(2, 3, 2)
    assert image_teachers.look(image).patches.shape == (2, 3, 2)


class Strange(Exception):
    """Of a library that nobody has heard of."""


@pytest.mark.parametrize("error", [OSError, TypeError, IndexError, KeyError, Strange])
def test_one_failure_of_any_kind_costs_one_keyframe_and_stays_known(error):
    inputs = [TeacherInput(i, 0, np.zeros((2, 2, 3), np.uint8)) for i in range(3)]
    done, delivered = threading.Event(), []

    def look(image):
        if image.serial == 1:
            raise error("strange")
        return ImageTargets(torch.zeros(1, 1, 1, 2))

    def next_input(skip):
        left = [s for s in inputs if s.serial not in skip | set(delivered)]
        if not left:
            done.set()
        return left[0] if left else None

    worker = TeacherWorker(look, next_input, lambda s, t: delivered.append(s.serial), len)
    worker.start()
    assert done.wait(30)
    status = worker.status()
    worker.stop()
    assert delivered == [0, 2] and status.failures == 1 and status.error == ""
    assert error.__name__ in status.last_failure and status.state == "running"


def threads_of(worker: TeacherWorker) -> set[threading.Thread]:
    """Start it; its threads, as far as they have not ended already."""
    others = set(threading.enumerate())
    worker.start()
    return set(threading.enumerate()) - others


def test_a_worker_that_ends_by_itself_has_failed():
    def lost(skip):
        raise Strange("the keyframes are gone")

    worker = TeacherWorker(lambda image: pytest.fail("saw"), lost, lambda *seen: None, len)
    for thread in threads_of(worker):
        thread.join()
    status = worker.status()
    assert status.state == "failed" and "the keyframes are gone" in status.error
    worker.stop()
    assert worker.status().state == "off"


def test_stopping_does_not_wait_for_a_slow_teacher(monkeypatch):
    monkeypatch.setattr(worker_module, "STOP_WAIT_S", 0.01)
    begun, go_on, delivered = threading.Event(), threading.Event(), []

    def look(image):
        begun.set()
        assert go_on.wait(30)
        return ImageTargets(torch.zeros(1, 1, 1, 2))

    image = TeacherInput(1, 0, np.zeros((2, 2, 3), np.uint8))
    worker = TeacherWorker(look, lambda skip: image, lambda *seen: delivered.append(seen), len)
    (behind,) = threads_of(worker)
    assert begun.wait(30)
    worker.stop()
    assert behind.is_alive() and worker.status().state == "off"
    go_on.set()
    behind.join()
    assert delivered == []


def test_forgotten_keyframes(frames):
    """A result for a keyframe that has given way is left out; slots that moved are found."""
    mapper = Mapper(SMALL, MeanColor())
    for frame in frames[:3]:
        mapper.add_frame(frame)
    store, inbox = mapper.live_map.keyframes, TeacherInbox()
    assert inbox.waiting(store) == [2, 1, 0]
    inputs = [teacher_input(store, slot, {}) for slot in range(3)]
    for image in inputs:
        inbox.deliver(image, ImageTargets(torch.full((1, 1, 1, 1), float(image.serial))))
    store.remove(0)  # the last one moves into its place
    gone = np.zeros(store.pixels, bool)
    gone[:9] = True
    store.mask(1, gone)  # what was seen of it still holds
    arrived = inbox.arrived(store)
    assert {slot: float(t.embedding.sum()) for slot, t in arrived} == {
        0: inputs[2].serial,
        1: inputs[1].serial,
    }
    assert inbox.arrived(store) == [] and inbox.waiting(store) == []


def test_regions_and_patches_are_kept_in_the_store(frames, tmp_path):
    class Patches:
        name, dim, patch, fingerprint, calls = "patches", 2, 8, "p", 0

        def patch_features(self, color):
            Patches.calls += 1
            return torch.ones(2, 3, 2)

    frame = frames[0]
    image = TeacherInput(1, 0, frame.color, frame.depth, frame.camera)
    seen = []
    for _ in range(2):
        proposer = DepthRegions()
        image_teachers = ImageTeachers(MeanColor(), proposer, Patches(), str(tmp_path))
        seen.append(image_teachers.look(image))
        proposer.propose = lambda *images: pytest.fail("was stored already")
    assert Patches.calls == 1
    first, second = seen
    assert np.array_equal(first.regions.masks, second.regions.masks)
    assert torch.equal(first.patches, second.patches) and len(first.regions) == 2
    again = regions_from_arrays(regions_to_arrays(first.regions))
    assert np.array_equal(again.masks, first.regions.masks)


@pytest.mark.parametrize("drop_veils", [False, True])
def test_precomputed_is_what_mapping_asks_for(frames, tmp_path, drop_veils):
    proposer = DepthRegions()
    image_teachers = ImageTeachers(MeanColor(), proposer, store=str(tmp_path))
    config = updated(SMALL, {"mapping.drop_veils": drop_veils})
    if drop_veils:  # one that hangs between the box and the wall
        hanging = frames[0].depth.copy()
        hanging[10:30, 40] = 1.5
        frames = [replace(frame, depth=hanging) for frame in frames]
    assert len(list(precompute(frames[:3], image_teachers, config.mapping))) == 3
    proposer.propose = lambda *images: pytest.fail("was stored already")
    look, seen = image_teachers.look, []
    image_teachers.look = lambda image: seen.append(image) or look(image)
    mapper = Mapper(config, MeanColor(), image_teachers=image_teachers)
    assert all(mapper.add_frame(frame) for frame in frames[:3]) and len(seen) == 3


def test_images_are_looked_at_where_language_comes_from_them():
    assert make_image_teachers(Config(), MeanColor()) is None
    images = updated(Config(), {"language.source": "images"})
    assert make_image_teachers(images, None) is None
    image_teachers = make_image_teachers(images, MeanColor())
    assert isinstance(image_teachers.proposer, DepthRegions) and image_teachers.patches is None
