"""Bags as other people's drivers and recorders write them: made of the simulated room's bag, with
each message changed, and read with the room's own frames as the truth."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from semantic_field.cli import main
from semantic_field.config import SourceConfig
from semantic_field.data.bag_launch import launch_arguments
from semantic_field.data.bag_types import CAMERA_INFO, IMAGE, TF, typestore
from semantic_field.data.bag_writer import write_bag
from semantic_field.data.registration import move_depth
from semantic_field.data.sources import open_source
from semantic_field.geometry import Camera, make_transform

IMAGES = ("/camera/color/image_raw", "/camera/depth/image_raw")
LABELS = "/camera/labels/image"
COUNT = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("room") / "bag"
    room = open_source("room:seed=1,frames=12,width=160,height=120,rate_hz=10")
    write_bag(room, path, storage="mcap")
    return path


@pytest.fixture(scope="module")
def truth(base) -> list:
    source = open_source(base)
    return [source[i] for i in range(len(source))]


@pytest.fixture
def rewritten(base, tmp_path):
    """``rewritten(change)``: the bag with each message replaced by what ``change(topic, kind,
    message)`` yields as (topic, kind, message)."""

    def make(change, name: str = "bag") -> Path:
        ends = {}
        path = tmp_path / name
        with (
            Reader(base) as reader,
            Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer,
        ):
            for connection, at, raw in reader.messages():
                message = typestore().deserialize_cdr(raw, connection.msgtype)
                for topic, kind, new in change(connection.topic, connection.msgtype, message):
                    if topic not in ends:
                        ends[topic] = writer.add_connection(topic, kind, typestore=typestore())
                    writer.write(ends[topic], at, typestore().serialize_cdr(new, kind))
        return path

    return make


def again(message, **fields):
    return dataclasses.replace(message, **fields)


def new(kind, **fields):
    return typestore().types[kind](**fields)


def stamped(message, nanoseconds: int):
    sec, nanosec = divmod(nanoseconds, 10**9)
    stamp = new("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return again(message, header=again(message.header, stamp=stamp))


def nearest(frames, image, part: str) -> int:
    return int(np.argmin([np.abs(getattr(f, part).astype(float) - image).mean() for f in frames]))


# --- stamps -----------------------------------------------------------------------------------


def test_images_that_share_a_stamp_are_paired_in_order(rewritten, truth):
    """A driver that gives every second image the stamp of the one before."""
    last = {}

    def change(topic, kind, message):
        if topic in IMAGES:
            count, stamp = last.get(topic, (0, None))
            stamp = stamp if count % 2 else message.header.stamp
            last[topic] = count + 1, stamp
            message = again(message, header=again(message.header, stamp=stamp))
        yield topic, kind, message

    read = open_source(rewritten(change), labels="none")
    assert len(read) == 6 and read.skipped == {"duplicate_stamp": 6}
    for i, frame in enumerate(read[k] for k in range(6)):
        assert nearest(truth, frame.color, "color") == nearest(truth, frame.depth, "depth") == 2 * i
        np.testing.assert_allclose(frame.T_world_camera, truth[2 * i].T_world_camera, atol=1e-9)


def test_one_lost_image_of_a_repeated_stamp_leaves_the_right_pair(rewritten, truth):
    """Two images with the stamp of image 4, and the depth of the first was lost."""
    seen = {topic: 0 for topic in IMAGES}

    def change(topic, kind, message):
        if topic in IMAGES:
            seen[topic] += 1
            if seen[topic] == 5 and topic == IMAGES[1]:
                return
            if seen[topic] == 6:
                message = stamped(message, truth[4].stamp_ns)
        yield topic, kind, message

    read = open_source(rewritten(change), labels="none")
    index = list(read.stamps).index(truth[4].stamp_ns)
    assert nearest(truth, read[index].color, "color") == 5
    assert nearest(truth, read[index].depth, "depth") == 5


@pytest.mark.parametrize(
    ("stamp", "cause"),
    [(0, "zero_stamp"), (-5 * 10**9, "negative_stamp"), (7 * 10**9, "constant_stamp")],
)
@pytest.mark.parametrize("topics", [IMAGES, IMAGES[:1], IMAGES[1:]])
def test_stamps_that_are_no_times_are_named(rewritten, stamp, cause, topics):
    def change(topic, kind, message):
        yield topic, kind, stamped(message, stamp) if topic in topics else message

    with pytest.raises(ValueError, match=rf"12 {cause}.*{cause}: .*let the driver set header"):
        open_source(rewritten(change), labels="none")


def test_a_few_stamps_of_zero_cost_only_their_images(rewritten):
    seen = [0]

    def change(topic, kind, message):
        seen[0] += topic == IMAGES[0]
        zero = topic in IMAGES and seen[0] in (3, 4)
        yield topic, kind, stamped(message, 0) if zero else message

    read = open_source(rewritten(change))
    assert len(read) == 10 and read.skipped == {"zero_stamp": 2}


# --- depth ------------------------------------------------------------------------------------


def in_units(factor: float):
    def change(topic, kind, message):
        if topic == IMAGES[1]:
            units = message.data.view(np.uint16).astype(np.float32) * np.float32(factor)
            data = units.view(np.uint8)
            message = again(message, encoding="32FC1", step=message.width * 4, data=data)
        yield topic, kind, message

    return change


def test_floats_in_millimetres_are_known_by_their_values(rewritten, truth, caplog):
    read = open_source(rewritten(in_units(1.0)))
    np.testing.assert_allclose(read[3].depth, truth[3].depth, atol=1e-5)
    assert "taken as 0.001 m a unit" in caplog.text and "--depth-scale" in caplog.text


def test_floats_in_metres_stay(rewritten, truth, caplog):
    read = open_source(rewritten(in_units(0.001)))
    np.testing.assert_allclose(read[3].depth, truth[3].depth, atol=1e-5)
    assert caplog.records == []


def test_another_unit_is_denied_by_the_images_and_can_be_given(rewritten, truth):
    """A tenth of a millimetre a unit: 43 m seem possible, but frames do not fit each other."""
    bag = rewritten(in_units(0.005))
    with pytest.raises(ValueError, match=r"depth times 0\.2 .*--depth-scale"):
        open_source(bag)
    read = open_source(bag, depth_scale=0.2)
    np.testing.assert_allclose(read[3].depth, truth[3].depth, atol=1e-5)


def test_depth_that_is_no_room_in_any_unit_is_refused(rewritten):
    with pytest.raises(ValueError, match=r"the depth of a room in /camera/depth.*--depth-scale"):
        open_source(rewritten(in_units(1e4)))


BASELINE = 0.059
T_COLOR_DEPTH = make_transform(np.eye(3), [BASELINE, 0, 0])


def beside(camera: Camera, frame_id: str, moved: bool = True, with_tf: bool = True):
    """The depth of a camera 59 mm to the right of colour, with the same intrinsics."""

    def change(topic, kind, message):
        if topic == IMAGES[1]:
            depth = message.data.view(np.uint16).reshape(message.height, message.width) / 1000
            if moved:
                seen = np.asarray(depth, np.float32)
                depth = move_depth(seen, camera, camera, np.linalg.inv(T_COLOR_DEPTH))
            data = np.rint(depth * 1000).astype(np.uint16).reshape(-1).view(np.uint8)
            message = again(message, data=data, header=again(message.header, frame_id=frame_id))
        if topic == "/camera/depth/camera_info":
            message = again(message, header=again(message.header, frame_id=frame_id))
        if topic == "/tf_static" and with_tf:
            first = message.transforms[0]
            fixed = again(
                first,
                header=again(first.header, frame_id="camera_color_optical_frame"),
                child_frame_id=frame_id,
                transform=new(
                    "geometry_msgs/msg/Transform",
                    translation=new("geometry_msgs/msg/Vector3", x=BASELINE, y=0.0, z=0.0),
                    rotation=new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
                ),
            )
            message = again(message, transforms=[*message.transforms, fixed])
        yield topic, kind, message

    return change


@pytest.fixture
def camera(truth) -> Camera:
    return truth[0].camera


def test_depth_of_a_camera_beside_colour_is_recognised_by_frames_and_tf(rewritten, camera):
    bag = rewritten(beside(camera, "stereo_optical_frame"))
    with pytest.raises(ValueError, match=r"'stereo_optical_frame', 59 mm from .*--register"):
        open_source(bag)


def test_depth_of_a_camera_beside_colour_is_recognised_by_its_outlines(rewritten, camera):
    """All headers say that depth is colour's: only the images tell."""
    bag = rewritten(beside(camera, "camera_color_optical_frame", with_tf=False))
    with pytest.raises(ValueError, match=r"as if seen 60 mm right of the colour camera"):
        open_source(bag)
    assert len(open_source(bag, register=False)) == COUNT


