"""The table of views off the recorded path: every appearance of the map beside the baseline."""

from __future__ import annotations

from typing import Any

from semantic_field.evaluation.report.figures import Figure, worse
from semantic_field.evaluation.scores.off_path_scores import REGIONS
from semantic_field.evaluation.virtual_views import BASELINE

REGION_NAMES = {"observed": "observed", "covered": "covered by all", "whole": "whole view"}


def off_path_figures(distance: str, name: str) -> list[Figure]:
    """Return the figures of one appearance.

    Args:
        distance: key of the distance in ``quality.off_path.distances`` of a report.
        name: of the appearance, or of the baseline.
    """
    path = f"quality.off_path.distances.{distance}.scores.{name}"
    figures = []
    for region in REGIONS:
        where, of = REGION_NAMES[region], f"{path}.{region}"
        figures += [
            Figure(f"PSNR, {where}", f"{of}.psnr", "dB", 2),
            Figure(f"mIoU, {where}", f"{of}.miou"),
            Figure(f"mIoU above 0.1 %, {where}", f"{of}.miou_frequent"),
            Figure(f"depth L1, {where}", f"{of}.depth_l1_m", "cm", 2, -1, 100),
        ]
    observed = f"{path}.observed"
    return figures + [
        Figure("depth over 5 cm early, observed", f"{observed}.depth_early_5cm", "%", 2, -1, 100),
        Figure("depth over 5 cm late, observed", f"{observed}.depth_late_5cm", "%", 2, -1, 100),
        Figure("unobserved, rightly said to be", f"{path}.unobserved_said", "%", 1, 1, 100),
        Figure("observed, said to be unobserved", f"{path}.observed_said", "%", 1, -1, 100),
        Figure("label confidence, error (ECE)", f"{path}.whole.label_ece", better=-1),
        Figure("depth confidence, error (ECE)", f"{path}.whole.depth_ece", better=-1),
    ]


def off_path_table(report: dict[str, Any]) -> tuple[list[str], list[list[list[str]]]]:
    """Return the head of the table, and for each distance its rows; no rows without such views."""
    found = report["quality"].get("off_path")
    if not found:
        return [], []
    names = found["names"]
    parts = []
    for key, item in found["distances"].items():
        columns = [
            [figure.text(figure.value(report)) for figure in off_path_figures(key, name)]
            for name in names
        ]
        labels = [figure.name for figure in off_path_figures(key, names[0])]
        first = [f"{item['distance_m']:g} m", *[""] * (len(labels) - 1)]
        parts.append([list(row) for row in zip(first, labels, *columns, strict=True)])
    return ["off the path", "", *names], parts


def off_path_about(report: dict[str, Any]) -> str:
    """Return how many views there are, and which share of them was observed, in words."""
    found = report["quality"]["off_path"]
    settings = report["protocol"]["content"]["off_path"]
    shares = []
    for item in found["distances"].values():
        scores = item["scores"][found["names"][0]]
        observed, covered = (100 * scores[name]["share"] for name in ("observed", "covered"))
        shares.append(
            f"{item['distance_m']:g} m: {observed:.1f} % of the pixels observed, {covered:.1f} % "
            "covered by all"
        )
    return (
        f"{settings['views']} views at each distance from the recorded path, turned by up to "
        f"{settings['turn_deg']:g}°, against the exact room. {'; '.join(shares)}"
    )


def compared_off_path(reports: list[dict[str, Any]]) -> list[tuple[str, Figure]]:
    """Return labels and figures of all distances and names that any of the reports has."""
    found: dict[str, Figure] = {}
    for report in reports:
        part = report["quality"].get("off_path") or {"names": [], "distances": {}}
        for key, item in part["distances"].items():
            for name in part["names"]:
                for figure in off_path_figures(key, name):
                    found[f"{item['distance_m']:g} m off, {name}: {figure.name}"] = figure
    return list(found.items())


def off_path_shortfalls(quality: dict[str, Any]) -> list[str]:
    """Return a sentence for each distance and appearance that is below the baseline.

    Args:
        quality: ``quality`` of a report.
    """
    found = quality.get("off_path")
    if not found or BASELINE not in found["names"]:
        return []
    report, sentences = {"quality": quality}, []
    for key, item in found["distances"].items():
        theirs = [figure.value(report) for figure in off_path_figures(key, BASELINE)]
        for name in found["names"]:
            figures = off_path_figures(key, name)
            mine = [figure.value(report) for figure in figures]
            below = worse(zip(figures, mine, theirs, strict=True))
            if below:
                where = f"{item['distance_m']:g} m off the path"
                sentences.append(f"{where} the map ({name}) is below the {BASELINE} in {below}")
    return sentences
