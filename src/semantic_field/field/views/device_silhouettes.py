"""Silhouettes of a view, corrected by keyframes' readings, in torch; see ``silhouettes``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import max_pool2d

from semantic_field.field.views import silhouettes
from semantic_field.field.views.device_asking import Answers
from semantic_field.field.views.silhouettes import FAR, NEAR, OWN, REACH

JUMP, SURE = float(silhouettes.JUMP), float(silhouettes.SURE)
FLATTEST_SLOPE, FARTHEST = float(silhouettes.FLATTEST_SLOPE), float(silhouettes.FARTHEST)
Ask = Callable[..., Answers]
"""Asks keyframes about points and normals (3, N) in the target camera's axes, and takes ``doubted``
of ``device_asking.ask``."""


def discontinuities(depth: Float[Tensor, "H W"]) -> Int[Tensor, " N"]:
    """See ``silhouettes.discontinuities``; waits for the device."""

    def dilated(image: Tensor) -> Tensor:
        return max_pool2d(image[None], 2 * REACH + 1, 1, REACH)[0]

    nearest = -dilated(-torch.where(depth > 0, depth, FARTHEST))
    beside_nothing = (depth == 0) & (nearest < FARTHEST)
    return ((dilated(depth) > nearest * (1 + JUMP)) | beside_nothing).view(-1).nonzero()[:, 0]


def settle(
    pixels: Int[Tensor, " N"],
    depth: Float[Tensor, "H W"],
    directions: Float[Tensor, "3 P"],
    normals: Float[Tensor, "3 P"],
    ask: Ask,
) -> tuple[Float[Tensor, " N"], Int[Tensor, " N"]]:
    """Choose the surface of each listed pixel, see ``silhouettes.settle``.

    Args:
        directions, normals: of all P = H W pixels, in the camera's axes; directions of z-depth 1.
    Returns:
        The z-depth of each pixel's surface, and the number of the pixel from which it is taken.
    """
    near, far = _ends(depth, pixels)
    origin = torch.stack([pixels, near, far])  # (3, N)
    z = depth.view(-1)[origin]
    here, normal = directions[:, pixels], normals[:, origin]  # (3, N), (3, 3, N)
    extended = _extended(z, here, directions[:, origin], normal)
    z = torch.cat([z[:1], extended[1:]])
    points = here[:, None] * z
    answers = ask(points.reshape(3, -1), normal.reshape(3, -1))
    seen, past = (a.sum(0).view(3, -1) for a in (answers.votes, answers.past))
    choice = _choice(z, seen, past)[None]
    return z.gather(0, choice)[0], origin.gather(0, choice)[0]


def _ends(
    depth: Float[Tensor, "H W"], pixels: Int[Tensor, " N"]
) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """Numbers of the pixels of the nearest and of the farthest depth within ``REACH`` pixels.

    Of equal depths the one that comes first, row by row; the pixel itself if there is no depth.
    """
    height, width = depth.shape
    step = torch.arange(-REACH, REACH + 1, device=depth.device)
    row = pixels // width + step.repeat_interleave(len(step))[:, None]  # (25, N)
    column = pixels % width + step.repeat(len(step))[:, None]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    number = torch.where(inside, row * width + column, pixels)
    d = depth.view(-1)[number]
    known = inside & (d > 0)
    near = torch.where(known, d, torch.inf).argmin(0, keepdim=True)
    far = torch.where(known, d, 0.0).argmax(0, keepdim=True)
    any_known = known.any(0)
    near, far = number.gather(0, near)[0], number.gather(0, far)[0]
    return torch.where(any_known, near, pixels), torch.where(any_known, far, pixels)


def _extended(
    d: Float[Tensor, "M N"],
    here: Float[Tensor, "3 N"],
    there: Float[Tensor, "3 M N"],
    normal: Float[Tensor, "3 M N"],
) -> Float[Tensor, "M N"]:
    """Depths on the rays ``here`` of planes with depths ``d`` on the rays ``there``."""
    slope, own = (normal * here[:, None]).sum(0), (normal * there).sum(0)
    plane = torch.minimum(torch.maximum(d * own / slope, d * (1 - JUMP)), d * (1 + JUMP))
    return torch.where(slope > FLATTEST_SLOPE, d, plane)


def _choice(z: Tensor, seen: Tensor, past: Tensor) -> Int[Tensor, " N"]:
    """Which of its own, its nearest and its farthest neighbour's surface a pixel takes; (3, N)."""
    nothing = z[OWN] == 0
    nearer = nothing | (z[OWN] - z[NEAR] > JUMP * z[NEAR])
    nearer &= (seen[NEAR] > SURE * past[NEAR]) & (seen[NEAR] > seen[OWN])
    farther = nothing | (z[FAR] - z[OWN] > JUMP * z[OWN])
    farther &= (past[OWN] >= seen[OWN]) & (seen[FAR] > past[FAR])
    return torch.where(nearer, NEAR, torch.where(farther, FAR, OWN))
