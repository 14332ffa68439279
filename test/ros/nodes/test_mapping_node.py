"""The mapping node: frames become a map, its services, its states, what it tells of itself."""

from __future__ import annotations

import math
import signal
from dataclasses import replace

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from semantic_field.field.map_file import FORMAT, load_map  # noqa: E402
from semantic_field.msg import FieldSnapshot, FieldStatus  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.srv import MapFile, RenderView  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
SILENT = {"teacher.kind": "none"}


@pytest.fixture
def mapping(start_node, quick):
    """Mapping nodes with quick settings."""

    def start(**parameters) -> MappingNode:
        return start_node(MappingNode, **(quick | SILENT | parameters))

    start.stop = start_node.stop
    return start


@pytest.fixture
def status(listen):
    """The newest status, as a function."""
    inbox = listen(FieldStatus, "status")
    return lambda: inbox.last or FieldStatus()


@pytest.fixture
def feed(camera, room, wait_until):
    """Send frames of the room one by one, each when the one before is taken in."""

    def send(status, count: int = 4) -> None:
        camera.add_labels()
        camera.wait(wait_until)
        source, frames = room
        camera.send_names(source.label_names)
        assert wait_until(lambda: len(status().label_names) == len(source.label_names))
        for i, frame in enumerate(frames[:count]):
            camera.send(frame)
            assert wait_until(lambda n=i + 1: status().keyframes >= n), status()

    return send


def counts(status: FieldStatus) -> dict[str, int]:
    return {entry.cause: entry.count for entry in status.dropped}


def test_frames_become_a_map(mapping, feed, status, listen, room, camera, wait_until):
    """Keyframes, a snapshot that can be read, a cloud, views, status and diagnostics."""
    snapshots, clouds = listen(FieldSnapshot, "snapshot"), listen(PointCloud2, "cloud")
    views = listen(Image, "view/depth", QoSProfile(depth=5))
    diagnoses = listen(DiagnosticArray, "/diagnostics", QoSProfile(depth=50))
    mapping()
    feed(status, 4)
    source, frames = room
    camera.send(replace(frames[3], stamp_ns=frames[3].stamp_ns + 1))  # nothing new in it
    assert wait_until(lambda: counts(status()).get("view_covered") == 1), status()
    now = status()
    assert (now.frames_received, now.frames_used, now.keyframes) == (5, 4, 4)
    assert (now.state, now.frames_held_back, counts(now)) == ("mapping", 0, {"view_covered": 1})
    assert now.header.frame_id == "map" and 0 <= now.seconds_since_last_frame < 600
    assert sorted(now.label_names) == sorted(source.label_names.values())
    assert now.memory_bytes > 4 * 160 * 120 * 7 and now.kernels and now.teacher == "none"
    assert wait_until(lambda: status().steps > 20)
    assert {"color", "depth", "distance"} <= {entry.name for entry in status().losses}

    def stamp_ns() -> int:
        return conversions.to_nanoseconds(snapshots.last.header.stamp) if snapshots.last else 0

    assert wait_until(lambda: stamp_ns() == frames[3].stamp_ns)
    message = snapshots.last
    state = load_map(bytes(message.data))
    assert message.format == FORMAT and message.version >= 2
    assert (state.version, state.frame_id) == (message.version, message.header.frame_id)
    assert dict(state.label_names) == source.label_names

    assert wait_until(lambda: clouds.last and clouds.last.width > 100)
    assert clouds.last.header.frame_id == "map"
    points = conversions.cloud_arrays(clouds.last)
    low, high = state.bounds
    xyz = np.stack([points[axis] for axis in "xyz"], axis=1)
    assert (xyz > low - 0.1).all() and (xyz < high + 0.1).all()

    assert wait_until(lambda: views.last)
    assert (views.last.width, views.last.height, views.last.encoding) == (160, 120, "32FC1")
    assert wait_until(lambda: any(entry.values for m in diagnoses.messages for entry in m.status))
    told = {v.key: v.value for m in diagnoses.messages for e in m.status for v in e.values}
    for name in ("refine_poses", "adapt_exposure"):
        assert told[f"mapping.{name}"].startswith("off: ") and "pairs" in told[f"mapping.{name}"]


