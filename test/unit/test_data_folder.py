"""Folders of images: what is read, what is refused, and the way there and back."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from semantic_field.data.folder import FolderSource
from semantic_field.data.folder_writer import new_folder, write_folder
from semantic_field.data.sources import open_source, parse_room
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, look_at

DATA = Path(os.environ.get("SEMANTIC_FIELD_DATA", Path(__file__).parents[3] / "shared" / "data"))
CAMERA = Camera(20.0, 21.0, 7.5, 5.5, 16, 12)


class Frames(list):
    """A list of frames as a source."""

    name = "frames"
    label_names = {0: "floor", 3: "red mug"}

    @property
    def stamps(self):
        return [frame.stamp_ns for frame in self]


@pytest.fixture
def source() -> Frames:
    rng = np.random.default_rng(1)
    frames = Frames()
    for i in range(3):
        labels = rng.choice([-1, 0, 3], (12, 16)).astype(np.int32)
        frames.append(
            Frame(
                stamp_ns=5_000_000_000 + 100_000_000 * i * i,
                color=rng.integers(0, 255, (12, 16, 3), np.uint8),
                depth=rng.integers(0, 9000, (12, 16)).astype(np.float32) / 1000,
                camera=CAMERA,
                T_world_camera=look_at((i, 1, 1.5), (0, 0, 0.5)),
                labels=labels,
                instances=labels + 4,
            )
        )
    return frames


@pytest.fixture
def folder(source, tmp_path) -> Path:
    write_folder(source, tmp_path / "recording", color_suffix=".png")
    return tmp_path / "recording"


def test_everything_comes_back(source, folder):
    read = FolderSource(folder)
    assert len(read) == 3 and read.label_names == source.label_names
    assert list(read.stamps) == source.stamps
    for wrote, got in zip(source, read, strict=True):
        np.testing.assert_array_equal(got.color, wrote.color)
        np.testing.assert_allclose(got.depth, wrote.depth, atol=1e-6)
        np.testing.assert_array_equal(got.labels, wrote.labels)
        np.testing.assert_array_equal(got.instances, wrote.instances)
        np.testing.assert_allclose(got.T_world_camera, wrote.T_world_camera, atol=1e-15)
        assert got.camera == CAMERA


def test_void_names_and_unnamed_ids_become_minus_one(folder):
    classes = [{"id": 0, "name": "Unlabelled"}, {"id": 3, "name": "red mug"}]
    (folder / "labels.json").write_text(json.dumps({"classes": classes}))
    ids = np.full((12, 16), 3, np.uint8)
    ids[0], ids[1] = 0, 200
    cv2.imwrite(str(folder / "semantic" / "000000.png"), ids)
    read = FolderSource(folder)
    assert read.label_names == {3: "red mug"}
    labels = read[0].labels
    assert (labels[:2] == -1).all() and (labels[2:] == 3).all()


def test_choice_of_labels(folder):
    other = folder / "labels_net"
    (folder / "semantic").rename(other)
    (folder / "labels.json").rename(folder / "labels_net.json")
    assert FolderSource(folder).label_names == {0: "floor", 3: "red mug"}
    assert FolderSource(folder, labels="none")[0].labels is None
    with pytest.raises(ValueError, match="labels_net"):
        FolderSource(folder, labels="semantic")
    (folder / "labels_net.json").unlink()
    with pytest.raises(ValueError, match=r"labels\.json"):
        FolderSource(folder)


def test_some_frames_may_lack_labels(folder):
    (folder / "semantic" / "000001.png").unlink()
    read = FolderSource(folder)
    assert read[1].labels is None and read[0].labels is not None


def test_rate_counts_only_without_stamps(folder):
    (folder / "stamps.txt").unlink()
    assert list(FolderSource(folder, rate_hz=10).stamps) == [1 * 10**9, 11 * 10**8, 12 * 10**8]


@pytest.mark.parametrize("part", ["poses.txt", "intrinsics.json"])
def test_missing_file_is_named(folder, part):
    (folder / part).unlink()
    with pytest.raises(ValueError, match=part):
        FolderSource(folder)


def test_frames_without_a_part_are_named(folder):
    lines = (folder / "poses.txt").read_text().splitlines()
    (folder / "poses.txt").write_text("\n".join(lines[:-1]))
    with pytest.raises(ValueError, match=r"pose .*000002"):
        FolderSource(folder)
    (folder / "poses.txt").write_text("\n".join(lines))
    (folder / "depth" / "000001.png").unlink()
    with pytest.raises(ValueError, match=r"depth image .*000001"):
        FolderSource(folder)


def test_double_indices(folder):
    text = (folder / "poses.txt").read_text()
    (folder / "poses.txt").write_text(text + text.splitlines()[-1] + "\n")
    with pytest.raises(ValueError, match="000002 twice"):
        FolderSource(folder)
    (folder / "poses.txt").write_text(text)
    (folder / "color" / "0.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"one image per frame"):
        FolderSource(folder)


def test_pose_that_is_no_rotation(folder):
    text = (folder / "poses.txt").read_text().splitlines()
    text[1] = "000000 " + " ".join(["2 0 0 0", "0 2 0 0", "0 0 2 0", "0 0 0 1"])
    (folder / "poses.txt").write_text("\n".join(text))
    with pytest.raises(ValueError, match="frame 000000"):
        FolderSource(folder)


def test_damaged_and_wrong_images(folder):
    (folder / "color" / "000000.png").write_bytes(b"")
    cv2.imwrite(str(folder / "depth" / "000001.png"), np.zeros((6, 8), np.uint16))
    cv2.imwrite(str(folder / "depth" / "000002.png"), np.zeros((12, 16), np.uint8))
    read = FolderSource(folder)
    with pytest.raises(ValueError, match=r"color/000000\.png"):
        read[0]
    with pytest.raises(ValueError, match=r"\(12, 16\).*\(6, 8\)"):
        read[1]
    with pytest.raises(ValueError, match="uint16"):
        read[2]


def test_nothing_is_overwritten_or_left_behind(source, folder, tmp_path):
    with pytest.raises(ValueError, match="exists"):
        write_folder(source, folder)

    def fail():
        with new_folder(tmp_path / "other") as hidden:
            (hidden / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["recording"]


def test_remains_of_a_killed_writer_are_replaced(tmp_path):
    (tmp_path / ".new.partial" / "new").mkdir(parents=True)
    (tmp_path / ".new.partial" / "new" / "old").write_text("x")
    with new_folder(tmp_path / "new") as hidden:
        (hidden / "a").write_text("x")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a"]


def test_places_that_are_no_recording(tmp_path):
    with pytest.raises(ValueError, match="nothing is at"):
        open_source(tmp_path / "absent")
    (tmp_path / "x.bag").write_bytes(b"#ROSBAG V2.0")
    with pytest.raises(ValueError, match="rosbags-convert"):
        open_source(tmp_path / "x.bag")


def test_unknown_options_are_named(folder):
    with pytest.raises(ValueError, match="slop_s"):
        open_source(folder, slop_s=1.0)


def test_room_options():
    assert parse_room("room:seed=3,frames=60,noise=1,width=320,height=240") == {
        "seed": 3,
        "n_frames": 60,
        "noise": True,
        "size": (320, 240),
    }
    with pytest.raises(ValueError, match="sofa=2"):
        parse_room("room:sofa=2")


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason=f"no recordings in {DATA}")
def test_real_recordings():
    kitchen = open_source(DATA / "redkitchen")
    frame = kitchen[120]
    assert len(kitchen) == 250 and kitchen.label_names[9] == "chair"
    assert 0.5 < (frame.depth > 0).mean() < 0.95 and 0.3 < frame.depth.max() < 8.0
    house = open_source(DATA / "house" / "living")
    assert "void" not in house.label_names.values()
    frame = house[0]
    assert frame.labels.max() > 0 and frame.instances.max() > 0
    # Floor pixels lie on the floor: labels, depth, camera and pose fit together.
    floor = next(i for i, name in house.label_names.items() if name == "floor")
    points = frame.camera.backproject(frame.depth)[frame.labels == floor]
    heights = points @ frame.T_world_camera[2, :3] + frame.T_world_camera[2, 3]
    assert np.abs(np.median(heights)) < 0.02


def test_a_folder_without_depth_only_where_that_is_asked_for(tmp_path: Path) -> None:
    write_folder(open_source("room:seed=2,frames=2,width=32,height=24"), tmp_path / "room")
    with_depth = FolderSource(tmp_path / "room")[1]
    shutil.rmtree(tmp_path / "room" / "depth")
    with pytest.raises(ValueError, match="expected depth in"):
        FolderSource(tmp_path / "room")
    source = FolderSource(tmp_path / "room", need_depth=False)
    assert not source.has_depth and not source[1].depth.any()
    np.testing.assert_array_equal(source[1].labels, with_depth.labels)
