"""7-Scenes: ``frame-000000.color.png``, ``.depth.png`` (mm, 65535 = none), ``.pose.txt``.

Colour and depth of 7-Scenes come from two cameras and are not registered. Here depth is reprojected
to the colour camera; ``register=False`` treats both as one camera of focal length 585, as many
papers do. Other datasets use the same file names: a camera file next to the images is used for
both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semantic_field.data.image_files import DEPTH_SUFFIXES
from semantic_field.data.layouts.sequence import (
    ImageSequence,
    Record,
    choose_camera,
    image_size,
    need,
    rigid,
    stamps,
)
from semantic_field.data.registration import move_depth
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform

LAYOUT = "7-Scenes"
DEPTH_FOCAL = 585.0
COLOR_FOCAL = 520.0  # found by minimising colour differences between views of redkitchen
T_COLOR_DEPTH = make_transform(np.eye(3), [-0.025, 0, 0])


def open_seven_scenes(
    path: Path,
    rate_hz: float = 30.0,
    register: bool | None = None,
    camera: str | Camera = "",
    depth_scale: float | None = None,
) -> ImageSequence:
    """Open a sequence. Frames without a valid pose are skipped and counted.

    Args:
        path: the folder with the frames, such as ``redkitchen/seq-01``.
        rate_hz: frames per second; the recording has no times.
        register: move depth (and the pose, which is the depth camera's) to the colour camera;
            None: only if the camera is that of 7-Scenes.
        camera: of the images; by default from a file next to them, else that of 7-Scenes.
        depth_scale: metres per unit of the depth images.
    Raises:
        ValueError: if a file is missing or no frame has a pose.
    """
    poses = sorted(path.glob("frame-*.pose.txt"))
    if not poses:
        need(path / "frame-000000.pose.txt", LAYOUT, "is this the folder of one sequence (seq-01)?")
    times = stamps(len(poses), rate_hz)
    records, lost = [], 0
    for pose_file, time in zip(poses, times):
        stem = pose_file.name.removesuffix(".pose.txt")
        color = path / f"{stem}.color.png"
        color = color if color.exists() else color.with_suffix(".jpg")
        need(color, LAYOUT)
        depth = _depth_file(path, stem)
        pose = np.loadtxt(pose_file)
        if pose.shape != (4, 4) or not np.isfinite(pose).all() or not pose[:3, :3].any():
            lost += 1
            continue
        records.append(Record(color, depth, rigid(pose), time))
    if not records:
        raise ValueError(f"expected frames with a pose in {path}, found none ({lost} without)")
    usual = Camera(DEPTH_FOCAL, DEPTH_FOCAL, 320.0, 240.0, 640, 480)
    size = image_size(records[0].depth)
    chosen = choose_camera(camera, usual, size, LAYOUT, path, path.resolve().parent)
    moves = chosen == usual.resized(*size) if register is None else register
    kind = RegisteredSequence if moves else ImageSequence
    path = path.resolve()
    name = f"{path.parent.name}/{path.name}" if path.name.startswith("seq") else path.name
    skipped = {"no_pose": lost} if lost else {}
    return kind(name, records, chosen, 0.001, (0, 65535), skipped=skipped, depth_scale=depth_scale)


def _depth_file(path: Path, stem: str) -> Path:
    """Return the depth image of a frame, in any supported file format."""
    files = [path / f"{stem}.depth{suffix}" for suffix in DEPTH_SUFFIXES]
    return next((file for file in files if file.exists()), None) or need(files[0], LAYOUT)


class RegisteredSequence(ImageSequence):
    """An ``ImageSequence`` whose depth is reprojected from the depth to the colour camera."""

    def __getitem__(self, index: int) -> Frame:
        frame = super().__getitem__(index)
        scale = frame.camera.width / 640
        focal = COLOR_FOCAL * scale
        camera = Camera(
            focal,
            focal,
            frame.camera.cx,
            frame.camera.cy,
            frame.camera.width,
            frame.camera.height,
        )
        T_depth_color = make_transform(np.eye(3), -T_COLOR_DEPTH[:3, 3])
        return Frame(
            frame.stamp_ns,
            frame.color,
            move_depth(frame.depth, frame.camera, camera, T_COLOR_DEPTH),
            camera,
            frame.T_world_camera @ T_depth_color,
        )
