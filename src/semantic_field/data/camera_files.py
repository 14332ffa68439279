"""Camera intrinsics from a command line option or a file next to the images.

Supported formats: JSON (``fx fy cx cy``, also below "camera", or a matrix "K" or "camera_matrix"),
ROS's and OpenCV's YAML (``camera_matrix: data``), ``name = value`` lines, a 3x3 or 4x4 matrix, and
one line ``fx fy cx cy`` with or without further numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from semantic_field.geometry import Camera

CAMERA_FILES: Final = (
    "intrinsics.json",
    "camera.json",
    "camera_info.json",
    "calibration.json",
    "cam_params.json",
    "camera-intrinsics.txt",
    "camera_intrinsics.txt",
    "intrinsics.txt",
    "intrinsic.txt",
    "calibration.txt",
    "calib.txt",
    "camera.txt",
    "K.txt",
    "camera.yaml",
    "camera_info.yaml",
    "calibration.yaml",
    "camera.yml",
    "calibration.yml",
    "_info.txt",
    "info.txt",
)
ASPECT: Final = 0.01  # tolerance of aspect ratios, as image sizes are rounded to pixels
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LINE: Final = re.compile(r"^\s*([A-Za-z_][\w.]*)\s*[:=]\s*(.*)$")


def parse_camera(camera: str | Camera, size: tuple[int, int]) -> Camera:
    """Parse ``FX,FY,CX,CY`` or ``FX,FY,CX,CY,W,H`` and scale it to ``size`` (width, height).

    Raises:
        ValueError: on other text, or if the result does not fit the images, see ``at_size``.
    """
    if isinstance(camera, Camera):
        return at_size(camera, size, "--camera")
    try:
        values = [float(part) for part in camera.split(",")]
        assert len(values) in (4, 6)
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"expected a camera as FX,FY,CX,CY,W,H (pixels), got {camera!r}; such as "
            "525,525,319.5,239.5,640,480"
        ) from error
    fx, fy, cx, cy = values[:4]
    width, height = (int(values[4]), int(values[5])) if len(values) == 6 else size
    return at_size(Camera(fx, fy, cx, cy, width, height), size, "--camera")


def find_camera(size: tuple[int, int], *folders: Path) -> Camera | None:
    """Return the camera from the first known camera file in the folders, scaled to ``size``.

    Returns:
        The camera of images of ``size`` (width, height), or None if no file describes one.
    Raises:
        ValueError: if a file is damaged, or its camera does not fit the images.
    """
    for folder in folders:
        for file in (folder / name for name in CAMERA_FILES):
            if file.is_file() and (camera := read_camera(file, size)) is not None:
                return camera
    return None


def read_camera(file: Path, size: tuple[int, int]) -> Camera | None:
    """Return the camera described by a file, scaled to ``size``; None if it describes none.

    Raises:
        ValueError: as ``find_camera``.
    """
    text = file.read_text(errors="replace")
    try:
        values = _from_tree(_parse_tree(file, text)) or _from_lines(text) or _from_numbers(text)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"expected the camera of the images in {file}, got something else ({error}); "
            "give it with --camera FX,FY,CX,CY,W,H"
        ) from error
    if values is None:
        return None
    fx, fy, cx, cy, width, height = values
    camera = Camera(fx, fy, cx, cy, int(width or size[0]), int(height or size[1]))
    return at_size(camera, size, str(file))


def at_size(camera: Camera, size: tuple[int, int], where: str) -> Camera:
    """Scale a camera to the size (width, height) of the images.

    Args:
        where: source of the camera, for error messages.
    Raises:
        ValueError: if the aspect ratio differs, or the principal point is far from the image
            centre: then it is the camera of other images.
    """
    same_aspect = abs(camera.width * size[1] / (camera.height * size[0]) - 1) <= ASPECT
    if not same_aspect:
        raise ValueError(
            f"expected the camera of images of {size[0]}x{size[1]} in {where}, got one of "
            f"{camera.width}x{camera.height}; give the right one with --camera FX,FY,CX,CY,W,H"
        )
    off = abs(camera.cx / camera.width - 0.5), abs(camera.cy / camera.height - 0.5)
    if max(off) > 0.25:
        raise ValueError(
            f"expected a principal point near the middle of images of {size[0]}x{size[1]} in "
            f"{where}, got cx = {camera.cx:g}, cy = {camera.cy:g}: is it the camera of images of "
            "another size? Give the right one with --camera FX,FY,CX,CY,W,H"
        )
    return camera if (camera.width, camera.height) == size else camera.resized(*size)


Values = tuple[float, float, float, float, float, float]


def _parse_tree(file: Path, text: str) -> Any:
    if file.suffix == ".json":
        return json.loads(text)
    if file.suffix in (".yaml", ".yml"):
        # OpenCV's files begin with "%YAML:1.0" and tag their matrices.
        plain = re.sub(r"^%YAML.*$", "", text, flags=re.MULTILINE)
        return yaml.safe_load(plain.replace("!!opencv-matrix", ""))
    return None


def _from_tree(tree: Any) -> Values | None:
    if not isinstance(tree, dict):
        return None
    tree = tree.get("camera", tree) if isinstance(tree.get("camera"), dict) else tree
    names = {str(name).lower(): value for name, value in tree.items()}
    for name in ("distortion_coefficients", "dist_coeffs", "distortion", "d"):
        if isinstance(given := names.get(name), (dict, list)):
            _refuse_distortion(given["data"] if isinstance(given, dict) else given)
    width = float(names.get("width", names.get("w", names.get("image_width", 0))))
    height = float(names.get("height", names.get("h", names.get("image_height", 0))))
    if "fx" in names:
        fx, fy, cx, cy = (float(names[name]) for name in ("fx", "fy", "cx", "cy"))
        return fx, fy, cx, cy, width, height
    matrix = next(
        (names[n] for n in ("camera_matrix", "k", "intrinsic_matrix") if n in names), None
    )
    if matrix is None:
        return None
    data = matrix["data"] if isinstance(matrix, dict) else matrix
    k = np.asarray(data, float).reshape(3, 3)
    if k[0, 2] == 0 and k[2, 0]:  # Open3D writes its columns one after the other
        k = k.T
    return k[0, 0], k[1, 1], k[0, 2], k[1, 2], width, height


def _from_lines(text: str) -> Values | None:
    """``fx = 525`` lines, or SensReader's ``m_calibrationDepthIntrinsic = 16 numbers``."""
    named = {m[1].lower(): m[2] for line in text.splitlines() if (m := _LINE.match(line))}
    numbers = {name: [float(x) for x in re.findall(_NUMBER, rest)] for name, rest in named.items()}
    if all(numbers.get(name) for name in ("fx", "fy", "cx", "cy")):
        width, height = (numbers.get(name, [0.0])[0] for name in ("width", "height"))
        fx, fy, cx, cy = (numbers[name][0] for name in ("fx", "fy", "cx", "cy"))
        return fx, fy, cx, cy, width, height
    matrix = numbers.get("m_calibrationdepthintrinsic", [])
    if len(matrix) == 16:
        width, height = (numbers.get(f"m_depth{n}", [0.0])[0] for n in ("width", "height"))
        return matrix[0], matrix[5], matrix[2], matrix[6], width, height
    return None


def _from_numbers(text: str) -> Values | None:
    rows = [line.split("#")[0].replace(",", " ").split() for line in text.splitlines()]
    rows = [row for row in rows if row]
    if not rows or not all(re.fullmatch(_NUMBER, x) for row in rows for x in row):
        return None
    numbers = [[float(x) for x in row] for row in rows]
    if len(numbers) in (3, 4) and all(len(row) == len(numbers) for row in numbers):
        return numbers[0][0], numbers[1][1], numbers[0][2], numbers[1][2], 0.0, 0.0
    flat = numbers[0]
    if len(flat) in (9, 16) and flat[1] == 0:  # a matrix in one row
        k = np.reshape(flat, (3, 3) if len(flat) == 9 else (4, 4))
        return k[0, 0], k[1, 1], k[0, 2], k[1, 2], 0.0, 0.0
    _refuse_distortion(flat[4:])
    return (flat[0], flat[1], flat[2], flat[3], 0.0, 0.0) if len(flat) >= 4 else None


def _refuse_distortion(coefficients: Sequence[float]) -> None:
    if np.any(coefficients):
        raise ValueError(
            f"distortion coefficients {list(coefficients)}: undistort the images, then take the "
            "camera of the result"
        )
