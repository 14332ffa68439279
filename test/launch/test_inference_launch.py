"""The inference node as a process: alone, and beside the mapping node that learns from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semantic_field.generalizable.training.weight_files import ModelCard, build_model, save_model

pytestmark = [pytest.mark.launch, pytest.mark.slow]

SOURCES = Path(__file__).parents[2] / "src"
PATIENCE_S = 240.0  # to end a test that hangs, not to time it
PATIENT = ("sigterm_timeout:=60", "sigkill_timeout:=60")  # on a busy machine, a map takes a while
ROOM = "room:frames=60,width=160,height=120"
# Untrained weights are never sure of anything.
SETTINGS = """
/**/inference_node:
  ros__parameters:
    least_confidence: 0.0
    views: 3
    image_width: 160
"""
PLAYED = """
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

def generate_launch_description():
    share = FindPackageShare("semantic_field")
    path = PathJoinSubstitution([share, "launch", "inference.launch.py"])
    replay = Node(
        package="semantic_field",
        executable="replay_node",
        name="replay_node",
        parameters=[{{"input": "{room}", "loop": True, "wait_for_subscriber_s": 200.0}}],
    )
    return LaunchDescription(
        [IncludeLaunchDescription(PythonLaunchDescriptionSource(path)), replay]
    )
"""


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(SOURCES),
        "ROS_DOMAIN_ID": str(100 + (os.getpid() + 61) % 100),
        "ROS_HOME": str(tmp_path),
        "ROS_LOG_DIR": str(tmp_path / "log"),
    }


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Arguments that name untrained weights and settings for them."""
    torch.manual_seed(0)
    model = build_model({"system": "gsnerf", "branch": "statistics", "depth": "readings"})
    save_model(model, tmp_path / "weights.safetensors", ModelCard())
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    return [f"weights:={tmp_path}/weights.safetensors", f"params_file:={tmp_path}/settings.yaml"]


@pytest.fixture
def command(environment) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of the package to its end."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "semantic_field.cli", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    return run


@pytest.fixture
def launch(environment, tmp_path):
    """Start a launch; ``end`` stops it as Ctrl-C does, and returns its exit code and output."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else it is inherited
    started = []

    def start(*words: str) -> Callable[[], tuple[int, str]]:
        log = tmp_path / "output.txt"
        with log.open("w") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "semantic_field.cli", "launch", *words, *PATIENT],
                env=environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)

        def end() -> tuple[int, str]:
            os.kill(process.pid, signal.SIGINT)
            return process.wait(PATIENCE_S), log.read_text()

        end.output = log.read_text
        return end

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    signal.signal(signal.SIGINT, before)


def until(holds: Callable[[], bool], output: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, output()[-4000:]
        time.sleep(0.5)


def test_it_follows_the_camera_answers_and_stops(launch, command, files, tmp_path):
    (tmp_path / "played.launch.py").write_text(PLAYED.format(room=ROOM))
    words = ["follow:=camera", "use_sim_time:=true", "input_qos:=reliable", *files]
    end = launch(str(tmp_path / "played.launch.py"), *words)
    until(lambda: "waiting for images" in end.output(), end.output)
    topic = ["topic", "echo", "/inference/label", "--once", "--wait", "60"]
    echoed = command(*topic)
    assert "encoding: 16UC1" in echoed.stdout, echoed.stdout + echoed.stderr + end.output()
    assert "frame_id: camera_color_optical_frame" in echoed.stdout
    pose = "camera_pose: {pose: {orientation: {x: -0.5, y: 0.5, z: -0.5, w: 0.5}}}"
    asked = f"{{{pose}, width: 8, height: 6, horizontal_field_of_view: 1.0}}"
    service = ["service", "call", "/infer_view", "semantic_field/srv/RenderView", asked]
    until(lambda: "success: true" in command(*service).stdout, end.output)
    listed = command("topic", "list").stdout
    names = ("color", "depth", "label", "confidence", "camera_info", "cloud", "label_info", "pose")
    assert [name for name in names if f"/inference/{name}\n" not in listed] == []
    code, output = end()
    assert code == 0 and "Traceback" not in output, output[-4000:]
    assert "[inference_node-1]: process has finished cleanly" in output


def test_the_mapping_node_learns_from_its_labels(launch, command, files, tmp_path):
    words = [f"input:={ROOM}", "loop:=true", f"map_path:={tmp_path}/map.safetensors"]
    end = launch("demo.launch.py", "inference:=true", "dense_labels:=true", *words, *files)
    until(lambda: "mapping: waiting for images" in end.output(), end.output)

    def learns() -> bool:
        status = command("topic", "echo", "/status", "--once", "--wait", "60").stdout
        return "name: label" in status and "- chair" in status

    until(learns, end.output)
    listed = command("topic", "list").stdout
    assert "/inference/label\n" in listed and "/labels/image\n" in listed
    code, output = end()
    assert code == 0 and "Traceback" not in output, output[-4000:]
    for name in ("mapping_node", "query_node", "inference_node", "replay_node"):
        assert f"[{name}-" in output


def test_dense_labels_need_the_inference_node(command):
    done = command("launch", "mapping.launch.py", "dense_labels:=true")
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "inference:=true dense_labels:=true" in said, said
    assert "process started" not in said
