"""The benchmarks' shared helper, the page that is made of results, and provenance."""

from __future__ import annotations

import importlib.util
import json
import mmap
from pathlib import Path

import pytest

from semantic_field.cli import main
from semantic_field.evaluation.report import benchmark_page, provenance
from semantic_field.evaluation.scores.cost import ResourceMeter, latency, rss_mb

ROOT = Path(__file__).parents[2]


def load_common():
    spec = importlib.util.spec_from_file_location("common", ROOT / "benchmarks" / "common.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["common"] = module
    spec.loader.exec_module(module)
    return module


def test_alternatives_take_turns() -> None:
    common = load_common()
    order: list[str] = []
    alternatives = {name: (lambda name=name: order.append(name)) for name in "abc"}
    timings = common.interleave(alternatives, rounds=4, warm_up=1)
    # the warm-up goes backwards, as every second round
    assert "".join(order) == "cba" + "abc" + "cba" + "abc" + "cba"
    assert [t.name for t in timings] == ["a", "b", "c"]
    assert timings[0].ratio == 1.0 and timings[0].rounds == 4
    with pytest.raises(ValueError, match="rounds"):
        common.interleave(alternatives, rounds=0)


def test_slower_alternatives_have_larger_ratios() -> None:
    common = load_common()
    work = {"one": lambda: sum(range(20_000)), "ten": lambda: sum(range(200_000))}
    assert common.interleave(work, rounds=7)[1].ratio > 2


def test_results_become_a_page(tmp_path: Path) -> None:
    common = load_common()
    results, page = tmp_path / "results", tmp_path / "docs" / "benchmarks.md"
    common.write_results(
        "grid", [{"name": "numba", "ms": 1.5}, {"name": "torch", "ms": 20}], results
    )
    path = common.write_results("main job", [{"name": "living", "mIoU": 0.5}], results)
    assert len(list(results.iterdir())) == 1  # one file a day and machine
    assert set(json.loads(path.read_text())["benchmarks"]) == {"grid", "main job"}
    arguments = ["benchmarks", "--results", str(results), "--page", str(page)]
    assert main([*arguments, "--check"]) == 1
    assert main(arguments) == 0 and main([*arguments, "--check"]) == 0
    text = page.read_text()
    assert "| numba | 1.5 |" in text and "| torch | 20 |" in text and "## main job" in text


def test_newer_results_replace_older_ones(tmp_path: Path) -> None:
    for date, value in (("2026-01-01", 1.0), ("2026-02-01", 2.0)):
        content = {
            "date": date,
            "machine": {"processor": "x", "cores": 2},
            "benchmarks": {
                "b": {"commit": "c", "load": 5, "entries": [{"name": "n", "v": value, "w": 1}]}
            },
        }
        (tmp_path / f"{date}-x.json").write_text(json.dumps(content))
    text = benchmark_page.render(benchmark_page.result_files(tmp_path))
    assert "busy with other work: 5 jobs for 2 cores" in text
    assert "| v | 2 |" in text and "| v | 1 |" not in text and text.count("## b") == 1
    (tmp_path / "2026-03-01-x.json").write_text("{")
    with pytest.raises(ValueError, match=r"2026-03-01-x\.json"):
        benchmark_page.render(benchmark_page.result_files(tmp_path))


def test_checksum_follows_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    first = provenance.checksum(tmp_path)
    assert first.startswith("sha256:") and first == provenance.checksum(tmp_path)
    assert provenance.checksum(f"tum:{tmp_path}") == first
    (tmp_path / "a.txt").write_text("two")
    second = provenance.checksum(tmp_path)
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert len({first, second, provenance.checksum(tmp_path)}) == 3
    assert provenance.checksum("room:seed=1") != provenance.checksum("room:seed=2")


def test_large_files_are_sampled_and_say_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(provenance, "WHOLE_FILE_BYTES", 10)
    monkeypatch.setattr(provenance, "SAMPLE_BYTES", 4)
    file = tmp_path / "bag.mcap"
    file.write_bytes(b"abcd----------wxyz")
    first = provenance.checksum(file)
    assert first.startswith("sampled:")
    file.write_bytes(b"abcd----------wxyZ")
    assert provenance.checksum(file) != first


def test_resources_and_latency() -> None:
    with ResourceMeter() as meter:
        data = mmap.mmap(-1, 80_000_000)  # new pages, where malloc might give used ones again
        for place in range(0, len(data), 4096):
            data[place] = 1
        usage = meter.usage()
    assert usage.peak_rss_mb >= usage.start_rss_mb + 60 and usage.cpu_s > 0
    assert rss_mb() > 10
    assert latency([0.010, 0.020, 0.030])["median_ms"] == pytest.approx(20)
    assert latency([])["p95_ms"] is None
