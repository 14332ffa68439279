"""Settings of a training, as a YAML file gives them: model, data, episodes, schedule, rates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semantic_field.generalizable.episodes import EpisodeSettings
from semantic_field.generalizable.training.construction import constructed, plain
from semantic_field.generalizable.training.sections import (
    overridden,
    read_sections,
    section,
    sections_of,
)
from semantic_field.settings import Settings, option, to_dict

SECTIONS = ("model", "data", "episodes", "training", "rates")


@dataclass(frozen=True)
class DataSettings(Settings):
    """Which recordings are used, and how they are kept."""

    recordings: tuple[str, ...] = option(
        ("room:seed=0..9",),
        "folders, bags, layouts or rooms to train on; room:seed=0..199 stands for 200 rooms, $NAME "
        "for an environment variable",
    )
    shares: tuple[float, ...] = ()
    """Share of the episodes of each entry of ``recordings``; () = every scene alike."""
    held_out: tuple[str, ...] = option(
        ("room:seed=200..203",), "recordings of the held-out figures, never trained on"
    )
    width: int = option(320, "width of the training images, pixels", 16)
    height: int = option(240, "height of the training images, pixels", 16)
    most_frames: int = option(300, "a recording with more frames is thinned evenly to so many", 2)
    active_scenes: int = option(8, "scenes that episodes are drawn from at a time", 1)
    episodes_per_scene: int = option(16, "episodes until another scene takes its place", 1)
    memory_mb: float = option(2048.0, "bound on the scenes in memory, MB", 1.0)
    cache: str = option("", "folder of prepared scenes; empty = in the user's cache folder")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shares and (
            len(self.shares) != len(self.recordings) or min(self.shares) < 0 or not sum(self.shares)
        ):
            raise ValueError(
                f"expected data.shares to be one number from 0 on for each of the "
                f"{len(self.recordings)} entries of data.recordings, got {self.shares}"
            )


@dataclass(frozen=True)
class ScheduleSettings(Settings):
    """Optimisation: Adam with a linear warm-up and a decay."""

    steps: int = option(10000, "training steps", 1)
    batch: int = option(1, "episodes per step, over all processes together", 1)
    learning_rate: float = option(5e-4, "of Adam, after the warm-up", 0.0)
    weight_decay: float = option(1e-5, "of Adam (L2)", 0.0)
    warm_up_steps: int = option(500, "steps in which the rate rises linearly", 0)
    decay: str = option("cosine", "of the learning rate", choices=("cosine", "steps", "none"))
    last_rate: float = option(0.02, "cosine: last rate, as a share of learning_rate", 0.0, 1.0)
    decay_factor: float = option(0.6, "steps: factor of each decay", 0.0, 1.0)
    decay_every: int = option(100000, "steps: steps between decays", 1)
    clip_value: float = option(2.0, "bound on each component of the gradient; 0 = none", 0.0)
    clip_norm: float = option(0.0, "bound on the length of the whole gradient; 0 = none", 0.0)
    mixed_precision: bool = option(True, "bfloat16 autocast, used on a GPU only")
    processor_mixed_precision: bool = option(
        False, "the same on processors that multiply matrices in bfloat16 (AMX); others ignore it"
    )
    begin_with: str = option(
        "", "weights (a file, or the name of shipped ones) whose tensors the model begins with"
    )
    seed: int = option(0, "of the initial weights and of all episodes", 0)
    prefetch: int = option(2, "steps whose episodes are prepared ahead", 0, 64)
    half_weights: bool = option(
        False, "write what was trained with 16 bits a number: the file is half as large"
    )
    log_every: int = option(50, "steps between lines of the log", 1)
    held_out_every: int = option(500, "steps between held-out figures", 1)
    held_out_episodes: int = option(12, "episodes of the held-out figures; 0 = none", 0)
    checkpoint_every: int = option(500, "steps between checkpoints", 1)


@dataclass(frozen=True)
class TrainingConfig:
    """All settings of a training.

    Attributes:
        model: ``system`` and the settings of its model, see ``weight_files.build_model``.
        episodes: how episodes are drawn.
        rates: beginnings of parameter names with learning rates of their own.
    """

    model: dict[str, Any]
    data: DataSettings = field(default_factory=DataSettings)
    episodes: EpisodeSettings = field(default_factory=EpisodeSettings)
    training: ScheduleSettings = field(default_factory=ScheduleSettings)
    rates: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return all settings; ``training_config`` accepts the result."""
        return {
            "model": plain(self.model),
            "data": to_dict(self.data),
            "episodes": plain(self.episodes),
            "training": to_dict(self.training),
            "rates": dict(self.rates),
        }


def read_training_config(path: str | Path) -> TrainingConfig:
    """Return the settings of a YAML file.

    Raises:
        ValueError: if it is no mapping, or on an unknown name or bad value.
    """
    return read_sections(path, SECTIONS, training_config)


def training_config(content: Mapping[str, Any]) -> TrainingConfig:
    """Return the settings of a mapping with the sections ``SECTIONS``; see the class."""
    sections = sections_of(content, SECTIONS)
    return TrainingConfig(
        model=sections["model"],
        data=section("data", DataSettings(), sections["data"]),
        episodes=constructed(EpisodeSettings, sections["episodes"], "episodes"),
        training=section("training", ScheduleSettings(), sections["training"]),
        rates=_rates(sections["rates"]),
    )


def with_overrides(
    config: TrainingConfig, recordings: list[str], training: Mapping[str, Any]
) -> TrainingConfig:
    """Return the settings with what a command line gives: recordings, training (None = as is)."""
    data = config.data
    if recordings:
        data = dataclasses.replace(data, recordings=tuple(recordings), shares=())
    return dataclasses.replace(config, data=data, training=overridden(config.training, training))


def _rates(values: dict[str, Any]) -> dict[str, float]:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(
                f"expected rates to give learning rates from 0 on, such as 5e-4 (YAML wants "
                f"5.0e-4), got {name}: {value!r}"
            )
    return {name: float(value) for name, value in values.items()}
