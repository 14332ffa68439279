"""A recording near the zero of its coordinates, without the poses that nothing agrees with."""

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
from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame
from semantic_field.geometry import moved

log = logging.getLogger(__name__)
NAMED = 5  # frames that a note names


class PlacedSource:
    """The frames of another source that are to be used, with poses that begin at ``origin``.

    Everything else is the other source's own.

    Attributes:
        origin: float64 (3,), where in the recording's world these coordinates begin, metres.
        skipped: of the source, with the frames left out here by cause.
        notes: of the source, and why frames were left out, naming them.
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

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_source"], name)


def placed(
    source: FrameSource, origin: NDArray[np.float64] | None = None
) -> FrameSource | PlacedSource:
    """The source for those who work in float32; itself where there is nothing to be done.

    Frames whose poses nothing agrees with are left out (``pose_outlier``), and where the whole
    world moves on the way (a first GPS fix), the frames of all its places but the one with most
    frames (``world_moved``).

    Args:
        origin: of the coordinates (3,); None: zero, or a place near the first pose where that is
            far from zero.
    Raises:
        ValueError: where no pose is a place on Earth.
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
    """Where the camera was (N, 3), without decoding images where the source knows it."""
    poses = getattr(source, "poses", None)
    if poses is None:
        poses = [source[i].T_world_camera for i in range(len(source))]
    return np.stack([pose[:3, 3] for pose in poses])


def _left_out(
    source: FrameSource, places: NDArray[np.float64], chains: NDArray[np.int64]
) -> dict[int, str]:
    """The frames not to be used, with their causes."""
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
    """Whether a chain is out of reach of the main one, or shows the same from elsewhere."""
    if np.abs(places[members] - places[main[0]]).max() > REACH_M:
        return True
    for own, other in ((members[0], members[0] - 1), (members[-1], members[-1] + 1)):
        if other not in main or np.linalg.norm(places[own] - places[other]) < JUMP_M:
            continue
        inner = own + (own - other)  # beyond it, on the same side of the jump
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
