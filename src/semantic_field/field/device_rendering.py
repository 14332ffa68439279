"""Views of a map that lies on a GPU (or any torch device): as ``rendering``, in torch.

Rays are followed to the zero of the field's own signed distance: to the next voxel in which a
surface was seen, then a step of the distance. On a GPU with Triton this is one launch
(``ray_tracer``); elsewhere rays go wave by wave, and only those that have not arrived go on.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.confidence import confidence_of
from semantic_field.field.device_voxels import DeviceVoxels
from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField
from semantic_field.field.ray_tracer import (
    EXTRA_STEP_M,
    LONGEST_BRACKET_M,
    MAX_WAVES,
    STEP_SHARE,
    RayTracer,
)
from semantic_field.field.rendering import RenderedView
from semantic_field.field.voxels import VoxelGrid
from semantic_field.geometry import Camera


class DeviceMap:
    """What a view needs of one state of a map, on one device.

    Args:
        field: on the device; nobody trains it any more.
        class_ids: the class id of each row of its label head.
        before: the map of an earlier moment; what has not changed since is shared with it.
    """

    def __init__(
        self,
        field: SemanticField,
        voxels: VoxelGrid,
        reach: VoxelGrid,
        class_ids: tuple[int, ...],
        before: DeviceMap | None = None,
    ) -> None:
        self.field, self.device = field, field.table.device
        self._voxels = DeviceVoxels.of(voxels, self.device)
        if before is not None and before._reach.version == reach.version:
            self._reach = before._reach
        else:
            self._reach = DeviceVoxels.of(reach, self.device)
        self._class_ids = torch.tensor(class_ids, dtype=torch.int32, device=self.device)
        self._tracer = RayTracer(field) if field.kernels.name == "cuda" else None

    @classmethod
    def of(cls, state: MapState, device: torch.device | str) -> DeviceMap:
        """A snapshot, copied to a device."""
        field = state.field.frozen_copy(device)
        return cls(field, state.voxels, state.reach, state.class_ids)

    def settle(self) -> None:
        """Wait until all of it is there: what it was copied from may change then."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    @torch.no_grad()
    def render(
        self,
        camera: Camera,
        T_world_camera: NDArray[np.float64],
        with_latent: bool = False,
        near_m: float = 0.05,
        far_m: float = 60.0,
    ) -> RenderedView:
        """See ``rendering.render_view``."""
        pose = torch.from_numpy(np.asarray(T_world_camera, np.float32)).to(self.device)
        directions = _ray_directions(camera, pose[:3, :3])
        depth = self.trace(pose[:3, 3], directions, near_m, far_m)
        hit = depth.isfinite()
        depth = torch.where(hit, depth, 0.0)
        images = self._shaded(pose[:3, 3] + depth[:, None] * directions, with_latent)
        images = {name: _where(hit, values) for name, values in images.items()}
        images["depth"], images["label"] = depth, images["label"] - 1
        size = (camera.height, camera.width)
        return RenderedView(**_on_host({n: i.view(*size, *i.shape[1:]) for n, i in images.items()}))

    def trace(
        self,
        origin: Float[Tensor, " 3"],
        directions: Float[Tensor, "N 3"],
        near: float,
        far: float,
    ) -> Float[Tensor, " N"]:
        """Ray parameter of the first surface along ``origin + t * directions``; inf = none."""
        if self._tracer is not None:
            return self._tracer.trace(origin, directions, self._reach, near, far)
        return self.trace_in_waves(origin, directions, near, far)

    def trace_in_waves(
        self,
        origin: Float[Tensor, " 3"],
        directions: Float[Tensor, "N 3"],
        near: float,
        far: float,
    ) -> Float[Tensor, " N"]:
        """``trace`` in torch: what kernels other than Triton's use."""
        t = torch.full((len(directions),), near, device=self.device)
        hit = torch.full_like(t, float("inf"))
        last_t, last_s = t.clone(), hit.clone()
        stretch = directions.norm(dim=1)
        rays = torch.arange(len(t), device=self.device)
        for _ in range(MAX_WAVES):
            self._reach.advance(origin, directions, t, far, rays)
            rays = rays[t[rays].isfinite()]
            if not len(rays):
                break
            here, long = t[rays], stretch[rays]
            s = self.field.distance(origin + here[:, None] * directions[rays])
            inside = s < 0
            crossing = _crossing(last_t[rays], last_s[rays], here, s, long)
            hit[rays] = torch.where(inside, crossing, float("inf"))
            last_t[rays], last_s[rays] = here, s
            t[rays] = here + (STEP_SHARE * s + EXTRA_STEP_M) / long
            rays = rays[~inside]
        return hit

    def _shaded(self, points: Float[Tensor, "N 3"], with_latent: bool) -> dict[str, Tensor]:
        """What the field says at points; labels are class ids plus 1."""
        field = self.field
        _, code, gradient = field.distance_code_gradient(points)
        code = code.T
        latent = field.latent(code)
        images = {
            "normal": torch.nn.functional.normalize(gradient, dim=-1),
            "color": (field.color(code) * 255.0 + 0.5).to(torch.uint8),
            "label": torch.zeros(len(points), dtype=torch.int32, device=self.device),
            "confidence": confidence_of(
                self._voxels.lookup(points).float(), self._voxels.lookup_errors(points)
            ),
        }
        if len(self._class_ids):
            images["label"] = self._class_ids[field.label_scores(latent).argmax(1)] + 1
        if with_latent:
            images["latent"] = latent.half()
        return images


def _ray_directions(camera: Camera, rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "N 3"]:
    """Directions of a camera's rays in the map frame, of z-depth 1."""
    device = rotation.device
    x = (torch.arange(camera.width, device=device) - camera.cx) / camera.fx
    y = (torch.arange(camera.height, device=device) - camera.cy) / camera.fy
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3) @ rotation.T


def _crossing(
    last_t: Float[Tensor, " N"],
    last_s: Float[Tensor, " N"],
    t: Float[Tensor, " N"],
    s: Float[Tensor, " N"],
    stretch: Float[Tensor, " N"],
) -> Float[Tensor, " N"]:
    """The zero between two samples of a ray, or near the only one (by its own distance)."""
    bracketed = last_s.isfinite() & ((t - last_t) * stretch < LONGEST_BRACKET_M)
    between = last_t + (t - last_t) * last_s / (last_s - s)
    return torch.where(bracketed, between, t + s / stretch)


def _where(hit: Bool[Tensor, " N"], values: Tensor) -> Tensor:
    """Values (N, ...) of the rays that meet something; 0 elsewhere."""
    return torch.where(hit.view(-1, *[1] * (values.ndim - 1)), values, 0)


def _on_host(images: dict[str, Tensor]) -> dict[str, NDArray]:
    """Copies of images, waited for once: pinned, as a GPU writes them fastest."""
    pinned = next(iter(images.values())).is_cuda
    host = {n: torch.empty(i.shape, dtype=i.dtype, pin_memory=pinned) for n, i in images.items()}
    for name, image in images.items():
        host[name].copy_(image, non_blocking=True)
    if pinned:
        torch.cuda.current_stream().synchronize()
    return {name: image.numpy() for name, image in host.items()}
