"""Losses of signed distances, signs and colours at samples, and the batches they are given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from semantic_field.settings import Settings, option


@dataclass(frozen=True)
class DistanceBatch:
    """Samples of B instances, canonical coordinates.

    Attributes:
        instances: rows of the codes.
        points: near the surface and in free space.
        distances: signed distances of ``points``.
        surface: points of the surface.
        colors: of ``surface``, 0..1.
    """

    instances: Int[Tensor, "B"]
    points: Float[Tensor, "B N 3"]
    distances: Float[Tensor, "B N"]
    surface: Float[Tensor, "B S 3"]
    colors: Float[Tensor, "B S 3"]


@dataclass(frozen=True)
class DistanceLossWeights(Settings):
    """Weights of the terms, and where distances count most."""

    distance: float = option(30.0, "of the distance's error", 0.0)
    near: float = option(0.03, "distance up to which errors count fully, canonical units", 1e-6)
    sign: float = option(0.6, "of the cross-entropy of inside and outside", 0.0)
    edge: float = option(0.01, "width of the step between inside and outside", 1e-6)
    color: float = option(3.0, "of the colour's squared error", 0.0)
    code: float = option(1e-3, "of the codes' mean square", 0.0)


def distance_loss(found: Tensor, truth: Tensor, near: float) -> Tensor:
    """Return the mean of |found - truth| * near / (|truth| + near): relative far away.

    A ray goes as far as the distance says: far away the same share of it may be wrong.
    """
    return ((found - truth).abs() * near / (truth.abs() + near)).mean()


def sign_loss(found: Tensor, truth: Tensor, edge: float) -> Tensor:
    """Return the cross-entropy between soft inside and outside, of width ``edge``, less its least.

    It keeps the distances from becoming flat around a surface whose place is not learnt yet.
    """
    inside = torch.sigmoid(-truth / edge)
    least = binary_cross_entropy(inside, inside)
    return binary_cross_entropy_with_logits(-found / edge, inside) - least


def color_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error of colours."""
    return (found - truth).square().mean()
