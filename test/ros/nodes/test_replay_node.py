"""The replay node: a room, a folder or a bag as live topics, paced, stepped, paused, looped."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from rcl_interfaces.msg import Log  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Float32  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from vision_msgs.msg import LabelInfo  # noqa: E402

from semantic_field.config import InputConfig  # noqa: E402
from semantic_field.data.bag_reader import BagReader  # noqa: E402
from semantic_field.data.bag_writer import write_bag  # noqa: E402
from semantic_field.data.folder_writer import write_folder  # noqa: E402
from semantic_field.data.simulated_room import SimulatedRoom  # noqa: E402
from semantic_field.msg import FieldStatus  # noqa: E402
from semantic_field.nodes.camera.inputs import FrameInput  # noqa: E402
from semantic_field.nodes.replay_node import ReplayNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.drops import DropCounter  # noqa: E402
from semantic_field.nodes.ros.qos import LATCHED  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
MANY = QoSProfile(depth=500)
MANY_LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
ROOM = "room:frames=4,width=64,height=48,rate_hz=10"
SIZE = {"n_frames": 4, "size": (64, 48), "rate_hz": 10.0}


def stamps(inbox) -> list[int]:
    return [conversions.to_nanoseconds(m.header.stamp) for m in inbox.messages]


def times(inbox) -> list[int]:
    return [conversions.to_nanoseconds(m.clock) for m in inbox.messages]


@pytest.fixture
def receiver(make_node, spin):
    """Frames as the mapping node takes them from the replayed topics."""
    node, frames, names = make_node("receiver"), [], []
    config = InputConfig(input_qos="reliable", tf_timeout_s=30.0, label_timeout_s=30.0)
    feed = FrameInput(node, config, DropCounter(node), frames.append, names.append)
    spin.in_background(node)
    yield frames, names
    feed.close()


@pytest.fixture
def said(listen):
    """Whether any node has put out that text, at any level."""
    inbox = listen(Log, "/rosout", MANY_LATCHED)
    return lambda text: any(text in entry.msg for entry in inbox.messages)


def assert_frames_of_room(frames, depth_step_m: float) -> None:
    for got, sent in zip(frames, SimulatedRoom(**SIZE), strict=True):
        assert got.stamp_ns == sent.stamp_ns
        np.testing.assert_array_equal(got.color, sent.color)
        np.testing.assert_allclose(got.depth, sent.depth, atol=0.51 * depth_step_m)
        np.testing.assert_array_equal(got.labels, sent.labels)
        np.testing.assert_allclose(got.T_world_camera, sent.T_world_camera, atol=1e-6)
        assert got.camera == sent.camera


def test_a_room_comes_out_as_its_frames(start_node, receiver, listen, wait_until):
    frames, names = receiver
    progress = listen(Float32, "replay_node/progress")
    start_node(ReplayNode, input=ROOM, rate=5.0)
    assert wait_until(lambda: len(frames) == 4)
    assert_frames_of_room(frames, 1e-6)
    assert names == [SimulatedRoom(**SIZE).label_names]
    assert wait_until(lambda: progress.last and progress.last.data == 1.0)


def test_a_folder_comes_out_as_its_frames(start_node, receiver, tmp_path, wait_until):
    frames, _ = receiver
    write_folder(SimulatedRoom(**SIZE), tmp_path / "recording")
    start_node(ReplayNode, input=str(tmp_path / "recording"), rate=20.0)
    assert wait_until(lambda: len(frames) == 4)
    assert [frame.color.shape for frame in frames] == [(48, 64, 3)] * 4
    assert (np.diff([frame.stamp_ns for frame in frames]) > 0).all()


def test_the_clock_runs_with_the_recording(start_node, listen, wait_until):
    clock = listen(Clock, "/clock", MANY)
    depth = listen(Image, "depth/image", MANY)
    start_node(ReplayNode, input=ROOM, rate=0.5, wait_for_subscriber_s=30.0)
    assert wait_until(lambda: len(depth.messages) == 4)
    recorded = SimulatedRoom(**SIZE).stamps
    assert stamps(depth) == recorded
    assert wait_until(lambda: times(clock)[-1] == recorded[-1])
    told = times(clock)
    assert told == sorted(told) and told[0] >= recorded[0]
    assert len(set(told)) > 6  # it runs between the frames too


def test_a_loop_starts_again(start_node, listen, wait_until):
    clock, depth = listen(Clock, "/clock", MANY), listen(Image, "depth/image", MANY)
    start_node(ReplayNode, input=ROOM, rate=4.0, loop=True)
    assert wait_until(lambda: len(depth.messages) >= 9)
    recorded = SimulatedRoom(**SIZE).stamps
    assert stamps(depth)[:8] == recorded * 2
    assert wait_until(lambda: sum(b < a for a, b in itertools.pairwise(times(clock))) >= 2)
    assert set(np.clip(times(clock), recorded[0], recorded[-1])) == set(times(clock))


def test_one_step_is_one_frame(start_node, listen, call, wait_until):
    depth = listen(Image, "depth/image", MANY)
    start_node(ReplayNode, input=ROOM, step=True)
    assert not wait_until(lambda: depth.messages, timeout_s=1.0)
    for i in range(1, 4):
        assert call(Trigger, "replay_node/step").success
        assert wait_until(lambda n=i: len(depth.messages) == n)
    assert not wait_until(lambda: len(depth.messages) > 3, timeout_s=0.3)


def test_pause_and_go_on(start_node, listen, call, wait_until):
    depth = listen(Image, "depth/image", MANY)
    start_node(ReplayNode, input="room:frames=12,width=64,height=48,rate_hz=10")
    assert wait_until(lambda: len(depth.messages) >= 2)
    assert call(SetBool, "replay_node/pause", data=True).message == "paused"
    wait_until(lambda: False, timeout_s=0.2)  # a frame may have been under way
    seen = len(depth.messages)
    assert seen < 12 and not wait_until(lambda: len(depth.messages) > seen, timeout_s=0.5)
    refused = call(Trigger, "replay_node/step")
    assert not refused.success and "step:=true" in refused.message
    assert call(SetBool, "replay_node/pause", data=False).success
    assert wait_until(lambda: len(depth.messages) == 12)


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_bag_is_played_message_by_message(start_node, listen, tmp_path, wait_until, storage):
    path = tmp_path / "bag"
    write_bag(SimulatedRoom(**SIZE), path, storage)
    kinds = {
        "/camera/color/image_raw": (Image, MANY),
        "/camera/depth/image_raw": (Image, MANY),
        "/camera/color/camera_info": (CameraInfo, MANY),
        "/camera/labels/image": (Image, MANY),
        "/camera/labels/label_info": (LabelInfo, MANY_LATCHED),
        "/tf": (TFMessage, MANY),
        "/tf_static": (TFMessage, MANY_LATCHED),
    }
    inboxes = {topic: listen(kind, topic, qos) for topic, (kind, qos) in kinds.items()}
    start_node(ReplayNode, input=str(path), rate=5.0)
    recorded: dict[str, list] = {topic: [] for topic in kinds}
    reader = BagReader(path)
    for topic, message in reader.messages(*kinds):
        recorded[topic].append(message)
    reader.close()
    for topic, inbox in inboxes.items():
        count = len(recorded[topic])
        assert count and wait_until(lambda i=inbox, n=count: len(i.messages) == n), topic
    for topic in ("/camera/color/image_raw", "/camera/depth/image_raw", "/camera/labels/image"):
        for got, was in zip(inboxes[topic].messages, recorded[topic], strict=True):
            assert bytes(got.data) == bytes(was.data) and got.encoding == was.encoding
            assert (got.step, got.header.stamp.nanosec) == (was.step, was.header.stamp.nanosec)
    late = listen(TFMessage, "/tf_static", MANY_LATCHED)
    assert wait_until(lambda: late.messages)


def test_a_replay_waits_for_the_mapping_node_and_says_so(
    start_node, make_node, listen, said, wait_until
):
    """Others may listen to the images already: the mapping node's status counts."""
    depth = listen(Image, "depth/image", MANY)
    status = make_node("mapping").create_publisher(FieldStatus, "status", LATCHED)
    start_node(ReplayNode, input=ROOM, rate=5.0, wait_for_mapping=True, wait_for_subscriber_s=60.0)
    assert wait_until(lambda: said("waiting for the mapping node: no status yet"))
    status.publish(FieldStatus(state="starting"))
    assert wait_until(lambda: said("waiting for the mapping node: it is starting"))
    assert not depth.messages
    status.publish(FieldStatus(state="mapping"))
    assert wait_until(lambda: len(depth.messages) == 4)


