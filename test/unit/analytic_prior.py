"""Priors whose shapes are known exactly: unions of boxes and a round thing; code = sizes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semantic_field.data.objects.object_views import CategoryFrame, ObjectView
from semantic_field.data.room.shapes import yaw_rotation
from semantic_field.geometry import (
    Camera,
    depth_to_world,
    invert_transform,
    look_at,
    make_transform,
    transform_points,
)
from semantic_field.object_prior.completion import ObservedObject, ObservedView
from semantic_field.object_prior.prior_model import (
    CanonicalRays,
    ObjectPrior,
    PriorPixels,
    canonical_rays,
)

COLORS = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.7, 0.2], [0.2, 0.3, 0.9]])


class AnalyticPrior(ObjectPrior):
    """A prior of parts given by ``part_distances``; codes scale the sizes by ``exp(0.15 code)``."""

    def __init__(self, category: str, parts: tuple[str, ...], frame: CategoryFrame, dims: int):
        super().__init__()
        self.category, self.part_names, self.frame = category, parts, frame
        self.codes = nn.Embedding(40, dims)
        with torch.no_grad():
            noise = torch.randn(40, dims, generator=torch.Generator().manual_seed(3))
            self.codes.weight.copy_(noise)
        self.label_layer = nn.Linear(len(parts), len(parts) + 1)
        with torch.no_grad():
            self.label_layer.weight.zero_()
            self.label_layer.weight[1:] = torch.eye(len(parts))
            self.label_layer.bias.copy_(torch.tensor([-3.0] + [0.0] * len(parts)))
        self.requires_grad_(False)
        self.softness = 0.005

    def part_distances(self, sizes: Tensor, points: Tensor) -> Tensor:
        """Signed distances (B, N, C) to the parts, metres of the object's own frame."""
        raise NotImplementedError

    def distances(self, codes: Tensor, points: Tensor) -> Tensor:
        return self._parts(codes, points).min(-1).values / self.frame.unit_m

    def colors(self, codes: Tensor, points: Tensor) -> Tensor:
        return COLORS[self._parts(codes, points).argmin(-1)]

    def features(self, codes: Tensor, points: Tensor) -> Tensor:
        return -60.0 * self._parts(codes, points)

    def render(self, codes: Tensor, rays: CanonicalRays) -> PriorPixels:
        codes = codes.expand(len(rays.origins), -1)
        middle = -(rays.origins * rays.directions).sum(-1, keepdim=True)
        along = middle + torch.linspace(-1.6, 1.6, 65)  # (B, R, S), 0.05 apart

        def at(distance: Tensor) -> Tensor:
            return rays.origins + distance[..., None] * rays.directions

        with torch.no_grad():
            every = [self.distances(codes, at(part)) for part in along.unbind(-1)]
            inside = torch.stack(every, -1)
            deepest = along.gather(-1, inside.argmin(-1, keepdim=True))[..., 0]
            first = (inside < 0).to(torch.uint8).argmax(-1, keepdim=True).clamp(min=1)
            before, after = inside.gather(-1, first - 1), inside.gather(-1, first)
            share = (before / (before - after)).clamp(0, 1)
            hit = (along.gather(-1, first - 1) + 0.05 * share)[..., 0]
            ends = torch.where((inside < 0).any(-1), hit, deepest)
            slope = (
                self.distances(codes, at(ends + 1e-3)) - self.distances(codes, at(ends))
            ) / 1e-3
        opacity = torch.sigmoid(-self.distances(codes, at(deepest)) / self.softness)
        distance = ends - self.distances(codes, at(ends)) / slope.clamp(max=-0.2)
        distance = torch.where((inside < 0).any(-1), distance, ends)
        parts = self._parts(codes, at(distance))
        color = torch.softmax(-100 * parts, -1) @ COLORS[: parts.shape[-1]]
        color = 1 + opacity[..., None] * (color - 1)
        # where nothing is met, the features speak of far parts: background
        return PriorPixels(color, distance, opacity, at(distance), -60 * parts)

    def label_logits(self, pixels: PriorPixels) -> Tensor:
        parts = pixels.features.log_softmax(-1)
        missed = (1 - pixels.opacity[..., None]).clamp(min=1e-6).log()
        return torch.cat([missed, pixels.opacity[..., None].clamp(min=1e-6).log() + parts], -1)

    def _parts(self, codes: Tensor, points: Tensor) -> Tensor:
        centre = torch.tensor(self.frame.centre_m, dtype=points.dtype)
        return self.part_distances(torch.exp(0.15 * codes), points * self.frame.unit_m + centre)


