"""Whatever a mapper refuses leaves everything as it was: the map answers, trains and is saved."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semantic_field.config import Config
from semantic_field.field.map_file import dump_map, load_map, read_map, write_map
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping import Mapper
from semantic_field.mapping.corrections.pointing import Pixel, Point
from semantic_field.settings import updated
from semantic_field.teachers.image_teachers import ImageTargets

CAMERA = Camera.from_field_of_view(64, 48, 1.2)
SMALL = {
    "field.grid.log2_table_size": 12,
    "field.grid.levels": 4,
    "field.grid.finest_cell_m": 0.08,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 16,
    "mapping.annotation_cell_m": 0.06,
}
NAMES = {3: "blue wall", 7: "red wall"}
RED = np.array([-0.4, 0.0, 1.5])


class Teacher:
    """One dimension for each letter a text begins with; may forget texts, and may fail."""

    dim = 26

    def __init__(self, fingerprint: str = "letters") -> None:
        self.fingerprint = fingerprint
        self.forgotten: set[str] = set()
        self.fails = False

    def knows(self, text: str) -> bool:
        return text not in self.forgotten

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        if self.fails:
            raise ValueError("the teacher is out of memory")
        letters = torch.tensor([ord(text[0]) - ord("a") for text in texts])
        return torch.nn.functional.one_hot(letters, self.dim).float()


def config(**more: object) -> Config:
    return updated(Config(), SMALL | more)


def wall(x: float = 0.0, stamp_s: float | None = None, offset=(0.0, 0.0, 0.0)) -> Frame:
    """A wall at z = 1.5 m, seen from ``x``: left half red (7), right half blue (3)."""
    left = (np.arange(64) - CAMERA.cx) / CAMERA.fx * 1.5 + x < 0
    color = np.where(left[None, :, None], [200, 30, 30], [30, 30, 200]).astype(np.uint8)
    return Frame(
        stamp_ns=int((1 + x if stamp_s is None else stamp_s) * 1e9),
        color=np.broadcast_to(color, (48, 64, 3)).copy(),
        depth=np.full((48, 64), 1.5, np.float32),
        camera=CAMERA,
        T_world_camera=make_transform(np.eye(3), np.array([x, 0, 0]) + offset),
        labels=np.broadcast_to(np.where(left, 7, 3), (48, 64)).astype(np.int32),
    )


def mapped(teacher: Teacher | None, steps: int = 60, **more: object) -> Mapper:
    mapper = Mapper(config(**more), teacher)
    mapper.set_label_names(NAMES)
    for x in (-0.2, 0.0, 0.2):
        assert mapper.add_frame(wall(x))
    mapper.train_steps(steps)
    return mapper


def annotated(teacher: Teacher | None) -> Mapper:
    mapper = mapped(teacher)
    mapper.annotate("door", Point(RED))
    return mapper


def picture(mapper: Mapper) -> dict[str, Any]:
    """What readers see of a map, and what it is made of."""
    state, view = mapper.snapshot(), mapper.render(CAMERA, np.eye(4))
    language = state.language
    return {
        "steps": state.steps,
        "keyframes": mapper.status().keyframes,
        "names": state.label_names,
        "ids": state.class_ids,
        "annotations": [(e.id, e.name, e.points) for e in mapper.annotations().entries],
        "language": None if language is None else (language.fingerprint, language.rank),
        "depth": view.depth.tobytes(),
        "label": view.label.tobytes(),
        "vocabulary": mapper.live_map.vocabulary.texts,
        "config": mapper.config,
        "origin": mapper.origin.tolist(),
    }


def check_unchanged(mapper: Mapper, before: dict[str, Any], folder: Path) -> None:
    """The map is as it was, is what would be saved, and goes on."""
    assert picture(mapper) == before
    mapper.save(folder / "autosave")
    saved = load_map(read_map(folder / "autosave"))
    assert (saved.steps, len(saved.annotations.entries)) == (
        before["steps"],
        len(before["annotations"]),
    )
    assert len(saved.training["keyframes.sizes"]) == before["keyframes"]
    mapper.train_steps(2)
    assert mapper.status().steps == before["steps"] + 2
    assert mapper.add_frame(wall(0.6)) and mapper.status().keyframes == before["keyframes"] + 1


# --- maps that are not loaded ---------------------------------------------------------------------


def test_a_map_of_another_teacher_is_not_loaded(tmp_path):
    mapped(Teacher("other"), steps=5).save(tmp_path / "map")
    mapper = annotated(Teacher())
    before = picture(mapper)
    with pytest.raises(ValueError, match=r"made with the teacher 'letters'.*set teacher\.kind"):
        mapper.load(tmp_path / "map")
    check_unchanged(mapper, before, tmp_path)


def test_a_map_with_other_settings_or_of_another_frame_is_not_loaded(tmp_path):
    mapped(None, steps=2, **{"field.latent_dim": 8}).save(tmp_path / "small")
    elsewhere = Mapper(config(), frame_id="odom")
    elsewhere.save(tmp_path / "odom")
    mapper = annotated(None)
    before = picture(mapper)
    for name, words in (("small", "settings of the map"), ("odom", "in frame 'map', got.*'odom'")):
        with pytest.raises(ValueError, match=words):
            mapper.load(tmp_path / name)
    check_unchanged(mapper, before, tmp_path)


def without(name: str) -> Callable[[dict], None]:
    return lambda training: training.pop(name)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict], None]:
    return lambda training: training.update({name: change(training[name])})


def blank_image(training: dict) -> None:
    training["keyframes.color"] = np.zeros_like(training["keyframes.color"])


def swapped_images(training: dict) -> None:
    """Depth where labels should be: rows that no class has."""
    for part in ("", ".ends"):
        training[f"keyframes.label{part}"] = training[f"keyframes.depth{part}"]


DAMAGES = {
    "no moments": (without("moments.used"), "moments.used"),
    "no rays": (without("rays"), "rays"),
    "half the moments": (changed("moments.first", lambda a: a[::2]), r"moments\.first of shape"),
    "lines outside": (changed("moments.used", lambda a: a + (1 << 30)), "line numbers"),
    "no number": (changed("moments.second", lambda a: a * np.float32("nan")), "finite numbers"),
    "another head": (changed("adam.label_head.weight.exp_avg", lambda a: a[:1]), "label_head"),
    "half a moment": (without("adam.trunk_out.weight.exp_avg_sq"), "exp_avg_sq"),
    "half the poses": (changed("keyframes.poses", lambda a: a[:1]), r"keyframes\.poses of shape"),
    "no poses": (without("keyframes.poses"), "keyframes.poses"),
    "poses of nowhere": (
        changed("keyframes.poses", lambda a: a - np.inf),
        "finite numbers",
    ),
    "no errors": (without("keyframes.error"), "keyframes.error"),
    "huge sizes": (changed("keyframes.sizes", lambda a: a * 9), "64 x 48 pixels"),
    "small sizes": (changed("keyframes.sizes", lambda a: a // 2), r"image 0 of shape \(24, 32"),
    "no images": (changed("keyframes.depth.ends", lambda a: a[:1]), "depth image of keyframe 1"),
    "blank image": (blank_image, "readable color image of keyframe 0"),
    "unknown rows": (swapped_images, "rows below 4"),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Mapper, Path]:
    mapper = annotated(None)
    path = tmp_path_factory.mktemp("kept") / "map"
    mapper.save(path)
    return mapper, path


@pytest.mark.parametrize("name", list(DAMAGES))
def test_a_damaged_training_state_is_not_loaded(kept, tmp_path, name):
    mapper, path = kept
    damage, words = DAMAGES[name]
    state = load_map(read_map(path))
    damage(state.training)
    write_map(tmp_path / "map", dump_map(state))
    before = picture(mapper)
    with pytest.raises(ValueError, match=rf"(?s){words}.*the map is damaged, use an earlier copy"):
        mapper.load(tmp_path / "map")
    assert picture(mapper) == before
    mapper.save(tmp_path / "autosave")
    again = Mapper(config())
    again.load(tmp_path / "autosave")
    assert torch.equal(again.live_map.field.table, mapper.live_map.field.table)
    assert again.status().keyframes == 3 and picture(again)["annotations"] == before["annotations"]
    mapper.train_steps(1)


def from_images(teacher: Teacher) -> Mapper:
    mapper = Mapper(
        config(**{"language.source": "images", "language.vocabulary": ["red", "blue"]}), teacher
    )
    for x in (-0.2, 0.0, 0.2):
        assert mapper.add_frame(replace(wall(x), labels=None))
    assert mapper.add_image_targets(wall().stamp_ns, ImageTargets(torch.ones(1, 2, 2, 26)))
    mapper.train_steps(60)
    return mapper


def test_a_text_that_the_teacher_has_forgotten_changes_nothing(tmp_path):
    """Loading, resetting and another vocabulary all need the teacher."""
    teacher = Teacher()
    mapper = from_images(teacher)
    mapper.save(tmp_path / "map")
    before = picture(mapper)
    teacher.forgotten = {"red"}
    other = updated(mapper.config, {"language.vocabulary": ["red", "green"]})
    for refused in (
        lambda: mapper.load(tmp_path / "map"),
        mapper.reset,
        lambda: mapper.set_vocabulary(["green", "red"]),
        lambda: mapper.set_config(other),
    ):
        with pytest.raises(ValueError, match=r"teacher knows, got \['red'\]"):
            refused()
        assert picture(mapper) == before
    teacher.forgotten = set()
    check_unchanged(mapper, before, tmp_path)


def test_a_teacher_that_fails_changes_nothing(tmp_path):
    teacher = Teacher()
    for mapper, more in (
        (annotated(teacher), []),
        (from_images(teacher), [lambda m: m.set_vocabulary(["green"])]),
    ):
        before = picture(mapper)
        mapper.save(tmp_path / "map")
        teacher.fails = True
        for refused in (
            lambda m: m.load(tmp_path / "map"),
            lambda m: m.reset(),
            lambda m: m.set_label_names({9: "green door", 3: "yellow wall"}),
            lambda m: m.annotate("window", Point(RED)),
            *more,
        ):
            with pytest.raises(ValueError, match="out of memory"):
                refused(mapper)
            assert picture(mapper) == before
        teacher.fails = False
        check_unchanged(mapper, before, tmp_path)


def test_a_new_map_that_cannot_begin_leaves_the_old_one(tmp_path):
    """The world moves while the teacher fails: nothing of it gets into the map, until it can."""
    teacher, told = Teacher(), []
    mapper = Mapper(config(), teacher, before_new_map=told.append)
    mapper.set_label_names(NAMES)
    for number in range(4):
        assert mapper.add_frame(wall(0.2 * number))
    mapper.train_steps(20)
    before = picture(mapper)
    move = [60.0, 0.0, 0.0]
    teacher.fails = True
    for number in range(4):
        frame = wall(0.6, 2 + 0.2 * number, move)
        if number < 2:
            assert not mapper.add_frame(frame)
            continue
        with pytest.raises(ValueError, match="out of memory"):
            mapper.add_frame(frame)
    assert picture(mapper) == before and len(told) == 2
    mapper.save(tmp_path / "autosave")
    assert load_map(read_map(tmp_path / "autosave")).steps == 20
    teacher.fails = False
    assert mapper.add_frame(wall(0.6, 3.0, move))
    assert mapper.status().keyframes == 1 and mapper.snapshot().bounds[0, 0] > 50


# --- frames and people while the map is exchanged -------------------------------------------------


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("exchange", ["reset", "load"])
def test_a_frame_that_waits_does_not_get_into_another_map(tmp_path, exchange):
    Mapper(config()).save(tmp_path / "empty")
    mapper = Mapper(config())
    mapper.start()
    try:
        with mapper.turns.visit():  # the worker is busy
            assert mapper.add_frame(wall(0.0))
            work = mapper.reset if exchange == "reset" else lambda: mapper.load(tmp_path / "empty")
            thread = in_thread(work)
            while not mapper.turns.waiting:
                pass
        thread.join()
        assert mapper.add_frame(wall(0.8))
        while not mapper.status().keyframes:
            pass
    finally:
        mapper.stop()
    store = mapper.live_map.keyframes
    assert store is not None and store.stamps_ns[: store.count].tolist() == [wall(0.8).stamp_ns]


def test_what_was_pointed_at_in_another_map_is_refused(monkeypatch):
    from semantic_field.mapping.corrections import annotating

    mapper, find = annotated(None), annotating.claim_of

    def found_late(*args):
        claimed = find(*args)
        mapper.reset()
        return claimed

    monkeypatch.setattr(annotating, "claim_of", found_late)
    with pytest.raises(ValueError, match="pointed at, got another one"):
        mapper.annotate("window", Point(RED))
    assert not mapper.annotations() and "window" not in mapper.label_names().values()


def test_a_pixel_means_what_its_keyframe_shows_when_it_is_looked_up(tmp_path):
    """Poses of keyframes are refined in turns: nobody reads them in between."""
    mapped(None, steps=150).save(tmp_path / "map")
    mapper = Mapper(config())
    mapper.load(tmp_path / "map")  # now only the keyframes know of the frames
    answers = []
    with mapper.turns.visit():
        thread = in_thread(
            lambda: answers.append(mapper.annotate("door", Pixel(4, 24, wall(0.0).stamp_ns)))
        )
        while not mapper.turns.waiting:
            pass
        store = mapper.live_map.keyframes
        assert store is not None
        store.cameras.poses[1, 0, 3] += 0.9  # to where its pixel 4 shows the blue half
    thread.join()
    middle = np.median(answers[0].annotation.cells, axis=0) * 0.06
    assert middle[0] > 0.1