def test_a_replay_that_waits_in_vain_says_what_for_and_plays(start_node, listen, said, wait_until):
    depth = listen(Image, "depth/image", MANY)
    start_node(ReplayNode, input=ROOM, rate=5.0, wait_for_mapping=True, wait_for_subscriber_s=0.5)
    assert wait_until(lambda: len(depth.messages) == 4)
    assert said("playing without the mapping node: no status yet; wait_for_subscriber_s")


def test_a_missing_recording_ends_the_process_with_a_word(start_python):
    process = start_python(
        "import sys, embedded_ros; embedded_ros.install()\n"
        "from semantic_field.nodes.replay_node import main\n"
        "raise SystemExit(main(['--ros-args', '-p', 'input:=/nowhere']))"
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: " in out and "/nowhere" in out and "Traceback" not in out


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [("off_path", "without off_path for a live run"), ("labels_click", "with all labels")],
)
def test_a_protocol_that_topics_cannot_serve_ends_the_process_with_a_word(
    start_python, protocol, reason
):
    process = start_python(
        "import sys, embedded_ros; embedded_ros.install()\n"
        "from semantic_field.nodes.replay_node import main\n"
        "room = 'input:=room:frames=12,width=32,height=24'\n"
        f"protocol = 'protocol:={protocol}'\n"
        "raise SystemExit(main(['--ros-args', '-p', room, '-p', protocol]))"
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert reason in out and "use semantic-field evaluate" in out and "Traceback" not in out


def test_a_bag_read_in_a_way_of_its_own_comes_out_as_its_frames(
    start_node, receiver, tmp_path, wait_until
):
    """A unit of depth is given, which the bag's own messages do not have."""
    frames, _ = receiver
    write_bag(SimulatedRoom(**SIZE), tmp_path / "bag")
    start_node(ReplayNode, input=str(tmp_path / "bag"), rate=20.0, source__depth_scale=0.002)
    assert wait_until(lambda: len(frames) == 4)
    expected = SimulatedRoom(**SIZE)[0].depth * 2
    np.testing.assert_allclose(frames[0].depth, expected, atol=0.0011)
