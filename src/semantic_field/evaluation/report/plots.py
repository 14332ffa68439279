"""Plots of a report, as PNG or JPEG bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#2f6db3", "#d9822b", "#3d9a5f", "#c0433f", "#9aa3ad"
MOST_CLASSES = 30
DPI = 110


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, which needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def to_jpeg(figure: Figure) -> bytes:
    """Return the figure as JPEG bytes, which are smaller for photographs."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", pil_kwargs={"quality": 88})
    return buffer.getvalue()


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", alpha=0.25)
    axes.set_axisbelow(True)


def class_bars(classes: list[dict[str, Any]]) -> bytes:
    """Plot IoU and accuracy of each class with ground truth, most frequent first; PNG bytes."""
    shown = [c for c in classes if c["truth"] > 0]
    shown.sort(key=lambda c: -c["truth"])
    left_out, shown = len(shown) - MOST_CLASSES, shown[:MOST_CLASSES]
    total = max(1, sum(c["truth"] for c in classes))
    figure = new_figure(8.6, 1.2 + 0.27 * len(shown))
    axes = figure.subplots()
    places = np.arange(len(shown))
    axes.barh(places - 0.2, [c["iou"] or 0 for c in shown], 0.38, color=BLUE, label="IoU")
    axes.barh(places + 0.2, [c["accuracy"] or 0 for c in shown], 0.38, color=GREY, label="accuracy")
    names = [f"{c['name']}  {100 * c['truth'] / total:.2g} %" for c in shown]
    axes.set_yticks(places, names, fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    more = f" ({left_out} rarer ones not shown)" if left_out > 0 else ""
    axes.set_title(f"classes with their share of the ground truth{more}", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    _tidy(axes)
    return to_png(figure)


def confusion(names: list[str], counts: list[list[int]]) -> bytes:
    """Plot the row-normalised confusion matrix of the most frequent classes; PNG bytes."""
    matrix = np.asarray(counts, float)
    last = len(names) - 1
    order = [i for i in np.argsort(-matrix.sum(axis=1)) if matrix[i].sum() > 0 and i != last]
    rows = order[:MOST_CLASSES]
    columns = [*rows, last]
    share = matrix[rows][:, columns] / np.maximum(1, matrix[rows].sum(axis=1, keepdims=True))
    size = 2.4 + 0.27 * len(columns)
    figure = new_figure(size + 1.2, size)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(columns)), [names[i] for i in columns], rotation=90, fontsize=8)
    axes.set_yticks(range(len(rows)), [names[i] for i in rows], fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for r, c in zip(*np.nonzero(share >= 0.1)):
        color = "white" if share[r, c] > 0.6 else "black"
        text = f"{100 * share[r, c]:.0f}"
        axes.text(c, r, text, ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(image, ax=axes, shrink=0.6)
    return to_png(figure)


def curves(points: list[dict[str, Any]]) -> bytes:
    """Plot PSNR, mIoU, losses and memory over the seconds of mapping; PNG bytes."""
    figure = new_figure(9.6, 5.4)
    grid = figure.subplots(2, 2)
    seconds = [p["seconds"] for p in points]
    _line(grid[0, 0], seconds, [p["psnr"] for p in points], "PSNR of held-out views, dB", BLUE)
    _line(grid[0, 1], seconds, [p["miou"] for p in points], "mIoU of held-out views", GREEN)
    losses = sorted({name for p in points for name in p["losses"]})
    for name in losses:
        values = [p["losses"].get(name) for p in points]
        grid[1, 0].plot(seconds, _numbers(values), marker="o", markersize=3, label=name)
    positive = any((p["losses"].get(n) or 0) > 0 for p in points for n in losses)
    if losses and positive:
        grid[1, 0].set_yscale("log")
        grid[1, 0].legend(fontsize=7, ncols=2)
    grid[1, 0].set_title("weighted losses", fontsize=10)
    memory = [p["memory_mb"] for p in points]
    _line(grid[1, 1], seconds, memory, "memory of the mapper, MB", ORANGE)
    for axes in grid.ravel():
        axes.set_xlabel("seconds of mapping", fontsize=8)
        _tidy(axes)
    return to_png(figure)


def _line(axes: Axes, seconds: list[float], values: list[float | None], title: str, color: str):
    axes.plot(seconds, _numbers(values), marker="o", markersize=4, color=color)
    axes.set_title(title, fontsize=10)
    axes.set_ylim(bottom=0)


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)


def calibration_plot(calibration: dict[str, Any]) -> bytes:
    """Plot the reliability of query scores, and precision and recall over thresholds; PNG bytes."""
    figure = new_figure(9.6, 3.8)
    reliability, tradeoff = figure.subplots(1, 2)
    _reliability(reliability, calibration["bins"], calibration["ece"])
    reliability.set_xlabel("score of the best candidate")
    reliability.set_ylabel("share really there")
    curve = calibration["curve"]
    thresholds = [p["threshold"] for p in curve]
    for name, color in (("precision", BLUE), ("recall", ORANGE), ("f1", GREEN)):
        tradeoff.plot(thresholds, _numbers([p[name] for p in curve]), color=color, label=name)
    tradeoff.set_title("'found' over the threshold", fontsize=10)
    tradeoff.set_xlabel("threshold")
    tradeoff.legend(fontsize=8)
    for axes in (reliability, tradeoff):
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        _tidy(axes)
    return to_png(figure)


def confidence_plot(confidence: dict[str, Any]) -> bytes:
    """Plot the reliability of the confidence of pixels, for labels and for depths; PNG bytes."""
    figure = new_figure(9.6, 3.8)
    for axes, name in zip(figure.subplots(1, 2), ("label", "depth"), strict=True):
        _reliability(axes, confidence[f"{name}_bins"], confidence[f"{name}_ece"])
        axes.set_xlabel("confidence of the pixel")
        axes.set_ylabel(f"share with the right {name}")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.08)
        _tidy(axes)
    return to_png(figure)


def _reliability(axes: Axes, every: list[dict[str, Any]], ece: float | None) -> None:
    """Draw bins of scores with their counts beside the diagonal of a perfect calibration."""
    bins = [b for b in every if b["count"]]
    middles = [0.5 * (b["low"] + b["high"]) for b in bins]
    shares = [b["share_right"] for b in bins]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.bar(middles, shares, 0.09, color=BLUE, alpha=0.75)
    axes.plot([b["mean_score"] for b in bins], shares, "o", color=RED, markersize=4)
    for b, x in zip(bins, middles, strict=True):
        high = b["share_right"] > 0.9  # no space above: the count goes into the bar
        place, color = b["share_right"] + (-0.07 if high else 0.03), "white" if high else "black"
        axes.text(x, place, _count(b["count"]), ha="center", fontsize=7, color=color)
    axes.set_title(f"reliability (ECE {'–' if ece is None else f'{ece:.3f}'})", fontsize=10)


def _count(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:,.0f}k"
