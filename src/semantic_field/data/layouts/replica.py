"""Replica dataset in its two common renderings.

Semantic-NeRF's: ``rgb/rgb_0.png``, ``depth/depth_0.png`` (mm), ``semantic_class/
semantic_class_0.png``, ``semantic_instance/…``, ``traj_w_c.txt``; 90 degrees wide, 0 = void.
NICE-SLAM's: ``results/frame000000.jpg``, ``results/depth000000.png``, ``traj.txt``, and
``cam_params.json`` next to the scenes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from semantic_field.data.camera_files import at_size, parse_camera
from semantic_field.data.layouts.sequence import (
    ImageSequence,
    LabelTable,
    Record,
    choose_camera,
    image_size,
    need,
    numbered,
    read_matrix_rows,
    rigid,
    stamps,
)
from semantic_field.geometry import Camera

SEMANTIC_NERF = "Replica (Semantic-NeRF)"
NICE_SLAM = "Replica (NICE-SLAM)"


def open_semantic_nerf(
    path: Path,
    rate_hz: float = 30.0,
    names: str = "",
    camera: str | Camera = "",
    depth_scale: float | None = None,
) -> ImageSequence:
    """Open a sequence of Semantic-NeRF's rendering.

    Args:
        path: the folder with ``traj_w_c.txt``, such as ``room_0/Sequence_1``.
        rate_hz: frames per second; the recording has no times.
        names: ``info_semantic.json`` with the class names. By default searched in the folder, its
            parents and ``habitat/`` there; without it classes are called "class 17".
        camera: of the images; by default from a file next to them, else 90 degrees wide.
        depth_scale: metres per unit of the depth images.
    Raises:
        ValueError: if a file is missing or damaged.
    """
    poses = read_matrix_rows(need(path / "traj_w_c.txt", SEMANTIC_NERF))
    colors = numbered(need(path / "rgb", SEMANTIC_NERF), "rgb_*.png", SEMANTIC_NERF)
    depths = numbered(need(path / "depth", SEMANTIC_NERF), "depth_*.png", SEMANTIC_NERF)
    _check_complete(path, colors, depths, len(poses))
    labels = path / "semantic_class"
    width, height = image_size(next(iter(depths.values())))
    table = _semantic_names(path, names) if labels.exists() else None
    times = stamps(len(poses), rate_hz)
    records = [
        Record(
            color,
            depths[i],
            rigid(poses[i]),
            times[i],
            _existing(labels / f"semantic_class_{i}.png"),
            _existing(path / "semantic_instance" / f"semantic_instance_{i}.png"),
        )
        for i, color in colors.items()
    ]
    usual = Camera.from_field_of_view(width, height, math.pi / 2)
    chosen = choose_camera(camera, usual, (width, height), SEMANTIC_NERF, path)
    return ImageSequence(
        _scene_name(path), records, chosen, 0.001, labels=table, depth_scale=depth_scale
    )


def open_nice_slam(
    path: Path,
    rate_hz: float = 30.0,
    camera: str | Camera = "",
    depth_scale: float | None = None,
) -> ImageSequence:
    """Open a scene of NICE-SLAM's rendering: the folder with ``traj.txt`` and ``results/``.

    ``camera`` and ``depth_scale`` (metres per unit) override ``cam_params.json``.

    Raises:
        ValueError: if a file is missing or damaged.
    """
    poses = read_matrix_rows(need(path / "traj.txt", NICE_SLAM))
    results = need(path / "results", NICE_SLAM)
    colors = numbered(results, "frame*.jpg", NICE_SLAM)
    depths = numbered(results, "depth*.png", NICE_SLAM)
    size = image_size(next(iter(depths.values())))
    chosen, scale = _nice_slam_camera(path, camera, size)
    _check_complete(path, colors, depths, len(poses))
    times = stamps(len(poses), rate_hz)
    records = [Record(c, depths[i], rigid(poses[i]), times[i]) for i, c in colors.items()]
    return ImageSequence(path.resolve().name, records, chosen, 1.0 / scale, depth_scale=depth_scale)


def _nice_slam_camera(
    path: Path, given: str | Camera, size: tuple[int, int]
) -> tuple[Camera, float]:
    """Return the camera, and the depth units per metre."""
    file = path / "cam_params.json"
    if not file.exists():
        file = path.resolve().parent / "cam_params.json"
    if given and not file.exists():
        return parse_camera(given, size), 1000.0
    camera, scale = _camera_parameters(
        need(file, NICE_SLAM, "it lies beside the scenes' folders; or give --camera")
    )
    return (parse_camera(given, size) if given else at_size(camera, size, str(file))), scale


def _check_complete(path: Path, colors: dict, depths: dict, n_poses: int) -> None:
    missing = [index for index in colors if index not in depths or index >= n_poses]
    if missing:
        raise ValueError(
            f"expected a depth image and a pose for every frame of {path}, frame {missing[0]} "
            f"lacks one ({len(missing)} in all)"
        )


def _camera_parameters(file: Path) -> tuple[Camera, float]:
    try:
        values = json.loads(file.read_text())["camera"]
        camera = Camera(
            float(values["fx"]),
            float(values["fy"]),
            float(values["cx"]),
            float(values["cy"]),
            int(values["w"]),
            int(values["h"]),
        )
        return camera, float(values["scale"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f'expected {{"camera": {{"fx", "fy", "cx", "cy", "w", "h", "scale"}}}} in {file}, '
            f"got something else ({error!r})"
        ) from error


def _semantic_names(path: Path, names: str) -> LabelTable:
    folders = [path, *path.resolve().parents[:2]]
    candidates = [f / part / "info_semantic.json" for f in folders for part in ("", "habitat")]
    file = Path(names) if names else next((c for c in candidates if c.exists()), None)
    if file is None:
        return LabelTable({0: "void", **{i: f"class {i}" for i in range(1, 256)}})
    try:
        classes = json.loads(file.read_text())["classes"]
        return LabelTable({0: "void", **{int(c["id"]): str(c["name"]) for c in classes}})
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f'expected {{"classes": [{{"id", "name"}}]}} in {file}, got something else ({error!r})'
        ) from error


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _scene_name(path: Path) -> str:
    path = path.resolve()
    return f"{path.parent.name}/{path.name}" if "sequence" in path.name.lower() else path.name
