"""What all layouts come down to: a list of image files, each with a pose and a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.camera_files import ASPECT, find_camera, parse_camera
from semantic_field.data.depth_units import DepthUnit, file_unit
from semantic_field.data.image_files import read_depth, read_image
from semantic_field.data.message_images import void_to_minus_one
from semantic_field.frames import VOID_LABEL, Frame, split_void
from semantic_field.geometry import Camera

FIRST_STAMP_NS = 1_000_000_000  # ROS reads stamp 0 as "no time"


@dataclass(frozen=True)
class Record:
    """The files, pose and time of one frame."""

    color: Path
    depth: Path
    T_world_camera: NDArray[np.float64]
    stamp_ns: int
    labels: Path | None = None
    instances: Path | None = None


@dataclass(frozen=True)
class LabelTable:
    """From the ids in a layout's label images to class ids and names.

    ``ids`` maps an image's id to a class id; ids that it lacks are void. None = unchanged.
    """

    names: dict[int, str]
    ids: dict[int, int] | None = None

    def class_ids(self, pixels: NDArray[np.integer]) -> NDArray[np.int32]:
        """int32 class ids of label pixels, -1 where there is no class."""
        names, void = split_void(self.names)
        pairs = self.ids if self.ids is not None else {i: i for i in names}
        size = max([int(pixels.max(initial=0)), *pairs]) + 1
        table = np.full(size, VOID_LABEL, np.int32)
        for image_id, class_id in pairs.items():
            table[image_id] = class_id if class_id in names and class_id not in void else VOID_LABEL
        return (
            table[np.maximum(pixels, 0)] if pixels.min(initial=0) >= 0 else _signed(table, pixels)
        )


def _signed(table: NDArray[np.int32], pixels: NDArray[np.integer]) -> NDArray[np.int32]:
    return np.where(pixels < 0, VOID_LABEL, table[np.maximum(pixels, 0)]).astype(np.int32)


class ImageSequence:
    """A ``FrameSource`` over records.

    Args:
        name: short, for reports.
        records: in the order of time.
        camera: of the depth images; colour and labels of another size are resized to it.
        metres_per_unit: of the depth images' integers, as the layout has it.
        invalid_depth: integers that mean "no reading" besides 0.
        labels: how label images are read; None without.
        skipped: frames of the recording that could not be used, by cause.
        depth_scale: metres of one unit that the caller gave; else the values may overrule the
            layout.
    """

    def __init__(
        self,
        name: str,
        records: Sequence[Record],
        camera: Camera,
        metres_per_unit: float,
        invalid_depth: Sequence[int] = (65535,),
        labels: LabelTable | None = None,
        skipped: dict[str, int] | None = None,
        depth_scale: float | None = None,
    ) -> None:
        if not records:
            raise ValueError(f"expected frames in {name}, found none (skipped: {skipped or {}})")
        self.name, self.camera, self.skipped = name, camera, dict(skipped or {})
        self.records = list(records)
        self.stamps: Sequence[int] = [record.stamp_ns for record in self.records]
        self._invalid = tuple(invalid_depth)
        self._metres_per_unit, self._depth_scale = metres_per_unit, depth_scale
        self._units: dict[bool, DepthUnit] = {}
        self._labels = labels
        self.label_names = split_void(labels.names)[0] if labels else {}

    @property
    def poses(self) -> list[NDArray[np.float64]]:
        """``T_world_camera`` of all frames."""
        return [record.T_world_camera for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Frame:
        """The frame at 0..len-1; ValueError where a file is damaged or of another size."""
        record = self.records[index]
        return Frame(
            stamp_ns=record.stamp_ns,
            color=self._read_color(record.color),
            depth=self._read_depth(record.depth),
            camera=self.camera,
            T_world_camera=record.T_world_camera,
            labels=self._read_labels(record.labels),
            instances=self._read_instances(record.instances),
        )

    def _read_color(self, path: Path) -> NDArray[np.uint8]:
        bgr = read_image(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        size = (self.camera.width, self.camera.height)
        if (bgr.shape[1], bgr.shape[0]) != size:
            bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def _read_depth(self, path: Path) -> NDArray[np.float32]:
        units = read_depth(path)
        expected = (self.camera.height, self.camera.width)
        if units.shape != expected:
            raise ValueError(
                f"expected depth of {expected} (height, width) in {path}, got {units.shape}"
            )
        is_float = units.dtype == np.float32
        stated = None if is_float else self._metres_per_unit
        unit = file_unit(self.name, stated, is_float, self._depth_scale)
        units = np.where(np.isin(units, self._invalid), 0, units)
        return self._units.setdefault(is_float, unit).to_metres(units)

    def _read_labels(self, path: Path | None) -> NDArray[np.int32] | None:
        if path is None or self._labels is None:
            return None
        return self._labels.class_ids(self._read_ids(path))

    def _read_instances(self, path: Path | None) -> NDArray[np.int32] | None:
        if path is None:
            return None
        ids = void_to_minus_one(self._read_ids(path))
        return np.where(ids == 0, VOID_LABEL, ids).astype(np.int32)

    def _read_ids(self, path: Path) -> NDArray:
        ids = read_image(path, cv2.IMREAD_UNCHANGED)
        if ids.ndim != 2 or ids.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"expected one channel of 8 or 16 bits in {path}, got {ids.dtype} {ids.shape}"
            )
        size = (self.camera.width, self.camera.height)
        if (ids.shape[1], ids.shape[0]) != size:
            ids = np.asarray(cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST_EXACT))
        return ids


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file."""
    if path.suffix == ".npy":
        height, width = read_depth(path).shape
    else:
        height, width = read_image(path, cv2.IMREAD_UNCHANGED).shape[:2]
    return width, height


