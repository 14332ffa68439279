"""Colours and labels of surface points, from the keyframes of a map or from the field alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.description import describe
from semantic_field.field.map_state import MapState
from semantic_field.field.rays.keyframe_arrays import KeyframeCameras
from semantic_field.field.rays.sampling import GUESSED
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.views.agreement import exposures_between
from semantic_field.field.views.asking import FAR
from semantic_field.field.views.facing import COARSER, ask_facing
from semantic_field.field.views.photographs import photographed
from semantic_field.field.views.rendering import render_view
from semantic_field.field.views.seeing import Lenses, lenses_of
from semantic_field.field.views.source_views import SourceViews
from semantic_field.geometry import Camera
from semantic_field.kernels.threads import run_chunks

POINTS_AT_ONCE = 1024
COMPARED = 2048  # surface points on which keyframes are compared, at most
MOST_PAIRS = 1 << 26  # of two keyframes and a point in that comparison: it needs 8 bytes for each
FINE_SHARE = 0.25  # of the surface may be seen in more detail than a texel shows
DETAIL_M = (0.0005, 0.05)  # limits of the details


@dataclass(frozen=True)
class SurfaceViews:
    """All keyframes of a map as photographs of its surface.

    Attributes:
        state: the map; its field colours what no keyframe sees.
        sources: the keyframes.
        lenses: theirs, for points in map coordinates.
        exposures: float32 (K, 3, 2), which put all keyframes on one exposure.
        hiding: float32 (K, h, w), the map's depth at keyframes with unknown depths, see
            ``facing.ask_facing``.
        detail_m: size of a keyframe's pixel on the surface, metres: three quarters of the surface
            are seen no finer.
    """

    state: MapState
    sources: SourceViews
    lenses: Lenses
    exposures: NDArray[np.float32]
    hiding: NDArray[np.float32]
    detail_m: float

    @classmethod
    def of(cls, state: MapState, sources: SourceViews, surface: SurfacePoints) -> SurfaceViews:
        """Compare the keyframes on some points of the surface.

        Args:
            sources: all keyframes. surface: points all over the surface.
        """
        views = cls(
            state=state,
            sources=sources,
            lenses=lenses_of(sources.cameras, np.eye(4)),
            exposures=_learnt(sources),
            hiding=_hiding(state, sources),
            detail_m=DETAIL_M[1],
        )
        most = min(COMPARED, MOST_PAIRS // len(sources) ** 2)
        few = surface.select(np.arange(len(surface))[:: max(1, -(-len(surface) // max(most, 1)))])
        found, seen = views._asked(few)
        exposures = views._levelled(found, seen)
        return replace(views, exposures=exposures, detail_m=views._detail(found, seen))

    def appearance(
        self, points: NDArray[np.float32], normals: NDArray[np.float32], detail_m: float
    ) -> NDArray[np.uint8]:
        """Return the colours uint8 (N, 3) of surface points, with details of a size in metres.

        Args:
            points, normals: float32 (N, 3), map coordinates, neighbours close together.
        """
        wanted = max(detail_m, self.detail_m)  # finer details are not to be had
        color, trust, _ = self._photographed(points, normals, wanted, np.zeros(0, np.int32))
        rest = np.flatnonzero(trust < 1)
        if len(rest):
            field = describe(self.state, points[rest], with_latent=False).color
            color[rest] += (1 - trust[rest])[:, None] * field
        return _bytes(color)

    def painted(self, points: SurfacePoints) -> SurfacePoints:
        """Return points with colours and labels by the keyframes; annotations overrule labels."""
        color, trust, label = self._photographed(
            points.xyz, points.normals, self.detail_m, points.label.copy()
        )
        color += (1 - trust)[:, None] * points.color
        label = self.state.annotations.overrule(points.xyz, label)
        return replace(points, color=_bytes(color), label=label)

    def _photographed(
        self, points: NDArray, normals: NDArray, detail_m: float, label: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """See ``photographs.photographed``; labels, if there are any, change in place."""
        color, trust = np.empty((len(points), 3), np.float32), np.empty(len(points), np.float32)
        sources = self.sources
        run_chunks(
            lambda start, stop: photographed(
                points[start:stop], normals[start:stop], np.float32(detail_m), self.lenses,
                sources.images, self.hiding, self.exposures, sources.class_ids,
                color[start:stop], trust[start:stop], label[start:stop],
            ),
            len(points), self.state.field.kernels.threads, POINTS_AT_ONCE,
        )  # fmt: skip
        return color, trust, label

    def _asked(self, few: SurfacePoints) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return ``found`` (K, 6, N) of ``facing``, and which points each keyframe sees (K, N)."""
        K, n = len(self.sources), len(few)
        found, answers = np.zeros((K, 6, n), np.float32), np.zeros((4, K, n), np.float32)
        if n:
            ask_facing(
                few.xyz, few.normals, np.float32(self.detail_m), self.lenses, self.sources.images,
                self.hiding, found, answers[0], answers[1], answers[2], answers[3],
            )  # fmt: skip
        return found, answers[1] > 0

    def _levelled(self, found: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return exposures with which the keyframes agree on what several of them see."""
        colors = np.zeros((*seen.shape, 3), np.float32)
        k, n = np.nonzero(seen)
        u, v = np.rint(found[k, :2, n].T).astype(np.int64)
        colors[k, n] = self.sources.images.colors[k, v * self.lenses.width[k] + u]
        learnt = self.exposures
        colors = learnt[:, None, :, 0] * colors + learnt[:, None, :, 1]
        level = exposures_between(colors, seen, np.zeros(len(seen)))
        level[..., 1] += level[..., 0] * learnt[..., 1]
        level[..., 0] *= learnt[..., 0]
        return level

    def _detail(self, found: NDArray[np.float32], seen: NDArray[np.bool_]) -> float:
        size = np.where(seen, found[:, FAR] / self.lenses.focal[:, None], np.inf)
        finest = size.min(0, initial=np.inf)
        finest = finest[np.isfinite(finest)]
        return float(np.clip(np.quantile(finest, FINE_SHARE), *DETAIL_M)) if len(finest) else 0.05


def field_colors(
    state: MapState,
) -> Callable[[NDArray[np.float32], NDArray[np.float32], float], NDArray[np.uint8]]:
    """Return a function that colours surface points as ``appearance`` does, by the field."""
    return lambda points, normals, detail_m: describe(state, points, with_latent=False).color


def _learnt(sources: SourceViews) -> NDArray[np.float32]:
    """Return what turns an image's colours, 0..255, into those of the map: gain and bias."""
    gain, bias = sources.exposures[..., 0], sources.exposures[..., 1]
    return np.stack([1 / gain, -255 * bias / gain], -1).astype(np.float32)


def _hiding(state: MapState, sources: SourceViews) -> NDArray[np.float32]:
    """Render the map's depth, coarsely, at the keyframes whose own depth has holes."""
    cameras, own = sources.cameras, state.in_own_frame()
    rows, columns = (-(-int(n) // COARSER) for n in cameras.sizes.max(0)[::-1])
    depth = np.zeros((len(sources), rows, columns), np.float32)
    for k, (width, height) in enumerate(cameras.sizes.tolist()):
        stored = sources.images.depths[k, : width * height]
        if ((stored == 0) | (stored >= GUESSED)).any():
            camera = _coarse(cameras, k)
            seen = render_view(own, camera, cameras.poses[k].astype(np.float64)).depth
            depth[k, : camera.height, : camera.width] = seen
    return depth


def _coarse(cameras: KeyframeCameras, k: int) -> Camera:
    width, height = cameras.sizes[k].tolist()
    fx, fy, cx, cy = cameras.intrinsics[k].tolist()
    camera = Camera(fx, fy, cx, cy, width, height)
    return camera.resized(-(-width // COARSER), -(-height // COARSER))


def _bytes(color: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (color.clip(0, 255) + 0.5).astype(np.uint8)
