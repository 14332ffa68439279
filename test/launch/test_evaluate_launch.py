"""``evaluate.launch.py``: replay, mapping, query and scorer as processes, down to the report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.launch, pytest.mark.slow]

PROTOCOL = """
split: every_nth
split_options: {n: 4}
training: {mode: online, seconds: 6, rate_hz: 5}
views: {width: 160}
points: []
"""
PATIENCE_S = 240.0


def test_a_live_run_ends_with_a_report(tmp_path: Path) -> None:
    protocol, out = tmp_path / "live_test.yaml", tmp_path / "report"
    protocol.write_text(PROTOCOL)
    command = [
        sys.executable,
        "-m",
        "semantic_field.cli",
        "launch",
        "evaluate.launch.py",
        "input:=room:frames=16,width=160,height=120",
        f"protocol:={protocol}",
        f"out:={out}",
        "frame_rate_hz:=4.0",
    ]
    environment = os.environ | {"ROS_DOMAIN_ID": str(100 + os.getpid() % 100)}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        log, _ = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        log, _ = process.communicate()
        pytest.fail(f"still running:\n{log[-4000:]}")
    assert (out / "report.html").exists(), log[-4000:]
    assert (out / "map.safetensors").exists(), log[-4000:]
    report = json.loads((out / "report.json").read_text())
    # Held-out frames reach the scorer and nobody else.
    assert report["split"]["held_out_received"] == 4
    assert 0 < report["cost"]["frames_given"] <= 12
    assert report["cost"]["steps"] > 0 and report["cost"]["mode"] == "live"
    assert report["protocol"]["name"] == "live_test"
    assert {"mapping_node", "query_node"} <= set(report["cost"]["processes"])
    assert report["cost"]["processes"]["mapping_node"]["cpu_s"] > 0
    assert report["cost"]["query_latency"]["count"] == 20
    assert report["quality"]["semantics"]["images"] == 4
