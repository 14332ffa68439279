"""Fine-tuning of trained weights on one scene, for some minutes or steps."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

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
Score = Callable[[GeneralizableModel], float]


@dataclass(frozen=True)
class FineTuning(Settings):
    """How weights are fine-tuned. The learning rate rises over the first twentieth, then decays."""

    minutes: float = option(2.0, "of training, if steps is 0", 0.0)
    steps: int = option(0, "of training; 0 = by minutes", 0)
    learning_rate: float = option(3e-4, "of Adam, at its highest", 0.0)
    weight_decay: float = option(1e-5, "of Adam (L2)", 0.0)
    clip_value: float = option(2.0, "bound on each component of the gradient; 0 = none", 0.0)
    extractor: bool = option(
        False, "train what looks at single frames as well: three times the work, for few frames"
    )
    average: float = option(
        0.98, "share that the averaged weights keep at each step; 0 = the last weights", 0.0, 1.0
    )
    checks: int = option(6, "how often the averaged weights are scored, if they are at all", 1)
    seed: int = option(0, "of all random numbers", 0)


def fine_tuned(
    model: GeneralizableModel,
    make: Callable[[int], Episode],
    settings: FineTuning,
    report: Report = lambda step, share, terms: None,
    workers: Workers = ALONE,
    score: Score | None = None,
) -> tuple[GeneralizableModel, int]:
    """Return a fine-tuned copy of a model, for evaluation, and the number of steps.

    What is returned are the weights averaged over the last steps: single steps on few frames
    differ much.

    Args:
        make: returns an episode for a step, from the step alone.
        report: called after each step with the steps done, the share of the budget that is used,
            and the terms of the loss.
        score: how good a model is on frames that it is not trained on. With it, the best of the
            averaged weights at some steps is returned, or the weights that were given if none is
            better.
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
    if not settings.extractor:
        freeze(copied, "extractor")
    run = TrainingRun(copied, make_optimizer(copied, course, {}), {})
    mean, best = copy.deepcopy(copied).eval(), _Best(score, copied)
    loss, began, checks = EpisodeLoss(copied), time.monotonic(), 0
    with EpisodeFeed(lambda step: [make(step)], 0, settings.steps or sys.maxsize, 2) as feed:
        while (share := _share(settings, run.step, began)) < 1:
            factor = rate_factor(int(share * PARTS), course)
            terms = train_step(run, loss, feed.take(), factor, course, workers)
            average(mean, copied, settings.average, run.step)
            share = _share(settings, run.step, began)
            if share * settings.checks >= checks + 1:
                checks = int(share * settings.checks)
                best.look_at(mean)
            report(run.step, share, terms)
    tuned = best.model if score is not None else mean
    return tuned.requires_grad_(True), run.step


def freeze(model: GeneralizableModel, part: str) -> None:
    """Exclude the parameters of a part from training, if the model has such a part."""
    for parameter in getattr(model, part, torch.nn.Module()).parameters():
        parameter.requires_grad_(False)


class _Best:
    """The best of the models that were looked at; the first is that given."""

    def __init__(self, score: Score | None, model: GeneralizableModel) -> None:
        self._score = score
        self.model = copy.deepcopy(model).eval()
        self._most = -math.inf if score is None else score(self.model)

    def look_at(self, model: GeneralizableModel) -> None:
        """Keep a copy of a model if it is better."""
        if self._score is None:
            return
        found = self._score(model)
        if found > self._most:
            self._most, self.model = found, copy.deepcopy(model)


@torch.no_grad()
def average(mean: GeneralizableModel, model: GeneralizableModel, kept: float, step: int) -> None:
    """Move averaged weights towards a model's, after a number of steps (from 1 on).

    Of the first steps, less is kept, so that the average is not that of the weights before.
    """
    kept = min(kept, step / (step + 9.0)) if kept else 0.0
    for own, new in zip(mean.state_dict().values(), model.state_dict().values(), strict=True):
        if own.is_floating_point():
            own.lerp_(new, 1 - kept)
        else:
            own.copy_(new)


def _share(settings: FineTuning, step: int, began: float) -> float:
    """Return how much of the steps or minutes is used, 0..1."""
    if settings.steps:
        return step / settings.steps
    return min(1.0, (time.monotonic() - began) / (60 * settings.minutes))
