"""The surface that a code describes: points with colours and parts, meshes, and codes between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.data.objects.object_surface import SurfaceSamples
from semantic_field.field.surface.mesh import Mesh, halved
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.surface_nets import net_quads, net_vertices
from semantic_field.object_prior.signed_distance.node_bricks import bake_bricks, evaluated
from semantic_field.object_prior.signed_distance_prior import SignedDistancePrior

SPACING = 0.0125  # of a mesh's lattice, canonical units
SEARCH_EDGE = 0.06  # canonical units: of the cells in which the surface is looked for
CANDIDATES = 4  # for each point wanted
STEPS = 3  # of Newton's method towards the surface
ARRIVED = 0.004  # canonical units: farther points have not come to the surface
STEEPEST, FLATTEST = 4.0, 0.25  # bounds of the squared slope of distances


def surface_points(
    prior: SignedDistancePrior, code: Tensor, count: int, seed: int = 0
) -> SurfaceSamples:
    """Return ``count`` points evenly spread over the surface of a code (D,), in the object's frame.

    Raises:
        ValueError: if the code has no surface in the cube where it is looked for.
    """
    distance = _distance_of(prior, code)
    rng = np.random.default_rng(seed)
    found = _candidates(distance, prior.box.numpy(), CANDIDATES * count, rng)
    places, normals, left = _on_surface(distance, found)
    arrived = np.abs(left) < ARRIVED
    if not arrived.any():
        raise ValueError(
            "expected a code with a surface in the box of the training instances, found none: fit "
            "the code again, from another beginning"
        )
    places, normals = places[arrived], normals[arrived]
    chosen = evenly_spread(places, count)
    return _described(prior, code, places[chosen], normals[chosen])


def surface_mesh(prior: SignedDistancePrior, code: Tensor, spacing: float = SPACING) -> Mesh:
    """Return the surface of a code (D,) as a mesh in the object's frame, for ``write_mesh``.

    Labels are 1 + the index into the part names, as in views.

    Args:
        spacing: of the lattice, canonical units; thinner things get holes.
    """
    distance = _distance_of(prior, code)
    bricks = bake_bricks(distance, prior.config.reach, spacing)
    where, cells, numbers = net_vertices(bricks, np.arange(len(bricks.stored)))
    quads = net_quads(bricks, cells, numbers)
    places, normals, _ = _on_surface(distance, where, steps=1, longest=spacing)
    found = _described(prior, code, places, normals)
    vertices = SurfacePoints(
        xyz=found.points.astype(np.float32),
        normals=found.normals.astype(np.float32),
        color=found.colors,
        latent=np.zeros((len(where), 0), np.float16),
        label=found.parts.astype(np.int32) + 1,
        confidence=np.ones(len(where), np.float32),
    )
    return Mesh(vertices, halved(quads, vertices.xyz))


def codes_between(first: Tensor, second: Tensor, count: int) -> Tensor:
    """Return ``count`` codes (count, D) on the straight line between two codes (D,), both ends in.

    Raises:
        ValueError: if fewer than two are asked for.
    """
    if count < 2:
        raise ValueError(f"expected 2 codes or more, both ends among them, got {count}")
    shares = torch.linspace(0, 1, count, dtype=first.dtype, device=first.device).unsqueeze(1)
    return first + shares * (second - first)


def evenly_spread(points: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Return which ``count`` of points (N, 3) to keep, each time the farthest from those kept.

    All, if there are no more than that (Gonzalez 1985).
    """
    if len(points) <= count:
        return np.arange(len(points))
    kept, nearest = np.zeros(count, np.int64), np.full(len(points), np.inf, points.dtype)
    for number in range(1, count):
        square = np.square(points - points[kept[number - 1]]).sum(axis=1)
        np.minimum(nearest, square, out=nearest)
        kept[number] = nearest.argmax()
    return kept


def _distance_of(prior: SignedDistancePrior, code: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the signed distances of one code, whose network is made once."""
    network = prior.network
    with torch.no_grad():
        layers = network.instance_layers(code.detach().unsqueeze(0))
    return lambda points: network.distance(network.hidden(layers, points))


def _candidates(
    distance: Callable[[Tensor], Tensor],
    box: NDArray[np.float32],
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return random places (N, 3) in the cells of a box (2, 3) that may hold surface."""
    edge = SEARCH_EDGE
    cells = np.ceil((box[1] - box[0]) / edge).astype(int)
    corners = np.indices(tuple(cells)).reshape(3, -1).T * edge + box[0]
    middles = evaluated(distance, corners + edge / 2)
    near = corners[np.abs(middles) < edge]
    if not len(near):
        return np.zeros((0, 3), np.float32)
    chosen = near[rng.integers(len(near), size=count)]
    return (chosen + rng.uniform(0, edge, chosen.shape)).astype(np.float32)


def _on_surface(
    distance: Callable[[Tensor], Tensor],
    places: NDArray[np.float32],
    steps: int = STEPS,
    longest: float = np.inf,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return places moved along the gradient to distance 0, the normals and what is left there."""
    at = torch.from_numpy(places).unsqueeze(0)
    for _ in range(steps):
        found, slope = _with_slope(distance, at)
        square = slope.square().sum(dim=-1).clamp(FLATTEST, STEEPEST)
        length = (found / square).clamp(-longest, longest)
        at = at - length.unsqueeze(-1) * slope
    found, slope = _with_slope(distance, at)
    normals = torch.nn.functional.normalize(slope, dim=-1)
    return at[0].numpy(), normals[0].numpy(), found[0].numpy()


def _with_slope(distance: Callable[[Tensor], Tensor], points: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances (1, N) and their gradients (1, N, 3)."""
    with torch.enable_grad():
        at = points.detach().requires_grad_()
        found = distance(at)
        (slope,) = torch.autograd.grad(found.sum(), at)
    return found.detach(), slope


@torch.no_grad()
def _described(
    prior: SignedDistancePrior, code: Tensor, places: NDArray, normals: NDArray
) -> SurfaceSamples:
    """Return canonical points with their colours and parts, in the object's frame."""
    network, points = prior.network, torch.from_numpy(places).unsqueeze(0)
    layers = network.instance_layers(code.unsqueeze(0))
    hidden = network.hidden(layers, points)
    colors = (255 * network.color(layers, hidden)[0]).round().to(torch.uint8)
    parts = prior.part_logits(prior.features(code.unsqueeze(0), points))[0].argmax(dim=-1)
    return SurfaceSamples(
        points=prior.frame.to_object(places.astype(np.float64)),
        normals=normals.astype(np.float64),
        colors=colors.numpy(),
        parts=parts.to(torch.uint8).numpy(),
    )
