"""From camera topics, poses and labels to frames: what is used, held back, dropped, and why."""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from geometry_msgs.msg import PoseStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402

from semantic_field.config import InputConfig  # noqa: E402
from semantic_field.frames import Frame  # noqa: E402
from semantic_field.geometry import Camera, look_at, make_transform  # noqa: E402
from semantic_field.nodes.camera.inputs import FrameInput  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.drops import REMEDIES, DropCounter  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]

OPTICAL = "camera_color_optical_frame"
SECOND = 1_000_000_000
PINHOLE = Camera(8.0, 8.0, 3.5, 2.5, 8, 6)
PATIENT = {"tf_timeout_s": 30.0, "label_timeout_s": 30.0}
HASTY = {"tf_timeout_s": 0.2, "label_timeout_s": 0.2}


def frame_at(seconds: float, labels: bool = False, camera: Camera = PINHOLE) -> Frame:
    """A frame whose every pixel differs, seen from a place that depends on its time."""
    random = np.random.default_rng(round(seconds * 1000))
    size = (camera.height, camera.width)
    return Frame(
        stamp_ns=round(seconds * SECOND),
        color=random.integers(0, 256, (*size, 3), np.uint8),
        depth=random.integers(500, 4000, size).astype(np.float32) / np.float32(1000),
        camera=camera,
        T_world_camera=look_at((0.1 * seconds, 0.2, 1.0), (3.0, 1.0, 0.5)),
        labels=random.integers(0, 3, size).astype(np.int32) if labels else None,
    )


def assert_same(got: Frame, sent: Frame) -> None:
    assert got.stamp_ns == sent.stamp_ns and got.camera == sent.camera
    np.testing.assert_array_equal(got.color, sent.color)
    np.testing.assert_allclose(got.depth, sent.depth, atol=1e-6)
    np.testing.assert_allclose(got.T_world_camera, sent.T_world_camera, atol=1e-9)
    assert (got.labels is None) == (sent.labels is None)
    if sent.labels is not None:
        np.testing.assert_array_equal(got.labels, sent.labels)


class Receiver:
    """A node with the inputs of one camera, as the mapping node has them."""

    def __init__(self, node, config: InputConfig) -> None:
        self.node, self.frames = node, []
        self.names: list[dict[int, str]] = []
        self.drops = DropCounter(node)
        self.input = FrameInput(node, config, self.drops, self.frames.append, self.names.append)

    @property
    def dropped(self) -> dict[str, int]:
        return {entry.cause: entry.count for entry in self.drops.messages({})}


@pytest.fixture
def receive(make_node, spin, camera, wait_until):
    """A receiver that listens to the camera already."""

    def make(**settings) -> Receiver:
        node = make_node("receiver")
        receiver = Receiver(node, InputConfig(**{"input_qos": "reliable"} | settings))
        spin.in_background(node)
        if not settings.get("color_transport"):
            camera.wait(wait_until)
        return receiver

    return make


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", ["reliable", "sensor_data"])
def test_a_frame_arrives_as_it_was_sent(camera, receive, wait_until, qos):
    receiver, sent = receive(input_qos=qos), frame_at(1.0)
    camera.send(sent)
    assert wait_until(lambda: receiver.frames)
    assert_same(receiver.frames[0], sent)
    assert receiver.dropped == {}


def test_frames_come_in_order_and_stamps_may_differ_within_the_slop(camera, receive, wait_until):
    receiver = receive(sync_slop_s=0.03)
    for i in range(5):
        frame = frame_at(1.0 + 0.1 * i)
        camera.send_pose(frame)
        camera.send_info(frame)
        camera.send_image("depth", frame.depth, "32FC1", frame.stamp_ns + 20_000_000)
        camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
    assert wait_until(lambda: len(receiver.frames) >= 4)
    stamps = [frame.stamp_ns for frame in receiver.frames]
    assert stamps == [round((1.0 + 0.1 * i) * SECOND) for i in range(len(stamps))]


def test_metres_with_holes_and_millimetres_give_the_same_depth(camera, receive, wait_until):
    receiver, base = receive(), frame_at(1.0)
    metres = base.depth.copy()
    metres[0, :3] = np.nan, np.inf, 0.0
    millimetres = np.nan_to_num(metres * 1000, nan=0.0, posinf=0.0).round().astype(np.uint16)
    for seconds, pixels, encoding in (
        (1.0, metres, "32FC1"),
        (2.0, millimetres, "16UC1"),
        (3.0, millimetres, "mono16"),
    ):
        frame = frame_at(seconds)
        camera.send_pose(frame)
        camera.send_info(frame)
        camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
        camera.send_image("depth", pixels, encoding, frame.stamp_ns)
    assert wait_until(lambda: len(receiver.frames) == 3), receiver.dropped
    assert (receiver.frames[0].depth[0, :3] == 0).all()
    for frame in receiver.frames[1:]:
        np.testing.assert_allclose(frame.depth, receiver.frames[0].depth, atol=1e-6)


