"""ScanNet scenes as exported by its SensReader.

``color/0.jpg``, ``depth/0.png`` (mm), ``pose/0.txt`` (4x4 camera to world), ``intrinsic/
intrinsic_depth.txt``; labels in ``label-filt/`` or ``label/``, and their names in
``scannetv2-labels.combined.tsv`` in the scene or above it. Colour and labels are resized to the
depth images, as is common practice.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from semantic_field.data.camera_files import parse_camera, read_camera
from semantic_field.data.layouts.sequence import (
    ImageSequence,
    LabelTable,
    Record,
    image_size,
    need,
    numbered,
    rigid,
    stamps,
)
from semantic_field.geometry import Camera

LAYOUT = "ScanNet"
LABEL_FILE = "scannetv2-labels.combined.tsv"


def open_scannet(
    path: Path,
    rate_hz: float = 30.0,
    labels: str = "auto",
    classes: str = "nyu40",
    camera: str | Camera = "",
    depth_scale: float | None = None,
) -> ImageSequence:
    """Open an exported scene. Frames without a valid pose are skipped and counted.

    Args:
        path: the scene's folder.
        rate_hz: frames per second; the recording has no times.
        labels: "auto" (``label-filt``, then ``label``), "none", or the folder's name.
        classes: "nyu40" (40 classes) or "raw" (ScanNet's own categories).
        camera: of the depth images, replaces ``intrinsic/intrinsic_depth.txt``.
        depth_scale: metres per unit of the depth images.
    Raises:
        ValueError: if a file is missing.
    """
    colors = numbered(need(path / "color", LAYOUT), "*.jpg", LAYOUT)
    depths = numbered(need(path / "depth", LAYOUT), "*.*", LAYOUT)
    poses = numbered(need(path / "pose", LAYOUT), "*.txt", LAYOUT)
    for index in colors:
        for part, name in ((depths, "depth/{}.png"), (poses, "pose/{}.txt")):
            if index not in part:
                raise ValueError(
                    f"expected {name.format(index)} in the {LAYOUT} recording {path}, found none"
                )
    chosen = _camera(path, camera, image_size(next(iter(depths.values()))))
    folder = _label_folder(path, labels)
    records, lost = [], 0
    times = stamps(max(colors) + 1, rate_hz)
    for index, color in colors.items():
        pose = np.loadtxt(poses[index])
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            lost += 1
            continue
        label = folder / f"{index}.png" if folder and (folder / f"{index}.png").exists() else None
        records.append(Record(color, depths[index], rigid(pose), times[index], label))
    table = _label_table(path, classes) if folder else None
    skipped = {"no_pose": lost} if lost else {}
    name = path.resolve().name
    return ImageSequence(name, records, chosen, 0.001, (65535,), table, skipped, depth_scale)


def _camera(path: Path, given: str | Camera, size: tuple[int, int]) -> Camera:
    if given:
        return parse_camera(given, size)
    file = need(need(path / "intrinsic", LAYOUT) / "intrinsic_depth.txt", LAYOUT)
    camera = read_camera(file, size)
    if camera is None:
        raise ValueError(f"expected a 3x3 or 4x4 matrix in {file}, got something else")
    return camera


def _label_folder(path: Path, choice: str) -> Path | None:
    if choice == "none":
        return None
    if choice != "auto":
        return need(path / choice, LAYOUT)
    return next((path / n for n in ("label-filt", "label") if (path / n).is_dir()), None)


def _label_table(path: Path, classes: str) -> LabelTable:
    if classes not in ("nyu40", "raw"):
        raise ValueError(f"expected classes to be nyu40 or raw, got {classes!r}")
    folders = [path, *path.resolve().parents[:3]]
    file = next((f / LABEL_FILE for f in folders if (f / LABEL_FILE).exists()), None)
    if file is None:
        need(path / LABEL_FILE, LAYOUT, "it names the label images' ids; or open with labels=none")
        raise AssertionError
    names: dict[int, str] = {}
    ids: dict[int, int] = {}
    with file.open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            raw = int(row["id"])
            if classes == "raw":
                names[raw] = row.get("category") or row["raw_category"]
            elif row.get("nyu40id"):
                ids[raw] = int(row["nyu40id"])
                names[ids[raw]] = row["nyu40class"]
    return LabelTable(names, ids if classes == "nyu40" else None)