def choose_camera(
    given: str | Camera, usual: Camera, size: tuple[int, int], layout: str, *folders: Path
) -> Camera:
    """The camera of the depth images (width, height): as given, or from a file in the folders,
    or the layout's usual one, scaled to the images.

    Raises:
        ValueError: there is none for images of this aspect.
    """
    if given:
        return parse_camera(given, size)
    found = find_camera(size, *folders)
    if found is not None:
        return found
    if abs(usual.width * size[1] / (usual.height * size[0]) - 1) > ASPECT:
        raise ValueError(
            f"expected a camera for the images of {size[0]}x{size[1]} in the {layout} recording "
            f"{folders[0]}, found none: the usual one is of {usual.width}x{usual.height}; give "
            "the camera with --camera FX,FY,CX,CY,W,H, or in a file intrinsics.json there"
        )
    return usual if (usual.width, usual.height) == size else usual.resized(*size)


def need(path: Path, layout: str, why: str = "") -> Path:
    """The path, or ValueError that names what the layout misses."""
    if not path.exists():
        raise ValueError(
            f"expected {path.name} in the {layout} recording {path.parent}, found none"
            + (f": {why}" if why else "")
        )
    return path


def numbered(folder: Path, pattern: str, layout: str) -> dict[int, Path]:
    """Files by the last number in their names; ValueError where there are none."""
    found = {}
    for path in folder.glob(pattern):
        digits = "".join(c if c.isdigit() else " " for c in path.stem).split()
        if digits:
            found[int(digits[-1])] = path
    if not found:
        raise ValueError(f"expected {pattern} in {folder} of the {layout} recording, found none")
    return dict(sorted(found.items()))


def read_matrix_rows(path: Path) -> list[NDArray[np.float64]]:
    """4x4 matrices of a text file with sixteen numbers a row."""
    try:
        numbers = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(f"expected sixteen numbers a row in {path}: {error}") from error
    if numbers.shape[1] != 16:
        raise ValueError(f"expected sixteen numbers a row in {path}, got {numbers.shape[1]}")
    return list(numbers.reshape(-1, 4, 4))


def rigid(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix with the nearest rotation in place: text files round to few digits."""
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    result = matrix.copy()
    result[:3, :3] = u @ vt
    return result


def stamps(n: int, rate_hz: float) -> list[int]:
    """Nanoseconds of n frames of a recording without times."""
    if not rate_hz > 0:
        raise ValueError(f"expected rate_hz > 0, got {rate_hz}")
    return [FIRST_STAMP_NS + round(i * 1e9 / rate_hz) for i in range(n)]
