"""``semantic-field train`` and ``finetune``; heavy imports are in functions, for a fast start."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path


def add_commands(subparsers) -> None:
    """Add the commands to the parser of ``semantic-field``."""
    _add_train(subparsers)
    _add_finetune(subparsers)


def _add_train(subparsers) -> None:
    command = subparsers.add_parser(
        "train",
        help="train a model that predicts views of scenes it has never seen",
        description="Train a generalizable model. Under torchrun, several GPUs or machines share "
        "each batch.",
    )
    command.add_argument(
        "config", help="YAML file, or the name of one in config/, such as gsnerf_small"
    )
    command.add_argument(
        "recordings",
        nargs="*",
        metavar="RECORDING",
        help="folders, bags, layouts or rooms (room:seed=0..199); default: data.recordings of the "
        "settings",
    )
    add_run_arguments(command)
    command.add_argument(
        "--batch",
        type=int,
        help="in place of training.batch: episodes a step, a multiple of torchrun's processes",
    )
    command.set_defaults(handler=_train)


def _add_finetune(subparsers) -> None:
    command = subparsers.add_parser(
        "finetune", help="go on training weights on the frames of one recording"
    )
    command.add_argument("weights", help="file of weights, or the name of shipped ones (gsnerf)")
    command.add_argument("recording", help="folder, rosbag2, a published layout or room[:seed=3]")
    command.add_argument(
        "--out", type=Path, required=True, help="the new file of weights (.safetensors)"
    )
    command.add_argument(
        "--minutes", type=float, default=2.0, help="of training (default: %(default)s)"
    )
    command.add_argument("--steps", type=int, default=0, help="of training, in place of --minutes")
    command.add_argument(
        "--rate", type=float, default=3e-4, help="highest learning rate (default: %(default)s)"
    )
    _add_device(command)
    command.set_defaults(handler=_finetune)


def add_run_arguments(command: argparse.ArgumentParser) -> None:
    """Add what every training from settings has: --out, --steps, --resume, --device."""
    command.add_argument(
        "--out", type=Path, required=True, help="folder of log, checkpoints and weights"
    )
    command.add_argument("--steps", type=int, help="in place of training.steps")
    command.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in --out"
    )
    _add_device(command)


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device", default="auto", help="auto, cpu or cuda (default: a GPU if there is one)"
    )


def config_file(name_or_path: str) -> Path:
    """Return the file at a path, or the one of that name among the library's settings.

    Raises:
        ValueError: if there is neither.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    here = Path(str(resources.files("semantic_field")))
    folders = [here.parents[1] / "config", here / "share" / "config"]
    folders += [parent / "share" / "semantic_field" / "config" for parent in here.parents]
    for folder in folders:
        if (folder / f"{name_or_path}.yaml").is_file():
            return folder / f"{name_or_path}.yaml"
    raise ValueError(
        "expected a YAML file or a name such as gsnerf_small or gp_nerf_small, got "
        f"{name_or_path!r}"
    )


def _train(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from semantic_field.generalizable.training.training_job import TrainingJob
    from semantic_field.generalizable.training.training_settings import (
        read_training_config,
        with_overrides,
    )

    config = with_overrides(
        read_training_config(config_file(arguments.config)),
        arguments.recordings,
        {"steps": arguments.steps, "batch": arguments.batch},
    )
    console = Console(quiet=os.environ.get("RANK", "0") != "0", soft_wrap=True)
    with progress(console, config.training.steps) as (report, preparing):
        job = TrainingJob(
            config, arguments.out, arguments.resume, arguments.device, report, preparing
        )
        written = run_to_end(job, console)
    console.print(f"written: {written}")
    return 0


def run_to_end(job, console) -> Path:
    """Run a training job; returns its file, and when it is stopped says how to go on."""
    try:
        return job.run()
    except KeyboardInterrupt:
        console.print("stopped; the same command with --resume goes on from the last checkpoint")
        raise


@contextmanager
def progress(console, steps: int) -> Iterator[tuple]:
    """Yield what shows the steps with their losses, and what shows the scenes' preparation."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("", total=None)
        recent = 0.0

        def report(entry: dict) -> None:
            nonlocal recent
            if "held_out" in entry:
                console.print(f"step {entry['step']:>6}  {described(entry['held_out'])}")
                return
            recent = 0.95 * recent + 0.05 * entry["loss"] if recent else entry["loss"]
            text = f"loss {recent:.4f}  {described(entry['terms'])}"
            shown.update(task, description=text, completed=entry["step"], total=steps)

        def preparing(text: str, done: int, count: int) -> None:
            if not console.is_terminal and done == 0:
                console.print(f"{text} (scene 1 of {count}; what is prepared is kept)")
            shown.update(task, description=text, completed=done, total=count)

        yield report, preparing


def described(values: dict[str, float]) -> str:
    """Return numbers with their names on one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _finetune(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from semantic_field.generalizable.training.data_parallel import joined
    from semantic_field.generalizable.training.fine_tuning import FineTuning
    from semantic_field.generalizable.training.scene_tuning import tuned_on_scene
    from semantic_field.generalizable.training.scenes import SceneSet, expand_locations
    from semantic_field.generalizable.training.weight_files import (
        load_model,
        read_card,
        same_weights,
        save_model,
        tuned_card,
    )

    settings = FineTuning(
        minutes=arguments.minutes, steps=arguments.steps, learning_rate=arguments.rate
    )
    console = Console(soft_wrap=True)
    model, card = load_model(arguments.weights), read_card(arguments.weights)
    with joined(arguments.device) as workers, progress(console, 100) as (report, preparing):
        preparing(f"preparing {arguments.recording}", 0, 1)
        scene = SceneSet(expand_locations([arguments.recording]))[0]

        def tell(step: int, share: float, terms: dict[str, float]) -> None:
            report({"step": round(100 * share), "loss": sum(terms.values()), "terms": terms})

        tuned, steps = tuned_on_scene(model, scene, settings, tell, workers)
    save_model(
        tuned, arguments.out, tuned_card(card, arguments.weights, arguments.recording, steps)
    )
    if same_weights(model, tuned):
        console.print(
            "no step made the frames that are left out better: the weights are those it began with"
        )
    console.print(f"{steps} steps on {arguments.recording}; written: {arguments.out}")
    return 0
