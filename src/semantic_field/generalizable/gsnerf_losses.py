"""The training losses of GSNeRF, with depth supervision and without."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy,
    cross_entropy,
    interpolate,
    mse_loss,
    smooth_l1_loss,
)

from semantic_field.generalizable.generalizable_model import Prediction, Truth
from semantic_field.generalizable.masked_mean import masked_mean
from semantic_field.generalizable.photometric_losses import (
    LevelDepths,
    depth_consistency,
    photometric_loss,
)
from semantic_field.generalizable.source_images import SourceImages
from semantic_field.settings import Settings, option

FINEST_LEVEL = 2.0  # weight of the finest level of depth; each coarser one has half of it
LEAST_SHARE = 1e-4  # of carried votes: below, the likelihood is cut off


@dataclass(frozen=True)
class LossSettings(Settings):
    """Weights of the terms, and what supervises depth."""

    supervision: str = option(
        "depth",
        "what supervises depth: depth, true one; self, the images",
        choices=("depth", "self"),
    )
    color: float = option(1.0, "squared error of the colour", 0.0)
    rendered: float = option(0.5, "cross-entropy of the rendered classes", 0.0)
    source: float = option(0.5, "cross-entropy of the classes of the sources' pixels", 0.0)
    levels: float = option(1.0, "smooth L1 of the sources' depth, in metres, all levels", 0.0)
    ray_depth: float = option(0.1, "smooth L1 of the rendered depth, in metres", 0.0)
    consistency: float = option(0.1, "self: rendered depth against the sources' depth", 0.0)
    photometric: float = option(0.1, "self: sources warped into each other by their depth", 0.0)
    guided: float = option(0.05, "self: smooth L1 of the rendered depth to the target depth", 0.0)
    confidence: float = option(0.1, "cross-entropy of the confidence in carried labels", 0.0)
    background: float = option(1.0, "weight of the background's classes", 0.0)
    background_rows: tuple[int, ...] = option(
        (0, 1, -1), "rows of the background's classes; negative ones count from the last"
    )

    @property
    def supervises_levels(self) -> bool:
        """Whether a term needs the depth that the geo-reasoner finds."""
        if self.supervision == "depth":
            return self.levels > 0
        return self.consistency > 0 or self.photometric > 0


def gsnerf_losses(
    settings: LossSettings, prediction: Prediction, truth: Truth, sources: SourceImages
) -> dict[str, Tensor]:
    """Return the weighted terms of the loss by name.

    ``prediction.extra`` may hold: ``logits`` (h, w, C) of a closed set, and ``source_logits``
    (V, C, h2, w2); ``level_0`` and so on, the depth (V, h, w) of the sources from the finest
    level; ``points`` (h, w, 3), where the rendered depth is in the world; ``target_depth`` (h, w).

    Raises:
        ValueError: if depth is to be supervised and the truth has none of the sources.
    """
    terms = {"color": settings.color * mse_loss(prediction.color, truth.color)}
    terms |= _semantic_terms(settings, prediction, truth)
    levels = _levels(prediction)
    if settings.supervision == "depth":
        terms |= _supervised_terms(settings, prediction, truth, levels)
    else:
        terms |= _self_supervised_terms(settings, prediction, truth, levels, sources)
    return terms


def _levels(prediction: Prediction) -> LevelDepths:
    count = sum(name.startswith("level_") for name in prediction.extra)
    return [prediction.extra[f"level_{i}"] for i in range(count)]


def _semantic_terms(
    settings: LossSettings, prediction: Prediction, truth: Truth
) -> dict[str, Tensor]:
    """Return the terms of a closed set, or those of carried labels."""
    logits = prediction.extra.get("logits")
    if logits is None:
        return _carried_terms(settings, prediction, truth)
    weights = class_weights(settings, logits.shape[-1], logits.device)
    rendered = class_loss(logits.flatten(0, 1), truth.labels.flatten(), weights)
    terms = {"rendered": settings.rendered * rendered}
    if settings.source > 0 and truth.source_labels is not None:
        of_pixels = prediction.extra["source_logits"]
        labels = resized_labels(truth.source_labels, of_pixels.shape[-2:])
        terms["source"] = settings.source * class_loss(of_pixels, labels, weights)
    return terms


def _carried_terms(
    settings: LossSettings, prediction: Prediction, truth: Truth
) -> dict[str, Tensor]:
    """Return minus the log-likelihood of the votes, and the cross-entropy of the confidence."""
    if prediction.scores is None or prediction.scores.shape[-1] == 0:
        return {}
    known = truth.labels >= 0
    rows = truth.labels.clamp(min=0)[..., None]
    share = prediction.scores.gather(-1, rows)[..., 0]
    seen = known & (prediction.confidence > 0)
    likelihood = -share.clamp(min=LEAST_SHARE).log()
    right = (prediction.scores.argmax(-1) == truth.labels).float()
    with torch.autocast(prediction.confidence.device.type, enabled=False):
        doubt = binary_cross_entropy(prediction.confidence.float(), right, reduction="none")
    return {
        "rendered": settings.rendered * masked_mean(likelihood, known),
        "confidence": settings.confidence * masked_mean(doubt, seen),
    }


def _supervised_terms(
    settings: LossSettings, prediction: Prediction, truth: Truth, levels: LevelDepths
) -> dict[str, Tensor]:
    terms = {
        "ray_depth": settings.ray_depth
        * masked_mean(
            smooth_l1_loss(prediction.depth, truth.depth, reduction="none"), truth.depth > 0
        )
    }
    if levels and settings.levels > 0:
        if truth.source_depths is None:
            raise ValueError(
                "expected the true depth of the sources to supervise their levels, got none: set "
                "losses.supervision to self or losses.levels to 0"
            )
        terms["levels"] = settings.levels * level_loss(levels, truth.source_depths)
    return terms


def _self_supervised_terms(
    settings: LossSettings,
    prediction: Prediction,
    truth: Truth,
    levels: LevelDepths,
    sources: SourceImages,
) -> dict[str, Tensor]:
    target = prediction.extra["target_depth"]
    off = smooth_l1_loss(prediction.depth, target, reduction="none")
    terms = {"guided": settings.guided * masked_mean(off, target > 0)}
    if levels and settings.consistency > 0:
        colors = prediction.color.detach(), truth.color
        points = prediction.extra["points"]
        terms["consistency"] = settings.consistency * depth_consistency(
            points, *colors, levels, sources
        )
    if levels and settings.photometric > 0:
        terms["photometric"] = settings.photometric * photometric_loss(levels, sources)
    return terms


def level_loss(levels: LevelDepths, depths: Float[Tensor, "V H W"]) -> Tensor:
    """Return the smooth L1 of the depth of all levels, where the true one is known.

    Args:
        levels: from the finest, whose weight is 2; each coarser one has half of that before. 0 =
            was not looked for.
    """
    total = depths.new_zeros(())
    for number, found in enumerate(levels):
        true = interpolate(depths[:, None], size=found.shape[-2:], mode="nearest-exact")[:, 0]
        off = smooth_l1_loss(found, true, reduction="none")
        total = total + FINEST_LEVEL * 0.5**number * masked_mean(off, (true > 0) & (found > 0))
    return total


def class_weights(
    settings: LossSettings, n_classes: int, device: torch.device
) -> Float[Tensor, "C"]:
    """Return the weight of each class in the cross-entropies."""
    weights = torch.ones(n_classes, device=device)
    weights[list(settings.background_rows)] = settings.background
    return weights


def class_loss(
    logits: Float[Tensor, "B C ..."], labels: Int[Tensor, "B ..."], weights: Float[Tensor, "C"]
) -> Tensor:
    """Return the weighted mean cross-entropy of the labels, -1 left out; 0 if all are."""
    if not bool((labels >= 0).any()):
        return logits.sum() * 0.0
    return cross_entropy(logits, labels, weights, ignore_index=-1)


def resized_labels(labels: Int[Tensor, "V H W"], size: torch.Size) -> Int[Tensor, "V h w"]:
    """Return label images of another size, each pixel that of the nearest one."""
    small = interpolate(labels[:, None].double(), size=tuple(size), mode="nearest-exact")
    return small[:, 0].long()
