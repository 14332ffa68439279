"""``pixel_surroundings`` for many rays on any torch device, without waiting for it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.field.rays.keyframe_arrays import DEPTH_UNIT_M, GUESSED, DeviceCameras
from semantic_field.field.rays.pixel_surroundings import JUMP_M, JUMP_SHARE, REACH


class Surroundings(NamedTuple):
    """What the depth images show around the pixels of R rays.

    Attributes:
        steepness: see ``steepness_at``.
        to_front, front, to_end: see ``silhouettes_at``.
    """

    steepness: Float[Tensor, " R"]
    to_front: Float[Tensor, " R"]
    front: Float[Tensor, " R"]
    to_end: Float[Tensor, " R"]


def surroundings(
    depths: Int[Tensor, "K P"],
    cameras: DeviceCameras,
    slots: Int[Tensor, " R"],
    pixel: Int[Tensor, " R"],
    depth: Float[Tensor, " R"],
) -> Surroundings:
    """Return the surroundings of pixels; rays without depth have no silhouettes.

    Args:
        depths: stored depths, int16.
        slots, pixel: keyframe slot and pixel of each ray.
        depth: z-depth of each ray, metres, 0 = unknown.
    """
    focal = cameras.intrinsics[slots, :2].repeat_interleave(2, 1)  # (R, 4): of each direction
    other, is_read = _readings(depths, cameras, slots, pixel)
    here = depth[:, None, None]
    rise = torch.where(is_read[..., 0], (other[..., 0] - here[..., 0]).abs(), torch.inf)
    rise = rise.view(-1, 2, 2).amin(2)
    rise = torch.where(torch.isinf(rise), 0.0, rise)
    slope = rise * focal[:, ::2] / depth.clamp_min(DEPTH_UNIT_M)[:, None]
    steepness = torch.sqrt(1.0 + slope.square().sum(1))

    is_read = is_read & (other > 0) & (here > 0)
    jump = (JUMP_SHARE * torch.minimum(other, here)).clamp_min(JUMP_M)
    is_jump = is_read & ((other - here).abs() > jump)
    ends = is_jump | ~is_read
    is_jump = is_jump & (ends.cumsum(2) == 1)
    pixels = torch.arange(REACH, device=depth.device) + 0.5
    aside = pixels / focal[..., None]
    is_nearer = is_jump & (other < here)
    to_front = torch.where(is_nearer, aside, torch.inf).amin(2)
    to_end = torch.where(is_jump & ~is_nearer, aside, torch.inf).amin(2)
    depth_there = torch.where(is_nearer, other, 0.0).sum(2)
    is_nearest = (to_front == to_front.amin(1, keepdim=True)) & (depth_there > 0)
    front = torch.where(is_nearest, depth_there, torch.inf).amin(1)
    return Surroundings(
        steepness,
        _across(to_front),
        torch.where(torch.isinf(front), 0.0, front),
        _across(to_end),
    )


def _readings(
    depths: Tensor, cameras: DeviceCameras, slots: Tensor, pixel: Tensor
) -> tuple[Float[Tensor, "R 4 n"], Tensor]:
    """Return depths left, right, above and below, 1 to ``REACH`` pixels away, and which are no
    guesses and inside the image."""
    width, height = cameras.sizes[slots].unbind(1)
    row = torch.div(pixel, width, rounding_mode="floor")
    column, away = pixel - row * width, torch.arange(1, REACH + 1, device=pixel.device)
    step = torch.stack([-away, away], 0)  # (2, n)
    across, down = column[:, None, None] + step, row[:, None, None] + step
    inside = torch.cat(
        [
            (across >= 0) & (across < width[:, None, None]),
            (down >= 0) & (down < height[:, None, None]),
        ],
        1,
    )
    here = pixel[:, None, None]
    there = torch.cat([here + step, here + step * width[:, None, None]], 1)
    stored = depths[slots[:, None, None], torch.where(inside, there, here)].int()
    return (stored & GUESSED - 1).float() * DEPTH_UNIT_M, inside & (stored >= 0)


def _across(aside: Float[Tensor, "R 4"]) -> Float[Tensor, " R"]:
    """Return the distances from lines that cross the two axes at these distances."""
    on_axes = aside.view(-1, 2, 2).amin(2)
    return on_axes.square().reciprocal().sum(1).rsqrt()
