"""GP-NeRF (Li et al. 2024): transformers over views and rays render features, a head reads them.

Closed set: the semantic features of the sources are rendered with the attention of the radiance
branch, and a perception head classifies the image of rendered features. Carried: the same
attention says how much each source's label (or latent) counts at each sample, and a head that
never sees classes weighs neighbouring rays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from semantic_field.generalizable.carrying import carried_labels, carried_latents
from semantic_field.generalizable.gathering import Gathered, at_pixels, gather, interpolated
from semantic_field.generalizable.gp_nerf_config import GPNeRFConfig
from semantic_field.generalizable.gp_nerf_losses import (
    class_loss,
    color_loss,
    depth_guided_loss,
    depth_loss,
    distillation_loss,
    vote_loss,
)
from semantic_field.generalizable.guided_samples import (
    GuidedSamples,
    guided_samples,
    sample_counts,
)
from semantic_field.generalizable.instance_losses import instance_losses
from semantic_field.generalizable.inverse_depth_samples import (
    importance_samples,
    inverse_depth_samples,
)
from semantic_field.generalizable.model import GeneralizableModel, Prediction, Truth
from semantic_field.generalizable.perception_head import HEADS, NeighbourFilter, filtered
from semantic_field.generalizable.ray_aggregation import (
    Aggregated,
    RayAggregation,
    beside_target_depth,
    in_the_world,
)
from semantic_field.generalizable.resnet_extractor import ResNetExtractor
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.view_evidence import Borders, borders, view_evidence

LEAST_SIDE = 16  # of an image of rays whose own features can teach
RAY_NUMBERS = 6  # what the filter hears of a ray beside its features


@dataclass(frozen=True)
class RenderedRays:
    """What h x w rays carry before a head sees them. None: not of this kind of model.

    Attributes:
        color, depth: RGB and metres; depth is 0 where nothing is seen.
        feature: float32 (h, w, W), radiance features.
        seen: bool (h, w), whether any source sees any sample.
        share: float32 (h, w), samples of views that see, of all.
        depths, weights: float32 (h, w, S), of the samples.
        coarse: colours of the coarse pass (None with guided samples).
        meaning: float32 (h, w, S, D), semantic features of the samples.
        trust: float32 (h, w), what the weights of the carried labels sum to.
        votes: float32 (h, w, C); latent: float32 (h, w, D).
    """

    color: Tensor
    depth: Tensor
    feature: Tensor
    seen: Tensor
    share: Tensor
    depths: Tensor
    weights: Tensor
    coarse: Tensor | None = None
    meaning: Tensor | None = None
    trust: Tensor | None = None
    votes: Tensor | None = None
    latent: Tensor | None = None


class GPNeRF(GeneralizableModel):
    """See the module. ``features`` of a frame: radiance at 1/4, and semantic at 1/2 (closed set).

    Args:
        config: sizes and options; ``class_names`` decides between closed set and carried.
    """

    def __init__(self, config: GPNeRFConfig = GPNeRFConfig()) -> None:  # noqa: B008
        super().__init__()
        self.config = config
        self.class_names = config.class_names
        closed, width = bool(config.class_names), config.width
        self.extractor = ResNetExtractor(
            config.stem, config.widths, config.stages, config.radiance, config.semantic * closed
        )
        self.aggregation = RayAggregation(config)
        self.color = nn.Linear(width, 3)
        if config.color == "blended":  # begins with the sources' own colours
            nn.init.zeros_(self.color.weight)
            nn.init.zeros_(self.color.bias)
        if closed:
            channels = 4 * config.semantic
            outputs = len(config.class_names) + (config.instances + 1 if config.instances else 0)
            self.meaning = nn.Linear(channels, channels)
            self.fuse = nn.Linear(channels + width, channels) if config.fusion else None
            self.head = HEADS[config.head](channels, config.head_width, outputs)
        else:
            self.filter = NeighbourFilter(width + RAY_NUMBERS, config.head_width)

    def extract(self, colors: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the features of frames, see the class."""
        radiance, semantic = self.extractor(colors)
        return (radiance,) if semantic is None else (radiance, semantic)

    def source_depths(self, sources: SourceImages) -> Float[Tensor, "V H W"]:
        """Return the readings as they are: GP-NeRF finds depth along target rays only.

        Raises:
            ValueError: without readings.
        """
        if sources.depths is None:
            raise ValueError(
                "expected source frames with depth, got colour alone: GP-NeRF finds no depth of "
                "sources; set sampling: coarse_fine, or take the model gsnerf"
            )
        return sources.depths

    def forward(self, sources: SourceImages, rays: TargetRays) -> Prediction:
        """Predict an image of rays; ``config.chunk`` rays at once.

        Raises:
            ValueError: if the sources have no features.
        """
        if sources.features is None:
            raise ValueError(
                "expected sources with features, got none: set features=model.extract(colors)"
            )
        edges = borders(sources) if self.config.evidence else Borders(None, None)
        bands = [
            _joined(
                [self._rendered(sources, rays.part(rows, columns), edges) for columns in cut], 1
            )
            for rows, cut in _parts(*rays.size, self.config.chunk)
        ]
        image = _joined(bands, 0)
        return self._classified(image) if self.class_names else self._carried(image, rays)

    def losses(
        self, prediction: Prediction, truth: Truth, sources: SourceImages
    ) -> dict[str, Tensor]:
        """Return the terms of the loss; those along the ray only while training.

        Raises:
            ValueError: if the image of rays is too small for its own features to teach.
        """
        config, extra = self.config, prediction.extra
        seen = extra["seen"]
        terms = {
            "color": config.color_weight * color_loss(extra["color"], truth.color, seen),
            "depth": config.depth_weight * depth_loss(extra["depth"], truth.depth, seen),
        }
        if "coarse" in extra:
            terms["color_coarse"] = config.color_weight * color_loss(
                extra["coarse"], truth.color, seen
            )
        if self.class_names:
            return terms | self._closed_losses(extra, truth)
        if prediction.scores is not None:
            votes = vote_loss(prediction.scores, extra["carried"], truth.labels)
            terms["votes"] = config.semantic_weight * votes
        return terms

    def _closed_losses(self, extra: dict[str, Tensor], truth: Truth) -> dict[str, Tensor]:
        """The head learns from rendered features and from the target's own (which it is to find
        in the rendered ones); the sources' semantic features get no gradient but this way."""
        config, seen = self.config, extra["seen"]
        if min(seen.shape) < LEAST_SIDE:
            raise ValueError(
                f"expected an image of at least {LEAST_SIDE} x {LEAST_SIDE} rays, got "
                f"{tuple(seen.shape)}: train GP-NeRF on crops of the target"
            )
        teacher = self.extractor(truth.color.permute(2, 0, 1)[None])[1]
        teacher = F.interpolate(teacher, size=seen.shape, mode="bilinear", align_corners=False)
        own = self.head(teacher)[0].permute(1, 2, 0)
        teacher = teacher[0].permute(1, 2, 0)
        count = len(self.class_names)
        labels = torch.where(seen, truth.labels, -1)
        terms = {
            "classes": config.semantic_weight * class_loss(extra["logits"], labels),
            "teacher": config.semantic_weight * class_loss(own[..., :count], truth.labels),
            "distillation": config.distillation_weight
            * distillation_loss(extra["meaning"], teacher, seen),
        }
        if "meaning_samples" in extra:
            guided = depth_guided_loss(
                extra["meaning_samples"], extra["weights"], teacher, seen,
                config.window, config.margin,
            )  # fmt: skip
            terms["depth_guided"] = config.depth_guided_weight * guided
        if "instance_logits" in extra and truth.instances is not None:
            found = instance_losses(extra["instance_logits"], truth.instances)
            terms |= {name: config.instance_weight * term for name, term in found.items()}
        return terms

    def _rendered(self, sources: SourceImages, rays: TargetRays, edges: Borders) -> RenderedRays:
        config = self.config
        if config.sampling == "guided":
            counts = sample_counts(config.samples)
            samples = guided_samples(rays, counts, config.spread_m, jitter=self.training)
            return self._through(sources, rays, samples, edges, True)
        depths = inverse_depth_samples(
            rays.size, config.coarse, rays.bounds, rays.pixels.device, self.training
        )
        coarse = self._through(sources, rays, _unguided(depths), edges, not config.importance)
        if not config.importance:
            return coarse
        finer = importance_samples(depths, coarse.weights, config.importance, self.training)
        depths = torch.cat([depths, finer], -1).sort(-1).values
        fine = self._through(sources, rays, _unguided(depths), edges, True)
        return replace(fine, coarse=coarse.color)

    def _through(
        self,
        sources: SourceImages,
        rays: TargetRays,
        samples: GuidedSamples,
        edges: Borders,
        last: bool,
    ) -> RenderedRays:
        """One pass; ``last``: with semantics, or with what is carried."""
        gathered = gather(sources, rays, samples.depths)
        inside = gathered.inside
        labels = None
        if sources.labels is not None and not self.class_names:
            labels = at_pixels(sources.labels, gathered.pixels, inside, -1)
        done = self._aggregated(sources, rays, samples, gathered, labels, edges, last)
        h, w, S, V = inside.shape
        weights = done.weights.view(h, w, S)
        seen = inside.flatten(2).any(-1)
        result = RenderedRays(
            color=self._color(done, weights, gathered),
            depth=self._depth(samples.depths, weights) * seen,
            feature=done.feature.view(h, w, -1),
            seen=seen,
            share=inside.float().mean((2, 3)),
            depths=samples.depths,
            weights=weights,
            meaning=None if done.meaning is None else done.meaning.view(h, w, S, -1),
        )
        if self.class_names or not last:
            return result
        half = self.config.width // 2
        carried = done.attention[..., half:].mean(-1).view(h, w, S, V) * weights[..., None]
        return replace(result, **_carrying(carried, sources, labels, gathered))

    def _aggregated(
        self,
        sources: SourceImages,
        rays: TargetRays,
        samples: GuidedSamples,
        gathered: Gathered,
        labels: Tensor | None,
        edges: Borders,
        last: bool,
    ) -> Aggregated:
        config, features = self.config, sources.features
        assert features is not None
        pixels, inside = gathered.pixels, gathered.inside
        radiance = interpolated(features[0], pixels, inside, sources.size)
        meaning = None
        if self.class_names and last:  # the gradient block: sources' semantics learn as teachers
            meaning = interpolated(features[1].detach(), pixels, inside, sources.size)
            meaning = meaning.flatten(0, 1)
        relation = gathered.turn
        if config.evidence:
            relation = torch.cat([relation, view_evidence(gathered, labels, edges)], -1)
        if config.position == "ray":
            place = beside_target_depth(rays, samples, config.spread_m)
        else:
            place = in_the_world(rays, samples.depths, config.frequencies)
        inputs = torch.cat([radiance, gathered.colors], -1)
        tensors = (inputs, relation, inside, place)
        return self.aggregation(*(tensor.flatten(0, 1) for tensor in tensors), meaning)

    def _color(
        self, done: Aggregated, weights: Float[Tensor, "h w S"], gathered: Gathered
    ) -> Float[Tensor, "h w 3"]:
        """The first half of the attention's channels weighs colours, the second meaning."""
        h, w, S = weights.shape
        own = self.color(done.feature).view(h, w, 3)
        if self.config.color == "regressed":
            return own
        half = self.config.width // 2
        shares = done.attention[..., :half].mean(-1).view(h, w, S, -1) * weights[..., None]
        total = shares.sum((2, 3)).clamp_min(1e-6)
        return torch.einsum("hwsv,hwsvc->hwc", shares, gathered.colors) / total[..., None] + own

    def _depth(
        self, depths: Float[Tensor, "h w S"], weights: Float[Tensor, "h w S"]
    ) -> Float[Tensor, "h w"]:
        if self.config.depth == "best" and not self.training:
            return depths.gather(-1, weights.argmax(-1, keepdim=True))[..., 0]
        return (weights * depths).sum(-1) / weights.sum(-1).clamp_min(1e-6)

    def _classified(self, image: RenderedRays) -> Prediction:
        """S_fused and the perception head. The paper draws the fusion, its code has none; here the
        radiance features of the ray add to the semantic ones by one linear layer."""
        assert image.meaning is not None
        meaning = F.relu(self.meaning(image.meaning.mean(2)))
        fused = meaning
        if self.fuse is not None:
            fused = meaning + self.fuse(torch.cat([meaning, image.feature], -1))
        logits = self.head(fused.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        count = len(self.class_names)
        scores = logits[..., :count].softmax(-1) * image.seen[..., None]
        extra = _for_losses(image) | {"logits": logits[..., :count], "meaning": meaning}
        if self.config.instances:
            extra["instance_logits"] = logits[..., count:]
        if self.training:
            extra["meaning_samples"] = F.relu(self.meaning(image.meaning))
        return Prediction(
            self._shown(image.color), image.depth, scores.amax(-1), scores, extra=extra
        )

    def _carried(self, image: RenderedRays, rays: TargetRays) -> Prediction:
        assert image.trust is not None
        weights = self.filter(
            torch.cat([image.feature, _ray_numbers(image, rays)], -1).permute(2, 0, 1),
            image.depth.detach(),
            image.color.detach(),
            image.seen & (image.trust > 0),
        )
        seen, extra, scores = image.seen[..., None], _for_losses(image), None
        if image.votes is not None:
            scores = filtered(weights, image.votes) * seen
            extra["carried"] = scores > 0
            confidence = scores.amax(-1)
        else:
            confidence = filtered(weights, image.trust[..., None])[..., 0] * image.seen
        latent = None if image.latent is None else filtered(weights, image.latent) * seen
        return Prediction(self._shown(image.color), image.depth, confidence, scores, latent, extra)

    def _shown(self, color: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
        return color if self.training else color.clamp(0.0, 1.0)


def _parts(h: int, w: int, chunk: int) -> Iterator[tuple[slice, list[slice]]]:
    """Rectangles of at most ``chunk`` rays: bands of rows, each with its slices of columns."""
    columns = min(w, chunk)
    rows = max(1, chunk // columns)
    cut = [slice(start, start + columns) for start in range(0, w, columns)]
    for start in range(0, h, rows):
        yield slice(start, start + rows), cut


def _joined(parts: list[RenderedRays], dim: int) -> RenderedRays:
    if len(parts) == 1:
        return parts[0]
    columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(parts[0])}
    return RenderedRays(
        **{name: None if c[0] is None else torch.cat(c, dim) for name, c in columns.items()}
    )


def _unguided(depths: Float[Tensor, "h w S"]) -> GuidedSamples:
    return GuidedSamples(depths, torch.zeros_like(depths, dtype=torch.bool))


def _carrying(
    weights: Float[Tensor, "h w S V"],
    sources: SourceImages,
    labels: Tensor | None,
    gathered: Gathered,
) -> dict[str, Tensor]:
    """What the weights carry: trust, and votes and a latent where the sources have such."""
    found = {"trust": weights.sum((2, 3))}
    if labels is not None:
        found["votes"] = carried_labels(weights, labels, sources.n_classes)
    if sources.latents is not None:
        latents = interpolated(sources.latents, gathered.pixels, gathered.inside, sources.size)
        found["latent"] = carried_latents(weights, latents)
    return found


def _ray_numbers(image: RenderedRays, rays: TargetRays) -> Float[Tensor, "h w 6"]:
    """What the filter hears of a ray: trust, the largest vote, how concentrated the votes are, how
    much of it is seen, whether a target depth is known, the largest weight of a sample."""
    votes = image.votes if image.votes is not None else image.trust[..., None]  # type: ignore
    return torch.stack(
        [
            votes.sum(-1),
            votes.amax(-1),
            votes.square().sum(-1),
            image.share,
            (rays.depth > 0).float(),
            image.weights.amax(-1),
        ],
        -1,
    )


def _for_losses(image: RenderedRays) -> dict[str, Tensor]:
    kept = {"seen": image.seen, "color": image.color, "depth": image.depth}
    kept["weights"], kept["depths"] = image.weights, image.depths
    return kept if image.coarse is None else kept | {"coarse": image.coarse}
