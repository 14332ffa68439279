"""The small renderer: statistics of the views decide, and what the sources carry is averaged.

With a closed set of classes, what is carried are the probabilities that the extractor gives the
pixels of the source images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_field.generalizable.carried_branch import REACH, CarriedBranch
from semantic_field.generalizable.generalizable_model import Prediction
from semantic_field.generalizable.guided_samples import GuidedSamples
from semantic_field.generalizable.label_segments import known_agreement
from semantic_field.generalizable.row_bands import predicted_in_bands
from semantic_field.generalizable.source_exposure import equalized
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.settings import Settings, option

LEAST = 1e-4  # probability below which the logarithm is cut off


@dataclass(frozen=True)
class StatisticsSettings(Settings):
    """Sizes of the layers that look at the statistics of the views."""

    width: int = option(32, "width of the hidden layers", minimum=1)


class StatisticsRenderer(nn.Module):
    """Predicts rays by ``CarriedBranch``.

    Args:
        features: channels of the level of the extractor that is read.
    """

    def __init__(self, settings: StatisticsSettings, features: int) -> None:
        super().__init__()
        self.branch = CarriedBranch(features, settings.width)

    def forward(
        self,
        sources: SourceImages,
        rays: TargetRays,
        samples: GuidedSamples,
        level: Float[Tensor, "V F h2 w2"],
        logits: Float[Tensor, "V C h2 w2"] | None,
    ) -> Prediction:
        """Predict an image of rays.

        Args:
            level: features of the sources.
            logits: of a closed set's classes at their pixels; None = carried.
        """
        sources = equalized(sources, rays)
        if logits is None:
            return self._blended(sources, rays, samples.depths, level, known_agreement(sources))
        carrying = replace(
            sources, labels=None, segments=None, n_classes=0, latents=logits.softmax(1)
        )
        prediction = self._blended(carrying, rays, samples.depths, level, None)
        scores = prediction.latent
        assert scores is not None
        return replace(
            prediction,
            scores=scores,
            latent=None,
            confidence=scores.amax(-1),
            extra=prediction.extra | {"logits": scores.clamp(min=LEAST).log()},
        )

    def _blended(
        self,
        sources: SourceImages,
        rays: TargetRays,
        depths: Float[Tensor, "h w S"],
        level: Float[Tensor, "V F h2 w2"],
        agreement: Float[Tensor, "V 2 H W"] | None,
    ) -> Prediction:
        """Return what ``CarriedBranch`` predicts, on a processor by all threads that torch has."""

        def predict(part: TargetRays, of_part: Float[Tensor, "h w S"]) -> Prediction:
            return self.branch(sources, part, of_part, level, agreement)

        if self.training or torch.is_grad_enabled() or depths.device.type != "cpu":
            return predict(rays, depths)
        return predicted_in_bands(predict, rays, depths, REACH, torch.get_num_threads())
