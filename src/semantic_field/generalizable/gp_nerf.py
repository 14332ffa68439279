"""GP-NeRF (Li et al. 2024): transformers over views and rays render features, a head reads them.

Closed set: the semantic features of the sources are rendered with the attention of the radiance
branch, and a perception head classifies the image of rendered features. Carried: the same
attention says how much each source's label (or latent) counts at each sample, and a head that
never sees classes weighs neighbouring rays.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from semantic_field.generalizable.generalizable_model import GeneralizableModel, Prediction, Truth
from semantic_field.generalizable.gp_nerf_config import GPNeRFConfig
from semantic_field.generalizable.gp_nerf_losses import (
    class_loss,
    color_loss,
    depth_guided_loss,
    depth_loss,
    distillation_loss,
    vote_loss,
)
from semantic_field.generalizable.instance_losses import instance_losses
from semantic_field.generalizable.neighbour_weights import filtered
from semantic_field.generalizable.perception_head import HEADS, CarriedHead
from semantic_field.generalizable.ray_rendering import RayRenderer, RenderedRays
from semantic_field.generalizable.resnet_extractor import ResNetExtractor
from semantic_field.generalizable.source_images import SourceImages, TargetRays

LEAST_SIDE = 32  # of an image of rays whose own features can teach
COLOR_STEP, MEANING_STEP = 1, 2  # pixels between the neighbours
RAY_NUMBERS = 9  # what the head hears of a ray beside its features: its colour and


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
        self.rays = RayRenderer(config)
        if closed:
            channels = 4 * config.semantic
            outputs = len(config.class_names) + (config.instances + 1 if config.instances else 0)
            self.meaning = nn.Linear(channels, channels)
            self.fuse = nn.Linear(channels + width, channels) if config.fusion else None
            self.head = HEADS[config.head](channels, config.head_width, outputs)
        else:
            self.head = CarriedHead(width + RAY_NUMBERS, config.head_width)

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
        """Predict an image of rays; the features of the sources are computed if they are None."""
        if sources.features is None:
            sources = replace(sources, features=self.extract(sources.colors))
        image = self.rays(sources, rays)
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
            "color": config.color_weight * color_loss(prediction.color, truth.color, seen),
            "depth": config.depth_weight * depth_loss(extra["depth"], truth.depth, seen),
        }
        if "coarse" in extra:
            coarse = color_loss(extra["coarse"], truth.color, seen)
            terms["color_coarse"] = config.color_weight * coarse
        more = self._closed_losses if self.class_names else self._carried_losses
        return terms | more(prediction, truth)

    def _carried_losses(self, prediction: Prediction, truth: Truth) -> dict[str, Tensor]:
        """Votes, and in part the same terms before neighbours are averaged."""
        config, extra = self.config, prediction.extra
        rays = color_loss(extra["color"], truth.color, extra["seen"])
        terms = {"color_of_rays": config.unfiltered * config.color_weight * rays}
        if prediction.scores is not None and prediction.scores.shape[-1]:
            votes = extra["votes"]
            before = vote_loss(votes, votes, truth.labels)
            after = vote_loss(prediction.scores, votes, truth.labels)
            terms["votes"] = config.semantic_weight * after
            terms["votes_of_rays"] = config.unfiltered * config.semantic_weight * before
        return terms

    def _closed_losses(self, prediction: Prediction, truth: Truth) -> dict[str, Tensor]:
        """The head learns from rendered features and from the target's own (which it is to find
        in the rendered ones); the sources' semantic features get no gradient but this way."""
        config, extra = self.config, prediction.extra
        seen = extra["seen"]
        if min(seen.shape) < LEAST_SIDE:
            raise ValueError(
                f"expected an image of at least {LEAST_SIDE} x {LEAST_SIDE} rays, got "
                f"{tuple(seen.shape)}: train GP-NeRF on crops of the target"
            )
        teacher = self.extractor(truth.color.permute(2, 0, 1)[None])[1]
        teacher = interpolate(teacher, size=seen.shape, mode="bilinear", align_corners=False)
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

    def _classified(self, image: RenderedRays) -> Prediction:
        """S_fused and the perception head. The paper draws the fusion, its code has none; here the
        radiance features of the ray add to the semantic ones by one linear layer."""
        assert image.meaning is not None
        meaning = relu(self.meaning(image.meaning.mean(2)))
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
            extra["meaning_samples"] = relu(self.meaning(image.meaning))
        return Prediction(
            self._shown(image.color), image.depth, scores.amax(-1), scores, extra=extra
        )

    def _carried(self, image: RenderedRays, rays: TargetRays) -> Prediction:
        assert image.trust is not None
        guide = torch.cat([image.feature, image.color.detach(), _ray_numbers(image, rays)], -1)
        of_colors, of_meaning, belief = self.head(guide)
        belief, extra, scores = belief * image.seen, _for_losses(image), None
        says = image.seen & (image.trust > 0)

        def believed(values: Tensor) -> Tensor:
            return filtered(values, says, of_meaning, MEANING_STEP) * belief[..., None]

        if image.votes is not None:
            scores = believed(image.votes)
            extra["votes"] = image.votes
            confidence = scores.amax(-1)
        else:
            confidence = believed(image.trust[..., None])[..., 0]
        color = image.color
        if self.config.color == "blended":
            color = filtered(color, image.seen, of_colors, COLOR_STEP)
        latent = None if image.latent is None else believed(image.latent)
        return Prediction(self._shown(color), image.depth, confidence, scores, latent, extra)

    def _shown(self, color: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
        return color if self.training else color.clamp(0.0, 1.0)


def _ray_numbers(image: RenderedRays, rays: TargetRays) -> Float[Tensor, "h w 6"]:
    """What the carried head hears of a ray: trust, the largest vote, how concentrated the votes
    are, how much of it is seen, whether its depth is known, the largest weight of a sample."""
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
