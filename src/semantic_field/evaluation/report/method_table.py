"""The table of methods that predict the same targets: a model, its baselines, its variations."""

from __future__ import annotations

from typing import Any

from semantic_field.evaluation.report.figures import Figure, worse

_C = "semantics.conventions"
METHOD_FIGURES = (
    Figure("mIoU", f"{_C}.semantic_nerf_valid.miou"),
    Figure("above 0.1 %", f"{_C}.semantic_nerf_valid.miou_frequent"),
    Figure("accuracy", f"{_C}.semantic_nerf_valid.total_accuracy"),
    Figure("mIoU per image (gsnerf)", f"{_C}.gsnerf.value"),
    Figure("mIoU per image (gp_nerf)", f"{_C}.gp_nerf.value"),
    Figure("PSNR", "views.psnr", "dB", 2),
    Figure("SSIM", "views.ssim"),
    Figure("depth L1", "geometry.depth_l1_m", "cm", 2, -1, 100),
    Figure("depth median", "geometry.depth_median_m", "cm", 2, -1, 100),
    Figure("said to be unseen", "views.unseen", "%", 1, 0, 100),
    Figure("label ECE", "confidence.label_ece", "", 3, -1),
    Figure("a view", "render_ms", "ms", 0, -1),
)


def method_tables(report: dict[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return by title the head and the rows of the tables; {} if the report is of a map.

    Times are beside their ratio to the time of the first row that is timed with them: the
    reprojection, or the first variation.
    """
    if "methods" not in report["quality"]:
        return {}
    quality, times = report["quality"], report["cost"]["render_ms"]
    name = report["model"]["name"]
    methods = {name: quality} | quality["methods"]
    base = report["model"]["first_baseline"]
    tables = {"beside the simplest others": _table(methods, times, base)}
    if quality["ablation"]:
        varied = quality["ablation"]
        tables["ablation"] = _table(varied, times, next(iter(varied)))
    return tables


def _table(
    methods: dict[str, dict[str, Any]], times: dict[str, float], base: str
) -> tuple[list[str], list[list[str]]]:
    columns = {name: item | {"render_ms": times[name]} for name, item in methods.items()}
    shown = [
        figure
        for figure in METHOD_FIGURES
        if any(figure.value(column) is not None for column in columns.values())
    ]
    rows = []
    for name, column in columns.items():
        values = [figure.text(figure.value(column)) for figure in shown]
        rows.append([name, *values, f"{times[name] / times[base]:.2f}"])
    return ["", *(figure.name for figure in shown), f"times {base}"], rows


def method_shortfalls(name: str, quality: dict[str, Any], cost: dict[str, Any]) -> list[str]:
    """Return a sentence for each baseline that is better than the model in some figure.

    Args:
        name: of the model.
        quality, cost: parts of a report.
    """
    times, sentences = cost["render_ms"], []
    mine = quality | {"render_ms": times[name]}
    for other, item in quality["methods"].items():
        its = item | {"render_ms": times[other]}
        below = worse((f, f.value(mine), f.value(its)) for f in METHOD_FIGURES)
        if below:
            sentences.append(f"{name} is below the {other} in {below}")
    return sentences