def test_the_size_of_the_images_may_change(camera, receive, wait_until):
    receiver = receive()
    small, large = frame_at(1.0), frame_at(1.2, camera=PINHOLE.resized(16, 12))
    for frame in (small, large, frame_at(1.4)):
        camera.send(frame)
        assert wait_until(
            lambda sent=frame: (
                receiver.frames[-1:] != [] and (receiver.frames[-1].stamp_ns == sent.stamp_ns)
            )
        ), receiver.dropped
        assert_same(receiver.frames[-1], frame)


def test_distortion_is_taken_out(camera, receive, wait_until):
    pinhole = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)
    receiver, frame = receive(), frame_at(1.0, camera=pinhole)
    camera.send_pose(frame)
    info = conversions.camera_info(pinhole, conversions.make_header(frame.stamp_ns, OPTICAL))
    info.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    camera.publishers["color/camera_info"].publish(info)
    camera.send_images(frame)
    assert wait_until(lambda: receiver.frames), receiver.dropped
    got = receiver.frames[0]
    assert got.camera == pinhole
    expected = cv2.undistort(frame.color, pinhole.matrix, np.array(info.d))
    inner = np.s_[4:-4, 4:-4]  # at the border the two treat the missing pixels differently
    difference = np.abs(got.color[inner].astype(int) - expected[inner])
    assert (
        np.median(difference) <= 1
        and np.abs(got.color[inner].astype(int) - frame.color[inner]).mean() > 5
    )


# --- what is dropped ------------------------------------------------------------------------------


def send_without_transform(camera, frame):
    camera.send_info(frame)
    camera.send_images(frame)


def send_without_info(camera, frame):
    camera.send_pose(frame)
    camera.send_images(frame)


def send_transform_that_is_not_finite(camera, frame):
    matrix = frame.T_world_camera.copy()
    matrix[0, 3] = np.nan
    camera.tf.sendTransform(camera.transform(matrix, frame.stamp_ns))
    send_without_transform(camera, frame)


def send_depth_of_another_size(camera, frame):
    camera.send_pose(frame)
    camera.send_info(frame)
    camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
    camera.send_image("depth", frame.depth[::2], "32FC1", frame.stamp_ns)


def send_colour_as_depth(camera, frame):
    camera.send_pose(frame)
    camera.send_info(frame)
    camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
    camera.send_image("depth", frame.color, "rgb8", frame.stamp_ns)


def send_raw_bayer(camera, frame):
    camera.send_pose(frame)
    camera.send_info(frame)
    camera.send_image("color", frame.color[..., 0], "bayer_rggb8", frame.stamp_ns)
    camera.send_image("depth", frame.depth, "32FC1", frame.stamp_ns)


def send_info_without_focal_length(camera, frame):
    camera.send_pose(frame)
    info = conversions.camera_info(frame.camera, conversions.make_header(frame.stamp_ns, OPTICAL))
    info.k = [0.0] * 9
    camera.publishers["color/camera_info"].publish(info)
    camera.send_images(frame)


def send_info_that_is_not_finite(camera, frame):
    camera.send_pose(frame)
    info = conversions.camera_info(frame.camera, conversions.make_header(frame.stamp_ns, OPTICAL))
    info.k = [8.0, 0.0, float("nan"), 0.0, 8.0, 2.5, 0.0, 0.0, 1.0]
    camera.publishers["color/camera_info"].publish(info)
    camera.send_images(frame)


def send_depth_from_its_own_camera(camera, frame):
    camera.send_pose(frame)
    camera.send_info(frame, ("color",))
    other = replace(frame.camera, fx=5.0, fy=5.0)
    header = conversions.make_header(frame.stamp_ns, "camera_depth_optical_frame")
    camera.publishers["depth/camera_info"].publish(conversions.camera_info(other, header))
    camera.send_images(frame)


