"""``semantic-field evaluate``, ``compare`` and ``benchmarks``; heavy imports are in functions."""

from __future__ import annotations

import argparse
from pathlib import Path

from semantic_field.data.source_options import add_source_options, source_config
from semantic_field.evaluation.generalizable.commands import add_model_options, evaluate_weights


def add_commands(subparsers) -> None:
    """Add the commands to the parser of ``semantic-field``."""
    _add_evaluate(subparsers)
    _add_compare(subparsers)
    _add_benchmarks(subparsers)


def _add_evaluate(subparsers) -> None:
    command = subparsers.add_parser(
        "evaluate", help="map a recording, score held-out views and questions, write a report"
    )
    command.add_argument(
        "input", help="folder, rosbag2, a published layout (tum:PATH …) or room[:seed=3]"
    )
    command.add_argument(
        "--config", type=Path, help="settings that differ from the defaults (YAML)"
    )
    command.add_argument(
        "--protocol", default="main_job", help="name or YAML file (default: %(default)s)"
    )
    command.add_argument(
        "--out", type=Path, default=Path("evaluation"), help="folder of the report"
    )
    command.add_argument("--labels", default="auto", help="label images to use (default: auto)")
    command.add_argument("--seed", type=int, help="seed of all random numbers")
    command.add_argument(
        "--up", help="axis of the recording that points up, such as -y (default +z)"
    )
    command.add_argument("--seconds", type=float, help="another budget of mapping time")
    command.add_argument("--steps", type=int, help="another budget of training steps")
    command.add_argument(
        "--no-baseline", action="store_true", help="leave out the scores without a map"
    )
    add_source_options(command)
    add_model_options(command)
    command.set_defaults(handler=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from semantic_field.evaluation.report.progress import progress_bar
    from semantic_field.evaluation.report.report_files import write_report
    from semantic_field.evaluation.runner import evaluate

    console = Console()
    protocol = _protocol(arguments)
    console.print(f"protocol [bold]{protocol.name}[/] {protocol.hash}: {protocol.description}")
    if arguments.weights:
        return evaluate_weights(arguments, protocol, _config(arguments), console)
    if protocol.ablation:
        return _ablate(arguments, protocol, console)
    with progress_bar(console) as progress:
        evaluation = evaluate(
            arguments.input,
            protocol,
            _config(arguments),
            arguments.labels,
            progress,
            arguments.out,
            source_config(arguments),
            baseline=not arguments.no_baseline,
        )
        progress("drawing the report", 0.0)
        paths = write_report(evaluation, arguments.out)
    _print_summary(console, evaluation.report)
    console.print("written: " + ", ".join(str(path) for path in paths), soft_wrap=True)
    return 0


def _ablate(arguments: argparse.Namespace, protocol, console) -> int:
    """Run an ablation; results are written after every cell, so an interruption loses one cell."""
    import json

    from rich.table import Table

    from semantic_field.evaluation.ablation import AblationRun, ablation_table
    from semantic_field.evaluation.report.progress import progress_bar

    arguments.out.mkdir(parents=True, exist_ok=True)
    path, results = arguments.out / "ablation.json", []
    with progress_bar(console) as progress:
        options = source_config(arguments).options()
        run = AblationRun(arguments.input, protocol, _config(arguments), progress, options)
        for cell in protocol.ablation:
            results.append(run.score(cell))
            content = {"protocol": protocol.name, "hash": protocol.hash, "cells": results}
            path.write_text(json.dumps(content, indent=1) + "\n")
    head, *rows = ablation_table(results)
    shown = Table(*head, title=f"{run.source.name}: {run.teacher.name}", title_justify="left")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    console.print(f"written: {path}", soft_wrap=True)
    return 0


def _protocol(arguments: argparse.Namespace):
    import dataclasses

    from semantic_field.evaluation.protocols.protocol import Training, load_protocol

    protocol = load_protocol(arguments.protocol)
    if not arguments.weights:
        protocol = dataclasses.replace(protocol, sources=None)  # a map sees the whole pool
    if arguments.seconds is None and arguments.steps is None:
        return protocol
    given = Training(
        protocol.training.mode,
        arguments.seconds or 0.0,
        arguments.steps or 0,
        protocol.training.rate_hz,
    )
    # The hash is of the parsed content; its name shows that it is not the file's hash.
    return dataclasses.replace(
        protocol,
        name=f"{protocol.name} (changed)",
        description=f"{protocol.name}, but {given.describe()}",
        training=given,
    )


def _config(arguments: argparse.Namespace):
    from semantic_field.config import Config, load_config
    from semantic_field.settings import updated

    config = load_config(arguments.config) if arguments.config else Config()
    given = {"mapping.seed": arguments.seed, "query.up": arguments.up}
    return updated(config, {name: value for name, value in given.items() if value is not None})


def _print_summary(console, report: dict) -> None:
    from rich.table import Table

    from semantic_field.evaluation.report.figures import (
        COST,
        QUALITY,
        compared_columns,
        compared_rows,
        rows,
    )

    heads = ("", *compared_columns(report))
    quality, cost = compared_rows(QUALITY, report), rows(COST, report)
    tables = (("quality on held-out views", quality, heads), ("running cost", cost, ("", "")))
    for title, body, head in tables:
        shown = Table(*head, title=title, title_justify="left", show_header=len(head) > 2)
        for row in body:
            shown.add_row(*row)
        console.print(shown)
    _print_off_path(console, report)
    semantics = report["quality"]["semantics"]
    if semantics:
        every = ", ".join(
            f"{n} {item['value']:.3f}" if item["value"] is not None else f"{n} –"
            for n, item in semantics["conventions"].items()
        )
        console.print(f"mIoU by definition: {every}", soft_wrap=True)
    for note in report["notes"]:
        console.print(f"[yellow]note:[/] {note}", soft_wrap=True)


def _print_off_path(console, report: dict) -> None:
    from rich.table import Table

    from semantic_field.evaluation.report.off_path_table import off_path_about, off_path_table

    head, parts = off_path_table(report)
    if not parts:
        return
    shown = Table(*head, title="views off the recorded path", title_justify="left")
    for part in parts:
        for row in part:
            shown.add_row(*row)
        shown.add_section()
    console.print(shown)
    console.print(off_path_about(report), soft_wrap=True)


def _add_compare(subparsers) -> None:
    command = subparsers.add_parser("compare", help="put reports side by side")
    command.add_argument("reports", nargs="+", type=Path, help="report.json files or their folders")
    command.set_defaults(handler=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from semantic_field.evaluation.report.compare import table, warnings
    from semantic_field.evaluation.report.report_files import read_report

    reports = [read_report(path) for path in arguments.reports]
    names = [path.parent.name if path.suffix else path.name for path in arguments.reports]
    head, *body = table(reports, [str(n) or str(p) for n, p in zip(names, arguments.reports)])
    shown = Table(*head)
    for row in body:
        shown.add_row(*row)
    console = Console()
    console.print(shown)
    for warning in warnings(reports):
        console.print(f"[yellow]{warning}[/]")
    return 0


def _add_benchmarks(subparsers) -> None:
    command = subparsers.add_parser(
        "benchmarks", help="write docs/benchmarks.md from benchmarks/results/"
    )
    command.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    command.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"))
    command.add_argument("--check", action="store_true", help="only say whether it is up to date")
    command.set_defaults(handler=_benchmarks)


def _benchmarks(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from semantic_field.evaluation.report.benchmark_page import is_current, write_page

    console = Console()
    if arguments.check:
        current = is_current(arguments.results, arguments.page)
        verdict = "up to date" if current else "out of date: run semantic-field benchmarks"
        console.print(f"{arguments.page} is {verdict}")
        return 0 if current else 1
    count = write_page(arguments.results, arguments.page)
    console.print(f"{arguments.page} written from {count} files of results")
    return 0
