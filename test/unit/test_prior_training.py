"""Trainings of object priors: data, optimisers, the job, its resuming after SIGKILL, the files."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from semantic_field import cli
from semantic_field.data.objects.procedural_objects import ProceduralObjects, ViewPlan
from semantic_field.data.objects.srn_writer import write_srn_folder
from semantic_field.generalizable.training.train_commands import config_file
from semantic_field.generalizable.training.training_run import read_log
from semantic_field.generalizable.training.weight_files import shipped_weights
from semantic_field.object_prior.label_layers import image_miou
from semantic_field.object_prior.prior_model import canonical_rays
from semantic_field.object_prior.trainable_prior import TrainingObjects
from semantic_field.object_prior.training.image_batches import ImageBatches, Stage, image_batch
from semantic_field.object_prior.training.joint_optimizer import JointOptimizer
from semantic_field.object_prior.training.novel_views import HeldOutViews, psnr
from semantic_field.object_prior.training.object_locations import open_objects
from semantic_field.object_prior.training.prior_files import (
    PriorCard,
    build_prior,
    load_prior,
    read_prior_card,
    save_prior,
    shipped_priors,
)
from semantic_field.object_prior.training.prior_settings import (
    ObjectData,
    prior_config,
    read_prior_config,
)

TINY = runpy.run_path(str(Path(__file__).with_name("tiny_prior.py")))
SIZES, SUBJECT, some_rays = TINY["SIZES"], TINY["SUBJECT"], TINY["some_rays"]
tiny_prior = TINY["tiny_prior"]
SOURCES = Path(__file__).resolve().parents[2] / "src"
SETTINGS = {
    "model": {"system": "semantic_srn", **SIZES, "products": "auto", "start": "sphere",
              "stages": [{"side": 8, "batch": 2, "steps": 6},
                         {"side": 16, "batch": 1, "steps": 6}]},
    "data": {"objects": ["objects:mug:seed=0..2"], "views": 4, "side": 16,
             "held_out_instances": 2, "held_out_views": 1},
    "labels": {"instances": 2, "views": 2},
    "training": {"steps": 12, "learning_rate": 0.003, "log_every": 4, "held_out_every": 8,
                 "checkpoint_every": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def mugs() -> ProceduralObjects:
    return ProceduralObjects("mug", range(3), ViewPlan(count=5, size=16))


def test_a_batch_is_the_views_it_names(mugs):
    views = [mugs.view(1, 3), mugs.view(0, 2)]
    batch = image_batch([1, 0], views, 16, mugs.frame)
    assert batch.instances.tolist() == [1, 0]
    assert torch.equal(batch.colors[0, 16 * 5 + 7], torch.tensor(views[0].color[5, 7]) / 255)
    assert torch.equal(batch.parts[1], torch.tensor(views[1].parts.reshape(-1)).long())
    assert torch.equal(batch.masks[1], (batch.parts[1] > 0).float())
    assert torch.equal(batch.rays.directions, canonical_rays(views, mugs.frame).directions)
    half = image_batch([1], views[:1], 8, mugs.frame)
    corner = views[0].color[:2, :2].reshape(4, 3).mean(0)
    assert torch.allclose(half.colors[0, 0] * 255, torch.tensor(corner).float(), atol=0.51)
    # the middle of two pixels' middles: the mean of their directions
    expected = batch.rays.directions[0].view(16, 16, 3)[:2, :2].mean((0, 1))
    expected /= expected.norm()
    assert torch.allclose(half.rays.directions[0, 0], expected, atol=2e-3)


def test_batches_depend_on_the_step_alone_and_cover_training_views_only(mugs):
    stages = (Stage(8, 3, 2), Stage(16, 2, 1))
    batches = ImageBatches(TrainingObjects(mugs, 4), stages, seed=1)
    again = ImageBatches(TrainingObjects(mugs, 4), stages, seed=1)
    again(0)
    assert torch.equal(batches(7).colors, again(7).colors)
    assert [batches(step).colors.shape[:2] for step in (0, 1, 2, 9)] == [
        (3, 64), (3, 64), (2, 256), (2, 256)
    ]  # fmt: skip
    known = {mugs.view(i, n).color.tobytes(): (i, n) for i in range(3) for n in range(5)}
    drawn = set()
    for step in range(2, 100):
        batch = batches(step)
        images = (batch.colors * 255).round().to(torch.uint8).numpy()
        for row, image in zip(batch.instances.tolist(), images, strict=True):
            instance, number = known[image.tobytes()]
            assert instance == row
            drawn.add((instance, number))
    assert drawn == {(i, n) for i in range(3) for n in range(4)}  # and never view 4


def test_stages_say_what_is_wrong_with_them():
    with pytest.raises(ValueError, match="from 1 on, got"):
        Stage(64, 0, 5)
    with pytest.raises(ValueError, match="at least one stage"):
        ImageBatches(TrainingObjects(None, 1), (), 0)


def test_optimisers_that_act_as_one_go_on_from_their_state():
    def made() -> tuple[torch.nn.Linear, torch.nn.Embedding, JointOptimizer]:
        torch.manual_seed(0)
        layer, codes = torch.nn.Linear(2, 3), torch.nn.Embedding(4, 2, sparse=True)
        adam = torch.optim.Adam(layer.parameters(), 0.1)
        return layer, codes, JointOptimizer([adam, torch.optim.SparseAdam([codes.weight], 0.2)])

    def step(layer, codes, joint, rows) -> None:
        joint.zero_grad()
        layer(codes(torch.tensor(rows))).square().sum().backward()
        joint.step()

    first = made()
    assert [group["base_rate"] for group in first[2].param_groups] == [0.1, 0.2]
    step(*first, [0, 2])
    state = first[2].state_dict()["state"]
    assert sorted(state) == [0, 1, 2]  # weight, bias, codes
    assert state[2]["step"].item() == 1
    second = made()
    second[0].load_state_dict(first[0].state_dict())
    second[1].load_state_dict(first[1].state_dict())
    copied = {n: {k: v.clone() for k, v in entries.items()} for n, entries in state.items()}
    second[2].load_state_dict({"state": copied, "param_groups": []})
    for each in (first, second):
        step(*each, [1, 2])
    assert torch.equal(first[0].weight, second[0].weight)
    assert torch.equal(first[1].weight, second[1].weight)
    second[2].param_groups[1]["lr"] = 0.0  # the groups are those of the optimisers themselves
    before = second[1].weight.detach().clone()
    step(*second, [1, 2])
    assert torch.equal(before, second[1].weight)


def settings_file(folder: Path, name: str, **changes) -> Path:
    content = {part: {**values, **changes.get(part, {})} for part, values in SETTINGS.items()}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "semantic_field.cli", "train-prior", *map(str, arguments)]


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes of their own: sums depend on it
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_killed_and_resumed_weights_are_those_of_a_training_without_interruption(
    tmp_path, one_thread, capsys
):
    settings = settings_file(tmp_path, "kill")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert cli.main(["train-prior", str(settings), "--out", str(whole)]) == 0
    log = whole / "log.jsonl"
    assert [line["step"] for line in read_log(log)] == [0, 4, 8, 8, 12, 12, 12]
    figures = read_log(log)[-1]["figures"]
    assert figures.keys() == {"psnr", "depth_m", "miou"}
    assert "miou" in capsys.readouterr().out

    endless = {"steps": 10**6, "decay": "none", "log_every": 10**6}
    longer = settings_file(tmp_path, "longer", training=endless)
    running = subprocess.Popen(command(longer, "--out", parts), env=environment())
    while not (parts / "checkpoint.safetensors").exists():
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (parts / "weights.safetensors").exists()
    kept = load_file(parts / "checkpoint.safetensors")
    assert any(name.startswith("optimizer.") for name in kept)
    reached = read_step(parts / "checkpoint.safetensors")
    assert reached % 4 == 0
    steps = max(12, reached + 4)
    again = [*command(longer, "--out", parts, "--resume"), "--steps", str(steps)]
    subprocess.run(again, env=environment(), check=True, capture_output=True)
    fresh = [*command(longer, "--out", tmp_path / "fresh"), "--steps", str(steps)]
    subprocess.run(fresh, env=environment(), check=True, capture_output=True)
    for name in ("checkpoint.safetensors", "weights.safetensors"):
        resumed, expected = load_file(parts / name), load_file(tmp_path / "fresh" / name)
        assert resumed.keys() == expected.keys()
        assert all(torch.equal(resumed[n], expected[n]) for n in expected)


def read_step(path: Path) -> int:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["semantic_field.training"])["step"]


def test_another_training_in_the_folder_is_not_overwritten(tmp_path):
    settings = settings_file(tmp_path, "first", training={"steps": 1}, labels={"instances": 0})
    out = str(tmp_path / "out")
    assert cli.main(["train-prior", str(settings), "--out", out]) == 0
    prior, card = load_prior(f"{out}/weights.safetensors"), read_prior_card(
        f"{out}/weights.safetensors"
    )  # fmt: skip
    assert "handle" in prior.part_names
    assert (card.steps, card.labelled_images) == (1, 0)
    assert card.data == ("objects:mug:seed=0..2",)
    assert prior.subject.instances == ("mug-00000", "mug-00001", "mug-00002")
    assert not prior.training
    assert cli.main(["train-prior", str(settings), "--out", out]) == 1
    other = settings_file(tmp_path, "other", training={"learning_rate": 0.1})
    assert cli.main(["train-prior", str(other), "--out", out, "--resume"]) == 1


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({"model": {"widht": 3}}, (), r"settings of semantic_srn \(.*width.*\), got widht"),
        ({"model": {"system": "nerf"}}, (), "one of .*semantic_srn, got 'nerf'"),
        ({}, ("objects:sofa:seed=0..1",), "got 'sofa'"),
        ({}, ("objects:mug:seed=3..1",), "seeds that rise"),
        ({}, ("objects:mug",), "such as objects:chair:seed=0..199, got 'objects:mug'"),
        ({}, ("/nowhere",), "set data.category"),
        ({"data": {"category": "x"}}, ("/nowhere",), "no such folder"),
        ({"data": {"views": 5, "unit_m": 0.0}}, (), "data.unit_m above 0"),
        ({}, ("--device", "tpu"), "expected the device auto, cpu or cuda, got 'tpu'"),
    ],
)
def test_errors_are_one_line_that_says_what_to_type(tmp_path, capsys, changes, arguments, said):
    settings = settings_file(tmp_path, "bad", **changes)
    code = cli.main(["train-prior", str(settings), *arguments, "--out", str(tmp_path / "bad")])
    error = capsys.readouterr().err
    assert code == 1
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(said, error)


def test_a_folder_in_the_published_layout_is_trained_on(tmp_path, mugs):
    write_srn_folder(mugs, tmp_path / "mugs")
    names = list(mugs.part_names)
    data = {
        "objects": [str(tmp_path / "mugs")], "category": "mug", "part_names": names,
        "unit_m": mugs.frame.unit_m, "centre_m": list(mugs.frame.centre_m), "side": 16,
    }  # fmt: skip
    settings = settings_file(tmp_path, "folder", data=data, training={"steps": 2})
    assert cli.main(["train-prior", str(settings), "--out", str(tmp_path / "out")]) == 0
    prior = load_prior(tmp_path / "out" / "weights.safetensors")
    assert prior.category == "mug"
    assert list(prior.part_names) == names
    assert prior.subject.instances == mugs.names
    assert prior.frame.unit_m == pytest.approx(mugs.frame.unit_m)
    opened = open_objects(ObjectData(**{**data, "objects": (data["objects"][0],),
                                        "part_names": tuple(names),
                                        "centre_m": tuple(data["centre_m"])}))  # fmt: skip
    assert np.array_equal(opened.view(1, 2).parts, mugs.view(1, 2).parts)
    assert opened.view(1, 2) is opened.view(1, 2)


def test_worlds_with_y_up_are_turned(tmp_path, mugs):
    write_srn_folder(mugs, tmp_path / "mugs")
    data = ObjectData(objects=(str(tmp_path / "mugs"),), category="mug", side=16,
                      part_names=mugs.part_names)  # fmt: skip
    as_it_is = open_objects(data).view(0, 0).T_object_camera
    turned = open_objects(replace(data, up="y")).view(0, 0).T_object_camera
    x, y, z = as_it_is[:3, 3]
    assert turned[:3, 3] == pytest.approx([x, -z, y])  # y is up, and z, the front, becomes -y
    assert np.allclose(turned[:3, :3] @ as_it_is[:3, :3].T, [[1, 0, 0], [0, 0, -1], [0, 1, 0]])


def test_held_out_views_are_none_of_the_training(mugs):
    held_out = HeldOutViews.of(TrainingObjects(mugs, 4), instances=2, views=1)
    assert held_out.instances == (0, 2)
    assert held_out.views[1].color.tobytes() == mugs.view(2, 4).color.tobytes()
    with pytest.raises(ValueError, match=r"set data\.views to 3"):
        HeldOutViews.of(TrainingObjects(mugs, 4), instances=2, views=2)
    assert psnr(torch.tensor([0.5, 2.0]), torch.tensor([0.6, 1.0])) == pytest.approx(
        -10 * np.log10(0.005), abs=1e-4
    )
    truth = torch.tensor([0, 0, 1, 2])
    found = image_miou(torch.tensor([0, 1, 1, 3]), truth)
    assert found == pytest.approx((1 / 2 + 1 / 2 + 0 + 0) / 4)  # classes 0, 1, 2 and 3


def test_figures_of_held_out_views(mugs):
    held_out = HeldOutViews.of(TrainingObjects(mugs, 4), instances=1, views=1)
    prior = build_prior(SETTINGS["model"], TINY["PriorSubject"].of(mugs))
    prior.train()
    assert held_out.figures(prior, labelled=False).keys() == {"psnr", "depth_m"}
    figures = held_out.figures(prior, labelled=True)
    assert prior.training
    truth = torch.tensor(held_out.views[0].parts.reshape(-1)).long()
    # the label layer is all zeros: everything is background
    assert figures["miou"] == pytest.approx(image_miou(torch.zeros_like(truth), truth))


def test_weights_are_read_as_they_were_written(tmp_path):
    prior, path = tiny_prior(), tmp_path / "prior.safetensors"
    card = PriorCard(7, ("objects:chair:seed=0..1",), 30, figures={"miou": 0.5})
    save_prior(prior, path, card)
    again = load_prior(path)
    assert read_prior_card(path) == card
    assert again.config == prior.config
    assert again.subject == SUBJECT
    rays = some_rays(2, 4)
    with torch.no_grad():
        expected = prior.render(prior.codes.weight, rays)
        found = again.render(again.codes.weight, rays)
    assert torch.equal(expected.color, found.color)
    half = tmp_path / "half.safetensors"
    save_prior(prior, half, card, half=True)
    assert half.stat().st_size < 0.75 * path.stat().st_size
    weight = load_prior(half).codes.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, prior.codes.weight.half().float())
    with torch.no_grad():
        prior.codes.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"below 65504.*codes\.weight"):
        save_prior(prior, half, card, half=True)


def test_the_published_prior_that_ships_sees_its_chairs():
    assert "srn_chair" not in shipped_priors()
    assert "srn_chair" in shipped_priors(published=True)
    prior = load_prior("srn_chair")
    assert (prior.category, len(prior.subject.instances)) == ("chair", 100)
    chairs = ProceduralObjects("chair", [0, 99], ViewPlan(count=42, size=64))
    views = HeldOutViews((0, 99), (chairs.view(0, 41), chairs.view(1, 40)))
    figures = views.figures(prior, labelled=True)
    white = [psnr(torch.ones(4096, 3), torch.tensor(v.color.reshape(-1, 3)) / 255)
             for v in views.views]  # fmt: skip
    assert figures["psnr"] > np.mean(white) + 5
    assert figures["miou"] > 0.5
    assert figures["depth_m"] < 0.03


def test_files_say_what_is_wrong_with_them(tmp_path):
    path = tmp_path / "prior.safetensors"
    with pytest.raises(ValueError, match="file of weights or the name of shipped ones"):
        load_prior(path)
    save_prior(tiny_prior(), path, PriorCard())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="damaged"):
        load_prior(path)
    with pytest.raises(ValueError, match=r"weights of an object prior.*train-prior"):
        load_prior(shipped_weights()["gsnerf"])


@pytest.mark.parametrize("name", ["semantic_srn", "semantic_srn_small", "object_prior"])
def test_shipped_settings_make_a_prior(name):
    config = read_prior_config(config_file(name))
    assert prior_config(config.as_dict()) == config
    assert config.labels.instances * config.labels.views == 30
    if name != "semantic_srn":  # of 200 MB
        prior = build_prior(config.model, SUBJECT)
        assert len(list(prior.optimizers(config.training))) >= 2


def test_settings_are_checked():
    with pytest.raises(ValueError, match="sections model, data, labels, training, got modle"):
        prior_config({"modle": {}})
    with pytest.raises(ValueError, match=r"in labels: .*solver"):
        prior_config({"labels": {"solver": "guess"}})
    config = prior_config(SETTINGS)
    assert prior_config(config.as_dict()) == config
