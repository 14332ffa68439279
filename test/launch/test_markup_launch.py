"""XML and YAML launch files: each tag of them, and those that include this package's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import embedded_ros

IS_EMBEDDED = embedded_ros.install()

from launch.launch_description_sources import (  # noqa: E402
    get_launch_description_from_any_launch_file,
)

pytestmark = pytest.mark.launch

PROBE = "import sys; print('said', sys.argv[1:])"
XML = """<launch>
  <!-- a comment -->
  <arg name="robot" default="spot" description="what it is called"/>
  <arg name="side" default="left"><choice value="left"/><choice value="right"/></arg>
  <arg name="loud" default="true"/>
  <let name="greeting" value="hello_$(var robot)"/>
  <group>
    <let name="greeting" value="inside"/>
    <set_env name="PLACE" value="kitchen"/>
    <executable cmd="sh -c 'echo in the $PLACE: $0' $(var greeting)" output="screen"/>
  </group>
  <executable cmd="echo outside: $(var greeting) $(var side)" output="screen" if="$(var loud)"/>
  <executable cmd="echo silence" output="screen" unless="$(var loud)"/>
  <node pkg="{package}" exec="{program}" name="talker" namespace="ns" output="screen"
        args="--flag $(var robot)">
    <param name="rate" value="2.5"/>
    <param name="label" value="1" type="str"/>
    <param name="gains" value="1;2" value-sep=";"/>
    <remap from="image" to="/$(var side)/image"/>
  </node>
</launch>
"""
YAML = """
launch:
- arg: {name: robot, default: spot, description: what it is called}
- arg: {name: side, default: left, choice: [{value: left}, {value: right}]}
- arg: {name: loud, default: "true"}
- let: {name: greeting, value: hello_$(var robot)}
- group:
  - let: {name: greeting, value: inside}
  - set_env: {name: PLACE, value: kitchen}
  - executable:
      cmd: "sh -c 'echo in the $PLACE: $0' $(var greeting)"
      output: screen
- executable: {cmd: "echo outside: $(var greeting) $(var side)", output: screen, if: $(var loud)}
- executable: {cmd: echo silence, output: screen, unless: $(var loud)}
- node:
    pkg: {package}
    exec: {program}
    name: talker
    namespace: ns
    output: screen
    args: --flag $(var robot)
    param:
    - {name: rate, value: 2.5}
    - {name: label, value: "1", type: str}
    - {name: gains, value: [1, 2]}
    remap:
    - {from: image, to: /$(var side)/image}
"""


@pytest.fixture(params=["xml", "yaml"])
def markup(request, tmp_path, monkeypatch) -> Path:
    """A launch file in each of the two, and the package that it runs a program of."""
    prefix = tmp_path / "prefix"
    marker = prefix / "share/ament_index/resource_index/packages/talkers"
    program = prefix / "lib/talkers/talker"
    for path in (marker, program):
        path.parent.mkdir(parents=True)
    marker.touch()
    program.write_text(f"#!{sys.executable}\n{PROBE}\n")
    program.chmod(0o755)
    present = os.environ.get("AMENT_PREFIX_PATH", "")
    monkeypatch.setenv("AMENT_PREFIX_PATH", ":".join(filter(None, [str(prefix), present])))
    text = XML if request.param == "xml" else YAML
    path = tmp_path / f"robot.launch.{request.param}"
    path.write_text(text.replace("{package}", "talkers").replace("{program}", "talker"))
    return path


def launch(path: Path, *arguments: str) -> str:
    """What the file's launch has printed, to its end; by ``ros2 launch`` where there is one."""
    ours = [sys.executable, "-m", "semantic_field.cli", "launch"]
    command = ours if IS_EMBEDDED else ["ros2", "launch"]
    places = [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [*command, str(path), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_tag_does_what_ros_2_s_own_does(markup):
    out = launch(markup, "side:=right")
    assert "in the kitchen: inside" in out
    assert "outside: hello_spot right" in out and "silence" not in out
    (said,) = (line for line in out.splitlines() if "said [" in line)
    for word in ("'--flag', 'spot'", "__node:=talker", "__ns:=/ns", "image:=/right/image"):
        assert word in said
    assert "--params-file" in said


def test_conditions_follow_the_arguments(markup):
    out = launch(markup, "loud:=false")
    assert "silence" in out and "outside" not in out


def test_arguments_are_listed(markup):
    found = get_launch_description_from_any_launch_file(str(markup)).get_launch_arguments()
    assert [argument.name for argument in found] == ["robot", "side", "loud"]
    assert found[0].description == "what it is called"
    assert list(found[1].choices) == ["left", "right"]


INCLUDES = {
    "xml": """<launch>
  <arg name="camera" default="front"/>
  <include file="$(find-pkg-share semantic_field)/launch/{file}">
    <arg name="color" value="/$(var camera)/image"/>
    <arg name="use_sim_time" value="True"/>
  </include>
</launch>""",
    "yaml": """
launch:
- arg: {name: camera, default: front}
- include:
    file: $(find-pkg-share semantic_field)/launch/{file}
    arg:
    - {name: color, value: /$(var camera)/image}
    - {name: use_sim_time, value: "True"}
""",
}


@pytest.mark.parametrize("kind", sorted(INCLUDES))
@pytest.mark.parametrize("name", ["mapping", "demo", "single_process"])
def test_files_that_include_ours_show_our_arguments(kind, name, tmp_path):
    path = tmp_path / f"mine.launch.{kind}"
    path.write_text(INCLUDES[kind].replace("{file}", f"{name}.launch.py"))
    shown = launch(path, "--show-args")
    assert all(f"'{name}':" in shown for name in ("camera", "params_file", "map_path", "rviz"))


@pytest.mark.embedded_only("the words of the errors are ours")
@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.launch.xml", "<launch><nod/></launch>", "no tag <nod>"),
        ("a.launch.xml", "<launch><arg nam='x'/></launch>", "expected the attribute 'name'"),
        ("a.launch.xml", "<launch><arg name='x' defalt='1'/></launch>", "not known.*defalt"),
        ("a.launch.xml", "<launch><let name='x' value='1'><y/></let></launch>", "<y>"),
        ("a.launch.xml", "<launch>", "not XML"),
        ("a.launch.xml", "<robot/>", "root 'launch', got 'robot'"),
        ("a.launch.yaml", "launch: [{arg: {name: x, if: a, unless: b}}]", "'if' or 'unless'"),
        ("a.launch.yaml", "launch: [1]", "expected one name"),
        ("a.launch.yaml", "launch: [", "not YAML"),
        ("a.launch.toml", "", r"Python \(.py\), XML \(.xml\) or YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, text, complaint):
    from launch import InvalidLaunchFileError

    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidLaunchFileError, match=complaint):
        get_launch_description_from_any_launch_file(str(path))
