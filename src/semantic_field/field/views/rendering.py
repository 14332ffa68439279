"""View rendering on the CPU: ray casting to the surface, then one field evaluation per ray.

Rays are cast against the lattice of signed distances (``SurfaceCache``), whose bricks are updated
where rays pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.description import Description, describe
from semantic_field.field.map_state import LanguageSpace, MapState
from semantic_field.field.surface.tiles import Viewpoint
from semantic_field.field.views.tracing import correct_depth, points_on_rays, ray_directions
from semantic_field.geometry import Camera, moved

RELEVANCY_TEMPERATURE = 10.0


@dataclass(frozen=True)
class RenderedView:
    """Images of one size (H, W).

    Attributes:
        color: uint8 RGB (H, W, 3), black where the ray meets nothing.
        depth: float32 z-depth (H, W), metres, 0 = nothing.
        normal: float32 unit normals (H, W, 3) in the map frame, 0 = nothing.
        label: int32 class ids (H, W), -1 = nothing or no classes.
        confidence: float32 (H, W) in 0..1, 0 where the surface comes from filled-in depth only.
        latent: float16 (H, W, D), only on request.
        relevancy: float32 (H, W) in 0..1, only on request; 0 = nothing.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    label: NDArray[np.int32]
    confidence: NDArray[np.float32]
    latent: NDArray[np.float16] | None = None
    relevancy: NDArray[np.float32] | None = None


def render_view(
    state: MapState,
    camera: Camera,
    T_world_camera: NDArray[np.float64],
    with_latent: bool = False,
    near_m: float = 0.05,
    far_m: float = 60.0,
    relevant_to: Float[Tensor, "T E"] | None = None,
) -> RenderedView:
    """Render the map as seen by ``camera`` at ``T_world_camera``, between two z-depths in metres.

    The pose is in the map's ``frame_id``; the map's origin is taken into account. This renders the
    field alone; ``mapping.renderer`` applies annotations.


    Args:
        with_latent: also return the latents.
        relevant_to: embeddings of a text (first row) and of negative texts to compare it with
            (the others); also return ``relevancy``.
    Raises:
        ValueError: if relevancy is requested of a map without language.
    """
    if relevant_to is not None and state.language is None:
        raise ValueError("expected a map with language for relevancy, got one without a teacher")
    T_world_camera = moved(T_world_camera, -state.origin)
    directions = ray_directions(camera, T_world_camera)
    origin = np.array(T_world_camera[:3, 3], dtype=np.float64)
    with state.surfaces.lattice(state.field, state.reach) as lattice:
        view = Viewpoint(camera, T_world_camera, near_m)
        depth = lattice.cast(origin, directions, near_m, far_m, view)
    hit = np.flatnonzero(np.isfinite(depth))
    points = np.empty((len(hit), 3), np.float32)
    points_on_rays(origin, directions, depth, hit, points)
    seen = describe(state, points, with_latent or relevant_to is not None)
    correct_depth(directions, hit, seen, depth)
    return _images(camera, hit, depth, seen, with_latent, _relevancy(state, seen, relevant_to))


def _relevancy(
    state: MapState, seen: Description, texts: Float[Tensor, "T E"] | None
) -> NDArray[np.float32] | None:
    if texts is None:
        return None
    assert isinstance(state.language, LanguageSpace)
    cosine = state.language.similarity(torch.from_numpy(seen.latent), texts)
    return lerf_relevancy(cosine).numpy()


def lerf_relevancy(cosine: Float[Tensor, "N T"]) -> Float[Tensor, " N"]:
    """Return the relevancy score (N,) in 0..1 of LERF (Kerr et al. 2023, eq. 5).

    ``min_i softmax(10 [cos(text), cos(negative_i)])``, where the first column of ``cosine`` is the
    text and the others are negatives. Without negatives: the cosine, clamped to 0..1.
    """
    if cosine.shape[1] == 1:
        return cosine[:, 0].clamp(0.0, 1.0)
    return torch.sigmoid(RELEVANCY_TEMPERATURE * (cosine[:, 0] - cosine[:, 1:].amax(1)))


def _images(
    camera: Camera,
    hit: NDArray[np.int64],
    depth: NDArray[np.float32],
    seen: Description,
    with_latent: bool,
    relevancy: NDArray[np.float32] | None,
) -> RenderedView:
    """Scatter the values of the rays that hit a surface into images."""

    def image(values: NDArray, nothing: int = 0) -> NDArray:
        flat = np.full((camera.height * camera.width, *values.shape[1:]), nothing, values.dtype)
        flat[hit] = values
        return flat.reshape(camera.height, camera.width, *values.shape[1:])

    return RenderedView(
        color=image(seen.color),
        depth=image(depth[hit]),
        normal=image(seen.normal),
        label=image(seen.label, -1),
        confidence=image(seen.confidence),
        latent=image(seen.latent) if with_latent else None,
        relevancy=None if relevancy is None else image(relevancy),
    )
