"""Drawing of rays through keyframe pixels, and placement of samples along them.

Samples lie near the measured depth and in the free space before it.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
import torch
from numba import njit, uint64
from numpy.typing import NDArray

from semantic_field.field.rays.keyframe_arrays import (
    DEPTH_UNIT_M,
    GUESSED,
    KeyframeCameras,
    KeyframeContours,
    KeyframeImages,
)
from semantic_field.field.rays.pixel_surroundings import (
    FLATTEST_COSINE,
    silhouettes_at,
    steepness_at,
)
from semantic_field.field.rays.rays import Rays
from semantic_field.field.rays.sample_placing import (
    fill,
    note_clearance,
    place_free,
    place_near,
    random,
)
from semantic_field.field.voxels.traversal import used_spans
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels.threads import run_parallel, split

MASKED = -2  # label of a pixel that shows something that has moved away
MASK_TRIES = 6
SPANS = 16  # most intervals in occupied voxels along a ray
TOLERATED_NOISE_M = 0.01  # noise at which the weight of a depth is halved
EVEN_SHARE = 0.125  # share of rays whose free-space samples ignore the voxels
INSIDE_SHARE = 2.0  # bound of the distance inside a surface, per distance from its silhouette
UNKNOWN_DEPTH_M = 4.0  # z-depth at which samples are placed if there is no reading
_INFINITE = np.float32(np.inf)
_jit = njit(nogil=True, cache=True, error_model="numpy")


@njit(inline="always")
def _choose_pixel(state, given, labels, pixels, listed, count, contour_share):
    """Choose a pixel of a keyframe; returns the next state and the pixel.

    It is the given pixel if there is one, otherwise a listed one with probability
    ``contour_share``, otherwise a random one. A masked pixel is replaced by a random one; after
    ``MASK_TRIES`` attempts the result may still be masked.
    """
    state, u = random(state)
    p = min(int(u * pixels), pixels - 1)
    state, u = random(state)  # one float32 has too few digits for large images
    p = (p + int(u * pixels)) % pixels
    state, u = random(state)
    if u < contour_share and count > 0:
        state, u = random(state)
        p = int(listed[min(int(u * count), count - 1)])
    if given >= 0:
        p = given
    for _ in range(MASK_TRIES):
        if labels[p] != MASKED:
            break
        state, u = random(state)
        p = min(int(u * pixels), pixels - 1)
    return state, p


@njit(inline="always")
def _trust_in(stored, d, steepness, guess_trust, depth_noise):
    """Return the weight of a depth: 1 = measured, less = filled in or noisy, 0 = no depth."""
    if d == 0:
        return np.float32(0)
    trust = guess_trust if stored & GUESSED else np.float32(1)
    if depth_noise > 0:
        noise = depth_noise * d * d * steepness / np.float32(TOLERATED_NOISE_M)
        trust /= np.float32(1) + noise * noise
    return trust


@_jit
def _draw(
    slots, given, seed, colors, depths, labels, intrinsics, poses, sizes, contours, contour_sizes,
    voxels, settings, guess_trust, depth_noise,
    points, near_z, origins, depth, stretch, trust, color, color_weight, label, pixel,
    clearance, inside, start, stop,
):  # fmt: skip
    near_band, free, nearest, even_share, contour_share = settings
    voxel, index, low, counts = voxels
    near = near_z.shape[1]
    first_free = len(slots) * near
    free_z = np.empty(free, np.float32)
    spans = np.empty((SPANS, 2), np.float32)
    origin, direction = np.empty(3, np.float32), np.empty(3, np.float32)
    for r in range(start, stop):
        k = slots[r]
        state = uint64(seed) * uint64(0x632BE59BD9B4E019) + uint64(r) * uint64(0xD1342543DE82EF95)
        width, height = sizes[k]
        state, p = _choose_pixel(
            state, given[r], labels[k], width * height, contours[k], contour_sizes[k], contour_share
        )
        pixel[r] = p
        fx, fy, cx, cy = intrinsics[k]
        dx, dy = (p % width - cx) / fx, (p // width - cy) / fy
        d = np.float32((depths[k, p] & 0x7FFF) * DEPTH_UNIT_M)
        steepness, to_front, front, to_end = np.float32(1), _INFINITE, np.float32(0), _INFINITE
        if d > 0:
            steepness = steepness_at(depths[k], p, width, height, fx, fy, d)
            to_front, front, to_end = silhouettes_at(depths[k], p, width, height, fx, fy, d)
        trust[r] = _trust_in(depths[k, p], d, steepness, guess_trust, depth_noise)
        inside[r] = np.float32(INSIDE_SHARE) * to_end * d if to_end < _INFINITE else _INFINITE
        depth[r] = d
        stretch[r] = np.sqrt(np.float32(1) + dx * dx + dy * dy)
        label[r], color_weight[r] = labels[k, p], np.float32(1)
        if label[r] == MASKED:
            label[r], trust[r], color_weight[r] = -1, np.float32(0), np.float32(0)
        for c in range(3):
            color[r, c] = colors[k, p, c] * np.float32(1 / 255)
        T = poses[k]
        for axis in range(3):
            origin[axis] = origins[r, axis] = T[axis, 3]
            direction[axis] = T[axis, 0] * dx + T[axis, 1] * dy + T[axis, 2]
        surface = d if d > 0 else np.float32(UNKNOWN_DEPTH_M)
        band = near_band / stretch[r]
        state = place_near(surface, band, state, near_z[r])
        end = max(surface - band, nearest)
        number, total = 0, 0.0
        state, u = random(state)
        if u >= even_share:
            number, total = used_spans(
                origin, direction, nearest, end, voxel, index, low, counts, spans
            )
        state = place_free(nearest, end, state, spans, number, total, free_z)
        if front > 0 and free > 1:
            state, u = random(state)
            free_z[0] = min(max(front + band * (2 * u - 1), nearest), end)
        cosine = max(np.float32(1) / steepness, np.float32(FLATTEST_COSINE))
        aside = to_front * front
        note_clearance(free_z, surface, front, aside, stretch[r], cosine, near_band, clearance[r])
        fill(points, r * near, origin, direction, near_z[r])
        fill(points, first_free + r * free, origin, direction, free_z)


def draw_rays(
    images: KeyframeImages,
    cameras: KeyframeCameras,
    slots: NDArray[np.int64],
    voxels: VoxelGrid,
    samples: tuple[int, int],
    band_m: float,
    nearest_m: float,
    guess_trust: float,
    seed: int,
    threads: int = 2,
    contours: KeyframeContours | None = None,
    contour_share: float = 0.0,
    depth_noise: float = 0.0,
    pixels: NDArray[np.int64] | None = None,
) -> Rays:
    """Draw one pixel of each listed keyframe, and return the rays with samples.

    Samples in free space are distributed over the intervals of the ray in surface voxels, because
    readers look for surfaces only there: the field has to learn that this ray passes *beside* the
    surface. One ray in eight (``EVEN_SHARE``), and each ray without such intervals, distributes
    them over the whole free space.

    Silhouettes within ``REACH`` pixels tell more about distances than the pixel's own depth. A ray
    that passes a nearer surface has its first free-space sample around that surface's depth (if
    it has two or more), and its samples there are not required to be farther from a surface than
    they are from this one (``clearance``). Behind a surface that ends nearby, samples are not
    required to be deeper inside it than ``INSIDE_SHARE`` times the distance from its end
    (``inside``): the ray may have left it again.

    Args:
        images, cameras: arrays of K keyframes. A ray whose pixel is still ``MASKED`` after
            ``MASK_TRIES`` attempts has label -1, trust 0 and color_weight 0, so that it does not
            contribute to training.
        slots: keyframe slot of each ray, int64 (R,).
        voxels: grid of surface voxels, in the map frame.
        samples: numbers of samples near the surface and in the free space before it.
        band_m: largest distance of the samples near the surface from it, metres along the ray.
        nearest_m: z-depth in metres at which the free space begins.
        guess_trust: weight of filled-in depths; measured ones have weight 1.
        seed: equal seeds give equal rays, regardless of ``threads``.
        contours: pixels next to depth discontinuities, from which a share of ``contour_share``
            (0..1) of the rays is drawn if their keyframes have any. None = no such pixels.
        depth_noise: readings at z metres have an error of about ``depth_noise * z**2`` metres,
            divided by the cosine of the angle between ray and surface normal. Their weight
            decreases with this error, to a half at ``TOLERATED_NOISE_M``.
        pixels: int64 (R,), pixel number of each ray; -1, or None for all rays, = random. Masked
            pixels are replaced by random ones.
    """
    n, count = len(slots), sum(samples)
    rays = Rays(
        points=torch.empty(n * count, 3),
        near_z=torch.empty(n, samples[0]),
        origin=torch.empty(n, 3),
        depth=torch.empty(n),
        stretch=torch.empty(n),
        trust=torch.empty(n),
        color=torch.empty(n, 3),
        color_weight=torch.empty(n),
        label=torch.empty(n, dtype=torch.int64),
        label_weight=torch.ones(n),
        pixel=torch.empty(n, dtype=torch.int64),
        slot=torch.from_numpy(slots),
        clearance=torch.empty(n, samples[1]),
        inside=torch.empty(n),
    )
    if contours is None:
        k = len(images.colors)
        contours = KeyframeContours(np.zeros((k, 1), np.int32), np.zeros(k, np.int64))
    shares = (np.float32(EVEN_SHARE), np.float32(contour_share))
    settings = (np.float32(band_m), samples[1], np.float32(nearest_m), *shares)
    store = (np.float32(voxels.voxel_m), voxels.index, voxels.low, voxels.counts)
    given = np.full(n, -1, np.int64) if pixels is None else pixels
    arrays = (
        slots,
        given,
        seed,
        *images,
        *cameras,
        *contours,
        store,
        settings,
        np.float32(guess_trust),
        np.float32(depth_noise),
    )
    results = (rays.points, rays.near_z, rays.origin, rays.depth, rays.stretch, rays.trust)
    results += (rays.color, rays.color_weight, rays.label, rays.pixel)
    results += (rays.clearance, rays.inside)
    filled = tuple(tensor.numpy() for tensor in results)
    run_parallel(_draw, [(*arrays, *filled, *part) for part in split(n, threads)])
    return rays
