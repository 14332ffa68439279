"""The TFLite backend of segmenters, with a real network on real frames where both are there."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semantic_field.config import Config, TeacherConfig
from semantic_field.data.sources import open_source
from semantic_field.mapping.mapper import Mapper
from semantic_field.settings import updated
from semantic_field.teachers.factory import make_segmenter
from semantic_field.teachers.image_teachers import make_image_teachers
from semantic_field.teachers.tflite_segmenter import TfliteSegmenter, tflite_file

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SEMANTIC_FIELD_DATA", ROOT.parent / "shared" / "data"))
NETWORK, KITCHEN = DATA / "deeplab_pascal", DATA / "redkitchen"


@pytest.fixture
def network():
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    if not NETWORK.is_dir():
        pytest.skip(f"no network in {NETWORK}")
    return str(NETWORK)


@pytest.fixture
def kitchen():
    if not KITCHEN.is_dir():
        pytest.skip(f"no recording in {KITCHEN}")
    return open_source(KITCHEN)


@pytest.mark.data
def test_a_real_network_says_what_it_has_said(network, kitchen):
    segmenter = make_segmenter(TeacherConfig(segmenter=network))
    assert isinstance(segmenter, TfliteSegmenter) and len(segmenter.names) == 21
    assert segmenter.names[11] == "dining table" and segmenter.names[0] == "background"
    for i in (0, 120):
        frame = kitchen[i]
        found = segmenter.segment(frame.color)
        assert np.array_equal(found.labels, frame.labels)
        # Where the network is sure there is one class around; at borders it doubts.
        border = np.zeros(found.labels.shape, bool)
        border[:, 1:] = found.labels[:, 1:] != found.labels[:, :-1]
        assert found.doubts[border].mean() > 2 * found.doubts[~border].mean() > 0


@pytest.mark.data
def test_a_map_from_colour_and_depth_alone(network, kitchen):
    values = {
        "teacher.segmenter": network,
        "mapping.rays_per_step": 256,
        "mapping.threads": 1,
        "field.grid.log2_table_size": 12,
    }
    config = updated(Config(), values)
    mapper = Mapper(config, image_teachers=make_image_teachers(config, None))
    frames = [kitchen[i] for i in (0, 60)]
    for frame in frames:
        assert mapper.add_frame(replace(frame, labels=None))
    mapper.train_steps(1)
    names, store = mapper.live_map.classes.row_names(), mapper.live_map.keyframes
    assert {"chair", "dining table"} <= set(names) and store.count == 2
    for slot, frame in enumerate(frames):
        rows = store.images.labels[slot].reshape(frame.labels.shape)
        for class_id, name in ((9, "chair"), (11, "dining table")):
            mine, theirs = rows == names.index(name), frame.labels == class_id
            assert (mine & theirs).sum() > 0.98 * (mine | theirs).sum()


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"expected a \.tflite file in teacher\.segmenter"):
        TfliteSegmenter(str(tmp_path))
    (tmp_path / "a.tflite").write_bytes(b"net")
    with pytest.raises(ValueError, match=r"one \*label\*\.txt with class names .*got none"):
        TfliteSegmenter(str(tmp_path))
    (tmp_path / "labels.txt").write_text("chair\nlamp\n")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(
        ValueError, match=r"ai-edge-litert for a\.tflite.*pip install ai-edge-litert"
    ):
        TfliteSegmenter(str(tmp_path))
    (tmp_path / "b.tflite").write_bytes(b"net")
    with pytest.raises(ValueError, match=r"got a\.tflite, b\.tflite: set teacher\.segmenter"):
        tflite_file(str(tmp_path))
    assert tflite_file(str(tmp_path / "b.tflite")) == tmp_path / "b.tflite"
    assert tflite_file(str(tmp_path / "c.tflite")) is None


def test_a_damaged_network_is_named(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    (tmp_path / "a.tflite").write_bytes(b"not a network at all")
    (tmp_path / "labels.txt").write_text("chair\nlamp\n")
    with pytest.raises(ValueError, match="readable network in"):
        TfliteSegmenter(str(tmp_path))
    (tmp_path / "a.tflite").write_bytes(b"")
    with pytest.raises(ValueError, match="an empty file: copy it again"):
        TfliteSegmenter(str(tmp_path))


@pytest.mark.data
def test_names_that_do_not_fit_leave_labels_certain(network, tmp_path):
    """Without scores for each class there is no confidence: every label counts fully."""
    file = tflite_file(network)
    shutil.copy(file, tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join(f"class {chr(97 + i)}" for i in range(22)))
    found = TfliteSegmenter(str(tmp_path)).segment(np.zeros((48, 64, 3), np.uint8))
    assert not found.doubts.any() and found.labels.shape == (48, 64)
