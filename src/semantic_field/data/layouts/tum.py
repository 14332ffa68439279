"""TUM RGB-D: ``rgb.txt``, ``depth.txt``, ``groundtruth.txt`` and the images listed there.

Depth has 5000 units per metre and is registered to colour. Colour and depth are paired by time, as
in the benchmark's ``associate.py``; the pose is interpolated at the colour image's time.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.camera_files import at_size
from semantic_field.data.layouts.sequence import (
    ImageSequence,
    Record,
    choose_camera,
    image_size,
    need,
)
from semantic_field.data.rectification import Rectifier
from semantic_field.frames import Frame
from semantic_field.geometry import (
    Camera,
    interpolate_transform,
    make_transform,
    matrix_from_quaternion,
)

LAYOUT = "TUM RGB-D"
MAX_POSE_GAP_S = 0.1
# fx, fy, cx, cy and distortion (k1, k2, p1, p2, k3) as the benchmark gives them for its three
# cameras, and a Kinect as ROS calibrates it.
CAMERAS: Final = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
    "ros": (525.0, 525.0, 319.5, 239.5),
}
DISTORTION: Final = {
    "freiburg1": (0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    "freiburg2": (0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
}


def open_tum(
    path: Path,
    camera: str | Camera = "auto",
    max_difference_s: float = 0.02,
    depth_scale: float | None = None,
) -> ImageSequence:
    """Open a sequence. Frames without depth or pose are skipped and counted.

    Args:
        path: the folder with ``rgb.txt``, ``depth.txt`` and ``groundtruth.txt``.
        camera: "freiburg1", "freiburg2", "freiburg3", "ros", "fx,fy,cx,cy[,w,h]", or "auto": from
            a file next to the images (calibration.txt …), else by the folder's name. Images of
            the first two are undistorted.
        max_difference_s: largest time difference of a colour and a depth image, seconds.
        depth_scale: metres per unit of the depth images.
    Raises:
        ValueError: if a file is missing or damaged, or no frame is usable.
    """
    colors = _read_list(need(path / "rgb.txt", LAYOUT))
    depths = _read_list(need(path / "depth.txt", LAYOUT))
    times, poses = _read_trajectory(need(path / "groundtruth.txt", LAYOUT))
    skipped = {"no_depth": 0, "no_pose": 0}
    records = []
    partner = associate([t for t, _ in colors], [t for t, _ in depths], max_difference_s)
    for (time, color), j in zip(colors, partner):
        pose = _pose_at(time, times, poses)
        if j is None or pose is None:
            skipped["no_depth" if j is None else "no_pose"] += 1
            continue
        files = need(path / color, LAYOUT), need(path / depths[j][1], LAYOUT)
        records.append(Record(*files, np.asarray(pose, np.float64), round(time * 1e9)))
    if not records:
        raise ValueError(
            f"expected colour, depth and poses at common times in {path}, found none ({skipped})"
        )
    name = path.resolve().name
    size = image_size(records[0].depth)
    known = str(camera) if camera in CAMERAS else _camera_name(name)
    usual = Camera(*CAMERAS[known], 640, 480)
    if camera in CAMERAS:
        chosen = at_size(usual, size, "--camera")
    else:
        chosen = choose_camera("" if camera == "auto" else camera, usual, size, LAYOUT, path)
    return RectifiedSequence(
        name,
        records,
        chosen,
        1 / 5000,
        skipped={cause: count for cause, count in skipped.items() if count},
        depth_scale=depth_scale,
        distortion=DISTORTION.get(known, ()) if chosen == usual.resized(*size) else (),
    )


class RectifiedSequence(ImageSequence):
    """An ``ImageSequence`` whose images are undistorted."""

    def __init__(self, *args: Any, distortion: tuple[float, ...] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self._rectifier = Rectifier(self.camera, distortion)

    def __getitem__(self, index: int) -> Frame:
        frame = super().__getitem__(index)
        color, depth = self._rectifier.color(frame.color), self._rectifier.depth(frame.depth)
        return replace(frame, color=color, depth=depth)


def associate(first: list[float], second: list[float], max_difference_s: float) -> list[int | None]:
    """Return for each time (s) of ``first`` the index of its partner in ``second``, or None.

    Pairs are matched greedily by time difference; each element is used once.
    """
    pairs = []
    other = np.asarray(second)
    for i, time in enumerate(first):
        low, high = np.searchsorted(other, [time - max_difference_s, time + max_difference_s])
        pairs += [(abs(time - other[j]), i, j) for j in range(low, high)]
    partner: list[int | None] = [None] * len(first)
    taken: set[int] = set()
    for _, i, j in sorted(pairs):
        if partner[i] is None and j not in taken:
            partner[i] = j
            taken.add(j)
    return partner


def _read_list(path: Path) -> list[tuple[float, str]]:
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    rows = [row for row in rows if not row[0].startswith("#")]
    try:
        return sorted((float(row[0]), row[1]) for row in rows)
    except (IndexError, ValueError) as error:
        raise ValueError(f"expected 'time file' in each row of {path}: {error}") from error


def _read_trajectory(path: Path) -> tuple[NDArray[np.float64], list[NDArray[np.floating]]]:
    rows = np.loadtxt(path, ndmin=2)
    if rows.shape[1] != 8:
        raise ValueError(
            f"expected 'time tx ty tz qx qy qz qw' in each row of {path}, got {rows.shape[1]} "
            "numbers"
        )
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return rows[:, 0], [make_transform(matrix_from_quaternion(r[4:]), r[1:4]) for r in rows]


def _pose_at(
    time: float, times: NDArray[np.float64], poses: list[NDArray[np.floating]]
) -> NDArray[np.floating] | None:
    """Return the interpolated pose at a time; None outside or in a gap of the trajectory."""
    after = int(np.searchsorted(times, time))
    if after < len(times) and times[after] == time:
        return poses[after]
    if after in (0, len(times)) or times[after] - times[after - 1] > MAX_POSE_GAP_S:
        return None
    fraction = (time - times[after - 1]) / (times[after] - times[after - 1])
    return interpolate_transform(poses[after - 1], poses[after], fraction)


def _camera_name(folder: str) -> str:
    match = re.search(r"freiburg[123]", folder)
    return match[0] if match else "ros"
