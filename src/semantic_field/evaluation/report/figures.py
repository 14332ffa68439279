"""The scores of a report in display order, for tables and comparisons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One score, a row of a table.

    Attributes:
        path: dotted path in report.json.
        unit: after scaling.
        decimals: number of decimals shown of the value times ``scale``.
        better: 1 if higher is better, -1 if lower is better, 0 if neither.
    """

    name: str
    path: str
    unit: str = ""
    decimals: int = 3
    better: int = 1
    scale: float = 1.0

    def value(self, report: dict[str, Any]) -> float | None:
        """Return the unscaled value in a report, or None if it has none."""
        found: Any = report
        path = self.path
        if "{headline}" in path:
            semantics = report["quality"].get("semantics")
            path = path.format(headline=semantics["headline"] if semantics else "none")
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return None if found is None else float(found)

    def text(self, value: float | None) -> str:
        """Return the scaled value with its unit, "–" for None."""
        if value is None:
            return "–"
        return f"{value * self.scale:.{self.decimals}f}" + (f" {self.unit}" if self.unit else "")


_S = "quality.semantics.conventions.{headline}"
_G = "quality.geometry"
_R = "quality.refined"
QUALITY = (
    Figure("mIoU", f"{_S}.value"),
    Figure("mIoU, classes above 0.1 %", f"{_S}.miou_frequent"),
    Figure("frequency-weighted IoU", f"{_S}.fw_iou"),
    Figure("total accuracy", f"{_S}.total_accuracy"),
    Figure("class-mean accuracy", f"{_S}.class_accuracy"),
    Figure("PSNR", "quality.views.psnr", "dB", 2),
    Figure("PSNR, valid depth", "quality.views.psnr_valid", "dB", 2),
    Figure("SSIM", "quality.views.ssim"),
    Figure("LPIPS", "quality.views.lpips", better=-1),
    Figure("mIoU, as refined", f"{_R}.semantics.conventions.{{headline}}.value"),
    Figure("PSNR, as refined", f"{_R}.views.psnr", "dB", 2),
    Figure("PSNR, valid depth, as refined", f"{_R}.views.psnr_valid", "dB", 2),
    Figure("SSIM, as refined", f"{_R}.views.ssim"),
    Figure("LPIPS, as refined", f"{_R}.views.lpips", better=-1),
    Figure("depth L1, as refined", f"{_R}.geometry.depth_l1_m", "cm", 2, -1, 100),
    Figure("depth error, median, as refined", f"{_R}.geometry.depth_median_m", "cm", 2, -1, 100),
    Figure("depth L1", f"{_G}.depth_l1_m", "cm", 2, -1, 100),
    Figure("depth error, median", f"{_G}.depth_median_m", "cm", 2, -1, 100),
    Figure("depth over 5 cm early", f"{_G}.depth_early_5cm", "%", 2, -1, 100),
    Figure("depth over 5 cm late", f"{_G}.depth_late_5cm", "%", 2, -1, 100),
    Figure("label confidence, error (ECE)", "quality.confidence.label_ece", better=-1),
    Figure("depth confidence, error (ECE)", "quality.confidence.depth_ece", better=-1),
    Figure("surface accuracy", f"{_G}.accuracy_m", "cm", 2, -1, 100),
    Figure("surface completeness", f"{_G}.completeness_m", "cm", 2, -1, 100),
    Figure("Chamfer (mean of both)", f"{_G}.chamfer_m", "cm", 2, -1, 100),
    Figure("F-score at 5 cm", f"{_G}.f_score"),
    Figure("instance AP50 (DM-NeRF)", "quality.instances.dm_nerf.ap50"),
    Figure("instance AP50 (COCO)", "quality.instances.coco.ap50"),
    Figure("questions answered rightly", "quality.queries.right"),
    Figure("localisation accuracy (LERF)", "quality.queries.localisation_accuracy"),
    Figure("3D box IoU of the best hit", "quality.queries.box_iou"),
    Figure("precision of 'found'", "quality.queries.found_precision"),
    Figure("recall of 'found'", "quality.queries.found_recall"),
    Figure("calibration error (ECE)", "quality.queries.calibration.ece", better=-1),
)
COST = (
    Figure("mapping time", "cost.mapping_s", "s", 1, 0),
    Figure("training steps", "cost.steps", "", 0, 0),
    Figure("rays", "cost.rays_per_s", "k/s", 1, 1, 1e-3),
    Figure("keyframes", "cost.keyframes", "", 0, 0),
    Figure("keyframes taken in", "cost.keyframes_per_s", "/s", 2, 1),
    Figure("first answer after", "cost.first_answer_s", "s", 2, -1),
    Figure("query latency, median", "cost.query_latency.median_ms", "ms", 1, -1),
    Figure("query latency, 95th", "cost.query_latency.p95_ms", "ms", 1, -1),
    Figure("rendering a view, median", "cost.render_ms_median", "ms", 0, -1),
    Figure("CPU time of mapping", "cost.cpu_s", "s", 1, -1),
    Figure("peak resident memory", "cost.peak_rss_mb", "MB", 0, -1),
    Figure("peak GPU memory", "cost.peak_gpu_mb", "MB", 0, -1),
    Figure("memory of the mapper", "cost.mapper_memory_mb", "MB", 0, -1),
    Figure("map file", "cost.map_file_mb", "MB", 1, -1),
)


def compared_columns(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return reports by the heading of their columns: the map, its appearances, the baseline.

    Where a model predicts views without a map: the model, and the other methods.
    """
    quality = report["quality"]
    if "methods" in quality:
        others = {name: {"quality": item} for name, item in quality["methods"].items()}
        return {report["model"]["name"]: report} | others
    found = {"map": report}
    found |= {name: {"quality": item} for name, item in quality.get("appearances", {}).items()}
    baseline = quality.get("baseline")
    return found | ({"reprojection": {"quality": baseline}} if baseline else {})


def compared_rows(figures: tuple[Figure, ...], report: dict[str, Any]) -> list[list[str]]:
    """Return [name, texts in ``compared_columns`` ...] of the figures that a report has."""
    columns = compared_columns(report).values()
    return [
        [figure.name, *(figure.text(figure.value(column)) for column in columns)]
        for figure in figures
        if figure.value(report) is not None
    ]


def worse(pairs: Iterable[tuple[Figure, float | None, float | None]]) -> str:
    """Return in words which figures of the map are worse than another's; "" if none is.

    Args:
        pairs: figures with the map's value and the other's; None = not known.
    """
    return ", ".join(
        f"{figure.name} ({figure.text(mine)} against {figure.text(its)})"
        for figure, mine, its in pairs
        if mine is not None and its is not None and figure.better * (mine - its) < 0
    )


def rows(figures: tuple[Figure, ...], report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (name, text) of the scores that a report has."""
    values = [(figure, figure.value(report)) for figure in figures]
    return [(figure.name, figure.text(value)) for figure, value in values if value is not None]
