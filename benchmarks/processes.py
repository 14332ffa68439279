#!/usr/bin/env python3
"""Replay, mapping and query node as three processes and as one: processor time and memory.

    python benchmarks/processes.py [--rounds 3] [--input room:frames=40]

Both map the same recording in turns. Measured when it has ended and ``--after`` seconds have
passed: proportional memory (PSS) and processor time of the nodes, and the training steps made.
Kernels are compiled before (the first round is not counted).
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import embedded_ros

embedded_ros.install()

from common import write_results  # noqa: E402
from std_msgs.msg import Float32  # noqa: E402

from semantic_field.msg import FieldSnapshot, FieldStatus  # noqa: E402
from semantic_field.nodes.ros.client import connected  # noqa: E402
from semantic_field.nodes.ros.qos import LATCHED  # noqa: E402

FILES = {"three processes": "demo.launch.py", "one process": "single_process.launch.py"}
MARK = "SEMANTIC_FIELD_BENCHMARK"
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 400.0


def nodes() -> list[Path]:
    """Folders in /proc of the node processes that this benchmark started."""
    found = []
    wanted = f"{MARK}={os.getpid()}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = wanted in (folder / "environ").read_bytes().split(b"\0")
            if mine and b"semantic_field.nodes." in (folder / "cmdline").read_bytes():
                found.append(folder)
        except OSError:
            continue  # it has ended, or belongs to somebody else
    return found


def cpu_s(folder: Path) -> float:
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss_mb(folder: Path) -> float:
    lines = (folder / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure(file: str, options: argparse.Namespace, home: Path) -> dict[str, float]:
    """One run, from its start to its figures."""
    command = [sys.executable, "-m", "semantic_field.cli", "launch", "--with-parent", file]
    command += [f"input:={options.input}", f"map_path:={home / 'map.safetensors'}"]
    environment = os.environ | {MARK: str(os.getpid()), "ROS_HOME": str(home)}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1] / "src")
    with (home / "log.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        with connected("processes") as client:
            newest: dict[type, object] = {}
            for kind, topic in (
                (FieldStatus, "status"),
                (Float32, "replay_node/progress"),
                (FieldSnapshot, "snapshot"),
            ):
                client.subscribe(kind, topic, lambda m, k=kind: newest.update({k: m}), LATCHED)
            deadline = time.monotonic() + PATIENCE_S
            while getattr(newest.get(Float32), "data", 0.0) < 1.0:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the recording did not end: see {home / 'log.txt'}")
                time.sleep(0.1)
            time.sleep(options.after)
            found = nodes()
            return {
                "processes": len(found),
                "memory (MB)": sum(map(pss_mb, found)),
                "processor (s)": sum(map(cpu_s, found)),
                "steps": float(newest[FieldStatus].steps),  # type: ignore[attr-defined]
            }
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--input", default="room:frames=40,width=640,height=480")
    parser.add_argument("--after", type=float, default=10.0, help="seconds after the recording")
    parser.add_argument("--home", type=Path, default=Path("/tmp/semantic_field_processes"))
    options = parser.parse_args()
    options.home.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in FILES}
    for turn in range(-1, options.rounds):
        for name in FILES if turn % 2 == 0 else reversed(FILES):
            figures = measure(FILES[name], options, options.home)
            print(turn, name, figures, flush=True)
            if turn >= 0:
                runs[name].append(figures)
    entries = [summary(name, found) for name, found in runs.items()]
    print(f"written to {write_results('processes', entries)}")


def summary(name: str, found: list[dict[str, float]]) -> dict:
    """Medians over the rounds; processor time also for a thousand training steps."""
    middle = {key: statistics.median(run[key] for run in found) for key in found[0]}
    per_step = [1000 * run["processor (s)"] / max(run["steps"], 1.0) for run in found]
    return {
        "name": name,
        **{key: round(value) for key, value in middle.items()},
        "processor (s) per 1000 steps": round(statistics.median(per_step), 1),
        "rounds": len(found),
    }


if __name__ == "__main__":
    main()
