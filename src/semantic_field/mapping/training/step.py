"""One training step of the field, on any device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.config import MappingConfig
from semantic_field.field.model import SemanticField
from semantic_field.field.rays.compositing import Composite, composite
from semantic_field.field.rays.rays import Rays
from semantic_field.field.rays.sampling import draw_rays
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels import GridGradient, GridMoments, GridShape
from semantic_field.kernels.table_lines import grow
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.language.image_language import NOTHING_SEEN, ImageLanguage, SeenPoints
from semantic_field.mapping.robustness.exposure import Exposure
from semantic_field.mapping.robustness.pose_refinement import PoseRefiner
from semantic_field.mapping.training.adam import Adam, temper
from semantic_field.mapping.training.disagreement import RayErrors, note_errors
from semantic_field.mapping.training.label_head import fixed, grown
from semantic_field.mapping.training.losses import (
    color_loss,
    depth_loss,
    free_space_loss,
    label_loss,
    language_loss,
    near_loss,
)
from semantic_field.mapping.training.operations import (
    HeadResult,
    SharedOperations,
    TorchOperations,
)

BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class Evaluation:
    """Losses and errors of the R rays of one step.

    Attributes:
        losses: weighted losses by name, detached.
        depth_error: (R,), metres along the ray. color_error: (R,), in 0..1. See ``RayErrors``.
        point_grad: gradient (N, 3) with respect to the samples near the surface, if requested.
    """

    losses: dict[str, Float[Tensor, ""]]
    depth_error: Float[Tensor, " R"]
    color_error: Float[Tensor, " R"]
    point_grad: Float[Tensor, "N 3"] | None = None

    def values(self) -> dict[str, float]:
        """Return the losses as numbers by name; waits for the device."""
        numbers = torch.stack(list(self.losses.values())).tolist()
        return dict(zip(self.losses, numbers, strict=True))


class Trainer:
    """Trains a field; owns gradients, optimiser moments, learning rate schedule and counters.

    Computes on the device of the field, but draws rays on the processor; ``DeviceTrainer`` draws
    them on the device.

    Attributes:
        steps, rays: numbers of steps and rays so far.
        rays_per_step: as configured, or less if the device has too little memory.
        losses: weighted losses by name; each of the last step that had it.
        class_latents: float32 (C, D), targets of the language loss for each class, of which the
            first ``rank`` columns are in use.
        language: language training from images, None if there is none.
    """

    def __init__(self, field: SemanticField, config: MappingConfig) -> None:
        self.field, self.config = field, config
        self.device = field.table.device
        self._operations = self._make_operations()
        self._make_tables()
        self.optimizer = Adam(field.network_parameters(), BETAS)
        self.class_latents = torch.zeros(0, field.config.latent_dim)
        self.rank = 0
        self.language: ImageLanguage | None = None
        self.steps = self.rays = 0
        self.rays_per_step = config.rays_per_step
        self.losses: dict[str, float] = {}
        self._random = np.random.default_rng(config.seed)
        self._uncorrected = Corrections(config)
        self._refiner: PoseRefiner | None = None
        self._exposure: Exposure | None = None
        self.adapt(config.refine_poses == "on", config.adapt_exposure == "on")

    # what depends on the device

    def _make_operations(self) -> TorchOperations:
        return SharedOperations(self.config.threads)

    def _make_tables(self) -> None:
        """Make gradient and moments of the grid, and a working copy of its table if needed."""
        shape = self.field.kernels.shape
        self.gradient, self.moments = GridGradient(shape), GridMoments(shape)
        self.working_table: Tensor | None = None

    @property
    def _table(self) -> Float[Tensor, "L T F"]:
        """The table that kernels read: the working copy if there is one."""
        return self.field.table.detach() if self.working_table is None else self.working_table

    @property
    def class_latents(self) -> Float[Tensor, "C D"]:
        """Targets of the language loss for each class, on the processor."""
        return self._class_latents

    @class_latents.setter
    def class_latents(self, latents: Float[Tensor, "C D"]) -> None:
        self._class_latents = latents
        self._class_targets = latents

    def grow_classes(self, classes: int) -> None:
        """Enlarge the label head to at least ``classes`` rows; optimiser moments are kept."""
        self.optimizer = grown(self.field, self.optimizer, classes)

    def set_label_rows(self, weight: Float[Tensor, "C D"]) -> None:
        """Give the label head constant weights; it is not trained any more."""
        self.optimizer = fixed(self.field, self.optimizer, weight)

    def grow_table(self, shape: GridShape) -> None:
        """Enlarge the tables of the grid's levels; the values of the field do not change."""
        field, old = self.field, self.field.kernels.shape
        field.kernels = field.kernels.with_shape(shape)
        for table in (field.table, self.moments.first, self.moments.second):
            grow(table, old, shape)

    def adapt(self, poses: bool, exposures: bool) -> None:
        """Refine poses or adapt exposures from the next step on; what is on stays on.

        Both begin with no correction and learn slowly, so that nothing jumps.
        """
        if poses and self._refiner is None:
            self._refiner = PoseRefiner(self.config)
        if exposures and self._exposure is None:
            self._exposure = Exposure()

    def keyframes_here(self, keyframes: KeyframeStore) -> DeviceKeyframes | None:
        """Return the copy of the keyframes on the device, if there is a complete one."""
        return None

    def learning_rate(self, keyframes: int) -> float:
        """Return the learning rate; it decreases with the rays per keyframe.

        New keyframes therefore raise it again, so that a growing map keeps learning.

        Args:
            keyframes: number of keyframes.
        """
        seen = self.rays / max(keyframes, 1)
        return self.config.learning_rate / (1.0 + seen / self.config.decay_rays)

    def step(
        self,
        keyframes: KeyframeStore,
        reach: VoxelGrid,
        voxels: VoxelGrid | None = None,
        corrections: Corrections | None = None,
    ) -> None:
        """Draw rays from the keyframes and take one optimisation step.

        Args:
            keyframes: the keyframes; there must be one.
            reach: voxels that contain a surface; free-space samples are placed in them.
            voxels: grid in which the errors of the rays are averaged.
            corrections: annotations, which override labels and direct rays.
        """
        corrections = corrections or self._uncorrected
        seen = self.language.seen(self.steps, keyframes) if self.language else NOTHING_SEEN
        rays = self._draw(keyframes, reach, corrections)
        for_poses = self._refiner is not None and self._refiner.is_due(self.steps)
        found = self.find_gradients(rays, seen, keyframes, for_poses)
        self.losses = self.losses | found.values()  # a new dictionary: other threads read the old
        learning_rate = self.learning_rate(keyframes.count)
        if self._refiner is not None and found.point_grad is not None:
            slow_down = learning_rate / self.config.learning_rate
            self._refiner.update(keyframes, rays, found.point_grad, slow_down)
        if voxels is not None:
            errors = RayErrors.of(rays, found.depth_error.cpu(), found.color_error.cpu())
            note_errors(errors, voxels, keyframes, self.steps)
        if corrections.are_fresh(self.rays):
            temper(self.optimizer, self.field.label_head)
        self.steps += 1
        self.rays += self.rays_per_step
        self.set_rates(learning_rate)
        self.update()

    def set_config(self, config: MappingConfig) -> None:
        """Use other settings from the next step on; fixed ones must be the same as before."""
        self.config = self._uncorrected.config = config
        self._operations = self._make_operations()
        if self._refiner is not None:
            self._refiner.config = config

    def settle(self) -> None:
        """Wait until all steps are done, so that the field can be read."""

    def _draw(self, keyframes: KeyframeStore, reach: VoxelGrid, corrections: Corrections) -> Rays:
        config = self.config
        slots, pixels = self._choose(keyframes, corrections)
        rays = draw_rays(
            keyframes.images,
            keyframes.cameras,
            slots,
            reach,
            (config.near_samples, config.free_samples),
            self.field.config.truncation_m,
            config.min_depth_m,
            config.guess_trust,
            seed=(config.seed << 32) + self.steps,
            threads=config.threads,
            contours=keyframes.contours,
            contour_share=config.contour_share,
            depth_noise=config.depth_noise,
            pixels=pixels,
        )
        corrections.apply(rays, keyframes)
        return rays

    def _choose(
        self, keyframes: KeyframeStore, corrections: Corrections | None = None, steps: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Choose slots and pixels (R,) of the rays of several steps; pixel -1 = random.

        A share of the rays goes to labelled pixels, and some to what has just been annotated.
        """
        config, random = self.config, self._random
        rays = steps * self.rays_per_step
        wanted = round(config.labelled_share * rays)
        slots, pixels = keyframes.choose_labelled(wanted, config.class_balance, random)
        rest = rays - len(slots)
        others = keyframes.choose(rest, random, config.replay_by_error)
        slots = np.concatenate([slots, others])
        pixels = np.concatenate([pixels, np.full(rest, -1)])
        if corrections is not None:
            corrections.redirect(slots, pixels, keyframes, self.rays, random)
        return slots, pixels

    @torch.enable_grad()
    def find_gradients(
        self,
        rays: Rays,
        seen: SeenPoints = NOTHING_SEEN,
        keyframes: KeyframeStore | None = None,
        for_poses: bool = False,
    ) -> Evaluation:
        """Compute all losses, and store their gradients for ``update``.

        Args:
            rays: rays on any device; on the processor if there is ``language``.
            seen: further points, used only by ``language``.
            keyframes: the keyframes of the rays; their exposures are applied and updated.
            for_poses: whether to also compute ``point_grad``.
        Returns:
            losses and errors of the rays.
        """
        self._forget_gradients()
        here, near = rays.to(self.device), rays.near_z.numel()
        points, coded = here.points, near + len(seen.points)
        if coded > near:
            new = torch.from_numpy(seen.points).to(self.device)
            points = torch.cat([points[:near], new, points[near:]])
        features = self._encode(points)
        layers = self.field.trunk_in, self.field.trunk_out
        out = self._operations.trunk(layers, features, coded)
        distance, code, seen_code = out.distance, out.code, None
        if coded > near:
            distance, seen_code = distance[:near], code[:, near:]
            code = code[:, :near]
        seen_along = self._composite(here, distance, code)
        losses = self._geometry_losses(here, distance, out.free_distance, seen_along.depth)
        if seen_code is not None and self.language is not None:
            losses |= self.language.losses_of_points(self.field, seen_code.T, seen)
        codes = [seen_along.code]
        if self.language is not None:
            # Language gradients do not flow into the compositing weights.
            codes.append(
                (code.view(len(code), *seen_along.weights.shape) * seen_along.weights).sum(2)
            )
            codes[1].retain_grad()
        heads = self._head_losses(rays, here, codes, keyframes)
        everything = [*losses.values(), heads.total]
        torch.autograd.backward(everything, retain_graph=for_poses and len(codes) > 1)
        assert features.grad is not None
        self._backward_grid(points, features.grad)
        losses = {name: loss.detach() for name, loss in losses.items()} | heads.losses
        depth_error = (seen_along.depth.detach() - here.depth).abs() * here.stretch
        point_grad = self._point_grad(here, features, codes) if for_poses else None
        return Evaluation(losses, depth_error, heads.color_error, point_grad)

    def _forget_gradients(self) -> None:
        self.optimizer.zero_grad()
        if self.language is not None:
            self.language.optimizer.zero_grad()

    def _encode(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "LF N"]:
        return self.field.kernels.encode(points, self._table).requires_grad_()

    def _backward_grid(self, points: Float[Tensor, "N 3"], grad: Float[Tensor, "LF N"]) -> None:
        self.field.kernels.backward_table(points, grad, self.gradient)

    def _composite(self, rays: Rays, distance: Tensor, code: Tensor) -> Composite:
        field = self.field.config
        sharpness, behind = field.truncation_m / field.sharpness_m, 2 * field.truncation_m
        shape = self.config.color_shapes_geometry
        return composite(distance, code, rays.near_z, sharpness, behind, shape)

    def _geometry_losses(
        self,
        rays: Rays,
        distance: Float[Tensor, " N"],
        free_distance: Float[Tensor, " M"],
        depth: Float[Tensor, " R"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the weighted losses of signed distances and of composited depths."""
        config = self.config
        truncation_m, trust = self.field.config.truncation_m, rays.trust
        surface = rays.depth, rays.stretch, trust
        near = near_loss(distance, rays.near_z, *surface, rays.inside, truncation_m)
        free = free_space_loss(free_distance, rays.clearance, trust, truncation_m)
        return {
            "distance": config.distance_weight * near,
            "free_space": config.free_space_weight * free,
            "depth": config.depth_weight * depth_loss(depth, *surface, truncation_m),
        }

    def _head_losses(
        self, drawn: Rays, rays: Rays, codes: list[Tensor], keyframes: KeyframeStore | None
    ) -> HeadResult:
        """Return the weighted losses of colours, labels and language.

        ``drawn`` are the rays as given to ``find_gradients``, ``rays`` those on the device.
        """
        parameters = [p for p in self.field.network_parameters() if p.requires_grad]
        if self.language is not None:
            parameters += self.language.selection.parameters()
        labelled = self.language is None or bool((drawn.label >= 0).any())

        def losses_of(part: slice, code: Tensor, meaning: Tensor | None = None):
            color = self._photographed(rays, part, self.field.color(code), keyframes)
            target, weight = rays.color[part], rays.color_weight[part]
            losses = {"color": self.config.color_weight * color_loss(color, target, weight)}
            if labelled:
                losses |= self._label_losses(rays, part, code)
            if self.language is not None and meaning is not None:
                losses |= self.language.losses_of_rays(self.field, drawn, part, meaning)
            return losses, (color.detach() - target).abs().mean(1) * weight

        return self._operations.heads(losses_of, codes, parameters, self._exposure is not None)

    def _photographed(
        self,
        rays: Rays,
        part: slice,
        color: Float[Tensor, "R 3"],
        keyframes: KeyframeStore | None,
    ) -> Float[Tensor, "R 3"]:
        """Return colours of the field with the exposures of the rays' keyframes applied."""
        if self._exposure is None or keyframes is None:
            return color
        slots = rays.slot[part]
        self._exposure.update(keyframes, slots, color.detach(), rays.color[part], self.steps)
        return self._exposure.applied(keyframes, slots, color)

    def _label_losses(
        self, rays: Rays, part: slice, code: Float[Tensor, "R G"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the weighted losses of labels, and of latents against their class names."""
        config, field = self.config, self.field
        label, weight = rays.label[part], rays.label_weight[part]
        latent = field.latent(code if config.labels_shape_geometry else code.detach())
        of_labels = label_loss(field.label_scores(latent), label, weight)
        of_names = language_loss(latent, label, self._class_targets, self.rank, weight)
        return {
            "label": config.label_weight * of_labels,
            "language": config.language_weight * of_names,
        }

    def _point_grad(
        self, rays: Rays, features: Float[Tensor, "LF P"], codes: list[Tensor]
    ) -> Float[Tensor, "N 3"]:
        """Return the gradient with respect to the samples near the surface.

        The gradient of the language losses is subtracted: language must not change camera poses.
        """
        near, grad = rays.near_z.numel(), features.grad
        assert grad is not None
        if len(codes) > 1 and codes[1].grad is not None:
            grad = grad - torch.autograd.grad(codes[1], features, codes[1].grad)[0]
        return self.field.kernels.backward_points(rays.near_points, self._table, grad[:, :near])

    def set_rates(self, learning_rate: float) -> None:
        """Set the learning rate of the next ``update``; networks use ``network_rate`` times it."""
        self.field.kernels.set_rates(self.steps, learning_rate, BETAS)
        for optimizer in self._optimizers():
            optimizer.rate.fill_(learning_rate * self.config.network_rate)

    def update(self) -> None:
        """Update table and networks by the gradients that ``find_gradients`` has stored."""
        self.field.kernels.apply_adam(
            self.field.table.detach(), self.gradient, self.moments, self.working_table
        )
        for optimizer in self._optimizers():
            optimizer.step()

    def _optimizers(self) -> list[Adam]:
        return [self.optimizer] + ([self.language.optimizer] if self.language else [])
