"""``semantic-field launch`` as its users meet it: processes, signals, arguments, no orphans."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import embedded_ros

pytestmark = pytest.mark.launch

if not embedded_ros.install():
    pytest.skip("ROS 2's own launch is installed", allow_module_level=True)

from launch.processes.guard import living  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
# Longer than anything here takes on a busy machine: to end a test that hangs, not to time it.
PATIENCE_S = 60.0

PROBE = """
import sys
import embedded_ros
embedded_ros.install()
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

rclpy.init()
node = Node("unnamed")
for name, default in (("rate", 0.0), ("label", ""), ("gains", [0.0]), ("from_file", 0)):
    print(name, repr(node.declare_parameter(name, default).value), flush=True)
print("use_sim_time", node.get_parameter("use_sim_time").value)
print("name", node.get_fully_qualified_name())
print("topic", node.resolve_topic_name("image"))
sys.stdout.flush()
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
print("said goodbye", flush=True)
node.destroy_node()
rclpy.try_shutdown()
"""

PROBE_LAUNCH = """
import sys
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node, PushRosNamespace, SetParameter
from launch_ros.descriptions import ParameterFile, ParameterValue

def generate_launch_description():
    here = ThisLaunchFileDir()
    probe = Node(
        executable=sys.executable,
        exec_name="probe",
        arguments=[PathJoinSubstitution([here, "probe.py"])],
        name="camera",
        output="screen",
        parameters=[
            ParameterFile(PathJoinSubstitution([here, "p.yaml"]), allow_substs=True),
            {
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
                "label": ParameterValue(LaunchConfiguration("label"), value_type=str),
                "gains": [1, 2.5],
            },
        ],
        remappings=[("image", LaunchConfiguration("topic"))],
    )
    return LaunchDescription([
        DeclareLaunchArgument("rate", description="in Hz"),
        DeclareLaunchArgument("label", default_value="1e-3", description="what it is called"),
        DeclareLaunchArgument("topic", default_value="/left/image", choices=["/left/image", "/b"]),
        DeclareLaunchArgument("run", default_value="true"),
        GroupAction(
            [PushRosNamespace("robot"), SetParameter("use_sim_time", True), probe],
            condition=IfCondition(LaunchConfiguration("run")),
        ),
    ])
