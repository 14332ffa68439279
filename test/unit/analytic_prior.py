"""Priors whose shapes are known exactly: unions of boxes and a round thing; code = sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semantic_field.data.objects.object_views import CategoryFrame
from semantic_field.object_prior.prior_model import CanonicalRays, ObjectPrior, PriorPixels

COLORS = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.7, 0.2], [0.2, 0.3, 0.9]])


class AnalyticPrior(ObjectPrior):
    """A prior of parts given by ``part_distances``; codes scale the sizes by ``exp(0.15 code)``."""

    def __init__(self, category: str, parts: tuple[str, ...], frame: CategoryFrame, dims: int):
        super().__init__()
        self.category, self.part_names, self.frame = category, parts, frame
        self.codes = nn.Embedding(40, dims)
        with torch.no_grad():
            noise = torch.randn(40, dims, generator=torch.Generator().manual_seed(3))
            self.codes.weight.copy_(noise)
        self.label_layer = nn.Linear(len(parts), len(parts) + 1)
        with torch.no_grad():
            self.label_layer.weight.zero_()
            self.label_layer.weight[1:] = torch.eye(len(parts))
            self.label_layer.bias.copy_(torch.tensor([-3.0] + [0.0] * len(parts)))
        self.requires_grad_(False)

    def part_distances(self, sizes: Tensor, points: Tensor) -> Tensor:
        """Signed distances (B, N, C) to the parts, metres of the object's own frame."""
        raise NotImplementedError

    def distances(self, codes: Tensor, points: Tensor) -> Tensor:
        return self._parts(codes, points).min(-1).values / self.frame.unit_m

    def colors(self, codes: Tensor, points: Tensor) -> Tensor:
        return COLORS[self._parts(codes, points).argmin(-1)]

    def features(self, codes: Tensor, points: Tensor) -> Tensor:
        return -60.0 * self._parts(codes, points)

    def render(self, codes: Tensor, rays: CanonicalRays) -> PriorPixels:
        distance, least = torch.zeros(rays.cosines.shape), torch.full(rays.cosines.shape, 9.0)
        codes = codes.expand(len(rays.origins), -1)
        for _ in range(48):
            with torch.no_grad():
                at = rays.origins + distance[..., None] * rays.directions
                step = self.distances(codes, at)
                closer = step < least
                best = torch.where(closer, distance, best) if _ else distance
                least = torch.where(closer, step, least)
                distance = distance + step
        nearest = self.distances(codes, rays.origins + best[..., None] * rays.directions)
        opacity = torch.sigmoid(1 - 200 * nearest)
        distance = best + nearest
        points = rays.origins + distance[..., None] * rays.directions
        parts = self._parts(codes, points)
        color = torch.softmax(-100 * parts, -1) @ COLORS[: parts.shape[-1]]
        color = 1 + opacity[..., None] * (color - 1)
        # where nothing is met, the features speak of far parts: background
        return PriorPixels(color, distance, opacity, points, -60 * parts)

    def _parts(self, codes: Tensor, points: Tensor) -> Tensor:
        centre = torch.tensor(self.frame.centre_m, dtype=points.dtype)
        return self.part_distances(torch.exp(0.15 * codes), points * self.frame.unit_m + centre)


def box_distance(points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Signed distances (B, N) of points (B, N, 3) to boxes with corners (B, 3)."""
    outside = (points - (low + high)[:, None] / 2).abs() - (high - low)[:, None] / 2
    return outside.clamp(min=0).norm(dim=-1) + outside.amax(-1).clamp(max=0)


class BoxChair(AnalyticPrior):
    """A chair: seat, backrest at +y, four legs; sizes: width, depth, seat height, back height."""

    def __init__(self) -> None:
        frame = CategoryFrame(0.6, (0.0, 0.0, 0.45))
        super().__init__("chair", ("seat", "backrest", "leg"), frame, 4)

    def part_distances(self, sizes: Tensor, points: Tensor) -> Tensor:
        x, y, seat = 0.22 * sizes[:, 0], 0.22 * sizes[:, 1], 0.45 * sizes[:, 2]
        top = seat + 0.45 * sizes[:, 3]
        corner = lambda *at: torch.stack(at, -1)  # noqa: E731
        slab = box_distance(points, corner(-x, -y, seat - 0.05), corner(x, y, seat))
        back = box_distance(points, corner(-x, y - 0.05, seat), corner(x, y, top))
        zero = torch.zeros_like(x)
        mirrored = torch.cat([points[..., :2].abs(), points[..., 2:]], -1)
        low, high = corner(x - 0.05, y - 0.05, zero), corner(x, y, seat - 0.05)
        return torch.stack([slab, back, box_distance(mirrored, low, high)], -1)


class RoundPost(AnalyticPrior):
    """An upright cylinder; sizes: radius and height."""

    def __init__(self) -> None:
        super().__init__("post", ("body",), CategoryFrame(0.5, (0.0, 0.0, 0.4)), 2)

    def part_distances(self, sizes: Tensor, points: Tensor) -> Tensor:
        radius, half = 0.15 * sizes[:, :1], 0.4 * sizes[:, 1:]
        across = (points[..., :2].square().sum(-1) + 1e-12).sqrt() - radius
        along = (points[..., 2] - half).abs() - half
        outside = torch.stack([across, along], -1)
        distance = outside.clamp(min=0).norm(dim=-1) + outside.amax(-1).clamp(max=0)
        return distance[..., None]
