"""How the codes of a category are spread: a Gaussian that keeps a fitted code plausible."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.object_prior.prior_model import ObjectPrior


@dataclass(frozen=True)
class CodeDistribution:
    """A Gaussian over codes, in the coordinates in which it has unit variance.

    Attributes:
        mean: (D,) of the training codes.
        axes: (D, K), principal axes times their standard deviations; K <= D.
    """

    mean: Float[Tensor, "D"]
    axes: Float[Tensor, "D K"]

    @classmethod
    def of(cls, codes: Float[Tensor, "N D"], kept: float = 0.999) -> CodeDistribution:
        """Return the Gaussian of training codes; axes beyond the share ``kept`` are left out.

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
        _, deviations, axes = torch.linalg.svd(codes - mean, full_matrices=False)
        explained = deviations.square().cumsum(0) / deviations.square().sum()
        used = 1 + int((explained < kept).sum())
        used = min(used, len(codes) - 1)
        scale = deviations[:used] / (len(codes) - 1) ** 0.5
        return cls(mean, (axes[:used].T * scale).contiguous())

    @classmethod
    def of_prior(cls, prior: ObjectPrior) -> CodeDistribution:
        """Return the Gaussian of the training codes of a prior."""
        return cls.of(prior.codes.weight)

    def codes(self, whitened: Float[Tensor, "... K"]) -> Float[Tensor, "... D"]:
        """Return the codes of whitened coordinates; 0 is the mean code."""
        return self.mean + whitened @ self.axes.T

    def whitened(self, codes: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        """Return the coordinates of codes, projected onto the axes."""
        return (codes - self.mean) @ (self.axes / self.axes.square().sum(0))

    @staticmethod
    def surprise(whitened: Float[Tensor, "... K"]) -> Tensor:
        """Return the squared Mahalanobis distance of each axis on average: about 1 is usual."""
        return whitened.square().mean(-1)


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
