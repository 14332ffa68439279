"""Settings of a prior's training, as a YAML file gives them: model, data, labels, schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semantic_field.generalizable.training.construction import plain
from semantic_field.generalizable.training.sections import (
    overridden,
    read_sections,
    section,
    sections_of,
)
from semantic_field.generalizable.training.training_settings import ScheduleSettings
from semantic_field.settings import Settings, option, to_dict

SECTIONS = ("model", "data", "labels", "training")


@dataclass(frozen=True)
class ObjectData(Settings):
    """Which objects are trained on, and which of their views never are."""

    objects: tuple[str, ...] = option(
        ("objects:chair:seed=0..199",),
        "objects of one category: objects:CATEGORY:seed=FIRST..LAST for procedural ones, or a "
        "folder in the layout of SRN ($NAME for an environment variable)",
    )
    views: int = option(50, "views of each instance that are trained on, the first ones", 1)
    held_out_instances: int = option(8, "instances of the held-out figures", 1)
    held_out_views: int = option(
        2, "of each of these, the last ones: they must lie behind the training views", 0
    )
    side: int = option(64, "width and height of the views, pixels", 8)
    category: str = option("", "folders only: name of the category")
    part_names: tuple[str, ...] = ()
    """Folders only: names of the parts 1, 2, ... in seg/."""
    unit_m: float = option(0.5, "folders only: metres of a canonical unit, half a large object")
    centre_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Folders only: the canonical origin in the objects' own frame, metres."""
    up: str = option("z", "folders only: upwards axis of the poses' world", choices=("z", "y"))
    half: bool = option(False, "store the weights as float16, half the size")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unit_m <= 0 or len(self.centre_m) != 3:
            raise ValueError(
                f"expected data.unit_m above 0 and three numbers of data.centre_m, got "
                f"{self.unit_m} and {list(self.centre_m)}"
            )


@dataclass(frozen=True)
class LabelSettings(Settings):
    """How the label layer is fitted after the training."""

    instances: int = option(10, "whose views are labelled, evenly spread; 0 = no label layer", 0)
    views: int = option(3, "labelled views of each, the first ones", 1)
    solver: str = option(
        "lbfgs", "lbfgs: to the optimum; adam: as published", choices=("lbfgs", "adam")
    )
    decay: float = option(1e-4, "weight of half the squared weights, lbfgs only", 0.0)
    steps: int = option(5000, "of adam", 1)
    learning_rate: float = option(4e-4, "of adam", 0.0)
    batch: int = option(4, "views a step of adam", 1)


@dataclass(frozen=True)
class PriorSchedule(ScheduleSettings):
    """Optimisation of a prior: the loop's options, with the defaults of auto-decoders.

    ``batch``, ``mixed_precision`` and ``weight_decay`` are the systems' own matters.
    """

    weight_decay: float = option(0.0, "of Adam (L2)", 0.0)
    warm_up_steps: int = option(0, "steps in which the rate rises linearly", 0)
    clip_value: float = option(0.0, "bound on each component of the gradient; 0 = none", 0.0)


@dataclass(frozen=True)
class PriorConfig:
    """All settings of a prior's training.

    Attributes:
        model: ``system`` and its settings, see ``prior_files.build_prior``.
    """

    model: dict[str, Any]
    data: ObjectData = field(default_factory=ObjectData)
    labels: LabelSettings = field(default_factory=LabelSettings)
    training: PriorSchedule = field(default_factory=PriorSchedule)

    def as_dict(self) -> dict[str, Any]:
        """Return all settings; ``prior_config`` accepts the result."""
        return {
            "model": plain(self.model),
            "data": to_dict(self.data),
            "labels": to_dict(self.labels),
            "training": to_dict(self.training),
        }


def read_prior_config(path: str | Path) -> PriorConfig:
    """Return the settings of a YAML file.

    Raises:
        ValueError: if it is no mapping, or on an unknown name or bad value.
    """
    return read_sections(path, SECTIONS, prior_config)


def prior_config(content: Mapping[str, Any]) -> PriorConfig:
    """Return the settings of a mapping with the sections ``SECTIONS``; see the class."""
    sections = sections_of(content, SECTIONS)
    return PriorConfig(
        model=sections["model"],
        data=section("data", ObjectData(), sections["data"]),
        labels=section("labels", LabelSettings(), sections["labels"]),
        training=section("training", PriorSchedule(), sections["training"]),
    )


def with_overrides_of(
    config: PriorConfig, objects: list[str], training: Mapping[str, Any]
) -> PriorConfig:
    """Return the settings with what a command line gives: objects, training (None = as is)."""
    data = dataclasses.replace(config.data, objects=tuple(objects)) if objects else config.data
    return dataclasses.replace(config, data=data, training=overridden(config.training, training))
