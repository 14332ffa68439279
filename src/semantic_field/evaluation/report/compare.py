"""Side-by-side comparison of reports, with warnings if they are not comparable."""

from __future__ import annotations

from typing import Any

from semantic_field.evaluation.report.figures import COST, QUALITY, Figure
from semantic_field.evaluation.report.off_path_table import compared_off_path


def table(reports: list[dict[str, Any]], names: list[str]) -> list[list[str]]:
    """Return the rows of a comparison table: a head, then every score that any report has.

    Cells show the difference to the first report, and whether it is better or worse.
    """
    head = ["", *names]
    lines = [head]
    for label, value in (
        ("input", lambda r: r["input"]["name"]),
        ("protocol", lambda r: f"{r['protocol']['name']} {r['protocol']['hash']}"),
        ("commit", lambda r: r["commit"] or "unknown"),
    ):
        lines.append([label, *(value(report) for report in reports)])
    named = [(figure.name, figure) for figure in QUALITY]
    named += [*compared_off_path(reports), *((figure.name, figure) for figure in COST)]
    for name, figure in named:
        values = [figure.value(report) for report in reports]
        if any(value is not None for value in values):
            cells = [_cell(figure, value, values[0], i) for i, value in enumerate(values)]
            lines.append([name, *cells])
    return lines


def _cell(figure: Figure, value: float | None, first: float | None, index: int) -> str:
    text = figure.text(value)
    if index == 0 or value is None or first is None:
        return text
    difference = (value - first) * figure.scale
    shown = f"{difference:+.{figure.decimals}f}"
    if float(shown) == 0:
        return f"{text} (=)"
    mark = "" if not figure.better else (" better" if difference * figure.better > 0 else " worse")
    return f"{text} ({shown}{mark})"


def warnings(reports: list[dict[str, Any]]) -> list[str]:
    """Return why the reports are not comparable; empty if they are."""
    found = []
    for name, value in (
        ("inputs", lambda r: r["input"]["checksum"]),
        ("protocols", lambda r: r["protocol"]["hash"]),
        ("machines", lambda r: (r["machine"]["processor"], r["machine"]["gpu"])),
    ):
        if len({value(report) for report in reports}) > 1:
            effect = "costs are" if name == "machines" else "figures are"
            found.append(f"different {name}: {effect} not comparable")
    return found


def same_quality(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Return the dotted names of quality scores that are not exactly equal."""
    left, right = _flat(first["quality"]), _flat(second["quality"])
    return sorted(key for key in {*left, *right} if left.get(key) != right.get(key))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix: value}
    result: dict[str, Any] = {}
    for key, item in items:
        result |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return result
