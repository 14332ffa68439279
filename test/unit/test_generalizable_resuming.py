"""Trainings that are killed and resumed, and trainings by two processes: real processes each."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from semantic_field.generalizable.training.training_run import read_log
from semantic_field.generalizable.training.weight_files import SYSTEMS, System

SCRIPT = Path(__file__).with_name("tiny_generalizable.py")
SOURCES = Path(__file__).resolve().parents[2] / "src"
SETTINGS = {
    "model": {"system": "tiny"},
    "data": {"recordings": ["room:seed=0,frames=8,width=64,height=48"],
             "held_out": ["room:seed=1,frames=8,width=64,height=48"], "width": 64, "height": 48},
    "episodes": {"views": [2, 3], "strides": [1, 2], "crop": [16, 24]},
    "training": {"steps": 12, "batch": 2, "learning_rate": 0.01, "warm_up_steps": 2,
                 "log_every": 4, "held_out_every": 8, "held_out_episodes": 1,
                 "checkpoint_every": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder whose scenes are prepared once for all trainings in it."""
    return tmp_path_factory.mktemp("trainings")


def settings_file(folder: Path, name: str, **changes) -> Path:
    content = {part: {**values, **changes.get(part, {})} for part, values in SETTINGS.items()}
    content["data"]["cache"] = str(folder / "scenes")
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def train(*arguments, launcher: tuple[str, ...] = (), **environment: str):
    return subprocess.run(
        [sys.executable, *launcher, SCRIPT, "train", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.mark.slow
def test_killed_and_resumed_weights_are_those_of_a_training_without_interruption(
    workplace, tiny_main
):
    settings = settings_file(workplace, "kill")
    whole, parts = workplace / "whole", workplace / "parts"
    assert tiny_main("train", settings, "--out", whole) == (0, "")
    # 2 episodes a step: in the middle of step 7, three steps after the checkpoint of step 4
    killed = train(settings, "--out", parts, TINY_KILL_AT="13")
    assert killed.returncode == -signal.SIGKILL
    assert (parts / "checkpoint.safetensors").exists()
    assert not (parts / "weights.safetensors").exists()
    done = train(settings, "--out", parts, "--resume")
    assert done.returncode == 0, done.stderr
    assert "step      0" not in done.stdout  # it did not begin anew
    for name in ("checkpoint.safetensors", "weights.safetensors", "config.yaml"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    logs = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(f / "log.jsonl")]
        for f in (whole, parts)
    ]
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0]] == [0, 4, 8, 8, 12, 12]


@pytest.mark.slow
def test_two_processes_find_the_gradients_of_one_with_both_batches(workplace, tiny_main):
    same = {"model": {"dropout": 0.0}, "training": {"steps": 1, "held_out_episodes": 0}}
    settings = settings_file(workplace, "parallel", **same)
    assert tiny_main("train", settings, "--out", workplace / "one") == (0, "")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = train(settings, "--out", workplace / "two", launcher=torchrun)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written:") == 1
    one, two = (load_file(workplace / n / "checkpoint.safetensors") for n in ("one", "two"))
    # after one step Adam's mean is a tenth of the gradient: a sum would be twice the mean
    gradients = [name for name in one if name.endswith(".exp_avg")]
    assert len(gradients) == 7 and all(one[name].abs().max() > 0 for name in gradients)
    weights = [n for n in one if n.startswith("model.") and ".running" not in n]
    for name in [*gradients, *(n for n in weights if "batches" not in n)]:
        assert torch.allclose(one[name], two[name], rtol=1e-5, atol=1e-9), name


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({"model": {"widht": 3}}, (), r"settings of tiny \(.*width.*\), got widht"),
        ({"model": {"system": "nerf"}}, (), "one of gsnerf, gp_nerf, tiny, got 'nerf'"),
        ({}, ("nowhere/recording",), "nothing is at 'nowhere/recording'"),
        ({}, ("--device", "tpu"), "expected the device auto, cpu or cuda, got 'tpu'"),
    ],
)
def test_errors_are_one_line_that_says_what_to_type(workplace, tiny_main, changes, arguments, said):
    settings = settings_file(workplace, "bad", **changes)
    code, error = tiny_main("train", settings, *arguments, "--out", workplace / "bad")
    assert code == 1 and error.startswith("error: ") and error.count("\n") == 1
    assert re.search(said, error)


@pytest.fixture
def tiny_main(capsys, monkeypatch):
    """Runs the command line in this process, with the tiny model known."""
    spec = importlib.util.spec_from_file_location("tiny_generalizable", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tiny_generalizable", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(SYSTEMS, "tiny", System("tiny_generalizable", "TinyModel", "TinyConfig"))

    def run(*arguments) -> tuple[int, str]:
        code = module.cli.main([str(argument) for argument in arguments])
        return code, capsys.readouterr().err

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes of their own: sums depend on it
    yield run
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_commands_train_and_fine_tune(workplace, tiny_main):
    settings = settings_file(workplace, "short", training={"held_out_episodes": 1})
    out = workplace / "short"
    recording = "room:seed=0,frames=12,width=64,height=48"
    assert tiny_main("train", settings, recording, "--out", out, "--steps", 2) == (0, "")
    assert [line["step"] for line in read_log(out / "log.jsonl")] == [0, 2, 2]
    code, error = tiny_main("train", settings, recording, "--out", out)
    assert code == 1 and "--resume" in error
    more = ("--steps", 4, "--resume")
    assert tiny_main("train", settings, recording, "--out", out, *more) == (0, "")
    tuned = workplace / "tuned.safetensors"
    weights = out / "weights.safetensors"
    done = tiny_main("finetune", weights, recording, "--out", tuned, "--steps", 3)
    assert done == (0, "")
    before, after = load_file(weights), load_file(tuned)  # the same where no step helps
    assert {name: value.shape for name, value in before.items()} == {
        name: value.shape for name, value in after.items()
    }
    card = header(tuned)["card"]
    assert card["steps"] == 7 and card["began_with"] == str(weights)
    assert card["data"] == [recording, recording]


def header(path: Path) -> dict:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(
        json.loads(data[8 : 8 + length])["__metadata__"]["semantic_field.generalizable"]
    )
