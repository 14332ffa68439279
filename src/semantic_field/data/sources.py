"""``FrameSource``, the common interface of recordings, and ``open_source``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.bag_files import is_bag
from semantic_field.data.geometry_check import PosedSource, check_geometry
from semantic_field.frames import Frame

ROOM_OPTIONS = {
    "seed": int,
    "frames": int,
    "noise": lambda text: bool(int(text)),
    "width": int,
    "height": int,
    "rate_hz": float,
}


class FrameSource(Protocol):
    """A sequence of posed RGB-D frames, decoded or rendered on access.

    Attributes:
        name: short, for reports.
        label_names: class id to name; {} without labels.
        stamps: the frames' ``stamp_ns``, known without decoding them.
    """

    name: str
    label_names: dict[int, str]
    stamps: Sequence[int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame:
        """Return the frame at 0..len-1; ValueError if its data is damaged."""
        ...


def open_source(location: str | Path, **options: Any) -> FrameSource:
    """Open a recording or a simulated room.

    Args:
        location: a folder (see ``folder``), a rosbag2 (its directory, a .db3 or .mcap file), a
            folder in a published layout (see ``layouts``; also ``tum:PATH`` and so on), or
            ``room``, also with options: ``room:seed=3,frames=60,noise=1,width=320,height=240``.
        options: of FolderSource, BagSource, a layout or SimulatedRoom. ``rate_hz`` is accepted by
            all and used if the recording has no stamps; ``register=False`` is accepted by all
            recordings and uses their depth unchanged.
    Raises:
        ValueError: if there is no recording, on an unknown option, or if the images contradict the
            recording's camera, depth or poses (see ``geometry_check``).
    """
    source = _open(location, options)
    recorded = not _is_room(str(location))  # simulated data need no check
    if recorded and getattr(source, "has_depth", True):
        check_geometry(cast(PosedSource, source), options.keys())
    return source


def poses_of(source: FrameSource) -> Sequence[NDArray[np.float64]]:
    """``T_world_camera`` (4, 4) of all frames; decodes images only where the source needs it."""
    known = getattr(source, "poses", None)
    if known is not None:
        return known
    return [source[i].T_world_camera for i in range(len(source))]


def _open(location: str | Path, options: dict[str, Any]) -> FrameSource:
    """Open a recording without checking its geometry."""
    text, options = str(location), dict(options)
    if _is_room(text):
        from semantic_field.data.simulated_room import SimulatedRoom

        return _make(SimulatedRoom, (), {**options, **parse_room(text)})
    path = Path(location).expanduser()
    if not (path / "poses.txt").exists():
        from semantic_field.data.layouts import open_layout

        published = open_layout(location, **options)
        if published is not None:
            return published
    if not path.exists():
        raise ValueError(f"expected a folder, a rosbag2 or 'room', nothing is at {text!r}")
    if (path / "poses.txt").exists() or (path / "color").is_dir():
        from semantic_field.data.folder import FolderSource

        return _make(FolderSource, (path,), options)
    if is_bag(path):
        from semantic_field.data.rosbag import BagSource

        options.pop("rate_hz", None)  # a bag has its own stamps
        return _make(BagSource, (path,), options)
    raise ValueError(
        f"expected a folder with color/, depth/, poses.txt and intrinsics.json, a rosbag2 "
        f"(directory, .db3 or .mcap), or one in the layout of Replica, ScanNet, TUM RGB-D or "
        f"7-Scenes, got {text!r}{_hint(path)}"
    )


def _is_room(text: str) -> bool:
    return text == "room" or text.startswith("room:")


def parse_room(text: str) -> dict[str, Any]:
    """Parse the options of ``room:seed=3,frames=60``; ValueError for unknown ones."""
    options: dict[str, Any] = {}
    for item in text.partition(":")[2].split(","):
        name, _, value = item.strip().partition("=")
        if not name:
            continue
        try:
            options["n_frames" if name == "frames" else name] = ROOM_OPTIONS[name](value)
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"expected options {', '.join(ROOM_OPTIONS)} such as room:seed=3,frames=60, "
                f"got {item!r}"
            ) from error
    if "width" in options or "height" in options:
        options["size"] = (options.pop("width", 640), options.pop("height", 480))
    return options


def _make(kind: type, arguments: tuple, options: dict[str, Any]) -> FrameSource:
    known = list(inspect.signature(kind).parameters)[len(arguments) :]
    if "register" not in known and options.get("register") is False:
        options.pop("register")
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"expected options of {kind.__name__} ({', '.join(known)}), got {', '.join(unknown)}"
        )
    return kind(*arguments, **options)


def _hint(path: Path) -> str:
    if path.suffix == ".bag":
        return "; a ROS 1 bag becomes a rosbag2 with: rosbags-convert --src X.bag --dst X"
    return ""