CAUSES = {
    "no_transform": send_without_transform,
    "no_camera_info": send_without_info,
    "size_mismatch": send_depth_of_another_size,
    "depth_encoding": send_colour_as_depth,
    "color_encoding": send_raw_bayer,
    "bad_camera_info": send_info_without_focal_length,
    "depth_not_registered": send_depth_from_its_own_camera,
}
SAME_CAUSES = {
    "no_transform": send_transform_that_is_not_finite,
    "bad_camera_info": send_info_that_is_not_finite,
}


@pytest.mark.parametrize(("cause", "send"), [*CAUSES.items(), *SAME_CAUSES.items()])
def test_what_cannot_be_used_is_counted_and_the_next_frame_is_used(
    camera, receive, log, wait_until, cause, send
):
    receiver = receive(**HASTY)
    send(camera, frame_at(1.0))
    assert wait_until(lambda: receiver.dropped == {cause: 1}), receiver.dropped
    (entry,) = receiver.drops.messages({})
    assert entry.remedy == REMEDIES[cause]
    assert receiver.frames == []
    camera.send(frame_at(2.0))
    assert wait_until(lambda: receiver.frames), receiver.dropped
    assert receiver.frames[0].stamp_ns == 2 * SECOND and receiver.dropped == {cause: 1}
    assert wait_until(lambda: log(REMEDIES[cause]))


def test_a_missing_transform_names_both_frames(camera, receive, log, wait_until):
    receive(**HASTY)
    send_without_transform(camera, frame_at(1.0))
    assert wait_until(lambda: log(f"no TF from 'map' to '{OPTICAL}'"))


def test_images_too_far_apart_are_named_with_the_gap(camera, receive, log, wait_until):
    receiver = receive()
    for i in range(3):
        frame = frame_at(1.0 + i)
        camera.send_info(frame)
        camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
        camera.send_image("depth", frame.depth, "32FC1", frame.stamp_ns + 400_000_000)
    assert wait_until(lambda: receiver.dropped == {"stamps_apart": 3}), receiver.dropped
    assert wait_until(lambda: log("0.40 s apart"))


def test_a_silent_topic_is_named(camera, receive, log, wait_until):
    receive()
    frame = frame_at(1.0)
    camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
    assert wait_until(lambda: log("no images on /depth/image"))


def test_a_missing_camera_info_is_named_after_a_while(camera, receive, log, wait_until):
    receive(camera_info_timeout_s=0.1, **PATIENT)
    camera.send_images(frame_at(1.0))
    assert wait_until(lambda: log("no CameraInfo on /color/camera_info after"))


# --- depth's CameraInfo ---------------------------------------------------------------------------


def test_the_first_frames_wait_for_the_camera_info_of_depth(camera, receive, wait_until):
    """It tells that depth is another camera's view, of the frames before it as well."""
    receiver = receive(depth_info_timeout_s=30.0, **PATIENT)
    for seconds in (1.0, 1.1):
        frame = frame_at(seconds)
        camera.send_pose(frame)
        camera.send_info(frame, ("color",))
        camera.send_images(frame)
    assert wait_until(lambda: receiver.input.held_back == 2)
    send_depth_from_its_own_camera(camera, frame_at(1.2))
    assert wait_until(lambda: receiver.dropped == {"depth_not_registered": 3}), receiver.dropped
    assert receiver.frames == []


def test_without_a_camera_info_of_depth_mapping_goes_on_with_one_warning(
    camera, receive, log, wait_until
):
    receiver = receive(depth_info_timeout_s=0.1, **PATIENT)
    for seconds in (1.0, 1.1, 1.2):
        frame = frame_at(seconds)
        camera.send_pose(frame)
        camera.send_info(frame, ("color",))
        camera.send_images(frame)
    assert wait_until(lambda: len(receiver.frames) == 3), receiver.dropped
    assert wait_until(lambda: log("no CameraInfo on /depth/camera_info after"))
    assert log("depth is taken as registered") == 1


# --- frames' names --------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["tf", "pose"])
def test_slashes_before_the_names_of_frames_mean_nothing(
    camera, receive, poses, wait_until, source
):
    settings = {"global_frame": "/map", **PATIENT}
    receiver, frame = None, frame_at(1.0)
    if source == "pose":
        receiver, send = poses("pose", **settings)
        send(1.0, 0.0, parent="/map")
    else:
        receiver = receive(**settings)
        matrix = frame.T_world_camera
        camera.tf.sendTransform(camera.transform(matrix, frame.stamp_ns, "/map", f"/{OPTICAL}"))
    header = conversions.make_header(frame.stamp_ns, f"/{OPTICAL}")
    for name, pixels, encoding in (("color", frame.color, "rgb8"), ("depth", frame.depth, "32FC1")):
        info = conversions.camera_info(frame.camera, header)
        camera.publishers[f"{name}/camera_info"].publish(info)
        camera.publishers[name].publish(conversions.image_message(pixels, encoding, header))
    assert wait_until(lambda: receiver.frames), receiver.dropped


