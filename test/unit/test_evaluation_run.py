"""A whole evaluation on a small simulated room: no leak, repeatable, a report that can be read."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from semantic_field.cli import main
from semantic_field.config import Config
from semantic_field.data.folder_writer import write_folder
from semantic_field.data.sources import open_source
from semantic_field.evaluation import runner
from semantic_field.evaluation.mapping_run import MappingJob
from semantic_field.evaluation.protocols.protocol import (
    HeldOutViews,
    Protocol,
    Training,
    load_protocol,
    make_protocol,
    protocol_files,
)
from semantic_field.evaluation.report import compare
from semantic_field.evaluation.report.figures import COST, QUALITY, rows
from semantic_field.evaluation.report.report_files import read_report, write_report
from semantic_field.evaluation.runner import Evaluation, evaluate
from semantic_field.evaluation.scores.refined_views import how_taken
from semantic_field.field.map_state import MapState
from semantic_field.mapping import Mapper
from semantic_field.settings import updated

ROOM = "room:seed=2,frames=24,width=96,height=72"
SMALL = {
    "field.grid.log2_table_size": 14,
    "field.grid.levels": 5,
    "field.grid.finest_cell_m": 0.06,
    "field.voxel_m": 0.08,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 512,
    "mapping.memory_budget_mb": 32,
    "query.voxel_m": 0.06,
}
PROTOCOL = Protocol(
    name="test",
    split="every_nth",
    split_options={"n": 6},
    training=Training(steps=80),
    views=HeldOutViews(curve=1, curve_points=3),
    points=("concept_graphs", "rayfronts", "rayfronts_same_voxel"),
    surface_voxel_m=0.06,
)


def small_config(**more: object) -> Config:
    return updated(Config(), SMALL | more)


class WatchedMapper(Mapper):
    """A mapper that remembers what it was given."""

    given: list[int] = []

    def add_frame(self, frame) -> bool:
        type(self).given.append(frame.stamp_ns)
        assert frame.instances is None
        return super().add_frame(frame)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        WatchedMapper.given = []
        patch.setattr(runner, "Mapper", WatchedMapper)
        return evaluate(ROOM, PROTOCOL, small_config())


def test_the_mapper_never_sees_a_held_out_frame(evaluation: Evaluation) -> None:
    source = evaluation.source
    held_out = {source[i].stamp_ns for i in (0, 6, 12, 18)}
    assert evaluation.report["split"]["rendered"] == [0, 6, 12, 18]
    assert {view["stamp_ns"] for view in evaluation.report["views"]} == held_out
    assert len(WatchedMapper.given) == 20 and not held_out & set(WatchedMapper.given)


def test_figures_are_there_and_make_sense(evaluation: Evaluation) -> None:
    report = evaluation.report
    quality = report["quality"]
    assert quality["views"]["psnr"] > 8
    conventions = quality["semantics"]["conventions"]
    assert {"semantic_nerf", "semantic_ray", "gsnerf", "gp_nerf", "ov_nerf", "f_miou"} <= set(
        conventions
    )
    assert all(0 <= item["value"] <= 1 for item in conventions.values())
    pixels = sum(c["truth"] for c in quality["semantics"]["classes"])
    assert pixels == conventions["semantic_nerf"]["pixels"] == 4 * 96 * 72
    assert quality["geometry"]["accuracy_m"] < 0.3
    assert set(quality["points"]) == set(PROTOCOL.points)
    assert quality["queries"]["asked"] == len(quality["queries"]["answers"]) > 10
    assert [point["steps"] for point in report["curve"]] == [20, 40, 80]
    assert report["cost"]["steps"] == 80 and report["cost"]["frames_given"] == 20
    assert report["protocol"]["hash"] == PROTOCOL.hash and report["seed"] == 0
    assert report["versions"]["torch"] and report["input"]["checksum"].startswith("text:")
    assert report["notes"]  # says why LPIPS is not there
    baseline = quality["baseline"]
    assert baseline["views"]["count"] == 4 and baseline["views"]["psnr"] > 15
    assert baseline["semantics"]["conventions"]["semantic_nerf"]["value"] > 0.5
    assert baseline["queries"]["asked"] == quality["queries"]["asked"]
    assert any(note.startswith("The map is below the reproj") for note in report["notes"])


def test_as_recorded_is_all_there_is_where_nothing_is_refined(evaluation: Evaluation) -> None:
    report = evaluation.report
    assert report["quality"]["refined"] is None
    assert all(state.startswith("off") for state in report["switches"].values())
    assert not any("as refined" in name for name, _ in rows(QUALITY, report))
    assert not any("refined" in note for note in report["notes"])


CHANGED = {"mapping.adapt_exposure": "on", "mapping.appearance": "field", "mapping.seed": 1}


class TwoExposures:
    """A recording whose later frames are darker."""

    def __init__(self, source) -> None:
        self._source = source

    def __getattr__(self, name: str):
        return getattr(self._source, name)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int):
        frame = self._source[index]
        gain = 0.6 if index >= len(self) // 2 else 1.0
        return dataclasses.replace(frame, color=(frame.color * gain).astype(np.uint8))


def test_views_are_scored_as_recorded_and_as_refined(monkeypatch, tmp_path: Path, capsys) -> None:
    """Frames of two exposures: a held-out one looks right with that of its neighbours."""
    monkeypatch.setattr(runner, "open_source", lambda name: TwoExposures(open_source(name)))
    content = dataclasses.asdict(PROTOCOL) | {"queries": False, "training": {"steps": 200}}
    content |= {"views": {"curve": 0}, "supervision": {}, "ablation": ()}
    files = tmp_path / "protocol.yaml", tmp_path / "config.yaml"
    files[0].write_text(json.dumps(content))
    files[1].write_text(json.dumps(SMALL | CHANGED))
    arguments = ["--protocol", files[0], "--config", files[1], "--out", tmp_path / "out"]
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["evaluate", ROOM, "--no-baseline", *map(str, arguments)]) == 0
    report = read_report(tmp_path / "out")
    quality, notes = report["quality"], report["notes"]
    refined = quality["refined"]
    assert refined["views"]["count"] == quality["views"]["count"] == 4
    assert refined["views"]["psnr"] > quality["views"]["psnr"] + 0.3
    assert refined["geometry"] == {n: quality["geometry"][n] for n in refined["geometry"]}
    assert report["switches"]["adapt_exposure"] == "on: as set"
    assert any("exposures as refined around each view" in n for n in notes)
    assert any("with exposures as recorded" in n for n in notes)
    for shown in ((tmp_path / "out" / "report.html").read_text(), capsys.readouterr().out):
        assert "PSNR, as refined" in shown and "exposures as refined around each view" in shown


def test_how_poses_and_exposures_were_taken_is_said_in_words() -> None:
    assert how_taken({"refine_poses": "off: as set", "adapt_exposure": "off: x"}) == []
    both = how_taken({"refine_poses": "on: as set", "adapt_exposure": "on: they differ by 9 %"})
    assert both[0] == "mapping.adapt_exposure was switched on by the keyframes: they differ by 9 %"
    assert "poses and exposures as refined around each view" in both[1]
    assert "poses and exposures as recorded" in both[1] and len(both) == 2
    (poses,) = how_taken({"refine_poses": "on: as set", "adapt_exposure": "off: as set"})
    assert "with poses as refined" in poses and "exposures" not in poses


@pytest.mark.slow
def test_two_runs_of_one_seed_agree_and_another_seed_does_not(evaluation: Evaluation) -> None:
    protocol = dataclasses.replace(PROTOCOL, views=HeldOutViews(curve=0))
    again = evaluate(ROOM, protocol, small_config()).report
    assert compare.same_quality(evaluation.report, again) == []
    other = evaluate(ROOM, protocol, small_config(**{"mapping.seed": 5}), baseline=False).report
    assert "baseline" in again["quality"] and "baseline" not in other["quality"]
    assert "views.psnr" in compare.same_quality(evaluation.report, other)


def test_the_report_is_one_file_that_needs_no_other(evaluation: Evaluation, tmp_path: Path) -> None:
    json_path, html_path = write_report(evaluation, tmp_path / "out")
    assert read_report(json_path) == json.loads(json.dumps(evaluation.report))
    page = html_path.read_text()
    for text in ("Over time", "Confusion", "Questions", "Worst and best", "Running cost", "mIoU"):
        assert text in page
    assert page.count("data:image/") >= 8
    assert "reprojection of the 8 nearest frames" in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page
    assert rows(QUALITY, evaluation.report) and rows(COST, evaluation.report)


def test_a_task_on_labels_is_scored_beside_its_baselines(tmp_path: Path) -> None:
    task = make_protocol(
        {
            "name": "task",
            "split": "every_nth",
            "split_options": {"n": 6},
            "training": {"steps": 40},
            "views": {"curve": 0, "mapped": 2},
            "supervision": {"kind": "frames", "count": 3},
            "baselines": ["nearest_frame", "projection", "depth_projection", "frequency_mlp"],
            "headline": "semantic_nerf_valid",
            "queries": False,
            "points": [],
            "surface_voxel_m": 0.1,
        }
    )
    config = small_config(**{"mapping.rays_per_step": 64})
    finished = evaluate("room:seed=2,frames=12,width=48,height=36", task, config)
    found = finished.report["quality"]["label_task"]
    assert found["task"] == "3 labelled frames"
    assert found["labelled_frames"] == [1, 5, 9]  # of 1, 2, 3, 4, 5, 7, 8, 9, 10, 11
    assert list(found["baselines"]) == list(task.baselines)
    for figures in [*found["baselines"].values(), found["mapped_views"]]:
        assert 0 <= figures["miou"] <= 1
    assert found["baselines"]["depth_projection"]["miou"] > 0.3
    assert found["baselines"]["frequency_mlp"]["steps"] == 40
    notes = " ".join(finished.report["notes"])
    for name in task.baselines:
        assert f"the baseline {name}: mIoU" in notes
    page = write_report(finished, tmp_path)[1].read_text()
    assert "Task: 3 labelled frames" in page and "frequency_mlp" in page


def test_compare_command(evaluation: Evaluation, tmp_path: Path, capsys) -> None:
    write_report(evaluation, tmp_path / "first")
    report = json.loads((tmp_path / "first" / "report.json").read_text())
    report["quality"]["views"]["psnr"] += 1.5
    report["quality"]["geometry"]["depth_l1_m"] += 0.01
    report["protocol"]["hash"] = "0" * 12
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "report.json").write_text(json.dumps(report))
    both = [read_report(tmp_path / name) for name in ("first", "second")]
    lines = {line[0]: line for line in compare.table(both, ["a", "b"])}
    assert "+1.50 better" in lines["PSNR"][2] and "+1.00 worse" in lines["depth L1"][2]
    assert lines["SSIM"][2].endswith("(=)")
    assert compare.warnings(both) == ["different protocols: figures are not comparable"]
    assert main(["compare", str(tmp_path / "first"), str(tmp_path / "second")]) == 0
    assert "not comparable" in capsys.readouterr().out
    assert main(["compare", str(tmp_path)]) == 1


def test_online_mode_runs_the_worker_and_answers(tmp_path: Path) -> None:
    protocol = dataclasses.replace(
        PROTOCOL,
        training=Training("online", steps=30, rate_hz=40),
        views=HeldOutViews(curve=1, curve_points=2),
        points=(),
    )
    report = evaluate(ROOM, protocol, small_config()).report
    cost = report["cost"]
    assert cost["mode"] == "online" and cost["steps"] >= 30
    assert 1 <= cost["frames_given"] <= 20
    # every frame became a keyframe or was dropped for a reason; one may still wait in the queue
    accounted = cost["keyframes"] + sum(cost["frames_dropped"].values())
    assert cost["frames_given"] - 1 <= accounted <= cost["frames_given"]


class Frames(list):
    """Frames as a split of a recording has them."""

    label_names = {0: "wall"}


def test_what_the_first_question_raises_is_raised(tmp_path: Path) -> None:
    asked = threading.Event()

    def ask(state: MapState) -> None:
        asked.set()
        raise TypeError("a bug of ours")

    frames = Frames(open_source(ROOM)[i] for i in range(3))
    job = MappingJob(
        Mapper(small_config()),
        frames,
        Training("online", steps=5),
        tmp_path,
        first_answer=ask,
        progress=lambda *_: asked.wait(),  # the budget is not used up before
    )
    with pytest.raises(TypeError, match="a bug of ours"):
        job.run()


def test_a_question_does_not_outlast_training_that_stops(tmp_path: Path, monkeypatch) -> None:
    def step(*_) -> None:
        raise TypeError("a bug of ours")

    mapper = Mapper(small_config())
    monkeypatch.setattr(mapper.live_map.trainer, "step", step)
    frames = Frames(open_source(ROOM)[i] for i in range(3))
    job = MappingJob(mapper, frames, Training("online", steps=5), tmp_path, first_answer=print)
    with pytest.raises(RuntimeError, match="training stopped: TypeError: a bug of ours"):
        job.run()


def test_a_recording_without_labels_is_scored_without_them(tmp_path: Path) -> None:
    write_folder(open_source("room:seed=2,frames=8,width=96,height=72"), tmp_path / "plain")
    protocol = dataclasses.replace(PROTOCOL, training=Training(steps=10))
    evaluation = evaluate(str(tmp_path / "plain"), protocol, small_config(), labels="none")
    quality = evaluation.report["quality"]
    assert quality["semantics"] is quality["queries"] is quality["points"] is None
    assert quality["baseline"]["semantics"] is quality["baseline"]["queries"] is None
    assert quality["views"]["psnr"] > 0 and quality["geometry"]["true_points"] > 100
    assert any("Queries left out" in note for note in evaluation.report["notes"])
    assert evaluation.report["input"]["checksum"].startswith("sha256:")
    page = write_report(evaluation, tmp_path / "out")[1].read_text()
    assert "has no labels" in page


# protocols


def test_all_protocols_load_and_differ() -> None:
    protocols = [load_protocol(path) for path in protocol_files()]
    assert {"main_job", "online", "quick", "gsnerf"} <= {p.name for p in protocols}
    assert len({p.hash for p in protocols}) == len(protocols)


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    first = make_protocol({"name": "a", "training": {"steps": 5}})
    same = make_protocol({"name": "b", "description": "x", "training": {"steps": 5}})
    other = make_protocol({"name": "a", "training": {"steps": 6}})
    assert first.hash == same.hash != other.hash
    file = tmp_path / "mine.yaml"
    file.write_text("training: {mode: online, seconds: 3}\nclasses: {groups: {seat: [chair]}}\n")
    mine = load_protocol(file)
    assert mine.name == "mine" and mine.classes.groups == {"seat": ("chair",)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"splt": "ov_nerf"}, "splt"),
        ({"training": {"second": 5}}, r"training\.second"),
        ({"training": {"mode": "batch"}}, "above 0"),
        ({"split": "random"}, "expected a split"),
        ({"headline": "iou"}, "expected a convention"),
        ({"points": ["scannet"]}, "expected points"),
    ],
)
def test_bad_protocols_are_named(content: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_protocol({"name": "bad", **content})
    with pytest.raises(ValueError, match="expected a YAML file or a protocol"):
        load_protocol("no_such_protocol")


def test_the_recording_must_fit_the_split() -> None:
    protocol = dataclasses.replace(PROTOCOL, split="gsnerf", split_options={})
    with pytest.raises(ValueError, match="long enough"):
        evaluate("room:frames=2,width=96,height=72", protocol, small_config())


def test_values_become_json() -> None:
    value = {"a": float("nan"), "b": [np.float32(0.5), np.int64(3), float("inf")], 3: (True, None)}
    assert runner.plain(value) == {"a": None, "b": [0.5, 3, None], "3": [True, None]}
