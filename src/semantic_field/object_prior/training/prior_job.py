"""A prior's whole training: from settings to a file of weights, begun or resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from semantic_field.atomic_files import write_atomically
from semantic_field.data.objects.object_views import ObjectCollection
from semantic_field.generalizable.training.data_parallel import Workers, joined
from semantic_field.generalizable.training.training_loop import Report, TrainingLoop
from semantic_field.generalizable.training.training_run import (
    CHECKPOINT,
    CONFIG,
    LOG,
    WEIGHTS,
    TrainingRun,
    read_log,
)
from semantic_field.object_prior.training.joint_optimizer import JointOptimizer
from semantic_field.object_prior.training.novel_views import HeldOutViews
from semantic_field.object_prior.training.object_locations import open_objects
from semantic_field.object_prior.training.prior_files import PriorCard, build_prior, save_prior
from semantic_field.object_prior.training.prior_settings import PriorConfig
from semantic_field.object_prior.trainable_prior import (
    PriorSubject,
    TrainablePrior,
    TrainingObjects,
)


class PriorLoss(nn.Module):
    """The loss of a prior on what was made for a step, as the training loop wants it."""

    def __init__(self, prior: TrainablePrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, batches: Sequence[Any]) -> dict[str, Tensor]:
        """Return the terms on the only batch of the step."""
        (batch,) = batches
        return self.prior.losses(batch)


@dataclass(frozen=True)
class PriorJob:
    """A prior's training and where it goes.

    Args:
        folder: of the log, the checkpoints and the weights.
        resume: go on from the folder's checkpoint (from the beginning if there is none yet).
        device: ``auto``, ``cpu`` or ``cuda``.
        report: see ``TrainingLoop``.
    """

    config: PriorConfig
    folder: Path
    resume: bool = False
    device: str = "auto"
    report: Report = lambda entry: None

    def run(self) -> Path:
        """Train to the end, fit the label layer, and return the file of weights.

        Raises:
            ValueError: on bad settings or objects, if the folder holds another training, or if
                the loss is not finite.
            OSError: if a disk is full.
        """
        self._check_folder()
        settings = self.config.data
        views = settings.views + settings.held_out_views
        objects = open_objects(settings.objects, settings.side, views)
        data = TrainingObjects(objects, settings.views)
        held_out = self._held_out(data)
        with joined(self.device) as workers:
            if workers.world > 1:
                raise ValueError(
                    f"expected one process, got {workers.world}: priors are trained by one; start "
                    "semantic-field train-prior without torchrun"
                )
            run = self._state(objects, workers)
            self._loop(run, data, held_out, workers).run(run)
            return self._finished(run.model, objects, run.step)

    def _check_folder(self) -> None:
        if (self.folder / CHECKPOINT).exists() and not self.resume:
            raise ValueError(
                f"expected a new folder for the training, {self.folder} holds one already; add "
                "--resume to go on with it, or give another --out"
            )

    def _held_out(self, data: TrainingObjects) -> HeldOutViews | None:
        """Return the views of the held-out figures; None if none are wanted."""
        settings = self.config.data
        if not settings.held_out_views:
            return None
        return HeldOutViews.of(data, settings.held_out_instances, settings.held_out_views)

    def _state(self, objects: ObjectCollection, workers: Workers) -> TrainingRun[TrainablePrior]:
        """Return the state at the beginning, or that of the checkpoint."""
        config = self.config
        torch.manual_seed(config.training.seed)
        prior = build_prior(config.model, PriorSubject.of(objects)).to(workers.device)
        optimizer = JointOptimizer(prior.optimizers(config.training))
        run = TrainingRun(prior, optimizer, config.as_dict())
        if (self.folder / CHECKPOINT).exists():
            run.restore(self.folder)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(run.settings, sort_keys=False, allow_unicode=True)
            write_atomically(self.folder / CONFIG, text.encode())
        return run

    def _loop(
        self,
        run: TrainingRun[TrainablePrior],
        data: TrainingObjects,
        held_out: HeldOutViews | None,
        workers: Workers,
    ) -> TrainingLoop:
        batches = run.model.batches(data, self.config.training)
        return TrainingLoop(
            make=lambda step, index: batches(step),
            held_out=None if held_out is None else lambda: held_out.figures(run.model),
            settings=self.config.training,
            folder=self.folder,
            workers=workers,
            report=self.report,
            loss=PriorLoss,
        )

    def _finished(self, prior: TrainablePrior, objects: ObjectCollection, steps: int) -> Path:
        """Fit the label layer, write the weights, and return their file."""
        found = [line["held_out"] for line in read_log(self.folder / LOG) if "held_out" in line]
        card = PriorCard(steps, self.config.data.objects, figures=found[-1] if found else {})
        save_prior(prior.cpu(), self.folder / WEIGHTS, card)
        return self.folder / WEIGHTS