"""


class Launched:
    """A launcher, and what it has written so far."""

    def __init__(self, process: subprocess.Popen, output: Path) -> None:
        self.process = process
        self.output = output

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.text or self.process.poll() is not None)
        assert text in self.text, self.text

    def pid_after(self, label: str) -> int:
        """The process id that a process of this label has written as ``pid N``."""
        self.wait_for(f"[{label}] pid ")
        until(lambda: "\n" in self.text.split(f"[{label}] pid ")[1])
        return int(self.text.split(f"[{label}] pid ")[1].split()[0])

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def environment(tmp_path: Path) -> dict[str, str]:
    paths = [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "ROS_LOG_DIR": str(tmp_path / "log"),
        "ROS_DOMAIN_ID": str(100 + os.getpid() % 100),
    }


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "semantic_field.cli", *map(str, arguments)]


def completed(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@contextlib.contextmanager
def launched(tmp_path: Path, *arguments: object) -> Iterator[Launched]:
    output = tmp_path / "output.txt"
    with output.open("w") as sink:
        process = subprocess.Popen(
            command("launch", *arguments),
            env=environment(tmp_path),
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Launched(process, output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE_S)


@pytest.fixture
def probe(tmp_path) -> Path:
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "p.yaml").write_text(
        "# $(var not_there)\n/**/camera:\n  ros__parameters:\n    from_file: $(var rate)\n"
    )
    path = tmp_path / "probe.launch.py"
    path.write_text(PROBE_LAUNCH)
    return path


def shells(tmp_path: Path, **scripts: str) -> Path:
    """A launch file that runs shell scripts, each under its name."""
    lines = "".join(
        f"        ExecuteProcess(cmd=['sh', '-c', {script!r}], name={name!r}, output='screen'),\n"
        for name, script in scripts.items()
    )
    path = tmp_path / "shells.launch.py"
    path.write_text(
        "from launch import LaunchDescription\n"
        "from launch.actions import ExecuteProcess\n"
        f"def generate_launch_description():\n    return LaunchDescription([\n{lines}    ])\n"
    )
    return path


def test_a_node_gets_arguments_parameters_and_remappings_and_stops_cleanly(tmp_path, probe):
    with launched(tmp_path, probe, "rate:=5", "topic:=/b") as launch:
        launch.wait_for("[probe-1] topic")
        assert launch.end(signal.SIGINT) == 0
        text = launch.text
    for line in (
        "rate 5.0",
        "label '1e-3'",
        "gains [1.0, 2.5]",
        "from_file 5",
        "use_sim_time True",
        "name /robot/camera",
        "topic /b",
        "said goodbye",
    ):
        assert f"[probe-1] {line}\n" in text
    assert "[INFO] [probe-1]: process has finished cleanly [pid" in text
    assert "Traceback" not in text


def test_a_condition_leaves_the_node_out(tmp_path, probe):
    done = completed(tmp_path, "launch", probe, "rate:=5", "run:=false")
    assert done.returncode == 0 and "process started" not in done.stdout


def test_arguments_are_listed_with_description_default_and_choices(tmp_path, probe):
    done = completed(tmp_path, "launch", probe, "--show-args")
    assert done.returncode == 0
    assert "'rate':\n        in Hz\n        (required)\n" in done.stdout
    assert "'label':\n        what it is called\n        (default: '1e-3')\n" in done.stdout
    assert "Valid choices are: ['/left/image', '/b']" in done.stdout or (
        "One of: ['/left/image', '/b']" in done.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["rat:=5"], "unknown launch argument 'rat': did you mean 'rate'?"),
        ([], "needs the launch argument 'rate' (in Hz)"),
        (["rate:=5", "topic:=/c"], "expected one of /left/image, /b, got '/c'"),
        (["rate:=fast"], "parameter 'rate': expected a value of type float, got 'fast'"),
        (["rate=5"], "expected arguments as name:=value, got 'rate=5'"),
    ],
)
def test_wrong_arguments_are_told_and_nothing_starts(tmp_path, probe, arguments, complaint):
    done = completed(tmp_path, "launch", probe, *arguments)
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr
    assert "process started" not in done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "def generate_launch_description():\n    return nothing\n",
            ":2: NameError: name 'nothing'",
        ),
        ("def generate_launch_description(:\n", "SyntaxError"),
        ("x = 1\n", "no function generate_launch_description()"),
    ],
)
def test_a_broken_launch_file_is_one_line(tmp_path, text, complaint):
    path = tmp_path / "broken.launch.py"
    path.write_text(text)
    done = completed(tmp_path, "launch", path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"error: {path}" in done.stderr and complaint in done.stderr


def test_launch_files_of_the_package_are_found_by_name(tmp_path):
    for words in (["mapping.launch.py"], ["mapping"], ["semantic_field", "mapping.launch.py"]):
        done = completed(tmp_path, "launch", *words, "--show-args")
        assert done.returncode == 0 and "'params_file':" in done.stdout
    done = completed(tmp_path, "launch", "no_such_file")
    assert done.returncode == 1 and "mapping.launch.py" in done.stderr


def test_a_node_that_dies_is_named_and_the_others_go_on(tmp_path):
    path = shells(tmp_path, fragile="exit 7", steady="echo pid $$; exec sleep 1000")
    with launched(tmp_path, path) as launch:
        launch.wait_for("[ERROR] [fragile-1]: process has died [pid")
        steady = launch.pid_after("steady-2")
        assert "exit code 7" in launch.text and living({steady})
        assert launch.end(signal.SIGINT) == 1
    assert "ended with an error: fragile-1" in launch.text
    assert not living({steady})


@pytest.mark.parametrize(("code", "ends_with"), [(0, 0), (5, 1)])
def test_a_node_whose_end_ends_the_launch_settles_how_it_ended(tmp_path, code, ends_with):
    path = tmp_path / "ending.launch.py"
    path.write_text(
        "from launch import LaunchDescription\n"
        "from launch.actions import ExecuteProcess, Shutdown\n"
        "def generate_launch_description():\n"
        f"    last = ExecuteProcess(cmd=['sh', '-c', 'exit {code}'], on_exit=Shutdown())\n"
        "    return LaunchDescription([ExecuteProcess(cmd=['sleep', '1000']), last])\n"
    )
    done = completed(tmp_path, "launch", path)
    assert done.returncode == ends_with
    assert ("ended with an error: sh-2\n" in done.stderr) is (code != 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_usual_signal_stops_all_in_order(tmp_path, number):
    polite = "trap 'echo bye; exit 0' INT; echo pid $$; while true; do sleep 0.05; done"
    with launched(tmp_path, shells(tmp_path, one=polite, two=polite)) as launch:
        groups = [launch.pid_after("one-1"), launch.pid_after("two-2")]
        assert launch.end(number) == 0
    assert "[one-1] bye" in launch.text and "[two-2] bye" in launch.text
    assert launch.text.count("process has finished cleanly") == 2
    assert not any(living({group}) for group in groups)


def test_more_interrupts_do_not_wait(tmp_path):
    deaf = "trap '' INT TERM; echo pid $$; while true; do sleep 0.05; done"
    with launched(
        tmp_path, shells(tmp_path, deaf=deaf), "sigterm_timeout:=10000", "sigkill_timeout:=10000"
    ) as launch:
        group = launch.pid_after("deaf-1")
        for name in ("SIGINT", "SIGTERM"):
            launch.process.send_signal(signal.SIGINT)
            launch.wait_for(f"sending signal '{name}' to process[deaf-1]")
            assert living({group})
        assert launch.end(signal.SIGINT) == 0
    assert "exit code -9, SIGKILL" in launch.text
    assert not living({group})


def test_nothing_survives_a_killed_launcher(tmp_path):
    save = f"trap 'sleep 0.2; touch {tmp_path}/saved; exit 0' TERM"
    orderly = save + "; echo pid $$; while true; do sleep 0.05; done"
    deaf = "trap '' INT TERM HUP; echo pid $$; while true; do sleep 0.05; done"
    parent = "echo pid $$; sleep 1000 & wait"
    path = shells(tmp_path, orderly=orderly, deaf=deaf, parent=parent)
    with launched(tmp_path, path) as launch:
        groups = [launch.pid_after(name) for name in ("orderly-1", "deaf-2", "parent-3")]
        assert launch.end(signal.SIGKILL) == -signal.SIGKILL
        until(lambda: not any(living({group}) for group in groups))
    assert (tmp_path / "saved").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's notice is Linux's")
def test_a_launcher_ends_with_the_script_that_started_it(tmp_path):
    path = shells(tmp_path, steady="echo pid $$; exec sleep 1000")
    words = " ".join(command("launch", "--with-parent", path))
    output = tmp_path / "output.txt"
    with output.open("w") as sink:
        script = subprocess.Popen(
            ["sh", "-c", f"{words} & wait"], env=environment(tmp_path), stdout=sink
        )
    steady = Launched(script, output).pid_after("steady-1")
    script.kill()
    script.wait()
    until(lambda: not living({steady}))
    until(lambda: "stopping all processes" in output.read_text())


def test_what_a_process_leaves_behind_ends_with_the_launch(tmp_path):
    path = shells(tmp_path, starter="echo pid $$; sleep 1000 & exit 0")
    with launched(tmp_path, path) as launch:
        group = launch.pid_after("starter-1")
        assert launch.process.wait(PATIENCE_S) == 0
    assert not living({group})


def test_a_screen_that_goes_away_ends_the_launch(tmp_path):
    chatty = "echo pid $$; while true; do echo on and on; sleep 0.02; done"
    path = shells(tmp_path, chatty=chatty)
    process = subprocess.Popen(
        command("launch", path), env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = next(line for line in process.stdout if "pid " in line and line.startswith("[chatty"))
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 1
    assert not living({int(line.split()[-1])})


def test_topics_and_services_from_the_command_line(tmp_path):
    talker = (
        "import embedded_ros; embedded_ros.install()\n"
        "import rclpy\n"
        "from std_msgs.msg import Int32\n"
        "from std_srvs.srv import SetBool\n"
        "from rclpy.executors import ExternalShutdownException\n"
        "rclpy.init()\n"
        "node = rclpy.create_node('talker')\n"
        "publisher = node.create_publisher(Int32, 'numbers', 10)\n"
        "node.create_timer(0.05, lambda: publisher.publish(Int32(data=42)))\n"
        "def answer(request, response):\n"
        "    response.success, response.message = request.data, 'heard'\n"
        "    return response\n"
        "node.create_service(SetBool, 'switch', answer)\n"
        "print('ready', flush=True)\n"
        "try:\n    rclpy.spin(node)\n"
        "except (KeyboardInterrupt, ExternalShutdownException):\n    pass\n"
    )
    (tmp_path / "talker.py").write_text(talker)
    path = shells(tmp_path, talker=f"exec {sys.executable} {tmp_path}/talker.py")
    with launched(tmp_path, path) as launch:
        launch.wait_for("ready")
        listing = completed(tmp_path, "topic", "list", "-t")
        listed = listing.stdout + listing.stderr
        assert "/numbers [std_msgs/msg/Int32]\n" in listed
        assert completed(tmp_path, "topic", "echo", "numbers", "--once").stdout == "data: 42\n---\n"
        rate = completed(tmp_path, "topic", "hz", "/numbers", "--duration", "2.5")
        assert rate.returncode == 0 and "average rate: " in rate.stdout
        assert (
            "/switch [std_srvs/srv/SetBool]\n"
            in completed(tmp_path, "service", "list", "-t").stdout
        )
        call = ["service", "call", "/switch", "std_srvs/srv/SetBool"]
        answer = completed(tmp_path, *call, "{data: true}")
        assert answer.returncode == 0 and "success: true\nmessage: heard\n" in answer.stdout
        wrong = completed(tmp_path, *call, "{dat: true}")
        assert wrong.returncode == 1 and "its request is {data: boolean}" in wrong.stderr
        absent = completed(tmp_path, "topic", "echo", "absent", "--wait", "0.1")
        assert absent.returncode == 1 and "no topic /absent" in absent.stderr
