"""rosbag2 recordings: written, read back, and read although they are not what we write."""

import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer

from semantic_field.data import bag_types
from semantic_field.data.bag_types import CAMERA_INFO, IMAGE, ODOMETRY, POSE, TF, typestore
from semantic_field.data.bag_writer import write_bag
from semantic_field.data.rosbag import BagSource
from semantic_field.data.sources import open_source
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, look_at

DATA = Path(os.environ.get("SEMANTIC_FIELD_DATA", Path(__file__).parents[3] / "shared" / "data"))
CAMERA = Camera(20.0, 21.0, 7.5, 5.5, 16, 12)
STEP = 100_000_000


class Frames(list):
    """A list of frames as a source."""

    name = "frames"
    label_names = {0: "floor", 3: "red mug"}

    @property
    def stamps(self):
        return [frame.stamp_ns for frame in self]


@pytest.fixture(scope="module")
def source() -> Frames:
    rng = np.random.default_rng(1)
    smooth = np.linspace(0, 200, 12 * 16 * 3).reshape(12, 16, 3)
    return Frames(
        Frame(
            stamp_ns=2_000_000_000 + STEP * i,
            color=(smooth + 10 * i).astype(np.uint8),
            depth=rng.integers(0, 9000, (12, 16)).astype(np.float32) / 1000,
            camera=CAMERA,
            T_world_camera=look_at((i, 1, 1.5), (0, 0, 0.5)),
            labels=rng.choice([-1, 0, 3], (12, 16)).astype(np.int32),
        )
        for i in range(4)
    )


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize("compressed", [False, True])
def test_everything_comes_back(source, tmp_path, storage, compressed):
    write_bag(source, tmp_path / "bag", storage=storage, compressed=compressed)
    for location in (tmp_path / "bag", next((tmp_path / "bag").glob("bag.*"))):
        read = open_source(location)
        assert len(read) == 4 and read.skipped == {} and read.global_frame == "map"
        assert read.label_names == source.label_names and list(read.stamps) == source.stamps
        for wrote, got in zip(source, read, strict=True):
            tolerance = 12 if compressed else 0  # JPEG
            assert np.abs(got.color.astype(int) - wrote.color).max() <= tolerance
            np.testing.assert_allclose(got.depth, wrote.depth, atol=1e-6)
            np.testing.assert_array_equal(got.labels, wrote.labels)
            np.testing.assert_allclose(got.T_world_camera, wrote.T_world_camera, atol=1e-9)
            assert got.stamp_ns == wrote.stamp_ns and got.camera == CAMERA
        read.close()


def test_metadata_is_what_ros2_bag_info_reads(source, tmp_path):
    write_bag(source, tmp_path / "bag", rate_hz=2.0)
    info = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())
    info = info["rosbag2_bagfile_information"]
    assert info["relative_file_paths"] == ["bag.db3"] and info["storage_identifier"] == "sqlite3"
    assert info["duration"]["nanoseconds"] == 1_500_000_000  # four frames at 2 Hz
    topics = {t["topic_metadata"]["name"]: t for t in info["topics_with_message_count"]}
    counts = {name: topic["message_count"] for name, topic in topics.items()}
    assert counts == {
        "/tf_static": 1,
        "/tf": 4,
        "/camera/color/camera_info": 4,
        "/camera/depth/camera_info": 4,
        "/camera/color/image_raw": 4,
        "/camera/depth/image_raw": 4,
        "/camera/labels/image": 4,
        "/camera/labels/label_info": 1,
    }
    for name, topic in topics.items():
        (qos,) = yaml.safe_load(topic["topic_metadata"]["offered_qos_profiles"])
        latched = name in ("/tf_static", "/camera/labels/label_info")
        assert qos["durability"] == (1 if latched else 2), name  # 1 = transient local
        assert qos["reliability"] == 1, name
        hashed = topic["topic_metadata"]["type_description_hash"]
        assert hashed == typestore().hash_rihs01(topic["topic_metadata"]["type"])
    # The hash that ROS 2 Jazzy itself gives sensor_msgs/msg/Image.
    image = topics["/camera/color/image_raw"]["topic_metadata"]["type_description_hash"]
    assert image.startswith(
        "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"
    )


def test_ids_from_255_on_need_16_bits(source, tmp_path):
    frames = Frames(source[:1])
    frames.label_names = {3: "red mug", 300: "lamp"}
    labels = np.where(source[0].labels == 0, 300, source[0].labels).astype(np.int32)
    frames[0] = Frame(1, source[0].color, source[0].depth, CAMERA, np.eye(4), labels)
    write_bag(frames, tmp_path / "bag")
    np.testing.assert_array_equal(BagSource(tmp_path / "bag")[0].labels, labels)