# --- what is held back ----------------------------------------------------------------------------


def test_a_frame_waits_for_its_transform(camera, receive, wait_until):
    receiver, frame = receive(**PATIENT), frame_at(1.0)
    send_without_transform(camera, frame)
    assert wait_until(lambda: receiver.input.held_back == 1)
    assert receiver.frames == []
    camera.send_pose(frame)
    assert wait_until(lambda: receiver.frames)
    assert_same(receiver.frames[0], frame)
    assert receiver.input.held_back == 0 and receiver.dropped == {}


def test_a_frame_waits_for_camera_info(camera, receive, wait_until):
    receiver, frame = receive(**PATIENT), frame_at(1.0)
    send_without_info(camera, frame)
    assert wait_until(lambda: receiver.input.held_back == 1)
    camera.send_info(frame)
    assert wait_until(lambda: receiver.frames) and receiver.dropped == {}


def test_images_of_another_size_wait_for_their_own_camera_info(camera, receive, wait_until):
    receiver = receive(**PATIENT)
    camera.send(frame_at(1))
    assert wait_until(lambda: receiver.frames)
    frame = frame_at(2, camera=PINHOLE.resized(16, 12))
    camera.send_pose(frame)
    camera.send_images(frame)
    assert wait_until(lambda: receiver.input.held_back == 1)
    assert receiver.dropped == {}
    camera.send_info(frame)
    assert wait_until(lambda: len(receiver.frames) == 2)
    assert_same(receiver.frames[1], frame)


def test_transforms_are_interpolated_at_the_image_stamp(camera, receive, wait_until):
    receiver, frame = receive(**PATIENT), frame_at(1.05)
    for seconds, x in ((1.0, 0.0), (1.2, 4.0)):
        matrix = make_transform(np.eye(3), [x, 0.0, 0.0])
        camera.tf.sendTransform(camera.transform(matrix, round(seconds * SECOND)))
    send_without_transform(camera, frame)
    assert wait_until(lambda: receiver.frames)
    np.testing.assert_allclose(receiver.frames[0].T_world_camera[:3, 3], [1, 0, 0], atol=1e-9)


def test_the_oldest_goes_when_too_many_wait(camera, receive, wait_until):
    receiver = receive(max_pending=2, **PATIENT)
    frames = [frame_at(1.0 + 0.1 * i) for i in range(4)]
    for frame in frames:
        send_without_transform(camera, frame)
    assert wait_until(lambda: receiver.dropped == {"queue_full": 2}), receiver.dropped
    for frame in frames:
        camera.send_pose(frame)
    assert wait_until(lambda: len(receiver.frames) == 2)
    assert [f.stamp_ns for f in receiver.frames] == [f.stamp_ns for f in frames[2:]]


