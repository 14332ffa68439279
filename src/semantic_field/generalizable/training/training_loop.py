"""The training loop, one for all models that are trained from batches made for each step."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semantic_field.generalizable.episodes import Episode
from semantic_field.generalizable.generalizable_model import GeneralizableModel
from semantic_field.generalizable.training.data_parallel import ALONE, Workers
from semantic_field.generalizable.training.episode_feed import EpisodeFeed
from semantic_field.generalizable.training.held_out_figures import RunningMeans
from semantic_field.generalizable.training.learning_rate import rate_factor, set_rate
from semantic_field.generalizable.training.training_run import (
    LOG,
    TrainingLog,
    TrainingRun,
    seed_step,
)
from semantic_field.generalizable.training.training_settings import ScheduleSettings

Report = Callable[[dict[str, Any]], None]


class EpisodeLoss(nn.Module):
    """The loss of a model on a batch of episodes, as one module, so that DDP can wrap it."""

    def __init__(self, model: GeneralizableModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, episodes: Sequence[Episode]) -> dict[str, Tensor]:
        """Return each term's mean over the episodes; their sum is the loss."""
        sums: dict[str, Tensor] = {}
        for episode in episodes:
            features = self.model.extract(episode.sources.colors)
            sources = dataclasses.replace(episode.sources, features=features)
            prediction = self.model(sources, episode.rays)
            for name, term in self.model.losses(prediction, episode.truth, sources).items():
                sums[name] = sums[name] + term if name in sums else term
        return {name: value / len(episodes) for name, value in sums.items()}


@dataclass(frozen=True)
class TrainingLoop:
    """What a training needs besides its state.

    Attributes:
        make: returns an episode, or a part of a batch, for a step and a number in its batch, from
            these alone.
        held_out: returns the held-out figures of the run's model; None = there are none.
        folder: of the log and the checkpoints.
        report: called after every step with what there is to say: ``step``, ``loss``, ``terms``,
            and when they were computed ``held_out``.
        loss: returns the module that turns what was made for a step into the terms of the loss.
    """

    make: Callable[[int, int], Any]
    held_out: Callable[[], dict[str, float]] | None
    settings: ScheduleSettings
    folder: Path
    workers: Workers = ALONE
    report: Report = lambda entry: None
    loss: Callable[[Any], nn.Module] = EpisodeLoss

    def run(self, run: TrainingRun) -> None:
        """Train from the run's step to the last one, writing the log and checkpoints.

        Raises:
            ValueError: if the loss is not finite, with the step and the terms.
        """
        settings, loss = self.settings, self.workers.wrapped(self.loss(run.model))
        share = self.workers.share_of(settings.batch)
        log = TrainingLog(self.folder / LOG, run.step) if self.workers.is_first else None
        if log and not run.step:
            self._note_held_out(run, log)
        with EpisodeFeed(
            lambda step: [self.make(step, index) for index in share],
            run.step,
            settings.steps,
            settings.prefetch,
        ) as feed:
            means, began = RunningMeans(), time.monotonic()
            run.model.train()
            while run.step < settings.steps:
                factor = rate_factor(run.step, settings)
                terms = train_step(run, loss, feed.take(), factor, settings, self.workers)
                means.add(terms)
                self.report({"step": run.step, "loss": sum(terms.values()), "terms": terms})
                if log:
                    self._after_step(run, log, means, began)

    def _after_step(
        self, run: TrainingRun, log: TrainingLog, means: RunningMeans, began: float
    ) -> None:
        settings, step = self.settings, run.step
        if step % settings.log_every == 0 or step == settings.steps:
            terms = means.taken()
            rate = run.optimizer.param_groups[0]["lr"]
            seconds = round(time.monotonic() - began, 1)
            loss = sum(terms.values())
            log.add({"step": step, "loss": loss, "terms": terms, "rate": rate, "seconds": seconds})
        if step % settings.held_out_every == 0 or step == settings.steps:
            self._note_held_out(run, log)
        if step % settings.checkpoint_every == 0 or step == settings.steps:
            run.save(self.folder)

    def _note_held_out(self, run: TrainingRun, log: TrainingLog) -> None:
        if self.held_out:
            with autocast(self.settings, self.workers.device):
                figures = self.held_out()
            log.add({"step": run.step, "held_out": figures})
            self.report({"step": run.step, "held_out": figures})


def train_step(
    run: TrainingRun,
    loss: nn.Module,
    episodes: Sequence[Any],
    factor: float,
    settings: ScheduleSettings,
    workers: Workers,
) -> dict[str, float]:
    """Do one step of the optimiser and return the terms of the loss before it.

    Args:
        loss: takes the episodes to the terms, such as an ``EpisodeLoss`` of the run's model, or
            what ``Workers`` wrapped it in.
        factor: of the learning rates.
    Raises:
        ValueError: if the loss is not finite.
    """
    seed_step(settings.seed, run.step, workers.rank)
    set_rate(run.optimizer.param_groups, factor)
    run.optimizer.zero_grad(set_to_none=True)
    with autocast(settings, workers.device):
        terms = loss([moved(episode, workers.device) for episode in episodes])
    values = {name: float(term.detach()) for name, term in terms.items()}
    _check_finite(values, run.step)
    torch.stack([term.float() for term in terms.values()]).sum().backward()
    if settings.clip_value > 0:
        nn.utils.clip_grad_value_(run.model.parameters(), settings.clip_value)
    if settings.clip_norm > 0:
        nn.utils.clip_grad_norm_(run.model.parameters(), settings.clip_norm)
    run.optimizer.step()
    run.step += 1
    return values


def autocast(settings: ScheduleSettings, device: torch.device) -> torch.autocast:
    """Return the context of mixed precision: bfloat16 where it is on and helps, else nothing."""
    enabled = settings.mixed_precision and device.type == "cuda"
    if device.type == "cpu" and settings.processor_mixed_precision:
        enabled = torch.cpu._is_amx_tile_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _check_finite(terms: dict[str, float], step: int) -> None:
    if not all(map(math.isfinite, terms.values())):
        raise ValueError(
            f"expected a finite loss at step {step}, got {terms}; lower training.learning_rate or "
            "training.clip_value and resume from the last checkpoint (--resume)"
        )


def moved(value: Any, device: torch.device) -> Any:
    """Return an episode, or any dataclass of tensors, with all tensors on a device."""
    if torch.is_tensor(value):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(moved(entry, device) for entry in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = {f.name: moved(getattr(value, f.name), device) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **entries)
    return value