def test_nothing_is_overwritten_or_left_behind(source, tmp_path):
    write_bag(source, tmp_path / "bag")
    with pytest.raises(ValueError, match="exists"):
        write_bag(source, tmp_path / "bag")

    def interrupted():
        yield from (0, 1)
        raise KeyboardInterrupt

    for storage in ("sqlite3", "mcap"):
        with pytest.raises(KeyboardInterrupt):
            write_bag(source, tmp_path / "other", storage=storage, indices=interrupted())
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_recorder_that_was_killed_before_its_metadata(source, tmp_path):
    for storage in ("sqlite3", "mcap"):
        write_bag(source, tmp_path / storage, storage=storage)
        (tmp_path / storage / "metadata.yaml").unlink()
        assert len(open_source(tmp_path / storage)) == 4


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_truncated_bag_says_how_to_repair_it(source, tmp_path, storage):
    write_bag(source, tmp_path / "bag", storage=storage)
    file = next((tmp_path / "bag").glob("bag.*"))
    for content in (file.read_bytes()[: file.stat().st_size // 2], b""):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"bag.*(recover|reindex|record again)"):
            open_source(tmp_path / "bag")


def test_missing_storage_file_and_empty_directory(source, tmp_path):
    write_bag(source, tmp_path / "bag")
    next((tmp_path / "bag").glob("*.db3")).unlink()
    with pytest.raises(ValueError, match="missing"):
        open_source(tmp_path / "bag")


# --- recordings of other robots ---------------------------------------------------------------


class Recording:
    """Writes a bag message by message."""

    def __init__(self, path: Path) -> None:
        self._writer = Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3)
        self._writer.open()
        self._connections = {}

    def send(self, topic, message, stamp):
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=typestore()
            )
        # Received 7 ms after its stamp, as on a real machine.
        data = typestore().serialize_cdr(message, kind)
        self._writer.write(self._connections[topic], stamp + 7_000_000, data)

    def close(self):
        self._writer.close()


def new(kind, **fields):
    return typestore().types[kind](**fields)