def test_time_that_goes_back_clears_what_waits(camera, receive, wait_until):
    receiver = receive(**PATIENT)
    camera.send(frame_at(20.0))
    assert wait_until(lambda: len(receiver.frames) == 1)
    send_without_transform(camera, frame_at(21.0))
    assert wait_until(lambda: receiver.input.held_back == 1)
    for i in range(3):  # the recording starts again
        camera.send(frame_at(1.0 + i))
    assert wait_until(lambda: receiver.frames[-1].stamp_ns == 3 * SECOND), receiver.dropped
    assert receiver.dropped == {"time_jump": 1}
    assert [frame.stamp_ns // SECOND for frame in receiver.frames] == [20, 1, 2, 3]
    assert_same(receiver.frames[-1], frame_at(3.0))


def test_static_transforms_outlive_a_jump(camera, receive, wait_until):
    receiver = receive(**PATIENT)
    mount = make_transform(np.eye(3), [0.0, 0.0, 0.5])
    camera.static_tf.sendTransform(camera.transform(mount, 0, "base", OPTICAL))
    for seconds in (20.0, 1.0, 2.0):
        frame = frame_at(seconds)
        camera.send_info(frame)
        camera.send_images(frame)
        assert wait_until(lambda: receiver.input.held_back == 1)
        base = camera.transform(np.eye(4), frame.stamp_ns, "map", "base")
        camera.tf.sendTransform(base)
        assert wait_until(
            lambda sent=frame: (
                receiver.frames[-1:] != [] and (receiver.frames[-1].stamp_ns == sent.stamp_ns)
            )
        ), receiver.dropped
        np.testing.assert_allclose(receiver.frames[-1].T_world_camera, mount, atol=1e-12)


# --- labels ---------------------------------------------------------------------------------------

NAMES = {0: "floor", 1: "chair", 2: "table"}


@pytest.fixture
def labelled(camera):
    camera.add_labels()
    return camera


def test_labels_come_with_their_frame(labelled, receive, wait_until):
    receiver, frame = receive(**PATIENT), frame_at(1.0, labels=True)
    labelled.send_names(NAMES)
    assert wait_until(lambda: receiver.names == [NAMES])
    labelled.send(frame)
    assert wait_until(lambda: receiver.frames)
    assert_same(receiver.frames[0], frame)


def test_a_frame_waits_for_labels_and_their_names(labelled, receive, wait_until):
    receiver, frame = receive(**PATIENT), frame_at(1.0, labels=True)
    labelled.send(replace(frame, labels=None))
    assert wait_until(lambda: receiver.input.held_back == 1)
    labelled.send_labels(frame)
    labelled.send_names(NAMES)
    assert wait_until(lambda: receiver.frames)
    assert_same(receiver.frames[0], frame)


def test_names_that_mean_no_class_become_void(labelled, receive, wait_until):
    receiver, frame = receive(**PATIENT), frame_at(1.0, labels=True)
    labelled.send_names({0: "Unlabelled", 1: "chair", 2: "background"})
    assert wait_until(lambda: receiver.names == [{1: "chair", 2: "background"}])
    labelled.send(frame)
    assert wait_until(lambda: receiver.frames)
    expected = np.where(frame.labels == 0, -1, frame.labels)
    np.testing.assert_array_equal(receiver.frames[0].labels, expected)


def test_labels_without_names_are_not_used(labelled, receive, wait_until):
    receiver, frame = receive(**HASTY), frame_at(1.0, labels=True)
    labelled.send(frame)
    assert wait_until(lambda: receiver.frames)
    assert receiver.frames[0].labels is None
    assert receiver.dropped == {"no_label_info": 1}


def test_labels_that_cannot_be_read_do_not_cost_the_frame(labelled, receive, wait_until):
    receiver, frame = receive(**HASTY), frame_at(1.0)
    labelled.send_names(NAMES)
    assert wait_until(lambda: receiver.names)
    labelled.send_image("labels", np.zeros((6, 8), np.float32), "32FC1", frame.stamp_ns)
    labelled.send(frame)
    assert wait_until(lambda: receiver.frames)
    assert receiver.frames[0].labels is None
    assert receiver.dropped == {"label_encoding": 1}


def test_a_lost_label_image_is_not_waited_for(labelled, receive, wait_until):
    """Labels come in order: a newer one means that this one will not come."""
    receiver = receive(**PATIENT)
    labelled.send_names(NAMES)
    assert wait_until(lambda: receiver.names)
    labelled.send(frame_at(1.0))
    labelled.send(frame_at(2.0, labels=True))
    assert wait_until(lambda: len(receiver.frames) == 2)
    assert [frame.labels is None for frame in receiver.frames] == [True, False]


# --- poses from topics ----------------------------------------------------------------------------


def pose_message(kind, stamp_ns: int, parent: str, matrix: np.ndarray):
    message = kind(header=conversions.make_header(stamp_ns, parent))
    target = message if kind is PoseStamped else message.pose
    target.pose = conversions.to_pose(matrix)
    return message


@pytest.fixture
def poses(camera, receive, wait_until):
    """A receiver of poses from a topic, and a function that sends one at (seconds, x)."""

    def make(source: str, **settings):
        kind = {"pose": PoseStamped, "odometry": Odometry}[source]
        publisher = camera.node.create_publisher(kind, source, QoSProfile(depth=10))
        receiver = receive(pose_source=source, **settings)
        assert wait_until(lambda: publisher.get_subscription_count() == 1)

        def send(seconds: float, x: float, parent: str = "map", child: str = "") -> None:
            matrix = make_transform(np.eye(3), [x, 0.0, 0.0])
            message = pose_message(kind, round(seconds * SECOND), parent, matrix)
            if child:
                message.child_frame_id = child
            publisher.publish(message)

        return receiver, send

    return make


def test_poses_are_interpolated(camera, poses, wait_until):
    receiver, send = poses("pose", **PATIENT)
    send_without_transform(camera, frame_at(1.05))
    send(1.0, 0.0)
    assert wait_until(lambda: receiver.input.held_back == 1)
    assert receiver.frames == []  # the pose after the image is still to come
    send(1.2, 4.0)
    assert wait_until(lambda: receiver.frames)
    np.testing.assert_allclose(receiver.frames[0].T_world_camera[:3, 3], [1, 0, 0], atol=1e-9)


def test_odometry_reaches_the_camera_over_static_transforms(camera, poses, wait_until):
    """map → odom (TF), odom → base (odometry), base → camera (static TF)."""
    receiver, send = poses("odometry", **PATIENT)
    frame = frame_at(1.05)
    odom = make_transform(np.eye(3), [0.0, 10.0, 0.0])
    mount = make_transform([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0.2, 0.0, 0.5])
    camera.static_tf.sendTransform(
        [camera.transform(odom, 0, "map", "odom"), camera.transform(mount, 0, "base", OPTICAL)]
    )
    send(1.0, 0.0, "odom", "base")
    send(1.2, 4.0, "odom", "base")
    send_without_transform(camera, frame)
    assert wait_until(lambda: receiver.frames), receiver.dropped
    expected = make_transform(mount[:3, :3], [1.2, 10.0, 0.5])
    np.testing.assert_allclose(receiver.frames[0].T_world_camera, expected, atol=1e-9)


def test_poses_too_far_apart_are_not_interpolated(camera, poses, wait_until):
    receiver, send = poses("pose", **HASTY)
    send(1.0, 0.0)
    send(2.0, 4.0)
    send_without_transform(camera, frame_at(1.5))
    assert wait_until(lambda: receiver.dropped == {"no_pose": 1}), receiver.dropped
    send(2.1, 4.0)
    send_without_transform(camera, frame_at(2.05))
    assert wait_until(lambda: receiver.frames)


def test_poses_that_are_not_finite_are_named(camera, poses, wait_until):
    """An odometry that has diverged."""
    receiver, send = poses("pose", **HASTY)
    send(1.0, 0.0)
    send(1.1, float("nan"))
    send_without_transform(camera, frame_at(1.05))
    assert wait_until(lambda: receiver.dropped == {"bad_pose": 1}), receiver.dropped
    send(1.2, 0.0)
    send(1.3, 1.0)
    send_without_transform(camera, frame_at(1.25))
    assert wait_until(lambda: receiver.frames)


def test_a_pose_topic_of_the_robot_reaches_the_camera_over_its_mount(camera, poses, wait_until):
    receiver, send = poses("pose", pose_frame="base", **PATIENT)
    mount = make_transform([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0.2, 0.0, 0.5])
    camera.static_tf.sendTransform([camera.transform(mount, 0, "base", OPTICAL)])
    send(1.0, 0.0)
    send(1.2, 4.0)
    send_without_transform(camera, frame_at(1.05))
    assert wait_until(lambda: receiver.frames), receiver.dropped
    expected = make_transform(mount[:3, :3], [1.2, 0.0, 0.5])
    np.testing.assert_allclose(receiver.frames[0].T_world_camera, expected, atol=1e-9)


def test_gaps_of_tf_are_not_bridged(camera, receive, wait_until, log):
    """Localisation is lost for 1.6 s: tf2 itself would draw a straight line."""
    receiver, lost = receive(**HASTY), frame_at(2.0)
    for seconds in (1.0, 1.1, 1.2, 2.8, 2.9, 3.0):
        camera.send_pose(frame_at(seconds))
    send_without_transform(camera, lost)
    assert wait_until(lambda: receiver.dropped == {"tf_gap": 1}), receiver.dropped
    assert wait_until(lambda: log(f"TF from 'map' to '{OPTICAL}' is silent for 1.6 s around it"))
    send_without_transform(camera, frame_at(2.95))
    assert wait_until(lambda: receiver.frames)


def test_images_that_move_under_a_pose_that_does_not(camera, room, receive, wait_until, log):
    """The mount alone is on TF, how the robot drives is on a topic that nobody listens to."""
    receiver = receive(**PATIENT)
    mount, sent = camera.transform(np.eye(4), 0, "map", OPTICAL), []
    camera.static_tf.sendTransform([mount])
    for frame in room[1]:
        send_without_transform(camera, frame)
        sent.append(frame)
        assert wait_until(lambda: len(receiver.frames) == len(sent)), receiver.dropped
    assert wait_until(lambda: log("the camera's pose stays where it is in 'map', its images move"))
    assert receiver.dropped == {}  # a warning, nothing is lost


def test_a_camera_on_a_tripod_is_no_reason_to_warn(camera, room, receive, wait_until, log):
    receiver = receive(**PATIENT)
    for i in range(12):
        camera.send(replace(room[1][0], stamp_ns=SECOND + i * 100_000_000, labels=None))
        assert wait_until(lambda n=i + 1: len(receiver.frames) == n), receiver.dropped
    assert not log("its images move")


# --- compressed -----------------------------------------------------------------------------------


def test_compressed_images(camera, receive, wait_until):
    frame = frame_at(1.0, camera=PINHOLE.resized(64, 48))
    publishers = {
        name: camera.node.create_publisher(
            CompressedImage, f"{name}/image/{transport}", QoSProfile(depth=10)
        )
        for name, transport in (("color", "compressed"), ("depth", "compressedDepth"))
    }
    receiver = receive(color_transport="compressed", depth_transport="compressedDepth", **PATIENT)
    assert wait_until(lambda: all(p.get_subscription_count() for p in publishers.values()))
    assert wait_until(lambda: camera.publishers["color/camera_info"].get_subscription_count())
    camera.send_pose(frame)
    camera.send_info(frame)
    header = conversions.make_header(frame.stamp_ns, OPTICAL)
    _, color = cv2.imencode(".png", frame.color[..., ::-1])
    _, depth = cv2.imencode(".png", (frame.depth * 1000).round().astype(np.uint16))
    publishers["color"].publish(
        CompressedImage(header=header, format="rgb8; png compressed bgr8", data=color.tobytes())
    )
    publishers["depth"].publish(
        CompressedImage(
            header=header, format="16UC1; compressedDepth png", data=bytes(12) + depth.tobytes()
        )
    )
    assert wait_until(lambda: receiver.frames), receiver.dropped
    assert_same(receiver.frames[0], frame)


def test_an_idle_input_wakes_rarely(camera, receive, wait_until):
    """A timer that retries exists only while a frame waits."""
    receiver = receive(**PATIENT)

    def periods() -> list[float]:
        timers = [t for t in receiver.node.timers if not t.is_canceled()]
        return [timer.timer_period_ns / 1e9 for timer in timers]

    assert min(periods()) >= 1.0
    frame = frame_at(1.0)
    send_without_transform(camera, frame)
    assert wait_until(lambda: receiver.input.held_back == 1)
    assert min(periods()) < 0.1
    camera.send_pose(frame)
    assert wait_until(lambda: receiver.frames)
    assert wait_until(lambda: min(periods()) >= 1.0)


def test_the_slop_may_change_on_the_way(camera, receive, wait_until):
    receiver = receive(sync_slop_s=0.001, **PATIENT)
    receiver.input.follow(InputConfig(input_qos="reliable", sync_slop_s=0.05, **PATIENT))
    frame = frame_at(1.0)
    camera.send_pose(frame)
    camera.send_info(frame)
    camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
    camera.send_image("depth", frame.depth, "32FC1", frame.stamp_ns + 20_000_000)
    assert wait_until(lambda: receiver.frames), receiver.dropped


def test_closed_inputs_hear_nothing(camera, receive, wait_until):
    receiver = receive()
    receiver.input.close()
    for publisher in camera.publishers.values():
        assert wait_until(lambda p=publisher: p.get_subscription_count() == 0)
    started = time.monotonic()
    camera.send(frame_at(1.0))
    assert wait_until(lambda: time.monotonic() > started + 0.2) and receiver.frames == []


# --- what others send -----------------------------------------------------------------------------


def test_labels_of_half_the_size_are_enlarged_by_the_nearest_pixel(camera, receive, wait_until):
    camera.add_labels()
    receiver, frame = receive(**PATIENT), frame_at(1.0)
    camera.send_names({0: "floor", 1: "wall"})
    small = np.array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1]], np.uint8)
    camera.send_image("labels", small, "mono8", frame.stamp_ns)
    camera.send(frame)
    assert wait_until(lambda: receiver.frames), receiver.dropped
    np.testing.assert_array_equal(receiver.frames[0].labels, np.kron(small, np.ones((2, 2))))
    assert receiver.dropped == {}


