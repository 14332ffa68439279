"""The optimiser of a training and how its learning rate goes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from semantic_field.generalizable.training.training_settings import ScheduleSettings


def rate_factor(step: int, settings: ScheduleSettings) -> float:
    """Return the factor of the learning rates at a step (from 0 on).

    It rises linearly to 1 over the warm-up, then decays: by a half cosine to ``last_rate`` at the
    last step, or by ``decay_factor`` every ``decay_every`` steps counted from the beginning.
    """
    warm_up = settings.warm_up_steps
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    if settings.decay == "steps":
        return settings.decay_factor ** (step // settings.decay_every)
    if settings.decay == "none":
        return 1.0
    share = min(1.0, (step - warm_up) / max(1, settings.steps - 1 - warm_up))
    return settings.last_rate + (1 - settings.last_rate) * 0.5 * (1 + math.cos(math.pi * share))


def make_optimizer(
    model: nn.Module, settings: ScheduleSettings, rates: dict[str, float]
) -> torch.optim.Adam:
    """Return Adam over the parameters that want gradients; each group knows its ``base_rate``.

    Args:
        rates: beginnings of parameter names to their learning rate; the longest one counts.
    Raises:
        ValueError: if a beginning fits no parameter.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            fitting = [start for start in rates if name.startswith(start)]
            groups.setdefault(max(fitting, key=len, default=""), []).append(parameter)
    unused = sorted(set(rates) - set(groups))
    if unused:
        parts = sorted({name.partition(".")[0] for name, _ in model.named_parameters()})
        raise ValueError(
            f"expected rates for beginnings of parameter names ({', '.join(parts)}), "
            f"got {', '.join(unused)}"
        )
    return torch.optim.Adam(
        [
            {"params": parameters, "base_rate": rates.get(start, settings.learning_rate)}
            for start, parameters in groups.items()
        ],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )


def set_rate(groups: list[dict[str, Any]], factor: float) -> None:
    """Set the learning rate of each group of an optimiser to ``factor`` times its ``base_rate``."""
    for group in groups:
        group["lr"] = factor * group["base_rate"]