def test_depth_is_registered_where_that_is_asked_for(rewritten, camera, truth):
    read = open_source(rewritten(beside(camera, "stereo_optical_frame")), register=True)
    both = (read[3].depth > 0) & (truth[3].depth > 0)
    off = np.abs(read[3].depth - truth[3].depth)[both]
    assert both.mean() > 0.7 and np.mean(off > 0.05) < 0.03
    as_it_is = open_source(
        rewritten(beside(camera, "stereo_optical_frame"), "other"), register=False
    )
    off = np.abs(as_it_is[3].depth - truth[3].depth)[both]
    assert np.mean(off > 0.05) > 0.08


def test_aligned_depth_that_names_the_depth_camera_is_taken(rewritten, camera, truth, caplog):
    read = open_source(rewritten(beside(camera, "stereo_optical_frame", moved=False)))
    np.testing.assert_array_equal(read[3].depth, truth[3].depth)
    assert "its outlines lie on colour" in caplog.text


# --- CameraInfo -------------------------------------------------------------------------------


def with_info(edit):
    def change(topic, kind, message):
        yield topic, kind, edit(message) if kind == CAMERA_INFO else message

    return change


def binned(info):
    k = info.k * 2
    k[8] = 1
    double = {"width": 2 * info.width, "height": 2 * info.height}
    return again(info, k=k, binning_x=2, binning_y=2, **double)


