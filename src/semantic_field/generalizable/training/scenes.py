"""The scenes of a training: recordings at one size, made once and kept on disk."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from semantic_field.data.sources import open_source
from semantic_field.frames import VOID_LABEL, Frame, split_void
from semantic_field.generalizable.episodes import Scene
from semantic_field.generalizable.training.scene_cache import (
    Recording,
    cache_file,
    read_recording,
    read_scene,
    write_scene,
)
from semantic_field.teachers.embedding_cache import cache_folder

RANGE = re.compile(r"(\d+)\.\.(\d+)")
VARIABLE = re.compile(r"\$\{?\w+")
Progress = Callable[[str, int, int], None]


def expand_locations(locations: Sequence[str]) -> list[list[str]]:
    """Return, for each entry, its locations: variables put in and ranges written out.

    ``room:seed=0..2,frames=30`` becomes three rooms.

    Raises:
        ValueError: on an unset variable, or a range that ends before it begins.
    """
    return [_written_out(_with_variables(location)) for location in locations]


def _with_variables(location: str) -> str:
    text = os.path.expandvars(os.path.expanduser(location))
    unset = VARIABLE.search(text)
    if unset:
        name = unset.group().lstrip("${")
        raise ValueError(
            f"expected the variable {name} of {location!r} to be set; type: export {name}=FOLDER"
        )
    return text


def _written_out(text: str) -> list[str]:
    span = RANGE.search(text) if text.startswith("room:") else None
    if span is None:
        return [text]
    first, last = int(span.group(1)), int(span.group(2))
    if last < first:
        raise ValueError(
            f"expected a range such as room:seed=0..9 that ends after it begins, got {text!r}"
        )
    return [f"{text[: span.start()]}{i}{text[span.end() :]}" for i in range(first, last + 1)]


class SceneSet:
    """Scenes by number, read from disk on access; those that are not there yet are made.

    Several threads and processes may share a cache folder.

    Args:
        entries: lists of locations of recordings, see ``expand_locations``.
        size: width and height to which frames are brought, pixels.
        cache: folder of the files; None = the user's cache folder.
        most_frames: a recording with more is thinned evenly to so many.
    Attributes:
        locations: of the scenes. entries: the number of the entry that each came from.
        cache_folder: of the files.
    """

    def __init__(
        self,
        entries: Sequence[Sequence[str]],
        size: tuple[int, int] = (320, 240),
        cache: Path | None = None,
        most_frames: int = 300,
    ) -> None:
        self.locations = tuple(_resolved(text) for entry in entries for text in entry)
        self.entries = tuple(i for i, entry in enumerate(entries) for _ in entry)
        if not self.locations:
            raise ValueError("expected at least one recording, such as room:seed=0..9, got none")
        self.size, self._most_frames = size, most_frames
        self.cache_folder = cache or cache_folder() / "scenes"

    def __len__(self) -> int:
        return len(self.locations)

    def __getitem__(self, number: int) -> Scene:
        """Return a scene.

        Raises:
            ValueError: if it is no readable recording.
            OSError: if it cannot be kept on disk.
        """
        found = read_scene(self._file(number))
        if found is None:
            self._make(number)
            found = read_scene(self._file(number))
        assert found is not None
        recording, frames = found
        return Scene(frames, recording.class_names)

    def prepare(self, progress: Progress, rank: int = 0, world: int = 1) -> None:
        """Make every file that is missing: of each ``world`` scenes the one of this ``rank``.

        Processes that share the work need the same cache folder.

        Args:
            progress: called with a text, the number done and the number to do.
        """
        numbers = range(rank, len(self), world)
        for done, number in enumerate(numbers):
            progress(f"preparing {self.locations[number]}", done, len(numbers))
            if read_recording(self._file(number)) is None:
                self._make(number)
        progress("scenes are prepared", len(numbers), len(numbers))

    def class_names(self) -> tuple[str, ...]:
        """Return the names of all classes that occur in label images, sorted, without void."""
        names: set[str] = set()
        for number in range(len(self)):
            recording = self._recording(number)
            names |= {n for i, n in recording.class_names.items() if i in recording.present}
        return tuple(sorted(names))

    def _recording(self, number: int) -> Recording:
        found = read_recording(self._file(number))
        if found is None:
            self._make(number)
            found = read_recording(self._file(number))
        assert found is not None
        return found

    def _file(self, number: int) -> Path:
        return cache_file(self.cache_folder, self.locations[number], self.size, self._most_frames)

    def _make(self, number: int) -> None:
        source = open_source(self.locations[number])
        count = min(len(source), self._most_frames)
        chosen = np.linspace(0, len(source) - 1, count).round().astype(int)
        names, void = split_void(dict(source.label_names))
        frames = (_without(source[int(i)].resized(*self.size), void) for i in chosen)
        write_scene(self._file(number), Recording(source.name, names), frames)


def _without(frame: Frame, void: frozenset[int]) -> Frame:
    """Return a frame whose labels of void ids are -1."""
    if frame.labels is None or not void:
        return frame
    labels = np.where(np.isin(frame.labels, list(void)), VOID_LABEL, frame.labels)
    return replace(frame, labels=labels.astype(np.int32))


def _resolved(location: str) -> str:
    path = Path(location)
    return str(path.resolve()) if path.exists() else location
