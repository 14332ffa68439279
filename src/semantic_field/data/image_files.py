"""Reading of image files, including all common formats of depth images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.bag_remedies import is_lfs_pointer

DEPTH_SUFFIXES: Final = (".png", ".pgm", ".tiff", ".tif", ".npy", ".exr")
EXR_START: Final = b"\x76\x2f\x31\x01"
os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # read when the first EXR is decoded


def read_image(path: Path, flags: int) -> NDArray:
    """Return the pixels of an image file; ``flags`` are those of ``cv2.imdecode``.

    Raises:
        ValueError: if it is missing, empty, damaged or only a git-lfs pointer.
    """
    if not path.exists():
        raise ValueError(f"expected the image {path}, found none")
    if is_lfs_pointer(path):
        raise ValueError(
            f"expected an image in {path}, got git-lfs's pointer to it; fetch the images with: "
            "git lfs pull"
        )
    raw = np.fromfile(path, np.uint8)
    try:
        pixels = cv2.imdecode(raw, flags) if raw.size else None
    except cv2.error as error:
        raise ValueError(
            f"expected an image in {path} that OpenCV can read, got: {str(error).strip()}"
        ) from error
    if pixels is None and raw[:4].tobytes() == EXR_START:
        raise ValueError(
            f"expected an image that this OpenCV reads in {path}, got OpenEXR, which it does not; "
            "write the depth as .tiff or .npy of float32 metres (oiiotool X.exr -o X.tiff)"
        )
    if pixels is None:
        raise ValueError(f"expected an image in {path}, got a damaged or empty file")
    return pixels


def read_depth(path: Path) -> NDArray:
    """Return depth (H, W) in the file's unit: uint16, or float32 with 0 for NaN and infinity.

    Raises:
        ValueError: if the file is damaged, or not one channel of uint16 or floating point.
    """
    if path.suffix.lower() == ".npy":
        depth = _read_npy(path)
    else:
        depth = read_image(path, cv2.IMREAD_UNCHANGED)
    if depth.ndim == 3 and depth.shape[2] in (3, 4) and depth.dtype == np.float32:
        depth = depth[..., 2]  # an EXR with depth in each of its colour channels
    if depth.ndim == 3 and depth.shape[2] == 1:
        depth = depth[..., 0]
    if depth.ndim != 2 or depth.dtype not in (np.uint16, np.float16, np.float32, np.float64):
        raise ValueError(
            f"expected one channel of uint16 or floats in {path}, got {depth.dtype} {depth.shape}"
        )
    if depth.dtype == np.uint16:
        return depth
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def _read_npy(path: Path) -> NDArray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"expected an array in {path}, got: {error}") from error


def fitted_labels(labels: NDArray, shape: tuple[int, int]) -> NDArray | None:
    """Resize label ids (h, w) to the size ``shape`` (H, W) by nearest pixel.

    Returns None if the aspect ratios differ by more than rounding: then the labels show another
    part of the scene."""
    (h, w), (height, width) = labels.shape, shape
    if (h, w) == shape:
        return labels
    if abs(h * width / w - height) > max(height / h, 1.0) or min(h, w) < 2:
        return None
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))
