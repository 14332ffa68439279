"""``semantic-field demo`` as its users meet it; a mapping node that is killed and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import embedded_ros
from semantic_field.field.map_file import load_map

pytestmark = [pytest.mark.launch, pytest.mark.slow]

if not embedded_ros.install():
    pytest.skip("written for the embedded ROS", allow_module_level=True)

SOURCES = Path(__file__).parents[2] / "src"
PATIENCE_S = 480.0  # to end a test that hangs, not to time it
ROOM = "room:frames=45,width=320,height=240"


def start_demo(out: Path, train_s: float, domain: int, *options: str) -> subprocess.Popen:
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCES),
        "ROS_DOMAIN_ID": str(domain),
        "ROS_HOME": str(out.parent),
    }
    command = [sys.executable, "-m", "semantic_field.cli", "demo", "--input", ROOM]
    command += ["--out", str(out), "--train-seconds", str(train_s), *options]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(domain: int) -> list[int]:
    """Processes that were started with this domain in their environment."""
    found = []
    wanted = f"ROS_DOMAIN_ID={domain}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended, or belongs to somebody else
    return found


@pytest.fixture
def domain():
    """A domain of the test's own; what is left in it is killed."""
    number = 100 + (os.getpid() + 37) % 100
    yield number
    for pid in processes_of(number):
        if pid != os.getpid():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def ctrl_c_works():
    """In the background of a shell it is ignored, and so it would be by all that tests start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_demo_answers_rightly(tmp_path, domain):
    out = tmp_path / "out"
    process = start_demo(out, 15.0, domain)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    report = json.loads((out / "report.json").read_text())
    assert len(report["judgements"]) >= 3
    assert all(judgement["right"] for judgement in report["judgements"])
    assert any(not judgement["expected"] for judgement in report["judgements"])
    assert report["mapping"]["keyframes"] > 5 and report["mapping"]["steps"] > 20
    for name in (*report["files"], "map.safetensors"):
        assert (out / name).stat().st_size > 0, name
    state = load_map((out / "map.safetensors").read_bytes())
    assert state.steps >= report["mapping"]["steps"] > 0
    assert processes_of(domain) == []


def test_the_demo_learns_from_images_with_a_clip_of_ones_own(tmp_path, domain, clip_checkpoint):
    out = tmp_path / "out"
    options = ("--language", "open_clip", "--checkpoint", clip_checkpoint)
    process = start_demo(out, 5.0, domain, *options)
    said, _ = process.communicate(timeout=PATIENCE_S)
    report = json.loads((out / "report.json").read_text())
    assert len(report["answers"]) >= 3 and all(a["success"] for a in report["answers"]), said
    wrong = [judgement for judgement in report["judgements"] if not judgement["right"]]
    assert process.returncode == bool(wrong), said  # random weights are right by chance only
    language = load_map((out / "map.safetensors").read_bytes()).language
    assert language is not None and language.fingerprint.startswith("open_clip:")
    assert language.temperature > 0  # learnt from images
    assert processes_of(domain) == []


def test_ctrl_c_in_the_middle_leaves_nothing_behind(tmp_path, domain):
    out = tmp_path / "out"
    process = start_demo(out, 300.0, domain)
    log = out / "launch.log"
    deadline = time.monotonic() + PATIENCE_S
    while not (log.exists() and "the map can be asked" in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    assert len(processes_of(domain)) >= 5  # demo, launch, three nodes
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, said
    assert processes_of(domain) == []
    assert load_map((out / "map.safetensors").read_bytes()).steps > 0
