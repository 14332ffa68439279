"""Agreement of a frame's features with each neighbour's at planes of inverse depth.

On the processor compiled loops compute it (``sweep_kernels``); elsewhere, torch's ``grid_sample``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.generalizable.cost_volume import pixel_directions, projected, warped
from semantic_field.generalizable.gathering import NEAREST_M
from semantic_field.generalizable.sweep_kernels import correlate, correlate_back

NEGLIGIBLE = 1e-5  # gradients of products, as shares of the largest one, that are left out


class Stereo(NamedTuple):
    """Cameras of a reference and its n neighbours, at the size of their maps.

    Attributes:
        intrinsics: float32 (n + 1, 4), fx fy cx cy in pixels, the reference's first.
        T_other_reference: float32 (n, 4, 4), metres.
    """

    intrinsics: Float[Tensor, "m 4"]
    T_other_reference: Float[Tensor, "n 4 4"]


class LogPlanes(NamedTuple):
    """D planes at each pixel, each so many times nearer than the one before.

    Attributes:
        first: float32 (h, w), logarithm of the inverse depth (1/m) of the first, the farthest.
        step: difference of that logarithm from one plane to the next, above 0.
        count: number D of planes.
    """

    first: Float[Tensor, "h w"]
    step: float
    count: int

    def ratios(self) -> Float[Tensor, "D"]:
        """Return the inverse depth of each plane over that of the first."""
        return (self.step * torch.arange(self.count, device=self.first.device)).exp()

    def depths(self) -> Float[Tensor, "D h w"]:
        """Return z-depths, metres."""
        return (-self.first).exp() / self.ratios()[:, None, None]

    def number_of(self, value: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """Return on which plane a logarithm of inverse depth is, with fractions."""
        return (value - self.first) / self.step


def whole_range(
    near_m: float, far_m: float, count: int, size: tuple[int, int], device: torch.device
) -> LogPlanes:
    """Return planes from the farthest depth to the nearest, the same at all pixels."""
    step = math.log(far_m / near_m) / (count - 1)
    return LogPlanes(torch.full(size, -math.log(far_m), device=device), step, count)


def planes_about(value: Float[Tensor, "h w"], step: float, count: int) -> LogPlanes:
    """Return planes about logarithms of inverse depth found before; no gradient of these."""
    return LogPlanes(value.detach() - (count - 1) / 2 * step, step, count)


class Agreement(NamedTuple):
    """What the neighbours say at D planes of a reference's pixels.

    Attributes:
        best, mean: float32 (D, h, w), largest and mean product of features among the neighbours
            that have the point in their image; 0 where none has.
        share: float32 (D, h, w), share of the neighbours that have it.
    """

    best: Float[Tensor, "D h w"]
    mean: Float[Tensor, "D h w"]
    share: Float[Tensor, "D h w"]


def swept(
    reference: Float[Tensor, "C h w"],
    others: Float[Tensor, "n C h2 w2"],
    stereo: Stereo,
    planes: LogPlanes,
) -> Agreement:
    """Return how well a reference and its neighbours agree; their order does not matter.

    A neighbour that has a point behind its camera, or outside its image, says nothing of it. There
    are gradients of the maps, none of the planes.
    """
    if reference.device.type != "cpu":
        return swept_by_torch(reference, others, stereo, planes)
    turned, shift = _homographies(stereo)
    maps = reference.permute(1, 2, 0).float(), others.permute(0, 2, 3, 1).float()
    best, total, count = _Sweep.apply(*maps, turned, shift, planes)  # type: ignore[misc]
    mean, share = total / count.clamp(min=1), count.float() / len(others)
    return Agreement(*(part.permute(2, 0, 1) for part in (best, mean, share)))


def swept_by_torch(
    reference: Float[Tensor, "C h w"],
    others: Float[Tensor, "n C h2 w2"],
    stereo: Stereo,
    planes: LogPlanes,
) -> Agreement:
    """Do the same by torch alone, on any device."""
    size = (reference.shape[-2], reference.shape[-1])
    points = pixel_directions(stereo.intrinsics[0], size) * planes.depths()[..., None]
    scores, seen = [], []
    for image, pose, lens in zip(others, stereo.T_other_reference, stereo.intrinsics[1:]):
        theirs = (image.shape[-2], image.shape[-1])
        pixels, _, inside = projected(points, pose, lens, theirs)
        scores.append((reference[:, None] * warped(image, pixels, inside)).sum(0))
        seen.append(inside)
    products, inside = torch.stack(scores), torch.stack(seen)
    count = inside.sum(0)
    best = products.masked_fill(~inside, -torch.inf).amax(0)
    mean = products.sum(0) / count.clamp(min=1)
    return Agreement(torch.where(count > 0, best, 0.0), mean, count / len(others))


def _homographies(stereo: Stereo) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 3, 3) and (n, 3): pixel in a neighbour = turned (u, v, 1) + shift / depth."""
    lenses = stereo.intrinsics.detach().double().numpy()
    T = stereo.T_other_reference.detach().double().numpy()
    matrices = np.zeros((len(lenses), 3, 3))
    matrices[:, 0, 0], matrices[:, 1, 1] = lenses[:, 0], lenses[:, 1]
    matrices[:, 0, 2], matrices[:, 1, 2], matrices[:, 2, 2] = lenses[:, 2], lenses[:, 3], 1
    turned = matrices[1:] @ T[:, :3, :3] @ np.linalg.inv(matrices[0])
    shift = (matrices[1:] @ T[:, :3, 3:])[..., 0]
    return turned.astype(np.float32), shift.astype(np.float32)


class _Sweep(torch.autograd.Function):
    """The compiled loops, channels and planes last, with their gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        reference: Tensor,
        others: Tensor,
        turned: np.ndarray,
        shift: np.ndarray,
        planes: LogPlanes,
    ) -> tuple[Tensor, Tensor, Tensor]:
        reference, others = reference.contiguous(), others.contiguous()
        first = np.ascontiguousarray(planes.first.detach().exp().numpy(), np.float32)
        shape = (*first.shape, planes.count)
        best, total = torch.empty(shape), torch.empty(shape)
        count = torch.empty(shape, dtype=torch.uint8)
        winner = torch.empty(shape, dtype=torch.int8)
        places = turned, shift, first, planes.ratios().numpy(), np.float32(NEAREST_M)
        maps = reference.detach().numpy(), others.detach().numpy()
        correlate(*maps, *places, *(part.numpy() for part in (best, total, count, winner)))
        ctx.save_for_backward(reference, others, winner)
        ctx.places = places
        ctx.mark_non_differentiable(count)
        return best, total, count

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        reference, others, winner = ctx.saved_tensors
        own, theirs = torch.zeros_like(reference), torch.zeros_like(others)
        best, total = (slope.contiguous() for slope in slopes[:2])
        least = NEGLIGIBLE * float(best.abs().max() + total.abs().max())
        maps = reference.detach().numpy(), others.detach().numpy()
        turned, shift, first, ratios, nearest = ctx.places
        slope = best.numpy(), total.numpy(), winner.numpy(), np.float32(least)
        places = turned, shift, first, ratios, nearest
        correlate_back(*maps, *places, *slope, own.numpy(), theirs.numpy())
        return own, theirs, None, None, None