def cropped(info):
    k = info.k.copy()
    k[2] += 40
    k[5] += 30
    roi = again(info.roi, x_offset=40, y_offset=30, width=info.width, height=info.height)
    return again(info, k=k, width=info.width + 100, height=info.height + 60, roi=roi)


@pytest.mark.parametrize("edit", [binned, cropped, lambda info: cropped(again(info, p=info.p * 0))])
def test_binning_and_region_of_interest_are_applied(rewritten, truth, edit):
    assert open_source(rewritten(with_info(edit)))[3].camera == truth[3].camera


@pytest.mark.parametrize("model", ["none", "unknown", "pinhole", "", "plumb_bob"])
def test_distortion_without_coefficients_is_none(rewritten, truth, model):
    for name, d in (("zero", np.zeros(5)), ("empty", np.zeros(0))):
        bag = rewritten(with_info(lambda i, d=d: again(i, distortion_model=model, d=d)), name)
        np.testing.assert_array_equal(open_source(bag)[3].color, truth[3].color)


def test_a_rectified_topic_without_p_uses_k(rewritten, truth):
    def change(topic, kind, message):
        if kind == CAMERA_INFO:
            message = again(message, p=np.zeros(12), d=np.array([0.3, 0, 0, 0, 0]))
        yield topic.replace("image_raw", "image_rect"), kind, message

    frame = open_source(rewritten(change))[3]
    assert frame.camera == truth[3].camera
    np.testing.assert_array_equal(frame.color, truth[3].color)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"k": np.zeros(9)}, r"K = \[0\.0, 0\.0.*--camera"),
        ({"width": 0}, r"width = 0, height = 120.*--camera"),
        ({"d": np.array([np.nan] * 5)}, r"D = \[nan"),
        (
            {"d": np.array([0.1] * 5), "distortion_model": "none"},
            r"distortion_model .*got 'none' with D = \[0\.1",
        ),
        ({"d": np.array([0.1] * 3)}, r"in D for 'plumb_bob', got D = \[0\.1"),
    ],
)
def test_each_refusal_names_the_field_and_its_value(rewritten, fields, words):
    with pytest.raises(ValueError, match=r"/camera/color/camera_info: .*" + words):
        open_source(rewritten(with_info(lambda info: again(info, **fields))))


def test_a_wrong_calibration_is_denied_by_the_images(rewritten, truth):
    def edit(info):
        k = info.k.copy()
        k[[0, 4]] *= 1.14
        return again(info, k=k)

    bag = rewritten(with_info(edit))
    focal = truth[0].camera.fx
    with pytest.raises(ValueError, match=rf"focal length of about {focal * 1.14 * 0.88:.0f} "):
        open_source(bag)
    camera = truth[0].camera
    values = (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)
    read = open_source(bag, camera=",".join(map(repr, values)))
    assert read[3].camera == camera


# --- labels -----------------------------------------------------------------------------------


def with_labels(pixels_of):
    def change(topic, kind, message):
        if topic == LABELS:
            pixels = np.ascontiguousarray(pixels_of(message.data.reshape(message.height, -1)))
            height, width = pixels.shape
            size = {"height": height, "width": width, "step": width}
            message = again(message, data=pixels.ravel(), **size)
        yield topic, kind, message

    return change


def test_small_labels_are_enlarged_by_the_nearest_pixel(rewritten, truth):
    read = open_source(rewritten(with_labels(lambda pixels: pixels[1::2, 1::2])))
    assert len(read) == COUNT and read.skipped == {}
    same = read[3].labels == truth[3].labels
    assert same[1::2, 1::2].mean() > 0.99 and same.mean() > 0.9


