"""Wraps a recording: coordinates relative to a nearby origin, frames with outlier poses removed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.believed_poses import (
    AGREE,
    JUMP_M,
    REACH_M,
    chains_of,
    origin_of,
    possible,
)
from semantic_field.data.pose_check import shows_the_same
from semantic_field.data.sources import FrameSource, poses_of
from semantic_field.frames import Frame
from semantic_field.geometry import moved

log = logging.getLogger(__name__)
NAMED = 5  # most frames named in a note


class PlacedSource:
    """The usable frames of another source, with poses relative to ``origin``.

    All other attributes are those of the wrapped source.

    Attributes:
        origin: float64 (3,), position in the recording's world frame, metres.
        kept: positions of the used frames in the wrapped source.
        skipped: number of unused frames by cause, including those of the wrapped source.
        notes: of the wrapped source, plus sentences that name the frames left out here.
    """

    def __init__(
        self,
        source: FrameSource,
        origin: NDArray[np.float64],
        kept: Sequence[int],
        left_out: dict[str, int],
        notes: Sequence[str] = (),
    ) -> None:
        self._source, self.origin, self.kept = source, origin, list(kept)
        self.name, self.label_names = source.name, source.label_names
        self.stamps: Sequence[int] = [source.stamps[i] for i in self.kept]
        self.skipped = dict(getattr(source, "skipped", {})) | left_out
        self.notes = [*getattr(source, "notes", ()), *notes]
        indices = getattr(source, "indices", None)
        if indices is not None:
            self.indices = [indices[i] for i in self.kept]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> Frame:
        frame = self._source[self.kept[index]]
        return replace(frame, T_world_camera=moved(frame.T_world_camera, -self.origin))

    @property
    def poses(self) -> list[NDArray[np.float64]]:
        """``T_world_camera`` of all frames, from ``origin`` on."""
        known = poses_of(self._source)
        return [moved(known[i], -self.origin) for i in self.kept]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_source"], name)


def placed(
    source: FrameSource, origin: NDArray[np.float64] | None = None
) -> FrameSource | PlacedSource:
    """Return a source with coordinates near zero, so that float32 is precise, and without outliers.

    Frames with outlier poses are left out (``pose_outlier``). If the world frame jumps during the
    recording (such as at a first GPS fix), only the longest part is kept (``world_moved``).

    Args:
        origin: of the new coordinates (3,); None: zero, or if the first pose is far from zero a
            point near it.
    Returns:
        A ``PlacedSource``, or ``source`` itself if nothing has to be changed.
    Raises:
        ValueError: if no pose is on Earth.
    """
    places = positions_of(source)
    chains = chains_of(source.stamps, list(places))
    causes = _left_out(source, places, chains)
    kept = [i for i in range(len(source)) if i not in causes]
    if not kept:
        raise ValueError(
            f"expected poses in metres in {source.name}, got none that is a place on Earth: "
            f"the first is at {places[0].tolist()}; check their unit and their publisher"
        )
    notes = _notes(source, places, causes, kept)
    if origin is None:
        origin = origin_of(places[kept[0]])
    for note in notes:
        log.warning("%s: %s", source.name, note)
    if not causes and not origin.any():
        return source
    counts = {cause: list(causes.values()).count(cause) for cause in causes.values()}
    return PlacedSource(source, origin, kept, counts, notes)


def positions_of(source: FrameSource) -> NDArray[np.float64]:
    """Return the camera positions (N, 3), without decoding images if the source knows its poses."""
    return np.stack([pose[:3, 3] for pose in poses_of(source)])


def _left_out(
    source: FrameSource, places: NDArray[np.float64], chains: NDArray[np.int64]
) -> dict[int, str]:
    """Return the frames that are left out, with the cause."""
    counts = np.bincount(chains[chains >= 0])
    if not len(counts):
        return dict.fromkeys(range(len(chains)), "pose_outlier")
    main = int(counts.argmax())
    few = min(AGREE, int(counts[main]))
    causes: dict[int, str] = {}
    for number in range(-1, len(counts)):
        members = np.flatnonzero(chains == number).tolist()
        if number == main or not members:
            continue
        if number < 0 or counts[number] < few:
            causes |= dict.fromkeys(members, "pose_outlier")
        elif _another_world(source, places, np.flatnonzero(chains == main), members):
            causes |= dict.fromkeys(members, "world_moved")
    return causes


def _another_world(
    source: FrameSource, places: NDArray[np.float64], main: NDArray, members: list[int]
) -> bool:
    """Return whether a chain is too far from the main one, or shows the same scene elsewhere."""
    if np.abs(places[members] - places[main[0]]).max() > REACH_M:
        return True
    for own, other in ((members[0], members[0] - 1), (members[-1], members[-1] + 1)):
        if other not in main or np.linalg.norm(places[own] - places[other]) < JUMP_M:
            continue
        inner = own + (own - other)  # its neighbour on the same side of the jump
        others = (source[own], source[inner]) if inner in members else None
        if shows_the_same(source[own], source[other], others):
            return True
    return False


def _notes(
    source: FrameSource, places: NDArray[np.float64], causes: dict[int, str], kept: list[int]
) -> list[str]:
    notes = []
    middle = np.median(places[kept], axis=0)
    for cause, words in (
        ("pose_outlier", "left out, their poses agree with no others"),
        ("world_moved", "left out, the world was elsewhere for them"),
    ):
        frames = [i for i, own in causes.items() if own == cause]
        if frames:
            named = ", ".join(_named(source, i, places[i], middle) for i in frames[:NAMED])
            more = f" and {len(frames) - NAMED} more" if len(frames) > NAMED else ""
            notes.append(f"{len(frames)} of {len(places)} frames {words} ({cause}): {named}{more}")
    return notes


def _named(source: FrameSource, index: int, place: NDArray, middle: NDArray) -> str:
    away = "no place on Earth"
    if possible(place):
        away = f"{float(np.linalg.norm(place - middle)):.4g} m away"
    return f"frame {index} (stamp {source.stamps[index] / 1e9:.3f} s, {away})"