def test_labels_of_another_shape_are_left_out_alone(camera, receive, wait_until):
    camera.add_labels()
    receiver, frame = receive(**PATIENT), frame_at(1.0)
    camera.send_names({0: "floor"})
    camera.send_image("labels", np.zeros((6, 4), np.uint8), "mono8", frame.stamp_ns)
    camera.send(frame)
    assert wait_until(lambda: receiver.frames), receiver.dropped
    assert receiver.frames[0].labels is None and receiver.dropped == {"label_size": 1}


@pytest.mark.parametrize(("stamp", "cause"), [(0, "zero_stamp"), (-2 * SECOND, "negative_stamp")])
def test_stamps_that_are_no_times_are_named(camera, receive, log, wait_until, stamp, cause):
    """With stamp 0 TF would silently give the newest transform."""
    receiver = receive(**HASTY)
    camera.send_pose(frame_at(1.0))
    camera.send_info(frame_at(1.0))
    camera.send_images(replace(frame_at(1.0), stamp_ns=stamp))
    assert wait_until(lambda: receiver.dropped == {cause: 2}), receiver.dropped
    camera.send(frame_at(2.0))
    assert wait_until(lambda: receiver.frames), receiver.dropped
    assert [frame.stamp_ns for frame in receiver.frames] == [2 * SECOND]
    assert wait_until(lambda: log(REMEDIES[cause]))


