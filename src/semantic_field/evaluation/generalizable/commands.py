"""Options of ``semantic-field evaluate`` for models that predict views without a map."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from semantic_field.data.source_options import source_config


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Add the options of a generalizable model to the command ``evaluate``."""
    group = command.add_argument_group(
        "without a map", "predict held-out views from source frames, with a model's weights"
    )
    group.add_argument(
        "--weights", metavar="NAME_OR_FILE", help="such as gsnerf; the protocol needs sources"
    )
    group.add_argument(
        "--uniform",
        metavar="NAME_OR_FILE",
        help="weights trained without target depth, for the baseline with uniform samples",
    )
    group.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="other weights as a row of the ablation, such as 'without distillation=FILE'",
    )
    group.add_argument(
        "--field",
        action="store_true",
        help="also train a field on the pool for the protocol's time, as a baseline",
    )
    group.add_argument(
        "--ablation", action="store_true", help="also vary samples, guidance and depth"
    )
    group.add_argument(
        "--finetune",
        default="",
        metavar="SECONDS,…",
        help="also the model after so many seconds of training on the pool, such as 30,60,120",
    )
    group.add_argument(
        "--guides",
        default="sensor,volume,none",
        help="where --ablation takes depth from, of sensor, volume, map (which trains one) and "
        "none (default: %(default)s; volume needs a model that has one)",
    )


def evaluate_weights(arguments: argparse.Namespace, protocol: Any, config: Any, console) -> int:
    """Evaluate a model's weights, print the tables and write the report."""
    from semantic_field.evaluation.generalizable.model_run import evaluate_model
    from semantic_field.evaluation.report.progress import progress_bar
    from semantic_field.evaluation.report.report_files import write_report

    contestants = _contestants(arguments, protocol, config)
    with progress_bar(console) as progress:
        evaluation = evaluate_model(
            arguments.input,
            protocol,
            contestants,
            arguments.labels,
            progress,
            arguments.out,
            source_config(arguments),
        )
        progress("drawing the report", 0.0)
        paths = write_report(evaluation, arguments.out)
    _print(console, evaluation.report)
    console.print("written: " + ", ".join(str(path) for path in paths), soft_wrap=True)
    return 0


def _contestants(arguments: argparse.Namespace, protocol: Any, config: Any):
    from semantic_field.evaluation.generalizable.contestants import SAMPLES, Contestants, ablated

    if protocol.sources is None:
        raise ValueError(
            f"expected a protocol with sources for --weights, got {protocol.name}: use --protocol "
            "carried, carried_noisy, carried_volume, gsnerf or gp_nerf"
        )
    from semantic_field.generalizable.training.weight_files import load_model

    model = load_model(arguments.weights)
    others = dict(_named(text) for text in arguments.also)
    variations = ()
    if arguments.ablation or others:
        loaded = {name: load_model(path) for name, path in others.items()}
        guides = tuple(filter(None, arguments.guides.split(","))) if arguments.ablation else ()
        samples = SAMPLES if arguments.ablation else ()
        variations = ablated(model, protocol.sources, loaded, guides, samples)
    return Contestants(
        name=Path(arguments.weights).stem,
        model=model,
        uniform=load_model(arguments.uniform) if arguments.uniform else None,
        with_field=arguments.field,
        training=protocol.training,
        config=config,
        variations=variations,
        tuning_s=_seconds(arguments.finetune),
    )


def _seconds(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part)
    except ValueError as error:
        raise ValueError(f"expected --finetune 30,60,120 (seconds), got {text!r}") from error


def _named(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ValueError(f"expected --also NAME=FILE, got {text!r}")
    return name, path


def _print(console, report: dict[str, Any]) -> None:
    from rich.table import Table

    from semantic_field.evaluation.report.method_table import method_tables

    for title, (head, rows) in method_tables(report).items():
        shown = Table(*head, title=title, title_justify="left")
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    for note in report["notes"]:
        console.print(f"[yellow]note:[/] {note}", soft_wrap=True)
