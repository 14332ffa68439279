"""Rays through the source images: samples, what the views hold there, colour, depth, meaning.

Everything that GP-NeRF does for each ray on its own; heads on the image of rays come after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_field.generalizable.carrying import carried_labels, carried_latents
from semantic_field.generalizable.gathering import Gathered, at_pixels, gather, interpolated
from semantic_field.generalizable.gp_nerf_config import GPNeRFConfig
from semantic_field.generalizable.guided_samples import (
    GuidedSamples,
    guided_samples,
    sample_counts,
)
from semantic_field.generalizable.inverse_depth_samples import (
    importance_samples,
    inverse_depth_samples,
)
from semantic_field.generalizable.ray_aggregation import (
    Aggregated,
    RayAggregation,
    beside_target_depth,
    in_the_world,
)
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.view_evidence import agreement_of_segments, by_view, view_evidence


@dataclass(frozen=True)
class RenderedRays:
    """What h x w rays carry before a head sees them. None: not of this kind of model.

    Attributes:
        color, depth: RGB and metres; depth is 0 where nothing is seen.
        feature: float32 (h, w, W), radiance features.
        seen: bool (h, w), whether any source sees any sample.
        share: float32 (h, w), n / (1 + n) of the n views that see a sample, mean over samples.
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


class RayRenderer(nn.Module):
    """The per-ray part of GP-NeRF, see the module."""

    def __init__(self, config: GPNeRFConfig) -> None:
        super().__init__()
        self.config = config
        self.aggregation = RayAggregation(config)
        self.color = nn.Linear(config.width, 3)
        if config.color == "blended":  # begins with the sources' own colours
            nn.init.zeros_(self.color.weight)
            nn.init.zeros_(self.color.bias)

    def forward(self, sources: SourceImages, rays: TargetRays) -> RenderedRays:
        """Render an image of rays, a chunk at once."""
        segments = agreement_of_segments(sources) if self.config.evidence else None
        bands = [
            _joined(
                [self._rendered(sources, rays.part(rows, part), segments) for part in columns], 1
            )
            for rows, columns in _parts(*rays.size, self._rays_at_once(len(sources)))
        ]
        return _joined(bands, 0)

    def _rays_at_once(self, views: int) -> int:
        config = self.config
        coarse_fine = config.coarse + config.importance
        samples = config.samples if config.sampling == "guided" else coarse_fine
        return max(1, config.chunk // (samples * views))

    def _rendered(
        self, sources: SourceImages, rays: TargetRays, segments: Tensor | None
    ) -> RenderedRays:
        config = self.config
        if config.sampling == "guided":
            counts = sample_counts(config.samples)
            samples = guided_samples(rays, counts, config.spread_m, jitter=self.training)
            return self._through(sources, rays, samples, segments, True)
        depths = inverse_depth_samples(
            rays.size, config.coarse, rays.bounds, rays.pixels.device, self.training
        )
        coarse = self._through(sources, rays, _unguided(depths), segments, not config.importance)
        if not config.importance:
            return coarse
        finer = importance_samples(depths, coarse.weights, config.importance, self.training)
        depths = torch.cat([depths, finer], -1).sort(-1).values
        fine = self._through(sources, rays, _unguided(depths), segments, True)
        return replace(fine, coarse=coarse.color)

    def _through(
        self,
        sources: SourceImages,
        rays: TargetRays,
        samples: GuidedSamples,
        segments: Tensor | None,
        last: bool,
    ) -> RenderedRays:
        """One pass; ``last``: with semantics, or with what is carried."""
        gathered = gather(sources, rays, samples.depths)
        h, w, S, V = gathered.inside.shape
        labels = None
        if sources.labels is not None and not self.config.class_names:
            labels = at_pixels(sources.labels, gathered.pixels, gathered.inside, -1)
        evidence = None
        if self.config.evidence:
            evidence = view_evidence(sources, gathered, labels, segments)
        done = self.aggregation(
            _inputs(sources, gathered),
            by_view(gathered.turn),
            by_view(gathered.inside),
            self._places(rays, samples),
            evidence,
            self._meaning(sources, gathered) if last else None,
        )
        weights = done.weights.view(h, w, S)
        seen = gathered.inside.flatten(2).any(-1)
        result = RenderedRays(
            color=self._color(done, gathered),
            depth=self._depth(samples.depths, weights) * seen,
            feature=done.feature.view(h, w, -1),
            seen=seen,
            share=_squashed(gathered.inside.float().sum(-1)).mean(-1),
            depths=samples.depths,
            weights=weights,
            meaning=None if done.meaning is None else done.meaning.view(h, w, S, -1),
        )
        if self.config.class_names or not last:
            return result
        carried = self._shares(done, 1).view(V, h, w, S).permute(1, 2, 3, 0)
        return replace(result, **_carrying(carried, sources, labels, gathered))

    def _meaning(self, sources: SourceImages, gathered: Gathered) -> Float[Tensor, "V D P"] | None:
        """The sources' semantic features, detached (gradient block): they learn as teachers."""
        if not self.config.class_names:
            return None
        assert sources.features is not None
        features = sources.features[1].detach()
        return by_view(interpolated(features, gathered.pixels, gathered.inside, sources.size))

    def _places(self, rays: TargetRays, samples: GuidedSamples) -> Float[Tensor, "R S B"]:
        if self.config.position == "ray":
            places = beside_target_depth(rays, samples, self.config.spread_m)
        else:
            places = in_the_world(rays, samples.depths, self.config.frequencies)
        return places.flatten(0, 1)

    def _shares(self, done: Aggregated, half: int) -> Float[Tensor, "V P"]:
        """Return what each view counts at each sample: attention of the views, times that along
        the ray. The first half of the channels is for colours, the second for meaning."""
        channels = self.config.width // 2
        attention = done.attention.narrow(1, half * channels, channels).mean(1)
        return attention * done.weights.flatten()

    def _color(self, done: Aggregated, gathered: Gathered) -> Float[Tensor, "h w 3"]:
        h, w, S, _ = gathered.inside.shape
        own = self.color(done.feature).view(h, w, 3)
        if self.config.color == "regressed":
            return own
        shares = self._shares(done, 0)
        total = shares.sum(0).view(h, w, S).sum(-1).clamp_min(1e-6)
        blended = (shares[:, None] * by_view(gathered.colors)).sum(0).view(3, h, w, S).sum(-1)
        return (blended / total).permute(1, 2, 0) + own

    def _depth(
        self, depths: Float[Tensor, "h w S"], weights: Float[Tensor, "h w S"]
    ) -> Float[Tensor, "h w"]:
        if self.config.depth == "best" and not self.training:
            return depths.gather(-1, weights.argmax(-1, keepdim=True))[..., 0]
        return (weights * depths).sum(-1) / weights.sum(-1).clamp_min(1e-6)


def _inputs(sources: SourceImages, gathered: Gathered) -> Float[Tensor, "V F P"]:
    assert sources.features is not None
    radiance = interpolated(sources.features[0], gathered.pixels, gathered.inside, sources.size)
    return torch.cat([by_view(radiance), by_view(gathered.colors)], 1)


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
    whole = {name: None if c[0] is None else torch.cat(c, dim) for name, c in columns.items()}
    return RenderedRays(**whole)  # type: ignore[arg-type]


def _squashed(count: Tensor) -> Tensor:
    return count / (1.0 + count)


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
