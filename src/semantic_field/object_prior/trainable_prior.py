"""What the training asks of an object prior: batches for its steps, losses, optimisers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semantic_field.data.objects.object_views import CategoryFrame, ObjectCollection
from semantic_field.generalizable.training.training_settings import ScheduleSettings
from semantic_field.object_prior.prior_model import ObjectPrior


@dataclass(frozen=True)
class PriorSubject:
    """What a prior is of.

    Attributes:
        category: such as "chair".
        part_names: of the parts, without background.
        frame: the category's canonical coordinates.
        instances: names of the training instances; row i of the codes is that of the i-th one.
    """

    category: str
    part_names: tuple[str, ...]
    frame: CategoryFrame
    instances: tuple[str, ...]

    @classmethod
    def of(cls, objects: ObjectCollection) -> PriorSubject:
        """Return the subject of a collection of training instances."""
        return cls(objects.category, objects.part_names, objects.frame, tuple(objects.names))


@dataclass(frozen=True)
class TrainingObjects:
    """What a training may look at.

    Attributes:
        objects: of one category; row i of the codes is that of instance i.
        views: the first ones of each instance are trained on; the others never are.
    """

    objects: ObjectCollection
    views: int

    def view_count(self, instance: int) -> int:
        """Return how many views of an instance are trained on."""
        return min(self.views, self.objects.view_count(instance))


class TrainablePrior(ObjectPrior):
    """A prior that the training loop can train.

    A subclass is made from its settings and its subject, as ``Prior(config, subject)``, and adds
    ``codes`` and ``label_layer``; see ``ObjectPrior``.

    Attributes:
        config: its settings, a frozen dataclass.
        subject: what it is of.
    """

    config: Any
    subject: PriorSubject

    def __init__(self, config: Any, subject: PriorSubject) -> None:
        super().__init__()
        self.config, self.subject = config, subject
        self.category, self.part_names = subject.category, subject.part_names
        self.frame = subject.frame

    @property
    def learns_labels(self) -> bool:
        """Whether the training itself learns the parts, so that no label layer is fitted."""
        return False

    @abstractmethod
    def batches(self, data: TrainingObjects, schedule: ScheduleSettings) -> Callable[[int], Any]:
        """Return what makes the batch of a step, from the step alone: a dataclass of tensors."""

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Return the terms of the loss on a batch; their sum is minimised."""

    def optimizers(self, schedule: ScheduleSettings) -> Sequence[torch.optim.Optimizer]:
        """Return the optimisers of all parameters but the label layer's; here one Adam."""
        own = [p for name, p in self.named_parameters() if not name.startswith("label_layer.")]
        return [torch.optim.Adam(own, schedule.learning_rate)]

    def make_label_layer(self, features: int) -> nn.Linear:
        """Return a label layer of zeros, which no training of the representation changes."""
        layer = nn.Linear(features, len(self.part_names) + 1)
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.zero_()
        return layer.requires_grad_(False)
