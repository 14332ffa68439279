"""Weights of generalizable models as files: what comes back, what is refused, what ships."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from semantic_field.generalizable.training.construction import constructed, plain
from semantic_field.generalizable.training.weight_files import (
    SYSTEMS,
    ModelCard,
    System,
    build_model,
    config_of,
    load_model,
    parameter_count,
    read_card,
    save_model,
    shipped_weights,
)

KEY = "semantic_field.generalizable"
MOST_BYTES = 8_000_000


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    path = Path(__file__).with_name("tiny_generalizable.py")
    spec = importlib.util.spec_from_file_location("tiny_generalizable", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tiny_generalizable", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(SYSTEMS, "tiny", System("tiny_generalizable", "TinyModel", "TinyConfig"))
    return module


@pytest.fixture
def saved(tmp_path) -> Path:
    torch.manual_seed(1)
    model = build_model({"system": "tiny", "width": 5, "class_names": ["cup", "plate"]})
    figures = {"exact_psnr": 20.5}
    save_model(
        model, tmp_path / "w.safetensors", ModelCard(7, ("room:seed=0..3",), figures=figures)
    )
    return tmp_path / "w.safetensors"


def changed(path: Path, tensors: dict | None = None, **about) -> Path:
    """The file with other tensors or another header; None leaves a key out."""
    old = json.loads(safetensors_header(path)["__metadata__"][KEY])
    content = {name: value for name, value in {**old, **about}.items() if value is not None}
    save_file({**load_file(path), **(tensors or {})}, path, {KEY: json.dumps(content)})
    return path


def safetensors_header(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def test_a_model_comes_back_with_settings_classes_and_card(saved):
    torch.manual_seed(1)
    expected = build_model({"system": "tiny", "width": 5, "class_names": ["cup", "plate"]})
    model = load_model(saved)
    assert not model.training and model.class_names == ("cup", "plate")
    assert config_of(model) == config_of(expected) and config_of(model)["widths"] == [3, 3]
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    card = read_card(saved)
    assert card == ModelCard(7, ("room:seed=0..3",), figures={"exact_psnr": 20.5})
    assert parameter_count(model) == 5 * 27 + 5 + 10 + 6 + 1 + 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tensors": {"more": torch.zeros(1)}}, "extra: more"),
        ({"tensors": {"tone": torch.zeros(4)}}, r"tone \(3,\) and not \(4,\)"),
        ({"config": {"system": "tiny", "width": 6}}, r"filter.weight \(6, 3, 3, 3\) and not \(5,"),
        ({"config": {"system": "nerf"}}, "one of gsnerf, gp_nerf, tiny, got 'nerf'"),
        ({"config": {"system": "tiny", "depth": 6}}, r"settings of tiny \(.*\), got depth"),
        ({"version": 2}, "format version 1 .* got 2"),
        ({"class_names": ["cup"]}, "class names .*'cup', 'plate'"),
        ({"config": None}, "expected config in the header"),
        ({"version": None}, "intact header"),
    ],
)
def test_what_does_not_fit_is_refused(saved, change, said):
    with pytest.raises(ValueError, match=said):
        load_model(changed(saved, **change))


def test_a_missing_tensor_is_named(saved):
    tensors, about = load_file(saved), safetensors_header(saved)["__metadata__"]
    del tensors["tone"]
    save_file(tensors, saved, about)
    with pytest.raises(ValueError, match="missing: tone"):
        load_model(saved)


def test_other_files_are_refused(saved, tmp_path):
    saved.write_bytes(saved.read_bytes()[:-5])
    with pytest.raises(ValueError, match="damaged"):
        load_model(saved)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="semantic-field train"):
        load_model(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="name of shipped ones"):
        load_model("no_such_weights")


def test_models_of_unknown_systems_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="expected a model of gsnerf, gp_nerf, tiny, got Linear"):
        save_model(torch.nn.Linear(1, 1), tmp_path / "a.safetensors", ModelCard())
    assert not list(tmp_path.iterdir())


def test_shipped_weights_are_small_and_load():
    found = shipped_weights()
    sizes = {name: path.stat().st_size for name, path in found.items()}
    assert all(size < MOST_BYTES for size in sizes.values()), sizes
    for name in found:
        assert config_of(load_model(name))["system"] in SYSTEMS
        trained = " ".join(read_card(name).data)
        assert trained and "bedroom" not in trained and "kitchen" not in trained


@dataclass(frozen=True)
class Inner:
    a: int = 1


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    several: tuple[Inner, ...] = field(default=(Inner(),))
    numbers: tuple[int, ...] = ()


def test_dataclasses_from_nested_values():
    values = {"inner": {"a": 2}, "several": [{"a": 3}, {}], "numbers": [4, 5]}
    made = constructed(Outer, values, "outer")
    assert made == Outer(Inner(2), (Inner(3), Inner(1)), (4, 5))
    assert constructed(Outer, plain(made), "outer") == made
    with pytest.raises(ValueError, match=r"settings of outer\.inner \(a\), got b"):
        constructed(Outer, {"inner": {"b": 2}}, "outer")
