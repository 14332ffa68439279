"""The published layout of scene representation networks: a folder of images for each object.

    root/INSTANCE/rgb/000000.png ...    images, white background
    root/INSTANCE/pose/000000.txt ...   4x4 camera-to-world, row by row, OpenCV camera axes
    root/INSTANCE/intrinsics.txt        "f cx cy 0", "0 0 0", scale, "height width", and perhaps 1
                                        if the poses are world-to-camera
    root/INSTANCE/seg/000000.png ...    optional: part ids, 0 = background
    root/INSTANCE/depth/000000.png ...  optional: depth along z in 1/10,000 of a unit, 0 = none

Pixel coordinates in ``intrinsics.txt`` count from the corner of the image (128 pixels have their
middle at 64), here from the middle of the first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.image_files import read_depth, read_image
from semantic_field.data.objects.object_views import CategoryFrame, ObjectView
from semantic_field.geometry import Camera, check_transform, invert_transform

DEPTH_UNIT = 1e-4
UNIT_FRAME = CategoryFrame(0.5, (0.0, 0.0, 0.0))  # of objects whose bounding box has diagonal 1
WHITE = 255


@dataclass(frozen=True)
class _Instance:
    """One object's folder: its camera, its images, and whether poses are world-to-camera."""

    folder: Path
    camera: Camera
    images: tuple[Path, ...]
    inverted: bool


