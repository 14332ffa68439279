"""Writes and reads reports."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from semantic_field.evaluation.runner import FORMAT, FORMAT_VERSION, Evaluation


def write_report(evaluation: Evaluation, folder: str | Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` to a folder, which is made; their paths."""
    from semantic_field.evaluation.report.page import render_page

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(evaluation.report, indent=1, allow_nan=False) + "\n"
    paths = folder / "report.json", folder / "report.html"
    _write(paths[0], text)  # the figures are safe before any picture is drawn
    _write(paths[1], render_page(evaluation))
    return paths


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def read_report(path: str | Path) -> dict[str, Any]:
    """A ``report.json``, or the one in a folder; ValueError where it is none."""
    path = Path(path)
    file = path / "report.json" if path.is_dir() else path
    if not file.exists():
        raise ValueError(f"expected a report.json, nothing is at {file}")
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"expected a report in {file}, got no JSON: {error}") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise ValueError(f"expected a report of 'semantic-field evaluate' in {file}")
    if report["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"expected a report of version {FORMAT_VERSION} in {file}, got "
            f"{report['format_version']}: evaluate again with this version"
        )
    return report
