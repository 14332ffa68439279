"""This package's launch files: their arguments as people type them, and what reads them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

import embedded_ros

embedded_ros.install()

from launch import LaunchContext  # noqa: E402
from launch.actions import OpaqueFunction  # noqa: E402
from launch.conditions import IfCondition  # noqa: E402
from launch.launch_description_sources import (  # noqa: E402
    get_launch_description_from_any_launch_file,
)
from launch.substitutions import SubstitutionFailure  # noqa: E402
from launch.utilities.type_utils import perform_typed_substitution  # noqa: E402

from semantic_field.data.bag_writer import write_bag  # noqa: E402
from semantic_field.data.simulated_room import SimulatedRoom  # noqa: E402
from semantic_field.nodes.ros import launch_parts  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
PIP = "torch numba numpy rosbags cyclonedds cv2 scipy safetensors jaxtyping rich transformers"

# `ros2 launch` may run under the system's Python. `launch` comes from this package's own here; a
# real rclpy is all that tells embedded_ros to stay away.
READ_WITHOUT_PIP = f"""
import sys
for name in {PIP.split()!r}:
    sys.modules[name] = None
from launch.launch_description_sources import get_launch_description_from_python_launch_file
names = [a.name for path in sys.argv[1:]
         for a in get_launch_description_from_python_launch_file(path).get_launch_arguments()]
print(len(names))
"""


def arguments(path: Path) -> dict[str, str | None]:
    """Names and descriptions that ``ros2 launch --show-args`` shows."""
    description = get_launch_description_from_any_launch_file(str(path))
    return {argument.name: argument.description for argument in description.get_launch_arguments()}


def boolean_arguments() -> list[str]:
    tables = launch_parts.MAPPING_ARGUMENTS | launch_parts.REPLAY_ARGUMENTS
    return [name for name, (_, text, *_) in tables.items() if text.startswith("true or false")]


def test_there_are_no_boolean_arguments_but_those_that_take_every_spelling():
    defaults = {a: d for a, (d, *_) in launch_parts.MAPPING_ARGUMENTS.items()}
    defaults |= {a: d for a, (d, *_) in launch_parts.REPLAY_ARGUMENTS.items()}
    written = {name for name, default in defaults.items() if default in ("true", "false")}
    assert set(boolean_arguments()) == written
    assert {"use_sim_time", "rectified", "load_map", "autostart", "rviz", "loop"} <= written


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("True", True), ("true", True), ("1", True), ("YES", True), ("on", True)]
    + [("False", False), ("false", False), ("0", False), ("no", False), (" off ", False)],
)
def test_a_truth_may_be_typed_in_every_usual_way(typed, meant):
    context = LaunchContext()
    for name in boolean_arguments():
        context.launch_configurations[name] = typed
        assert IfCondition(launch_parts.Truth(name)).evaluate(context) is meant
        parameter = launch_parts.typed(name, bool)
        assert parameter.evaluate(context) is meant
        text = [launch_parts.Truth(name)]
        assert perform_typed_substitution(context, text, bool) is meant


def test_another_word_is_refused_with_the_argument_s_name():
    context = LaunchContext()
    context.launch_configurations["rviz"] = "maybe"
    with pytest.raises(SubstitutionFailure, match=r"'rviz'.*true or false.*got 'maybe'"):
        launch_parts.Truth("rviz").perform(context)


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_argument_is_shown_that_the_file_and_its_includes_read(path):
    """What an included file declares counts: it must not hide in a function of the launch."""
    shown = arguments(path)
    assert all(text and text != "no description given" for text in shown.values())
    if "mapping.launch.py" in path.read_text() or path.name == "mapping.launch.py":
        assert set(launch_parts.MAPPING_ARGUMENTS) - given_by(path) <= set(shown)
    if path.name == "demo.launch.py":
        assert {"input", "rate", "color", "rviz", "map_path"} <= set(shown)


def given_by(path: Path) -> set[str]:
    """Arguments that the file itself sets of what it includes."""
    text = path.read_text().partition("launch_arguments={")[2].partition("}.items()")[0]
    return set(re.findall(r'^\s+"(\w+)":', text, re.MULTILINE))


def test_launch_files_can_be_read_where_pip_s_packages_are_not():
    places = [ROOT / "src", ROOT / "src" / "embedded_ros" / "packages"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))}
    done = subprocess.run(
        [sys.executable, "-c", READ_WITHOUT_PIP, *map(str, LAUNCH_FILES)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def settings(context: LaunchContext, action) -> dict[str, str]:
    """What an action that only sets arguments leaves of them."""
    for entity in action.execute(context) or ():
        entity.visit(context)
    return dict(context.launch_configurations)


def test_a_bag_s_topics_are_the_defaults_and_what_is_given_stays(tmp_path):
    write_bag(SimulatedRoom(n_frames=2, size=(64, 48)), tmp_path / "bag")
    context = LaunchContext()
    context.launch_configurations.update({"input": str(tmp_path / "bag"), "depth": "/mine"})
    found = settings(context, launch_parts.topics_of_bag())
    assert found["color"] == "/camera/color/image_raw" and found["depth"] == "/mine"
    assert found["pose_source"] == "tf"


def test_a_bag_is_read_as_the_arguments_say(tmp_path):
    write_bag(SimulatedRoom(n_frames=2, size=(64, 48)), tmp_path / "bag")
    context = LaunchContext()
    given = {"input": str(tmp_path / "bag"), "register": "False", "global_frame": "map"}
    context.launch_configurations.update(given)
    found = settings(context, launch_parts.topics_of_bag())
    assert found["color"] == "/camera/color/image_raw" and found["replayed_global_frame"] == "map"
    context.launch_configurations["depth_topic"] = "/no/such"
    with pytest.raises(RuntimeError, match=r"--depth-topic.*'/no/such'"):
        settings(context, launch_parts.topics_of_bag())


@pytest.mark.parametrize(
    ("location", "published"),
    [("", {}), ("room:frames=3", {"pose_source": "tf", "global_frame": "map"})],
)
def test_without_a_bag_poses_are_those_that_the_replay_publishes(location, published):
    context = LaunchContext()
    context.launch_configurations["input"] = location
    said = {"replayed_pose_source": "auto", "replayed_global_frame": ""}
    found = settings(context, launch_parts.topics_of_bag())
    assert found == {"input": location} | said | published


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({"input": ""}, {}),
        ({"input": "room"}, {"input_qos": "reliable", "use_sim_time": "true"}),
        ({"input": "room", "use_sim_time": "no"}, {"input_qos": "reliable"}),
    ],
)
def test_one_process_has_the_defaults_of_a_replay_only_with_a_recording(given, changed):
    loader = SourceFileLoader("single_process", str(ROOT / "launch" / "single_process.launch.py"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    context = LaunchContext()
    context.launch_configurations.update(given)
    action = OpaqueFunction(function=module.replay_defaults)
    assert settings(context, action) == given | changed
