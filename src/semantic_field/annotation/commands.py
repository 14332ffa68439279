"""``semantic-field annotate``. Heavy imports are inside the functions, for a fast start."""

from __future__ import annotations

import argparse
from pathlib import Path

from semantic_field.data.source_options import add_source_options, source_config


def add_commands(subparsers) -> None:
    """Add the command to the parser of ``semantic-field``."""
    command = subparsers.add_parser(
        "annotate", help="label every frame of a recording from a few labelled ones"
    )
    command.add_argument("input", help="folder, rosbag2, a published layout or room[:seed=3]")
    command.add_argument(
        "--labels", type=Path, help="folder of label images (PNG of ids) and their names"
    )
    command.add_argument("--out", type=Path, default=Path("annotated"), help="output folder")
    command.add_argument("--seconds", type=float, help="training (default: 180, without depth 300)")
    command.add_argument("--steps", type=int, default=0, help="training steps, in place of seconds")
    command.add_argument(
        "--wrong-cost",
        type=float,
        default=3.0,
        help="how many right labels a wrong one undoes: more = more void (default: %(default)s)",
    )
    command.add_argument(
        "--no-depth", action="store_true", help="use colour and poses alone; slower, less exact"
    )
    command.add_argument("--no-video", action="store_true", help="write no video")
    command.add_argument(
        "--suggest",
        type=int,
        metavar="N",
        help="before there are labels: only say which N frames to label first",
    )
    command.add_argument("--config", type=Path, help="settings that differ from the defaults")
    add_source_options(command)
    command.set_defaults(handler=_annotate)


def _annotate(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from semantic_field.annotation.given_labels import frame_numbers, read_given_labels
    from semantic_field.annotation.job import AnnotationJob, Request
    from semantic_field.config import Config, load_config
    from semantic_field.evaluation.report.progress import progress_bar

    console = Console()
    with progress_bar(console) as progress:
        source = _open(arguments, progress)
        numbers = frame_numbers(source)
        if arguments.suggest:
            return _suggest(console, source, numbers, arguments.suggest)
        if arguments.labels is None:
            raise ValueError("expected --labels DIR (or --suggest N before there are any)")
        given = read_given_labels(arguments.labels, source)
        console.print(
            f"{source.name}: {len(source)} frames, {len(given.images)} of them labelled, "
            f"{len(given.names)} classes"
        )
        usual = 0.0 if arguments.steps else 300.0 if hasattr(source, "estimated") else 180.0
        seconds = usual if arguments.seconds is None else arguments.seconds
        request = Request(seconds, arguments.steps, arguments.wrong_cost)
        config = load_config(arguments.config) if arguments.config else Config()
        job = AnnotationJob(source, given, arguments.out, request, config, progress)
        try:
            summary = job.run()
        except KeyboardInterrupt:
            console.print("stopped; the same command goes on from here")
            raise
        progress("drawing pictures", 0.0)
        _draw(source, numbers, arguments, summary)
    _print(console, summary, arguments.out)
    return 0


def _open(arguments: argparse.Namespace, progress):
    """Open the recording; depth is estimated from colour if it has none or must not be used."""
    from semantic_field.data.placed import placed
    from semantic_field.data.plane_sweep import EstimatedDepth
    from semantic_field.data.sources import open_source

    path = Path(arguments.input)
    no_folder = (path / "color").is_dir() and not (path / "depth").exists()
    options = source_config(arguments).options() | ({"need_depth": False} if no_folder else {})
    source = placed(open_source(arguments.input, **options))
    if not (arguments.no_depth or no_folder):
        return source
    return EstimatedDepth(source, arguments.out / ".annotate" / "depth", progress)


def _suggest(console, source, numbers: list[int], count: int) -> int:
    from semantic_field.data.view_selection import choose_views

    chosen = choose_views((source[i] for i in range(len(source))), count)
    frames = ", ".join(f"{numbers[i]:06d}" for i in chosen)
    console.print(f"label these first, together they show the most surface: {frames}")
    return 0


def _draw(source, numbers: list[int], arguments: argparse.Namespace, summary: dict) -> None:
    from semantic_field.annotation.contact_sheet import (
        contact_sheet,
        write_contact_sheet,
        write_video,
    )

    out = arguments.out
    write_contact_sheet(out / "contact_sheet.jpg", contact_sheet(source, numbers, out, summary))
    if not arguments.no_video:
        write_video(source, numbers, out, out / "labels.mp4")


def _print(console, summary: dict, out: Path) -> None:
    from rich.table import Table

    total = sum(item["pixels"] for item in summary["classes"]) / max(1e-9, 1 - summary["void"])
    shown = Table("class", "share", "frames", title="labels", title_justify="left")
    for item in summary["classes"]:
        share = f"{100 * item['pixels'] / max(total, 1):.2f} %"
        shown.add_row(item["name"], share, str(item["frames"]))
    console.print(shown)
    found = summary["calibration"]
    if found["pixels"]:
        console.print(
            f"on {found['pixels']} held-out pixels: {100 * found['accuracy']:.1f} % right; "
            f"{100 * found['kept']:.1f} % pass the threshold of {found['threshold']:.2f}, "
            f"{100 * (found['kept_accuracy'] or 0):.1f} % of those are right"
        )
    console.print(f"void: {100 * summary['void']:.1f} %")
    if summary["label_next"]:
        frames = ", ".join(
            f"{item['frame']:06d} ({item['uncertain_m2']:g} m2)" for item in summary["label_next"]
        )
        console.print(f"label next (uncertain surface that they add): {frames}", soft_wrap=True)
    console.print(f"written to {out}")
