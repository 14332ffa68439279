"""Mapping of the train frames within a budget, with intermediate snapshots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from semantic_field.data.sources import FrameSource
from semantic_field.evaluation.protocols.protocol import Training
from semantic_field.evaluation.scores.refined_views import learnt
from semantic_field.field.map_file import dump_map, load_map, read_map, write_map
from semantic_field.field.map_state import MapState
from semantic_field.mapping import Mapper
from semantic_field.mapping.mapper import MapperStatus
from semantic_field.mapping.renderer import Renderer

CHUNK_STEPS = 5
POLL_S = 0.02
LAST_FRACTION = 1.0

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Milestone:
    """An intermediate snapshot: seconds of mapping, the mapper's status, and the map file."""

    seconds: float
    status: MapperStatus
    path: Path

    def load(self) -> MapState:
        return load_map(read_map(self.path))


@dataclass
class MappingRun:
    """Result of a mapping job.

    Attributes:
        state, status: the final map, and the mapper's status.
        renderer: renders the final map.
        seconds: mapping time, without the time for saving snapshots in "batch" mode.
        given, taken: number of frames offered to the mapper, and accepted.
        loading_s: time to read the frames; 0 in "online" mode.
        first_answer_s: seconds from the first frame until a text was answered (online only).
        milestones: intermediate snapshots, and the final one.
        is_refined: whether poses or exposures of the keyframes were learnt.
    """

    state: MapState
    renderer: Renderer
    status: MapperStatus
    seconds: float
    given: int
    taken: int
    loading_s: float
    first_answer_s: float | None = None
    milestones: list[Milestone] = field(default_factory=list)
    is_refined: bool = False


class Stopwatch:
    """Measures seconds since its start, except those spent in ``pause``."""

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
    """Maps frames with one mapper within a budget.

    Args:
        mapper: not started; its label names are set here.
        frames: the only frames that the mapper gets.
        training: mode and budget.
        folder: for the snapshots of the curves.
        points: number of snapshots; 0 = none.
        first_answer: queries a snapshot; called once, in "online" mode only.
        progress: called with what is being done and the share that is done, 0..1.
    """

    def __init__(
        self,
        mapper: Mapper,
        frames: FrameSource,
        training: Training,
        folder: Path,
        points: int = 0,
        first_answer: Callable[[MapState], object] | None = None,
        progress: Progress = lambda text, share: None,
    ) -> None:
        self._mapper, self._frames, self._training = mapper, frames, training
        self._folder, self._first_answer, self._progress = folder, first_answer, progress
        # Most changes happen early: each point is at twice the time of the one before.
        self._fractions = [LAST_FRACTION / 2**i for i in reversed(range(points))]
        self._points = points
        self._milestones: list[Milestone] = []
        self._watch = Stopwatch()
        self._answered_s: float | None = None
        self._over = threading.Event()

    def run(self) -> MappingRun:
        """Map until the budget is used up, and return the result.

        Raises:
            RuntimeError: if training failed, no frame became a keyframe, or no step was done.
                Exceptions of ``first_answer`` are raised here, too.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mapper.set_label_names(self._frames.label_names)
        return self._batch() if self._training.mode == "batch" else self._online()

    def _share(self) -> float:
        """Return the used share of the budget; 1 and more when it is used up."""
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
        """Return the number of steps until the next check of the budget, at least 1."""
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
        """Keep a snapshot if the next point of the curves is reached."""
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
            renderer=self._mapper.renderer(),
            status=status,
            seconds=seconds,
            given=given,
            taken=taken,
            loading_s=loading_s,
            first_answer_s=self._answered_s,
            milestones=self._milestones,
            is_refined=bool(learnt(status.switches)),
        )
