"""Report of a live run over topics: the data collected by the scorer node, and its scoring."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semantic_field.config import Config, SourceConfig
from semantic_field.data.placed import PlacedSource, placed
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.evaluation.baselines.without_map import score_without_map, shortfalls
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.protocols.splits import Split
from semantic_field.evaluation.runner import Evaluation, head, label_notes, plain
from semantic_field.evaluation.scores.cost import latency, rss_mb
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames
from semantic_field.evaluation.scores.scoring import held_out, score_map
from semantic_field.field.map_file import dump_map
from semantic_field.field.map_state import MapState
from semantic_field.frames import Frame
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.mapping.renderer import Renderer
from semantic_field.teachers import make_language_teacher


class ReceivedFrames:
    """A ``FrameSource`` of frames received over topics, ordered by stamp."""

    def __init__(self, name: str, label_names: dict[int, str], frames: Sequence[Frame]) -> None:
        self.name, self.label_names = name, label_names
        self._frames = sorted(frames, key=lambda frame: frame.stamp_ns)
        self.stamps: Sequence[int] = [frame.stamp_ns for frame in self._frames]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]


@dataclass
class LiveRun:
    """Data collected during a live run.

    Attributes:
        recording: the replayed recording, for ``open_source``.
        protocol: the protocol of the run.
        state: the last map snapshot.
        frames: held-out frames as received over topics.
        config: settings of the mapping and query node.
        mapping_s: seconds from the first frame to the end of mapping.
        status: the mapping node's last FieldStatus, as plain values.
        first_answer_s: seconds until a text was answered; None if none was.
        processes: resources of the nodes' processes by name, see ``sibling_processes``.
        answer_s: durations of the calls of the query service, seconds.
        rays_per_s: as reported while mapping.
        curve: points of the curves over time.
        reading: how the recording is read.
    """

    recording: str
    protocol: Protocol
    state: MapState
    frames: ReceivedFrames
    config: Config
    mapping_s: float
    status: dict[str, Any]
    first_answer_s: float | None = None
    processes: dict[str, dict[str, float]] = field(default_factory=dict)
    answer_s: list[float] = field(default_factory=list)
    rays_per_s: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    reading: SourceConfig = field(default_factory=SourceConfig)


def live_report(run: LiveRun) -> Evaluation:
    """Score a live run and return its report.

    Raises:
        ValueError: if no held-out frame was received, or the recording cannot be read here.
    """
    if not len(run.frames):
        raise ValueError(
            "expected held-out frames on held_out/ topics, got none: does the replay node have "
            "the same protocol?"
        )
    recording = open_source(run.recording, **run.reading.options())
    split = run.protocol.make_split(len(recording))
    state, source = run.state.in_own_frame(), placed(recording, run.state.origin)
    received = PlacedSource(run.frames, run.state.origin, range(len(run.frames)), {})
    positions = held_out(range(len(run.frames)), run.protocol)
    teacher = make_language_teacher(run.config.teacher) if run.protocol.queries else None
    frames = HeldOutFrames(received, positions, run.protocol.views.width)
    renderer = Renderer.of(state, sources=KeyframeViews.of(state))
    scores = score_map(state, renderer, frames, source, run.protocol, teacher, run.config.query)
    scores.cost["query_latency"] = latency(run.answer_s)
    scores.quality["baseline"] = score_without_map(
        _mapped(source, split),
        frames,
        scores.objects,
        state,
        run.protocol,
        teacher,
        run.config.query,
    )
    notes = [*label_notes(run.recording), *getattr(source, "notes", ()), *scores.notes]
    notes += shortfalls(scores.quality)
    missing = len(split.test) - len(run.frames)
    if missing > 0:
        notes.append(f"{missing} of {len(split.test)} held-out frames did not arrive")
    notes.append("Live run over topics: CPU time and memory are those of the nodes' processes")
    notes.append("Views are scored with poses and exposures as recorded, even if the map refines")
    report = head(run.recording, source, run.protocol, run.config) | {
        "split": {
            "train": len(split.train),
            "test": len(split.test),
            "rendered": positions,
            "held_out_received": len(run.frames),
        },
        "quality": scores.quality,
        "cost": scores.cost | _cost(run),
        "curve": run.curve,
        "views": [asdict(record) for record in scores.records],
        "notes": notes,
    }
    return Evaluation(plain(report), received, run.protocol, state, renderer, scores.engine)


def _mapped(source: FrameSource | PlacedSource, split: Split) -> PlacedSource:
    """Return those frames of ``source`` that the split of the whole recording maps."""
    kept = source.kept if isinstance(source, PlacedSource) else range(len(source))
    train = frozenset(split.train)
    positions = [i for i, frame in enumerate(kept) if frame in train]
    return PlacedSource(source, np.zeros(3), positions, {})


def _cost(run: LiveRun) -> dict[str, Any]:
    status, mapping = run.status, run.processes.get("mapping_node", {})
    return {
        "mode": "live",
        "mapping_s": run.mapping_s,
        "frames_given": status["frames_received"],
        "frames_taken": status["keyframes"],
        "frames_dropped": status["dropped"],
        "keyframes": status["keyframes"],
        "keyframes_per_s": status["keyframes"] / run.mapping_s,
        "steps": status["steps"],
        "steps_per_s": status["steps"] / run.mapping_s,
        "rays_per_s": run.rays_per_s,
        "first_answer_s": run.first_answer_s,
        "cpu_s": mapping.get("cpu_s"),
        "peak_rss_mb": mapping.get("peak_rss_mb"),
        "mapper_memory_mb": status["memory_mb"],
        "map_file_mb": len(dump_map(run.state)) / 1e6,
        "kernels": status["kernels"],
        "processes": run.processes,
    }


def sibling_processes(names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return CPU seconds and memory (MB) of the sibling processes with these node names.

    Siblings have the same parent process. Names that are not among them (on another machine, from
    another launch) are left out.
    """
    found = {}
    for pid in _children(os.getppid()):
        command = _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")
        name = next((name for name in names if name in command), None)
        stat = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        if name is None or len(stat) < 13:
            continue
        ticks = os.sysconf("SC_CLK_TCK")
        found[name] = {
            "cpu_s": (int(stat[11]) + int(stat[12])) / ticks,
            "rss_mb": rss_mb(pid),
            "peak_rss_mb": _peak_rss_mb(pid),
        }
    return found


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.is_dir():
        return []
    return [int(c) for task in tasks.iterdir() for c in _read(task / "children").split()]


def _peak_rss_mb(pid: int) -> float:
    lines = _read(Path(f"/proc/{pid}/status")).splitlines()
    peak = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak[0]) * 1024 / 1e6 if peak else float("nan")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended in the meantime
        return ""
