"""Reads recordings that are folders of images.

``color/NNNNNN.jpg|png``; ``depth/NNNNNN.png`` (also .pgm, .tiff, .npy, .exr) z-depth of uint16 or
floats, 0 = none; ``poses.txt`` = index and a 4x4 camera-to-world matrix row by row, OpenCV axes,
metres; ``intrinsics.json`` (or another file that ``camera_files`` reads). Optional:
``semantic/`` with ``labels.json``, or ``NAME/`` with ``NAME.json`` (class ids and names),
``instance/`` and ``stamps.txt`` = index and nanoseconds.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.camera_files import find_camera, parse_camera
from semantic_field.data.depth_units import DepthUnit, file_unit
from semantic_field.data.image_files import DEPTH_SUFFIXES, fitted_labels, read_depth, read_image
from semantic_field.data.message_images import void_to_minus_one
from semantic_field.frames import VOID_LABEL, Frame, split_void
from semantic_field.geometry import Camera, check_transform

log = logging.getLogger(__name__)
INTRINSICS: Final = "intrinsics.json"
_COLOR: Final = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
COLOR_SUFFIXES: Final = (".jpg", ".jpeg", ".png")
FIRST_STAMP_NS: Final = 1_000_000_000  # ROS reads stamp 0 as "no time"


@dataclass(frozen=True)
class LabelSet:
    """A folder of label images, the names of their ids and the ids that mean "no class"."""

    folder: Path
    names: dict[int, str]
    void: frozenset[int]
    instances: frozenset[int]


class FolderSource:
    """A folder as a list of frames, decoded when they are asked for.

    Args:
        path: the folder.
        labels: "auto" (``semantic`` first, then the first other folder of labels), "none", or the
            name of the folder to use, such as ``labels_deeplab``.
        rate_hz: frames per second where there is no ``stamps.txt``.
        need_depth: whether a folder without ``depth/`` is an error; else its frames have none.
        camera: "FX,FY,CX,CY[,W,H]", in place of that of ``intrinsics.json``.
        depth_scale: metres of one unit of the depth images; else as ``intrinsics.json`` and the
            values say.
    Raises:
        ValueError: a file that is missing, a frame without pose, an index that comes twice, a
            damaged file; always with the file's name.
    """

    def __init__(
        self,
        path: str | Path,
        labels: str = "auto",
        rate_hz: float = 5.0,
        need_depth: bool = True,
        camera: str | Camera = "",
        depth_scale: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().name
        if not rate_hz > 0:
            raise ValueError(f"expected rate_hz > 0, got {rate_hz}")
        self.has_depth = need_depth or (self.path / "depth").exists()
        for part in ("color", *["depth"] * self.has_depth, "poses.txt"):
            if not (self.path / part).exists():
                raise ValueError(f"expected {part} in the recording {self.path}, found none")
        self._color = _index_images(self.path / "color", COLOR_SUFFIXES)
        depth = self.path / "depth"
        self._depth = _index_images(depth, DEPTH_SUFFIXES) if self.has_depth else {}
        self.camera = self._read_camera(camera)
        self._units: dict[bool, DepthUnit] = {}
        self._depth_scale, self._stated_scale = depth_scale, _read_scale(self.path / INTRINSICS)
        self._poses = _read_poses(self.path / "poses.txt")
        self.indices = self._check_complete()
        self._labels = find_labels(self.path, labels)
        self._odd_labels: set[Path] = set()
        self.skipped: dict[str, int] = {}
        self.label_names = self._labels.names if self._labels else {}
        self.stamps = self._read_stamps(rate_hz)

    @property
    def poses(self) -> list[NDArray[np.float64]]:
        """``T_world_camera`` of all frames."""
        return [self._poses[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Frame:
        """The frame at a position 0..len-1 (its number in the recording is ``indices[position]``).

        Raises:
            ValueError: where an image is damaged or its size is not that of intrinsics.json.
        """
        index = self.indices[position]
        color = read_image(self._color[index], _COLOR)
        self._check_size(self._color[index], color)
        return Frame(
            stamp_ns=self.stamps[position],
            color=np.asarray(cv2.cvtColor(color, cv2.COLOR_BGR2RGB), np.uint8),
            depth=self._read_depth(index),
            camera=self.camera,
            T_world_camera=self._poses[index],
            labels=self._read_labels(index),
            instances=self._read_instances(index),
        )

    def _read_depth(self, index: int) -> NDArray[np.float32]:
        if not self.has_depth:
            return np.zeros((self.camera.height, self.camera.width), np.float32)
        depth = read_depth(self._depth[index])
        self._check_size(self._depth[index], depth)
        is_float = depth.dtype == np.float32
        unit = file_unit(self.name, self._stated_scale, is_float, self._depth_scale)
        return self._units.setdefault(is_float, unit).to_metres(depth)

    def _read_camera(self, given: str | Camera) -> Camera:
        """The camera of the colour images: as given, or from a file beside them."""
        if not given and (self.path / INTRINSICS).exists():
            return _read_intrinsics(self.path / INTRINSICS)
        if not self._color:
            raise ValueError(f"expected images in {self.path / 'color'}, found none")
        height, width = read_image(next(iter(self._color.values())), _COLOR).shape[:2]
        if given:
            return parse_camera(given, (width, height))
        camera = find_camera((width, height), self.path)
        if camera is None:
            raise ValueError(
                f"expected {INTRINSICS} in the recording {self.path}, found none; write it, or "
                "give the camera with --camera FX,FY,CX,CY,W,H"
            )
        return camera

    def _read_labels(self, index: int) -> NDArray[np.int32] | None:
        """Class ids; -1 for void classes and for ids without a name. None without an image, or
        where it is of another shape than the colour images (these are counted)."""
        if self._labels is None:
            return None
        path = self._labels.folder / self._color[index].with_suffix(".png").name
        if not path.exists():
            return None
        ids = fitted_labels(void_to_minus_one(_read_ids(path)), self._shape)
        if ids is None:
            self._leave_label_out(path)
            return None
        named = np.zeros(max(ids.max(), *self._labels.names, 0) + 2, bool)
        named[list(self._labels.names)] = True
        return np.where(named[ids], ids, VOID_LABEL).astype(np.int32)

    def _read_instances(self, index: int) -> NDArray[np.int32] | None:
        path = self.path / "instance" / self._color[index].with_suffix(".png").name
        if not path.exists():
            return None
        ids = void_to_minus_one(_read_ids(path))
        self._check_size(path, ids)
        if self._labels is None or 0 not in self._labels.instances:
            ids[ids == 0] = VOID_LABEL
        return ids

    def _leave_label_out(self, path: Path) -> None:
        if not self._odd_labels:
            log.warning("%s shows another part of the scene than colour: left out", path)
        self._odd_labels.add(path)
        self.skipped["labels_of_another_shape"] = len(self._odd_labels)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.camera.height, self.camera.width

    def _check_size(self, path: Path, image: NDArray) -> None:
        if image.shape[:2] != self._shape:
            raise ValueError(
                f"expected {path} of {self._shape} (height, width) as the camera "
                f"({INTRINSICS} or --camera) says, got {image.shape[:2]}"
            )

    def _check_complete(self) -> list[int]:
        """The indices of all frames in order; ValueError for one that lacks a part."""
        parts = {"colour image": self._color, "pose": self._poses}
        if self.has_depth:
            parts["depth image"] = self._depth
        indices = sorted(set().union(*parts.values()))
        for name, part in parts.items():
            missing = [index for index in indices if index not in part]
            if missing:
                raise ValueError(
                    f"expected a {name} for every frame of {self.path}, missing for frame "
                    f"{missing[0]:06d} ({len(missing)} missing in all); add it or remove the "
                    "frame's other files"
                )
        if not indices:
            raise ValueError(f"expected frames in {self.path}, found none")
        return indices

    def _read_stamps(self, rate_hz: float) -> list[int]:
        path = self.path / "stamps.txt"
        if not path.exists():
            return [FIRST_STAMP_NS + round(i * 1e9 / rate_hz) for i in range(len(self.indices))]
        stamps = {int(row[0]): int(row[1]) for row in _rows(path, 2)}
        missing = [index for index in self.indices if index not in stamps]
        if missing:
            raise ValueError(f"expected a stamp in {path} for frame {missing[0]:06d}, found none")
        return [stamps[index] for index in self.indices]


def find_labels(path: Path, choice: str) -> LabelSet | None:
    """The label images of a recording; ``choice`` as ``FolderSource`` has it."""
    if choice == "none":
        return None
    found = [path / "semantic", *sorted(path.glob("labels_*"))]
    found = [folder for folder in found if folder.is_dir()]
    if choice == "auto":
        return _read_label_set(found[0]) if found else None
    if not (path / choice).is_dir():
        names = [folder.name for folder in found]
        raise ValueError(f"expected labels to be auto, none or one of {names}, got {choice!r}")
    return _read_label_set(path / choice)


def _read_label_set(folder: Path) -> LabelSet:
    file = folder.with_suffix(".json")
    if folder.name == "semantic" or not file.exists():
        file = folder.parent / "labels.json"
    if not file.exists():
        raise ValueError(f"expected the names of the labels of {folder} in {file}, found none")
    names, void = split_void(read_class_names(file))
    return LabelSet(folder, names, void, frozenset(_read_list(file, "instances")))


def read_class_names(file: Path) -> dict[int, str]:
    """Class ids and names of a ``labels.json``; ValueError where it is something else."""
    classes = _read_list(file, "classes", required=True)
    return {class_id: str(item["name"]) for class_id, item in classes.items()}


def _read_list(file: Path, key: str, required: bool = False) -> dict[int, dict[str, Any]]:
    content = _read_json(file)
    try:
        found = content[key] if required else content.get(key, ())
        items = {int(item["id"]): item for item in found}
        assert not required or all("name" in item for item in items.values())
        return items
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'expected {{"classes": [{{"id": 1, "name": "chair"}}, …]}} in {file}, '
            f"got something else ({error!r})"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON in {path}, got {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object in {path}, got {type(content).__name__}")
    return content


def _read_intrinsics(path: Path) -> Camera:
    """The camera of ``intrinsics.json``."""
    content = _read_json(path)
    names = ("fx", "fy", "cx", "cy", "width", "height")
    missing = [name for name in names if name not in content]
    if missing:
        raise ValueError(f"expected {', '.join(names)} in {path}, missing: {', '.join(missing)}")
    fx, fy, cx, cy = (float(content[name]) for name in names[:4])
    return Camera(fx, fy, cx, cy, int(content["width"]), int(content["height"]))


def _read_scale(path: Path) -> float | None:
    """The metres of one unit of the depth images, where ``intrinsics.json`` states it."""
    if not path.exists() or "depth_scale" not in (content := _read_json(path)):
        return None
    scale = float(content["depth_scale"])
    if not scale > 0:
        raise ValueError(f"expected depth_scale > 0 (metres of one unit) in {path}, got {scale}")
    return scale


def _index_images(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    images: dict[int, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in suffixes or file.name.startswith("."):
            continue
        if not file.stem.isdecimal():
            raise ValueError(f"expected file names such as 000012{suffixes[0]}, got {file}")
        index = int(file.stem)
        if index in images:
            raise ValueError(f"expected one image per frame, got {images[index]} and {file.name}")
        images[index] = file
    return images


def _rows(path: Path, columns: int) -> list[list[str]]:
    rows, seen = [], set()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        row = line.split("#")[0].split()
        if not row:
            continue
        if len(row) != columns or not row[0].isdecimal():
            raise ValueError(
                f"expected an index and {columns - 1} numbers in line {number} of {path}, "
                f"got {len(row)} values"
            )
        if int(row[0]) in seen:
            raise ValueError(f"expected each index once in {path}, got {row[0]} twice")
        seen.add(int(row[0]))
        rows.append(row)
    return rows


def _read_poses(path: Path) -> dict[int, NDArray[np.float64]]:
    poses = {}
    for row in _rows(path, 17):
        try:
            matrix = np.array([float(value) for value in row[1:]]).reshape(4, 4)
            poses[int(row[0])] = check_transform(matrix)
        except ValueError as error:
            raise ValueError(f"frame {row[0]} of {path}: {error}") from error
    return poses


def _read_ids(path: Path) -> NDArray:
    pixels = read_image(path, cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"expected one channel of 8 or 16 bits in {path}, got {pixels.dtype} {pixels.shape}"
        )
    return pixels
