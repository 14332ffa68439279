"""Where a recording's poses come from: TF, topics, namespaces, gaps; each with the right pose."""

import dataclasses
import logging

import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from semantic_field.data.bag_launch import launch_arguments
from semantic_field.data.bag_types import ODOMETRY, POSE, TF, typestore
from semantic_field.data.bag_writer import write_bag
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.data.sources import open_source

TYPES = typestore().types
ROBOT = "base_link"


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Twelve frames of a room: map → base_link moves on /tf, the camera's mount is static."""
    path = tmp_path_factory.mktemp("room") / "base"
    write_bag(SimulatedRoom(n_frames=12, size=(80, 60)), path, storage="mcap")
    return path


@pytest.fixture
def rewritten(bag, tmp_path):
    """The bag with each message replaced by what ``change(topic, kind, message)`` yields."""

    def rewrite(change):
        store, path, ends = typestore(), tmp_path / "changed", {}
        mcap = StoragePlugin.MCAP
        with Reader(bag) as reader, Writer(path, version=8, storage_plugin=mcap) as writer:
            for connection, at, raw in reader.messages():
                message = store.deserialize_cdr(raw, connection.msgtype)
                for topic, kind, new in change(connection.topic, connection.msgtype, message):
                    if topic not in ends:
                        ends[topic] = writer.add_connection(topic, kind, typestore=store)
                    writer.write(ends[topic], at, store.serialize_cdr(new, kind))
        return path

    return rewrite


def off_m(source, bag) -> float:
    """The largest distance of a frame's camera from where it was."""
    true = open_source(bag)
    where = {stamp: true[i].T_world_camera for i, stamp in enumerate(true.stamps)}
    apart = [source[i].T_world_camera - where[stamp] for i, stamp in enumerate(source.stamps)]
    return float(max(np.abs(T).max() for T in apart))


def pose_of(transform, x=0.0):
    p = transform.translation
    point = TYPES["geometry_msgs/msg/Point"](x=p.x + x, y=p.y, z=p.z)
    return TYPES["geometry_msgs/msg/Pose"](position=point, orientation=transform.rotation)


