"""A code for an object from views with known poses: the prior is frozen, the code optimised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.data.objects.object_views import ObjectView
from semantic_field.object_prior.code_distribution import (
    CodeDistribution,
    spread_codes,
    surprise,
)
from semantic_field.object_prior.code_losses import EvidenceWeights, evidence_losses
from semantic_field.object_prior.observed_rays import EVIDENCE, ObservedRays
from semantic_field.object_prior.prior_model import ObjectPrior


@dataclass(frozen=True)
class FitOptions:
    """How a code is fitted.

    Attributes:
        steps: of Adam (Kingma, Ba 2015).
        rays: drawn in a step.
        restarts: starts that are optimised side by side: the best training codes and the mean.
        rate: first step size, in whitened coordinates (unit variance over the training codes).
        code_weight: of the code's squared Mahalanobis distance, an axis.
        tried: training codes that the cheap test tries, and ``tried_rays`` it takes for that.
        weights: of the evidence.
        softness: widths of silhouettes at first and in the end, canonical units, for priors that
            have such a width: a wide one tells codes that are far off where to go.
        seed: of the rays that are drawn.
    """

    steps: int = 100
    rays: int = 160
    restarts: int = 3
    rate: float = 0.1
    code_weight: float = 0.03
    tried: int = 200
    tried_rays: int = 128
    weights: EvidenceWeights = field(default_factory=EvidenceWeights)
    softness: tuple[float, float] = (0.03, 0.005)
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.rays, self.restarts, self.tried, self.tried_rays)
        if min(counts) < 1 or self.steps < 0:
            raise ValueError(
                f"expected steps >= 0 and rays, restarts, tried and tried_rays >= 1, got "
                f"{self.steps} and {counts}"
            )


@dataclass(frozen=True)
class CodeFit:
    """A fitted code.

    Attributes:
        code: (D,).
        residual: what is left of the loss, with the expectation of codes.
        losses: its parts, by kind of evidence.
        surprise: squared Mahalanobis distance of the code, an axis; about 1 is usual.
        restarts: (R,) residuals of all starts.
    """

    code: Float[Tensor, "D"]
    residual: float
    losses: dict[str, float]
    surprise: float
    restarts: Float[Tensor, "R"]


def fit_code(
    prior: ObjectPrior,
    views: Sequence[ObjectView],
    use: Sequence[str] = EVIDENCE,
    options: FitOptions | None = None,
) -> CodeFit:
    """Return the code that explains views of one object best, and is plausible.

    Args:
        views: with known poses in the object's own frame, of any sizes.
        use: what of the views is used, some of ``EVIDENCE``; what a view lacks is left out.
    Raises:
        ValueError: if no view has any of what is to be used.
    """
    options = options or FitOptions()
    rays = ObservedRays.of(views, prior.frame, use)
    distribution = CodeDistribution.of_prior(prior)
    generator = torch.Generator().manual_seed(options.seed)
    with softened(prior) as soften:
        soften(options.softness[0])
        tried = rays.drawn(options.tried_rays, generator)
        starts = starting_codes(prior, tried, use, options)
        whitened = distribution.whitened(starts).requires_grad_()
        optimizer = torch.optim.Adam([whitened], lr=options.rate, betas=(0.8, 0.95))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, max(options.steps, 1), 0.1 * options.rate
        )
        for step in range(options.steps):
            soften(_between(*options.softness, step / options.steps))
            part = rays.drawn(options.rays, generator)
            codes = distribution.codes(whitened)
            losses = evidence_losses(prior, codes, part, use, options.weights, generator)
            loss = _total(losses, whitened, options)
            (whitened.grad,) = torch.autograd.grad(loss.sum(), [whitened])
            optimizer.step()
            schedule.step()
        soften(options.softness[1])
        return _best(prior, whitened.detach(), distribution, rays, use, options)


@contextmanager
def softened(prior: ObjectPrior) -> Iterator[Callable[[float], None]]:
    """Give what sets the width of a prior's silhouettes; the width is as before afterwards.

    For priors without such a width it does nothing.
    """
    before = getattr(prior, "softness", None)

    def soften(width: float) -> None:
        if before is not None:
            prior.softness = width  # type: ignore[assignment]

    try:
        yield soften
    finally:
        if before is not None:
            prior.softness = before


def _between(first: float, last: float, share: float) -> float:
    """Return the value at a share 0..1 of the way, in equal ratios."""
    return first * (last / first) ** share


@torch.no_grad()
def starting_codes(
    prior: ObjectPrior, rays: ObservedRays, use: Sequence[str], options: FitOptions
) -> Float[Tensor, "R D"]:
    """Return the starts: of the training codes those that explain a few rays best, and the mean."""
    every = prior.codes.weight.detach().float()
    candidates = every[spread_codes(every, options.tried)]
    generator = torch.Generator().manual_seed(options.seed)
    losses = torch.cat(
        [
            sum_of(evidence_losses(prior, part, rays, use, options.weights, generator))
            for part in candidates.split(16)
        ]
    )
    order = losses.argsort()[: max(options.restarts - 1, 1)]
    chosen = torch.cat([candidates[order], every.mean(0, keepdim=True)])
    return chosen[: options.restarts]


def sum_of(losses: dict[str, Tensor]) -> Float[Tensor, "B"]:
    """Return the sum (B,) of losses by kind."""
    return torch.stack(list(losses.values())).sum(0)


def _total(losses: dict[str, Tensor], whitened: Tensor, options: FitOptions) -> Tensor:
    return sum_of(losses) + options.code_weight * surprise(whitened)


@torch.no_grad()
def _best(
    prior: ObjectPrior,
    whitened: Tensor,
    distribution: CodeDistribution,
    rays: ObservedRays,
    use: Sequence[str],
    options: FitOptions,
) -> CodeFit:
    """Return the best of the restarts, by the same rays for all."""
    generator = torch.Generator().manual_seed(options.seed + 1)
    part = rays.drawn(4 * options.rays, generator)
    codes = distribution.codes(whitened)
    losses = evidence_losses(prior, codes, part, use, options.weights, generator)
    total = _total(losses, whitened, options)
    best = int(total.argmin())
    return CodeFit(
        codes[best],
        float(total[best]),
        {kind: float(value[best]) for kind, value in losses.items()},
        float(surprise(whitened[best])),
        total,
    )
