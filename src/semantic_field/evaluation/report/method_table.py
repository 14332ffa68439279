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
    Figure("processor time", "cpu_ms", "ms", 0, -1),
)
ABLATION_FIGURES = ("mIoU", "above 0.1 %", "PSNR", "depth median", "processor time")


def method_tables(report: dict[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return by title the head and the rows of the tables; {} if the report is of a map.

    The last figure is processor time over that of the first method that is timed beside it: the
    reprojection, or of an ablation the first variation. Other work on the machine changes wall
    times more.
    """
    if "methods" not in report["quality"]:
        return {}
    quality, cost, name = report["quality"], report["cost"], report["model"]["name"]
    base = report["model"]["first_baseline"]
    methods = {name: quality} | quality["methods"]
    tables = {"beside the simplest others": _turned(*_table(methods, cost, base))}
    if quality["ablation"]:
        varied = quality["ablation"]
        tables["ablation"] = _table(varied, cost, next(iter(varied)), ABLATION_FIGURES)
    return tables


def _turned(head: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Return a table with a row for each figure and a column for each method: it is narrower."""
    head, *figures = (list(row) for row in zip(head, *rows, strict=True))
    return head, figures


def _table(
    methods: dict[str, dict[str, Any]],
    cost: dict[str, Any],
    base: str,
    names: tuple[str, ...] = (),
) -> tuple[list[str], list[list[str]]]:
    columns = {name: _with_times(item, cost, name) for name, item in methods.items()}
    shown = [
        figure
        for figure in METHOD_FIGURES
        if (not names or figure.name in names)
        and any(figure.value(column) is not None for column in columns.values())
    ]
    rows = []
    for name, column in columns.items():
        values = [figure.text(figure.value(column)) for figure in shown]
        rows.append([name, *values, f"{cost['cpu_ms'][name] / cost['cpu_ms'][base]:.2f}"])
    return ["", *(figure.name for figure in shown), f"times {base}"], rows


def _with_times(item: dict[str, Any], cost: dict[str, Any], name: str) -> dict[str, Any]:
    return item | {key: cost[key][name] for key in ("render_ms", "cpu_ms")}


def method_shortfalls(name: str, quality: dict[str, Any], cost: dict[str, Any]) -> list[str]:
    """Return a sentence for each baseline that is better than the model in some figure.

    Args:
        name: of the model.
        quality, cost: parts of a report.
    """
    sentences, mine = [], _with_times(quality, cost, name)
    for other, item in quality["methods"].items():
        its = _with_times(item, cost, other)
        below = worse((f, f.value(mine), f.value(its)) for f in METHOD_FIGURES)
        if below:
            sentences.append(f"{name} is below the {other} in {below}")
    return sentences