def header(stamp, frame_id="optical"):
    time = new("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
    return new("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def image(stamp, pixels, encoding, big_endian=False, padding=0):
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = rows.reshape(len(rows), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    return new(
        IMAGE,
        header=header(stamp),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=rows.shape[1],
        data=rows.ravel(),
    )


def camera_info(stamp, distortion=(), fx=20.0, frame_id="optical"):
    k = np.array([fx, 0, 7.5, 0, 21.0, 5.5, 0, 0, 1.0])
    roi = new(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=0,
        y_offset=0,
        height=0,
        width=0,
        do_rectify=False,
    )
    return new(
        CAMERA_INFO,
        header=header(stamp, frame_id),
        height=12,
        width=16,
        distortion_model="plumb_bob",
        d=np.array(distortion, float),
        k=k,
        r=np.eye(3).ravel(),
        p=np.array([18.0, 0, 7.0, 0, 0, 19.0, 5.0, 0, 0, 0, 1, 0]),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def pose(x):
    return new(
        "geometry_msgs/msg/Pose",
        position=new("geometry_msgs/msg/Point", x=float(x), y=0.0, z=0.0),
        orientation=new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
    )


def transform(stamp, parent, child, x):
    return new(
        "geometry_msgs/msg/TransformStamped",
        header=header(stamp, parent),
        child_frame_id=child,
        transform=new(
            "geometry_msgs/msg/Transform",
            translation=new("geometry_msgs/msg/Vector3", x=float(x), y=0.0, z=0.0),
            rotation=new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        ),
    )


COLOR_PIXELS = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
DEPTH_PIXELS = np.full((12, 16), 2.5, np.float32)


def send_images(bag, stamp, depth_late=0, depth=DEPTH_PIXELS, encoding="32FC1"):
    bag.send("/cam/color/image_raw", image(stamp, COLOR_PIXELS, "bgr8", padding=5), stamp)
    bag.send("/cam/depth/image_raw", image(stamp + depth_late, depth, encoding), stamp)


def send_tf(bag, stamp, x, parent="odom", child="optical", topic="/tf"):
    bag.send(topic, new(TF, transforms=[transform(stamp, parent, child, x)]), stamp)


def test_unusable_frames_are_counted_by_cause(tmp_path):
    bag = Recording(tmp_path / "bag")
    bag.send("/cam/color/camera_info", camera_info(0), 0)
    for i in range(1, 4):  # odom moves 1 m a second between 1 s and 3 s
        send_tf(bag, i * 10**9, i)
    send_images(bag, 500_000_000)  # before the first transform
    send_images(bag, 1_250_000_000, depth_late=20_000_000)
    send_images(bag, 2_000_000_000, depth_late=60_000_000)  # too far apart
    send_images(bag, 2_600_000_000)
    send_images(bag, 2_600_000_000)  # the same again, as from a loop
    bag.close()
    read = BagSource(tmp_path / "bag")
    assert read.skipped == {"no_transform": 1, "stamps_apart": 1, "duplicate_stamp": 1}
    assert list(read.stamps) == [1_250_000_000, 2_600_000_000]
    assert read.global_frame == "odom"
    np.testing.assert_allclose([f.T_world_camera[0, 3] for f in read], [1.25, 2.6])
    frame = read[0]
    np.testing.assert_array_equal(frame.color, COLOR_PIXELS[..., ::-1])
    assert (frame.depth == 2.5).all() and frame.labels is None
    assert len(BagSource(tmp_path / "bag", slop_s=0.1)) == 3


def test_big_endian_millimetres(tmp_path):
    bag = Recording(tmp_path / "bag")
    bag.send("/cam/color/camera_info", camera_info(0), 0)
    send_tf(bag, 0, 1.0, topic="/tf_static")
    bag.send("/cam/color/image_raw", image(10**9, COLOR_PIXELS, "rgb8"), 10**9)
    millimetres = np.full((12, 16), 1234, np.uint16)
    depth = image(10**9, millimetres, "16UC1", big_endian=True)
    bag.send("/cam/depth/image_raw", depth, 10**9)
    bag.close()
    np.testing.assert_allclose(BagSource(tmp_path / "bag")[0].depth, 1.234, rtol=1e-6)


def test_odometry_with_a_mounted_camera(tmp_path):
    bag = Recording(tmp_path / "bag")
    bag.send("/cam/color/camera_info", camera_info(0), 0)
    send_tf(bag, 0, 0.25, parent="base", child="optical", topic="/tf_static")
    for stamp, x in ((10**9, 3.0), (14 * 10**8, 5.0)):
        odometry = new(
            ODOMETRY,
            header=header(stamp, "odom"),
            child_frame_id="base",
            pose=new("geometry_msgs/msg/PoseWithCovariance", pose=pose(x), covariance=np.zeros(36)),
            twist=new(
                "geometry_msgs/msg/TwistWithCovariance",
                twist=new(
                    "geometry_msgs/msg/Twist",
                    linear=new("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0),
                    angular=new("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0),
                ),
                covariance=np.zeros(36),
            ),
        )
        bag.send("/odom", odometry, stamp)
    send_images(bag, 11 * 10**8)
    send_images(bag, 15 * 10**8)  # after the last odometry
    bag.close()
    read = BagSource(tmp_path / "bag", pose_source="odometry")
    assert read.skipped == {"no_pose": 1} and read.global_frame == "odom"
    np.testing.assert_allclose(read[0].T_world_camera[:3, 3], [3.75, 0, 0], atol=1e-12)


def test_pose_topic_without_tf(tmp_path):
    bag = Recording(tmp_path / "bag")
    bag.send("/cam/color/camera_info", camera_info(0), 0)
    for stamp, x in ((10**9, 0.0), (11 * 10**8, 1.0), (5 * 10**9, 9.0)):
        message = new(POSE, header=header(stamp, "world"), pose=pose(x))
        bag.send("/tracker/pose", message, stamp)
    send_images(bag, 1_050_000_000)
    send_images(bag, 3 * 10**9)  # four seconds without a pose
    bag.close()
    read = BagSource(tmp_path / "bag")
    assert read.skipped == {"no_pose": 1} and read.global_frame == "world"
    assert read[0].T_world_camera[0, 3] == pytest.approx(0.5)


def test_changing_and_distorted_camera(tmp_path):
    bag = Recording(tmp_path / "bag")
    send_tf(bag, 0, 0.0, topic="/tf_static")
    bag.send("/cam/color/camera_info", camera_info(0), 0)
    send_images(bag, 10**9)
    bag.send("/cam/color/camera_info", camera_info(2 * 10**9, (2.0, 0, 0, 0, 0), 25.0), 2 * 10**9)
    send_images(bag, 2 * 10**9)
    bag.close()
    straight, bent = BagSource(tmp_path / "bag")
    assert (straight.camera.fx, bent.camera.fx) == (20.0, 25.0)
    assert (straight.depth == 2.5).all() and (bent.depth == 0).any()
    assert set(np.unique(bent.depth)) == {0.0, 2.5}


def test_rectified_images_have_the_camera_of_p(tmp_path):
    bag = Recording(tmp_path / "bag")
    send_tf(bag, 0, 0.0, topic="/tf_static")
    bag.send("/cam/color/camera_info", camera_info(0, (0.4, 0, 0, 0, 0)), 0)
    bag.send("/cam/color/image_rect", image(10**9, COLOR_PIXELS, "rgb8"), 10**9)
    bag.send("/cam/depth/image_rect", image(10**9, DEPTH_PIXELS, "32FC1"), 10**9)
    bag.close()
    frame = BagSource(tmp_path / "bag")[0]
    assert frame.camera == Camera(18.0, 19.0, 7.0, 5.0, 16, 12)
    np.testing.assert_array_equal(frame.color, COLOR_PIXELS)


@pytest.mark.parametrize(
    ("depth", "encoding", "words"),
    [
        (np.zeros((12, 16), np.uint8), "mono8", "mono8"),
        (np.zeros((6, 8), np.float32), "32FC1", r"\(12, 16\).*\(6, 8\)"),
    ],
)
def test_unusable_depth_shows_when_the_bag_is_opened(tmp_path, depth, encoding, words):
    bag = Recording(tmp_path / "bag")
    send_tf(bag, 0, 0.0, topic="/tf_static")
    bag.send("/cam/color/camera_info", camera_info(0), 0)
    send_images(bag, 10**9, depth=depth, encoding=encoding)
    bag.close()
    with pytest.raises(ValueError, match=words):
        BagSource(tmp_path / "bag")


def test_depth_of_another_camera_is_refused(tmp_path):
    bag = Recording(tmp_path / "bag")
    send_tf(bag, 0, 0.0, topic="/tf_static")
    bag.send("/cam/color/camera_info", camera_info(0), 0)
    bag.send("/cam/depth/camera_info", camera_info(0, fx=30.0, frame_id="depth_optical"), 0)
    send_images(bag, 10**9)
    bag.close()
    with pytest.raises(ValueError, match="registered"):
        BagSource(tmp_path / "bag")


def test_bag_without_poses_names_topics_and_options(tmp_path):
    bag = Recording(tmp_path / "bag")
    bag.send("/cam/color/camera_info", camera_info(0), 0)
    send_images(bag, 10**9)
    bag.close()
    with pytest.raises(ValueError, match=r"--pose-source.*/cam/color/image_raw"):
        BagSource(tmp_path / "bag")


def test_no_usable_frame_names_the_causes(tmp_path):
    bag = Recording(tmp_path / "bag")
    bag.send("/cam/color/camera_info", camera_info(0), 0)
    send_tf(bag, 0, 0.0, parent="map", child="elsewhere", topic="/tf_static")
    send_images(bag, 10**9)
    bag.close()
    with pytest.raises(ValueError, match=r"1 no_transform; no TF frame 'optical'"):
        BagSource(tmp_path / "bag")


def test_message_cut_off_inside_the_bag(source, tmp_path):
    write_bag(source, tmp_path / "bag")
    file = tmp_path / "bag" / "bag.db3"
    with sqlite3.connect(file) as connection:
        topic = "SELECT id FROM topics WHERE name = '/camera/depth/image_raw'"
        connection.execute(
            f"UPDATE messages SET data = substr(data, 1, 200) WHERE topic_id = ({topic}) "
            f"AND timestamp = {source[2].stamp_ns}"
        )
    read = BagSource(tmp_path / "bag")
    assert read[1].depth.shape == (12, 16)
    with pytest.raises(ValueError, match="/camera/depth/image_raw"):
        read[2]


def test_definition_of_label_info_has_the_fields_of_vision_msgs():
    fields = typestore().fielddefs[bag_types.LABEL_INFO_TYPE][1]
    assert [name for name, _ in fields] == ["header", "class_map", "threshold"]


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason=f"no recordings in {DATA}")
def test_real_recording_survives_the_bag(tmp_path):
    kitchen = open_source(DATA / "redkitchen")
    write_bag(kitchen, tmp_path / "bag", storage="mcap", indices=range(0, 250, 50))
    read = open_source(tmp_path / "bag")
    assert len(read) == 5 and read.label_names == kitchen.label_names
    for i, got in enumerate(read):
        wrote = kitchen[50 * i]
        np.testing.assert_array_equal(got.color, wrote.color)
        np.testing.assert_allclose(got.depth, wrote.depth, atol=1e-6)
        np.testing.assert_array_equal(got.labels, wrote.labels)
        np.testing.assert_allclose(got.T_world_camera, wrote.T_world_camera, atol=1e-6)
    shutil.rmtree(tmp_path / "bag")
