"""The embedded launch service: order, scopes, events, processes of its own."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import embedded_ros

if not embedded_ros.install():
    pytest.skip("ROS 2's own launch is installed", allow_module_level=True)

from launch import LaunchDescription, LaunchService
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.processes.children import Guard
from launch.processes.guard import living
from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir
from launch_ros.actions import Node, PushRosNamespace, SetParameter
from rclpy._parameter_yaml import load_yaml


@pytest.fixture(autouse=True)
def _logs(tmp_path, monkeypatch):
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))


def run(*entities) -> int:
    service = LaunchService()
    service.include_launch_description(LaunchDescription(entities))
    return service.run()


def note(into: list, *names: str) -> OpaqueFunction:
    """Appends the values of launch configurations when it is reached."""
    return OpaqueFunction(
        function=lambda context: into.append(
            tuple(context.launch_configurations.get(name) for name in names)
        )
    )


def code_of(into: list):
    """Appends the exit code of a process that has ended."""
    return lambda event, context: into.append(event.returncode)


def shell(script: str, **kwargs) -> ExecuteProcess:
    return ExecuteProcess(cmd=["sh", "-c", script], **{"output": "screen", **kwargs})


def test_groups_keep_their_settings_to_themselves(monkeypatch):
    monkeypatch.setenv("FROM_OUTSIDE", "1")
    seen = []
    set_a = SetLaunchConfiguration
    code = run(
        set_a("a", "outer"),
        GroupAction([set_a("a", "inner"), set_a("b", "B"), note(seen, "a", "b")]),
        note(seen, "a", "b"),
        GroupAction(
            [SetEnvironmentVariable("FROM_OUTSIDE", "2"), SetEnvironmentVariable("INSIDE", "2")]
        ),
        shell('[ "$FROM_OUTSIDE" = 1 ] && [ -z "$INSIDE" ]', on_exit=code_of(seen)),
    )
    assert code == 0
    assert seen == [("inner", "B"), ("outer", None), 0]
    assert os.environ["FROM_OUTSIDE"] == "1" and "INSIDE" not in os.environ


def test_conditions_choose_what_is_executed():
    seen = []
    flag = LaunchConfiguration("flag")
    run(
        DeclareLaunchArgument("flag", default_value="true"),
        GroupAction(
            [SetLaunchConfiguration("x", "if"), note(seen, "x")], condition=IfCondition(flag)
        ),
        GroupAction([note(seen, "flag")], condition=UnlessCondition(flag)),
    )
    assert seen == [("if",)]


def test_arguments_default_choices_and_requirement(capsys):
    seen = []
    given = SetLaunchConfiguration("mode", "walk")
    choice = DeclareLaunchArgument("mode", default_value="run", choices=["run", "walk"])
    assert run(given, choice, note(seen, "mode")) == 0
    assert seen == [("walk",)]
    assert run(SetLaunchConfiguration("mode", "fly"), choice, note(seen, "mode")) == 1
    assert "one of run, walk, got 'fly'" in capsys.readouterr().out
    assert run(DeclareLaunchArgument("must", description="the map")) == 1
    assert "'must' (the map) was not provided" in capsys.readouterr().out
    assert seen == [("walk",)]


def included(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    path = tmp_path / "below" / "inner.launch.py"
    path.write_text(
        "from launch import LaunchDescription\n"
        "from launch.actions import DeclareLaunchArgument, ExecuteProcess\n"
        "from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir\n"
        "def generate_launch_description():\n"
        "    return LaunchDescription([DeclareLaunchArgument('who'),\n"
        "        DeclareLaunchArgument('free', default_value='f'),\n"
        "        ExecuteProcess(cmd=['echo', ThisLaunchFileDir(), LaunchConfiguration('who')],\n"
        "            output='screen')])\n"
    )
    return path


def test_includes_get_arguments_and_know_where_they_are(tmp_path, capsys):
    path = included(tmp_path)
    source = PythonLaunchDescriptionSource(["", str(path)])
    seen = []
    include = IncludeLaunchDescription(source, launch_arguments={"who": "me"}.items())
    description = LaunchDescription([include])
    assert [argument.name for argument in description.get_launch_arguments()] == ["free"]
    assert run(include, note(seen, "who", "free")) == 0
    assert f"{path.parent} me" in capsys.readouterr().out
    assert seen == [("me", "f")]
    assert not list(tmp_path.rglob("*.pyc"))


def test_an_include_without_a_required_argument_starts_nothing(tmp_path, capsys):
    source = PythonLaunchDescriptionSource(str(included(tmp_path)))
    assert run(shell("echo started"), IncludeLaunchDescription(source)) == 1
    out = capsys.readouterr().out
    assert "needs the launch argument 'who'" in out and "process started" not in out


def test_an_error_of_a_launch_file_names_its_line(tmp_path, capsys):
    path = tmp_path / "bad.launch.py"
    path.write_text("def generate_launch_description():\n    return no_such_name\n")
    assert run(IncludeLaunchDescription(PythonLaunchDescriptionSource(str(path)))) == 1
    assert f"{path}:2" in capsys.readouterr().out
    path.write_text("x = 1\n")
    assert run(IncludeLaunchDescription(PythonLaunchDescriptionSource(str(path)))) == 1
    assert "no function generate_launch_description" in capsys.readouterr().out
    missing = PythonLaunchDescriptionSource([ThisLaunchFileDir(), "/x.launch.py"])
    assert run(IncludeLaunchDescription(missing)) == 1


def test_output_comes_line_by_line_behind_the_label(capsys):
    script = r"printf 'one\ntwo\r\n\377three'; sleep 0.1; echo four >&2"
    assert run(shell(script, name="worker")) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("[worker-1] ")]
    assert sorted(lines) == [
        "[worker-1] four",
        "[worker-1] one",
        "[worker-1] two",
        "[worker-1] \ufffdthree",
    ]
    assert "[INFO] [worker-1]: process has finished cleanly [pid" in out


def test_output_to_the_log_only_shows_errors(capsys, tmp_path):
    assert run(shell("echo quiet; echo loud >&2", output="log")) == 0
    out = capsys.readouterr().out
    assert "loud" in out and "] quiet" not in out
    (log,) = (tmp_path / "log").glob("*/launch.log")
    assert "[sh-1] quiet" in log.read_text()


def test_a_log_folder_that_cannot_be_written_does_not_stop_the_launch(
    capsys, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "file" / "log"))
    assert run(shell("echo fine", output="both")) == 0
    out = capsys.readouterr().out
    assert "[sh-1] fine" in out and out.count("no more log files") == 1


def test_a_dead_process_is_reported_by_name_and_exit_code(capsys):
    assert run(shell("exit 3", name="fragile"), shell("kill -9 $$", name="killed")) == 0
    out = capsys.readouterr().out
    assert "[ERROR] [fragile-1]: process has died [pid" in out and "exit code 3, cmd" in out
    assert "exit code -9, SIGKILL" in out


def test_a_program_that_is_not_there_is_an_exit_too(capsys):
    seen = []
    handler = OnProcessExit(on_exit=code_of(seen))
    run(RegisterEventHandler(handler), ExecuteProcess(cmd=["/no/such/program"]))
    assert seen == [127]
    assert "[ERROR] [program-1]: cannot be started" in capsys.readouterr().out


def test_the_end_of_a_process_brings_what_its_handlers_say():
    seen = []
    other = shell("exit 6", on_exit=code_of(seen))
    first = shell("exit 5", on_exit=[SetLaunchConfiguration("ended", "yes"), other])
    run(
        RegisterEventHandler(OnProcessExit(target_action=first, on_exit=code_of(seen))),
        RegisterEventHandler(OnProcessExit(target_action=other, on_exit=note(seen, "ended"))),
        first,
    )
    assert seen == [5, 6, ("yes",)]


def test_an_error_in_a_handler_ends_the_launch(capsys):
    def fail(event, context):
        raise KeyError("what is asked for")

    assert run(shell("true", on_exit=fail), shell("sleep 1000")) == 1
    assert "KeyError: 'what is asked for'" in capsys.readouterr().out


def test_shutdown_stops_what_runs_and_starts_no_more(capsys):
    seen = []
    code = run(
        shell("sleep 1000", name="sleeper", on_exit=code_of(seen)),
        shell("true", on_exit=[Shutdown(reason="the test ends"), shell("echo too late")]),
    )
    out = capsys.readouterr().out
    assert code == 0 and seen == [-2]
    assert "shutting down: the test ends" in out
    assert "sending signal 'SIGINT' to process[sleeper-1]" in out
    assert "[sleeper-1]: process has stopped" in out
    assert "] too late" not in out


def test_a_process_that_does_not_listen_is_killed_in_the_end(capsys, tmp_path):
    seen = []
    ready = tmp_path / "ready"
    deaf = f"trap '' INT TERM; touch {ready}; while true; do sleep 0.05; done"
    waiting = f"until [ -e {ready} ]; do sleep 0.05; done"
    assert run(
        SetLaunchConfiguration("sigterm_timeout", "0.2"),
        SetLaunchConfiguration("sigkill_timeout", "0.2"),
        shell(deaf, name="deaf", on_exit=code_of(seen)),
        shell(waiting, on_exit=Shutdown(reason="all is ready")),
    ) == 0  # fmt: skip
    out = capsys.readouterr().out
    order = [out.index(f"sending signal '{name}'") for name in ("SIGINT", "SIGTERM", "SIGKILL")]
    assert order == sorted(order)
    assert "[ERROR] [deaf-1]: process has died" in out and seen == [-9]


@pytest.mark.parametrize("guard_dies_first", [False, True])
def test_a_guard_ends_the_groups_that_are_left(guard_dies_first, capfd):
    script = "sleep 1000 & echo started; exec sleep 0"
    with subprocess.Popen(
        ["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
    assert living({process.pid})
    guard = Guard()
    guard.start()
    if guard_dies_first:
        guard.process.kill()
        guard.process.wait()
    guard.add(process.pid)
    guard.close()
    assert not living({process.pid})
    assert ("guard process is gone" in capfd.readouterr().out) is guard_dies_first


def command_of(capsys, *entities) -> tuple[list[str], list[dict]]:
    """The arguments that a node gets, which this stand-in for a node prints, and its parameters."""
    script = "import sys; print(sys.argv[1:])"
    parameters = []

    def keep(event, context):
        command = event.cmd
        files = [command[i + 1] for i, word in enumerate(command) if word == "--params-file"]
        parameters.extend(load_yaml(Path(file).read_text()) for file in files)

    node = Node(
        executable=sys.executable,
        exec_name="stand_in",
        name="camera",
        arguments=["-c", script, "own argument"],
        parameters=[{"rate": LaunchConfiguration("rate", default="5.0")}],
        remappings=[("image", LaunchConfiguration("topic", default="/color"))],
        ros_arguments=["--log-level", "debug"],
        output="screen",
        on_exit=keep,
    )
    assert run(*entities, node) == 0
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.startswith("[stand_in-1] "))
    return ast.literal_eval(line.removeprefix("[stand_in-1] ")), parameters


def test_a_node_gets_what_ros_passes(capsys):
    words, parameters = command_of(capsys)
    assert words[:4] == ["own argument", "--ros-args", "--log-level", "debug"]
    assert words[4:6] == ["-r", "__node:=camera"]
    assert words[6] == "--params-file" and words[8:] == ["-r", "image:=/color"]
    assert parameters == [{"/**": {"ros__parameters": {"rate": 5.0}}}]


def test_scoped_settings_reach_the_nodes(capsys):
    words, parameters = command_of(
        capsys,
        PushRosNamespace("robot"),
        GroupAction([PushRosNamespace("never"), SetParameter("never", 1)]),
        PushRosNamespace("left"),
        SetParameter("use_sim_time", True),
        SetLaunchConfiguration("rate", "2"),
    )
    assert "__ns:=/robot/left" in words
    assert parameters == [
        {"/**": {"ros__parameters": {"use_sim_time": True}}},
        {"/robot/left/camera": {"ros__parameters": {"rate": 2}}},
    ]


def test_a_node_that_cannot_be_run_here_says_so(capsys):
    assert run(Node(package="rviz2", executable="rviz2")) == 1
    assert "Install ROS 2" in capsys.readouterr().out
    assert run(Node(package="semantic_field", executable="no_such_node")) == 1
    assert "no executable 'no_such_node'" in capsys.readouterr().out
    assert run(Node(executable="x", name="not a name")) == 1
    assert "'not a name'" in capsys.readouterr().out


def test_a_module_of_another_package_runs_as_a_node(tmp_path, monkeypatch, capsys):
    package = tmp_path / "my_robot"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "driver.py").write_text(
        "import sys\nfrom rclpy.node import Node\nprint(__name__, Node.__name__, sys.argv[1:])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    node = Node(package="my_robot", executable="driver", arguments=["a"], output="screen")
    assert run(node) == 0
    assert "[driver-1] __main__ Node ['a', '--ros-args']\n" in capsys.readouterr().out


def test_a_program_of_an_installed_package_runs_as_a_node(tmp_path, monkeypatch, capsys):
    marker = tmp_path / "share/ament_index/resource_index/packages/my_tools"
    program = tmp_path / "lib/my_tools/tool"
    for path in (marker, program):
        path.parent.mkdir(parents=True)
    marker.touch()
    program.write_text("#!/bin/sh\necho tool runs\n")
    program.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert run(Node(package="my_tools", executable="tool", output="screen")) == 0
    assert "[tool-1] tool runs\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("from launch.actions import TimerAction", r"actions\.TimerAction .*GroupAction"),
        ("from launch import events", r"launch\.events .*event_handlers"),
        ("import launch.events.process", r"launch\.events .*event_handlers"),
        ("import launch_xml", r"launch_xml .*launch_description_sources"),
        ("from launch_ros.actions import ComposableNodeContainer", "Container .*Node"),
        ("import launch; launch.substitutions.Command", "Command .*LaunchConfiguration"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(statement, complaint):
    with pytest.raises(ImportError, match=complaint):
        exec(statement, {})


def test_an_argument_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(TypeError, match=r"Node takes no respawn .*: executable.*output"):
        Node(executable="x", respawn=True)
    with pytest.raises(TypeError, match=r"GroupAction takes no scoped .*: actions, condition"):
        GroupAction([], scoped=False)


def test_the_documented_names_are_those_that_are_there():
    text = (Path(__file__).parents[2] / "docs" / "launch.md").read_text()
    rows = re.findall(r"^\| (`launch.*?) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 9
    for modules, names in rows:
        for module in re.findall(r"`(\S+)`", modules):
            public = set(importlib.import_module(module).__all__)
            assert set(names.split(", ")) == {name for name in public if name[0].isupper()} | {
                name for name in public if name.startswith("get_")
            }


def test_submodules_can_be_imported_from_the_package():
    code = "from launch import launch_description_sources as s; s.AnyLaunchDescriptionSource"
    command = f"import embedded_ros; embedded_ros.install(); {code}"
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run([sys.executable, "-c", command], check=True, env={"PYTHONPATH": source})
