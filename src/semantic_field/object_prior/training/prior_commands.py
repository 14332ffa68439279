"""``semantic-field train-prior``; heavy imports are in functions, for a fast start."""

from __future__ import annotations

import argparse

from semantic_field.generalizable.training.train_commands import (
    add_run_arguments,
    config_file,
    progress,
    run_to_end,
)


def add_prior_commands(subparsers) -> None:
    """Add the command to the parser of ``semantic-field``."""
    command = subparsers.add_parser(
        "train-prior",
        help="train what a category of objects looks like",
        description="Train an object prior: codes of the training instances, the representation "
        "that they share, and the layer that names its parts.",
    )
    command.add_argument(
        "config", help="YAML file, or the name of one in config/, such as semantic_srn_small"
    )
    command.add_argument(
        "objects",
        nargs="*",
        metavar="DATA",
        help="objects:chair:seed=0..199, or a folder in the layout of SRN; default: data.objects "
        "of the settings",
    )
    add_run_arguments(command)
    command.set_defaults(handler=_train_prior)


def _train_prior(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from semantic_field.object_prior.training.prior_job import PriorJob
    from semantic_field.object_prior.training.prior_settings import (
        read_prior_config,
        with_overrides_of,
    )

    config = with_overrides_of(
        read_prior_config(config_file(arguments.config)),
        arguments.objects,
        {"steps": arguments.steps},
    )
    console = Console(soft_wrap=True)
    with progress(console, config.training.steps) as (report, _):
        job = PriorJob(config, arguments.out, arguments.resume, arguments.device, report)
        written = run_to_end(job, console)
    console.print(f"written: {written}")
    return 0
