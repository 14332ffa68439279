"""The published layout of objects: written, read again, and refused where it is broken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from semantic_field.data.objects.object_views import CategoryFrame
from semantic_field.data.objects.procedural_objects import (
    CATEGORY_FRAMES,
    ProceduralObjects,
    ViewPlan,
)
from semantic_field.data.objects.srn_layout import SrnFolder, read_intrinsics
from semantic_field.data.objects.srn_writer import write_srn_folder

PARTS = ("seat", "backrest", "leg", "armrest")


@pytest.fixture
def chairs() -> ProceduralObjects:
    return ProceduralObjects("chair", (3, 8), ViewPlan(count=3, size=32))


@pytest.fixture
def folder(chairs: ProceduralObjects, tmp_path: Path) -> Path:
    write_srn_folder(chairs, tmp_path / "chairs")
    return tmp_path / "chairs"


def test_what_was_written_is_read_again(chairs: ProceduralObjects, folder: Path) -> None:
    read = SrnFolder(folder, "chair", PARTS, CATEGORY_FRAMES["chair"])
    assert read.names == chairs.names and read.view_count(1) == 3
    for instance in range(2):
        for index in range(3):
            wanted, view = chairs.view(instance, index), read.view(instance, index)
            assert view.camera == wanted.camera
            assert view.T_object_camera == pytest.approx(wanted.T_object_camera, abs=1e-12)
            assert (view.color == wanted.color).all()
            assert (view.parts == wanted.parts).all() and (view.mask == wanted.mask).all()
            assert view.depth == pytest.approx(wanted.depth, abs=0.51e-4)


def test_the_files_are_as_the_published_readers_expect(folder: Path) -> None:
    """f cx cy 0 with corner coordinates; 0 0 0; scale; height width; 16 numbers a pose."""
    lines = (folder / "chair-00003" / "intrinsics.txt").read_text().splitlines()
    assert [float(word) for word in lines[0].split()] == [131.25 / 4, 16.0, 16.0, 0.0]
    assert lines[1:] == ["0. 0. 0.", "1.", "32 32"]
    numbers = (folder / "chair-00003" / "pose" / "000001.txt").read_text().split()
    assert len(numbers) == 16 and numbers[12:] == ["0.0", "0.0", "0.0", "1.0"]


def test_a_published_folder_has_camera_to_world_poses_of_opencv_axes(tmp_path: Path) -> None:
    """A camera 2 units before the origin that looks along +y: right is +x, down is -z."""
    root = tmp_path / "cars" / "one"
    (root / "rgb").mkdir(parents=True)
    (root / "pose").mkdir()
    cv2.imwrite(str(root / "rgb" / "000000.png"), np.full((128, 128, 4), 255, np.uint8))
    (root / "pose" / "000000.txt").write_text("1 0 0 0\n0 0 1 -2\n0 -1 0 0\n0 0 0 1\n")
    (root / "intrinsics.txt").write_text("131.250000 64.0 64.0 0.\n0. 0. 0.\n1.\n128 128\n")
    view = SrnFolder(tmp_path / "cars", "car", ()).view(0, 0)
    assert view.parts is None and view.depth is None
    assert view.mask is not None and not view.mask.any()
    forward = view.T_object_camera @ np.array([0, 0, 2.0, 1])
    assert forward == pytest.approx([0, 0, 0, 1])
    assert (view.T_object_camera @ np.array([0, 1.0, 2.0, 1]))[:3] == pytest.approx([0, 0, -1])
    # The middle of the image, between pixels 63 and 64.
    assert (view.camera.cx, view.camera.fx) == (63.5, 131.25)


def test_world_to_camera_poses_are_turned_round(folder: Path) -> None:
    wanted = SrnFolder(folder, "chair", PARTS).view(0, 0).T_object_camera
    intrinsics = folder / "chair-00003" / "intrinsics.txt"
    intrinsics.write_text(intrinsics.read_text() + "1\n")
    assert read_intrinsics(intrinsics)[1]
    turned = SrnFolder(folder, "chair", PARTS).view(0, 0).T_object_camera
    assert turned == pytest.approx(np.linalg.inv(wanted), abs=1e-12)


def test_images_are_returned_in_another_size(folder: Path) -> None:
    small = SrnFolder(folder, "chair", PARTS, size=16).view(0, 0)
    large = SrnFolder(folder, "chair", PARTS).view(0, 0)
    assert small.color.shape == (16, 16, 3) and small.camera.fx == large.camera.fx / 2
    assert small.camera.cx == 7.5 and small.parts is not None and small.parts.max() <= 4
    assert small.color[4, 4].astype(int) == pytest.approx(
        large.color[8:10, 8:10].reshape(4, 3).mean(axis=0), abs=0.51
    )


def test_another_world_is_moved_into_the_objects_frame(folder: Path) -> None:
    T = np.eye(4)
    T[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    frame = CategoryFrame(0.5, (0.0, 0.0, 0.1))
    moved = SrnFolder(folder, "chair", PARTS, frame, T)
    assert moved.frame == frame
    plain = SrnFolder(folder, "chair", PARTS).view(0, 1).T_object_camera
    assert moved.view(0, 1).T_object_camera == pytest.approx(T @ plain)


def test_broken_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    one = folder / "chair-00003"

    def view() -> None:
        SrnFolder(folder, "chair", PARTS).view(0, 0)

    with pytest.raises(ValueError, match="no such folder"):
        SrnFolder(tmp_path / "nowhere", "chair", PARTS)
    with pytest.raises(ValueError, match="folders with rgb/ below"):
        SrnFolder(one / "pose", "chair", PARTS)
    with pytest.raises(ValueError, match=r"part ids 0..1 .*give [234] part names"):
        SrnFolder(folder, "chair", ("seat",)).view(0, 0)
    with pytest.raises(ValueError, match="expected a new path to write to"):
        write_srn_folder(ProceduralObjects("chair", (3,), ViewPlan(1, 16)), folder)

    pose = one / "pose" / "000000.txt"
    good = pose.read_text()
    pose.write_text(" ".join(["2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1"]))
    with pytest.raises(ValueError, match="16 numbers of a rigid camera-to-world"):
        view()
    pose.write_text("1 2 3")
    with pytest.raises(ValueError, match="got 3 words"):
        view()
    pose.unlink()
    with pytest.raises(ValueError, match=r"a pose for every image, got none for .*000000\.png"):
        view()
    pose.write_text(good)

    intrinsics = one / "intrinsics.txt"
    text = intrinsics.read_text()
    intrinsics.write_text(text.replace("32 32", "64 64"))
    with pytest.raises(ValueError, match=r"expected 64 x 64 pixels .*got 32 x 32"):
        view()
    intrinsics.write_text("131.25 64\n")
    with pytest.raises(ValueError, match="'f cx cy 0'"):
        view()
    intrinsics.unlink()
    with pytest.raises(ValueError, match="expected the intrinsics"):
        view()
    intrinsics.write_text(text)

    cv2.imwrite(str(one / "seg" / "000000.png"), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="one channel of part ids"):
        view()
    (one / "seg" / "000000.png").unlink()
    cv2.imwrite(str(one / "depth" / "000000.png"), np.zeros((16, 32), np.uint16))
    with pytest.raises(ValueError, match="got 32 x 16"):
        view()
