"""Folder writer for any ``FrameSource``; ``FolderSource`` reads the result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame

NO_ID = 65535


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Context manager that yields a temporary folder and renames it to ``path`` at the end.

    On an error or Ctrl-C the temporary folder is deleted, as are leftovers of killed processes.

    Raises:
        ValueError: if ``path`` exists.
    """
    if path.exists():
        raise ValueError(f"expected a new path to write to, {path} exists; remove it first")
    hidden = path.parent / f".{path.name}.partial"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    try:
        # One level deeper, under the final name, as files inside may be named after their folder.
        (hidden / path.name).mkdir()
        yield hidden / path.name
        (hidden / path.name).rename(path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def write_folder(
    source: FrameSource,
    path: str | Path,
    color_suffix: str = ".jpg",
    indices: Iterable[int] | None = None,
) -> None:
    """Write the frames of ``source`` (all, or those of ``indices``) to the new folder ``path``.

    Depth is rounded to millimetres (at most 65.535 m, else 0); colour is JPEG of quality 95 or
    PNG, by ``color_suffix``. Labels are written to ``semantic/`` with ``labels.json``.

    Raises:
        ValueError: if ``path`` exists, there are no frames, cameras differ, or ids exceed 65534.
    """
    if color_suffix not in (".jpg", ".png"):
        raise ValueError(f"expected color_suffix .jpg or .png, got {color_suffix!r}")
    if len(source) == 0:
        raise ValueError(f"expected frames to write, got none from {source.name}")
    with new_folder(Path(path)) as folder:
        _write_frames(
            source, folder, color_suffix, range(len(source)) if indices is None else indices
        )


def _write_frames(
    source: FrameSource, folder: Path, color_suffix: str, indices: Iterable[int]
) -> None:
    poses, stamps, camera = ["# index, then the 4x4 camera-to-world matrix row by row"], [], None
    for index in indices:
        frame = source[index]
        camera = camera or frame.camera
        if frame.camera != camera:
            raise ValueError(f"expected one camera, frame {index} has {frame.camera}, not {camera}")
        _write_images(folder, f"{index:06d}", frame, color_suffix)
        numbers = " ".join(f"{value:.17g}" for value in frame.T_world_camera.ravel())
        poses.append(f"{index:06d} {numbers}")
        stamps.append(f"{index:06d} {frame.stamp_ns}")
    if camera is None:
        raise ValueError(f"expected frames to write from {source.name}, got no indices")
    (folder / "poses.txt").write_text("\n".join(poses) + "\n")
    (folder / "stamps.txt").write_text("\n".join(stamps) + "\n")
    intrinsics = {**vars(camera), "depth_scale": 0.001}
    (folder / "intrinsics.json").write_text(json.dumps(intrinsics, indent=1) + "\n")
    if source.label_names:
        classes = [{"id": i, "name": name} for i, name in sorted(source.label_names.items())]
        (folder / "labels.json").write_text(json.dumps({"classes": classes}, indent=1) + "\n")


def _write_images(folder: Path, stem: str, frame: Frame, color_suffix: str) -> None:
    bgr = cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR)
    _write(folder / "color" / (stem + color_suffix), np.asarray(bgr))
    _write(folder / "depth" / f"{stem}.png", depth_millimetres(frame.depth))
    if frame.labels is not None:
        _write(folder / "semantic" / f"{stem}.png", ids_to_uint16(frame.labels))
    if frame.instances is not None:
        _write(folder / "instance" / f"{stem}.png", ids_to_uint16(frame.instances))


def depth_millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Convert depth in metres to uint16 millimetres; 0 if there is none or above 65.535 m."""
    millimetres = np.rint(depth * 1000)
    return np.where(millimetres <= 65535, millimetres, 0).astype(np.uint16)


def ids_to_uint16(ids: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Convert ids to uint16, -1 becomes 65535; ValueError for ids above 65534."""
    if ids.max(initial=0) >= NO_ID:
        raise ValueError(f"expected ids up to 65534, got {ids.max()}")
    return np.where(ids < 0, NO_ID, ids).astype(np.uint16)


def _write(path: Path, image: NDArray) -> None:
    path.parent.mkdir(exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    ok, encoded = cv2.imencode(path.suffix, image, options)
    if not ok:
        raise ValueError(f"expected an image that {path.suffix} can hold, got {image.dtype}")
    path.write_bytes(encoded.tobytes())
