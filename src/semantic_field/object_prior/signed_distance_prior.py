"""The prior of signed distances: an auto-decoder whose rays are traced by sphere tracing.

The auto-decoder of signed distances is DeepSDF (Park et al. 2019); colour and labels are read where
a ray meets the surface. See ``DistanceNetwork`` for how a code makes the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from semantic_field.generalizable.training.training_settings import ScheduleSettings
from semantic_field.object_prior.prior_model import CanonicalRays, PriorPixels
from semantic_field.object_prior.signed_distance.active_rays import ActiveRays
from semantic_field.object_prior.signed_distance.distance_losses import (
    DistanceBatch,
    DistanceLossWeights,
    color_loss,
    distance_loss,
    sign_loss,
)
from semantic_field.object_prior.signed_distance.distance_network import (
    DistanceNetwork,
    DistanceSizes,
    InstanceLayers,
)
from semantic_field.object_prior.signed_distance.ray_gradients import (
    opacity_of,
    scattered,
    with_implicit_gradient,
)
from semantic_field.object_prior.signed_distance.sample_batches import (
    SampleBatches,
    SampleSettings,
)
from semantic_field.object_prior.signed_distance.sphere_tracing import TracingPlan, trace
from semantic_field.object_prior.trainable_prior import (
    PriorSubject,
    TrainablePrior,
    TrainingObjects,
)
from semantic_field.settings import Settings, option

FARTHEST = 8.0
"""Rays that pass at more than so many softnesses get no colour: their opacity is below 1/3000."""
LEAST = 1e-37  # probability whose logarithm is taken


@dataclass(frozen=True)
class SignedDistanceConfig(Settings):
    """Settings of a prior of signed distances."""

    sizes: DistanceSizes = field(default_factory=DistanceSizes)
    samples: SampleSettings = field(default_factory=SampleSettings)
    losses: DistanceLossWeights = field(default_factory=DistanceLossWeights)
    code_spread: float = option(0.2, "deviation of the first codes", 0.0)
    code_rate: float = option(5.0, "learning rate of the codes, in those of the network", 0.0)
    softness: float = option(
        0.002, "width of a silhouette: distance over which opacity falls, canonical units", 1e-6
    )
    reach: float = option(1.15, "half the edge of the cube in which there is surface", 0.1)
    margin: float = option(
        0.1, "of the box of rays beyond the training instances, canonical units", 0.0
    )


class SignedDistancePrior(TrainablePrior):
    """Codes of geometry and colour -> signed distances, colours and features.

    Features for labels are those of φ's first layers: they know places better than the last ones,
    which only know distance and colour, and so a few labelled instances say more about others.

    Attributes:
        box: lowest and highest corner (2, 3) of where rays are traced: that of all training
            instances, once their samples are known.
        softness: width of a silhouette, canonical units; larger while codes are far from right.
        plan: how rays are followed.
    """

    config: SignedDistanceConfig
    box: Tensor

    def __init__(self, config: SignedDistanceConfig, subject: PriorSubject) -> None:
        super().__init__(config, subject)
        sizes = config.sizes
        self.codes = nn.Embedding(len(subject.instances), sizes.geometry_dim + sizes.color_dim)
        nn.init.normal_(self.codes.weight, std=config.code_spread)
        self.network = DistanceNetwork(sizes)
        self.label_layer = self.make_label_layer(
            sizes.width * min(sizes.label_levels, sizes.layers)
        )
        reach = torch.full((3,), config.reach)
        self.register_buffer("box", torch.stack([-reach, reach]))
        self.softness = config.softness
        self.plan = TracingPlan()

    @property
    def geometry_dim(self) -> int:
        """How many numbers of a code, the first ones, describe the shape; the others the colour."""
        return self.config.sizes.geometry_dim

    def distances(
        self, codes: Float[Tensor, "B D"], points: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B N"]:
        """Return signed distances, canonical units, negative inside."""
        layers = self.network.instance_layers(codes)
        return self.network.distance(self.network.hidden(layers, points))

    def colors(
        self, codes: Float[Tensor, "B D"], points: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B N 3"]:
        """Return the colours (sRGB 0..1) of surface points."""
        layers = self.network.instance_layers(codes)
        return self.network.color(layers, self.network.hidden(layers, points))

    def features(self, codes: Tensor, points: Tensor) -> Tensor:
        """Return the features (B, N, F) at canonical points (B, N, 3)."""
        layers = self.network.instance_layers(codes)
        return self._features(self.network.levels(layers, points))

    def _features(self, levels: list[Tensor]) -> Tensor:
        return torch.cat(levels[: self.config.sizes.label_levels], dim=-1)

    def part_logits(self, features: Tensor) -> Tensor:
        """Return the scores (..., C) of the parts, without background, of features (..., F)."""
        layer = self.label_layer
        return linear(features, layer.weight[1:], layer.bias[1:])

    def label_logits(self, pixels: PriorPixels) -> Tensor:
        """Return log probabilities (B, R, C + 1) of rendered rays; 0 = background.

        The background is where a ray misses: its probability is 1 - opacity. The parts share the
        opacity as the linear layer says, whose row 0 is not used.
        """
        seen = pixels.opacity.unsqueeze(-1)
        parts = self.part_logits(pixels.features).log_softmax(dim=-1)
        missed = (1.0 - seen).clamp_min(LEAST).log()
        return torch.cat([missed, seen.clamp_min(LEAST).log() + parts], dim=-1)

    def render(self, codes: Tensor, rays: CanonicalRays) -> PriorPixels:
        """Return what rays see of the objects of codes (B, D).

        Features are 0 where a ray passes far from the object.
        """
        network, layers = self.network, self.network.instance_layers(codes)

        def distance(points: Tensor) -> Tensor:
            return network.distance(network.hidden(layers, points))

        origins, directions = rays.origins, rays.directions
        ends = trace(distance, origins, directions, (self.box[0], self.box[1]), self.plan)
        crossing = ActiveRays.of(ends.inside)
        places = crossing.take(origins) + crossing.take(directions) * crossing.take(
            ends.least
        ).unsqueeze(-1)
        opacity = scattered(
            crossing, opacity_of(distance(places), self.softness), origins.shape[1], 0.0
        )
        seen = ActiveRays.of(ends.least_distance < FARTHEST * self.softness)
        return self._seen(layers, distance, rays, seen, ends.surface, ends.hit, opacity)

    def _seen(
        self,
        layers: InstanceLayers,
        distance: Callable[[Tensor], Tensor],
        rays: CanonicalRays,
        seen: ActiveRays,
        surface: Tensor,
        hit: Tensor,
        opacity: Tensor,
    ) -> PriorPixels:
        """Return the pixels, with colours and features of the rays that see something."""
        count = surface.shape[1]
        own_origins, own_directions = seen.take(rays.origins), seen.take(rays.directions)
        at = with_implicit_gradient(
            distance, own_origins, own_directions, seen.take(surface), seen.take(hit)
        )
        levels = self.network.levels(layers, own_origins + own_directions * at.unsqueeze(-1))
        color = scattered(seen, self.network.color(layers, levels[-1]), count, 1.0)
        along = seen.put(surface, at)
        share = opacity.unsqueeze(-1)
        return PriorPixels(
            color=share * color + (1.0 - share),
            distance=along,
            opacity=opacity,
            points=rays.origins + rays.directions * along.unsqueeze(-1),
            features=scattered(seen, self._features(levels), count, 0.0),
        )

    def batches(
        self, data: TrainingObjects, schedule: ScheduleSettings
    ) -> Callable[[int], DistanceBatch]:
        """Return what draws the samples of a step; rays are traced where the instances are."""
        config = self.config
        found = SampleBatches(data, config.samples, schedule.seed)
        low, high = found.bounds()
        box = torch.stack([low - config.margin, high + config.margin])
        self.box.copy_(box.clamp(-config.reach, config.reach))
        return found

    def losses(self, batch: DistanceBatch) -> dict[str, Tensor]:
        """Return the weighted terms: distance, sign, colour, code."""
        weights, codes = self.config.losses, self.codes(batch.instances)
        network, count = self.network, batch.points.shape[1]
        with torch.autocast("cpu", torch.bfloat16, enabled=self._in_bfloat16()):
            layers = network.instance_layers(codes)
            hidden = network.hidden(layers, torch.cat([batch.points, batch.surface], dim=1))
            color = network.color(layers, hidden[:, count:])
        distances = network.distance(hidden[:, :count].float())
        return {
            "distance": weights.distance * distance_loss(distances, batch.distances, weights.near),
            "sign": weights.sign * sign_loss(distances, batch.distances, weights.edge),
            "color": weights.color * color_loss(color.float(), batch.colors),
            "code": weights.code * codes.square().mean(),
        }

    def _in_bfloat16(self) -> bool:
        """Return whether the large products are in bfloat16: where a CPU has units for it."""
        on_cpu = self.codes.weight.device.type == "cpu"
        return on_cpu and self.config.samples.bfloat16 and torch.cpu._is_amx_tile_supported()

    def optimizers(self, schedule: ScheduleSettings) -> Sequence[torch.optim.Optimizer]:
        """Return Adam of the network, and one of the codes that forgets sooner."""
        rate = schedule.learning_rate
        return [
            torch.optim.Adam(self.network.parameters(), rate, fused=True),
            torch.optim.Adam([self.codes.weight], self.config.code_rate * rate, (0.9, 0.99)),
        ]
