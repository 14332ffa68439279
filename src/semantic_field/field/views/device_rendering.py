"""Rendering on a GPU (or any torch device); the counterpart of ``rendering`` in torch.

Rays are traced to the zero of the field's signed distance (``ray_tracers``), and the heads are
evaluated at the hit points.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField
from semantic_field.field.views.device_blending import Images, blended_on_device, pixels_at_once
from semantic_field.field.views.device_sources import DeviceSources, DeviceTarget
from semantic_field.field.views.ray_tracers import ray_tracer
from semantic_field.field.views.rendering import RenderedView
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.geometry import Camera
from semantic_field.kernels.device_memory import Halving, memory_for
from semantic_field.kernels.host_memory import to_host

RAYS_AT_ONCE = 1 << 22
LEAST_RAYS = 1 << 10  # at once
VIEW_REMEDY = "render smaller images, or end what else uses the device"
MAP_REMEDY = "lower field.grid.log2_table_size, or end what else uses the device"


class DeviceMap:
    """A map snapshot on one device, ready for rendering.

    Where the device has not enough memory for a view, it is rendered in parts.

    Args:
        field: on the device; must not be trained any more.
        class_ids: the class id of each row of the field's label head.
        before: an earlier snapshot of the same map; unchanged data are shared with it.
    Attributes:
        blended_at_once: pixels on which keyframes' images are blended at once.
    Raises:
        DeviceMemoryError: if the device has not enough memory for the map.
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
        with memory_for_a_map():
            self._voxels = DeviceVoxels.of(voxels, self.device)
            if before is not None and before._reach.version == reach.version:
                self._reach = before._reach
            else:
                self._reach = DeviceVoxels.of(reach, self.device)
            self._class_ids = torch.tensor(class_ids, dtype=torch.int32, device=self.device)
            self._tracer = ray_tracer(field)
        if before is not None:
            self._at_once = before._at_once
            self.blended_at_once = before.blended_at_once
        else:
            self._at_once = Halving(RAYS_AT_ONCE, LEAST_RAYS, "rays of a view", VIEW_REMEDY)
            self.blended_at_once = pixels_at_once(VIEW_REMEDY)

    @classmethod
    def of(cls, state: MapState, device: torch.device | str) -> DeviceMap:
        """Return a copy of a snapshot on a device."""
        with memory_for_a_map():
            field = state.field.frozen_copy(device)
        return cls(field, state.voxels, state.reach, state.class_ids)

    def settle(self) -> None:
        """Wait until all copies are finished; afterwards their sources may change."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    def render(
        self,
        camera: Camera,
        T_world_camera: NDArray[np.float64],
        with_latent: bool = False,
        near_m: float = 0.05,
        far_m: float = 60.0,
    ) -> RenderedView:
        """See ``rendering.render_view``.

        Raises:
            DeviceMemoryError: if the device has not even memory for ``LEAST_RAYS`` at once.
        """
        return on_host(self.images(camera, T_world_camera, with_latent, near_m, far_m))

    @torch.no_grad()
    def images(
        self,
        camera: Camera,
        T_world_camera: NDArray[np.float64],
        with_latent: bool = False,
        near_m: float = 0.05,
        far_m: float = 60.0,
    ) -> Images:
        """Return the images of ``render`` on the device."""
        pose = torch.from_numpy(np.asarray(T_world_camera, np.float32))

        def rendered(rays: slice) -> Images:
            return self._rendered(camera, pose, rays, with_latent, (near_m, far_m))

        parts = self._at_once.parts(rendered, camera.height * camera.width)
        images = {}
        for name in parts[0]:
            values = [part[name] for part in parts]
            whole = torch.cat(values) if len(values) > 1 else values[0]
            images[name] = whole.view(camera.height, camera.width, *whole.shape[1:])
        return images

    @torch.no_grad()
    def blended(self, images: Images, target: DeviceTarget, sources: DeviceSources) -> Images:
        """Return images of the map with those of keyframes blended on the surface.

        Raises:
            DeviceMemoryError: if the device has not enough memory.
        """
        with memory_for("a view", VIEW_REMEDY):
            return blended_on_device(images, target, sources, self.blended_at_once)

    def _rendered(
        self,
        camera: Camera,
        T_map_camera: Float[Tensor, "4 4"],
        rays: slice,
        with_latent: bool,
        between_m: tuple[float, float],
    ) -> Images:
        """Return the images' values at some rays, counted row by row."""
        pose = T_map_camera.to(self.device)
        directions = _ray_directions(camera, pose[:3, :3], rays)
        depth = self._tracer.trace(pose[:3, 3], directions, self._reach, *between_m)
        hit = depth.isfinite()
        depth = torch.where(hit, depth, 0.0)
        images = self._shaded(pose[:3, 3] + depth[:, None] * directions, with_latent)
        nothing = {"label": -1}
        images = {n: _where(hit, image, nothing.get(n, 0)) for n, image in images.items()}
        images["depth"] = depth
        return images

    def _shaded(self, points: Float[Tensor, "N 3"], with_latent: bool) -> Images:
        """Return images of the field's values at points; labels are class ids, -1 = none."""
        field = self.field
        _, code, gradient = field.distance_code_gradient(points)
        code = code.T
        latent = field.latent(code)
        images = {
            "normal": torch.nn.functional.normalize(gradient, dim=-1),
            "color": (field.color(code) * 255.0 + 0.5).to(torch.uint8),
            "label": torch.full((len(points),), -1, dtype=torch.int32, device=self.device),
            "confidence": self._voxels.confidence(points),
        }
        if len(self._class_ids):
            images["label"] = self._class_ids[field.label_scores(latent).argmax(1)]
        if with_latent:
            images["latent"] = latent.half()
        return images


def on_host(images: Images) -> RenderedView:
    """Return the view of some images on a device; waits until they are computed and copied."""
    copies = to_host(*images.values())
    arrays = (copy.numpy() for copy in copies)
    return RenderedView(**dict(zip(images, arrays, strict=True)))


def memory_for_a_map() -> AbstractContextManager[None]:
    """Context manager for copying a map to a device; see ``memory_for``."""
    return memory_for("a copy of the map for rendering", MAP_REMEDY)


def _ray_directions(
    camera: Camera, rotation: Float[Tensor, "3 3"], rays: slice
) -> Float[Tensor, "N 3"]:
    """Directions of some of a camera's rays in the map frame, of z-depth 1."""
    pixels = torch.arange(rays.start, rays.stop, device=rotation.device)
    x = (pixels % camera.width - camera.cx) / camera.fx
    y = (pixels // camera.width - camera.cy) / camera.fy
    return torch.stack([x, y, torch.ones_like(x)], -1) @ rotation.T


def _where(hit: Bool[Tensor, " N"], values: Tensor, nothing: int) -> Tensor:
    """Values (N, ...) of the rays that meet something; ``nothing`` elsewhere."""
    return torch.where(hit.view(-1, *[1] * (values.ndim - 1)), values, nothing)
