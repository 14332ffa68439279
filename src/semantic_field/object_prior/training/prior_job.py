"""A prior's whole training: from settings to a file of weights, begun or resumed."""

from __future__ import annotations

import json
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
)
from semantic_field.object_prior.label_layers import (
    AdamFit,
    fit_by_adam,
    fit_to_optimum,
    labelled_pixels,
    labelled_views,
)
from semantic_field.object_prior.trainable_prior import (
    PriorSubject,
    TrainablePrior,
    TrainingObjects,
)
from semantic_field.object_prior.training.joint_optimizer import JointOptimizer
from semantic_field.object_prior.training.novel_views import HeldOutViews
from semantic_field.object_prior.training.object_locations import open_objects
from semantic_field.object_prior.training.prior_files import PriorCard, build_prior, save_prior
from semantic_field.object_prior.training.prior_settings import LabelSettings, PriorConfig


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
        objects = open_objects(self.config.data)
        data = TrainingObjects(objects, self.config.data.views)
        held_out = self._held_out(data)
        with joined(self.device) as workers:
            if workers.world > 1:
                raise ValueError(
                    f"expected one process, got {workers.world}: priors are trained by one; start "
                    "semantic-field train-prior without torchrun"
                )
            run = self._state(objects, workers)
            self._loop(run, data, held_out, workers).run(run)
            return self._finished(run.model, data, held_out, run.step)

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
            held_out=None
            if held_out is None
            else lambda: held_out.figures(run.model, run.model.learns_labels),
            settings=self.config.training,
            folder=self.folder,
            workers=workers,
            report=self.report,
            loss=PriorLoss,
        )

    def _finished(
        self,
        prior: TrainablePrior,
        data: TrainingObjects,
        held_out: HeldOutViews | None,
        steps: int,
    ) -> Path:
        """Fit the label layer, write the weights, and return their file."""
        prior = prior.cpu().eval()
        images = fit_label_layer(prior, data, self.config.labels)
        figures = {}
        if held_out is not None:
            figures = held_out.figures(prior, labelled=images > 0 or prior.learns_labels)
            with (self.folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": steps, "figures": figures}) + "\n")
            self.report({"step": steps, "held_out": figures})
        card = PriorCard(steps, self.config.data.objects, images, figures=figures)
        save_prior(prior, self.folder / WEIGHTS, card, half=self.config.data.half)
        return self.folder / WEIGHTS


def fit_label_layer(prior: TrainablePrior, data: TrainingObjects, labels: LabelSettings) -> int:
    """Fit a frozen prior's label layer in place and return the number of labelled images.

    Nothing is fitted, and 0 returned, if no labels are wanted or the views have none.
    """
    if not labels.instances or prior.learns_labels:
        return 0
    chosen = labelled_views(data.objects, labels.instances, labels.views)
    if all(view.parts is None for _, view in chosen):
        return 0
    codes = prior.codes.weight.detach()[[row for row, _ in chosen]]
    pixels = labelled_pixels(prior, codes, [view for _, view in chosen])
    if labels.solver == "lbfgs":
        layer = fit_to_optimum(pixels, len(prior.part_names) + 1, labels.decay)
    else:
        layer = nn.Linear(pixels.features.shape[-1], len(prior.part_names) + 1)
        fit_by_adam(layer, pixels, AdamFit(labels.steps, labels.batch, labels.learning_rate))
    prior.label_layer.load_state_dict(layer.state_dict())
    return len(chosen)
