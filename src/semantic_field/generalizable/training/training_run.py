"""The state of a training, on disk after every so many steps: whoever kills it loses only those.

A run's folder holds ``config.yaml``, ``log.jsonl``, ``checkpoint.safetensors`` (weights, state of
the optimiser, step) and at the end ``weights.safetensors``. Random numbers need no state: those of
a step are a function of the seed, the step and the process (``episode_random``, ``seed_step``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from semantic_field.atomic_files import check_space, write_atomically

CHECKPOINT, LOG, WEIGHTS, CONFIG = (
    "checkpoint.safetensors",
    "log.jsonl",
    "weights.safetensors",
    "config.yaml",
)
FORMAT = "semantic_field.training"
Model = TypeVar("Model", bound=nn.Module)
CHANGEABLE = {("training", name) for name in ("steps", "prefetch", "checkpoint_every")} | {
    ("data", name) for name in ("memory_mb", "cache")
}


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's random numbers (of dropout and the like) for one step of one process."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


class StatefulOptimizer(Protocol):
    """What a training needs of an optimiser, or of several that act as one.

    The state is a tensor for each name of each numbered parameter.
    """

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        ...

    def step(self) -> Any:
        """Change the parameters by their gradients."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return ``state`` (by number and name) and ``param_groups``."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what ``state_dict`` returned."""
        ...


@dataclass
class TrainingRun(Generic[Model]):
    """Model, optimiser and number of steps done.

    Attributes:
        settings: of the training (``TrainingConfig.as_dict``), kept with the state.
    """

    model: Model
    optimizer: StatefulOptimizer
    settings: dict[str, Any]
    step: int = 0

    def save(self, folder: Path) -> None:
        """Write the state to the folder, atomically.

        Raises:
            OSError: if there is no room; the last checkpoint stays.
        """
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        about = {"step": self.step, "settings": self.settings}
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        data = save(tensors, {FORMAT: json.dumps(about)})
        check_space(folder / CHECKPOINT, len(data))
        write_atomically(folder / CHECKPOINT, data)

    def restore(self, folder: Path) -> None:
        """Take the state of the folder's checkpoint.

        Raises:
            ValueError: if it is damaged, or was trained with other settings.
        """
        about, tensors = _read_checkpoint(folder / CHECKPOINT)
        _check_same(about["settings"], self.settings, folder)
        try:
            self.model.load_state_dict(_below("model.", tensors))
        except RuntimeError as error:
            raise _unfit(folder / CHECKPOINT, str(error)) from error
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _below("optimizer.", tensors).items():
            number, _, kind = name.partition(".")
            states.setdefault(int(number), {})[kind] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.step = about["step"]


def _below(start: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[FORMAT])
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise _unfit(path, str(error)) from error


def _unfit(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"expected an intact checkpoint of this training in {path}, got: {reason}; "
        f"start anew without it: rm {path}"
    )


def _check_same(kept: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    """Raise a ValueError if settings that decide the result are not those of the checkpoint."""
    before, now = dict(_leaves(kept)), dict(_leaves(wanted))
    changed = [
        f"{'.'.join(name)} {before.get(name)!r} and not {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in CHANGEABLE
    ]
    if changed:
        raise ValueError(
            f"expected the settings with which the training in {folder} began: "
            f"{'; '.join(changed)}; take {folder / CONFIG}, or begin in another folder (--out)"
        )


def _leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


class TrainingLog:
    """Lines of JSON, each with its ``step``.

    Args:
        after: lines of later steps are dropped: they are about to be written again.
    """

    def __init__(self, path: Path, after: int = 0) -> None:
        self._path = path
        lines = [line for line in read_log(path) if line["step"] <= after]
        write_atomically(path, "".join(map(_line, lines)).encode())

    def add(self, entry: dict[str, Any]) -> None:
        """Append an entry."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a log, without a last line that a killed process left unfinished."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]
