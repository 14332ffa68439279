"""The main job on the recordings of ../shared/data, scored: one entry for each recording.

python benchmarks/main_job.py [--protocol main_job] [--only living] [--out evaluation_out]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from common import write_results

from semantic_field.config import Config
from semantic_field.evaluation.protocols.protocol import load_protocol
from semantic_field.evaluation.report.figures import COST, QUALITY, compared_columns
from semantic_field.evaluation.report.report_files import write_report
from semantic_field.evaluation.runner import evaluate
from semantic_field.settings import updated

DATA = Path(
    os.environ.get(
        "SEMANTIC_FIELD_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data"
    )
)
# The kitchen's world is its first camera's: y points down.
RECORDINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "house/living": ("house/living", {}),
    "house/bedroom": ("house/bedroom", {}),
    "redkitchen": ("redkitchen", {"query.up": "-y"}),
}
BESIDE = ("mIoU", "mIoU, classes above 0.1 %", "PSNR", "PSNR, valid depth", "depth L1")
SHOWN = (
    "mIoU",
    "mIoU, classes above 0.1 %",
    "frequency-weighted IoU",
    "PSNR",
    "PSNR, valid depth",
    "PSNR, as refined",
    "PSNR, valid depth, as refined",
    "SSIM",
    "depth L1",
    "depth over 5 cm early",
    "depth over 5 cm late",
    "depth error, median",
    "label confidence, error (ECE)",
    "Chamfer (mean of both)",
    "questions answered rightly",
    "localisation accuracy (LERF)",
    "3D box IoU of the best hit",
    "training steps",
    "rays",
    "query latency, median",
    "rendering a view, median",
    "CPU time of mapping",
    "peak resident memory",
    "map file",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", default="main_job")
    parser.add_argument("--only", default="", help="recordings whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="folder of reports")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.stderr.write(f"skipped: no recordings in {DATA}; set SEMANTIC_FIELD_DATA\n")
        return 0
    protocol = load_protocol(arguments.protocol)
    entries = []
    for name, (folder, settings) in RECORDINGS.items():
        if arguments.only not in name:
            continue
        evaluation = evaluate(str(DATA / folder), protocol, updated(Config(), settings))
        out = arguments.out / f"{protocol.name}-{name.replace('/', '-')}"
        write_report(evaluation, out)
        entries.append(entry(name, evaluation.report))
        sys.stdout.write(f"{name}: {out}/report.html\n")
        path = write_results(f"main job, {protocol.name} {protocol.hash}", entries)
        sys.stdout.write(f"results so far: {path}\n")
    return 0


def entry(name: str, report: dict[str, Any]) -> dict[str, Any]:
    """One line of results: the shown figures, in the units of their columns.

    Beside those of ``BESIDE`` stand the figures of the field alone and of the reprojection.
    """
    result: dict[str, Any] = {"name": name}
    for figure in (*QUALITY, *COST):
        for source, values in compared_columns(report).items():
            value = figure.value(values)
            shown = SHOWN if source == "map" else BESIDE
            if figure.name in shown and value is not None:
                column = figure.name if source == "map" else f"{figure.name}, {source}"
                column += f" ({figure.unit})" if figure.unit else ""
                result[column] = round(value * figure.scale, figure.decimals)
    return result


if __name__ == "__main__":
    raise SystemExit(main())