def box_distance(points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Signed distances (B, N) of points (B, N, 3) to boxes with corners (B, 3)."""
    outside = (points - (low + high)[:, None] / 2).abs() - (high - low)[:, None] / 2
    return outside.clamp(min=0).norm(dim=-1) + outside.amax(-1).clamp(max=0)


class BoxChair(AnalyticPrior):
    """A chair: seat, backrest at +y, four legs; sizes: width, depth, seat height, back height."""

    def __init__(self) -> None:
        frame = CategoryFrame(0.6, (0.0, 0.0, 0.45))
        super().__init__("chair", ("seat", "backrest", "leg"), frame, 4)

    def part_distances(self, sizes: Tensor, points: Tensor) -> Tensor:
        x, y, seat = 0.22 * sizes[:, 0], 0.22 * sizes[:, 1], 0.45 * sizes[:, 2]
        top = seat + 0.45 * sizes[:, 3]
        corner = lambda *at: torch.stack(at, -1)  # noqa: E731
        slab = box_distance(points, corner(-x, -y, seat - 0.05), corner(x, y, seat))
        back = box_distance(points, corner(-x, y - 0.05, seat), corner(x, y, top))
        zero = torch.zeros_like(x)
        mirrored = torch.cat([points[..., :2].abs(), points[..., 2:]], -1)
        low, high = corner(x - 0.05, y - 0.05, zero), corner(x, y, seat - 0.05)
        return torch.stack([slab, back, box_distance(mirrored, low, high)], -1)


class RoundPost(AnalyticPrior):
    """An upright cylinder; sizes: radius and height."""

    def __init__(self) -> None:
        super().__init__("post", ("body",), CategoryFrame(0.5, (0.0, 0.0, 0.4)), 2)

    def part_distances(self, sizes: Tensor, points: Tensor) -> Tensor:
        radius, half = 0.15 * sizes[:, :1], 0.4 * sizes[:, 1:]
        across = (points[..., :2].square().sum(-1) + 1e-12).sqrt() - radius
        along = (points[..., 2] - half).abs() - half
        outside = torch.stack([across, along], -1)
        distance = outside.clamp(min=0).norm(dim=-1) + outside.amax(-1).clamp(max=0)
        return distance[..., None]


def observe(
    prior: AnalyticPrior,
    code: Tensor,
    yaw: float,
    at: tuple[float, float, float],
    azimuth: float = -1.2,
    noise_m: float = 0.002,
) -> tuple[ObservedObject, NDArray[np.float64]]:
    """One view of an object that stands on a floor, as an observation, and T_world_object."""
    camera, rng = Camera.from_field_of_view(80, 80, 0.9), np.random.default_rng(0)
    T_world_object = make_transform(yaw_rotation(yaw), at)
    middle = np.array(at) + [0, 0, 0.45]
    eye = middle + 1.8 * np.array([np.cos(azimuth), np.sin(azimuth), 0.5])
    pose = look_at(eye, middle)
    depth, mask = exact_depth(prior, code, camera, invert_transform(T_world_object) @ pose)
    rays = camera.rays() @ pose[:3, :3].T
    floor = np.divide(at[2] - eye[2], rays[..., 2], where=rays[..., 2] < 0, out=0 * rays[..., 2])
    depth = np.where(mask, depth, np.where(floor < 6, floor, 0))
    depth = (depth + noise_m * rng.normal(size=depth.shape) * (depth > 0)).astype(np.float32)
    points = depth_to_world(depth, camera, pose, mask)
    own = prior.frame.to_canonical(transform_points(invert_transform(T_world_object), points))
    places = torch.from_numpy(own).float().requires_grad_()
    (slope,) = torch.autograd.grad(prior.distances(code[None], places[None]).sum(), places)
    normals = nn.functional.normalize(slope, dim=-1).double().numpy() @ T_world_object[:3, :3].T
    color = np.full((*mask.shape, 3), 120, np.uint8)
    view = ObservedView(color, depth, mask, np.zeros_like(mask), camera, pose)
    up = np.array([0.0, 0.0, 1.0])
    return ObservedObject(points, normals, color[mask], (view,), up), T_world_object


def exact_depth(
    prior: AnalyticPrior, code: Tensor, camera: Camera, T_object_camera: NDArray
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """z-depth (H, W), metres, and mask (H, W) of an object."""
    shape = camera.height, camera.width
    view = ObjectView(np.zeros((*shape, 3), np.uint8), camera, T_object_camera)
    rays = canonical_rays([view], prior.frame)
    pixels = prior.render(code[None], rays)
    depth = pixels.distance[0] * rays.cosines[0] * prior.frame.unit_m
    return depth.numpy().reshape(shape), (pixels.opacity[0] > 0.5).numpy().reshape(shape)