class SrnFolder:
    """Objects of one category in the published layout, as an ``ObjectCollection``.

    The objects' own frame is the files' world, moved by ``T_object_world``.
    """

    def __init__(
        self,
        root: Path,
        category: str,
        part_names: Sequence[str],
        frame: CategoryFrame = UNIT_FRAME,
        T_object_world: NDArray[np.float64] | None = None,
        size: int | None = None,
    ) -> None:
        """Find the instances below ``root``, in the order of their names.

        Args:
            part_names: of the part ids 1, 2, ... in ``seg/``; empty where nothing is labelled.
            frame: canonical coordinates in the objects' own frame.
            T_object_world: (4, 4) from the files' world to the objects' own frame; None = the same.
            size: side of the images that are returned, pixels; None = as stored.
        Raises:
            ValueError: if there is no instance, or one lacks its poses or intrinsics.
        """
        if not root.is_dir():
            raise ValueError(f"expected a folder of objects, got {root}: no such folder")
        folders = sorted(path.parent for path in root.glob("*/rgb"))
        if not folders:
            raise ValueError(
                f"expected folders with rgb/ below {root}, found none: give the folder whose "
                "sub-folders are the objects"
            )
        self.category = category
        self.part_names = tuple(part_names)
        self.frame = frame
        self._instances = [_open(folder) for folder in folders]
        self.names: Sequence[str] = tuple(folder.name for folder in folders)
        self._T_object_world = np.eye(4) if T_object_world is None else T_object_world
        self._size = size

    def view_count(self, instance: int) -> int:
        """Return the number of views of an instance."""
        return len(self._instances[instance].images)

    def view(self, instance: int, index: int) -> ObjectView:
        """Return one view of an instance.

        Raises:
            ValueError: if a file is damaged, images have another size than the intrinsics say, a
                pose is not rigid, or a part id has no name.
        """
        opened = self._instances[instance]
        image = opened.images[index]
        color = cv2.cvtColor(read_image(image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        parts, depth = self._parts(image), _depth(image)
        for pixels, path in ((color, image), (parts, image), (depth, image)):
            _check_size(pixels, opened.camera, path)
        pose = _read_pose(_beside(image, "pose", ".txt"))
        T_world_camera = invert_transform(pose) if opened.inverted else pose
        mask = (color != WHITE).any(axis=2) if parts is None else parts > 0
        view = ObjectView(
            np.asarray(color, np.uint8),
            opened.camera,
            self._T_object_world @ T_world_camera,
            depth,
            parts,
            mask,
        )
        return view if self._size is None else resized(view, self._size)

    def _parts(self, image: Path) -> NDArray[np.uint8] | None:
        path = _beside(image, "seg", ".png")
        if not path.exists():
            return None
        parts = read_image(path, cv2.IMREAD_UNCHANGED)
        if parts.ndim != 2:
            raise ValueError(
                f"expected one channel of part ids in {path}, got {parts.shape}: store the ids "
                "themselves, not their colours"
            )
        highest = int(parts.max(initial=0))
        if highest > len(self.part_names):
            raise ValueError(
                f"expected part ids 0..{len(self.part_names)} in {path} (0 = background, then "
                f"{', '.join(self.part_names) or 'none'}), got {highest}: give "
                f"{highest} part names"
            )
        return parts.astype(np.uint8)


def _open(folder: Path) -> _Instance:
    """Return an object's folder after a look at its files."""
    images = tuple(sorted((folder / "rgb").glob("*.png")))
    if not images:
        raise ValueError(f"expected images rgb/*.png in {folder}, found none: remove that folder")
    missing = [path for path in images if not _beside(path, "pose", ".txt").exists()]
    if missing:
        raise ValueError(
            f"expected a pose for every image, got none for {missing[0]}: add "
            f"{_beside(missing[0], 'pose', '.txt')} or remove the image"
        )
    camera, inverted = read_intrinsics(folder / "intrinsics.txt")
    return _Instance(folder, camera, images, inverted)


def _beside(image: Path, kind: str, suffix: str) -> Path:
    """Return the file of another kind that belongs to an image."""
    return image.parents[1] / kind / (image.stem + suffix)


def read_intrinsics(path: Path) -> tuple[Camera, bool]:
    """Return the camera of an ``intrinsics.txt``, and whether poses are world-to-camera.

    Raises:
        ValueError: if it is missing or not as described above.
    """
    if not path.exists():
        raise ValueError(f"expected the intrinsics {path}, found none: write 'f cx cy 0' and so on")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        focal, cx, cy, *_ = (float(word) for word in lines[0])
        height, width = (int(float(word)) for word in lines[3])
        inverted = len(lines) > 4 and bool(int(lines[4][0]))
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"expected 'f cx cy 0', three numbers, a scale and 'height width' as the lines of "
            f"{path}, got {lines[:5]}: write them in this order"
        ) from error
    return Camera(focal, focal, cx - 0.5, cy - 0.5, width, height), inverted


def _read_pose(path: Path) -> NDArray[np.float64]:
    """Return the transform (4, 4) of a pose file, 16 numbers in one line or in four."""
    words = path.read_text(encoding="utf-8").split()
    try:
        numbers = np.array([float(word) for word in words]).reshape(4, 4)
        return np.asarray(check_transform(numbers), np.float64)
    except ValueError as error:
        raise ValueError(
            f"expected the 16 numbers of a rigid camera-to-world transform in {path}, got "
            f"{len(words)} words: {error}; write rotation and translation without scale"
        ) from error


def _depth(image: Path) -> NDArray[np.float32] | None:
    path = _beside(image, "depth", ".png")
    return read_depth(path).astype(np.float32) * DEPTH_UNIT if path.exists() else None


def _check_size(pixels: NDArray | None, camera: Camera, path: Path) -> None:
    if pixels is not None and pixels.shape[:2] != (camera.height, camera.width):
        raise ValueError(
            f"expected {camera.width} x {camera.height} pixels for {path} and its seg/ and depth/, "
            f"as intrinsics.txt says, got {pixels.shape[1]} x {pixels.shape[0]}: correct the last "
            "line of intrinsics.txt ('height width') or the image"
        )


def resized(view: ObjectView, size: int) -> ObjectView:
    """Return the view with square images of ``size`` pixels: means of colour, nearest of the rest.

    Raises:
        ValueError: if the view is not square.
    """
    if view.camera.width != view.camera.height:
        raise ValueError(
            f"expected square images, got {view.camera.width} x {view.camera.height}: crop them"
        )
    side = (size, size)

    def nearest(pixels: NDArray) -> NDArray:
        return np.asarray(cv2.resize(pixels, side, interpolation=cv2.INTER_NEAREST_EXACT))

    return ObjectView(
        np.asarray(cv2.resize(view.color, side, interpolation=cv2.INTER_AREA), np.uint8),
        view.camera.resized(size, size),
        view.T_object_camera,
        None if view.depth is None else nearest(view.depth),
        None if view.parts is None else nearest(view.parts),
        None if view.mask is None else nearest(view.mask.astype(np.uint8)) > 0,
    )
