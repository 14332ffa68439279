"""The smallest generalizable model that learns something, for tests of what trains models.

As a script it is the command line with this model as the system ``tiny``.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semantic_field import cli
from semantic_field.generalizable.carrying import carried_labels
from semantic_field.generalizable.gathering import at_pixels, gather, interpolated
from semantic_field.generalizable.generalizable_model import GeneralizableModel, Prediction, Truth
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.training.weight_files import SYSTEMS, System
from semantic_field.settings import Settings, option

KILL_AT = int(os.environ.get("TINY_KILL_AT", "-1"))  # number of a forward pass in training


@dataclass(frozen=True)
class TinyConfig(Settings):
    width: int = option(4, "channels of the features", 1)
    widths: tuple[int, ...] = option((3, 3), "sizes of filters", None)
    class_names: tuple[str, ...] = ()
    dropout: float = option(0.2, "share of features", 0.0, 1.0)


class TinyModel(GeneralizableModel):
    """Averages what the views hold at D_T, weighed by a learnt function of their features."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config, self.class_names = config, config.class_names
        self.filter = nn.Conv2d(3, config.width, config.widths[0], padding=config.widths[0] // 2)
        self.norm = nn.BatchNorm2d(config.width)
        self.score = nn.Linear(config.width + 1, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.tone = nn.Parameter(torch.zeros(3))
        self.passes = 0

    def extract(self, colors: Tensor) -> tuple[Tensor, ...]:
        return (torch.relu(self.norm(self.filter(colors))),)

    def forward(self, sources: SourceImages, rays: TargetRays) -> Prediction:
        if self.training and self.passes == KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passes += self.training
        gathered = gather(sources, rays, rays.depth[..., None])
        features = interpolated(sources.features[0], gathered.pixels, gathered.inside, sources.size)
        terms = torch.cat([self.dropout(features), gathered.gap[..., None].clamp(-1, 1)], -1)
        score = self.score(terms)[..., 0].masked_fill(~gathered.inside, -1e4)
        weights = score.flatten(2).softmax(-1).view_as(score) * gathered.inside
        seen = weights.sum((2, 3))
        color = (weights[..., None] * gathered.colors).sum((2, 3))
        color = color + (1 - seen)[..., None] * self.tone  # what no view shows
        scores = None
        if sources.labels is not None:
            labels = at_pixels(sources.labels, gathered.pixels, gathered.inside, -1)
            scores = carried_labels(weights, labels, sources.n_classes)
        return Prediction(color, rays.depth, seen, scores)

    def losses(
        self, prediction: Prediction, truth: Truth, sources: SourceImages
    ) -> dict[str, Tensor]:
        terms = {"color": nn.functional.mse_loss(prediction.color, truth.color)}
        if prediction.scores is not None:
            chance = prediction.scores.clamp_min(1e-3).log().flatten(0, 1)
            terms["labels"] = 0.1 * nn.functional.nll_loss(
                chance, truth.labels.flatten(), ignore_index=-1
            )
        return terms


def register() -> None:
    """Make ``system: tiny`` known."""
    SYSTEMS["tiny"] = System(__name__, "TinyModel", "TinyConfig")


if __name__ == "__main__":
    register()
    sys.exit(cli.main())
