"""A bag's topics as launch arguments, found by a process of its own as the launch file does."""

import argparse
import json
import subprocess
import sys

import pytest

from semantic_field.data.bag_launch import launch_arguments
from semantic_field.data.bag_writer import write_bag
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.data.source_options import add_source_options, joined_axes, source_config


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


def test_what_is_asked_for_is_launched(bag):
    command = [sys.executable, "-m", "semantic_field.data.bag_launch", str(bag)]
    done = subprocess.run(
        [*command, json.dumps({"global_frame": "base_link", "pose_source": "tf", "slop": "0.01"})],
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["global_frame"] == "base_link", done.stderr
    done = subprocess.run(
        [*command, json.dumps({"depth_topic": "/typo"})], capture_output=True, text=True
    )
    assert done.returncode == 1 and "--depth-topic" in done.stderr


def test_options_of_the_command_line():
    parser = argparse.ArgumentParser()
    add_source_options(parser)
    parser.add_argument("--up")
    line = "--up -y --register --camera 1,2,3,4,5,6 --depth-scale 0.001 --slop 0.1"
    arguments = parser.parse_args(joined_axes(line.split()))
    assert arguments.up == "-y"
    given = source_config(arguments)
    assert given.changes_images and given.options() == {
        "register": True,
        "camera": "1,2,3,4,5,6",
        "depth_scale": 0.001,
        "slop_s": 0.1,
    }
    nothing = source_config(parser.parse_args([]))
    assert nothing.options() == {} and not nothing.changes_images
    taken = source_config(parser.parse_args(["--no-register"]))
    assert taken.options() == {"register": False} and not taken.changes_images
