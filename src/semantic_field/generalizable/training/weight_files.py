"""Weights of generalizable models as files, and models made from settings or from weights.

A file is safetensors with JSON in its metadata: the system, its settings, the class names, the
steps of training, the version of the format and what else the card says. Nothing in it is executed.
Weights that ship with the library are found by name in the folder ``weights``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semantic_field.generalizable.generalizable_model import GeneralizableModel
from semantic_field.generalizable.training.known_systems import System, built, settings_in
from semantic_field.generalizable.training.tensor_files import (
    FileKind,
    check_tensors,
    halved,
    shipped_or_file,
)

FORMAT = "semantic_field.generalizable"
FORMAT_VERSION = 1
FILES = FileKind(
    FORMAT,
    FORMAT_VERSION,
    "weights of a generalizable model",
    ("config", "class_names", "card"),
    "semantic-field train",
)
SUFFIX = ".safetensors"
TINY = 1e-20  # weights below have no effect on what a model computes


SYSTEMS = {
    "gsnerf": System("semantic_field.generalizable.gsnerf", "GSNeRF", "GSNeRFConfig"),
    "gp_nerf": System("semantic_field.generalizable.gp_nerf", "GPNeRF", "GPNeRFConfig"),
}


@dataclass(frozen=True)
class ModelCard:
    """What a weights file says about its training.

    Attributes:
        steps: of training, those of the weights that it began with included.
        data: recordings that it was trained on.
        licence: of the weights.
        figures: held-out figures by name.
        began_with: weights that were fine-tuned, or that parts were added to; "" = none.
    """

    steps: int = 0
    data: tuple[str, ...] = ()
    licence: str = "Apache-2.0"
    figures: dict[str, float] = field(default_factory=dict)
    began_with: str = ""


def build_model(config: Mapping[str, Any]) -> GeneralizableModel:
    """Return a model with initial weights (from torch's random numbers).

    Args:
        config: ``system`` (``gsnerf`` or ``gp_nerf``), and settings of ``GSNeRFConfig`` or
            ``GPNeRFConfig`` by name; lists are taken as tuples.
    Raises:
        ValueError: on an unknown system or setting, or a bad value.
    """
    return built(SYSTEMS, config)


def config_of(model: GeneralizableModel) -> dict[str, Any]:
    """Return the settings of a model as ``build_model`` takes them.

    Raises:
        ValueError: if the model is of no known system.
    """
    return settings_in(SYSTEMS, model, "a model")


def save_model(
    model: GeneralizableModel, path: str | Path, card: ModelCard, half: bool = False
) -> None:
    """Write a model's weights, settings and card to a file, atomically.

    Args:
        half: write what is trained (not what is frozen) as float16, half as large. Loaded, it is
            float32 again.

    Raises:
        OSError: if there is no room, or the file cannot be written.
    """
    about = {
        "config": config_of(model),
        "class_names": list(model.class_names),
        "card": dataclasses.asdict(card),
    }
    tensors = _tensors(model)
    if half:
        trained = {name for name, part in model.named_parameters() if part.requires_grad}
        tensors = {n: halved(n, value) if n in trained else value for n, value in tensors.items()}
    FILES.write(path, about, tensors)


def load_model(name_or_path: str | Path) -> GeneralizableModel:
    """Return a model with trained weights, on the CPU, for evaluation.

    Args:
        name_or_path: a name of ``shipped_weights()``, such as ``gsnerf``, or a file.
    Raises:
        ValueError: if there is no such file, it is damaged or of another format or version, or
            its tensors are not those of its system and settings.
    """
    path = weights_path(name_or_path)
    about, tensors = FILES.read(path)
    model = build_model(about["config"])
    check_tensors(path, tensors, _tensors(model))
    model.load_state_dict({name: without_tiny(value) for name, value in tensors.items()})
    if tuple(about["class_names"]) != tuple(model.class_names):
        raise ValueError(
            f"expected the class names {list(model.class_names)} in {path} as its settings say, "
            f"got {about['class_names']}"
        )
    return model.eval()


def begin_with(model: GeneralizableModel, name_or_path: str | Path) -> None:
    """Give a model the weights of a file, which may lack parts that the model has besides.

    Raises:
        ValueError: as ``load_model``, or if the file has tensors that the model has not.
    """
    path = weights_path(name_or_path)
    _, tensors = FILES.read(path)
    own = _tensors(model)
    check_tensors(path, tensors, {name: own[name] for name in own if name in tensors})
    model.load_state_dict(own | tensors)


def without_tiny(values: Tensor) -> Tensor:
    """Return values with those of less than ``TINY`` set to 0.

    Weight decay shrinks the weights of dead units until they are no normal float32 any more, and
    with such numbers a processor computes up to thirty times as slowly.
    """
    if not values.is_floating_point():
        return values
    return torch.where(values.abs() < TINY, 0.0, values)


def read_card(name_or_path: str | Path) -> ModelCard:
    """Return what a weights file says about its training; raises as ``load_model``."""
    about, _ = FILES.read(weights_path(name_or_path))
    return ModelCard(**{**about["card"], "data": tuple(about["card"]["data"])})


def tuned_card(card: ModelCard, weights: str | Path, recording: str, steps: int) -> ModelCard:
    """Return the card of weights that went on learning on one recording; its figures are gone."""
    data = (*card.data, recording)
    return ModelCard(card.steps + steps, data, card.licence, {}, began_with=str(weights))


def same_weights(one: GeneralizableModel, other: GeneralizableModel) -> bool:
    """Return whether two models of one system and size have the same weights."""
    pairs = zip(_tensors(one).values(), _tensors(other).values(), strict=True)
    return all(torch.equal(own.cpu(), its.cpu()) for own, its in pairs)


def shipped_weights() -> dict[str, Path]:
    """Return the weights that the library brings, by name."""
    folder = Path(str(resources.files("semantic_field"))) / "generalizable" / "weights"
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def weights_path(name_or_path: str | Path) -> Path:
    """Return the file of shipped weights, or the file at a path.

    Raises:
        ValueError: if there is none.
    """
    return shipped_or_file(name_or_path, shipped_weights())


def _tensors(model: GeneralizableModel) -> dict[str, Tensor]:
    return dict(model.state_dict())


def parameter_count(model: torch.nn.Module) -> int:
    """Return the number of a model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
