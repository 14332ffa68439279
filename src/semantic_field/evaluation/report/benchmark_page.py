"""``docs/benchmarks.md`` from the files in ``benchmarks/results/``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEAD = """\
# Benchmarks

Written by `semantic-field benchmarks` from [benchmarks/results](../benchmarks/results); do not
edit. What the figures mean stands in [evaluation.md](evaluation.md). The newest results of each
benchmark and machine are shown; `make bench` makes those of your machine.
"""


def write_page(results: Path, page: Path) -> int:
    """Write the page; how many files of results it was made of.

    Raises:
        ValueError: where a file of results is damaged.
    """
    files = result_files(results)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(files), encoding="utf-8")
    return len(files)


def is_current(results: Path, page: Path) -> bool:
    """Whether the page is what the results make of it."""
    return page.exists() and page.read_text(encoding="utf-8") == render(result_files(results))


def result_files(folder: Path) -> list[Path]:
    """Files of results (``DATE-MACHINE.json``), newest first."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]-*.json"), reverse=True)


def render(files: list[Path]) -> str:
    """The page's text."""
    newest: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
    for file in files:
        content = _read(file)
        for name, benchmark in content["benchmarks"].items():
            machine = json.dumps(content["machine"], sort_keys=True)
            newest.setdefault((name, machine), (content, benchmark))
    parts = [HEAD]
    for (name, _), (content, benchmark) in sorted(newest.items(), key=lambda item: item[0]):
        parts.append(_section(name, content, benchmark))
    return "\n".join(parts)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON in {file}: {error}") from error
    missing = [key for key in ("date", "machine", "benchmarks") if key not in content]
    if missing:
        raise ValueError(f"expected {missing} in {file}, found none")
    return content


def _section(name: str, content: dict[str, Any], benchmark: dict[str, Any]) -> str:
    machine = content["machine"]
    where = machine.get("gpu") or f"{machine['processor']}, {machine['cores']} cores"
    commit = benchmark["commit"] or "unknown"
    lines = [
        f"## {name}",
        "",
        f"{content['date']}, {where}, commit {commit}.{_load(content, benchmark)}",
        "",
        *_table(benchmark["entries"]),
        "",
    ]
    notes = benchmark.get("notes", [])
    return "\n".join(lines + [f"- {note}" for note in notes] + [""] * bool(notes))


def _load(content: dict[str, Any], benchmark: dict[str, Any]) -> str:
    """A warning where other work ran on the machine meanwhile."""
    load, cores = benchmark.get("load"), content["machine"]["cores"]
    if load is None or load <= 1.25 * cores:
        return ""
    return f" The machine was busy with other work: {load:g} jobs for {cores} cores."


def _table(entries: list[dict[str, Any]]) -> list[str]:
    """Entries as columns where there are more figures than entries, else as rows."""
    columns = list(dict.fromkeys(key for entry in entries for key in entry if key != "name"))
    names = [str(entry["name"]) for entry in entries]
    if len(columns) > len(entries):
        body = [[c, *(_text(entry.get(c)) for entry in entries)] for c in columns]
        head = ["", *names]
    else:
        body = [[n, *(_text(e.get(c)) for c in columns)] for n, e in zip(names, entries)]
        head = ["", *columns]
    align = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, align, *body)]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
