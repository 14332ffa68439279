"""Drawing of rays and placement of their samples on any torch device, as in ``sampling``.

All shapes are constant and nothing waits for the device, so that it can be captured in a CUDA
graph. Instead of traversing the occupied voxels along a ray, ``CANDIDATES`` stratified random
positions in its free space are looked up in the voxel grid, and the samples are chosen evenly
among those in occupied voxels. The density of the samples is the same as in ``sampling``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.field.rays.device_surroundings import Surroundings, surroundings
from semantic_field.field.rays.keyframe_arrays import (
    DeviceCameras,
    DeviceContours,
    DeviceImages,
)
from semantic_field.field.rays.pixel_surroundings import FLATTEST_COSINE
from semantic_field.field.rays.rays import Rays
from semantic_field.field.rays.sampling import (
    DEPTH_UNIT_M,
    EVEN_SHARE,
    GUESSED,
    INSIDE_SHARE,
    MASK_TRIES,
    MASKED,
    TOLERATED_NOISE_M,
    UNKNOWN_DEPTH_M,
)
from semantic_field.field.voxels.device_voxels import DeviceVoxels

CANDIDATES = 128


@dataclass(frozen=True)
class Placing:
    """Settings for drawing rays and placing samples; see the arguments of ``draw_rays``."""

    samples: tuple[int, int]
    band_m: float
    nearest_m: float
    guess_trust: float
    contour_share: float = 0.0
    depth_noise: float = 0.0


def draw_rays_on_device(
    images: DeviceImages,
    cameras: DeviceCameras,
    contours: DeviceContours,
    slots: Int[Tensor, " R"],
    voxels: DeviceVoxels,
    placing: Placing,
    generator: torch.Generator | None = None,
    pixels: Int[Tensor, " R"] | None = None,
) -> Rays:
    """Draw one pixel of each listed keyframe, and return the rays with samples.

    Args:
        images, cameras, contours: arrays of K keyframes, on one device.
        slots, pixels: as in ``draw_rays``.
        voxels: grid of surface voxels, in the map frame.
        placing: settings.
        generator: random generator of the device; None = the default one.
    """
    sizes = cameras.sizes[slots]
    shape = (MASK_TRIES + 2, len(slots))
    random = torch.rand(shape, dtype=torch.float64, device=slots.device, generator=generator)
    tries = (random[2:] * sizes.prod(1)).long()
    shown = images.labels[slots, tries] != MASKED
    pixel = tries.gather(0, shown.int().argmax(0, keepdim=True))[0]
    listed = contours.counts[slots]
    beside_jump = contours.pixels[slots, (random[0] * listed).long()].long()
    at_jump = (random[1] < placing.contour_share) & (listed > 0)
    at_jump &= images.labels[slots, beside_jump] != MASKED
    pixel = torch.where(at_jump, beside_jump, pixel)
    if pixels is not None:
        shown = images.labels[slots, pixels.clamp_min(0)] != MASKED
        pixel = torch.where((pixels >= 0) & shown, pixels, pixel)
    return place_samples(images, cameras, slots, pixel, voxels, placing, generator)


def place_samples(
    images: DeviceImages,
    cameras: DeviceCameras,
    slots: Int[Tensor, " R"],
    pixel: Int[Tensor, " R"],
    voxels: DeviceVoxels,
    placing: Placing,
    generator: torch.Generator | None = None,
) -> Rays:
    """Return rays with samples through the given pixels (R,); see ``draw_rays_on_device``."""
    colors, depths, labels = images
    x, y = _image_plane(cameras, slots, pixel)
    pose = cameras.poses[slots]
    origin = pose[:, :3, 3]
    direction = pose[:, :3, 0] * x[:, None] + pose[:, :3, 1] * y[:, None] + pose[:, :3, 2]
    stretch = torch.sqrt(1.0 + x * x + y * y)
    stored = depths[slots, pixel].int()
    depth = (stored & GUESSED - 1).float() * DEPTH_UNIT_M
    label = labels[slots, pixel].long()
    around = surroundings(depths, cameras, slots, pixel, depth)
    noise = placing.depth_noise / TOLERATED_NOISE_M * depth * depth * around.steepness
    trust = torch.where(stored < 0, placing.guess_trust, 1.0) / (1.0 + noise * noise)
    shown = label != MASKED
    trust = trust * ((depth > 0) & shown)
    surface = torch.where(depth > 0, depth, UNKNOWN_DEPTH_M)
    band = placing.band_m / stretch
    near_z = _stratified(surface - band, surface + band, placing.samples[0], generator)
    end = (surface - band).clamp_min(placing.nearest_m)
    candidates = _stratified(end.new_full((), placing.nearest_m), end, CANDIDATES, generator)
    free_z = _choose(candidates, origin, direction, voxels, placing.samples[1], generator)
    if placing.samples[1] > 1:
        free_z = _with_one_at_the_front(free_z, around.front, band, end, placing, generator)
    clearance = clearance_along(free_z, surface, around, stretch, placing.band_m)
    points = [_points(origin, direction, z) for z in (near_z, free_z)]
    return Rays(
        points=torch.cat(points),
        near_z=near_z,
        origin=origin,
        depth=depth,
        stretch=stretch,
        trust=trust,
        color=colors[slots, pixel].float() / 255.0,
        color_weight=shown.float(),
        label=label.clamp_min(-1),
        label_weight=torch.ones_like(depth),
        pixel=pixel,
        slot=slots,
        clearance=clearance,
        inside=torch.where(depth > 0, INSIDE_SHARE * around.to_end * depth, torch.inf),
    )


def _image_plane(
    cameras: DeviceCameras, slots: Int[Tensor, " R"], pixel: Int[Tensor, " R"]
) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:
    """Return x and y of the pixels on the plane of z-depth 1, in camera coordinates."""
    fx, fy, cx, cy = cameras.intrinsics[slots].unbind(1)
    width = cameras.sizes[slots, 0]
    row = torch.div(pixel, width, rounding_mode="floor")
    return (pixel - row * width - cx) / fx, (row - cy) / fy


def _stratified(
    begin: Tensor, end: Float[Tensor, " R"], count: int, generator: torch.Generator | None
) -> Float[Tensor, "R S"]:
    """Return one random position in each of ``count`` equal parts of begin..end."""
    random = torch.rand(len(end), count, device=end.device, generator=generator)
    share = (torch.arange(count, device=end.device) + random) / max(count, 1)
    return begin.expand_as(end)[:, None] + (end - begin)[:, None] * share


def _choose(
    candidates: Float[Tensor, "R K"],
    origin: Float[Tensor, "R 3"],
    direction: Float[Tensor, "R 3"],
    voxels: DeviceVoxels,
    count: int,
    generator: torch.Generator | None,
) -> Float[Tensor, "R S"]:
    """Choose ``count`` of the candidates in occupied voxels, evenly and in order, for each ray.

    A share of ``EVEN_SHARE`` of the rays, and those without such candidates, choose from all.
    """
    rays, number = candidates.shape
    places = _points(origin, direction, candidates)
    used = voxels.lookup(places).view(rays, number) > 0
    even = torch.rand(rays, device=origin.device, generator=generator) < EVEN_SHARE
    used = used | (even | ~used.any(1))[:, None]
    passed = used.cumsum(1).float()
    zero = passed.new_zeros(())
    target = _stratified(zero, passed[:, -1].contiguous(), count, generator)
    chosen = torch.searchsorted(passed, target, right=True).clamp_max(number - 1)
    return candidates.gather(1, chosen)


def _with_one_at_the_front(
    free_z: Float[Tensor, "R S"],
    front: Float[Tensor, " R"],
    band: Float[Tensor, " R"],
    end: Float[Tensor, " R"],
    placing: Placing,
    generator: torch.Generator | None,
) -> Float[Tensor, "R S"]:
    """Return the samples, the first one around the nearer surface beside the ray, if any."""
    random = torch.rand(len(front), device=front.device, generator=generator)
    there = (front + band * (2.0 * random - 1.0)).clamp_min(placing.nearest_m)
    first = torch.where(front > 0, torch.minimum(there, end), free_z[:, 0])
    return torch.cat([first[:, None], free_z[:, 1:]], 1)


def clearance_along(
    free_z: Float[Tensor, "R S"],
    surface: Float[Tensor, " R"],
    around: Surroundings,
    stretch: Float[Tensor, " R"],
    most_m: float,
) -> Float[Tensor, "R S"]:
    """Return distances of the samples from the surfaces around them, see ``Rays.clearance``."""
    cosine = around.steepness.reciprocal().clamp_min(FLATTEST_COSINE)
    own = (surface[:, None] - free_z) * (stretch * cosine)[:, None]
    aside = torch.where(around.front > 0, around.to_front * around.front, torch.inf)
    before = (around.front[:, None] - free_z) * stretch[:, None]
    beside = torch.sqrt(aside.square()[:, None] + before.square())
    return torch.minimum(own, beside).clamp_max(most_m)


def _points(
    origin: Float[Tensor, "R 3"], direction: Float[Tensor, "R 3"], z: Float[Tensor, "R S"]
) -> Float[Tensor, "RS 3"]:
    return (origin[:, None] + z[..., None] * direction[:, None]).reshape(-1, 3)
