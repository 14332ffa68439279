"""A view of the map: where each ray meets the surface, and what the field says there.

Rays are followed to the surface first (``tracing``); the heads run once per ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.description import describe
from semantic_field.field.map_state import MapState
from semantic_field.field.tracing import points_on_rays, ray_directions, trace
from semantic_field.geometry import Camera


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
    directions = ray_directions(camera, T_world_camera)
    origin = np.array(T_world_camera[:3, 3], dtype=np.float64)
    depth = trace(state, origin, directions, near_m, far_m)
    hit = np.flatnonzero(np.isfinite(depth))
    view = _Canvas(camera, state.field.config.latent_dim if with_latent else 0)
    view.depth[hit] = depth[hit]
    points = np.empty((len(hit), 3), np.float32)
    points_on_rays(origin, directions, depth, hit, points, 0, len(hit))
    view.shade(state, hit, points)
    return view.finished()


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
        seen = describe(state, points, with_latent=self.latent is not None)
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
