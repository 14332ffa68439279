"""Published layouts: small folders written here as the data sets have them, and broken ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from semantic_field.data.layouts import detect, open_layout
from semantic_field.data.layouts.seven_scenes import T_COLOR_DEPTH, move_depth
from semantic_field.data.layouts.tum import associate
from semantic_field.data.sources import open_source
from semantic_field.geometry import Camera, look_at, make_transform, quaternion_from_matrix

W, H = 64, 48
POSES = [look_at((i, 0, 1), (i, 3, 1)) for i in range(4)]
COLOR = np.zeros((H, W, 3), np.uint8)
COLOR[..., 0] = 200  # blue in OpenCV's order: RGB (0, 0, 200)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def matrix_rows(poses) -> str:
    return "\n".join(" ".join(f"{value:.8f}" for value in pose.ravel()) for pose in poses)


def semantic_nerf(root: Path) -> Path:
    path = root / "room_0" / "Sequence_1"
    labels = np.full((H, W), 20, np.uint8)
    labels[:, :10], labels[:, 10:20] = 0, 77
    for i in range(4):
        write(path / "rgb" / f"rgb_{i}.png", COLOR)
        write(path / "depth" / f"depth_{i}.png", np.full((H, W), 2000 + i, np.uint16))
        write(path / "semantic_class" / f"semantic_class_{i}.png", labels)
        write(path / "semantic_instance" / f"semantic_instance_{i}.png", labels)
    (path / "traj_w_c.txt").write_text(matrix_rows(POSES))
    info = root / "room_0" / "habitat" / "info_semantic.json"
    info.parent.mkdir()
    info.write_text(json.dumps({"classes": [{"id": 20, "name": "chair"}]}))
    return path


def nice_slam(root: Path) -> Path:
    path = root / "office0"
    for i in range(4):
        write(path / "results" / f"frame{i:06d}.jpg", COLOR)
        write(path / "results" / f"depth{i:06d}.png", np.full((H, W), 13107, np.uint16))
    (path / "traj.txt").write_text(matrix_rows(POSES))
    camera = {"w": W, "h": H, "fx": 60.0, "fy": 61.0, "cx": 31.5, "cy": 23.5, "scale": 6553.5}
    (root / "cam_params.json").write_text(json.dumps({"camera": camera}))
    return path


def scannet(root: Path) -> Path:
    path = root / "scans" / "scene0004_00"
    labels = np.zeros((2 * H, 2 * W), np.uint16)
    labels[:, :W], labels[0, W:] = 1176, 9999
    for i in (0, 10, 20, 30):
        write(path / "color" / f"{i}.jpg", cv2.resize(COLOR, (2 * W, 2 * H)))
        write(path / "depth" / f"{i}.png", np.full((H, W), 1500, np.uint16))
        write(path / "label-filt" / f"{i}.png", labels)
        pose = POSES[i // 10] if i != 20 else np.full((4, 4), -np.inf)
        (path / "pose").mkdir(exist_ok=True)
        np.savetxt(path / "pose" / f"{i}.txt", pose)
    (path / "intrinsic").mkdir()
    matrix = np.eye(4)
    matrix[0, 0] = matrix[1, 1] = 57.0
    matrix[0, 2], matrix[1, 2] = 31.0, 23.0
    np.savetxt(path / "intrinsic" / "intrinsic_depth.txt", matrix)
    (root / "scannetv2-labels.combined.tsv").write_text(
        "id\traw_category\tcategory\tnyu40id\tnyu40class\n1176\toffice chair\tchair\t5\tchair\n"
    )
    return path


def tum(root: Path) -> Path:
    path = root / "rgbd_dataset_freiburg3_desk"
    colors, depths, truth = ["# color images"], [], ["# timestamp tx ty tz qx qy qz qw"]
    for i in range(4):
        write(path / "rgb" / f"{i}.png", COLOR)
        write(path / "depth" / f"{i}.png", np.full((H, W), 5000, np.uint16))
        colors.append(f"{100 + i:.4f} rgb/{i}.png")
        depths.append(f"{100.015 + i:.4f} depth/{i}.png")
    depths[3] = "103.5000 depth/3.png"  # no colour near it
    for i in range(60):
        pose = make_transform(POSES[0][:3, :3], [0.05 * i, 0, 1])
        numbers = [*pose[:3, 3], *quaternion_from_matrix(pose[:3, :3])]
        truth.append(f"{99.975 + 0.05 * i:.4f} " + " ".join(f"{n:.6f}" for n in numbers))
    (path / "rgb.txt").write_text("\n".join(colors))
    (path / "depth.txt").write_text("\n".join(depths))
    (path / "groundtruth.txt").write_text("\n".join(truth))
    return path


def seven_scenes(root: Path) -> Path:
    path = root / "redkitchen" / "seq-01"
    depth = np.full((480, 640), 2000, np.uint16)
    depth[:, :40] = 65535
    for i in range(3):
        write(path / f"frame-{i:06d}.color.png", np.zeros((480, 640, 3), np.uint8))
        write(path / f"frame-{i:06d}.depth.png", depth)
        np.savetxt(path / f"frame-{i:06d}.pose.txt", POSES[i])
    return path


WRITERS = {
    "replica-semantic-nerf": semantic_nerf,
    "replica-nice-slam": nice_slam,
    "scannet": scannet,
    "tum": tum,
    "7scenes": seven_scenes,
}


@pytest.mark.parametrize("name", WRITERS)
def test_is_recognised_and_read_through_open_source(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path)
    layout = detect(path)
    assert layout is not None and layout.prefixes[0] == name
    by_detection = open_source(path, rate_hz=10.0)
    by_prefix = open_source(f"{name}:{path}")
    assert len(by_detection) == len(by_prefix) >= 3
    frame = by_detection[1]
    assert frame.depth.max() > 0.9 and frame.stamp_ns > 0
    assert np.allclose(frame.T_world_camera, by_prefix[1].T_world_camera)
    stamps = [by_detection[i].stamp_ns for i in range(len(by_detection))]
    assert stamps == sorted(set(stamps))


def test_semantic_nerf_rendering(tmp_path: Path) -> None:
    source = open_layout(semantic_nerf(tmp_path))
    assert source is not None and source.name == "room_0/Sequence_1"
    frame = source[3]
    assert frame.color[0, 0].tolist() == [0, 0, 200]
    assert frame.camera.fx == pytest.approx(W / 2) and frame.camera.cx == (W - 1) / 2
    assert frame.depth[5, 5] == pytest.approx(2.003)
    assert np.allclose(frame.T_world_camera, POSES[3], atol=1e-6)
    assert source.label_names == {20: "chair"}
    assert frame.labels is not None and frame.labels[0, [0, 15, 30]].tolist() == [-1, -1, 20]
    assert frame.instances is not None and frame.instances[0, [0, 15]].tolist() == [-1, 77]


def test_semantic_nerf_without_names(tmp_path: Path) -> None:
    path = semantic_nerf(tmp_path)
    (tmp_path / "room_0" / "habitat" / "info_semantic.json").unlink()
    source = open_layout(path)
    assert source is not None and source.label_names[77] == "class 77"
    labels = source[0].labels
    assert labels is not None and labels[0, [0, 15]].tolist() == [-1, 77]


def test_nice_slam_rendering(tmp_path: Path) -> None:
    source = open_layout(nice_slam(tmp_path))
    assert source is not None
    frame = source[2]
    assert frame.depth[0, 0] == pytest.approx(2.0) and frame.labels is None
    assert (frame.camera.fy, frame.camera.cx) == (61.0, 31.5)
    assert np.allclose(frame.T_world_camera, POSES[2], atol=1e-6)


def test_scannet(tmp_path: Path) -> None:
    path = scannet(tmp_path)
    source = open_layout(path)
    assert source is not None
    assert len(source) == 3 and source.skipped == {"no_pose": 1}
    frame = source[2]
    assert np.allclose(frame.T_world_camera, POSES[3], atol=1e-6)
    assert frame.color.shape == (H, W, 3) and frame.camera.fx == 57.0
    assert source.label_names == {5: "chair"}
    assert frame.labels is not None and frame.labels[5, [3, 60]].tolist() == [5, -1]
    raw = open_layout(path, classes="raw")
    assert raw is not None and raw.label_names == {1176: "chair"}
    without = open_layout(path, labels="none")
    assert without is not None and without[0].labels is None


def test_tum(tmp_path: Path) -> None:
    source = open_layout(tum(tmp_path))
    assert source is not None
    assert len(source) == 3 and source.skipped == {"no_depth": 1}
    frame = source[1]
    assert frame.stamp_ns == 101_000_000_000
    assert frame.depth[0, 0] == pytest.approx(1.0) and frame.camera.fx == pytest.approx(53.54)
    # 101.0 lies half way between the poses at 100.975 and 101.025
    assert np.allclose(frame.T_world_camera[:3, 3], [1.025, 0, 1], atol=1e-5)
    given = open_layout(tmp_path / "rgbd_dataset_freiburg3_desk", camera="50,51,32,24")
    assert given is not None and given.camera.fy == 51


def test_tum_takes_the_distortion_out(tmp_path: Path) -> None:
    path = tum(tmp_path)
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, 600:604] = 255
    write(path / "rgb" / "0.png", image)
    write(path / "depth" / "0.png", np.full((480, 640), 5000, np.uint16))
    plain = open_layout(path, camera="517.3,516.5,318.6,255.3")
    corrected = open_layout(path, camera="freiburg1")
    assert plain is not None and corrected is not None
    columns = [int(source[0].color[20, :, 0].argmax()) for source in (plain, corrected)]
    assert columns[0] == 600 and columns[1] != 600


def test_associate_pairs_the_nearest_first() -> None:
    assert associate([1.0, 1.02], [1.015], 0.02) == [None, 0]
    assert associate([1.0, 2.0], [0.99, 2.5], 0.02) == [0, None]


def test_seven_scenes_registers_depth(tmp_path: Path) -> None:
    path = seven_scenes(tmp_path)
    source = open_layout(path)
    assert source is not None and source.name == "redkitchen/seq-01"
    frame = source[1]
    assert frame.camera.fx == 520.0
    # A reading at the middle moves by -0.025 m * 520 / 2 m = -6.5 pixels.
    assert frame.depth[240, 320] == pytest.approx(2.0)
    # The colour camera's centre is 25 mm to the right of the depth camera's.
    assert np.allclose(frame.T_world_camera[:3, 3], POSES[1][:3, 3] + 0.025 * POSES[1][:3, 0])
    # 40 columns without readings: (40 - 320) * 520 / 585 - 6.5 + 320 = 64.6
    assert not frame.depth[240, :64].any() and frame.depth[240, 66] > 0
    plain = open_layout(path, register=False)
    assert plain is not None and plain[1].camera.fx == 585.0
    assert not plain[1].depth[:, :40].any() and plain[1].depth[:, 40:].all()


def test_moved_depth_keeps_the_world() -> None:
    source, target = Camera(585, 585, 320, 240, 640, 480), Camera(520, 520, 320, 240, 640, 480)
    depth = np.zeros((480, 640), np.float32)
    depth[100, 200], depth[100, 201] = 1.5, 4.0
    moved = move_depth(depth, source, target, T_COLOR_DEPTH)
    rows, columns = np.nonzero(moved)
    assert sorted(np.round(moved[rows, columns], 3).tolist()) == [1.5, 4.0]
    near = int(columns[moved[rows, columns].argmin()])
    expected = ((200 - 320) / 585 * 1.5 - 0.025) * 520 / 1.5 + 320
    assert math.isclose(near, expected, abs_tol=0.5)


MISSING = [
    ("replica-semantic-nerf", "depth", "depth"),
    ("replica-semantic-nerf", "traj_w_c.txt", r"traj_w_c\.txt"),
    ("replica-semantic-nerf", "depth/depth_2.png", "frame 2"),
    ("replica-nice-slam", "../cam_params.json", r"cam_params\.json"),
    ("replica-nice-slam", "results/depth000001.png", "frame 1"),
    ("scannet", "intrinsic/intrinsic_depth.txt", r"intrinsic_depth\.txt"),
    ("scannet", "pose/10.txt", r"pose/10\.txt"),
    ("scannet", "../../scannetv2-labels.combined.tsv", r"scannetv2-labels\.combined\.tsv"),
    ("tum", "groundtruth.txt", r"groundtruth\.txt"),
    ("tum", "rgb/1.png", r"1\.png"),
    ("7scenes", "frame-000001.depth.png", r"frame-000001\.depth\.png"),
]


@pytest.mark.parametrize(("name", "part", "message"), MISSING)
def test_a_wrong_layout_names_the_missing_file(
    name: str, part: str, message: str, tmp_path: Path
) -> None:
    path = WRITERS[name](tmp_path)
    target = path / part
    if target.is_dir():
        for file in target.iterdir():
            file.unlink()
        target.rmdir()
    else:
        target.unlink()
    with pytest.raises(ValueError, match=message):
        open_source(f"{name}:{path}")


def test_other_folders_are_no_layout(tmp_path: Path) -> None:
    assert open_layout(tmp_path) is None
    with pytest.raises(ValueError, match="layout of Replica, ScanNet, TUM"):
        open_source(tmp_path)
    with pytest.raises(ValueError, match="expected a folder after tum"):
        open_source(f"tum:{tmp_path}/none")
    with pytest.raises(ValueError, match="expected options of tum"):
        open_source(tum(tmp_path), colour="blue")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = nice_slam(tmp_path)
    (path / "results" / "frame000001.jpg").write_bytes(b"no image")
    source = open_layout(path)
    assert source is not None
    with pytest.raises(ValueError, match=r"frame000001\.jpg"):
        source[1]
    (path / "traj.txt").write_text("1 2 3\n")
    with pytest.raises(ValueError, match="sixteen numbers"):
        open_layout(path)
