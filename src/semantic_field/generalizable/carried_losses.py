"""The training losses of views that are blended by learnt weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from semantic_field.generalizable.generalizable_model import Prediction, Truth
from semantic_field.generalizable.gsnerf_losses import class_loss, level_loss, resized_labels
from semantic_field.generalizable.masked_mean import masked_mean
from semantic_field.settings import Settings, option

LEAST_SHARE = 1e-4  # of votes: below, the likelihood is cut off
LEAST_VOTE = 1e-6  # a class with fewer votes is not carried at all
NEAR_M = 0.1  # depth errors below count by their square


@dataclass(frozen=True)
class CarriedLossSettings(Settings):
    """Weights of the terms."""

    color: float = option(10.0, "squared error of the colour", 0.0)
    label: float = option(0.2, "minus the log-likelihood of the carried labels", 0.0)
    depth: float = option(0.1, "smooth L1 of the depth, in metres", 0.0)
    source: float = option(0.2, "cross-entropy of a closed set on the sources' pixels", 0.0)
    levels: float = option(0.2, "smooth L1 of the sources' depth, in metres, all levels", 0.0)
    unfiltered: float = option(
        0.3, "share of the same terms before neighbours are averaged", 0.0, 1.0
    )


def carried_losses(
    settings: CarriedLossSettings, prediction: Prediction, truth: Truth
) -> dict[str, Tensor]:
    """Return the weighted terms of the loss by name.

    Colours and depths count where a source has a sample of the ray. The votes are a distribution
    over the classes and "not known"; where no sample carries the right class, that is right.

    Args:
        prediction: of a model in training, with ``color``, ``known`` and ``votes`` in ``extra``;
            with ``source_logits`` (V, C, h, w) for a closed set, and from the finest ``level_0``
            and so on, depths (V, h, w), where the sources' depth was found.
    """
    extra, part = prediction.extra, settings.unfiltered
    known = extra["known"]
    color = _error(prediction.color, truth, known) + part * _error(extra["color"], truth, known)
    read = known & (truth.depth > 0)
    off = smooth_l1_loss(prediction.depth, truth.depth, reduction="none", beta=NEAR_M)
    terms = {"color": settings.color * color, "depth": settings.depth * masked_mean(off, read)}
    if prediction.scores is not None and prediction.scores.shape[-1]:
        votes = extra.get("votes", prediction.scores)
        label = _surprise(prediction.scores, votes, truth.labels)
        label = label + part * _surprise(votes, votes, truth.labels)
        terms["label"] = settings.label * label
    if "source_logits" in extra and truth.source_labels is not None:
        logits = extra["source_logits"]
        labels = resized_labels(truth.source_labels, logits.shape[-2:])
        weights = logits.new_ones(logits.shape[1])
        terms["source"] = settings.source * class_loss(logits, labels, weights)
    levels = [extra[name] for name in sorted(extra) if name.startswith("level_")]
    if levels and truth.source_depths is not None:
        terms["levels"] = settings.levels * level_loss(levels, truth.source_depths)
    return terms


def _error(color: Float[Tensor, "h w 3"], truth: Truth, known: Tensor) -> Tensor:
    return masked_mean((color - truth.color).square().mean(-1), known)


def _surprise(
    scores: Float[Tensor, "h w C"], votes: Float[Tensor, "h w C"], labels: Int[Tensor, "h w"]
) -> Tensor:
    """Return minus the mean logarithm of what is right: the true class, or "not known"."""
    rows = labels.clamp(min=0)[..., None]
    carried = votes.gather(-1, rows)[..., 0] > LEAST_VOTE
    void = (1 - scores.sum(-1)).clamp(min=0)
    share = torch.where(carried, scores.gather(-1, rows)[..., 0], void)
    return masked_mean(-(share + LEAST_SHARE).log(), labels >= 0)
