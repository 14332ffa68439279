"""The training step for a GPU: nothing in it waits for the device, and it is one CUDA graph.

It is written in torch and in the grid kernels, so it runs on any device: that of a test without a
GPU is the CPU. Losses and gradients are those of ``trainer.Trainer``. Everything that is uploaded
(keyframes, voxels, the rays' slots, learning rates) goes into tensors whose addresses stay; when
one of them has to become larger, or classes are added, the step is captured anew.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from semantic_field.config import MappingConfig
from semantic_field.field.device_sampling import DeviceRays, Placing, draw_rays_on_device
from semantic_field.field.device_voxels import DeviceVoxels
from semantic_field.field.model import SemanticField
from semantic_field.field.voxels import VoxelGrid
from semantic_field.kernels import GridGradient, GridMoments, GridShape
from semantic_field.mapping.device_keyframes import DeviceKeyframes
from semantic_field.mapping.keyframes import KeyframeStore
from semantic_field.mapping.step_graph import StepGraph
from semantic_field.mapping.trainer import BETAS, Trainer

STEPS_PER_UPLOAD = 16
MOST_LOSSES = 32
HALF_SCALE = 1.0
"""Of float16 gradients, times the rays of a step. Entries then receive 0.03 in the median and 60 at
most (240 steps of the simulated room): float16 ends at 6e-8 and 65504."""

SLOT_BITS = 24  # of an uploaded ray; above them its pixel, plus one: 0 = a random one


class DeviceTrainer(Trainer):
    """``Trainer`` for a field that lies on a GPU (or anywhere else).

    Slots of keyframes are chosen on the host, for ``STEPS_PER_UPLOAD`` steps at once, and losses
    come back as often: that is also how far the host may run ahead of the device.
    """

    def __init__(self, field: SemanticField, config: MappingConfig) -> None:
        self.device = field.table.device
        super().__init__(field, config)
        self._working: Tensor | None = None
        self._follow_table()
        self._graph = StepGraph(self.device, field.kernels.capturable)
        self._generator = torch.Generator(self.device).manual_seed(config.seed)
        self._graph.register(self._generator)
        rays = (STEPS_PER_UPLOAD, config.rays_per_step)
        self._slots = torch.zeros(rays, dtype=torch.int64, device=self.device)
        self._turn = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._losses = torch.zeros(MOST_LOSSES, device=self.device)
        self._names: tuple[str, ...] = ()
        self._mailbox = _Mailbox(self._slots, self._losses)
        self._keyframes: DeviceKeyframes | None = None
        self._voxels = DeviceVoxels(field.config.voxel_m, self.device)
        self._voxels_of, self._drawn = -1, 0

    # what the mapper changes between steps

    def _make_optimizer(self) -> torch.optim.Adam:
        on_gpu = self.device.type == "cuda"
        rate = torch.tensor(1e-3, device=self.device)
        return torch.optim.Adam(
            self.field.network_parameters(),
            lr=rate, betas=BETAS, eps=1e-12, fused=True, capturable=on_gpu,
        )  # fmt: skip

    def grow_classes(self, classes: int) -> None:
        with self._graph.stream():
            super().grow_classes(classes)

    def grow_table(self, shape: GridShape) -> None:
        with self._graph.stream():
            super().grow_table(shape)
            if self._working is not None:
                self._working.copy_(self.field.table.detach())

    @property
    def class_latents(self) -> Float[Tensor, "C D"]:
        return self._class_latents

    @class_latents.setter
    def class_latents(self, latents: Float[Tensor, "C D"]) -> None:
        known = getattr(self, "_class_latents", None)
        if known is not None and known.shape == latents.shape:
            known.copy_(latents)  # a captured step goes on reading the same memory
        else:
            self._class_latents = latents.to(self.device, copy=True)

    def _follow_table(self) -> None:
        """Make what belongs to the table anew where the table has another size."""
        table, shape = self.field.table.detach(), self.field.kernels.shape
        if not _same_kind(self.moments.first, table):
            self.moments = GridMoments(shape, self.device)
        if not self.field.kernels.half:
            if not _same_kind(self.gradient.table, table):
                self.gradient = GridGradient(shape, self.device)
        elif self._working is None or self._working.shape != table.shape:
            self._working = table.half()
            scale = HALF_SCALE * self.config.rays_per_step
            self.gradient = GridGradient(shape, self.device, torch.float16, scale)

    @property
    def _table(self) -> Float[Tensor, "L T F"]:
        """What is read: the float16 copy where the kernels can read one."""
        return self.field.table.detach() if self._working is None else self._working

    # the step

    def step(
        self, keyframes: KeyframeStore, reach: VoxelGrid, voxels: VoxelGrid | None = None
    ) -> None:
        with self._graph.stream():
            self._follow(keyframes, reach)
            if self._drawn == 0:
                self._exchange(keyframes)
            self._drawn -= 1
            self.steps += 1
            self.rays += self.config.rays_per_step
            self._set_rates(self.learning_rate(keyframes.count))
            self._graph.run(self._work, self._signature())

    def settle(self) -> None:
        self._graph.settle()

    def _follow(self, keyframes: KeyframeStore, reach: VoxelGrid) -> None:
        """Upload what has changed in the keyframes and the voxels."""
        if self._keyframes is None:
            self._keyframes = DeviceKeyframes(keyframes, self.device)
        if self._keyframes.is_behind(keyframes):
            self._keyframes.follow(keyframes)
            self._drawn = 0  # the next rays are chosen among the new keyframes, too
        if self._voxels_of != reach.version:
            self._voxels.load(reach)
            self._voxels_of = reach.version
        self._follow_table()

    def _exchange(self, keyframes: KeyframeStore) -> None:
        """Send the slots of the next steps' rays; take in the losses that came back."""
        drawn = [self._choose(keyframes) for _ in range(STEPS_PER_UPLOAD)]
        arrived = self._mailbox.exchange(
            np.stack([slots | (pixels + 1) << SLOT_BITS for slots, pixels in drawn])
        )
        if arrived is not None:
            self.losses = dict(zip(self._names, arrived, strict=False))
        self._drawn = STEPS_PER_UPLOAD

    def _set_rates(self, learning_rate: float) -> None:
        self.field.kernels.set_rates(self.steps, learning_rate, BETAS)
        for group in self.optimizer.param_groups:
            group["lr"].fill_(learning_rate * self.config.network_rate)

    def _signature(self) -> tuple:
        """What a captured step depends on: another value, another capture."""
        assert self._keyframes is not None
        return (
            self._keyframes.room,
            self._voxels.room,
            (self._table.data_ptr(), self.field.kernels.shape),
            (self._class_latents.data_ptr(), self.field.classes),
            self.rank,
            id(self.optimizer),
        )

    def _work(self) -> None:
        """One step as the device sees it."""
        config = self.config
        assert self._keyframes is not None
        packed = self._slots.index_select(0, self._turn)[0]
        self._turn.add_(1).remainder_(STEPS_PER_UPLOAD)
        placing = Placing(
            (config.near_samples, config.free_samples),
            self.field.config.truncation_m,
            config.min_depth_m,
            config.guess_trust,
            config.contour_share,
        )
        rays = draw_rays_on_device(
            self._keyframes.images,  # type: ignore[arg-type]
            self._keyframes.cameras,  # type: ignore[arg-type]
            self._keyframes.contours,  # type: ignore[arg-type]
            packed & ((1 << SLOT_BITS) - 1),
            self._voxels,
            placing,
            self._generator,
            (packed >> SLOT_BITS) - 1,
        )
        self.find_gradients(rays)
        self.field.kernels.apply_adam(
            self.field.table.detach(), self.gradient, self.moments, self._working
        )
        self.optimizer.step()

    def find_gradients(self, rays: DeviceRays) -> None:  # type: ignore[override]
        """Evaluate all losses on the rays, and leave their gradients where ``step`` finds them."""
        kernels = self.field.kernels
        self.optimizer.zero_grad(set_to_none=True)
        features = kernels.encode(rays.points, self._table).requires_grad_()
        losses = self._evaluate(rays, features)
        values = torch.stack(list(losses.values()))
        values.sum().backward()
        assert features.grad is not None
        kernels.backward_table(rays.points, features.grad, self.gradient)
        self._names = tuple(losses)
        self._losses[: len(values)].copy_(values.detach())

    def _evaluate(
        self, rays: DeviceRays, features: Float[Tensor, "LF N"]
    ) -> dict[str, Float[Tensor, ""]]:
        """All losses, weighted."""
        config, field = self.config, self.field
        truncation = field.config.truncation_m
        first, second = field.trunk_in, field.trunk_out
        hidden = torch.addmm(first.bias[:, None], first.weight, features).relu()
        near = rays.near_z.numel()
        out = torch.addmm(second.bias[:, None], second.weight, hidden[:, :near])
        free = second.weight[0] @ hidden[:, near:] + second.bias[0]
        s = out[0].view_as(rays.near_z)
        weights = composite_weights(
            s, rays.near_z, truncation / field.config.sharpness_m, 2 * truncation
        )
        depth = (weights * rays.near_z).sum(1)
        shaping = weights if config.color_shapes_geometry else weights.detach()
        code = (out[1:].view(-1, *s.shape) * shaping).sum(2)  # (G, R)
        scale = rays.stretch / truncation
        target = ((rays.depth[:, None] - rays.near_z) * scale[:, None]).clamp(-1.0, 1.0)
        off = smooth_l1_loss(depth * scale, rays.depth * scale, reduction="none")
        missing = (free.view(len(s), -1) - 1.0).clamp_max(0.0)

        def mean(weight: float, of_rays: Float[Tensor, " R"]) -> Float[Tensor, ""]:
            return weight * (rays.trust * of_rays).mean()

        return {
            "distance": mean(config.distance_weight, (s - target).square().mean(1)),
            "free_space": mean(config.free_space_weight, missing.square().mean(1)),
            "depth": mean(config.depth_weight, off),
            **self.head_losses(code.T, rays.color, rays.label),
        }


