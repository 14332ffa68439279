"""What can be checked is checked before the work of an evaluation; the work is never lost."""

from __future__ import annotations

import json

import pytest

from semantic_field.cli import main
from semantic_field.config import Config
from semantic_field.data.folder_writer import write_folder
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.data.sources import open_source
from semantic_field.evaluation.protocols.protocol import HeldOutViews, Protocol, Training
from semantic_field.evaluation.runner import evaluate
from semantic_field.field.map_file import load_map
from semantic_field.settings import updated

SMALL = {
    "field.grid.log2_table_size": 12,
    "field.grid.levels": 4,
    "field.grid.finest_cell_m": 0.08,
    "field.voxel_m": 0.08,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 16,
    "query.voxel_m": 0.06,
}
PROTOCOL = Protocol(
    name="test",
    split="every_nth",
    split_options={"n": 6},
    training=Training(steps=30),
    views=HeldOutViews(curve=1, curve_points=2),
    points=(),
    surface_voxel_m=0.06,
)


def small_config() -> Config:
    return updated(Config(), SMALL)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "recording"
    write_folder(SimulatedRoom(n_frames=12, size=(80, 60)), path)
    return path


def test_classes_without_a_name_have_their_number(folder, tmp_path):
    """Before: "expected texts with words in them", after mapping, and nothing written."""
    names = json.loads((folder / "labels.json").read_text())
    blank = {names["classes"][0]["id"]: "", names["classes"][1]["id"]: " "}
    for item in names["classes"]:
        item["name"] = blank.get(item["id"], item["name"])
    (folder / "labels.json").write_text(json.dumps(names))
    known = open_source(folder).label_names
    assert all(known[i] == f"class {i}" for i in blank)
    report = evaluate(str(folder), PROTOCOL, small_config(), out=tmp_path / "out").report
    assert report["quality"]["queries"] is not None


def test_a_damaged_held_out_image_does_not_cost_the_map(folder, tmp_path):
    image = folder / "depth" / "000006.png"  # of the frames that are scored
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(RuntimeError, match=r"mapped, but not scored: .*000006\.png") as error:
        evaluate(str(folder), PROTOCOL, small_config(), out=tmp_path / "out")
    kept = tmp_path / "out" / "map.safetensors"
    assert str(kept) in str(error.value)
    assert load_map(kept.read_bytes()).steps == 30
    about = json.loads((tmp_path / "out" / "unfinished.json").read_text())
    assert "000006.png" in about["unfinished"] and about["input"]["frames"] == 12


def test_a_place_that_cannot_be_written_to_is_found_out_before_the_work(
    folder, tmp_path, monkeypatch, capsys
):
    from semantic_field.evaluation import runner

    monkeypatch.setattr(runner, "warm_up", lambda config: pytest.fail("the work has begun"))
    (tmp_path / "file").write_text("")
    code = main(["evaluate", str(folder), "--out", str(tmp_path / "file" / "out")])
    assert code == 1 and "file" in capsys.readouterr().err


def test_classes_that_the_protocol_leaves_none_of_are_found_out_before_the_work(
    folder, tmp_path, monkeypatch
):
    from dataclasses import replace

    from semantic_field.evaluation import runner

    monkeypatch.setattr(runner, "warm_up", lambda config: pytest.fail("the work has begun"))
    names = tuple(open_source(folder).label_names.values())
    none_left = replace(PROTOCOL, classes=replace(PROTOCOL.classes, ignore=names))
    with pytest.raises(ValueError, match="leave none"):
        evaluate(str(folder), none_left, small_config(), out=tmp_path / "out")
