"""Pose, scale and shape of an object refined together by gradient, many starts in one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.object_prior.code_distribution import CodeDistribution
from semantic_field.object_prior.object_evidence import ObjectEvidence
from semantic_field.object_prior.pose_search import PoseCandidates
from semantic_field.object_prior.prototypes import DistancePrior, PrototypeBank

FREE_TRIED = 12000  # places around an object of which the free ones are used
RESELECT = 12  # steps after which the free places that matter are chosen anew
Distances = Callable[[Tensor], Tensor]  # points (B, N, 3) of the own frame, metres -> (B, N) metres


@dataclass(frozen=True)
class RefinementOptions:
    """How the evidence is weighed.

    Attributes:
        steps: of Adam (Kingma, Ba 2015).
        points: of the surface in a step, free: places known to be free in a step, of each start.
        normal_weight, free_weight: against 1 for points on the surface.
        code_weight: of the code's surprise (squared Mahalanobis distance of an axis).
        scale_deviation: expected deviation of the logarithm of the scale: sensors are metric and
            sizes are part of the code.
    """

    steps: int = 60
    points: int = 192
    free: int = 96
    normal_weight: float = 0.5
    free_weight: float = 4.0
    code_weight: float = 0.02
    scale_deviation: float = 0.04


@dataclass(frozen=True)
class Placement:
    """Shapes in places: B starts that are refined together.

    Attributes:
        yaw: (B,) radians about the level frame's z.
        translation: (B, 3) of the own frame's origin in the level frame, metres.
        log_scale: (B,), of the own frame's metres.
        whitened: (B, K) coordinates of the codes.
    """

    yaw: Tensor
    translation: Tensor
    log_scale: Tensor
    whitened: Tensor

    @classmethod
    def of_candidates(
        cls, found: PoseCandidates, bank: PrototypeBank, distribution: CodeDistribution
    ) -> Placement:
        """Return the placement of coarse candidates."""
        pose = torch.from_numpy(found.pose).float()
        codes = bank.codes[torch.from_numpy(found.prototype)]
        return cls(pose[:, 0], pose[:, 1:], torch.zeros(len(pose)), distribution.whitened(codes))

    def __getitem__(self, index: Tensor) -> Placement:
        """Return some of the starts, index (M,)."""
        return Placement(
            self.yaw[index],
            self.translation[index],
            self.log_scale[index],
            self.whitened[index],
        )

    def to_own(self, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
        """Return level points in the own frames of the objects, metres before scaling."""
        c, s = self.yaw.cos()[:, None], self.yaw.sin()[:, None]
        x, y, z = (points - self.translation[:, None]).unbind(-1)
        turned = torch.stack([c * x + s * y, c * y - s * x, z], -1)
        return turned / self.log_scale.exp()[:, None, None]

    def scaled(self, distances: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Return distances of the own frames in metres of the level frame."""
        return distances * self.log_scale.exp()[:, None]


def grid_distances(bank: PrototypeBank, prototype: Tensor) -> Distances:
    """Return the distance function of prototypes (B,): shapes stay as they are."""
    return lambda points: bank.sample(prototype, points)


def prior_distances(prior: DistancePrior, codes: Float[Tensor, "B D"]) -> Distances:
    """Return the distance function of codes."""
    centre = torch.tensor(prior.frame.centre_m)
    unit = prior.frame.unit_m
    return lambda points: prior.distances(codes, (points - centre) / unit).float() * unit


def contradiction(
    evidence: ObjectEvidence,
    place: Placement,
    distances: Distances,
    surface: tuple[Tensor, Tensor],
    free: Float[Tensor, "B M 3"],
    options: RefinementOptions,
) -> Float[Tensor, "B"]:
    """Return how much shapes in places disagree with the evidence; 0 = not at all.

    Three parts, each 0..1 before its weight: observed points off the surface, places before them
    (along the normal) at another distance than they should have, and free places inside.

    Args:
        surface: observed points and normals (N, 3).
        free: places that were seen to be free, for each start.
    """
    points, normals = surface
    tolerance = evidence.tolerance_m
    ahead = 0.6 * tolerance
    every = torch.cat([points, points + ahead * normals])
    every = torch.cat([every.expand(len(place.yaw), -1, -1), free], dim=1)
    distance = place.scaled(distances(place.to_own(every)))
    on, before, outside = distance.split([len(points), len(points), free.shape[1]], dim=1)
    loss = _bounded(on / (0.5 * tolerance)).mean(1)
    loss = loss + options.normal_weight * _bounded((before - ahead) / (0.5 * tolerance)).mean(1)
    if free.shape[1]:
        inside = (0.2 * tolerance - outside).clamp(min=0) / tolerance
        loss = loss + options.free_weight * inside.clamp(max=1).mean(1)
    return loss


