"""How far a code is from what was observed, for priors of any form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from semantic_field.object_prior.observed_rays import ObservedRays
from semantic_field.object_prior.prior_model import ObjectPrior

EDGE = 1e-4  # opacities are kept this far from 0 and 1 in logarithms


@runtime_checkable
class HasDistances(Protocol):
    """A prior that knows signed distances: geometry is fitted without tracing rays."""

    def distances(self, codes: Tensor, points: Tensor) -> Tensor:
        """Return signed distances (B, N), canonical units, at canonical points (B, N, 3)."""
        ...


@dataclass(frozen=True)
class EvidenceWeights:
    """How much each kind of evidence counts.

    Attributes:
        color: of the mean squared difference, 0..1, of colours.
        labels: of the cross entropy of part classes, background included.
        mask: of the cross entropy of the silhouette.
        depth: of depth: distances of the measured points from the surface, clamped at
            ``clamp`` canonical units, and of free places before them that are inside.
        clamp: see above.
    """

    color: float = 20.0
    labels: float = 1.0
    mask: float = 1.0
    depth: float = 20.0
    clamp: float = 0.1


def evidence_losses(
    prior: ObjectPrior,
    codes: Tensor,
    rays: ObservedRays,
    use: Sequence[str],
    weights: EvidenceWeights,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the weighted losses (B,) of codes (B, D), by kind of evidence.

    Depth alone needs no rendering where the prior knows signed distances.
    """
    losses: dict[str, Tensor] = {}
    measured = rays.distance > 0
    by_distance = isinstance(prior, HasDistances)
    if "depth" in use and by_distance and bool(measured.any()):
        losses["depth"] = weights.depth * _distance_loss(
            prior, codes, rays[measured.nonzero()[:, 0]], weights.clamp, generator
        )
    if set(use) == {"depth"} and by_distance:
        return losses
    pixels = prior.render(codes, rays.canonical(len(codes)))
    if "color" in use:
        losses["color"] = weights.color * (pixels.color - rays.color).square().mean((1, 2))
    if "labels" in use and bool((rays.labels >= 0).any()):
        logits = prior.label_logits(pixels)
        target = rays.labels.expand(len(codes), -1)
        entropy = functional.cross_entropy(logits.mT, target, ignore_index=-1, reduction="none")
        losses["labels"] = weights.labels * entropy.sum(1) / (rays.labels >= 0).sum()
    known = rays.mask >= 0
    if bool(known.any()):
        opacity = pixels.opacity[:, known].clamp(EDGE, 1 - EDGE)
        target = rays.mask[known].to(opacity.dtype).expand(len(codes), -1)
        entropy = functional.binary_cross_entropy(opacity, target, reduction="none")
        losses["mask"] = weights.mask * entropy.mean(1)
    if "depth" in use and not by_distance and bool(measured.any()):
        off = (pixels.distance - rays.distance)[:, measured].abs().clamp(max=weights.clamp)
        losses["depth"] = weights.depth * off.mean(1)
    return losses


def _distance_loss(
    prior: HasDistances, codes: Tensor, rays: ObservedRays, clamp: float, generator: torch.Generator
) -> Tensor:
    """Return (B,): measured points off the surface, and places before them that are inside."""
    share = torch.rand(len(rays), generator=generator)
    before = (rays.distance - 2 * share.square())[:, None].clamp(min=0)
    free = rays.origins + before * rays.directions
    places = torch.cat([rays.points, free]).expand(len(codes), -1, -1)
    on, ahead = prior.distances(codes, places).split(len(rays), dim=1)
    inside = (-ahead).clamp(0, clamp)
    return on.abs().clamp(max=clamp).mean(1) + inside.mean(1)