def composite_weights(
    s: Float[Tensor, "R S"], z: Float[Tensor, "R S"], sharpness: float, behind: float
) -> Float[Tensor, "R S"]:
    """Weights of the samples of rays; differentiable. See ``field.compositing``."""
    last = torch.where(s < 0, z, float("inf")).amin(1, keepdim=True) + behind
    scaled = s * sharpness
    bell = torch.sigmoid(scaled) * torch.sigmoid(-scaled) * (z <= last)
    return bell / bell.sum(1, keepdim=True).clamp_min(1e-12)


def _same_kind(tensor: Tensor, other: Tensor) -> bool:
    return tensor.shape == other.shape and tensor.device == other.device


class _Mailbox:
    """Slots to the device and losses back, through pinned memory, without waiting for results.

    It only waits for its own last exchange, which bounds how far the host runs ahead.
    """

    def __init__(self, slots: Tensor, losses: Tensor) -> None:
        pinned = slots.is_cuda
        self._slots, self._losses = slots, losses
        self._outgoing = torch.zeros(slots.shape, dtype=slots.dtype, pin_memory=pinned)
        self._incoming = torch.zeros(losses.shape, pin_memory=pinned)
        self._done = torch.cuda.Event() if pinned else None
        self._exchanges = 0

    def exchange(self, slots: np.ndarray) -> list[float] | None:
        """Send the slots; returns the losses as they were at the last exchange, if any."""
        if self._done is not None:
            self._done.synchronize()
        arrived = self._incoming.tolist() if self._exchanges > 1 else None
        self._outgoing.copy_(torch.from_numpy(slots))
        self._slots.copy_(self._outgoing, non_blocking=True)
        self._incoming.copy_(self._losses, non_blocking=True)
        if self._done is not None:
            self._done.record()
        self._exchanges += 1
        return arrived
