"""Detection of a folder's dataset layout."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_field.data.layouts.replica import open_nice_slam, open_semantic_nerf
from semantic_field.data.layouts.scannet import open_scannet
from semantic_field.data.layouts.sequence import ImageSequence
from semantic_field.data.layouts.seven_scenes import open_seven_scenes
from semantic_field.data.layouts.tum import open_tum


@dataclass(frozen=True)
class Layout:
    """A layout: its prefixes, the files that identify it, and its reader."""

    prefixes: tuple[str, ...]
    marks: tuple[str, ...]
    open: Callable[..., ImageSequence]


LAYOUTS = (
    Layout(("replica-semantic-nerf", "replica"), ("traj_w_c.txt",), open_semantic_nerf),
    Layout(("replica-nice-slam", "replica"), ("traj.txt", "results"), open_nice_slam),
    Layout(("scannet",), ("pose", "intrinsic"), open_scannet),
    Layout(("tum",), ("rgb.txt", "depth.txt"), open_tum),
    Layout(("7scenes", "seven_scenes"), ("frame-*.pose.txt",), open_seven_scenes),
)


def open_layout(location: str | Path, **options: Any) -> ImageSequence | None:
    """Open the recording at ``PREFIX:PATH`` or ``PATH``; None if no layout is recognised.

    ``rate_hz`` is accepted for all layouts and used if the recording has no times.

    Raises:
        ValueError: if a file of the layout is missing (it is named), or on an unknown option.
    """
    prefix, colon, rest = str(location).partition(":")
    named = [layout for layout in LAYOUTS if colon and prefix.lower() in layout.prefixes]
    path = Path(rest if named else location).expanduser()
    if named and not path.is_dir():
        raise ValueError(f"expected a folder after {prefix}:, nothing is at {rest!r}")
    layout = _best(named, path) if named else detect(path)
    if layout is None:
        return None
    known = list(inspect.signature(layout.open).parameters)[1:]
    if "rate_hz" not in known:
        options.pop("rate_hz", None)
    if "register" not in known and options.get("register") is False:
        options.pop("register")
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"expected options of {layout.prefixes[0]} ({', '.join(known)}), got "
            f"{', '.join(unknown)}"
        )
    return layout.open(path, **options)


def detect(path: Path) -> Layout | None:
    """Return the layout whose files all exist, or None."""
    if not path.is_dir():
        return None
    return next((layout for layout in LAYOUTS if _count(layout, path) == len(layout.marks)), None)


def _best(named: list[Layout], path: Path) -> Layout:
    """Return the layout with the largest share of its files present."""
    return max(named, key=lambda layout: _count(layout, path) / len(layout.marks))


def _count(layout: Layout, path: Path) -> int:
    return sum(any(path.glob(mark)) for mark in layout.marks)
