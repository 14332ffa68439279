"""Nodes in a far world: what is published where, what requests mean, and a world that moves."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from geometry_msgs.msg import Point, PoseStamped  # noqa: E402
from rclpy.time import Time  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from tf2_ros import Buffer, TransformListener  # noqa: E402

from semantic_field.field.map_file import load_map  # noqa: E402
from semantic_field.geometry import moved  # noqa: E402
from semantic_field.msg import AnnotationList, FieldSnapshot, FieldStatus  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.srv import Annotate, Query, RenderView  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
UTM = np.array([458_000.0, 5_429_000.0, 100.0])


@pytest.fixture
def status(listen):
    inbox = listen(FieldStatus, "status")
    return lambda: inbox.last or FieldStatus()


@pytest.fixture
def feed(camera, room, wait_until, status):
    """Send frames of the room, elsewhere in the world, each when the one before is taken in."""

    def taken() -> int:
        return status().keyframes + sum(entry.count for entry in status().dropped)

    def send(offset, numbers) -> None:
        camera.add_labels()
        camera.wait(wait_until)
        camera.send_names(room[0].label_names)
        assert wait_until(lambda: len(status().label_names) == len(room[0].label_names))
        for i in numbers:
            frame = room[1][i]
            pose = moved(frame.T_world_camera, offset)
            before = taken()
            camera.send(replace(frame, T_world_camera=pose))
            assert wait_until(lambda n=before: taken() != n), status()

    return send


def test_a_map_in_utm(
    start_node, quick, feed, status, listen, make_node, spin, room, call, wait_until
):
    snapshots, clouds = listen(FieldSnapshot, "snapshot"), listen(PointCloud2, "cloud")
    said = listen(AnnotationList, "annotations")
    start_node(MappingNode, **quick | {"teacher.kind": "label_text"})
    start_node(QueryNode)
    buffer, watcher = Buffer(), make_node("watcher")
    listener = TransformListener(buffer, watcher)
    spin.in_background(watcher)
    feed(UTM, range(4))
    assert wait_until(lambda: status().keyframes >= 3 and status().steps > 800), status()
    assert wait_until(lambda: snapshots.last and load_map(bytes(snapshots.last.data)).steps > 800)
    state = load_map(bytes(snapshots.last.data))
    assert np.abs(state.origin - UTM).max() <= 100 and snapshots.last.header.frame_id == "map"

    assert wait_until(lambda: clouds.last and clouds.last.width > 100)
    assert clouds.last.header.frame_id == "map_local"  # float32 is precise there
    assert wait_until(lambda: buffer.can_transform("map", "map_local", Time()))
    found = buffer.lookup_transform("map", "map_local", Time()).transform.translation
    assert [found.x, found.y, found.z] == state.origin.tolist()
    cloud = conversions.cloud_arrays(clouds.last)
    assert all(np.abs(cloud[axis]).max() < 150 for axis in "xyz")
    listener.unregister()

    frame = room[1][0]
    depths = []
    for frame_id, offset in (("map", UTM), ("", UTM), ("map_local", UTM - state.origin)):
        pose = conversions.to_pose(moved(frame.T_world_camera, offset))
        header = conversions.make_header(frame.stamp_ns, frame_id)
        answer = call(
            RenderView,
            "render_view",
            camera_pose=PoseStamped(header=header, pose=pose),
            camera_info=conversions.camera_info(frame.camera, header),
        )
        assert answer.success, answer.message
        depths.append(conversions.image_array(answer.depth))
    for depth in depths:
        both = (depth > 0) & (frame.depth > 0)
        assert both.mean() > 0.7
        assert np.median(np.abs(depth - frame.depth)[both]) < 0.05
    refused = call(
        RenderView,
        "render_view",
        camera_pose=PoseStamped(header=conversions.make_header(0, "odom"), pose=pose),
        camera_info=conversions.camera_info(frame.camera, header),
    )
    assert not refused.success and "'map' or 'map_local', got one in 'odom'" in refused.message

    v, u = np.argwhere(frame.depth > 0)[len(frame.depth) * 70]
    point = frame.camera.backproject(frame.depth)[v, u]
    world = frame.T_world_camera[:3, :3] @ point + frame.T_world_camera[:3, 3] + UTM
    clicked = Point(**dict(zip("xyz", (world - state.origin).tolist(), strict=True)))
    header = conversions.make_header(0, "map_local")
    answer = call(Annotate, "annotate", name="thing", kind="point", header=header, point=clicked)
    assert answer.success, answer.message
    assert wait_until(lambda: said.last and said.last.annotations)
    centre = said.last.annotations[0].center
    assert np.linalg.norm(np.subtract([centre.x, centre.y, centre.z], world)) < 5

    def answered() -> bool:
        answers.append(call(Query, "query", text="floor", with_cloud=True))
        return answers[-1].success and answers[-1].found

    answers: list = []
    assert wait_until(answered), answers[-1].message
    hit = answers[-1].hits[0].pose.position
    assert np.abs(np.subtract([hit.x, hit.y, hit.z], UTM)).max() < 15
    assert answers[-1].header.frame_id == "map"
    assert answers[-1].relevancy.header.frame_id == "map_local"
    origin = answers[-1].origin
    assert [origin.x, origin.y, origin.z] == state.origin.tolist()


def test_a_first_gps_fix_begins_a_new_map(
    start_node, quick, feed, status, listen, log, tmp_path, wait_until, make_node, spin
):
    buffer, watcher = Buffer(), make_node("watcher")
    listener = TransformListener(buffer, watcher)  # noqa: F841 (kept)
    spin.in_background(watcher)
    path = tmp_path / "map.safetensors"
    snapshots = listen(FieldSnapshot, "snapshot")
    start_node(MappingNode, **quick | {"teacher.kind": "none", "map_path": str(path)})
    feed(np.zeros(3), range(3))
    assert wait_until(lambda: status().steps > 10)
    feed(UTM, range(3, 7))
    assert wait_until(lambda: log("a new map: the world has moved by 5.44"))
    before = load_map((tmp_path / "before_map.safetensors").read_bytes())
    assert not before.origin.any() and before.steps > 10

    def is_at(position: np.ndarray) -> bool:
        """Whether the map, and the frame of its clouds, lie there."""
        state = snapshots.last and load_map(bytes(snapshots.last.data))
        if not (state and buffer.can_transform("map", "map_local", Time())):
            return False
        found = buffer.lookup_transform("map", "map_local", Time()).transform.translation
        lies_there = np.abs(state.origin - position).max() <= 100
        return lies_there and [found.x, found.y, found.z] == state.origin.tolist()

    assert wait_until(lambda: is_at(UTM))
    assert wait_until(lambda: status().keyframes == 2), status()
    assert {entry.cause: entry.count for entry in status().dropped}["outside_map"] == 2
    farther = UTM + [5000.0, 0.0, 0.0]
    feed(farther, range(7, 10))
    assert wait_until(lambda: log("a new map: the world has moved by 5000"))
    assert wait_until(lambda: is_at(farther))


RUN = """
import resource, sys
import embedded_ros
embedded_ros.install()
from semantic_field.nodes.mapping_node import main
if sys.argv[1] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
raise SystemExit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("full", [False, True])
def test_a_map_that_cannot_be_saved_in_its_place(
    start_python, quick, feed, status, tmp_path, wait_until, full
):
    """A place below a file; and no file may be large enough, as on a full disk."""
    (tmp_path / "file").write_text("")
    home = tmp_path / "home"
    given = quick | {
        "teacher.kind": "none",
        "save_map_at_shutdown": True,
        "map_path": str(tmp_path / "file" / "map.safetensors"),
    }
    words = [
        word
        for name, value in given.items()
        for word in ("-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}")
    ]
    limit = "4096" if full else "0"
    process = start_python(RUN, limit, "--ros-args", *words, ROS_HOME=str(home), TMPDIR=str(home))
    feed(np.zeros(3), range(2))
    assert wait_until(lambda: status().steps > 5)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1, out
    assert f"the map was not saved to {tmp_path / 'file' / 'map.safetensors'}" in out
    kept = home / "semantic_field" / f"map.{process.pid}.safetensors"
    if full:
        assert "the map is lost" in out and not list(home.rglob("*.safetensors"))
    else:
        assert f"map saved to {kept}" in out
        assert load_map(kept.read_bytes()).steps > 5
    assert os.path.exists(tmp_path / "file")
