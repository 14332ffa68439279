"""The rows of contests of objects as markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from semantic_field.evaluation.objects.object_contest import ContestRow

COLUMNS = ("task", "contestant", "mIoU", "PSNR dB", "Chamfer m", "missing m", "wrong m", "n")


def markdown_table(rows: Sequence[ContestRow]) -> str:
    """Return a table for each category, its rows by task; dashes where nothing was measured.

    "missing" is the mean distance of unseen true points to the predicted surface, "wrong" that of
    predicted points there to the true surface, "n" the number of instances.
    """
    lines: list[str] = []
    for category in dict.fromkeys(row.category for row in rows):
        lines += [f"### {category}", "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
        own = [row for row in rows if row.category == category]
        for task in dict.fromkeys(row.task for row in own):
            lines += [_row(row) for row in own if row.task == task]
        lines.append("")
    return "\n".join(lines)


def _row(row: ContestRow) -> str:
    return _line(
        [
            row.task,
            row.contestant,
            _number(row.miou, 3),
            _number(row.psnr, 1),
            _number(row.chamfer_m, 4),
            _number(row.completeness_m, 4),
            _number(row.accuracy_m, 4),
            str(row.instances),
        ]
    )


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
