"""Where rays meet a surface given by signed distances (sphere tracing: Hart 1996).

Nothing here is differentiable: it finds places, and ``ray_gradients`` gives them gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semantic_field.object_prior.signed_distance.active_rays import ActiveRays

GRAZING = 8.0
"""How many times its distance a ray that has arrived may still be away from the surface."""
Distance = Callable[[Tensor], Tensor]
"""Signed distances (B, N) of points (B, N, 3)."""


@dataclass(frozen=True)
class TracingPlan:
    """How rays are followed; lengths in canonical units.

    Attributes:
        steps: at most, on the way to the surface.
        inner_steps: behind it, to the place that is deepest inside.
        least_step: of a step: rays that graze a surface would creep.
        near: distance below which a ray has arrived; 0: it must have passed the surface, so that a
            ray that only grazes something goes on to what is behind.
        shortest: first of the steps inside; each is twice the one before.
        settled: least distances below this get their exact place.
        relaxation: share of the distance that a step goes.
    """

    steps: int = 56
    inner_steps: int = 5
    least_step: float = 0.006
    near: float = 0.0
    shortest: float = 0.008
    settled: float = 0.03
    relaxation: float = 0.95


@dataclass(frozen=True)
class RayEnds:
    """Where rays end, (B, R) each, in lengths along the ray.

    Attributes:
        inside: whether the ray meets the box of the search at all.
        hit: whether it meets the surface.
        surface: where it meets the surface; without a hit where it comes closest to it.
        least: where the signed distance is least: closest to the surface, or deepest inside it.
        least_distance: the signed distance there; infinite where the ray misses the box.
    """

    inside: Tensor
    hit: Tensor
    surface: Tensor
    least: Tensor
    least_distance: Tensor


def box_span(
    origins: Tensor, directions: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where rays (B, R, 3) enter and leave a box, (B, R) each; enter > leave: they miss."""
    tiny = torch.finfo(directions.dtype).tiny
    safe = torch.where(directions.abs() < tiny, torch.full_like(directions, tiny), directions)
    first, second = (low - origins) / safe, (high - origins) / safe
    enter = torch.minimum(first, second).amax(dim=-1).clamp_min(0.0)
    return enter, torch.maximum(first, second).amin(dim=-1)


@torch.no_grad()
def trace(
    distance: Distance,
    origins: Tensor,
    directions: Tensor,
    box: tuple[Tensor, Tensor],
    plan: TracingPlan = TracingPlan(),
) -> RayEnds:
    """Return where rays (B, R, 3), directions of unit length, end in the box ``(low, high)``."""
    enter, leave = box_span(origins, directions, *box)
    inside = enter < leave
    state = _Search(enter, leave, plan.shortest)
    active = inside
    for _ in range(plan.steps):
        rays = ActiveRays.of(active)
        if not len(rays):
            break
        active = state.advance(
            rays, _distances(distance, rays, origins, directions, state.at), plan
        )
    state.enter_solids(distance, origins, directions, plan)
    state.settle(distance, origins, directions, plan)
    return RayEnds(inside, state.hit, state.surface, state.least, state.least_distance)


def _distances(
    distance: Distance, rays: ActiveRays, origins: Tensor, directions: Tensor, at: Tensor
) -> Tensor:
    points = rays.take(origins) + rays.take(directions) * rays.take(at).unsqueeze(-1)
    return distance(points)


class _Search:
    """The places of all rays during the search, (B, R) each."""

    def __init__(self, at: Tensor, leave: Tensor, shortest: float) -> None:
        infinite = torch.full_like(at, torch.inf)
        self.at, self.leave = at, leave
        self.before = at  # the place before, and the distance there
        self.distance_before = infinite
        self.surface, self.least = at, at
        self.least_distance = infinite
        self.width = torch.full_like(at, shortest)  # of the search around ``least``
        self.hit = torch.zeros_like(at, dtype=torch.bool)

    def advance(self, rays: ActiveRays, found: Tensor, plan: TracingPlan) -> Tensor:
        """Take distances (B, M) at the places of rays, step on, return who goes on (B, R)."""
        at, least = rays.take(self.at), rays.take(self.least_distance)
        better = found < least
        place = torch.where(better, at, rays.take(self.least))
        self.least = rays.put(self.least, place)
        self.least_distance = rays.put(self.least_distance, torch.minimum(found, least))
        hit = found < plan.near
        crossing = self._crossing(rays, at, found)
        self.surface = rays.put(self.surface, torch.where(hit, crossing, place))
        self.hit = rays.put(self.hit, hit)
        self.before = rays.put(self.before, at)
        self.distance_before = rays.put(self.distance_before, found)
        ahead = torch.where(
            hit, crossing, at + (plan.relaxation * found).clamp_min(plan.least_step)
        )
        self.at = rays.put(self.at, ahead)
        going = ~hit & (ahead < rays.take(self.leave)) & rays.valid
        return rays.put(torch.zeros_like(self.hit), going)

    def _crossing(self, rays: ActiveRays, at: Tensor, found: Tensor) -> Tensor:
        """Return where the surface is, by the secant through this place and the one before."""
        before, above = rays.take(self.before), rays.take(self.distance_before)
        ahead = found.clamp_min(0.0)
        secant = before + (at - before) * above / (above - found)
        usable = above.isfinite() & (above > found)
        # past a place of positive distance the secant only guesses: not far
        return torch.where(usable, torch.minimum(secant, at + GRAZING * ahead), at + ahead)

    def enter_solids(
        self, distance: Distance, origins: Tensor, directions: Tensor, plan: TracingPlan
    ) -> None:
        """Walk on inside the solids that were hit, as far as they go or the steps last."""
        active, step = self.hit, plan.shortest
        self.at = self.surface + step
        for _ in range(plan.inner_steps):
            rays = ActiveRays.of(active)
            if not len(rays):
                return
            found = _distances(distance, rays, origins, directions, self.at)
            at, least = rays.take(self.at), rays.take(self.least_distance)
            better = found < least
            self.least = rays.put(self.least, torch.where(better, at, rays.take(self.least)))
            self.least_distance = rays.put(self.least_distance, torch.minimum(found, least))
            width = torch.where(better, step, rays.take(self.width))
            self.width = rays.put(self.width, width)
            step = 2.0 * step
            self.at = rays.put(self.at, at + step)
            active = rays.put(active, (found < 0) & rays.valid)

    def settle(
        self, distance: Distance, origins: Tensor, directions: Tensor, plan: TracingPlan
    ) -> None:
        """Move the places of least distance to the vertex of the parabola through neighbours."""
        rays = ActiveRays.of(self.least_distance < plan.settled)
        if not len(rays):
            return
        place, aside = rays.take(self.least), 0.7 * rays.take(self.width)
        ends = [
            _distances(distance, rays, origins, directions, rays.put(self.least, place + side))
            for side in (-aside, aside)
        ]
        bend = ends[0] + ends[1] - 2 * rays.take(self.least_distance)
        offset = 0.5 * aside * (ends[0] - ends[1]) / bend.clamp_min(1e-9)
        moved = place + torch.maximum(torch.minimum(offset, aside), -aside)
        self.least = rays.put(self.least, moved)
