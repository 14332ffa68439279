"""The training step for a field on a GPU, executed as one CUDA graph that never waits.

Rays are drawn on the device as well; everything else is computed as in ``Trainer``. All uploaded
data (keyframes, voxels, annotations, keyframe slots of the rays, learning rates) go into tensors
with constant addresses. When one of these has to grow, or classes are added, the step is captured
again. The code runs on any device; tests without a GPU use the CPU.

Some options need data on the processor in every step: language learnt from images, pose
refinement and exposure adaptation. With one of these, rays are drawn on the processor and
uploaded, and the step is not captured. The latter two may begin in any step.

If the device runs out of memory in a step, this step and later ones use half as many rays.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.config import MappingConfig
from semantic_field.field.model import SemanticField
from semantic_field.field.rays.device_sampling import Placing, draw_rays_on_device
from semantic_field.field.rays.rays import Rays
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels import GridGradient, GridMoments, GridShape
from semantic_field.kernels.device_memory import Halving
from semantic_field.kernels.host_memory import host_like
from semantic_field.kernels.table_lines import grow
from semantic_field.mapping.corrections.device_corrections import DeviceCorrections
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.training.adam import temper
from semantic_field.mapping.training.cuda_graph import StepGraph
from semantic_field.mapping.training.disagreement import RayErrors, note_errors
from semantic_field.mapping.training.operations import TorchOperations
from semantic_field.mapping.training.step import Trainer

STEPS_PER_UPLOAD = 16
MOST_LOSSES = 32
HALF_SCALE = 1.0
"""Scale of float16 gradients, multiplied by the rays of a step. Table entries then receive 0.03 in
the median and 60 at most (240 steps of the simulated room); float16 covers 6e-8 to 65504."""

LEAST_RAYS = 256  # per step; if there is no memory for these, other settings must be reduced
MEMORY_REMEDY = (
    "lower mapping.rays_per_step, field.grid.log2_table_size or mapping.memory_budget_mb, or end "
    "what else uses the device"
)
SLOT_BITS = 24  # low bits of an uploaded ray: its slot; above: its pixel plus one, 0 = random


class DeviceTrainer(Trainer):
    """A ``Trainer`` for a field on a GPU (it works on any device).

    Keyframe slots and pixels of the rays are chosen on the host, for ``STEPS_PER_UPLOAD`` steps at
    a time, and losses are downloaded as often. The host runs ahead of the device by at most two
    such intervals.
    """

    def __init__(self, field: SemanticField, config: MappingConfig) -> None:
        device = field.table.device
        self.graph = StepGraph(device, field.kernels.capturable)
        super().__init__(field, config)
        self._generator = torch.Generator(device).manual_seed(config.seed)
        self.graph.register(self._generator)
        self._losses = torch.zeros(MOST_LOSSES, device=device)
        self._names: tuple[str, ...] = ()
        rays = config.rays_per_step
        self._at_once = Halving(rays, LEAST_RAYS, "rays of a training step", MEMORY_REMEDY)
        self._reserve(rays)
        self._serials = [np.zeros(0, np.int64)] * 2  # at the last exchange, and the one before
        self._keyframes: DeviceKeyframes | None = None
        self._voxels = DeviceVoxels(field.config.voxel_m, device)
        self._corrections = DeviceCorrections(device)
        # Number of further steps whose rays are already chosen, and of keyframes at that time.
        self._drawn = self._known = 0
        self._chosen_with: tuple = ()  # corrections with which these rays were chosen
        self._tempered = False  # whether gradients are limited after an annotation, see ``temper``
        self._losses_are_here = True  # whether ``losses`` are those of the last step

    # what depends on the device

    def _make_operations(self) -> TorchOperations:
        return TorchOperations()

    def _make_tables(self) -> None:
        """Make gradient and moments, and the float16 table if the kernels can read one."""
        shape, half = self.field.kernels.shape, self.field.kernels.half
        dtype = torch.float16 if half else torch.float32
        self.gradient = GridGradient(shape, self.device, dtype)
        self.moments = GridMoments(shape, self.device)
        self.working_table = self.field.table.detach().half() if half else None

    def _reserve(self, rays: int) -> None:
        """Allocate all tensors that depend on the rays per step; discards rays already chosen."""
        self.rays_per_step, self._drawn = rays, 0
        if self.field.kernels.half:
            self.gradient.scale = HALF_SCALE * rays
        size = (STEPS_PER_UPLOAD, rays)
        self._slots = torch.zeros(size, dtype=torch.int64, device=self.device)
        self._turn = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._report = torch.zeros(rays, RayErrors.COLUMNS, device=self.device)
        self._mailbox = _Mailbox(self._slots, self._losses, self._report)

    @property
    def class_latents(self) -> Float[Tensor, "C D"]:
        """Targets of the language loss for each class, on the processor."""
        return self._class_latents

    @class_latents.setter
    def class_latents(self, latents: Float[Tensor, "C D"]) -> None:
        before = getattr(self, "_class_targets", None)
        with self.graph.stream():
            self._class_latents = latents.cpu()
            if before is not None and before.shape == latents.shape:
                before.copy_(latents)  # in place: a captured step reads the same memory
            else:
                self._class_targets = latents.to(self.device, copy=True)

    # what the mapper changes between steps

    def grow_classes(self, classes: int) -> None:
        """See ``Trainer.grow_classes``; done on the step's stream."""
        with self.graph.stream():
            super().grow_classes(classes)

    def set_label_rows(self, weight: Float[Tensor, "C D"]) -> None:
        """See ``Trainer.set_label_rows``; done on the step's stream."""
        with self.graph.stream():
            super().set_label_rows(weight)

    def grow_table(self, shape: GridShape) -> None:
        """See ``Trainer.grow_table``; done on the step's stream."""
        old = self.field.kernels.shape
        with self.graph.stream():
            super().grow_table(shape)
            if self.working_table is not None:
                grow(self.working_table, old, shape)

    # the step

    def step(
        self,
        keyframes: KeyframeStore,
        reach: VoxelGrid,
        voxels: VoxelGrid | None = None,
        corrections: Corrections | None = None,
    ) -> None:
        """See ``Trainer.step``; ``voxels`` are updated from one in ``STEPS_PER_UPLOAD`` steps.

        Raises:
            DeviceMemoryError: if there is no memory for the keyframes, or for ``LEAST_RAYS``.
        """
        corrections, counted = corrections or self._uncorrected, (self.steps, self.rays)

        def step(rays: int) -> None:
            if rays != self.rays_per_step:
                self._reserve(rays)
            self._step(keyframes, reach, voxels, corrections)

        with self.graph.stream():
            self._at_once.run(step, self.rays_per_step, clear=lambda: self._undo(*counted))

    def _step(
        self,
        keyframes: KeyframeStore,
        reach: VoxelGrid,
        voxels: VoxelGrid | None,
        corrections: Corrections,
    ) -> None:
        if self._needs_the_host():
            self._leave_the_device()
            super().step(keyframes, reach, voxels, corrections)
            self._losses_are_here = True
            return
        self._follow(keyframes, reach, corrections)
        if self._drawn == 0:
            self._exchange(keyframes, voxels, corrections)
        self._drawn -= 1
        self._tempered = corrections.are_fresh(self.rays)
        self.steps += 1
        self.rays += self.rays_per_step
        self.set_rates(self.learning_rate(keyframes.count))
        self.graph.run(self._work, self._signature())
        self._losses_are_here = False

    def _undo(self, steps: int, rays: int) -> None:
        """Undo a step that ran out of memory: reset its counters, gradients and graph."""
        self.steps, self.rays = steps, rays
        self.graph.forget()
        self._forget_gradients()
        self.gradient.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _needs_the_host(self) -> bool:
        """Return whether each step reads or writes data on the processor."""
        parts = (self.language, self._refiner, self._exposure)
        return any(part is not None for part in parts)

    def _leave_the_device(self) -> None:
        """Free what only steps on the device need, if there were any, and take over their losses.

        A pending exchange is dropped: its ray errors are one sample of many, and optimiser state,
        table and counters are the same for both kinds of step.
        """
        self._drawn = 0
        if self._keyframes is not None:
            self.settle()
            self.graph.forget()
            self._keyframes = None

    def keyframes_here(self, keyframes: KeyframeStore) -> DeviceKeyframes | None:
        """See ``Trainer.keyframes_here``."""
        copy = self._keyframes
        return None if copy is None or copy.is_behind(keyframes) else copy

    def settle(self) -> None:
        """Wait until all steps are done, and download the losses of the last one."""
        self.graph.settle()
        if not self._losses_are_here:
            self.losses = dict(zip(self._names, self._losses.tolist(), strict=False))
            self._losses_are_here = True

    def _follow(self, keyframes: KeyframeStore, reach: VoxelGrid, corrections: Corrections) -> None:
        """Upload changes of the keyframes, the voxels and the annotations."""
        if self._keyframes is None:
            self._keyframes = DeviceKeyframes(keyframes, self.device)
        if keyframes.count > self._keyframes.room:
            self.graph.forget()  # frees its memory; the step has to be captured again anyway
        if self._keyframes.is_behind(keyframes):
            self._keyframes.follow(keyframes)
        if self._voxels.version != reach.version:
            self._voxels.load(reach)
        self._corrections.follow(corrections, keyframes, self._keyframes.room)
        choice = corrections.table, corrections.are_fresh(self.rays)
        if keyframes.count < self._known or choice != self._chosen_with:
            self._drawn = 0  # chosen slots may be empty now, or rays have to be chosen otherwise
        self._chosen_with = choice

    def _exchange(
        self, keyframes: KeyframeStore, voxels: VoxelGrid | None, corrections: Corrections
    ) -> None:
        """Upload slots and pixels of the next steps' rays, and use the results of earlier steps.

        The results are the losses and, for the rays of one step, their errors.
        """
        slots, pixels = self._choose(keyframes, corrections, STEPS_PER_UPLOAD)
        packed = self._random.permutation(slots | (pixels + 1) << SLOT_BITS)
        arrived = self._mailbox.exchange(packed.reshape(STEPS_PER_UPLOAD, -1))
        if arrived is not None:
            losses, report = arrived
            self.losses = dict(zip(self._names, losses.tolist(), strict=False))
            if voxels is not None:
                self._note(RayErrors.unpacked(report), keyframes, voxels)
        self._serials = [keyframes.serials.copy(), self._serials[0]]
        self._drawn, self._known = STEPS_PER_UPLOAD, keyframes.count

    def _note(self, errors: RayErrors, keyframes: KeyframeStore, voxels: VoxelGrid) -> None:
        """Record ray errors, see ``note_errors``; rays of replaced keyframes are ignored.

        The errors were downloaded at the last exchange, for rays chosen at the one before.
        """
        is_same = torch.from_numpy(keyframes.serials == self._serials[1])
        is_same[keyframes.count :] = False
        note_errors(errors.chosen(is_same[errors.slot]), voxels, keyframes, self.steps)

    def _signature(self) -> tuple:
        """Return what a captured step depends on; a change requires another capture."""
        assert self._keyframes is not None
        return (
            self._keyframes.room,
            0 if self._keyframes.doubts is None else self._keyframes.doubts.data_ptr(),
            self._voxels.room,
            (self._table.data_ptr(), self.field.kernels.shape),
            (self._class_targets.data_ptr(), self.field.classes),
            self.rank,
            (self._corrections.signature(), self._tempered),
            id(self.optimizer),
            id(self.config),
        )

    def _work(self) -> None:
        """Do the part of a step that runs on the device and is captured."""
        rays = self.draw_here()
        found = self.find_gradients(rays)
        if self._tempered:
            temper(self.optimizer, self.field.label_head)
        self.update()
        self._names = tuple(found.losses)
        self._losses[: len(self._names)].copy_(torch.stack(list(found.losses.values())))
        self._report.copy_(RayErrors.of(rays, found.depth_error, found.color_error).packed())

    def draw_here(self) -> Rays:
        """Draw the rays of this step on the device and return them, with annotations applied."""
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
        self._corrections.apply(rays, self._keyframes.doubts)
        return rays


class _Mailbox:
    """Uploads slots and downloads results through pinned memory, without waiting for results.

    It waits only for its own previous exchange, which limits how far the host runs ahead.
    """

    def __init__(self, slots: Tensor, *results: Tensor) -> None:
        self._slots, self._results = slots, results
        self._outgoing, self._incoming = host_like(slots), [host_like(r) for r in results]
        self._done = torch.cuda.Event() if slots.is_cuda else None
        self._exchanges = 0

    def exchange(self, slots: np.ndarray) -> list[Tensor] | None:
        """Upload slots; returns the results as of the previous exchange, None in the first two."""
        if self._done is not None:
            self._done.synchronize()
        arrived = [result.clone() for result in self._incoming] if self._exchanges > 1 else None
        self._outgoing.copy_(torch.from_numpy(slots))
        self._slots.copy_(self._outgoing, non_blocking=True)
        for host, result in zip(self._incoming, self._results, strict=True):
            host.copy_(result, non_blocking=True)
        if self._done is not None:
            self._done.record()
        self._exchanges += 1
        return arrived
