"""Maps the train frames within a budget, and keeps snapshots of the way there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from semantic_field.evaluation.protocols.protocol import Training
from semantic_field.evaluation.protocols.splits import TrainFrames
from semantic_field.field.map_file import dump_map, load_map, read_map, write_map
from semantic_field.field.map_state import MapState
from semantic_field.mapping import Mapper
from semantic_field.mapping.mapper import MapperStatus

CHUNK_STEPS = 5
POLL_S = 0.02
LAST_FRACTION = 1.0

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Milestone:
    """The map on its way: seconds of mapping, the mapper's status, and the snapshot's file."""

    seconds: float
    status: MapperStatus
    path: Path

    def load(self) -> MapState:
        return load_map(read_map(self.path))


@dataclass
class MappingRun:
    """What mapping left behind.

    Attributes:
        seconds: of mapping; snapshots for the curves do not count.
        first_answer_s: seconds from the first frame until a text was answered (online only).
        given, taken: frames offered to the mapper, and accepted.
    """

    state: MapState
    status: MapperStatus
    seconds: float
    given: int
    taken: int
    loading_s: float
    first_answer_s: float | None = None
    milestones: list[Milestone] = field(default_factory=list)


class Stopwatch:
    """Seconds since its start, without those spent in ``pause``."""

    def __init__(self) -> None:
        self._start, self._paused = time.monotonic(), 0.0

    def seconds(self) -> float:
        return time.monotonic() - self._start - self._paused

    @contextmanager
    def pause(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._paused += time.monotonic() - began


class MappingJob:
    """One mapper, its frames and its budget.

    Args:
        mapper: not started; its label names are set here.
        frames: the only frames that it will see.
        training: mode and budget.
        folder: for the snapshots of the curves.
        points: how many; 0 = none.
        first_answer: asks a snapshot something; called once, "online" only.
        progress: told what is done and how much of it, 0..1.
    """

    def __init__(
        self,
        mapper: Mapper,
        frames: TrainFrames,
        training: Training,
        folder: Path,
        points: int = 0,
        first_answer: Callable[[MapState], object] | None = None,
        progress: Progress = lambda text, share: None,
    ) -> None:
        self._mapper, self._frames, self._training = mapper, frames, training
        self._folder, self._first_answer, self._progress = folder, first_answer, progress
        # Most happens early: each point at twice the time of the one before.
        self._fractions = [LAST_FRACTION / 2**i for i in reversed(range(points))]
        self._points = points
        self._milestones: list[Milestone] = []
        self._watch = Stopwatch()
        self._answered_s: float | None = None
        self._over = threading.Event()

    def run(self) -> MappingRun:
        """Map until the budget is used up.

        Raises:
            RuntimeError: where training stopped on its own. What ``first_answer`` raises comes out,
            too.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mapper.set_label_names(self._frames.label_names)
        return self._batch() if self._training.mode == "batch" else self._online()

    def _share(self) -> float:
        """How much of the budget is used."""
        training, shares = self._training, [0.0]
        if training.seconds:
            shares.append(self._watch.seconds() / training.seconds)
        if training.steps:
            shares.append(self._mapper.status().steps / training.steps)
        return max(shares)

    def _batch(self) -> MappingRun:
        began, taken = time.monotonic(), 0
        for i in range(len(self._frames)):
            taken += self._mapper.add_frame(self._frames[i])
            self._progress("reading frames", (i + 1) / len(self._frames))
        self._mapper.spread_clicks()
        loading = time.monotonic() - began
        self._watch = Stopwatch()
        while (share := self._share()) < 1.0:
            self._mapper.train_steps(self._chunk())
            self._progress("training", min(1.0, share))
            self._mark()
        return self._finished(len(self._frames), taken, loading)

    def _chunk(self) -> int:
        """Steps until the clock is looked at again, or the next point of the curves."""
        if not self._training.steps:
            return CHUNK_STEPS
        ahead = self._fractions[0] if self._fractions else 1.0
        target = round(ahead * self._training.steps)
        return max(1, min(CHUNK_STEPS, target - self._mapper.status().steps))

    def _online(self) -> MappingRun:
        mapper, period = self._mapper, 1.0 / self._training.rate_hz
        asking = ThreadPoolExecutor(1, "first answer")
        self._watch = Stopwatch()
        given = taken = 0
        mapper.start()
        asked = asking.submit(self._ask_first)
        try:
            while (share := self._share()) < 1.0 and not mapper.status().error:
                if given < len(self._frames) and self._watch.seconds() >= given * period:
                    taken += mapper.add_frame(self._frames[given])
                    given += 1
                else:
                    time.sleep(POLL_S)
                self._progress("mapping online", min(1.0, share))
                self._mark()
        finally:
            mapper.stop()
            self._over.set()
            asking.shutdown()
        asked.result()  # raises what was raised there
        return self._finished(given, taken, 0.0)

    def _ask_first(self) -> None:
        while self._first_answer is not None and not self._over.wait(POLL_S):
            if self._mapper.status().steps:
                self._first_answer(self._mapper.snapshot())
                self._answered_s = self._watch.seconds()
                return

    def _mark(self) -> None:
        """Keep a snapshot where the next point of the curves is reached."""
        share = self._share()
        status = self._mapper.status()
        while self._fractions and share >= self._fractions[0] - 1e-9:
            fraction = self._fractions.pop(0)
            if fraction < LAST_FRACTION and status.steps and status.keyframes:
                self._keep(self._mapper.snapshot())

    def _keep(self, state: MapState) -> None:
        seconds, status = self._watch.seconds(), self._mapper.status()
        path = self._folder / f"{len(self._milestones):03d}.map"
        if self._training.mode == "batch":
            with self._watch.pause():
                write_map(path, dump_map(state))
        else:
            write_map(path, dump_map(state))
        self._milestones.append(Milestone(seconds, status, path))

    def _finished(self, given: int, taken: int, loading_s: float) -> MappingRun:
        seconds, status = self._watch.seconds(), self._mapper.status()
        if status.error:
            raise RuntimeError(f"training stopped: {status.error}")
        if not status.keyframes:
            why = ", ".join(f"{n} {cause}" for cause, n in status.dropped.items())
            raise RuntimeError(f"no frame became a keyframe, of {given}; dropped: {why or 'none'}")
        if not status.steps:
            raise RuntimeError(
                f"no training step was taken in the budget ({self._training.describe()}): allow "
                "more time"
            )
        state = self._mapper.snapshot()
        if self._points:
            self._keep(state)
        return MappingRun(
            state=state,
            status=status,
            seconds=seconds,
            given=given,
            taken=taken,
            loading_s=loading_s,
            first_answer_s=self._answered_s,
            milestones=self._milestones,
        )
