"""Keyframes on a GPU (or any torch device) from which a view is made; see ``source_views``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.rays.keyframe_arrays import DeviceImages, KeyframeCameras
from semantic_field.field.views.device_agreement import exposures_between, trust_by_distance
from semantic_field.field.views.device_asking import Answers, ask
from semantic_field.field.views.device_seeing import DeviceLenses
from semantic_field.field.views.seeing import lenses_of
from semantic_field.field.views.source_views import (
    CHOICE,
    LABEL_SHARE,
    OVERLAP,
    VIEWS,
    SourceViews,
    Target,
    candidates,
    corrections,
    covering,
    preferences,
)
from semantic_field.geometry import Camera, pose_distances


@dataclass(frozen=True)
class DeviceTarget:
    """A view rendered on a device; attributes as of ``Target``, with tensors."""

    camera: Camera
    T_map_camera: NDArray[np.float64]
    depth: Float[Tensor, "H W"]
    normal: Float[Tensor, "H W 3"]
    in_map_exposure: bool = False

    @property
    def rotation(self) -> Float[Tensor, "3 3"]:
        """The rotation of map axes to the camera's."""
        rotation = torch.from_numpy(np.ascontiguousarray(self.T_map_camera[:3, :3].T, np.float32))
        return rotation.to(self.depth.device)

    def directions(self) -> Float[Tensor, "3 P"]:
        """Return the directions of all P = H W pixels in the camera's axes, of z-depth 1."""
        x, y = self.camera.columns_and_rows()
        rays = torch.from_numpy(np.concatenate([x, y])).to(self.depth.device)
        x, y = rays.split([self.camera.width, self.camera.height])
        size = self.depth.shape
        y, x = y[:, None].expand(size), x.expand(size)
        return torch.stack([x, y, torch.ones_like(self.depth)]).view(3, -1)

    def points(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """See ``Target.points``; points of pixels without depth are 0 and have no normal."""
        v, u = self.camera.spread_pixels(rows, columns)
        x, y = self.camera.columns_and_rows()
        rays = np.stack([x[u], y[v], np.ones(len(u), np.float32)])
        where = torch.from_numpy(v * self.camera.width + u).to(self.depth.device)
        points = torch.from_numpy(rays).to(self.depth.device) * self.depth.view(-1)[where]
        return points, self.rotation @ self.normal.view(-1, 3)[where].T

    def on_host(self) -> Target:
        """Return the same on the host."""
        depth, normal = self.depth.cpu().numpy(), self.normal.cpu().numpy()
        return Target(self.camera, self.T_map_camera, depth, normal)


@dataclass(frozen=True)
class DeviceSources:
    """Keyframes as source views, with their images on a device.

    Attributes:
        images: of at least K keyframes, on the device.
        slots: int64 (K,), which of these images belong to the K keyframes, on the host.
        cameras, exposures, stamps_ns, class_ids: as of ``SourceViews``, on the host.
    """

    images: DeviceImages
    slots: NDArray[np.int64]
    cameras: KeyframeCameras
    exposures: NDArray[np.float64]
    stamps_ns: NDArray[np.int64]
    class_ids: NDArray[np.int32]

    @classmethod
    def of(cls, sources: SourceViews, device: torch.device) -> DeviceSources:
        """Return copies of source views on a device."""
        colors, depths, labels = sources.images
        arrays = (colors, depths.view(np.int16), labels)
        images = DeviceImages(*(torch.from_numpy(array).to(device) for array in arrays))
        return cls(
            images,
            np.arange(len(sources)),
            sources.cameras,
            sources.exposures,
            sources.stamps_ns,
            sources.class_ids,
        )

    @property
    def device(self) -> torch.device:
        return self.images.labels.device

    def __len__(self) -> int:
        return len(self.slots)

    def slots_here(self) -> Tensor:
        """Return the slots as a tensor on the device."""
        return torch.from_numpy(self.slots).to(self.device)

    def taken(self, chosen: NDArray[np.int64]) -> DeviceSources:
        """Return copies of some keyframes (by number), made when the device gets there."""
        slots = torch.from_numpy(self.slots[chosen]).to(self.device)
        return replace(
            self,
            images=DeviceImages(*(image.index_select(0, slots) for image in self.images)),
            slots=np.arange(len(chosen)),
            cameras=self.cameras.at(chosen),
            exposures=self.exposures[chosen],
            stamps_ns=self.stamps_ns[chosen],
        )

    def lenses(self, T_map_target: NDArray[np.float64]) -> DeviceLenses:
        """Return the lenses of all keyframes, see ``seeing.lenses_of``."""
        return DeviceLenses.of(lenses_of(self.cameras, T_map_target), self.device)

    def choose(self, target: DeviceTarget, most: int = VIEWS) -> NDArray[np.int64]:
        """See ``SourceViews.choose``; waits for the device."""
        answers = self._asked(target, CHOICE, self.lenses(target.T_map_camera))
        near = candidates(
            preferences(self.cameras, self.exposures, self.stamps_ns, target.T_map_camera)
        )
        cover = answers.shown + LABEL_SHARE * answers.votes
        named = answers.votes * (self.images.labels.view(-1)[answers.index] >= 0)
        cover, named = torch.stack([cover, named]).cpu().numpy() * near[:, None]
        return covering(cover, named, most)

    def tuned(self, target: DeviceTarget) -> tuple[DeviceLenses, Float[Tensor, "K 3 2"]]:
        """See ``SourceViews.tuned``."""
        poses, device = self.cameras.poses, self.device
        lenses = self.lenses(target.T_map_camera)
        answers = self._asked(target, OVERLAP, lenses)
        seen = answers.votes > 0
        colors = self.images.colors.view(-1, 3)[answers.index].float() * seen[..., None]
        distance = pose_distances(poses, target.T_map_camera)
        learnt = corrections(self.exposures, None if target.in_map_exposure else distance)
        learnt = torch.from_numpy(learnt).to(device)
        colors = learnt[:, None, :, 0] * colors + learnt[:, None, :, 1]
        apart = pose_distances(poses[:, None], poses[None])
        packed = torch.from_numpy(np.concatenate([apart, distance[None]])).to(device)
        apart, distance = packed[:-1], packed[-1]
        found = exposures_between(colors, seen, distance).float()
        colors = found[:, None, :, 0] * colors + found[:, None, :, 1]
        trust = trust_by_distance(colors, seen, apart, distance).float()
        gain, bias = found.unbind(-1)
        exposures = torch.stack([gain * learnt[..., 0], bias + gain * learnt[..., 1]], -1)
        return lenses._replace(trust=trust[:, None]), exposures

    def _asked(self, target: DeviceTarget, grid: tuple[int, int], lenses: DeviceLenses) -> Answers:
        """Ask all keyframes about ``grid`` rows and columns of a view's pixels."""
        points, normals = target.points(*grid)
        return ask(points, normals, lenses, self.images, self.slots_here(), target.camera.fx)