def test_dropped_frames_are_told(mapping, status, camera, room, listen, wait_until):
    diagnoses = listen(DiagnosticArray, "/diagnostics", QoSProfile(depth=50))
    mapping(**{"input.tf_timeout_s": 0.1})
    camera.wait(wait_until)
    frame = room[1][0]
    camera.send_info(frame)
    camera.send_images(frame)
    assert wait_until(lambda: counts(status()) == {"no_transform": 1}), status()
    assert "/tf" in status().dropped[0].remedy
    assert (status().frames_received, status().frames_used) == (1, 0)

    def warned() -> bool:
        return any(
            entry.level == DiagnosticStatus.WARN and "no_transform 1" in entry.message
            for message in diagnoses.messages
            for entry in message.status
        )

    assert wait_until(warned)


def test_a_frame_without_depth_and_one_too_near_do_not_stop_mapping(
    mapping, feed, status, camera, room, wait_until
):
    """A covered lens, then a wall right before it."""
    mapping()
    feed(status, 2)
    base = room[1][4]
    for i, depth in enumerate((0.0, 0.05)):
        frame = room[1][4 + i]
        camera.send_pose(frame)
        camera.send_info(frame)
        camera.send_labels(frame)
        camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
        camera.send_image("depth", np.full_like(base.depth, depth), "32FC1", frame.stamp_ns)
        assert wait_until(lambda n=3 + i: status().frames_received == n)
    assert wait_until(lambda: counts(status()).get("no_depth", 0) >= 1), counts(status())
    camera.send(room[1][8])
    assert wait_until(lambda: status().keyframes >= 3)
    before = status().steps
    assert wait_until(lambda: status().steps > before + 10), status()


def test_images_of_another_size_do_not_stop_mapping(
    mapping, feed, status, camera, room, wait_until
):
    mapping()
    feed(status, 2)
    for i, size in ((2, (80, 60)), (3, (320, 240))):
        camera.send(room[1][i].resized(*size))
        assert wait_until(lambda n=i + 1: status().keyframes == n), status()
    before = status().steps
    assert wait_until(lambda: status().steps > before + 10), status()
    assert status().state == "mapping"


# --- services -------------------------------------------------------------------------------------


def test_a_map_is_saved_and_another_node_goes_on_with_it(
    mapping, feed, status, call, tmp_path, wait_until
):
    path = str(tmp_path / "maps" / "room.safetensors")
    node = mapping()
    feed(status, 3)
    assert wait_until(lambda: status().steps > 30)
    assert call(SetBool, "pause", data=True).success
    saved = call(MapFile, "save_map", path=path)
    assert saved.success and path in saved.message
    steps = load_map((tmp_path / "maps" / "room.safetensors").read_bytes()).steps
    assert steps > 30
    mapping.stop(node)

    second = mapping()
    assert second.mapper.status().steps == 0
    assert call(SetBool, "pause", data=True).success
    loaded = call(MapFile, "load_map", path=path)
    assert loaded.success and path in loaded.message
    assert wait_until(lambda: status().steps == steps and status().keyframes == 3), status()
    assert call(SetBool, "pause", data=False).success
    assert wait_until(lambda: status().steps > steps + 10)


