"""Doubts what stands where earlier keyframes saw through: a person who walks through the view.

Such pixels are masked, as those of things that have gone are: they are never drawn and count as no
observation. What stays there is believed after a while, and the older keyframes that look through
it are masked there instead.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.geometry import invert_transform
from semantic_field.kernels.threads import run_shared
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.robustness.carving import MARGIN_M, MARGIN_SHARE, WINDOW, clear_depth

COLUMNS = 160  # of an image that are asked about
ASKED_WIDTH = 320  # of a witness, where it is asked what it sees through
WITNESSES = 12  # keyframes of the most similar views
LEAST_WITNESSES = 3  # that must have seen through a point
PATIENCE_NS = 2_000_000_000


@njit(nogil=True, cache=True, error_model="numpy")
def _testify(points, stored, labels, clear, skip, intrinsics, pose, verdict, pixel):
    """What one keyframe says of points (N, 3): 1 = it sees through, -1 = it sees them, 0 = nothing.

    ``clear``: see ``clear_depth``, of every ``skip``-th pixel and row, in ``DEPTH_UNIT_M``; a
    masked pixel sees through nothing. ``pixel`` gets where each point lies, -1 = outside.
    """
    height, width = stored.shape
    fx, fy, cx, cy = intrinsics
    for n in range(len(points)):
        verdict[n], pixel[n] = 0, -1
        x = pose[0, 0] * points[n, 0] + pose[0, 1] * points[n, 1] + pose[0, 2] * points[n, 2]
        y = pose[1, 0] * points[n, 0] + pose[1, 1] * points[n, 1] + pose[1, 2] * points[n, 2]
        z = pose[2, 0] * points[n, 0] + pose[2, 1] * points[n, 1] + pose[2, 2] * points[n, 2]
        x, y, z = x + pose[0, 3], y + pose[1, 3], z + pose[2, 3]
        if z <= 0.05:
            continue
        u, v = int(np.rint(x / z * fx + cx)), int(np.rint(y / z * fy + cy))
        if not (0 <= u < width and 0 <= v < height):
            continue
        pixel[n] = v * width + u
        margin = MARGIN_M + MARGIN_SHARE * z
        if stored[v, u] & GUESSED == 0 and abs(stored[v, u] * DEPTH_UNIT_M - z) < margin:
            verdict[n] = -1
        elif len(clear) and labels[v, u] != MASKED:
            row, column = min(v // skip, clear.shape[0] - 1), min(u // skip, clear.shape[1] - 1)
            if clear[row, column] * DEPTH_UNIT_M > z + margin:
                verdict[n] = 1


def doubt(store: KeyframeStore, slot: int, threads: int = 2) -> NDArray[np.float64]:
    """Mask the pixels of a new keyframe whose surface nearly all similar views saw through.

    A surface is believed again where a keyframe has seen it ``PATIENCE_NS`` ago, and none has
    seen through it since. Returns points (N, 3) of what is believed from now on.
    """
    now = store.stamps_ns[slot]
    apart = store.apart(store.cameras.poses[slot])
    earlier = np.flatnonzero(store.stamps_ns[: store.count] < now)
    witnesses = earlier[np.argsort(apart[earlier], kind="stable")[:WITNESSES]]
    if len(witnesses) < LEAST_WITNESSES:
        return np.zeros((0, 3))
    points, asked = _points(store, slot)
    through, agree = np.zeros(len(points), np.int64), np.zeros(len(points), np.int64)
    last_through = np.full(len(points), -1, np.int64)
    first_seen = np.full(len(points), np.iinfo(np.int64).max)
    witnesses = witnesses[np.argsort(-store.stamps_ns[witnesses], kind="stable")]
    said: dict[int, tuple[NDArray, NDArray]] = {}

    def ask(witness: int) -> None:
        said[witness] = _ask(store, witness, points)

    run_shared(ask, threads, [(witness,) for witness in witnesses.tolist()])
    for witness in witnesses.tolist():
        verdict, pixel = said[witness]
        masked = store.images.labels[witness, np.maximum(pixel, 0)] == MASKED
        stamp = store.stamps_ns[witness]
        through += verdict > 0
        agree += (verdict < 0) & ~masked
        last_through = np.where(verdict > 0, np.maximum(last_through, stamp), last_through)
        since = (verdict < 0) & (stamp > last_through)  # newest first: none saw through it since
        first_seen[since] = stamp
    surprising = (through >= LEAST_WITNESSES) & (through > 2 * agree)
    stays = now - first_seen >= PATIENCE_NS
    _mask(store, slot, asked[surprising & ~stays])
    return points[surprising & stays]


def mask_what_looks_through(store: KeyframeStore, slot: int, points: NDArray[np.float64]) -> None:
    """Mask the pixels of a keyframe in which it sees through points (N, 3) of the map frame."""
    if len(points):
        verdict, pixel = _ask(store, slot, points)
        _mask(store, slot, pixel[verdict > 0])


def _stride(width: int) -> int:
    return max(1, width // COLUMNS)


def _points(store: KeyframeStore, slot: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points (N, 3) in the map frame of every few readings of a keyframe, and their pixels."""
    width, height = store.cameras.sizes[slot].tolist()
    stride = _stride(width)
    v, u = np.mgrid[stride // 2 : height : stride, stride // 2 : width : stride].reshape(2, -1)
    stored = store.images.depths[slot, v * width + u]
    read = (stored > 0) & (stored & GUESSED == 0)
    u, v, z = u[read], v[read], stored[read] * DEPTH_UNIT_M
    fx, fy, cx, cy = store.cameras.intrinsics[slot].astype(np.float64)
    pose = store.cameras.poses[slot].astype(np.float64)
    local = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], 1)
    return local @ pose[:3, :3].T + pose[:3, 3], v * width + u


def shows(store: KeyframeStore, slot: int, points: NDArray[np.floating]) -> bool:
    """Whether a keyframe has a surface near any of the points (N, 3) of the map frame."""
    verdict, _ = _ask(store, slot, points.astype(np.float64), looks_through=False)
    return bool((verdict < 0).any())


def _ask(
    store: KeyframeStore, witness: int, points: NDArray[np.float64], looks_through: bool = True
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """See ``_testify``."""
    width, height = store.cameras.sizes[witness].tolist()
    stored, labels = (
        image[witness, : width * height].reshape(height, width)
        for image in (store.images.depths, store.images.labels)
    )
    skip = max(1, width // ASKED_WIDTH)
    clear = np.zeros((0, 0), np.float32)
    if looks_through:
        part = stored[::skip, ::skip]
        part = np.where(part & GUESSED, 0, part).astype(np.float32)
        clear = clear_depth(part, WINDOW // skip | 1)
    verdict, pixel = np.empty(len(points), np.int8), np.empty(len(points), np.int64)
    intrinsics = tuple(store.cameras.intrinsics[witness].astype(np.float64).tolist())
    to_camera = invert_transform(store.cameras.poses[witness].astype(np.float64))
    _testify(points, stored, labels, clear, skip, intrinsics, to_camera, verdict, pixel)
    return verdict, pixel


def _mask(store: KeyframeStore, slot: int, pixels: NDArray[np.int64]) -> None:
    """Mask pixels of a keyframe and those around them that nobody was asked about."""
    if not len(pixels):
        return
    width, height = store.cameras.sizes[slot].tolist()
    found = np.zeros(width * height, np.uint8)
    found[pixels] = 1
    window = np.ones((2 * _stride(width) + 1,) * 2, np.uint8)
    store.mask(slot, cv2.dilate(found.reshape(height, width), window).reshape(-1) > 0)