def test_labels_of_another_shape_are_left_out_alone(rewritten, truth, caplog):
    read = open_source(rewritten(with_labels(lambda pixels: pixels[:, 20:100])))
    assert len(read) == COUNT and read.skipped == {"labels_of_another_shape": COUNT}
    assert read[3].labels is None and "labels are left out" in caplog.text
    np.testing.assert_array_equal(read[3].depth, truth[3].depth)


# --- topics -----------------------------------------------------------------------------------


def renamed(*pairs: tuple[str, str]):
    """Topics with a beginning replaced: (from, to); one may go to several."""

    def change(topic, kind, message):
        if topic.startswith("/tf"):
            yield topic, kind, message
        for old, name in pairs:
            if topic.startswith(old + "/"):
                yield name + topic[len(old) :], kind, message

    return change


def test_an_oak_is_found_unasked(rewritten, truth):
    bag = rewritten(renamed(("/camera/color", "/oak/rgb"), ("/camera/depth", "/oak/stereo")))
    read = open_source(bag)
    assert (read.topics.color, read.topics.depth) == ("/oak/rgb/image_raw", "/oak/stereo/image_raw")
    np.testing.assert_array_equal(read[3].depth, truth[3].depth)


def test_commands_and_launch_take_the_options_of_readers(rewritten, tmp_path, caplog, capsys):
    both = [("/camera/color", f"/{side}/color") for side in ("left", "rear")]
    both += [("/camera/depth", f"/{side}/depth") for side in ("left", "rear")]
    bag = rewritten(renamed(*both))
    options = ["--color-topic", "/rear/color/image_raw", "--slop", "0.01", "--lossless"]
    assert main(["convert", str(bag), str(tmp_path / "out"), "--to", "folder", *options]) == 0
    assert caplog.records == []  # a choice leaves nothing to say
    chosen = launch_arguments(bag, SourceConfig(color_topic="/rear/color/image_raw"))
    assert chosen["depth"] == "/rear/depth/image_raw"
    with caplog.at_level(logging.WARNING):
        assert launch_arguments(bag)["color"] == "/left/color/image_raw"
    assert "/rear/color/image_raw" in caplog.text
    assert main(["convert", str(bag), str(tmp_path / "no"), "--depth-topic", "/typo"]) == 1
    assert "--depth-topic" in capsys.readouterr().err


def test_a_bag_without_camera_info_takes_a_given_camera(rewritten, truth):
    def change(topic, kind, message):
        if kind != CAMERA_INFO:
            yield topic, kind, message

    bag = rewritten(change)
    with pytest.raises(ValueError, match=r"--color-info-topic.*--camera"):
        open_source(bag)
    camera = truth[0].camera
    values = [camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height]
    read = open_source(bag, camera=",".join(map(repr, values)))
    assert read[3].camera == camera


# --- there and back ---------------------------------------------------------------------------


def test_bag_to_folder_to_bag_gives_the_same(base, truth, tmp_path):
    folder, bag = tmp_path / "folder", tmp_path / "bag"
    assert main(["convert", str(base), str(folder), "--to", "folder", "--lossless"]) == 0
    assert main(["convert", str(folder), str(bag)]) == 0
    names = open_source(base).label_names
    for location in (folder, bag):
        read = open_source(location)
        assert list(read.stamps) == [frame.stamp_ns for frame in truth]
        assert read.label_names == names and not read.skipped
        for i, wrote in enumerate(truth):
            got = read[i]
            np.testing.assert_array_equal(got.color, wrote.color)
            np.testing.assert_allclose(got.depth, wrote.depth, atol=1e-6)
            np.testing.assert_array_equal(got.labels, wrote.labels)
            np.testing.assert_allclose(got.T_world_camera, wrote.T_world_camera, atol=1e-9)
            assert got.camera == wrote.camera
    camera = json.loads((folder / "intrinsics.json").read_text())
    assert (camera["width"], camera["height"]) == (160, 120)


def test_frame_names_with_a_slash_are_those_without(rewritten, truth):
    def slashed(header):
        return again(header, frame_id="/" + header.frame_id)

    def change(topic, kind, message):
        if kind == TF and topic == "/tf_static":
            items = [
                again(t, header=slashed(t.header), child_frame_id="/" + t.child_frame_id)
                for t in message.transforms
            ]
            message = again(message, transforms=items)
        elif kind in (IMAGE, CAMERA_INFO) and "depth" in topic:
            message = again(message, header=slashed(message.header))
        yield topic, kind, message

    read = open_source(rewritten(change))
    np.testing.assert_allclose(read[3].T_world_camera, truth[3].T_world_camera, atol=1e-9)
