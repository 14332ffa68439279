"""How the codes of a category are spread: a Gaussian that keeps a fitted code plausible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn


class HasCodes(Protocol):
    """Whatever has the codes of its training instances."""

    codes: nn.Embedding


@dataclass(frozen=True)
class CodeDistribution:
    """A Gaussian over codes, in the coordinates in which it has unit variance.

    Attributes:
        mean: (D,) of the training codes.
        axes: (D, K), principal axes times their standard deviations; K <= D.
        shape_axes: how many of the axes, the first ones, change the shape; the others change
            colours alone.
    """

    mean: Float[Tensor, "D"]
    axes: Float[Tensor, "D K"]
    shape_axes: int

    @classmethod
    def of(
        cls, codes: Float[Tensor, "N D"], shape_dim: int | None = None, kept: float = 0.999
    ) -> CodeDistribution:
        """Return the Gaussian of training codes; axes beyond the share ``kept`` are left out.

        Args:
            shape_dim: numbers of a code, the first ones, that describe the shape; None = all.

        Raises:
            ValueError: with fewer than two codes.
        """
        if len(codes) < 2:
            raise ValueError(
                f"expected the codes of at least 2 instances, got {len(codes)}: "
                "train the prior on more objects"
            )
        codes = codes.detach().float()
        mean = codes.mean(0)
        shape_dim = codes.shape[1] if shape_dim is None else shape_dim
        blocks = [
            _principal_axes(part, kept)
            for part in (codes - mean).split([shape_dim, codes.shape[1] - shape_dim], dim=1)
        ]
        return cls(mean, torch.block_diag(*blocks), blocks[0].shape[1])

    @classmethod
    def of_prior(cls, prior: HasCodes) -> CodeDistribution:
        """Return the Gaussian of a prior's training codes; shape apart if it says which that is."""
        return cls.of(prior.codes.weight, getattr(prior, "geometry_dim", None))

    def codes(self, whitened: Float[Tensor, "... K"]) -> Float[Tensor, "... D"]:
        """Return the codes of whitened coordinates; 0 is the mean code."""
        return self.mean + whitened @ self.axes.T

    def whitened(self, codes: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        """Return the coordinates of codes, projected onto the axes."""
        return (codes - self.mean) @ (self.axes / self.axes.square().sum(0))

    def shape_surprise(self, whitened: Float[Tensor, "... K"]) -> Tensor:
        """Return the squared Mahalanobis distance of the shape, an axis: about 1 is usual."""
        return whitened[..., : self.shape_axes].square().mean(-1)


def surprise(whitened: Float[Tensor, "... K"]) -> Tensor:
    """Return the squared Mahalanobis distance of codes, an axis: about 1 is usual."""
    return whitened.square().mean(-1)


def _principal_axes(centred: Float[Tensor, "N D"], kept: float) -> Float[Tensor, "D K"]:
    """Return the main axes of centred codes, times their standard deviations."""
    if not centred.shape[1]:
        return centred.new_zeros(0, 0)
    _, deviations, axes = torch.linalg.svd(centred, full_matrices=False)
    explained = deviations.square().cumsum(0) / deviations.square().sum()
    used = min(1 + int((explained < kept).sum()), len(centred) - 1)
    return (axes[:used].T * (deviations[:used] / (len(centred) - 1) ** 0.5)).contiguous()


def spread_codes(codes: Float[Tensor, "N D"], count: int) -> Tensor:
    """Return indices (M,), M <= count, of codes that lie far from one another.

    The first is the one nearest to the mean; each next one is farthest from those before (in
    whitened coordinates).
    """
    places = CodeDistribution.of(codes).whitened(codes.detach().float())
    chosen = [int(places.square().sum(-1).argmin())]
    distance = (places - places[chosen[0]]).square().sum(-1)
    while len(chosen) < min(count, len(codes)):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (places - places[chosen[-1]]).square().sum(-1))
    return torch.tensor(chosen)