def test_of_images_with_one_stamp_the_first_counts(camera, receive, wait_until):
    receiver, first, second = receive(**PATIENT), frame_at(1.0), frame_at(1.1)
    for frame in (first, replace(second, stamp_ns=first.stamp_ns)):
        camera.send_info(frame)
        camera.send_images(frame)
    assert wait_until(lambda: receiver.dropped == {"duplicate_stamp": 2}), receiver.dropped
    camera.send_pose(first)
    assert wait_until(lambda: receiver.frames), receiver.dropped
    assert_same(receiver.frames[0], first)


def test_floats_in_millimetres_are_known_by_their_values(camera, receive, wait_until):
    receiver, frame = receive(), frame_at(1.0)
    camera.send_pose(frame)
    camera.send_info(frame)
    camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
    camera.send_image("depth", frame.depth * np.float32(1000), "32FC1", frame.stamp_ns)
    assert wait_until(lambda: receiver.frames), receiver.dropped
    assert_same(receiver.frames[0], frame)


def test_depth_that_is_no_room_in_any_unit_is_counted(camera, receive, wait_until):
    receiver, frame = receive(), frame_at(1.0)
    camera.send_pose(frame)
    camera.send_info(frame)
    camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
    camera.send_image("depth", frame.depth * np.float32(1e7), "32FC1", frame.stamp_ns)
    assert wait_until(lambda: receiver.dropped == {"depth_out_of_range": 1}), receiver.dropped


