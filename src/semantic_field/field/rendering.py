"""A view of the map: where each ray meets the surface, and what the field says there.

A ray first skips to a voxel in which a surface was observed (or guessed, for holes of the depth
images), then follows the signed distance of the field itself to its zero. The heads run once per
ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.description import describe
from semantic_field.field.map_state import MapState
from semantic_field.geometry import Camera

MAX_WAVES = 40
EXTRA_STEP_M = 0.004
LONGEST_BRACKET_M = 0.08
CHUNK = 1 << 16


@dataclass(frozen=True)
class RenderedView:
    """Images of one size (H, W).

    Attributes:
        color: uint8 RGB (H, W, 3), black where the ray meets nothing.
        depth: float32 z-depth (H, W), metres, 0 = nothing.
        normal: float32 unit normals (H, W, 3) in the map frame, 0 = nothing.
        label: int32 class ids (H, W), -1 = nothing or no classes.
        confidence: float32 (H, W) in 0..1, 0 where the surface was guessed.
        latent: float16 (H, W, D), only on request.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    label: NDArray[np.int32]
    confidence: NDArray[np.float32]
    latent: NDArray[np.float16] | None = None


def render_view(
    state: MapState,
    camera: Camera,
    T_world_camera: NDArray[np.float64],
    with_latent: bool = False,
    near_m: float = 0.05,
    far_m: float = 60.0,
) -> RenderedView:
    """The map as ``camera`` at ``T_world_camera`` sees it, between two z-depths in metres."""
    rotation = T_world_camera[:3, :3].astype(np.float32)
    directions = camera.rays().reshape(-1, 3) @ rotation.T
    origin = T_world_camera[:3, 3]
    depth = trace(state, origin, directions, near_m, far_m)
    hit = np.flatnonzero(np.isfinite(depth))
    view = _Canvas(camera, state.field.config.latent_dim if with_latent else 0)
    view.depth[hit] = depth[hit]
    for start in range(0, len(hit), CHUNK):
        rays = hit[start : start + CHUNK]
        points = (origin + depth[rays, None] * directions[rays]).astype(np.float32)
        view.shade(state, rays, points)
    return view.finished()


def trace(
    state: MapState,
    origin: NDArray[np.float64],
    directions: NDArray[np.float32],
    near: float,
    far: float,
) -> NDArray[np.float32]:
    """Ray parameter (N,) of the first surface along ``origin + t * directions``; inf = none."""
    stretch = np.linalg.norm(directions, axis=1).astype(np.float32)
    t = np.full(len(directions), near, np.float32)
    hit = np.full(len(directions), np.inf, np.float32)
    last_t, last_s = t.copy(), np.full_like(t, np.inf)
    rays = np.arange(len(directions))
    for _ in range(MAX_WAVES):
        state.reach.advance(origin, directions, t, far, rays)
        rays = rays[np.isfinite(t[rays])]
        if not len(rays):
            break
        s = _distances(state, origin, directions, t, rays)
        arrived = s < 0
        done = rays[arrived]
        hit[done] = _crossing(last_t[done], last_s[done], t[done], s[arrived], stretch[done])
        rays, s = rays[~arrived], s[~arrived]
        last_t[rays], last_s[rays] = t[rays], s
        t[rays] += (s + EXTRA_STEP_M) / stretch[rays]
    return hit


def _crossing(
    last_t: NDArray, last_s: NDArray, t: NDArray, s: NDArray, stretch: NDArray
) -> NDArray[np.float32]:
    """The zero between two samples of a ray, or near the only one (by its own distance)."""
    single = t + s / stretch
    with np.errstate(invalid="ignore", divide="ignore"):
        secant = last_t + (t - last_t) * last_s / (last_s - s)
    bracketed = np.isfinite(last_s) & ((t - last_t) * stretch < LONGEST_BRACKET_M)
    return np.where(bracketed, secant, single).astype(np.float32)


def _distances(
    state: MapState, origin: NDArray, directions: NDArray, t: NDArray, rays: NDArray
) -> NDArray[np.float32]:
    out = np.empty(len(rays), np.float32)
    for start in range(0, len(rays), CHUNK):
        part = rays[start : start + CHUNK]
        points = (origin + t[part, None] * directions[part]).astype(np.float32)
        out[start : start + CHUNK] = state.field.distance(torch.from_numpy(points)).numpy()
    return out


class _Canvas:
    """The images of a view while they are filled, flat over pixels."""

    def __init__(self, camera: Camera, latent_dim: int) -> None:
        n = camera.width * camera.height
        self._size = (camera.height, camera.width)
        self.color = np.zeros((n, 3), np.uint8)
        self.depth = np.zeros(n, np.float32)
        self.normal = np.zeros((n, 3), np.float32)
        self.label = np.full(n, -1, np.int32)
        self.confidence = np.zeros(n, np.float32)
        self.latent = np.zeros((n, latent_dim), np.float16) if latent_dim else None

    def shade(self, state: MapState, rays: NDArray, points: NDArray[np.float32]) -> None:
        """Fill in what the field says at the points that the rays meet."""
        seen = describe(state, points)
        self.normal[rays] = seen.normal
        self.color[rays] = seen.color
        self.label[rays] = seen.label
        self.confidence[rays] = seen.confidence
        if self.latent is not None:
            self.latent[rays] = seen.latent

    def finished(self) -> RenderedView:
        height, width = self._size
        return RenderedView(
            color=self.color.reshape(height, width, 3),
            depth=self.depth.reshape(height, width),
            normal=self.normal.reshape(height, width, 3),
            label=self.label.reshape(height, width),
            confidence=self.confidence.reshape(height, width),
            latent=None if self.latent is None else self.latent.reshape(height, width, -1),
        )
