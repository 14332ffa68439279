"""One training step of the field, written out by hand: no autograd outside the heads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.config import MappingConfig
from semantic_field.field.model import SemanticField, affine
from semantic_field.field.rays.compositing import Composite
from semantic_field.field.rays.sampling import RaySamples, draw_rays
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels import GridGradient, GridMoments, GridShape
from semantic_field.kernels.table_lines import grow
from semantic_field.kernels.threads import split
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.language.image_language import NOTHING_SEEN, ImageLanguage
from semantic_field.mapping.robustness.exposure import Exposure
from semantic_field.mapping.robustness.pose_refinement import PoseRefiner
from semantic_field.mapping.training.adam import Adam, padded, temper
from semantic_field.mapping.training.disagreement import RayErrors, note_errors
from semantic_field.mapping.training.head_gradients import gradients_by_share
from semantic_field.mapping.training.losses import (
    color_loss,
    depth_loss,
    free_space_loss,
    label_loss,
    language_loss,
    near_loss,
)
from semantic_field.mapping.training.trunk_gradients import at_features, trunk_backward

BETAS = (0.9, 0.99)


class Trainer:
    """Owns what training adds to a field: gradients, moments, the schedule and the counters.

    Attributes:
        steps, rays: done so far. losses: by name, of the last step that had it, weighted.
        class_latents: float32 (C, D), what the language loss pulls each class to; ``rank`` of
            its columns are in use.
        language: what is learnt from dense embeddings of images, if anything.
        seen: surface points of this step beside those of rays, for ``language`` alone.
    """

    def __init__(self, field: SemanticField, config: MappingConfig) -> None:
        self.field, self.config = field, config
        shape = field.kernels.shape
        self.gradient, self.moments = GridGradient(shape), GridMoments(shape)
        self.optimizer = self._make_optimizer()
        self.class_latents = torch.zeros(0, field.config.latent_dim)
        self.rank = 0
        self.language: ImageLanguage | None = None
        self.seen = NOTHING_SEEN
        self.steps = self.rays = 0
        self.losses: dict[str, float] = {}
        self._random = np.random.default_rng(config.seed)
        self._uncorrected = Corrections(config)
        self._refiner = PoseRefiner(config) if config.refine_poses else None
        self._exposure = Exposure() if config.adapt_exposure else None
        self._store: KeyframeStore | None = None
        self._depth_error = self._color_error = np.zeros(0, np.float32)
        self._of_meaning: Tensor | None = None  # what language adds to the gradient at the samples

    def _make_optimizer(self) -> Adam:
        return Adam(self.field.network_parameters(), BETAS)

    def grow_classes(self, classes: int) -> None:
        """Grow the label head; its optimiser moments keep what they hold."""
        old_head = self.field.label_head
        old_rows = old_head.out_features
        if classes <= old_rows:
            return
        self.field.grow_classes(classes)
        new_head = self.field.label_head
        state = self.optimizer.state
        kept = {p: state[p] for p in state if p is not old_head.weight and p is not old_head.bias}
        fresh = self._make_optimizer()
        for parameter, values in kept.items():
            fresh.state[parameter] = values
        for old, new in ((old_head.weight, new_head.weight), (old_head.bias, new_head.bias)):
            if old in state:
                fresh.state[new] = padded(state[old], new, old_rows)
        self.optimizer = fresh

    def set_label_rows(self, weight: Float[Tensor, "C D"]) -> None:
        """Let the label head say what ``weight`` says, and learn nothing more."""
        head = torch.nn.Linear(weight.shape[1], max(1, len(weight)), device=weight.device)
        head.out_features = len(weight)
        head.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
        head.bias = torch.nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False)
        self.field.label_head = head
        state = self.optimizer.state
        kept = {p: state[p] for p in self.field.network_parameters() if p in state}
        self.optimizer = self._make_optimizer()
        for parameter, values in kept.items():
            self.optimizer.state[parameter] = values

    def grow_table(self, shape: GridShape) -> None:
        """Let levels of the grid use more of their tables; the field stays what it is."""
        field, old = self.field, self.field.kernels.shape
        field.kernels = field.kernels.with_shape(shape)
        for table in (field.table, self.moments.first, self.moments.second):
            grow(table, old, shape)

    def learning_rate(self, keyframes: int) -> float:
        """Falls as rays per keyframe grow, so a growing map keeps learning."""
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

        ``reach`` are the voxels in which readers will look for a surface; ``voxels`` learn how
        far images and map disagree; ``corrections`` say where rays should look and which labels
        they have.
        """
        self.seen = self.language.seen(self.steps, keyframes) if self.language else NOTHING_SEEN
        self._store = keyframes
        learning_rate = self.learning_rate(keyframes.count)
        rays = self._draw(keyframes, reach, corrections or self._uncorrected)
        feature_grad = self.find_gradients(rays)
        if self._refiner is not None:
            if self._of_meaning is not None:  # no image moves because of what it means
                feature_grad[:, : rays.near_z.size] -= self._of_meaning
            slow_down = learning_rate / self.config.learning_rate
            self._refiner.update(keyframes, rays, self.field, feature_grad, self.steps, slow_down)
        if voxels is not None and len(self._color_error):
            errors = RayErrors(self._depth_error, self._color_error)
            note_errors(rays, errors, voxels, keyframes, self.steps)
        if corrections is not None and corrections.are_fresh(self.rays):
            temper(self.optimizer, self.field.label_head)
        self.steps += 1
        self.rays += self.config.rays_per_step
        self._update(learning_rate)

    def set_config(self, config: MappingConfig) -> None:
        """Use other settings from the next step on; fixed ones must stay as they are."""
        self.config = self._uncorrected.config = config
        if self._refiner is not None:
            self._refiner.config = config

    def settle(self) -> None:
        """Wait until all steps are done: what is read after it is whole."""

    def find_gradients(self, rays: RaySamples) -> Float[Tensor, "LF N"]:
        """Evaluate all losses on the rays, and leave their gradients where ``step`` finds them.

        Returns the gradient with respect to the features of the points: samples near surfaces,
        then points seen by the language of images, then samples in free space.
        """
        near, threads = rays.near_z.size, self.config.threads
        points = rays.points
        if len(self.seen.points):
            points = np.concatenate([points[:near], self.seen.points, points[near:]])
        free = near + len(self.seen.points)
        features = self.field.kernels.encode(torch.from_numpy(points), self.field.table)
        hidden = affine(self.field.trunk_in, features, True, threads)
        out = affine(self.field.trunk_out, hidden[:, :near], False, threads)
        seen_out = affine(self.field.trunk_out, hidden[:, near:free], False, threads)
        free_grad = self._free_space(rays, hidden[:, free:])
        surface_grad, seen_grad = self._surface(rays, out, seen_out, hidden[:, :near])
        blocks = [(0, surface_grad), (near, seen_grad), (free, free_grad)]
        layers = self.field.trunk_in, self.field.trunk_out
        feature_grad = trunk_backward(layers, features, hidden, blocks, threads)
        self.field.kernels.backward_table(torch.from_numpy(points), feature_grad, self.gradient)
        return feature_grad

    def _draw(
        self, keyframes: KeyframeStore, reach: VoxelGrid, corrections: Corrections
    ) -> RaySamples:
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
        """Slots and pixels (R,) of the rays of some steps, -1 = a random pixel.

        A share goes to labelled pixels, and of the others one to what was just annotated.
        """
        config, random = self.config, self._random
        rays = steps * config.rays_per_step
        wanted = round(config.labelled_share * rays)
        slots, pixels = keyframes.choose_labelled(wanted, config.class_balance, random)
        rest = rays - len(slots)
        others = keyframes.choose(rest, random, config.replay_by_error)
        slots = np.concatenate([slots, others])
        pixels = np.concatenate([pixels, np.full(rest, -1)])
        if corrections is not None:
            corrections.redirect(slots, pixels, keyframes, self.rays, random)
        return slots, pixels

    def _free_space(self, rays: RaySamples, hidden: Float[Tensor, "H M"]) -> Float[Tensor, "1 M"]:
        """The gradient with respect to the signed distances in free space."""
        row, bias = self.field.trunk_out.weight[0].detach(), self.field.trunk_out.bias[0]
        distance = (row @ hidden + bias.detach()).numpy()
        weight, threads = self.config.free_space_weight, self.config.threads
        loss, grad = free_space_loss(distance, rays.trust, weight, threads)
        self.losses |= {"free_space": loss}  # never without the others: read from other threads
        return torch.from_numpy(grad)[None]

    def _surface(
        self,
        rays: RaySamples,
        out: Float[Tensor, "O N"],
        seen_out: Float[Tensor, "O X"],
        hidden: Float[Tensor, "H N"],
    ) -> tuple[Float[Tensor, "O N"], Float[Tensor, "O X"]]:
        """All losses near the surface; the gradients with respect to the trunk's outputs."""
        config, field = self.config, self.field.config
        truncation, threads = field.truncation_m, config.threads
        composite = Composite(
            out, rays.near_z, truncation / field.sharpness_m, 2 * truncation, threads
        )
        geometry = (rays.depth, rays.stretch, rays.trust, truncation)
        near, distance_grad = near_loss(
            out[0].numpy(), rays.near_z, *geometry, config.distance_weight, threads
        )
        depth, depth_grad = depth_loss(composite.depth, *geometry, config.depth_weight)
        self._depth_error = np.abs(composite.depth - rays.depth) * rays.stretch
        code_grad, meaning_grad = self._heads(rays, composite.code)
        out_grad = torch.empty_like(out)
        out_grad[0] = torch.from_numpy(distance_grad)
        composite.backward(code_grad, depth_grad, out_grad, config.color_shapes_geometry)
        self.losses |= {"distance": near, "depth": depth}
        if self.language is not None:
            # Language moves what samples mean, never how much they count along the ray.
            spread = meaning_grad[:, :, None] * torch.from_numpy(composite.weights)
            out_grad[1:] += spread.flatten(1)
            if self._refiner is not None:
                layers = self.field.trunk_in, self.field.trunk_out
                self._of_meaning = at_features(layers, spread.flatten(1), hidden)
        return out_grad, self._seen_surface(seen_out)

    def _seen_surface(self, out: Float[Tensor, "O X"]) -> Float[Tensor, "O X"]:
        """The losses of the points that language sees; gradients of the trunk's outputs there."""
        grad = torch.zeros_like(out)
        if self.language is not None and len(self.seen.points):
            with torch.enable_grad():
                code = out[1:].detach().requires_grad_()
                losses = self.language.losses_of_points(self.field, code.T, self.seen)
                torch.stack(list(losses.values())).sum().backward()
            assert code.grad is not None
            grad[1:] = code.grad
            self.losses |= {name: float(loss.detach()) for name, loss in losses.items()}
        return grad

    def _heads(
        self, rays: RaySamples, code: Float[Tensor, "G R"]
    ) -> tuple[Float[Tensor, "G R"], Float[Tensor, "G R"]]:
        """The heads' losses by autograd; their parameters' gradients are left in ``.grad``.

        Each thread takes a share of the rays; exposures are learnt from all of them at once.
        Returns the gradients of given labels and colours, and those of the language of images.
        """
        count = rays.color.shape[0]
        self._color_error = np.empty(count, np.float32)
        shares = split(count, 1 if self._exposure else self.config.threads)
        parameters = [p for p in self.field.network_parameters() if p.requires_grad]
        if self.language is not None:
            parameters += self.language.selection.parameters()
        losses_of = partial(self._losses_of_rays, rays)
        losses, code_grad, meaning_grad = gradients_by_share(losses_of, code, parameters, shares)
        self.losses |= losses
        return code_grad, meaning_grad

    def _losses_of_rays(
        self, rays: RaySamples, part: slice, code: Float[Tensor, "R G"], meaning: Tensor
    ) -> dict[str, Tensor]:
        """Losses of the heads on a part of the rays; the language of images reads ``meaning``."""
        labelled = self.language is None or bool((rays.label >= 0).any())
        losses = self.head_losses(
            code,
            torch.from_numpy(rays.color[part]),
            torch.from_numpy(rays.label[part]) if labelled else None,
            lambda color: self._photographed(rays, color, part),
            torch.from_numpy(rays.label_weight[part]),
            torch.from_numpy(rays.color_weight[part]),
        )
        if self.language is not None:
            losses |= self.language.losses_of_rays(self.field, rays, part, meaning)
        return losses

    def _photographed(
        self, rays: RaySamples, color: Float[Tensor, "R 3"], part: slice
    ) -> Float[Tensor, "R 3"]:
        """Colours of some rays as their cameras show them; notes how far off they are."""
        if self._exposure is not None and self._store is not None:
            found = color.detach().numpy()
            self._exposure.update(self._store, rays.slot, found, rays.color, self.steps)
            color = self._exposure.applied(self._store, rays.slot, color)
        error = np.abs(color.detach().numpy() - rays.color[part]).mean(1)
        self._color_error[part] = error * rays.color_weight[part]
        return color

    def head_losses(
        self,
        code: Float[Tensor, "R G"],
        color: Float[Tensor, "R 3"],
        label: Int[Tensor, " R"] | None,
        photographed: Callable[[Tensor], Tensor] | None = None,
        label_weight: Float[Tensor, " R"] | None = None,
        color_weight: Float[Tensor, " R"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The losses of what the heads say about composited codes, weighted.

        Without a ``label`` there are only those of colours. ``photographed`` makes what the rays'
        cameras show of the field's colours; ``label_weight`` and ``color_weight`` are those of each
        ray's label and colour, 1 where they are not given.
        """
        config, field = self.config, self.field
        seen = field.color(code)
        if photographed is not None:
            seen = photographed(seen)
        losses = {"color": config.color_weight * color_loss(seen, color, color_weight)}
        if label is None:
            return losses
        latent = field.latent(code if config.labels_shape_geometry else code.detach())
        of_labels = label_loss(field.label_scores(latent), label, label_weight)
        of_names = language_loss(latent, label, self.class_latents, self.rank, label_weight)
        return losses | {
            "label": config.label_weight * of_labels,
            "language": config.language_weight * of_names,
        }

    def _update(self, learning_rate: float) -> None:
        self.field.kernels.adam_step(
            self.field.table.data, self.gradient, self.moments, self.steps, learning_rate, BETAS
        )
        optimizers = [self.optimizer] + ([self.language.optimizer] if self.language else [])
        for optimizer in optimizers:
            optimizer.rate.fill_(learning_rate * self.config.network_rate)
            optimizer.step()
            optimizer.zero_grad()