def odometry(item, child=ROBOT):
    zero = TYPES["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
    twist = TYPES["geometry_msgs/msg/Twist"](linear=zero, angular=zero)
    return TYPES[ODOMETRY](
        header=item.header,
        child_frame_id=child,
        pose=TYPES["geometry_msgs/msg/PoseWithCovariance"](
            pose=pose_of(item.transform), covariance=np.zeros(36)
        ),
        twist=TYPES["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
    )


def stamped(item):
    return TYPES[POSE](header=item.header, pose=pose_of(item.transform))


def moved(item, x):
    translation = dataclasses.replace(
        item.transform.translation, x=item.transform.translation.x + x
    )
    return dataclasses.replace(
        item, transform=dataclasses.replace(item.transform, translation=translation)
    )


def on_topic(topic, kind, make):
    """What moves on a topic of that name, and only the mount of the camera on TF."""

    def change(own, own_kind, message):
        if own == "/tf":
            yield topic, kind, make(message.transforms[0])
        else:
            yield own, own_kind, message

    return change


@pytest.mark.parametrize(
    ("topic", "kind", "make", "source_kind"),
    [
        ("/odom", ODOMETRY, odometry, "odometry"),
        ("/robot_pose", POSE, stamped, "pose"),
        ("/odom", ODOMETRY, lambda item: odometry(item, child=""), "odometry"),
    ],
)
def test_a_static_mount_does_not_win_over_the_topic_that_moves(
    bag, rewritten, topic, kind, make, source_kind
):
    path = rewritten(on_topic(topic, kind, make))
    source = open_source(path)
    assert len(source) == 12 and source.skipped == {}
    assert source.pose_source == source_kind and source.global_frame == "map"
    assert off_m(source, bag) < 1e-6
    arguments = launch_arguments(path)
    assert arguments["pose_source"] == source_kind and arguments["global_frame"] == "map"
    assert arguments["pose_frame"] == ROBOT


def test_a_pose_topic_of_the_optical_frame_beside_a_static_mount(bag, rewritten):
    """The topic does not say what it is the pose of: the depth images do."""
    true = open_source(bag)
    poses = dict(zip(true.stamps, true, strict=True))

    def of_the_camera(item):
        stamp = item.header.stamp.sec * 10**9 + item.header.stamp.nanosec
        T = poses[stamp].T_world_camera
        from semantic_field.geometry import quaternion_from_matrix

        point = TYPES["geometry_msgs/msg/Point"](*T[:3, 3].tolist())
        turn = TYPES["geometry_msgs/msg/Quaternion"](*quaternion_from_matrix(T[:3, :3]).tolist())
        pose = TYPES["geometry_msgs/msg/Pose"](position=point, orientation=turn)
        return TYPES[POSE](header=item.header, pose=pose)

    source = open_source(rewritten(on_topic("/slam/pose", POSE, of_the_camera)))
    assert source.pose_source == "pose" and source.pose_frame == ""
    assert off_m(source, bag) < 1e-6


def test_where_somebody_wants_to_go_is_no_pose(bag, rewritten):
    def change(topic, kind, message):
        if topic == "/tf":
            yield "/odom", ODOMETRY, odometry(message.transforms[0])
            yield "/goal_pose", POSE, stamped(moved(message.transforms[0], 5.0))
        else:
            yield topic, kind, message

    source = open_source(rewritten(change))
    assert source.pose_source == "odometry" and off_m(source, bag) < 1e-6


def test_odometry_of_the_top_of_a_tree_in_which_an_arm_moves(bag, rewritten):
    """TF moves above the camera (a pan joint), yet how the robot drives is on the topic."""

    def change(topic, kind, message):
        if topic == "/tf":
            item = message.transforms[0]
            yield "/odom", ODOMETRY, odometry(item, child="wheels")
            joint = dataclasses.replace(
                moved(item, 0.0),
                header=dataclasses.replace(item.header, frame_id="wheels"),
                transform=dataclasses.replace(
                    item.transform,
                    translation=TYPES["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0),
                    rotation=TYPES["geometry_msgs/msg/Quaternion"](
                        x=0.0,
                        y=0.0,
                        z=np.sin(s := 1e-5 * item.header.stamp.nanosec / 1e9),
                        w=np.cos(s),
                    ),
                ),
            )
            yield "/tf", TF, TYPES[TF](transforms=[joint])
        else:
            yield topic, kind, message

    source = open_source(rewritten(change))
    assert source.pose_source == "odometry" and off_m(source, bag) < 1e-3


def test_a_camera_that_never_moves_is_said_so(rewritten, caplog):
    def change(topic, kind, message):
        if topic != "/tf":
            yield topic, kind, message

    with caplog.at_level(logging.WARNING):
        source = open_source(rewritten(change))
    (note,) = source.notes
    assert "all 12 frames have one pose" in note and "the depth images say that it does" in note
    assert note in caplog.text and "set --pose-source" in note


def test_a_camera_on_a_tripod_is_believed(tmp_path):
    room = SimulatedRoom(n_frames=3, size=(80, 60))
    first = room[0]
    frames = [dataclasses.replace(first, stamp_ns=stamp) for stamp in room.stamps]

    class Still(list):
        name, label_names, stamps = "still", room.label_names, room.stamps

    write_bag(Still(frames), tmp_path / "still")
    (note,) = open_source(tmp_path / "still").notes
    assert "as the depth images say" in note


# --- several robots -------------------------------------------------------------------------------


def two_robots(camera_of, other=3.0):
    """robot1 drives where the bag's did, robot2 beside it; both have frames of the same names."""

    def change(topic, kind, message):
        if not topic.startswith("/tf"):
            yield camera_of + topic, kind, message
            return
        for robot, x in (("/robot1", 0.0), ("/robot2", other)):
            items = [moved(item, x if topic == "/tf" else 0.0) for item in message.transforms]
            yield robot + topic, kind, dataclasses.replace(message, transforms=items)

    return change


def test_each_robot_has_a_tree_of_its_own(bag, rewritten):
    path = rewritten(two_robots("/robot1"))
    source = open_source(path, labels="none")
    assert len(source) == 12 and off_m(source, bag) < 1e-6
    other = open_source(path, labels="none", tf_topic="/robot2/tf")
    assert off_m(other, bag) == pytest.approx(3.0, abs=1e-6)
    arguments = launch_arguments(path)
    assert (arguments["tf"], arguments["tf_static"]) == ("/robot1/tf", "/robot1/tf_static")


def test_a_camera_of_no_robot_has_to_be_given_one(bag, rewritten):
    path = rewritten(two_robots(""))
    with pytest.raises(
        ValueError, match=r"got 2 that have it: /robot1/tf, /robot2/tf; set --tf-topic"
    ):
        open_source(path)
    assert off_m(open_source(path, tf_topic="/robot1/tf"), bag) < 1e-6


def test_a_common_mount_outside_the_namespace(bag, rewritten):
    """Only what moves was put into the namespace; /tf_static stayed where it was."""

    def change(topic, kind, message):
        yield topic if topic == "/tf_static" else f"/robot1{topic}", kind, message

    source = open_source(rewritten(change), labels="none")
    assert len(source) == 12 and off_m(source, bag) < 1e-6


def test_tf_that_was_put_aside_is_not_read(bag, rewritten):
    def change(topic, kind, message):
        yield topic, kind, message
        if topic == "/tf":
            items = [moved(item, 2.0) for item in message.transforms]
            yield "/tf_old", kind, dataclasses.replace(message, transforms=items)

    path = rewritten(change)
    assert off_m(open_source(path), bag) < 1e-6


def test_two_parents_and_two_values_of_a_frame_are_named(rewritten, caplog):
    def change(topic, kind, message):
        yield topic, kind, message
        if topic == "/tf_static":
            items = [moved(item, 0.5) for item in message.transforms]
            yield topic, kind, dataclasses.replace(message, transforms=items)
        if topic == "/tf":
            item = message.transforms[0]
            wheel = dataclasses.replace(
                item,
                header=dataclasses.replace(
                    item.header,
                    frame_id="odom",
                    stamp=dataclasses.replace(
                        item.header.stamp, nanosec=item.header.stamp.nanosec + 1000
                    ),
                ),
            )
            yield topic, kind, dataclasses.replace(message, transforms=[wheel])

    notes = " / ".join(open_source(rewritten(change)).notes)
    assert "'base_link' has the parents 'map', 'odom'" in notes
    assert "has two poses at one time, 0.50 m apart" in notes


# --- gaps -----------------------------------------------------------------------------------------


def test_frames_in_a_gap_of_tf_are_counted(bag, rewritten):
    sent = iter(range(12))

    def change(topic, kind, message):
        if topic == "/tf" and 3 <= next(sent) < 10:
            return
        yield topic, kind, message

    source = open_source(rewritten(change))
    assert source.skipped == {"tf_gap": 7} and len(source) == 5
    assert off_m(source, bag) < 1e-6


def test_slow_tf_is_no_gap(bag, rewritten):
    """Every third transform is sent: 0.6 s apart, but always so."""
    sent = iter(range(12))

    def change(topic, kind, message):
        if topic == "/tf" and next(sent) % 3:
            return
        yield topic, kind, message

    source = open_source(rewritten(change))
    assert source.skipped == {"no_transform": 2} and len(source) == 10  # after the last one
