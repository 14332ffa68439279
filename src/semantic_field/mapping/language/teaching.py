"""Keyframes on their way to the teachers of images and back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from semantic_field.config import MappingConfig
from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.language.teacher_worker import TeacherWorker
from semantic_field.mapping.turns import Turns
from semantic_field.teachers.image_teachers import ImageTargets, ImageTeachers, Sight


class Lessons:
    """Which keyframes were looked at, and what was seen and has not been learnt yet.

    Keyframes are known by their identities: one that gave way while a teacher looked at it is
    forgotten. ``next_sight`` and ``arrived`` must be called while the keyframes hold still.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._arrived: dict[int, ImageTargets] = {}
        self._lock = threading.Lock()

    def waiting(self, store: KeyframeStore | None, skip: frozenset[int] = frozenset()) -> list[int]:
        """Slots of the keyframes that no teacher has looked at, newest first."""
        if store is None:
            return []
        with self._lock:
            serials = store.identities[: store.count].tolist()
            known = self._seen | skip
        slots = [i for i, serial in enumerate(serials) if serial not in known]
        return sorted(slots, key=lambda slot: -serials[slot])

    def next_sight(
        self, store: KeyframeStore | None, names: Mapping[int, str], skip: frozenset[int]
    ) -> Sight | None:
        """A copy of the newest keyframe that waits; None where none does."""
        slots = self.waiting(store, skip)
        if store is None or not slots:
            return None
        return sight_of(store, slots[0], names)

    def deliver(self, sight: Sight, targets: ImageTargets) -> None:
        """What the teachers saw, until the map learns it."""
        with self._lock:
            self._seen.add(sight.serial)
            self._arrived[sight.serial] = targets

    def arrived(self, store: KeyframeStore) -> list[tuple[int, ImageTargets]]:
        """What has come since the last call, with the slots that its keyframes are in now."""
        slots = {serial: i for i, serial in enumerate(store.identities[: store.count].tolist())}
        with self._lock:
            arrived, self._arrived = self._arrived, {}
            self._seen.intersection_update(slots)
        return [(slots[serial], seen) for serial, seen in arrived.items() if serial in slots]


class Teaching:
    """Teachers at work for one mapper: in a thread of their own, or at once in the caller's.

    Args:
        teachers: what looks. threads: of torch in the worker.
        keyframes, names: the mapper's keyframes, and the names of their label rows.
        turns: keeps keyframes still.
    """

    def __init__(
        self,
        teachers: ImageTeachers,
        threads: int,
        keyframes: Callable[[], KeyframeStore | None],
        names: Callable[[], Mapping[int, str]],
        turns: Turns,
    ) -> None:
        self.teachers, self._keyframes, self._names = teachers, keyframes, names
        self._turns, self._lessons = turns, Lessons()
        self._worker = TeacherWorker(
            teachers.look, self._next_sight, self._deliver, self._backlog, threads
        )
        self.start, self.stop = self._worker.start, self._worker.stop
        self.wake, self.status = self._worker.wake, self._worker.status

    def forget(self) -> None:
        """The keyframes are gone."""
        self._lessons = Lessons()
        self.teachers.forget()

    def look_now(self) -> None:
        """Look at every keyframe that waits; to be called while the keyframes hold still.

        Raises:
            ValueError: what the teachers raise.
        """
        while sight := self._lessons.next_sight(self._keyframes(), self._names(), frozenset()):
            self._deliver(sight, self.teachers.look(sight))

    def arrived(self) -> list[tuple[int, ImageTargets]]:
        """See ``Lessons.arrived``."""
        store = self._keyframes()
        return self._lessons.arrived(store) if store is not None else []

    def _next_sight(self, skip: frozenset[int]) -> Sight | None:
        with self._turns.visit():
            return self._lessons.next_sight(self._keyframes(), self._names(), skip)

    def _deliver(self, sight: Sight, targets: ImageTargets) -> None:
        self._lessons.deliver(sight, targets)

    def _backlog(self, skip: frozenset[int]) -> int:
        return len(self._lessons.waiting(self._keyframes(), skip))


def precompute(
    frames: Iterable[Frame], teachers: ImageTeachers, config: MappingConfig
) -> Iterator[ImageTargets]:
    """Look at frames just as mapping them will, so that the teachers' stores know them then."""
    depth_range = (config.min_depth_m, config.max_depth_m)
    store: KeyframeStore | None = None
    for frame in frames:
        frame = frame.no_wider_than(config.max_image_width)
        if store is None:
            size = frame.camera.width, frame.camera.height
            store = KeyframeStore(*size, 1, depth_range, config.drop_veils)
        yield teachers.look(sight_of(store, store.add(frame, None), {}))


def sight_of(store: KeyframeStore, slot: int, names: Mapping[int, str]) -> Sight:
    """A copy of a keyframe for the teachers; its labels are rows, ``names`` those of the rows."""
    width, height = (int(side) for side in store.cameras.sizes[slot])
    fx, fy, cx, cy = store.cameras.intrinsics[slot].tolist()
    color, stored, labels = (image[slot, : width * height] for image in store.images)
    depth = np.where(stored & GUESSED, 0, stored).astype(np.float32) * np.float32(DEPTH_UNIT_M)
    return Sight(
        serial=int(store.identities[slot]),
        stamp_ns=int(store.stamps_ns[slot]),
        color=color.reshape(height, width, 3).copy(),
        depth=depth.reshape(height, width),
        camera=Camera(fx, fy, cx, cy, width, height),
        labels=np.maximum(labels, -1).reshape(height, width).astype(np.int32),
        label_names=names,
    )