def refine(
    evidence: ObjectEvidence,
    start: Placement,
    shape: Callable[[Tensor], Distances],
    distribution: CodeDistribution,
    options: RefinementOptions,
    with_codes: bool,
    seed: int = 0,
) -> tuple[Placement, Float[Tensor, "B"]]:
    """Return refined placements and how much each contradicts the evidence and the expectation.

    Args:
        shape: distance functions of whitened codes (B, K); distribution: of the codes.
        with_codes: whether the codes are refined, or only the places.
    """
    generator = torch.Generator().manual_seed(seed)
    points, normals = torch.from_numpy(evidence.points), torch.from_numpy(evidence.normals)
    free = torch.from_numpy(evidence.free_places(FREE_TRIED, seed)).float()
    pool = free.expand(len(start.yaw), -1, -1)
    place = Placement(*(part.detach().clone().requires_grad_() for part in vars(start).values()))
    if not with_codes:
        place.whitened.requires_grad_(False)
    tolerance = evidence.tolerance_m
    rates = (0.03, 0.25 * tolerance, 0.01, 0.08)
    tuned = [part for part in vars(place).values() if part.requires_grad]
    groups = [{"params": [part], "lr": rate} for part, rate in zip(tuned, rates)]
    optimizer = torch.optim.Adam(groups, betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.1 + 0.9 * (1 - step / options.steps)
    )
    pool = _most_inside(place, shape(place.whitened), pool, 6 * options.free)
    free = pool[:, :0]
    for step in range(options.steps):
        distances = shape(place.whitened)
        if step % RESELECT == 0:
            free = _most_inside(place, distances, pool, options.free)
        chosen = torch.randperm(len(points), generator=generator)[: options.points]
        part = (points[chosen], normals[chosen])
        loss = contradiction(evidence, place, distances, part, free, options)
        loss = loss + _unexpected(place, start, evidence, distribution, options)
        optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        optimizer.step()
        schedule.step()
    final = Placement(*(part.detach() for part in vars(place).values()))
    with torch.no_grad():
        distances = shape(final.whitened)
        free = _most_inside(final, distances, pool, options.free)
        every = replace(options, points=len(points))
        loss = contradiction(evidence, final, distances, (points, normals), free, every)
        loss = loss + _unexpected(final, start, evidence, distribution, options)
    return final, loss


def _unexpected(
    place: Placement,
    start: Placement,
    evidence: ObjectEvidence,
    distribution: CodeDistribution,
    options: RefinementOptions,
) -> Tensor:
    """Return the penalty (B,) of unusual codes, scales, and heights off the support."""
    surprise = distribution.shape_surprise(place.whitened)
    scale = (place.log_scale / options.scale_deviation).square()
    lift = (place.translation - start.translation)[:, 2] / evidence.base_deviation_m
    return options.code_weight * (surprise + scale + lift.square())


def _bounded(ratio: Tensor) -> Tensor:
    """Return the Geman-McClure penalty 0..1 of residuals in units of their scale."""
    squared = ratio.square()
    return squared / (1 + squared)


@torch.no_grad()
def _most_inside(place: Placement, distances: Distances, pool: Tensor, count: int) -> Tensor:
    """Return of the free places (B, M, 3) those that lie deepest inside each shape."""
    if pool.shape[1] <= count:
        return pool
    depth = distances(place.to_own(pool))
    chosen = depth.topk(count, dim=1, largest=False).indices
    return pool.gather(1, chosen[..., None].expand(-1, -1, 3))
