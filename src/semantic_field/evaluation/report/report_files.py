"""Reading and writing of report files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semantic_field.atomic_files import write_atomically
from semantic_field.evaluation.runner import FORMAT, FORMAT_VERSION, Evaluation


def write_report(evaluation: Evaluation, folder: str | Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html``, creating the folder; returns their paths."""
    from semantic_field.evaluation.report.page import render_page

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(evaluation.report, indent=1, allow_nan=False) + "\n"
    paths = folder / "report.json", folder / "report.html"
    write_atomically(
        paths[0], text.encode()
    )  # first, so that scores are safe if drawing pictures fails
    write_atomically(paths[1], render_page(evaluation).encode())
    return paths


def read_report(path: str | Path) -> dict[str, Any]:
    """Read a ``report.json``, or the one in a folder; ValueError if it is not a report."""
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
