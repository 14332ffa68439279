"""GSNeRF's renderer: attention over the source views decides colour, depth and meaning of rays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from semantic_field.generalizable.carrying import carried_labels, carried_latents
from semantic_field.generalizable.gathering import Gathered, at_pixels, gather, interpolated
from semantic_field.generalizable.generalizable_model import Prediction
from semantic_field.generalizable.geo_reasoner import Level
from semantic_field.generalizable.guided_samples import GuidedSamples
from semantic_field.generalizable.radiance_branch import RadianceBranch
from semantic_field.generalizable.semantic_branch import (
    CarriedSemantics,
    ClosedSemantics,
    besides_features,
    semantic_patches,
)
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.view_blending import (
    at_sample,
    believable,
    label_agreement,
    semantic_sample,
)
from semantic_field.generalizable.volume_reading import volume_features
from semantic_field.settings import Settings, option


@dataclass(frozen=True)
class AttentionSettings(Settings):
    """Sizes of the attention over views, and what it may believe."""

    width: int = option(32, "width of tokens", minimum=2)
    heads: int = option(4, "heads of the attention, which divide the width", minimum=1)
    layers: int = option(4, "layers of the radiance branch", minimum=1)
    semantic_layers: int = option(4, "layers of the semantic branch", minimum=1)
    views: int = option(8, "most views of a closed set's semantic branch", minimum=1)
    ray_norm: str = option(
        "channels",
        "norms along a ray: channels, each sample by itself; ray, each channel over the samples, "
        "as published, which leaves nothing of a single sample",
        choices=("channels", "ray"),
    )
    rectified: bool = option(False, "cut the logits of a closed set off at 0, as released")
    hidden_m: float = option(
        0.1, "how far behind a source's own surface a sample is hidden from it, metres", 0.0
    )


class AttentionRenderer(nn.Module):
    """Predicts rays from what the sources hold at their samples.

    Args:
        features: channels F of the extractor's features at samples.
        volume: channels of the cost volumes' features, 0 = not used.
        n_classes: of the closed set; 0 = meaning is carried.
    """

    def __init__(
        self, settings: AttentionSettings, features: int, volume: int, n_classes: int
    ) -> None:
        super().__init__()
        self.settings, self.n_classes = settings, n_classes
        width, heads = settings.width, settings.heads
        self.radiance = RadianceBranch(
            features, volume, width, heads, settings.layers, settings.ray_norm
        )
        self.semantics: ClosedSemantics | CarriedSemantics
        if n_classes:
            self.semantics = ClosedSemantics(
                n_classes,
                settings.views,
                width,
                heads,
                settings.semantic_layers,
                settings.rectified,
            )
        else:
            self.semantics = CarriedSemantics(features, width, heads, settings.semantic_layers)

    def forward(
        self,
        sources: SourceImages,
        rays: TargetRays,
        samples: GuidedSamples,
        maps: tuple[Tensor, ...],
        semantic: Float[Tensor, "V C h2 w2"] | None,
        levels: list[Level],
    ) -> Prediction:
        """Predict an image of rays.

        Args:
            maps: levels of the extractor, (V, F, h, w) each, whose features are read.
            semantic: feature of a closed set's classes; None = carried.
            levels: of the geo-reasoner whose volume's features are read, may be empty.
        """
        gathered = gather(sources, rays, samples.depths)
        inside, size = gathered.inside, sources.size
        mask = believable(gathered, self.settings.hidden_m)
        features = torch.cat([interpolated(m, gathered.pixels, inside, size) for m in maps], -1)
        volume = [
            volume_features(level, gathered.pixels, gathered.far, inside, size) for level in levels
        ]
        none = features[..., :0]
        colors, weights = self.radiance(gathered, features, torch.cat([none, *volume], -1), mask)
        number = semantic_sample(samples, weights)
        chosen = _Chosen(
            gathered=Gathered(*(at_sample(part, number)[:, :, None] for part in gathered)),
            mask=at_sample(mask, number),
        )
        color = ((weights[..., None] * colors)[..., None] * gathered.colors).sum((2, 3))
        seen = chosen.gathered.inside[:, :, 0].any(-1)
        depth = torch.where(seen, (weights * samples.depths).sum(-1), 0.0)
        if isinstance(self.semantics, ClosedSemantics):
            assert semantic is not None, "a closed set needs the extractor's semantic feature"
            logits = self._closed(self.semantics, chosen, semantic, size)
            scores = logits.softmax(-1) * seen[..., None]
            return Prediction(color, depth, scores.amax(-1), scores, extra={"logits": logits})
        said = self._carried(self.semantics, chosen, at_sample(features, number), sources)
        return Prediction(color, depth, said.confidence, said.scores, said.latent)

    @staticmethod
    def _closed(
        semantics: ClosedSemantics,
        chosen: _Chosen,
        feature: Float[Tensor, "V C h2 w2"],
        size: tuple[int, int],
    ) -> Float[Tensor, "h w C"]:
        """Return the logits of the closed set."""
        pixels, inside = chosen.gathered.pixels[:, :, 0], chosen.gathered.inside[:, :, 0]
        patches = semantic_patches(feature, pixels, inside, size)
        flat = (part.flatten(0, 1) for part in (patches, inside, chosen.mask))
        return semantics(*flat).unflatten(0, inside.shape[:2])

    def _carried(
        self,
        semantics: CarriedSemantics,
        chosen: _Chosen,
        features: Float[Tensor, "h w V F"],
        sources: SourceImages,
    ) -> _Said:
        """Return what the sources carry, weighted."""
        got = chosen.gathered
        inside = got.inside[:, :, 0]
        mask = chosen.mask & inside
        labels, agreement = None, torch.zeros_like(got.far[:, :, 0])
        if sources.labels is not None:
            labels = at_pixels(sources.labels, got.pixels, got.inside, outside=-1)
            agreement = label_agreement(labels[:, :, 0], mask)
        besides = besides_features(
            inside,
            got.gap[:, :, 0],
            got.reading[:, :, 0],
            got.turn[:, :, 0],
            agreement,
            max(self.settings.hidden_m, 1e-3),
        )
        flat = (part.flatten(0, 1) for part in (features, besides, mask))
        weights, confidence = (part.unflatten(0, inside.shape[:2]) for part in semantics(*flat))
        return _Said(
            confidence, _scores(weights, labels, sources.n_classes), _latent(weights, got, sources)
        )


class _Chosen(NamedTuple):
    """The sample of each ray at which its meaning is read (S = 1), and who may be believed."""

    gathered: Gathered
    mask: Bool[Tensor, "h w V"]


class _Said(NamedTuple):
    """What the sources carry, see ``Prediction``."""

    confidence: Float[Tensor, "h w"]
    scores: Float[Tensor, "h w C"] | None
    latent: Float[Tensor, "h w D"] | None


def _scores(
    weights: Float[Tensor, "h w V"], labels: Int[Tensor, "h w 1 V"] | None, n_classes: int
) -> Float[Tensor, "h w C"] | None:
    return None if labels is None else carried_labels(weights[:, :, None], labels, n_classes)


def _latent(
    weights: Float[Tensor, "h w V"], gathered: Gathered, sources: SourceImages
) -> Float[Tensor, "h w D"] | None:
    if sources.latents is None:
        return None
    theirs = interpolated(sources.latents, gathered.pixels, gathered.inside, sources.size)
    return carried_latents(weights[:, :, None], theirs)
