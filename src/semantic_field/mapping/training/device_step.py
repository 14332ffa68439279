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
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from semantic_field.config import MappingConfig
from semantic_field.field.model import SemanticField
from semantic_field.field.rays.device_sampling import DeviceRays, Placing, draw_rays_on_device
from semantic_field.field.rays.sampling import RaySamples
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels import GridGradient, GridMoments, GridShape
from semantic_field.kernels.host_memory import host_like
from semantic_field.kernels.table_lines import grow
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.training.cuda_graph import StepGraph
from semantic_field.mapping.training.disagreement import RayErrors, note_errors
from semantic_field.mapping.training.step import BETAS, Trainer

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
        self._graph = StepGraph(self.device, field.kernels.capturable)
        super().__init__(field, config)
        self._make_tables()
        self._generator = torch.Generator(self.device).manual_seed(config.seed)
        self._graph.register(self._generator)
        rays = (STEPS_PER_UPLOAD, config.rays_per_step)
        self._slots = torch.zeros(rays, dtype=torch.int64, device=self.device)
        self._turn = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._losses = torch.zeros(MOST_LOSSES, device=self.device)
        self._names: tuple[str, ...] = ()
        self._report = torch.zeros(config.rays_per_step, 9, device=self.device)
        self._mailbox = _Mailbox(self._slots, self._losses, self._report)
        self._serials = [np.zeros(0, np.int64)] * 2  # of the last exchange, and the one before
        self._keyframes: DeviceKeyframes | None = None
        self._voxels = DeviceVoxels(field.config.voxel_m, self.device)
        self._drawn = self._known = 0  # steps whose rays are chosen; keyframes at that time

    # what the mapper changes between steps

    def grow_classes(self, classes: int) -> None:
        with self._graph.stream():
            super().grow_classes(classes)

    def grow_table(self, shape: GridShape) -> None:
        old = self.field.kernels.shape
        with self._graph.stream():
            super().grow_table(shape)
            if self._working is not None:
                grow(self._working, old, shape)

    @property
    def class_latents(self) -> Float[Tensor, "C D"]:
        return self._class_latents

    @class_latents.setter
    def class_latents(self, latents: Float[Tensor, "C D"]) -> None:
        known = getattr(self, "_class_latents", None)
        with self._graph.stream():
            if known is not None and known.shape == latents.shape:
                known.copy_(latents)  # a captured step goes on reading the same memory
            else:
                self._class_latents = latents.to(self.device, copy=True)

    def _make_tables(self) -> None:
        """Gradient and moments on the device; the float16 table where the kernels can read one."""
        shape, half = self.field.kernels.shape, self.field.kernels.half
        dtype, scale = torch.float32, 1.0
        if half:
            dtype, scale = torch.float16, HALF_SCALE * self.config.rays_per_step
        self.gradient = GridGradient(shape, self.device, dtype, scale)
        self.moments = GridMoments(shape, self.device)
        self._working = self.field.table.detach().half() if half else None

    @property
    def _table(self) -> Float[Tensor, "L T F"]:
        """What is read: the float16 copy where the kernels can read one."""
        return self.field.table.detach() if self._working is None else self._working

    # the step

    def step(
        self,
        keyframes: KeyframeStore,
        reach: VoxelGrid,
        voxels: VoxelGrid | None = None,
        corrections: Corrections | None = None,
    ) -> None:
        """See ``Trainer.step``; ``voxels`` learn from one step in ``STEPS_PER_UPLOAD``, and rays
        that are drawn here do not follow ``corrections``: ``Mapper.annotate`` refuses them."""
        with self._graph.stream():
            self._follow(keyframes, reach)
            if self._drawn == 0:
                self._exchange(keyframes, voxels)
            self._drawn -= 1
            self.steps += 1
            self.rays += self.config.rays_per_step
            self._set_rates(self.learning_rate(keyframes.count))
            self._graph.run(self._work, self._signature())

    def settle(self) -> None:
        self._graph.settle()
        self.losses = dict(zip(self._names, self._losses.tolist(), strict=False))

    def _follow(self, keyframes: KeyframeStore, reach: VoxelGrid) -> None:
        """Upload what has changed in the keyframes and the voxels."""
        if self._keyframes is None:
            self._keyframes = DeviceKeyframes(keyframes, self.device)
        if self._keyframes.is_behind(keyframes):
            self._keyframes.follow(keyframes)
        if keyframes.count < self._known:
            self._drawn = 0  # rays may be chosen in slots that hold nothing any more
        if self._voxels.version != reach.version:
            self._voxels.load(reach)

    def _exchange(self, keyframes: KeyframeStore, voxels: VoxelGrid | None) -> None:
        """Send the slots and pixels of the next steps' rays; take in what came back of others.

        These are the losses and, for the rays of one step, how far they disagree with the map.
        """
        slots, pixels = self._choose(keyframes, steps=STEPS_PER_UPLOAD)
        packed = self._random.permutation(slots | (pixels + 1) << SLOT_BITS)
        arrived = self._mailbox.exchange(packed.reshape(STEPS_PER_UPLOAD, -1))
        if arrived is not None:
            losses, report = arrived
            self.losses = dict(zip(self._names, losses.tolist(), strict=False))
            if voxels is not None:
                self._note(report, keyframes, voxels)
        self._serials = [keyframes.serials.copy(), self._serials[0]]
        self._drawn, self._known = STEPS_PER_UPLOAD, keyframes.count

    def _note(
        self, report: NDArray[np.float32], keyframes: KeyframeStore, voxels: VoxelGrid
    ) -> None:
        """See ``mapping.training.disagreement``; rays of keyframes that are gone say nothing.

        The report was sent at the last exchange, of rays that were chosen at the one before.
        """
        slots = report[:, 0].astype(np.int64)
        present = slots < keyframes.count
        present[present] = (keyframes.serials == self._serials[1])[slots[present]]
        kept = report[present]
        rays = RaySamples(
            points=kept[:, 4:7],
            near_z=kept[:, 3:4],
            free=0,
            depth=kept[:, 2],
            stretch=np.ones(len(kept), np.float32),
            trust=np.ones(len(kept), np.float32),
            color=np.zeros((len(kept), 3), np.float32),
            color_weight=np.ones(len(kept), np.float32),
            label=np.full(len(kept), -1),
            label_weight=np.zeros(len(kept), np.float32),
            pixel=kept[:, 1].astype(np.int64),
            slot=slots[present],
        )
        note_errors(rays, RayErrors(kept[:, 7], kept[:, 8]), voxels, keyframes, self.steps)

    def _set_rates(self, learning_rate: float) -> None:
        self.field.kernels.set_rates(self.steps, learning_rate, BETAS)
        self.optimizer.rate.fill_(learning_rate * self.config.network_rate)

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
            id(self.config),
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
            config.depth_noise,
        )
        rays = draw_rays_on_device(
            self._keyframes.images,
            self._keyframes.cameras,
            self._keyframes.contours,
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
        self.optimizer.zero_grad()
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
        colors: list[Tensor] = []

        def photographed(color: Tensor) -> Tensor:
            colors.append(color.detach())
            return color

        scale = rays.stretch / truncation
        target = ((rays.depth[:, None] - rays.near_z) * scale[:, None]).clamp(-1.0, 1.0)
        off = smooth_l1_loss(depth * scale, rays.depth * scale, reduction="none")
        missing = (free.view(len(s), -1) - 1.0).clamp_max(0.0)

        def mean(weight: float, of_rays: Float[Tensor, " R"]) -> Float[Tensor, ""]:
            return weight * (rays.trust * of_rays).mean()

        losses = {
            "distance": mean(config.distance_weight, (s - target).square().mean(1)),
            "free_space": mean(config.free_space_weight, missing.square().mean(1)),
            "depth": mean(config.depth_weight, off),
            **self.head_losses(
                code.T,
                rays.color,
                rays.label,
                photographed,
                torch.full_like(rays.depth, config.stream_label_weight),
                rays.color_weight,
            ),
        }
        depth_error = (depth.detach() - rays.depth).abs() * rays.stretch
        color_error = (colors[0] - rays.color).abs().mean(1) * rays.color_weight
        self._write_report(rays, depth_error, color_error)
        return losses

    def _write_report(
        self, rays: DeviceRays, depth_error: Float[Tensor, " R"], color_error: Float[Tensor, " R"]
    ) -> None:
        """What ``_note`` reads: slot, pixel, depth, first sample's depth and point, errors."""
        count, samples = rays.near_z.shape
        first = rays.points[: count * samples : samples]
        columns = (rays.slot, rays.pixel, rays.depth, rays.near_z[:, 0], *first.unbind(1))
        columns = (*columns, depth_error, color_error)
        self._report[:count].copy_(torch.stack([c.float() for c in columns], dim=1))


def composite_weights(
    s: Float[Tensor, "R S"], z: Float[Tensor, "R S"], sharpness: float, behind: float
) -> Float[Tensor, "R S"]:
    """Weights of the samples of rays; differentiable. See ``field.rays.compositing``."""
    last = torch.where(s < 0, z, float("inf")).amin(1, keepdim=True) + behind
    scaled = s * sharpness
    bell = torch.sigmoid(scaled) * torch.sigmoid(-scaled) * (z <= last)
    return bell / bell.sum(1, keepdim=True).clamp_min(1e-12)


class _Mailbox:
    """Slots to the device and results back, through pinned memory, without waiting for results.

    It only waits for its own last exchange, which bounds how far the host runs ahead.
    """

    def __init__(self, slots: Tensor, *results: Tensor) -> None:
        self._slots, self._results = slots, results
        self._outgoing, self._incoming = host_like(slots), [host_like(r) for r in results]
        self._done = torch.cuda.Event() if slots.is_cuda else None
        self._exchanges = 0

    def exchange(self, slots: np.ndarray) -> list[np.ndarray] | None:
        """Send the slots; returns the results as they were at the last exchange, if any."""
        if self._done is not None:
            self._done.synchronize()
        arrived = [r.numpy().copy() for r in self._incoming] if self._exchanges > 1 else None
        self._outgoing.copy_(torch.from_numpy(slots))
        self._slots.copy_(self._outgoing, non_blocking=True)
        for host, result in zip(self._incoming, self._results, strict=True):
            host.copy_(result, non_blocking=True)
        if self._done is not None:
            self._done.record()
        self._exchanges += 1
        return arrived
