"""Figures of a model on episodes that it is never trained on, always the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.generalizable.episodes import Episode
from semantic_field.generalizable.generalizable_model import GeneralizableModel, Prediction, Truth


def predicted(model: GeneralizableModel, episode: Episode) -> Prediction:
    """Return what a model predicts for an episode, features of the sources included."""
    sources = replace(episode.sources, features=model.extract(episode.sources.colors))
    return model(sources, episode.rays)


@torch.no_grad()
def held_out_figures(model: GeneralizableModel, episodes: Sequence[Episode]) -> dict[str, float]:
    """Return the means over episodes of ``psnr`` (dB), ``miou`` and ``depth_m``.

    ``miou`` is over the classes of each episode's truth, ``depth_m`` the median error of depth
    where it is predicted and known, metres. A figure that no episode has is left out.
    """
    was_training = model.training
    model.eval()
    try:
        each = [figures_of(predicted(model, episode), episode.truth) for episode in episodes]
    finally:
        model.train(was_training)
    names = sorted({name for found in each for name in found})
    return {name: float(np.mean([f[name] for f in each if name in f])) for name in names}


def figures_by_kind(
    model: GeneralizableModel, episodes: Mapping[str, Sequence[Episode]]
) -> dict[str, float]:
    """Return the held-out figures of several kinds of episodes, each named ``kind_figure``."""
    return {
        f"{kind}_{name}": value
        for kind, some in episodes.items()
        for name, value in held_out_figures(model, some).items()
    }


def figures_of(prediction: Prediction, truth: Truth) -> dict[str, float]:
    """Return the figures of one episode, see ``held_out_figures``."""
    error = (prediction.color.float().clamp(0, 1) - truth.color).square().mean()
    found = {"psnr": float(-10 * torch.log10(error.clamp_min(1e-10)))}
    if prediction.scores is not None and (truth.labels >= 0).any():
        found["miou"] = mean_iou(prediction.scores, truth.labels)
    both = (prediction.depth > 0) & (truth.depth > 0)
    if both.any():
        found["depth_m"] = float((prediction.depth - truth.depth)[both].abs().median())
    return found


def mean_iou(scores: Float[Tensor, "h w C"], labels: Int[Tensor, "h w"]) -> float:
    """Return the mean IoU over the classes of ``labels``; pixels without any (-1) do not count.

    A pixel whose scores are all 0 is a miss of its class and a false alarm of none.
    """
    best, row = scores.max(-1)
    known = labels >= 0
    row, labels = torch.where(best > 0, row, -1)[known], labels[known]
    ious = []
    for label in labels.unique():
        said, true = row == label, labels == label
        ious.append(float((said & true).sum()) / float((said | true).sum()))
    return float(np.mean(ious))


@dataclass
class RunningMeans:
    """Means of numbers by name since the last ``taken``."""

    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, values: dict[str, float]) -> None:
        """Count one set of numbers."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def taken(self) -> dict[str, float]:
        """Return the means and begin anew."""
        means = {name: value / max(1, self.count) for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return means
