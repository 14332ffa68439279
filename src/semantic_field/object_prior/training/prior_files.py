"""Weights of object priors as files, and priors made from settings or from weights.

A file is safetensors with JSON in its metadata: the system, its settings, the category with its
part names, canonical frame and training instances, and what the card says. The label layer and the
codes of the training instances are among the tensors. Weights that ship with the library are found
by name in the folder ``weights``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from semantic_field.data.objects.object_views import CategoryFrame
from semantic_field.generalizable.training.construction import plain
from semantic_field.generalizable.training.known_systems import System, built, settings_in
from semantic_field.generalizable.training.tensor_files import (
    FileKind,
    check_tensors,
    halved,
    shipped_or_file,
)
from semantic_field.object_prior.trainable_prior import PriorSubject, TrainablePrior

FILES = FileKind(
    format="semantic_field.object_prior",
    version=1,
    what="weights of an object prior",
    parts=("config", "subject", "card"),
    maker="semantic-field train-prior",
)
SUFFIX = ".safetensors"


SYSTEMS = {
    "signed_distance": System(
        "semantic_field.object_prior.signed_distance_prior",
        "SignedDistancePrior",
        "SignedDistanceConfig",
    ),
    "semantic_srn": System(
        "semantic_field.object_prior.published.semantic_srn", "SemanticSRN", "SemanticSRNConfig"
    ),
}


@dataclass(frozen=True)
class PriorCard:
    """What a weights file says about its training.

    Attributes:
        steps: of training.
        data: objects that it was trained on.
        labelled_images: that the label layer was fitted to; 0 = it was not.
        licence: of the weights.
        figures: held-out figures by name.
    """

    steps: int = 0
    data: tuple[str, ...] = ()
    labelled_images: int = 0
    licence: str = "Apache-2.0"
    figures: dict[str, float] = field(default_factory=dict)


def build_prior(config: Mapping[str, Any], subject: PriorSubject) -> TrainablePrior:
    """Return a prior with initial weights (from torch's random numbers).

    Args:
        config: ``system``, one of ``SYSTEMS``, and its settings by name; lists become tuples.
    Raises:
        ValueError: on an unknown system or setting, or a bad value.
    """
    return built(SYSTEMS, config, subject)


def config_of(prior: TrainablePrior) -> dict[str, Any]:
    """Return the settings of a prior as ``build_prior`` takes them.

    Raises:
        ValueError: if the prior is of no known system.
    """
    return settings_in(SYSTEMS, prior, "a prior")


def save_prior(
    prior: TrainablePrior, path: str | Path, card: PriorCard, half: bool = False
) -> None:
    """Write a prior's weights, settings, subject and card to a file, atomically.

    Args:
        half: store float16 in place of float32: half the size, rounded to three digits.
    Raises:
        OSError: if there is no room, or the file cannot be written.
        ValueError: if a weight is too large for float16.
    """
    tensors = dict(prior.state_dict())
    if half:
        tensors = {name: halved(name, value) for name, value in tensors.items()}
    about = {
        "config": config_of(prior),
        "subject": plain(prior.subject),
        "card": dataclasses.asdict(card),
    }
    FILES.write(path, about, tensors)


def load_prior(name_or_path: str | Path) -> TrainablePrior:
    """Return a prior with trained weights, on the CPU, for evaluation; float32 in any case.

    Args:
        name_or_path: a name of ``shipped_priors()``, such as ``chair`` or ``srn_chair``, or a file.
    Raises:
        ValueError: if there is no such file, it is damaged or of another format or version, or
            its tensors are not those of its system and settings.
    """
    path = _prior_path(name_or_path)
    about, tensors = FILES.read(path)
    prior = build_prior(about["config"], _subject(path, about["subject"]))
    wanted = dict(prior.state_dict())
    check_tensors(path, tensors, wanted)
    prior.load_state_dict({n: value.to(wanted[n].dtype) for n, value in tensors.items()})
    return prior.eval()


def _subject(path: Path, values: dict[str, Any]) -> PriorSubject:
    try:
        frame = values["frame"]
        return PriorSubject(
            category=values["category"],
            part_names=tuple(values["part_names"]),
            frame=CategoryFrame(frame["unit_m"], tuple(frame["centre_m"])),
            instances=tuple(values["instances"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"expected the category's frame, parts and instances in {path}, got {error!r}; train "
            "anew or copy it again"
        ) from error


def read_prior_card(name_or_path: str | Path) -> PriorCard:
    """Return what a weights file says about its training; raises as ``load_prior``."""
    about, _ = FILES.read(_prior_path(name_or_path))
    return PriorCard(**{**about["card"], "data": tuple(about["card"]["data"])})


def shipped_priors(published: bool = False) -> dict[str, Path]:
    """Return the priors that the library brings, by name: one for each category.

    Args:
        published: those of the published system instead, such as ``srn_chair``.
    """
    folder = Path(str(resources.files("semantic_field"))) / "object_prior" / "weights"
    folder = folder / "published" if published else folder
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _prior_path(name_or_path: str | Path) -> Path:
    return shipped_or_file(name_or_path, shipped_priors() | shipped_priors(published=True))
