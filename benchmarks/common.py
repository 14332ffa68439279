"""What every benchmark shares: interleaved measuring, and files of results.

Alternatives are run in turns within one process: whatever else the machine does meanwhile then
falls on all of them alike. Medians and ratios of medians are reported, never a best of.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from semantic_field.evaluation.report import provenance

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Timing:
    """Seconds of one alternative over the rounds.

    Attributes:
        wall_s, cpu_s: medians.
        spread: half the range between the quartiles of the wall times, divided by their median.
        ratio: median of wall time over that of the first alternative.
    """

    name: str
    wall_s: float
    cpu_s: float
    spread: float
    ratio: float
    rounds: int


def interleave(
    alternatives: Mapping[str, Callable[[], object]], rounds: int = 9, warm_up: int = 2
) -> list[Timing]:
    """Run the alternatives in turns (A B C A B C …) and report medians; the first is the base.

    Every second round goes backwards, so that none of them always follows the same other one.

    Raises:
        ValueError: without alternatives or rounds.
    """
    if not alternatives or rounds < 1:
        raise ValueError(f"expected alternatives and rounds >= 1, got {rounds} rounds")
    names = list(alternatives)
    wall: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warm_up, rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            began, began_cpu = time.perf_counter(), time.process_time()
            alternatives[name]()
            if turn >= 0:
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - began_cpu)
    base = statistics.median(wall[names[0]])
    return [
        Timing(
            name=name,
            wall_s=statistics.median(wall[name]),
            cpu_s=statistics.median(cpu[name]),
            spread=_spread(wall[name]),
            ratio=statistics.median(wall[name]) / base,
            rounds=rounds,
        )
        for name in names
    ]


def _spread(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return 0.5 * (high - low) / statistics.median(values)


def finished_entries(benchmark: str, folder: Path = RESULTS) -> list[dict[str, Any]]:
    """A benchmark's entries in today's file of this machine, for runs that go on."""
    path = folder / f"{date.today().isoformat()}-{provenance.machine_name()}.json"
    if not path.exists():
        return []
    return json.loads(path.read_text()).get("benchmarks", {}).get(benchmark, {}).get("entries", [])


def write_results(benchmark: str, entries: list[dict[str, Any]], folder: Path = RESULTS) -> Path:
    """Put a benchmark's entries into today's file of this machine; earlier ones of it go.

    Each entry is a flat mapping of column to value; "name" comes first. The file is
    ``DATE-MACHINE.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    today = date.today().isoformat()
    path = folder / f"{today}-{provenance.machine_name()}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    content |= {"date": today, "machine": provenance.machine(), "versions": provenance.versions()}
    benchmarks = content.setdefault("benchmarks", {})
    benchmarks[benchmark] = {
        "commit": provenance.commit(),
        "load": round(os.getloadavg()[1], 1),  # of all cores, mean of five minutes
        "entries": entries,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
