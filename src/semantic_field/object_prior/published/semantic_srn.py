"""Semantic SRN: an auto-decoder of a category whose features know its parts.

Sitzmann et al., Scene Representation Networks (NeurIPS 2019), with labels after Kohli et al.,
Semantic Implicit Neural Scene Representations With Semi-Supervised Training (3DV 2020). Defaults
of the settings are the published sizes; docs/object_prior.md lists what differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from semantic_field.generalizable.training.training_settings import ScheduleSettings
from semantic_field.kernels.precision import product_type
from semantic_field.object_prior.prior_model import CanonicalRays, PriorPixels
from semantic_field.object_prior.published.factored_adam import FactoredAdam
from semantic_field.object_prior.published.fused_step import FusedRendering
from semantic_field.object_prior.published.hypernetwork import (
    HyperNetwork,
    fully_connected,
    phi,
)
from semantic_field.object_prior.published.part_unet import PartUNet
from semantic_field.object_prior.published.ray_marcher import RayMarcher, ray_points
from semantic_field.object_prior.published.srn_losses import (
    SRNLossWeights,
    color_loss,
    depth_loss,
    label_loss,
    target_channels,
)
from semantic_field.object_prior.trainable_prior import (
    PriorSubject,
    TrainablePrior,
    TrainingObjects,
)
from semantic_field.object_prior.training.image_batches import ImageBatch, ImageBatches, Stage
from semantic_field.settings import Settings, option

CODE_BETAS, CODE_EPSILON = (0.5, 0.5), 1e-5  # of the sparse Adam


@dataclass(frozen=True)
class SemanticSRNConfig(Settings):
    """Sizes of the networks, weights of the losses and stages of the training."""

    code_dim: int = option(256, "length of a code", 1)
    code_spread: float = option(0.01, "standard deviation of the codes at the beginning", 0.0)
    hyper_width: int = option(256, "width of the networks that generate phi", 1)
    width: int = option(256, "width of phi, and of the pixel generator", 1)
    depth: int = option(4, "layers of phi", 1)
    march_steps: int = option(10, "steps of a ray", 1)
    march_hidden: int = option(16, "size of the ray marcher's state", 1)
    start: str = option(
        "camera",
        "where rays begin: camera (as published), or sphere: where they enter the object's sphere",
        choices=("camera", "sphere"),
    )
    start_depth: float = option(0.05, "depth along z of the rays' beginning, canonical units", 0.0)
    pixel_layers: int = option(5, "layers of the pixel generator of that width", 1)
    fully_supervised: bool = option(False, "labels from a U-Net that is trained with the rest")
    products: str = option(
        "auto",
        "of matrices in the training: bfloat16 (CPU only, not with the U-Net), float32, or the "
        "faster one",
        choices=("auto", "bfloat16", "float32"),
    )
    unet_width: int = option(64, "channels of the U-Net at full resolution", 1)
    unet_downs: int = option(4, "halvings of the U-Net", 1)
    weights: SRNLossWeights = field(default_factory=SRNLossWeights)
    stages: tuple[Stage, ...] = (Stage(64, 4, 5000), Stage(128, 8, 150000))


class SemanticSRN(TrainablePrior):
    """The published prior: code -> hypernetwork -> phi, marched rays, colours per pixel.

    The fourth channel of the pixel generator is the object's mask. (The released code loads four
    channels of images whose background is opaque, so that its fourth channel is 1 everywhere.)
    """

    config: SemanticSRNConfig

    def __init__(self, config: SemanticSRNConfig, subject: PriorSubject) -> None:
        super().__init__(config, subject)
        self.codes = nn.Embedding(len(subject.instances), config.code_dim, sparse=True)
        nn.init.normal_(self.codes.weight, std=config.code_spread)
        width = config.width
        self.hyper = HyperNetwork(config.code_dim, config.hyper_width, width, config.depth)
        self.marcher = RayMarcher(
            width, config.march_hidden, config.march_steps, config.start, config.start_depth
        )
        self.pixel_generator = fully_connected([width] * (config.pixel_layers + 1) + [4])
        self._fused = FusedRendering(self.marcher, self.pixel_generator)
        self.label_layer = self.make_label_layer(width)
        if config.fully_supervised:
            classes = len(subject.part_names) + 1
            self.class_generator = PartUNet(width, classes, config.unet_width, config.unet_downs)

    @property
    def learns_labels(self) -> bool:
        """Whether a U-Net learns the parts with the rest."""
        return self.config.fully_supervised

    def features(self, codes: Tensor, points: Tensor) -> Tensor:
        """Return phi's features (B, N, F) at canonical points (B, N, 3)."""
        return phi(self.hyper(codes), points)

    def render(self, codes: Tensor, rays: CanonicalRays) -> PriorPixels:
        """Return what rays see of the objects of codes (B, D)."""
        layers = self.hyper(codes)
        distance = self.marcher(lambda points: phi(layers, points), rays)
        points = ray_points(rays, distance)
        features = phi(layers, points)
        channels = 0.5 * self.pixel_generator(features) + 0.5  # trained in -1..1
        return PriorPixels(
            color=_clamped(channels[..., :3]),
            distance=distance,
            opacity=_clamped(channels[..., 3]),
            points=points,
            features=features,
        )

    def label_logits(self, pixels: PriorPixels) -> Tensor:
        """Return the class scores (B, R, C + 1); the U-Net wants all pixels of square images.

        Raises:
            ValueError: if the U-Net gets rays that are no square image.
        """
        if not self.config.fully_supervised:
            return super().label_logits(pixels)
        return self._class_scores(pixels.features)

    def _class_scores(self, features: Tensor) -> Tensor:
        side = math.isqrt(features.shape[1])
        if side * side != features.shape[1]:
            raise ValueError(
                "expected the rays of a square image, row by row, for the class generator, got "
                f"{features.shape[1]} rays; render whole images"
            )
        images = features.transpose(1, 2).unflatten(2, (side, side))
        return self.class_generator(images).flatten(2).transpose(1, 2)

    def batches(
        self, data: TrainingObjects, schedule: ScheduleSettings
    ) -> Callable[[int], ImageBatch]:
        """Return what draws the views of a step, with the sizes of the stages."""
        return ImageBatches(data, self.config.stages, schedule.seed)

    def losses(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Return the weighted terms: colour, code, depth; with a U-Net also class.

        Raises:
            ValueError: if classes are to be learnt and the views are not labelled.
        """
        weights, codes = self.config.weights, self.codes(batch.instances)
        fused = self._is_fused(codes.device)
        layers = self.hyper(codes, factored=fused)
        code_term = weights.code * codes.square().mean()
        if fused:
            color, depth = self._fused.terms(
                layers, batch.rays, target_channels(batch), weights.color, weights.depth
            )
            return {"color": color, "code": code_term, "depth": depth}
        distance = self.marcher(lambda points: phi(layers, points), batch.rays)
        features = phi(layers, ray_points(batch.rays, distance))
        channels = self.pixel_generator(features)
        terms = {
            "color": weights.color * color_loss(channels, target_channels(batch)),
            "code": code_term,
            "depth": weights.depth * depth_loss(distance * batch.rays.cosines),
        }
        if self.config.fully_supervised:
            if batch.parts is None:
                raise ValueError(
                    "expected labelled views to learn classes from, got views without parts; set "
                    "model.fully_supervised to false, or give objects with seg/"
                )
            scores = self._class_scores(features)
            terms["label"] = weights.label * label_loss(scores, batch.parts)
        return terms

    def _is_fused(self, device: torch.device) -> bool:
        """Whether the rendering terms are computed in chunks with bfloat16 products."""
        wanted = self.config.products
        if wanted == "auto":
            fast = device.type == "cpu" and product_type() == torch.bfloat16
            return fast and not self.config.fully_supervised
        if wanted == "bfloat16" and (device.type != "cpu" or self.config.fully_supervised):
            raise ValueError(
                "expected model.products auto or float32 on a GPU and with fully_supervised, got "
                "bfloat16, which is for CPUs and colours; set model.products to auto"
            )
        return wanted == "bfloat16"

    def optimizers(self, schedule: ScheduleSettings) -> Sequence[torch.optim.Optimizer]:
        """Return Adam of the networks, and a sparse one of the codes: only those of a batch move.

        Moments of a code that is not in a batch stay; its count of steps is that of all.
        """
        rate = schedule.learning_rate
        codes = torch.optim.SparseAdam([self.codes.weight], rate, CODE_BETAS, CODE_EPSILON)
        wide = self.hyper.last_weights() if self._is_fused(self.codes.weight.device) else []
        apart = {id(parameter) for parameter in [*wide, self.codes.weight]}
        others = [
            parameter
            for name, parameter in self.named_parameters()
            if not name.startswith("label_layer.") and id(parameter) not in apart
        ]
        adam = torch.optim.Adam(others, rate, fused=True)
        return [adam, FactoredAdam(wide, rate), codes] if wide else [adam, codes]


def _clamped(value: Tensor) -> Tensor:
    """Return a value clamped to 0..1 whose gradient passes as if it were not."""
    return value + (value.clamp(0, 1) - value).detach()
