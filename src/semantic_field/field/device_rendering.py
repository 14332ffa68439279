"""Views of a map that lies on a GPU (or any torch device): as ``rendering``, in torch.

Rays are followed to the zero of the field's own signed distance, wave by wave: to the next voxel
in which a surface was seen, then a step of the distance. Only rays that have not arrived go on.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.confidence import confidence_of
from semantic_field.field.device_voxels import DeviceVoxels
from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField
from semantic_field.field.rendering import RenderedView
from semantic_field.field.voxels import VoxelGrid
from semantic_field.geometry import Camera

MAX_WAVES = 60
STEP_SHARE = 0.8  # distances are learnt along rays: the nearest surface may be nearer
EXTRA_STEP_M = 0.004
LONGEST_BRACKET_M = 0.08


class DeviceMap:
    """What a view needs of one state of a map, on one device.

    Args:
        field: on the device; nobody trains it any more.
        class_ids: the class id of each row of its label head.
    """

    def __init__(
        self,
        field: SemanticField,
        voxels: VoxelGrid,
        reach: VoxelGrid,
        class_ids: tuple[int, ...],
    ) -> None:
        self.field, self.device = field, field.table.device
        self._trust = DeviceVoxels.of(voxels, self.device, _confidences(voxels))
        self._reach = DeviceVoxels.of(reach, self.device)
        self._class_ids = torch.tensor(class_ids, dtype=torch.int32, device=self.device)

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
        points = pose[:3, 3] + depth[hit, None] * directions[hit]
        images = self._shaded(points, with_latent)
        images["depth"] = depth[hit]
        size = (camera.height, camera.width)
        filled = {name: _spread(values, hit).view(*size, -1) for name, values in images.items()}
        filled["depth"], filled["confidence"] = (
            filled["depth"][..., 0],
            filled["confidence"][..., 0],
        )
        filled["label"] = filled["label"][..., 0] - 1  # rows count from 1: 0 is nothing
        return RenderedView(**{name: image.cpu().numpy() for name, image in filled.items()})

    def trace(
        self,
        origin: Float[Tensor, " 3"],
        directions: Float[Tensor, "N 3"],
        near: float,
        far: float,
    ) -> Float[Tensor, " N"]:
        """Ray parameter of the first surface along ``origin + t * directions``; inf = none."""
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
        _, gradient = field.distance_and_gradient(points)
        _, code = field.geometry(points)
        latent = field.latent(code)
        images = {
            "normal": torch.nn.functional.normalize(gradient, dim=-1),
            "color": (field.color(code) * 255.0 + 0.5).to(torch.uint8),
            "label": torch.zeros(len(points), dtype=torch.int32, device=self.device),
            "confidence": self._trust.lookup(points),
        }
        if len(self._class_ids):
            images["label"] = self._class_ids[field.label_scores(latent).argmax(1)] + 1
        if with_latent:
            images["latent"] = latent.half()
        return images


def _confidences(voxels: VoxelGrid) -> NDArray[np.float32]:
    """The confidence of each voxel of the stored bricks (B, 512)."""
    counts = voxels.counts[: len(voxels)]
    confidence = np.zeros(counts.shape, np.float32)
    seen = counts > 0
    if seen.any():
        cells, _ = voxels.occupied()
        centres = ((cells + 0.5) * voxels.voxel_m).astype(np.float32)
        confidence[seen] = confidence_of(counts[seen], voxels.lookup_errors(centres))
    return confidence


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


def _spread(values: Tensor, hit: Int[Tensor, " N"]) -> Tensor:
    """Values of the rays that meet something as those of all rays; 0 elsewhere."""
    image = values.new_zeros(len(hit), *values.shape[1:])
    image[hit] = values
    return image