def test_files_that_are_no_maps_are_refused_and_the_map_stays(
    mapping, feed, status, call, tmp_path, wait_until
):
    mapping()
    feed(status, 2)
    path = tmp_path / "room.safetensors"
    assert call(MapFile, "save_map", path=str(path)).success
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    for name, data in (("cut", whole[: len(whole) // 2]), ("flipped", flipped), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
    for name in ("cut", "flipped", "empty", "missing", "."):
        answer = call(MapFile, "load_map", path=str(tmp_path / name))
        assert not answer.success and answer.message.startswith("not loaded: "), name
    (tmp_path / "file").write_text("")
    answer = call(MapFile, "save_map", path=str(tmp_path / "file" / "map"))
    assert not answer.success and answer.message.startswith("not saved: ")
    before = status().steps
    assert status().keyframes == 2 and wait_until(lambda: status().steps > before + 10)
    assert call(MapFile, "load_map", path=str(path)).success


def test_a_map_in_another_frame_is_refused(mapping, feed, status, call, tmp_path):
    node = mapping()
    feed(status, 1)
    path = str(tmp_path / "map")
    assert call(MapFile, "save_map", path=path).success
    mapping.stop(node)
    mapping(**{"input.global_frame": "odom"})
    answer = call(MapFile, "load_map", path=path)
    assert not answer.success and "'odom'" in answer.message and "'map'" in answer.message


def test_pause_and_reset(mapping, feed, status, call, camera, room, wait_until):
    node = mapping()
    feed(status, 2)
    assert wait_until(lambda: status().steps > 5)
    assert call(SetBool, "pause", data=True).message == "paused"
    assert wait_until(lambda: status().state == "paused")
    steps = node.mapper.snapshot().steps  # after the step that may have been under way
    camera.send(room[1][2])
    assert wait_until(lambda: status().keyframes == 3)  # frames are still taken
    assert node.mapper.status().steps == steps
    assert call(SetBool, "pause", data=False).success
    assert wait_until(lambda: status().steps > steps + 5 and status().state == "mapping")

    assert call(SetBool, "pause", data=True).success
    assert call(Trigger, "reset").success
    assert wait_until(lambda: (status().keyframes, status().steps) == (0, 0)), status()
    assert len(status().label_names) == len(room[0].label_names)
    assert call(SetBool, "pause", data=False).success
    camera.send(room[1][3])
    assert wait_until(lambda: status().keyframes == 1 and status().steps > 5), status()


def camera_pose(frame, frame_id: str = "map") -> PoseStamped:
    return PoseStamped(
        header=conversions.make_header(frame.stamp_ns, frame_id),
        pose=conversions.to_pose(frame.T_world_camera),
    )


def test_views_are_rendered(mapping, feed, status, call, room, wait_until):
    mapping(**{"teacher.kind": "label_text"})
    feed(status, 3)
    assert wait_until(lambda: status().steps > 60)
    frame = room[1][1]
    info = conversions.camera_info(
        frame.camera.resized(80, 60), conversions.make_header(0, "anything")
    )
    view = call(RenderView, "render_view", camera_pose=camera_pose(frame), camera_info=info)
    assert view.success, view.message
    depth = conversions.depth_metres(view.depth)
    truth = frame.resized(80, 60).depth
    assert depth.shape == (60, 80) and (depth > 0).mean() > 0.5
    assert np.median(np.abs(depth - truth)[depth > 0]) < 0.3
    assert conversions.rgb_image(view.color).shape == (60, 80, 3)
    assert conversions.label_ids(view.label).max() < len(room[0].label_names)
    assert view.relevancy.data == view.relevancy.data[:0]  # nobody asked

    half = 2 * math.atan(0.5 * frame.camera.width / frame.camera.fx)
    asked = call(
        RenderView,
        "render_view",
        camera_pose=camera_pose(frame, ""),
        width=40,
        height=30,
        horizontal_field_of_view=half,
        text="floor",
    )
    assert asked.success, asked.message
    relevancy = conversions.image_array(asked.relevancy)
    assert relevancy.shape == (30, 40) and relevancy.min() >= 0 and relevancy.max() <= 1
    small = conversions.depth_metres(asked.depth)
    both = (small > 0) & (depth[::2, ::2] > 0)
    assert np.median(np.abs(small - depth[::2, ::2])[both]) < 0.1


def test_views_that_cannot_be_rendered(mapping, feed, status, call, room, wait_until):
    mapping()
    pose = camera_pose(room[1][0])
    size = {"width": 40, "height": 30, "horizontal_field_of_view": 1.0}
    empty = call(RenderView, "render_view", camera_pose=pose, **size)
    assert not empty.success and "no frame yet" in empty.message
    feed(status, 1)
    elsewhere = camera_pose(room[1][0], "odom")
    broken = camera_pose(room[1][0])
    broken.pose.position.x = float("nan")
    upright = PoseStamped()
    upright.pose.orientation.w = 0.0
    for fields, expected in (
        ({"camera_pose": elsewhere, **size}, "'odom'"),
        ({"camera_pose": pose, "width": 40, "height": 30}, "field of view"),
        ({"camera_pose": pose, "horizontal_field_of_view": 1.0}, "size"),
        ({"camera_pose": broken, **size}, "finite"),
        ({"camera_pose": upright, **size}, "quaternion"),
        ({"camera_pose": pose, **size, "width": 60000, "height": 60000}, "pixels"),
        ({"camera_pose": pose, **size, "text": "floor"}, "language"),
    ):
        answer = call(RenderView, "render_view", **fields)
        assert not answer.success and expected in answer.message, (fields, answer.message)


# --- states ---------------------------------------------------------------------------------------


def test_lifecycle_by_services(mapping, feed, status, call, room, camera, wait_until):
    node = mapping(autostart=False)

    def change(transition: int) -> bool:
        request = Transition(id=transition)
        return call(ChangeState, "mapping_node/change_state", transition=request).success

    def state() -> int:
        return call(GetState, "mapping_node/get_state").current_state.id

    assert state() == State.PRIMARY_STATE_UNCONFIGURED and node.mapper is None
    for _ in range(2):
        assert change(Transition.TRANSITION_CONFIGURE)
        assert state() == State.PRIMARY_STATE_INACTIVE
        assert wait_until(lambda: (status().state, status().keyframes) == ("inactive", 0))
        assert change(Transition.TRANSITION_ACTIVATE)
        feed(status, 2)
        assert wait_until(lambda: status().steps > 5)
        assert change(Transition.TRANSITION_DEACTIVATE)
        assert wait_until(lambda: status().state == "inactive")
        steps = node.mapper.status().steps
        assert change(Transition.TRANSITION_ACTIVATE)  # the map is still there
        assert wait_until(lambda n=steps: status().steps > n + 5 and status().keyframes == 2)
        assert change(Transition.TRANSITION_DEACTIVATE)
        assert change(Transition.TRANSITION_CLEANUP)
        assert state() == State.PRIMARY_STATE_UNCONFIGURED and node.mapper is None


def test_a_map_is_saved_at_shutdown(mapping, feed, status, tmp_path, wait_until):
    path = tmp_path / "map.safetensors"
    node = mapping(map_path=str(path), save_map_at_shutdown=True)
    feed(status, 2)
    assert wait_until(lambda: status().steps > 5)
    assert not path.exists()
    mapping.stop(node)
    state = load_map(path.read_bytes())
    assert state.steps > 5 and state.training

    again = mapping(map_path=str(path), load_map_at_start=True)
    assert again.mapper.status().keyframes == 2
    assert wait_until(lambda: status().steps > state.steps + 5)


def test_a_map_is_saved_while_it_grows(mapping, feed, status, tmp_path, wait_until):
    path = tmp_path / "map.safetensors"
    mapping(map_path=str(path), autosave_period_s=0.5)
    feed(status, 2)
    assert wait_until(path.exists)
    first = load_map(path.read_bytes()).steps
    assert wait_until(lambda: load_map(path.read_bytes()).steps > first)


def test_without_a_place_the_last_two_maps_are_kept(
    mapping, feed, status, tmp_path, wait_until, monkeypatch
):
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    for _ in range(2):
        node = mapping(save_map_at_shutdown=True)
        feed(status, 1)
        assert wait_until(lambda node=node: node.mapper.status().steps > 2)
        mapping.stop(node)
    names = sorted(path.name for path in (tmp_path / "semantic_field").iterdir())
    assert names == ["map.safetensors", "previous.safetensors"]


RUN = """
import sys
import embedded_ros
embedded_ros.install()
from semantic_field.nodes.mapping_node import main
raise SystemExit(main(sys.argv[1:]))
"""


def test_a_killed_node_goes_on_with_what_was_saved(
    start_python, quick, feed, status, call, camera, room, tmp_path, wait_until
):
    path = tmp_path / "map.safetensors"

    def start(**parameters):
        given = quick | SILENT | {"map_path": str(path)} | parameters
        given = [f"{name}:={yaml_text(value)}" for name, value in given.items()]
        return start_python(RUN, "--ros-args", *(word for text in given for word in ("-p", text)))

    first = start()
    feed(status, 2)
    assert wait_until(lambda: status().steps > 10)
    assert call(MapFile, "save_map").success
    saved = load_map(path.read_bytes()).steps
    first.kill()
    first.wait()
    assert list(tmp_path.iterdir()) == [path]

    second = start(load_map_at_start=True, save_map_at_shutdown=True)
    assert wait_until(lambda: status().steps > 0 and status().frames_received == 0, 60.0)
    assert status().steps >= saved and status().keyframes == 2
    camera.wait(wait_until)

    def taken() -> bool:
        """Sent until the new process is heard and hears: the old one is still seen for a while."""
        camera.send(room[1][5])
        return wait_until(lambda: status().keyframes == 3, timeout_s=1.0)

    assert wait_until(taken, timeout_s=60.0), status()
    second.send_signal(signal.SIGTERM)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0, out
    assert load_map(path.read_bytes()).steps > saved


def yaml_text(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
