"""A bag's topics as launch arguments, found by a process of its own as the launch file does."""

import json
import subprocess
import sys

import pytest

from semantic_field.data.bag_launch import launch_arguments
from semantic_field.data.bag_writer import write_bag
from semantic_field.data.simulated_room import SimulatedRoom


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("bag") / "room"
    write_bag(SimulatedRoom(n_frames=2, size=(64, 48)), path, compressed=True)
    return path


def test_topics_transports_and_frames(bag):
    arguments = launch_arguments(bag)
    assert arguments["color"] == "/camera/color/image_raw"
    assert arguments["color_transport"] == "compressed"
    assert arguments["depth_transport"] == "compressedDepth"
    assert arguments["label_info"] == "/camera/labels/label_info"
    assert (arguments["pose_source"], arguments["global_frame"]) == ("tf", "map")


def test_as_a_program(bag, tmp_path):
    command = [sys.executable, "-m", "semantic_field.data.bag_launch"]
    done = subprocess.run([*command, str(bag)], capture_output=True, text=True)
    assert json.loads(done.stdout) == launch_arguments(bag)
    (tmp_path / "empty").mkdir()
    done = subprocess.run([*command, str(tmp_path / "empty")], capture_output=True, text=True)
    assert done.returncode == 1 and "expected" in done.stderr
