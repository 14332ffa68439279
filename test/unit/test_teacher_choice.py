"""Which teacher a map learns from when nothing is said, and names of weights in settings."""

import json

import pytest

from semantic_field.config import Config, TeacherConfig
from semantic_field.settings import updated
from semantic_field.teachers.choice import HINT, choose, for_label_images, settled_teacher
from semantic_field.teachers.factory import make_language_teacher
from semantic_field.weights.local_weights import RECORD, folder_of
from semantic_field.weights.weights_registry import named_weights


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Puts weights on this machine, by name; their content is never read."""
    monkeypatch.setenv("SEMANTIC_FIELD_WEIGHTS", str(tmp_path))

    def put(name: str) -> str:
        folder = folder_of(named_weights(name))
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        record = {"files": {"config.json": {"bytes": 2, "sha256": "x"}}}
        (folder / RECORD).write_text(json.dumps(record))
        return str(folder)

    return put


def settled(labels: bool = False, **values) -> tuple[str, str, str, bool]:
    """Teacher, segmenter and source of what is chosen, and whether the segmenter stands in."""
    config = updated(Config(), {name.replace("__", "."): v for name, v in values.items()})
    choice = choose(config, labels)
    teacher = choice.config.teacher
    return teacher.kind, teacher.segmenter, choice.config.language.source, choice.stands_in


def test_nothing_is_here(here):
    assert settled() == ("label_text", "", "labels", False)
    choice = choose(Config())
    assert choice.meaning(False, False) == f"nothing: {HINT}"
    assert "semantic-field weights get segformer-b0" in HINT
    assert choice.meaning(False, True) == "label images"
    assert choice.meaning(True, False) == "given names"


def test_a_segmenter_is_here(here):
    here("segformer-b2")
    here("clip-vit-b16")
    assert settled() == ("label_text", "segformer-b2", "labels", True)
    here("segformer-b0")
    assert settled()[1] == "segformer-b0"  # the smallest
    choice = choose(Config())
    assert choice.meaning(True, False) == "labels of colour images by segformer-b0"
    assert choice.meaning(True, True) == "label images"
    assert settled(teacher__segmenter="") == ("open_clip", "", "images", False)
    assert settled(teacher__kind="none") == ("none", "", "labels", False)
    assert settled(language__source="images", teacher__kind="label_text")[1] == ""


def test_only_open_clip_is_here(here):
    here("clip-vit-l14")
    assert settled() == ("open_clip", "", "images", False)
    assert settled(labels=True) == ("open_clip", "", "labels", False)
    choice = choose(Config())
    assert choice.config.teacher.path == "clip-vit-l14"
    assert choice.meaning(False, False) == "colour images by open_clip clip-vit-l14"
    # The query node, which knows nothing of topics, has the same teacher in both cases.
    assert settled_teacher(TeacherConfig()).kind == "open_clip"


def test_what_is_said_is_done(here):
    here("segformer-b0")
    assert settled(teacher__kind="clip-vit-b16") == ("open_clip", "", "images", False)
    assert settled(labels=True, teacher__kind="clip-vit-b16")[2] == "images"
    assert settled(teacher__kind="segformer-b2") == ("label_text", "segformer-b2", "labels", False)
    folder = settled(teacher__segmenter="some/folder", teacher__kind="label_text")
    assert folder == ("label_text", "some/folder", "labels", False)
    beside = choose(updated(Config(), {"teacher.segmenter": "x"}))
    assert beside.meaning(True, True) == "label images and labels of colour images by x"
    alone = choose(updated(beside.config, {"teacher.segmenter_alone": True}))
    assert alone.meaning(True, True) == "labels of colour images by x"
    with pytest.raises(ValueError, match=r"auto, label_text, .*segformer-b0.*got 'segformer-b9'"):
        TeacherConfig(kind="segformer-b9")


def test_weights_that_are_missing_name_the_command(here):
    with pytest.raises(ValueError, match=r"'clip-vit-b16' of teacher\.path .*get clip-vit-b16"):
        make_language_teacher(TeacherConfig(kind="clip-vit-b16"))
    regions = TeacherConfig(kind="none", regions="sam", regions_path="sam2-tiny")
    from semantic_field.teachers.factory import make_region_proposer

    with pytest.raises(ValueError, match="semantic-field weights get sam2-tiny"):
        make_region_proposer(regions)


def test_figures_do_not_depend_on_the_machine(here):
    here("segformer-b0")
    here("clip-vit-b16")
    config = for_label_images(Config())
    assert (config.teacher.kind, config.teacher.segmenter) == ("label_text", "")
    named = for_label_images(updated(Config(), {"teacher.segmenter": "segformer-b0"}))
    assert named.teacher.segmenter == "segformer-b0"
