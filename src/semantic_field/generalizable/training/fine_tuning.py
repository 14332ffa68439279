"""Fine-tuning of trained weights on one scene, for some minutes or steps."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from semantic_field.generalizable.episodes import Episode
from semantic_field.generalizable.generalizable_model import GeneralizableModel
from semantic_field.generalizable.training.data_parallel import ALONE, Workers
from semantic_field.generalizable.training.episode_feed import EpisodeFeed
from semantic_field.generalizable.training.learning_rate import make_optimizer, rate_factor
from semantic_field.generalizable.training.training_loop import EpisodeLoss, train_step
from semantic_field.generalizable.training.training_run import TrainingRun
from semantic_field.generalizable.training.training_settings import ScheduleSettings
from semantic_field.settings import Settings, option

PARTS = 1000  # in which the time is divided for the course of the learning rate
Report = Callable[[int, float, dict[str, float]], None]


@dataclass(frozen=True)
class FineTuning(Settings):
    """How weights are fine-tuned. The learning rate rises over the first twentieth, then decays."""

    minutes: float = option(2.0, "of training, if steps is 0", 0.0)
    steps: int = option(0, "of training; 0 = by minutes", 0)
    learning_rate: float = option(5e-4, "of Adam, at its highest", 0.0)
    weight_decay: float = option(1e-5, "of Adam (L2)", 0.0)
    clip_value: float = option(2.0, "bound on each component of the gradient; 0 = none", 0.0)
    seed: int = option(0, "of all random numbers", 0)


def fine_tuned(
    model: GeneralizableModel,
    make: Callable[[int], Episode],
    settings: FineTuning,
    report: Report = lambda step, share, terms: None,
    workers: Workers = ALONE,
) -> tuple[GeneralizableModel, int]:
    """Return a fine-tuned copy of a model, for evaluation, and the number of steps.

    Args:
        make: returns an episode for a step, from the step alone.
        report: called after each step with the steps done, the share of the budget that is used,
            and the terms of the loss.
    Raises:
        ValueError: if neither minutes nor steps are given, or the loss is not finite.
    """
    if not settings.steps and not settings.minutes:
        raise ValueError("expected minutes or steps of fine-tuning above 0, got neither")
    course = ScheduleSettings(
        steps=PARTS, warm_up_steps=PARTS // 20, learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay, clip_value=settings.clip_value, seed=settings.seed,
    )  # fmt: skip
    copied = copy.deepcopy(model).to(workers.device).train()
    run = TrainingRun(copied, make_optimizer(copied, course, {}), {})
    loss, began = EpisodeLoss(copied), time.monotonic()
    with EpisodeFeed(lambda step: [make(step)], 0, settings.steps or sys.maxsize, 2) as feed:
        while (share := _share(settings, run.step, began)) < 1:
            factor = rate_factor(int(share * PARTS), course)
            terms = train_step(run, loss, feed.take(), factor, course, workers)
            report(run.step, _share(settings, run.step, began), terms)
    return copied.eval(), run.step


def _share(settings: FineTuning, step: int, began: float) -> float:
    """Return how much of the steps or minutes is used, 0..1."""
    if settings.steps:
        return step / settings.steps
    return min(1.0, (time.monotonic() - began) / (60 * settings.minutes))
