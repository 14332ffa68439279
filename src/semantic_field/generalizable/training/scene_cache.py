"""Recordings at the training size, kept on disk so that each is decoded or rendered only once.

One safetensors file for each recording, in ``$XDG_CACHE_HOME/semantic_field/scenes`` unless
another folder is given. It holds depth in whole millimetres, as depth images do. Its name is a
hash of the location, the sizes, the version of the format and what the recording's files are now
(number, size, time), so that a changed recording is read anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from semantic_field.frames import Frame
from semantic_field.geometry import Camera

log = logging.getLogger(__name__)
FORMAT = "semantic_field.scene"
VERSION = 1
MM = 1000.0
FARTHEST_M = 65.535  # readings beyond what 16 bits hold become "no reading"
Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class Recording:
    """What is known of a recording without its images.

    Attributes:
        class_names: class id to name, without void; {} without labels.
        present: class ids that occur in its label images.
        frames: their number, as read from a file.
    """

    name: str
    class_names: dict[int, str] = field(default_factory=dict)
    present: frozenset[int] = frozenset()
    frames: int = 0


def cache_file(folder: Path, location: str, size: tuple[int, int], most_frames: int) -> Path:
    """Return where a recording is kept.

    Args:
        size: width and height, pixels.
    """
    about = json.dumps([location, *size, most_frames, VERSION, _fingerprint(location)])
    return folder / f"{hashlib.sha256(about.encode()).hexdigest()[:24]}.safetensors"


def _fingerprint(location: str) -> list[int]:
    """Number, bytes and latest time of a recording's files; [] if it is no file (a room)."""
    path = Path(location)
    if not path.exists():
        path = Path(location.partition(":")[2] or location)  # tum:PATH
    if not path.exists():
        return []
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    stats = [file.stat() for file in files]
    latest = max((stat.st_mtime_ns for stat in stats), default=0)
    return [len(stats), sum(stat.st_size for stat in stats), latest]


def write_scene(path: Path, recording: Recording, frames: Iterable[Frame]) -> None:
    """Write frames of one size to a cache file, atomically.

    Raises:
        OSError: if the disk is full, or the folder cannot be written.
        ValueError: if there is no frame.
    """
    arrays = packed(list(frames))
    about = {
        "name": recording.name,
        "class_names": {str(i): name for i, name in recording.class_names.items()},
        "present": np.unique(arrays["labels"]).tolist() if "labels" in arrays else [],
        "checksum": _checksum(arrays),
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, partial, {FORMAT: json.dumps(about)})
        partial.replace(path)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own
        size = sum(array.nbytes for array in arrays.values())
        raise OSError(
            f"expected {size / 1e6:.0f} MB of room for {recording.name} in {path.parent}, got: "
            f"{error}; free some space there, or set data.cache to a folder on another disk"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def read_recording(path: Path) -> Recording | None:
    """Return what a cache file says of its recording; None if it is missing or damaged."""
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})[FORMAT])
            return _recording(about, file.get_slice("stamps").get_shape()[0])
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        return _damaged(path, error)


def read_scene(path: Path) -> tuple[Recording, list[Frame]] | None:
    """Return the contents of a cache file; None if it is missing or damaged, which is logged."""
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})[FORMAT])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _checksum(arrays) != about["checksum"]:
            raise ValueError("the checksum does not match the contents")
        return _recording(about, len(arrays["stamps"])), list(_frames(arrays))
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        return _damaged(path, error)


def _damaged(path: Path, error: Exception) -> None:
    log.warning("%s is damaged (%s) and is made anew", path, error)
    return None


def _recording(about: dict, frames: int) -> Recording:
    names = {int(i): name for i, name in about["class_names"].items()}
    present = frozenset(i for i in about["present"] if i >= 0)
    return Recording(about["name"], names, present, frames)


def packed(frames: list[Frame]) -> Arrays:
    """Return frames as arrays: colour uint8, depth uint16 (mm), ids in the smallest type."""
    if not frames:
        raise ValueError("expected at least one frame in a recording, got none")
    depth = np.stack([frame.depth for frame in frames])
    depth = np.where(depth <= FARTHEST_M, np.rint(depth * MM), 0).astype(np.uint16)
    arrays: Arrays = {
        "color": np.stack([frame.color for frame in frames]),
        "depth": depth,
        "poses": np.stack([frame.T_world_camera for frame in frames]),
        "intrinsics": np.stack([frame.camera.intrinsics for frame in frames]),
        "stamps": np.array([frame.stamp_ns for frame in frames], np.int64),
        "cameras": np.array([frame.camera_id for frame in frames], np.int32),
    }
    for name in ("labels", "instances"):
        images = [getattr(frame, name) for frame in frames]
        has = np.array([image is not None for image in images])
        if has.any():
            none = np.full(depth.shape[1:], -1, np.int32)
            arrays[name] = _narrow(np.stack([none if i is None else i for i in images]))
            arrays[f"{name}.has"] = has
    return arrays


def _narrow(ids: NDArray) -> NDArray:
    fits = ids.min() >= -(2**15) and ids.max() < 2**15
    return ids.astype(np.int16 if fits else np.int32)


def _frames(arrays: Arrays) -> Iterator[Frame]:
    height, width = arrays["depth"].shape[1:]
    for i, stamp_ns in enumerate(arrays["stamps"]):
        ids = {
            name: arrays[name][i].astype(np.int32)
            for name in ("labels", "instances")
            if name in arrays and arrays[f"{name}.has"][i]
        }
        fx, fy, cx, cy = map(float, arrays["intrinsics"][i])
        yield Frame(
            stamp_ns=int(stamp_ns),
            color=arrays["color"][i],
            depth=arrays["depth"][i].astype(np.float32) / np.float32(MM),
            camera=Camera(fx, fy, cx, cy, width, height),
            T_world_camera=arrays["poses"][i],
            camera_id=int(arrays["cameras"][i]),
            **ids,
        )


def _checksum(arrays: Arrays) -> int:
    found = 0
    for name in sorted(arrays):
        array = arrays[name]
        found = zlib.crc32(f"{name}{array.dtype}{array.shape}".encode(), found)
        found = zlib.crc32(np.ascontiguousarray(array).data, found)
    return found