def test_binning_and_region_of_interest_are_applied(camera, receive, wait_until):
    receiver, frame = receive(), frame_at(1.0)
    camera.send_pose(frame)
    info = conversions.camera_info(PINHOLE, conversions.make_header(frame.stamp_ns, OPTICAL))
    info.k = [16.0, 0.0, 7.0 + 4, 0.0, 16.0, 5.0 + 2, 0.0, 0.0, 1.0]
    info.width, info.height, info.binning_x, info.binning_y = 24, 20, 2, 2
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 4, 2, 16, 12
    for name in ("color", "depth"):
        camera.publishers[f"{name}/camera_info"].publish(info)
    camera.send_images(frame)
    assert wait_until(lambda: receiver.frames), receiver.dropped
    assert_same(receiver.frames[0], frame)


def test_depth_of_a_camera_beside_colour_is_recognised_by_tf(camera, receive, log, wait_until):
    """Stereo depth with colour's intrinsics, 59 mm beside it."""
    receiver, frame = receive(), frame_at(1.0)
    T_color_depth = make_transform(np.eye(3), [0.059, 0, 0])
    fixed = camera.transform(frame.T_world_camera @ T_color_depth, frame.stamp_ns)
    fixed.child_frame_id = "stereo"
    camera.tf.sendTransform(fixed)
    camera.send_pose(frame)
    camera.send_info(frame)
    camera.send_image("color", frame.color, "rgb8", frame.stamp_ns)
    header = conversions.make_header(frame.stamp_ns, "stereo")
    depth = conversions.image_message(frame.depth, "32FC1", header)
    camera.publishers["depth"].publish(depth)
    assert wait_until(lambda: receiver.dropped == {"depth_not_registered": 1}), receiver.dropped
    assert wait_until(lambda: log("59 mm apart by TF"))
