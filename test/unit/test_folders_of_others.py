"""Folders as other people lay them out: cameras, units and kinds of files that nobody announced."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from semantic_field.data.camera_files import find_camera, parse_camera
from semantic_field.data.folder_writer import write_folder
from semantic_field.data.sources import open_source
from semantic_field.geometry import Camera, quaternion_from_matrix

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:12ab\nsize 123456\n"
SIZE = (224, 160)  # of another aspect than the usual cameras'


class Frames(list):
    name = "frames"
    label_names = {}


@pytest.fixture(scope="module")
def frames() -> Frames:
    room = open_source(f"room:seed=1,frames=12,width={SIZE[0]},height={SIZE[1]}")
    return Frames(replace(room[i], labels=None, instances=None) for i in range(12))


@pytest.fixture
def folder(frames, tmp_path):
    write_folder(frames, tmp_path / "folder", ".png")
    return tmp_path / "folder"


def edit(folder, **values):
    file = folder / "intrinsics.json"
    content = json.loads(file.read_text()) | values
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def same_depth(source, frames, tolerance=0.001):
    np.testing.assert_allclose(source[3].depth, frames[3].depth, atol=tolerance)


# --- the unit of depth ------------------------------------------------------------------------


@pytest.mark.parametrize("stated", [0.001, 1000, 1.0, None])
def test_units_that_are_stated_otherwise_are_known_by_the_values(folder, frames, stated):
    edit(folder, depth_scale=stated)
    same_depth(open_source(folder), frames)


def test_a_unit_that_the_images_deny_is_refused_and_can_be_given(folder, frames):
    edit(folder, depth_scale=0.0002)
    with pytest.raises(ValueError, match=r"depth times 5 .*--depth-scale"):
        open_source(folder)
    same_depth(open_source(folder, depth_scale=0.001), frames)


@pytest.mark.parametrize("suffix", [".pgm", ".tiff", ".npy"])
@pytest.mark.parametrize("unit", [0.001, 1.0])
def test_kinds_of_depth_files(folder, frames, suffix, unit):
    if (suffix, unit) == (".pgm", 1.0):
        pytest.skip("a .pgm holds no floats")
    for file in (folder / "depth").glob("*.png"):
        pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        depth = pixels if unit < 1 else pixels.astype(np.float32) / 1000
        path = file.with_suffix(suffix)
        np.save(path, depth) if suffix == ".npy" else cv2.imwrite(str(path), depth)
        file.unlink()
    same_depth(open_source(folder), frames)


def test_files_that_are_no_images_are_named(folder):
    source = open_source(folder)
    (folder / "depth" / "000003.png").write_text(POINTER)
    with pytest.raises(ValueError, match=r"000003\.png.*git-lfs.*git lfs pull"):
        source[3]
    exr = folder / "depth" / "000004.png"
    exr.write_bytes(b"\x76\x2f\x31\x01" + bytes(50))
    with pytest.raises(ValueError, match=r"000004\.png.*OpenEXR.*\.tiff or \.npy"):
        source[4]


# --- the camera -------------------------------------------------------------------------------

MATRIX = "525.5 0 321.5\n0 526.5 239.5\n0 0 1\n"
INFO = "m_depthWidth = 640\nm_depthHeight = 480\nm_calibrationDepthIntrinsic = "
INFO += "525.5 0 321.5 0 0 526.5 239.5 0 0 0 1 0 0 0 0 1"
ROS_YAML = "image_width: 640\nimage_height: 480\ncamera_matrix:\n  rows: 3\n  cols: 3\n  data: "
ROS_YAML += "[525.5, 0, 321.5, 0, 526.5, 239.5, 0, 0, 1]\n"
OPENCV_YAML = "%YAML:1.0\n---\ncamera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
OPENCV_YAML += "   data: [ 525.5, 0., 321.5, 0., 526.5, 239.5, 0., 0., 1. ]\n"
OPEN3D = {"width": 640, "height": 480}
OPEN3D["intrinsic_matrix"] = [525.5, 0, 0, 0, 526.5, 0, 321.5, 239.5, 1]
VALUES = {"fx": 525.5, "fy": 526.5, "cx": 321.5, "cy": 239.5}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("calibration.txt", "525.5 526.5 321.5 239.5\n"),
        ("calibration.txt", "525.5 526.5 321.5 239.5 0 0 0 0 0\n"),
        ("camera-intrinsics.txt", MATRIX),
        ("camera.txt", "fx: 525.5\nfy: 526.5\ncx: 321.5\ncy: 239.5\n"),
        ("_info.txt", INFO),
        ("camera_info.yaml", ROS_YAML),
        ("calibration.yaml", OPENCV_YAML),
        ("intrinsics.json", json.dumps(VALUES)),
        ("camera.json", json.dumps(OPEN3D)),
        ("cam_params.json", json.dumps({"camera": VALUES | {"w": 640, "h": 480}})),
    ],
)
def test_files_that_describe_a_camera(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert find_camera((640, 480), tmp_path) == Camera(525.5, 526.5, 321.5, 239.5, 640, 480)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("calibration.txt", "525.5 526.5 321.5 239.5 0.1 0 0 0 0\n"),
        ("camera.yaml", ROS_YAML + "distortion_coefficients:\n  data: [0.1, 0, 0, 0, 0]\n"),
    ],
)
def test_distortion_is_never_passed_over(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"distortion coefficients \[0\.1.*undistort"):
        find_camera((640, 480), tmp_path)


def test_a_camera_of_other_images_is_refused(tmp_path):
    (tmp_path / "calibration.txt").write_text("1050 1050 640 480\n")
    with pytest.raises(ValueError, match=r"640x480.*calibration\.txt.*cx = 640.*--camera"):
        find_camera((640, 480), tmp_path)
    with pytest.raises(ValueError, match=r"640x480.*--camera, got one of 640x400"):
        parse_camera("500,500,320,200,640,400", (640, 480))
    half = parse_camera("500,500,319.5,239.5,640,480", (320, 240))
    assert half == Camera(250, 250, 159.5, 119.5, 320, 240)
    with pytest.raises(ValueError, match=r"FX,FY,CX,CY,W,H"):
        parse_camera("500", (640, 480))


def tum_like(frames, path, scale=5000):
    """rgb.txt, depth.txt and groundtruth.txt, as ETH3D's and others' recordings have them."""
    lists = {"rgb": [], "depth": []}
    truth = []
    for i, frame in enumerate(frames):
        units = np.rint(frame.depth * scale).astype(np.uint16)
        bgr = cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR)
        for name, image in (("rgb", bgr), ("depth", units)):
            (path / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path / name / f"{i}.png"), image)
            lists[name].append(f"{10 + i:.3f} {name}/{i}.png")
        pose = frame.T_world_camera
        numbers = [*pose[:3, 3], *quaternion_from_matrix(pose[:3, :3])]
        truth.append(f"{10 + i:.3f} " + " ".join(f"{n:.7f}" for n in numbers))
    for name, lines in (*lists.items(), ("groundtruth", truth)):
        (path / f"{name}.txt").write_text("\n".join(lines))
    return path


def calibration(camera: Camera, factor: float = 1.0) -> str:
    return f"{camera.fx * factor} {camera.fy * factor} {camera.cx} {camera.cy}\n"


def test_a_tum_like_folder_takes_the_calibration_beside_it(frames, tmp_path):
    path, camera = tum_like(frames, tmp_path / "cables"), frames[0].camera
    with pytest.raises(ValueError, match=r"images of 224x160.*--camera"):
        open_source(path)
    (path / "calibration.txt").write_text(calibration(camera))
    read = open_source(path)
    assert read.camera == camera
    same_depth(read, frames)
    (path / "calibration.txt").write_text(calibration(camera, 1.14))
    with pytest.raises(ValueError, match=r"got one that its images deny.*focal length of about"):
        open_source(path)
    values = ",".join(map(repr, (camera.fx, camera.fy, camera.cx, camera.cy)))
    assert open_source(path, camera=values).camera == camera


def seven_like(frames, path, suffix=".png"):
    path.mkdir()
    for i, frame in enumerate(frames):
        stem = path / f"frame-{i:06d}"
        cv2.imwrite(f"{stem}.color.png", cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR))
        cv2.imwrite(f"{stem}.depth{suffix}", np.rint(frame.depth * 1000).astype(np.uint16))
        np.savetxt(f"{stem}.pose.txt", frame.T_world_camera)
    return path


def test_names_as_in_7_scenes_with_another_camera(frames, tmp_path):
    path, camera = seven_like(frames, tmp_path / "office", ".pgm"), frames[0].camera
    with pytest.raises(ValueError, match=r"images of 224x160.*--camera"):
        open_source(path)
    k = camera.matrix
    (path / "camera-intrinsics.txt").write_text("\n".join(" ".join(map(str, row)) for row in k))
    read = open_source(path)
    assert read[3].camera == camera  # and no offset of two cameras, which 7-Scenes has
    np.testing.assert_allclose(read[3].T_world_camera, frames[3].T_world_camera, atol=1e-6)
    same_depth(read, frames)


def test_names_as_in_7_scenes_whose_usual_camera_the_images_deny(tmp_path):
    room = open_source("room:seed=1,frames=12,width=160,height=120")  # 4:3, as 7-Scenes
    frames = [room[i] for i in range(12)]
    path = seven_like(frames, tmp_path / "office")
    with pytest.raises(ValueError, match=r"got one that its images deny.*--camera"):
        open_source(path)
    camera = frames[0].camera
    values = ",".join(map(repr, (camera.fx, camera.fy, camera.cx, camera.cy, 160, 120)))
    assert open_source(path, camera=values)[3].camera == camera


def test_a_folder_with_a_wrong_focal_length_is_refused(folder, frames, caplog):
    focal = frames[0].camera.fx
    edit(folder, fx=focal * 1.14, fy=frames[0].camera.fy * 1.14)
    with pytest.raises(ValueError, match=rf"about {focal * 1.14 * 0.88:.0f} than with"):
        open_source(folder)
    wrong = replace(frames[0].camera, fx=focal * 1.14, fy=frames[0].camera.fy * 1.14)
    open_source(folder, camera=wrong)  # who gives it himself is only warned
    assert "its images deny" in caplog.text


def test_a_folder_without_a_camera_names_the_option(folder, frames):
    (folder / "intrinsics.json").unlink()
    with pytest.raises(ValueError, match=r"intrinsics\.json.*--camera FX,FY,CX,CY,W,H"):
        open_source(folder)
    assert open_source(folder, camera=frames[0].camera).camera == frames[0].camera
