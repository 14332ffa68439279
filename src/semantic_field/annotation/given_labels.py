"""The label images that a person has drawn: found, checked, and matched with frames."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.folder import read_class_names
from semantic_field.data.layouts.sequence import read_image
from semantic_field.data.message_images import void_to_minus_one
from semantic_field.data.sources import FrameSource
from semantic_field.frames import VOID_LABEL, split_void

SAME_TIME_NS = 1_000_000
FIRST_STAMP_NS = 1_000_000_000  # a smaller number is a frame's, a larger one a stamp
NAMES = ("labels.json", "names.txt")


@dataclass(frozen=True)
class GivenLabels:
    """Label images by position in the recording: int32 ids (H, W), -1 = void, and the names."""

    images: dict[int, NDArray[np.int32]]
    names: dict[int, str]

    def fingerprint(self) -> str:
        """Changes with any pixel or name."""
        digest = hashlib.sha256(json.dumps(sorted(self.names.items())).encode())
        for position, image in sorted(self.images.items()):
            digest.update(str(position).encode() + image.tobytes())
        return digest.hexdigest()[:16]


def read_given_labels(folder: str | Path, source: FrameSource) -> GivenLabels:
    """Read ``folder``: PNGs of one channel named by frame number or stamp (ns), and the names.

    A number is the one in the recording's own file names, or the position where it has none;
    a stamp has to be within 1 ms of a frame's. 255 (8 bits) and 65535 (16 bits) are unlabelled,
    and so are names like "void". Names stand in ``labels.json`` or in ``names.txt`` (an id and
    a name on each line).

    Raises:
        ValueError: no images, no names, an image that fits no frame, two for one frame, colours
            in place of ids, another size than the recording's, or an id without a name.
    """
    folder = Path(folder)
    files = sorted(f for f in folder.glob("*.png") if not f.name.startswith("."))
    if not files:
        raise ValueError(f"expected label images such as 000012.png in {folder}, found none")
    names, void = split_void(_read_names(folder))
    numbers = {number: i for i, number in enumerate(frame_numbers(source))}
    camera = source[0].camera
    images: dict[int, NDArray[np.int32]] = {}
    for file in files:
        position = _position(file, numbers, source)
        if position in images:
            raise ValueError(f"expected one label image for each frame, {file} is a second one")
        ids = _read_ids(file, (camera.height, camera.width))
        images[position] = _named(file, ids, names, void)
    if not any((image >= 0).any() for image in images.values()):
        raise ValueError(f"expected labelled pixels in {folder}, all of its images are void")
    return GivenLabels(images, names)


def frame_numbers(source: FrameSource) -> list[int]:
    """The number of each frame in the recording's own file names, or its position."""
    return list(getattr(source, "indices", range(len(source))))


def _read_names(folder: Path) -> dict[int, str]:
    for file in (*(folder / name for name in NAMES), folder.with_suffix(".json")):
        if file.exists() and file.suffix == ".json":
            return read_class_names(file)
        if file.exists():
            return dict(_name_line(file, n, line) for n, line in _lines(file))
    raise ValueError(
        f"expected the names of the ids in {folder}/labels.json "
        '({"classes": [{"id": 1, "name": "chair"}]}) or names.txt ("1 chair"), found neither'
    )


def _lines(file: Path) -> list[tuple[int, str]]:
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    return [(n, line) for n, line in lines if line.split("#")[0].strip()]


def _name_line(file: Path, number: int, line: str) -> tuple[int, str]:
    id_text, _, name = line.split("#")[0].strip().partition(" ")
    if not id_text.isdecimal() or not name.strip():
        raise ValueError(f"expected an id and a name in line {number} of {file}, got {line!r}")
    return int(id_text), name.strip()


def _position(file: Path, numbers: dict[int, int], source: FrameSource) -> int:
    """Where the frame of a label image stands in the recording."""
    if not file.stem.isdecimal():
        raise ValueError(f"expected a frame number or a stamp as in 000012.png, got {file}")
    number = int(file.stem)
    if number in numbers:
        return numbers[number]
    if number >= FIRST_STAMP_NS:
        apart = np.abs(np.asarray(source.stamps, np.int64) - number)
        if apart.min() <= SAME_TIME_NS:
            return int(apart.argmin())
    known = f"{min(numbers)}..{max(numbers)}"
    raise ValueError(
        f"expected {file} to be named after a frame of {source.name} (numbers {known}, or a "
        f"stamp from {source.stamps[0]} to {source.stamps[-1]} ns)"
    )


def _read_ids(file: Path, size: tuple[int, int]) -> NDArray[np.int32]:
    import cv2

    pixels = read_image(file, cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"expected class ids in one channel of 8 or 16 bits in {file}, got {pixels.dtype} "
            f"{pixels.shape}: save ids, not colours (and no palette)"
        )
    if pixels.shape != size:
        raise ValueError(
            f"expected {file} of {size} (height, width) like the recording, got {pixels.shape}: "
            "draw labels at the images' own size, or enlarge them by nearest neighbour"
        )
    return void_to_minus_one(pixels)


def _named(
    file: Path, ids: NDArray[np.int32], names: dict[int, str], void: frozenset[int]
) -> NDArray[np.int32]:
    present, counts = np.unique(ids, return_counts=True)
    unknown = [
        f"{i} ({n} pixels)"
        for i, n in zip(present.tolist(), counts.tolist(), strict=True)
        if i >= 0 and i not in names and i not in void
    ]
    if unknown:
        raise ValueError(
            f"expected ids with a name in {file}, got {', '.join(unknown)}: name them, or paint "
            "them 255 (8 bits) or 65535 (16 bits) for unlabelled"
        )
    return np.where(np.isin(ids, list(void)), VOID_LABEL, ids).astype(np.int32)
