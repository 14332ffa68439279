"""Multi-view stereo by plane sweep: depth from colour and poses, without a depth camera.

Each frame is compared with neighbours warped over planes parallel to its image (plane sweep;
Collins 1996) by zero-mean normalised cross-correlation; costs are aggregated along four directions
(semi-global matching; Hirschmueller 2008); depth that other frames' depths do not confirm is
removed. The mapper treats the holes like those of a depth camera.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.atomic_files import write_atomically
from semantic_field.data.folder_writer import depth_millimetres
from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame
from semantic_field.geometry import (
    Camera,
    depth_to_world,
    invert_transform,
    moved_and_turned,
    transform_points,
)

WIDTH = 256
PLANES = 128
NEAR_M, FAR_M = 0.4, 12.0
SOURCES = 5
BASELINE_M, LARGEST_TURN = 0.25, 0.5
WINDOW = 5
TEXTURE = 1e-6  # variance of grey (0..1) below which there is no texture to compare
GENTLE, STEEP = 0.05, 0.6  # penalties of a step of one plane, and of more, between neighbours
WORST_COST = 0.6  # 1 - correlation
CONFIRMED_WITHIN, CONFIRMATIONS = 0.03, 2
_jit = njit(nogil=True, cache=True, error_model="numpy")


@dataclass(frozen=True)
class SweepImage:
    """A grey image at the working size, float32 0..1, with its camera and pose."""

    grey: NDArray[np.float32]
    camera: Camera
    T_world_camera: NDArray[np.float64]


def sweep_image(frame: Frame) -> SweepImage:
    """Return the grey view of a frame at the working size."""
    camera = frame.camera
    small = camera.resized(WIDTH, max(1, round(camera.height * WIDTH / camera.width)))
    grey = cv2.cvtColor(frame.color, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (small.width, small.height), interpolation=cv2.INTER_AREA)
    scaled = (grey / 255).astype(np.float32)
    return SweepImage(scaled, small, frame.T_world_camera)


def neighbours(poses: NDArray[np.float64], index: int, count: int = SOURCES) -> list[int]:
    """Return the best frames to compare frame ``index`` with: about 25 cm away, similar rotation.

    Args:
        poses: ``T_world_camera`` (N, 4, 4) of all frames.
    """
    moved, turned = moved_and_turned(poses, poses[index])
    unlike = np.abs(np.log(np.maximum(moved, 1e-3) / BASELINE_M)) + turned / LARGEST_TURN
    unlike[(turned > LARGEST_TURN) | (moved < 0.02)] = np.inf
    order = np.argsort(unlike, kind="stable")[:count]
    return [int(i) for i in order if np.isfinite(unlike[i])]


def sweep(reference: SweepImage, sources: Sequence[SweepImage]) -> NDArray[np.float32]:
    """Return z-depth (H, W) of the reference view in metres, 0 where no plane fits."""
    inverse = np.linspace(1 / FAR_M, 1 / NEAR_M, PLANES)
    costs = np.ones((*reference.grey.shape, PLANES), np.float32)
    own = _moments(reference.grey)
    for plane, value in enumerate(inverse):
        each = [_cost(reference, own, source, float(value)) for source in sources]
        # Average the better half: a point occluded in some neighbours is visible in others.
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


def _cost(
    reference: SweepImage, own: tuple, source: SweepImage, inverse_depth: float
) -> NDArray[np.float32]:
    """Return 1 - correlation with the source in windows, 0..1; 1 outside or without texture."""
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
    """One step of semi-global matching: path costs of a pixel from those of the previous one."""
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
    """Add the path costs from the left and from above to ``total``."""
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
    """Fill ``depth`` with the plane of least cost, refined between planes by a parabola."""
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
    depth: NDArray[np.float32],
    view: SweepImage,
    others: Sequence[tuple[SweepImage, NDArray[np.float32]]],
) -> NDArray[np.float32]:
    """Return the depth that at least two other views confirm within 3 %; 0 elsewhere."""
    points = depth_to_world(depth, view.camera, view.T_world_camera).reshape(-1, 3)
    votes = np.zeros(depth.size, np.int32)
    for other, their_depth in others:
        T_other_world = invert_transform(other.T_world_camera)
        inside, u, v, z = other.camera.pixels_inside(transform_points(T_other_world, points))
        votes[inside] += np.abs(their_depth[v, u] - z) < CONFIRMED_WITHIN * z
    enough = votes.reshape(depth.shape) >= CONFIRMATIONS
    return np.where((depth > 0) & enough, depth, 0).astype(np.float32)


class EstimatedDepth:
    """A ``FrameSource`` that wraps a recording and replaces depth by plane-sweep estimates.

    Depths are stored in ``folder`` as PNGs in millimetres, written atomically: an interrupted run
    can be resumed.

    Raises:
        ValueError: if no two frames are a stereo pair.
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
        views = [sweep_image(self._source[i]) for i in range(n)]
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
        write_atomically(path, data.tobytes())
