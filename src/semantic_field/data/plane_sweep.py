"""Depth from colour and poses alone, for recordings without a depth camera.

Each frame is compared with neighbours warped over planes parallel to its image (plane sweep;
Collins 1996) by zero-mean normalised cross-correlation; the costs are made smooth along four
directions (semi-global matching; Hirschmueller 2008); what other frames' depths do not confirm is
left out. Holes are what a depth camera's holes are: the mapper knows what to do with them.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.data.folder_writer import depth_millimetres
from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, invert_transform, transform_points

WIDTH = 256
PLANES = 128
NEAR_M, FAR_M = 0.4, 12.0
SOURCES = 5
BASELINE_M, LARGEST_TURN = 0.25, 0.5
WINDOW = 5
TEXTURE = 1e-6  # variance of grey (0..1) below which there is nothing to compare
GENTLE, STEEP = 0.05, 0.6  # costs of a step of one plane, and of more, between neighbours
WORST_COST = 0.6  # 1 - correlation
CONFIRMED_WITHIN, CONFIRMATIONS = 0.03, 2
_jit = njit(nogil=True, cache=True, error_model="numpy")


@dataclass(frozen=True)
class View:
    """A grey image at the working size, float32 0..1, with its camera and pose."""

    grey: NDArray[np.float32]
    camera: Camera
    T_world_camera: NDArray[np.float64]


def view_of(frame: Frame) -> View:
    """The frame as the sweep needs it."""
    camera = frame.camera
    small = camera.resized(WIDTH, max(1, round(camera.height * WIDTH / camera.width)))
    grey = cv2.cvtColor(frame.color, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (small.width, small.height), interpolation=cv2.INTER_AREA)
    scaled = (grey / 255).astype(np.float32)
    return View(scaled, small, frame.T_world_camera)


def neighbours(poses: NDArray[np.float64], index: int, count: int = SOURCES) -> list[int]:
    """The frames to compare one with: about 25 cm apart, looking the same way."""
    moved = np.linalg.norm(poses[:, :3, 3] - poses[index, :3, 3], axis=1)
    trace = np.einsum("kij,ij->k", poses[:, :3, :3], poses[index, :3, :3])
    turned = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    unlike = np.abs(np.log(np.maximum(moved, 1e-3) / BASELINE_M)) + turned / LARGEST_TURN
    unlike[(turned > LARGEST_TURN) | (moved < 0.02)] = np.inf
    order = np.argsort(unlike, kind="stable")[:count]
    return [int(i) for i in order if np.isfinite(unlike[i])]


def sweep(reference: View, sources: Sequence[View]) -> NDArray[np.float32]:
    """z-depth (H, W) of the reference in metres, 0 where no plane fits."""
    inverse = np.linspace(1 / FAR_M, 1 / NEAR_M, PLANES)
    costs = np.ones((*reference.grey.shape, PLANES), np.float32)
    own = _moments(reference.grey)
    for plane, value in enumerate(inverse):
        each = [_cost(reference, own, source, float(value)) for source in sources]
        # The better half: what is hidden in some neighbours is seen in others.
        best = np.sort(np.stack(each), axis=0)[: max(1, (len(each) + 1) // 2)]
        costs[..., plane] = best.mean(axis=0)
    total = np.zeros_like(costs)
    for flip in (False, True):
        part = np.ascontiguousarray(costs[::-1, ::-1]) if flip else costs
        summed = np.zeros_like(costs)
        _smooth(part, np.float32(GENTLE), np.float32(STEEP), summed)
        total += summed[::-1, ::-1] if flip else summed
    depth = np.zeros(reference.grey.shape, np.float32)
    _choose(total, costs, inverse, np.float32(WORST_COST), depth)
    return depth


def _moments(grey: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
    mean = cv2.blur(grey, (WINDOW, WINDOW))
    return np.asarray(mean), np.asarray(cv2.blur(grey * grey, (WINDOW, WINDOW))) - mean * mean


def _cost(reference: View, own: tuple, source: View, inverse_depth: float) -> NDArray[np.float32]:
    """1 - correlation with the source over windows, 0..1; 1 outside of it or without texture."""
    T = invert_transform(source.T_world_camera) @ reference.T_world_camera
    normal = np.array([[0, 0, inverse_depth]])
    H = source.camera.matrix @ (T[:3, :3] + T[:3, 3:] @ normal)
    H = H @ np.linalg.inv(reference.camera.matrix)
    height, width = reference.grey.shape
    warped = cv2.warpPerspective(
        source.grey, H, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT, borderValue=-1.0,
    )  # fmt: skip
    mean, spread = _moments(np.asarray(warped, np.float32))
    both = np.asarray(cv2.blur(reference.grey * warped, (WINDOW, WINDOW))) - own[0] * mean
    correlation = both / np.sqrt(np.maximum(own[1] * spread, 0) + TEXTURE)
    inside = cv2.erode((warped >= 0).astype(np.uint8), np.ones((WINDOW, WINDOW), np.uint8)) > 0
    return np.where(inside, 1 - np.clip(correlation, 0, 1), 1).astype(np.float32)


@_jit
def _step(before, cost, gentle, steep, out):
    """One step of the recursion: costs of a pixel from those of the one before it."""
    planes = len(cost)
    least = before[0]
    for p in range(1, planes):
        least = min(least, before[p])
    for p in range(planes):
        best = min(before[p], least + steep)
        if p > 0:
            best = min(best, before[p - 1] + gentle)
        if p < planes - 1:
            best = min(best, before[p + 1] + gentle)
        out[p] = cost[p] + best - least


@_jit
def _smooth(costs, gentle, steep, total):
    """Add the costs smoothed from the left, and from above."""
    height, width, planes = costs.shape
    above = costs[0].copy()
    total[0] += above
    line = np.empty((width, planes), np.float32)
    for v in range(1, height):
        for u in range(width):
            _step(above[u], costs[v, u], gentle, steep, line[u])
        above[:] = line
        total[v] += line
    now = np.empty(planes, np.float32)
    for v in range(height):
        last = costs[v, 0].copy()
        total[v, 0] += last
        for u in range(1, width):
            _step(last, costs[v, u], gentle, steep, now)
            last[:] = now
            total[v, u] += now


@_jit
def _choose(total, costs, inverse, worst, depth):
    """The plane of the least cost, between planes by a parabola."""
    height, width, planes = total.shape
    for v in range(height):
        for u in range(width):
            best = 0
            for p in range(1, planes):
                if total[v, u, p] < total[v, u, best]:
                    best = p
            if best == 0 or best == planes - 1 or costs[v, u, best] > worst:
                continue
            a, b, c = total[v, u, best - 1], total[v, u, best], total[v, u, best + 1]
            shift = 0.5 * (a - c) / max(a - 2 * b + c, np.float32(1e-6))
            shift = min(max(shift, -0.5), 0.5)
            depth[v, u] = 1 / (inverse[best] + shift * (inverse[1] - inverse[0]))


def confirmed(
    depth: NDArray[np.float32], view: View, others: Sequence[tuple[View, NDArray[np.float32]]]
) -> NDArray[np.float32]:
    """The depth where at least two others show a surface within 3 % there; 0 elsewhere."""
    points = transform_points(view.T_world_camera, view.camera.backproject(depth))
    votes = np.zeros(depth.shape, np.int32)
    for other, seen in others:
        pixel, z = other.camera.project(
            transform_points(invert_transform(other.T_world_camera), points)
        )
        u, v = np.rint(np.nan_to_num(pixel, nan=-1.0)).astype(int).transpose(2, 0, 1)
        inside = (u >= 0) & (u < seen.shape[1]) & (v >= 0) & (v < seen.shape[0]) & (z > 0)
        there = seen[np.where(inside, v, 0), np.where(inside, u, 0)]
        votes += inside & (np.abs(there - z) < CONFIRMED_WITHIN * z)
    return np.where((depth > 0) & (votes >= CONFIRMATIONS), depth, 0).astype(np.float32)


class EstimatedDepth:
    """A recording whose depths are estimated from its colours: a ``FrameSource`` of its own.

    Depths are kept in ``folder`` as PNGs in millimetres, each written whole: a run that was
    interrupted goes on with those that are missing.

    Raises:
        ValueError: where no two frames are a stereo pair.
    """

    estimated = True

    def __init__(
        self,
        source: FrameSource,
        folder: Path,
        progress: Callable[[str, float], None] = lambda text, share: None,
    ) -> None:
        self._source, self._folder = source, folder
        self.name, self.label_names, self.stamps = source.name, source.label_names, source.stamps
        self.indices = list(getattr(source, "indices", range(len(source))))
        if not all(self._path("depth", i).exists() for i in range(len(source))):
            self._estimate(progress)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Frame:
        frame = self._source[index]
        small = self._read("depth", index)
        size = (frame.camera.width, frame.camera.height)
        depth = cv2.resize(small, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return replace(frame, depth=np.asarray(depth, np.float32))

    def _estimate(self, progress: Callable[[str, float], None]) -> None:
        n = len(self._source)
        views = [view_of(self._source[i]) for i in range(n)]
        poses = np.stack([view.T_world_camera for view in views])
        near = [neighbours(poses, i) for i in range(n)]
        if not any(near):
            raise ValueError(
                "expected frames from places 2 cm apart or more that look the same way, found no "
                "two such: depth cannot be estimated from a camera that only turns"
            )
        for i in range(n):
            if not self._path("raw", i).exists():
                depth = sweep(views[i], [views[k] for k in near[i]]) if near[i] else None
                empty = np.zeros(views[i].grey.shape, np.float32)
                self._write("raw", i, empty if depth is None else depth)
            progress("depth from colour", (i + 1) / n)
        raw = [self._read("raw", i) for i in range(n)]
        for i in range(n):
            self._write(
                "depth", i, confirmed(raw[i], views[i], [(views[k], raw[k]) for k in near[i]])
            )

    def _path(self, kind: str, index: int) -> Path:
        return self._folder / kind / f"{index:06d}.png"

    def _read(self, kind: str, index: int) -> NDArray[np.float32]:
        pixels = cv2.imread(str(self._path(kind, index)), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise ValueError(
                f"expected an image in {self._path(kind, index)}, it is damaged; remove it and "
                "start again"
            )
        return pixels.astype(np.float32) * np.float32(0.001)

    def _write(self, kind: str, index: int, depth: NDArray[np.float32]) -> None:
        path = self._path(kind, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        fine, data = cv2.imencode(".png", depth_millimetres(depth))
        assert fine
        hidden = path.with_name(f".{path.name}.tmp")
        hidden.write_bytes(data.tobytes())
        os.replace(hidden, path)
