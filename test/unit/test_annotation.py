"""A few labelled frames in, all frames labelled: reading, calibrating, the whole job, resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from semantic_field.annotation.given_labels import read_given_labels
from semantic_field.annotation.job import AnnotationJob, Request
from semantic_field.annotation.label_calibration import (
    best_threshold,
    calibrate,
    calibration_error,
    held_out_blocks,
)
from semantic_field.cli import main
from semantic_field.config import Config
from semantic_field.data.folder_writer import write_folder
from semantic_field.data.sources import open_source
from semantic_field.settings import updated

SMALL = {
    "field.grid.log2_table_size": 13,
    "field.grid.levels": 5,
    "field.grid.finest_cell_m": 0.05,
    "field.voxel_m": 0.08,
    "mapping.rays_per_step": 512,
    "mapping.memory_budget_mb": 32,
}
CONFIG = updated(Config(), SMALL)
LABELLED = (1, 5, 9)


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("room") / "room"
    write_folder(open_source("room:seed=2,frames=10,width=96,height=72"), path)
    return path


@pytest.fixture
def labels(recording: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    for number in LABELLED:
        shutil.copy(recording / "semantic" / f"{number:06d}.png", folder)
    shutil.copy(recording / "labels.json", folder)
    return folder


def test_labels_are_matched_by_number_and_stamp(recording: Path, labels: Path) -> None:
    source = open_source(recording)
    given = read_given_labels(labels, source)
    assert sorted(given.images) == list(LABELLED)
    np.testing.assert_array_equal(given.images[5], source[5].labels)
    before = given.fingerprint()
    (labels / "000005.png").rename(labels / f"{source.stamps[6] + 1000}.png")
    given = read_given_labels(labels, source)
    assert sorted(given.images) == [1, 6, 9]
    assert given.fingerprint() != before


def test_names_may_be_a_text_file(recording: Path, labels: Path) -> None:
    source = open_source(recording)
    (labels / "labels.json").unlink()
    lines = [f"{i} {name}" for i, name in source.label_names.items()]
    (labels / "names.txt").write_text("# id name\n" + "\n".join(lines) + "\n\n")
    assert read_given_labels(labels, source).names == source.label_names
    (labels / "names.txt").write_text("chair 1\n")
    with pytest.raises(ValueError, match="line 1 of"):
        read_given_labels(labels, source)


def _paint(path: Path, image: np.ndarray) -> None:
    assert cv2.imwrite(str(path), image)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: _paint(d / "000002.png", np.zeros((10, 10), np.uint8)), "of \\(72, 96\\)"),
        (lambda d: _paint(d / "000002.png", np.zeros((72, 96, 3), np.uint8)), "not colours"),
        (lambda d: _paint(d / "000002.png", np.full((72, 96), 77, np.uint8)), r"77 \(6912 pix"),
        (lambda d: _paint(d / "000077.png", np.zeros((72, 96), np.uint8)), "numbers 0..9"),
        (lambda d: _paint(d / "chair.png", np.zeros((72, 96), np.uint8)), "frame number or a st"),
        (lambda d: (d / "000002.png").write_bytes(b"no image"), "got a damaged or empty file"),
        (lambda d: shutil.copy(d / "000001.png", d / "1.png"), "second one"),
        (lambda d: (d / "labels.json").unlink(), "names.txt"),
        (lambda d: [f.unlink() for f in d.glob("*.png")], "found none"),
        (
            lambda d: [_paint(f, np.full((72, 96), 255, np.uint8)) for f in d.glob("*.png")],
            "all of its images are void",
        ),
    ],
)
def test_what_is_wrong_is_said(recording: Path, labels: Path, spoil, message: str) -> None:
    spoil(labels)
    with pytest.raises(ValueError, match=message):
        read_given_labels(labels, open_source(recording))


def test_held_out_blocks_leave_every_class_most_of_its_pixels() -> None:
    labels = np.zeros((120, 160), np.int32)
    labels[:, 80:] = 1
    labels[50:53, 20:23] = 2
    labels[:10] = -1
    shares = []
    for seed in range(40):
        mask = held_out_blocks(labels, seed)
        assert not mask[:10].any()
        for class_id in range(3):
            of_class = labels == class_id
            assert (mask & of_class).sum() <= 0.5 * of_class.sum()
        shares.append(mask.mean())
        np.testing.assert_array_equal(mask, held_out_blocks(labels, seed))
    assert 0.04 < np.mean(shares) < 0.14


def test_calibration_learns_what_the_probabilities_are_worth() -> None:
    random = np.random.default_rng(0)
    n = 20000
    claimed = random.uniform(0.4, 0.999, n)  # over-confident, and worse far from labels
    distance = random.choice([0.0, 0.5], n)
    odds = 0.5 * np.log(claimed / (1 - claimed)) - 1.5 * (distance > 0)
    right = random.random(n) < 1 / (1 + np.exp(-odds))
    found = calibrate(claimed, distance, right, wrong_cost=3.0)
    assert found.weights[1] == pytest.approx(0.5, abs=0.05)
    assert found.error < 0.02 < calibration_error(claimed, right)
    near, far = found.confidence(np.array([0.95, 0.95]), np.array([0.0, 0.5]))
    assert near > far + 0.2
    # a calibrated label is worth keeping where 1 p > 3 (1 - p)
    assert found.threshold == pytest.approx(0.75, abs=0.06)
    assert found.kept_accuracy > found.accuracy


def test_nearly_perfect_labels_calibrate_too() -> None:
    random = np.random.default_rng(0)
    claimed = np.clip(random.normal(0.995, 0.02, 20000), 0.3, 0.9999)
    right = random.random(20000) < 0.97
    found = calibrate(claimed, np.zeros(20000), right, wrong_cost=3.0)
    confidence = found.confidence(claimed, np.zeros(20000))
    assert confidence.mean() == pytest.approx(0.97, abs=0.01)
    assert found.error < 0.02 and max(map(abs, found.weights)) < 10


def test_the_threshold_by_hand() -> None:
    confidence = np.array([0.205, 0.605, 0.705, 0.905])
    right = np.array([False, True, False, True])
    # kept from .905 on: 1; from .705: 1 - c; from .605: 2 - c; all: 2 - 2 c
    assert best_threshold(confidence, right, 3.0) == pytest.approx(0.71)
    assert best_threshold(confidence, right, 0.5) == pytest.approx(0.21)
    few = calibrate(confidence, 0 * confidence, right, 3.0)
    assert few.pixels == 0 and few.threshold == 0.75
    np.testing.assert_allclose(few.confidence(confidence, 0 * confidence), confidence, rtol=1e-4)


def make_job(
    recording: Path, labels: Path, out: Path, steps: int = 250, *progress
) -> AnnotationJob:
    source = open_source(recording, labels="none")
    given = read_given_labels(labels, source)
    return AnnotationJob(source, given, out, Request(0.0, steps), CONFIG, *progress)


def stopped_at(work: str, error=AssertionError, share: float = 0.01, done: list | None = None):
    """Progress that is noted, and ends by an error once so much of some work is done."""

    def progress(text: str, now: float) -> None:
        if done is not None:
            done.append(text)
        if text == work and now >= share:
            raise error

    return progress


def test_every_frame_is_labelled_in_the_recordings_layout(
    recording: Path, labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = make_job(recording, labels, out).run()
    truth = open_source(recording)
    copy = tmp_path / "copy"
    shutil.copytree(recording, copy)
    shutil.copytree(out / "labels_annotated", copy / "labels_annotated")
    shutil.copy(out / "labels_annotated.json", copy)
    result = open_source(copy, labels="labels_annotated")
    right = kept = total = 0
    for i in range(10):
        found, known = result[i].labels, truth[i].labels >= 0
        if i in LABELLED:
            np.testing.assert_array_equal(found[known], truth[i].labels[known])
            continue
        total += known.sum()
        kept += ((found >= 0) & known).sum()
        right += ((found == truth[i].labels) & known).sum()
        confidence = cv2.imread(str(out / "confidence" / f"{i:06d}.png"), cv2.IMREAD_UNCHANGED)
        threshold = summary["calibration"]["threshold"]
        assert (confidence[found >= 0] >= 255 * threshold - 1).all()
    assert kept > 0.2 * total and right > 0.7 * kept
    assert 0 < summary["void"] < 0.8
    next_frames = [item["frame"] for item in summary["label_next"]]
    assert next_frames and not set(next_frames) & set(LABELLED)
    areas = [item["uncertain_m2"] for item in summary["label_next"]]
    assert areas == sorted(areas, reverse=True)
    written = json.loads((out / "statistics.json").read_text())
    assert written == json.loads(json.dumps(summary))


def test_a_stopped_run_goes_on_and_a_finished_one_has_nothing_to_do(
    recording: Path, labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make_job(recording, labels, out, 20, stopped_at("training", KeyboardInterrupt)).run()
    done: list[str] = []
    stopped = stopped_at("labelling frames", OSError("disk full"), share=0.4, done=done)
    with pytest.raises(OSError, match="disk full"):
        make_job(recording, labels, out, 20, stopped).run()
    assert "training" in done and "reading frames" not in done  # frames are in the map
    first = {path: path.stat() for path in (out / "labels_annotated").glob("*.png")}
    assert len(first) == 4 and not list(out.rglob("*.tmp"))
    make_job(recording, labels, out, 20, stopped_at("training")).run()
    assert {path: path.stat() for path in first} == first
    assert len(list((out / "labels_annotated").glob("*.png"))) == 10


def test_a_folder_of_something_else_is_refused(
    recording: Path, labels: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"thesis\.tex"):
        make_job(recording, labels, tmp_path / "full")
    make_job(recording, labels, tmp_path / "out")
    (labels / "000009.png").unlink()
    with pytest.raises(ValueError, match="earlier run"):
        make_job(recording, labels, tmp_path / "out")


def test_the_command_line(recording: Path, labels: Path, tmp_path: Path, capsys) -> None:
    settings = tmp_path / "small.yaml"
    nested: dict = {}
    for name, value in SMALL.items():
        *path, last = name.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    settings.write_text(json.dumps(nested))
    out = tmp_path / "out"
    call = ["annotate", str(recording), "--labels", str(labels), "--out", str(out)]
    assert main([*call, "--steps", "20", "--config", str(settings)]) == 0
    text = capsys.readouterr().out
    assert "3 of them labelled" in text and "label next" in text
    assert cv2.imread(str(out / "contact_sheet.jpg")).shape[1] == 960
    assert (out / "labels.mp4").stat().st_size > 1000
    assert main(["annotate", str(recording), "--suggest", "3"]) == 0
    assert "label these first" in capsys.readouterr().out
    assert main(["annotate", str(recording)]) == 1
    assert "--labels" in capsys.readouterr().err
