"""``report.html``: the whole report in one self-contained file."""

from __future__ import annotations

import base64
import json
from html import escape
from typing import Any

from semantic_field.evaluation.report import figures, plots
from semantic_field.evaluation.report.figures import COST, QUALITY
from semantic_field.evaluation.report.method_table import method_tables
from semantic_field.evaluation.report.off_path_table import off_path_about, off_path_table
from semantic_field.evaluation.report.pictures import (
    chosen_views,
    off_path_picture,
    query_pictures,
    view_picture,
)
from semantic_field.evaluation.runner import Evaluation

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1d232a;
  background: #f4f6f8; margin: 0; }
main { max-width: 1060px; margin: 0 auto; padding: 28px 22px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 19px; margin: 34px 0 10px; }
h3 { font-size: 15px; margin: 18px 0 6px; } p { margin: 6px 0; }
.sub { color: #56616d; } code { font-size: 13px; background: #e8ecf0; padding: 1px 4px;
  border-radius: 3px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
  margin: 18px 0; }
.card { background: #fff; border: 1px solid #dde3e9; border-radius: 8px; padding: 10px 14px; }
.card b { display: block; font-size: 23px; } .card span { color: #56616d; font-size: 13px; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; align-items: start; }
@media (max-width: 760px) { .two { grid-template-columns: 1fr; } }
table { border-collapse: collapse; width: 100%; background: #fff; border: 1px solid #dde3e9; }
td, th { padding: 4px 10px; border-bottom: 1px solid #e8ecf0; text-align: left;
  vertical-align: top; font-size: 14px; } th { background: #eef2f5; font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; background: #fff; border: 1px solid #dde3e9; border-radius: 6px; }
.note { background: #fff6e0; border: 1px solid #ecd9a8; border-radius: 6px; padding: 6px 12px; }
.right { color: #2b7a48; } .wrong { color: #b3352f; font-weight: 600; }
pre { background: #fff; border: 1px solid #dde3e9; padding: 10px; overflow-x: auto;
  font-size: 12px; }
"""


def render_page(evaluation: Evaluation) -> str:
    """Return the page as HTML with all pictures embedded."""
    report = evaluation.report
    parts = [
        _head(report),
        _tables(report),
        _methods(report, evaluation),
        _off_path(report, evaluation),
        _semantics(report),
        _label_task(report),
        _confidence(report),
        _instances_and_points(report),
        _queries(report, evaluation),
        _curves(report),
        _views(report, evaluation),
        _details(report),
    ]
    title = escape(f"{report['input']['name']} — {report['protocol']['name']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(report: dict[str, Any]) -> str:
    protocol, source = report["protocol"], report["input"]
    machine, split = report["machine"], report["split"]
    where = machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores"
    given = "in the pool" if split.get("pool") else "mapped"
    notes = "".join(f'<p class="note">{escape(note)}.</p>' for note in report["notes"])
    return (
        f"<h1>{escape(source['name'])}</h1>"
        f'<p class="sub">protocol <b>{escape(protocol["name"])}</b> <code>{protocol["hash"]}</code>'
        f" — {escape(protocol['content']['description'])}.<br>"
        f"{split['train']} frames {given}, {split['test']} held out, {len(split['rendered'])} of "
        f"them rendered; {escape(protocol['budget'])}; seed {report['seed']}; "
        f"{escape(where)}; commit <code>{escape(report['commit'] or 'unknown')}</code>; "
        f"{escape(report['made'])}</p>{notes}{_cards(report)}"
    )


def _cards(report: dict[str, Any]) -> str:
    headline = (report["quality"]["semantics"] or {}).get("headline", "")
    names = {"mIoU": f"mIoU ({headline})", "depth error, median": "median depth error"}
    wanted = ("mIoU", "PSNR", "depth error, median", "questions answered rightly")
    cards = []
    for figure in QUALITY:
        value = figure.value(report)
        if figure.name in wanted and value is not None:
            name = names.get(figure.name, figure.name)
            cards.append(f'<div class="card"><b>{figure.text(value)}</b><span>{name}</span></div>')
    return f'<div class="cards">{"".join(cards)}</div>'


def _tables(report: dict[str, Any]) -> str:
    quality, cost = _quality(report), _rows(figures.rows(COST, report))
    dropped = report["cost"].get("frames_dropped") or {}
    drops = ", ".join(f"{escape(cause)} {count}" for cause, count in sorted(dropped.items()))
    given = report["cost"].get("frames_given")
    taken = report["cost"].get("frames_taken")
    counts = f"<p class='sub'>{given} frames given, {taken} taken; dropped: {drops or 'none'}.</p>"
    counts = "" if given is None else counts
    return (
        "<h2>Figures</h2><div class='two'>"
        f"<div><h3>Quality on held-out views</h3>{quality}</div>"
        f"<div><h3>Running cost</h3>{cost}{counts}</div></div>"
    )


def _quality(report: dict[str, Any]) -> str:
    """The figures of the map, of its appearances, and of the baseline where it was scored."""
    baseline, heads = report["quality"].get("baseline"), figures.compared_columns(report)
    body = [[escape(c) for c in row] for row in figures.compared_rows(QUALITY, report)]
    table = _grid(["", *(escape(head) for head in heads)], body, len(heads))
    if not baseline:
        return table
    return table + (
        f"<p class='sub'>Baseline: {escape(baseline['name'])}, without a map; "
        f"{100 * baseline['holes']:.1f} % of the pixels are holes, filled from nearby.</p>"
    )


def _off_path(report: dict[str, Any], evaluation: Evaluation) -> str:
    """Table and pictures of views off the recorded path, if the protocol has any."""
    head, parts = off_path_table(report)
    if not parts:
        return ""
    body = [[escape(cell) for cell in row] for part in parts for row in part]
    pictures = "".join(
        f"<h3>{escape(item.about)}</h3>{_image(off_path_picture(item), item.about)}"
        for item in evaluation.off_path
    )
    return (
        f"<h2>Off the recorded path</h2><p>{escape(off_path_about(report))}.</p>"
        f"{_grid([escape(name) for name in head], body, len(head) - 2)}{pictures}"
    )


def _methods(report: dict[str, Any], evaluation: Evaluation) -> str:
    """Tables and pictures of a model beside other methods, if no map was made."""
    tables = "".join(
        f"<h3>{escape(title)}</h3>"
        + _grid(head, [[escape(cell) for cell in row] for row in rows], len(head) - 1)
        for title, (head, rows) in method_tables(report).items()
    )
    if not tables:
        return ""
    pictures = "".join(
        f"<h3>{escape(item.about)}</h3>{_image(off_path_picture(item), item.about)}"
        for item in evaluation.targets
    )
    return f"<h2>Methods</h2>{tables}{pictures}"


def _confidence(report: dict[str, Any]) -> str:
    confidence = report["quality"].get("confidence")
    if not confidence:
        return ""
    plot = _image(plots.confidence_plot(confidence), "calibration of confidence")
    return f"<h2>Confidence of pixels</h2>{plot}"


def _rows(pairs: list[tuple[str, str]]) -> str:
    lines = (f"<tr><td>{escape(n)}</td><td class='n'>{escape(v)}</td></tr>" for n, v in pairs)
    return f"<table>{''.join(lines)}</table>"


def _grid(head: list[str], body: list[list[str]], numbers: int) -> str:
    """Return an HTML table whose last ``numbers`` columns hold numbers; cells may hold HTML."""

    def line(cells: list[str], tag: str) -> str:
        first = len(cells) - numbers
        marks = [" class='n'" if i >= first else "" for i in range(len(cells))]
        return "<tr>" + "".join(f"<{tag}{m}>{c}</{tag}>" for m, c in zip(marks, cells)) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in body)}</table>"


def _number(value: float | None, decimals: int = 3) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _semantics(report: dict[str, Any]) -> str:
    semantics = report["quality"]["semantics"]
    if semantics is None:
        return "<h2>Labels</h2><p>The recording has no labels.</p>"
    body = [
        [
            f"<b>{escape(name)}</b>",
            escape(item["about"]),
            _number(item["value"]),
            _number(item["miou_frequent"]),
            _number(item["total_accuracy"]),
            _number(item["class_accuracy"]),
        ]
        for name, item in semantics["conventions"].items()
    ]
    head = ["definition", "what is counted", "figure", "mIoU > 0.1 %", "total acc.", "class acc."]
    confusion = semantics["confusion"]
    return (
        f"<h2>Labels</h2><p>One map, {semantics['images']} views, and as many mIoUs as there are "
        f"definitions. The headline is <b>{escape(semantics['headline'])}</b>.</p>"
        f"{_grid(head, body, 4)}<h3>Classes</h3>"
        f"{_image(plots.class_bars(semantics['classes']), 'IoU of each class')}"
        f"<details><summary>Table with pixel counts</summary>{_class_table(semantics)}</details>"
        f"<h3>Confusion, per cent of each true class</h3>"
        f"{_image(plots.confusion(confusion['names'], confusion['counts']), 'confusion matrix')}"
    )


def _class_table(semantics: dict[str, Any]) -> str:
    body = [
        [
            escape(c["name"]),
            _number(c["iou"]),
            _number(c["accuracy"]),
            f"{c['truth']:,}",
            f"{c['predicted']:,}",
        ]
        for c in sorted(semantics["classes"], key=lambda c: -c["truth"])
        if c["truth"] or c["predicted"]
    ]
    return _grid(["class", "IoU", "accuracy", "true pixels", "predicted pixels"], body, 4)


def _label_task(report: dict[str, Any]) -> str:
    """Table of the map and the baselines, if the protocol has a label task."""
    task, semantics = report["quality"].get("label_task"), report["quality"]["semantics"]
    if not task or not semantics:
        return ""
    rows = {"the map": semantics["conventions"][semantics["headline"]]} | task["baselines"]
    if task["mapped_views"]:
        rows["the map, mapped views"] = task["mapped_views"]
    keys = ("miou", "miou_frequent", "total_accuracy", "holes")
    body = [[escape(n), *(_number(item.get(key)) for key in keys)] for n, item in rows.items()]
    head = ["", "mIoU", "above 0.1 %", "accuracy", "without a label"]
    return (
        f"<h2>Task: {escape(task['task'])}</h2>{_grid(head, body, 4)}"
        f"<p class='sub'>{len(task['labelled_frames'])} frames with labels.</p>"
    )


def _instances_and_points(report: dict[str, Any]) -> str:
    quality, parts = report["quality"], []
    if quality["points"]:
        body = [
            [
                escape(name),
                f"{'predicted' if p['ask'] == 'prediction' else 'true'} points ask the other cloud"
                f", k = {p['k']}, {_voxels(p['voxel_m'])}, without "
                f"{escape(', '.join(p['exclude']) or 'nothing')}",
                _number(p["miou"]),
                _number(p["fw_iou"]),
                _number(p["class_accuracy"]),
                f"{p['points']:,}",
            ]
            for name, p in quality["points"].items()
        ]
        head = ["3D protocol", "how", "mIoU", "f-mIoU", "mAcc", "points"]
        parts.append(f"<h2>Labels in 3D</h2>{_grid(head, body, 4)}")
    if quality["instances"]:
        body = [
            [
                escape(rule),
                _number(s["ap50"]),
                _number(s["ap75"]),
                _number(s["ap"]),
                str(s["true_masks"]),
                str(s["predicted_masks"]),
            ]
            for rule, s in quality["instances"].items()
        ]
        head = ["rule", "AP .50", "AP .75", "AP .50:.95", "true masks", "predicted masks"]
        about = "Predicted masks are connected surface pieces of one label, seen by the camera."
        parts.append(f"<h2>Instances</h2><p class='sub'>{about}</p>{_grid(head, body, 5)}")
    return "".join(parts)


def _voxels(voxel_m: float) -> str:
    return f"voxels of {100 * voxel_m:g} cm" if voxel_m else "points as they are"


def _queries(report: dict[str, Any], evaluation: Evaluation) -> str:
    queries = report["quality"]["queries"]
    if queries is None:
        return ""
    body = []
    for a in queries["answers"]:
        verdict = "right" if a["right"] else "wrong"
        place = {True: "yes", False: "no", None: "–"}[a["localised"]]
        body.append(
            [
                escape(a["text"]),
                "yes" if a["expected"] else "no",
                "yes" if a["found"] else "no",
                f"<span class='{verdict}'>{verdict}</span>",
                _number(a["best_score"], 2),
                _number(a["error_m"], 2),
                place,
                _number(a["box_iou"], 2),
            ]
        )
    head = ["question", "there", "found", "", "score", "error, m", "in the box", "box IoU"]
    pictures = "".join(
        f"<div><h3>{escape(text)}</h3>{_image(jpeg, text)}</div>"
        for text, jpeg in query_pictures(evaluation.engine, queries)
    )
    return (
        f"<h2>Questions</h2><p>{queries['asked']} questions, {queries['expected']} of them about "
        "things that are there. Right = found within half a metre of an object that answers it, "
        "or not found where there is none.</p>"
        f"{_image(plots.calibration_plot(queries['calibration']), 'calibration of found')}"
        f"<details><summary>All answers</summary>{_grid(head, body, 4)}</details>"
        f"<div class='two'>{pictures}</div>"
    )


def _curves(report: dict[str, Any]) -> str:
    if len(report["curve"]) < 2:
        return ""
    return f"<h2>Over time</h2>{_image(plots.curves(report['curve']), 'curves over time')}"


def _views(report: dict[str, Any], evaluation: Evaluation) -> str:
    if evaluation.renderer is None:
        return ""
    parts = ["<h2>Worst and best held-out views</h2>"]
    for kind, record in chosen_views(report["views"]):
        jpeg = view_picture(
            evaluation.source, evaluation.renderer, record["position"], evaluation.protocol
        )
        text = (
            f"{kind}: frame {record['position']}, PSNR {_number(record['psnr'], 1)} dB, "
            f"mIoU {_number(record['miou'], 2)}"
        )
        parts.append(f"<h3>{text}</h3>{_image(jpeg, text)}")
    return "".join(parts)


def _details(report: dict[str, Any]) -> str:
    keys = ("input", "split", "protocol", "config", "switches", "seed", "versions", "machine")
    content = json.dumps({key: report[key] for key in (*keys, "commit") if key in report}, indent=1)
    return (
        "<h2>How it was made</h2><details><summary>Input, protocol, settings, versions, machine"
        f"</summary><pre>{escape(content)}</pre></details>"
    )


def _image(image: bytes, text: str) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    data = base64.b64encode(image).decode()
    return f'<img alt="{escape(text, quote=True)}" src="data:image/{kind};base64,{data}">'
