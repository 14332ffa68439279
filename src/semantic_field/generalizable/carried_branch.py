"""Blending of source views by learnt weights: the small default of the generalizable models.

A few layers look at the statistics of each view at each sample, at their mean and maximum over the
views, and give weights: of colours, of labels, and of the sample against the others of its ray. A
small convolutional network then looks at the image of rays and chooses, for each pixel, weights of
its neighbours. All that is carried is averaged with these weights, so it may be anything.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import relu

from semantic_field.generalizable.carrying import carried_labels, carried_latents
from semantic_field.generalizable.fast_products import hidden_type, product
from semantic_field.generalizable.gathering import Gathered, at_pixels, gather, interpolated
from semantic_field.generalizable.generalizable_model import Prediction
from semantic_field.generalizable.neighbour_weights import WINDOW, NeighbourWeights, filtered
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.view_statistics import (
    FAINTEST,
    GEOMETRY,
    MEANING,
    geometry_statistics,
    hand_weights,
    meaning_statistics,
    weighted_mean,
)

COLOR_TERMS, SAMPLE_TERMS = 7, 4
COLOR_STEP, LABEL_STEP = 1, 2  # pixels between neighbours for colours and for labels
VOID_START = -2.0  # logarithm of the weight of "no class" when training starts
EXACT_START = 3.0  # the same of the sample at the target depth, against each other one
REACH = 2 + LABEL_STEP * (WINDOW // 2)  # rows on which a pixel depends, by convolution and filter
SAMPLES_AT_ONCE = 4096  # outside training: so many fit into a processor's cache


class Samples(NamedTuple):
    """What Q samples of rays have in V views.

    Attributes:
        color: float32 (Q, 3), of the views by their weights.
        weights: float32 (Q, V), of the views' labels and latents; the rest to 1 is "not known".
        labels: int64 (Q, V), rows of classes, -1 = none.
        latents: float32 (Q, D), of the views by their weights; D = 0 if none are carried.
        surface: float32 (Q,), logarithm of how likely the surface is there; -inf if the sample is
            in no view's image.
        tokens: float32 (Q, F), features.
    """

    color: Float[Tensor, "Q 3"]
    weights: Float[Tensor, "Q V"]
    labels: Int[Tensor, "Q V"]
    latents: Float[Tensor, "Q D"]
    surface: Float[Tensor, "Q"]
    tokens: Float[Tensor, "Q F"]


class CarriedBranch(nn.Module):
    """Predicts views whose colours and meaning are averages of the sources'.

    Args:
        feature_dim: channels of the features of frames. width: of the hidden layers.
    """

    def __init__(self, feature_dim: int, width: int = 32) -> None:
        super().__init__()
        terms = GEOMETRY + MEANING + COLOR_TERMS + 2 * feature_dim + SAMPLE_TERMS
        self.first = nn.Linear(terms, width)
        self.second = nn.Linear(width, width)
        self.pooled = nn.Linear(2 * width, width)
        self.views = nn.Linear(width, 2)
        last = nn.Linear(width, 2)
        self.sample = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), last)
        self.neighbours = NeighbourWeights(width + 4, width)
        nn.init.zeros_(self.views.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([0.0, VOID_START]))

    def forward(
        self,
        sources: SourceImages,
        rays: TargetRays,
        depths: Float[Tensor, "h w S"],
        features: Float[Tensor, "V F h2 w2"],
        agreement: Float[Tensor, "V 2 H W"] | None,
    ) -> Prediction:
        """Predict an image of rays.

        Args:
            depths: of the samples of each ray, 0 = no sample.
            features: of the sources. agreement: see ``label_segments``; None without labels.
        """
        place = torch.nonzero(depths > 0, as_tuple=True)
        each = max(len(place[0]), 1) if self.training else SAMPLES_AT_ONCE
        parts = [
            self.look(sources, rays.at(row, column), depths[row, column, s], features, agreement)
            for row, column, s in zip(*(index.split(each) for index in place))
        ]
        found = Samples(*(torch.cat(values) for values in zip(*parts)))
        surface = depths.new_full(depths.shape, -torch.inf)
        surface[place] = found.surface
        known, share = torch.isfinite(surface).any(-1), _softmax(surface)

        def on_ray(values: Tensor) -> Tensor:
            return _spread(place, values, depths.shape)

        color = torch.einsum("hws,hwsc->hwc", share, on_ray(found.color))
        tokens = torch.einsum("hws,hwsf->hwf", share, on_ray(found.tokens))
        guide = torch.cat([tokens, color, known[..., None].float()], -1)
        color_kernel, label_kernel = self.neighbours(guide)
        blended = filtered(color, known, color_kernel, COLOR_STEP)
        weights = share[..., None] * on_ray(found.weights)
        confidence = weights.sum((-1, -2))
        scores, latent, extra = None, None, {"color": color, "known": known}
        if sources.labels is not None:
            votes = carried_labels(weights, on_ray(found.labels), sources.n_classes)
            scores = filtered(votes, known, label_kernel, LABEL_STEP)
            confidence = scores.amax(-1) if sources.n_classes else 0 * confidence
            extra["votes"] = votes
        if sources.latents is not None:
            latent = torch.einsum("hws,hwsd->hwd", share, on_ray(found.latents))
            latent = filtered(latent, known, label_kernel, LABEL_STEP)
        return Prediction(
            color=blended if self.training else blended.clamp(0, 1),
            depth=(share * depths).sum(-1) if self.training else _likeliest(depths, share),
            confidence=torch.where(known, confidence, 0.0),
            scores=scores,
            latent=latent,
            extra=extra,
        )

    def look(
        self,
        sources: SourceImages,
        rays: TargetRays,
        depths: Float[Tensor, "Q"],
        features: Float[Tensor, "V F h2 w2"],
        agreement: Float[Tensor, "V 2 H W"] | None,
    ) -> Samples:
        """Return what the samples of Q rays (an image of Q x 1 rays), one of each, have."""
        depths = depths[:, None, None]
        gathered = gather(sources, rays, depths)
        inside = gathered.inside[:, 0, 0]
        by_hand = hand_weights(gathered, sources.trust)
        labels, meaning = _meaning(sources, gathered, by_hand.labels, agreement)
        found = interpolated(features, gathered.pixels, gathered.inside, sources.size)
        statistics = torch.cat(
            [
                geometry_statistics(gathered, sources),
                meaning,
                _color_terms(gathered.colors, by_hand.colors),
                found,
                found - weighted_mean(found, by_hand.colors),
                _sample_terms(gathered, rays, depths, by_hand.labels),
            ],
            -1,
        )[:, 0, 0]  # (Q, V, terms)
        hidden, pooled = self._hidden(statistics.to(hidden_type(statistics)), inside)
        prior = torch.stack(by_hand, -1)[:, 0, 0]
        logits = self.views(hidden) + (prior + FAINTEST).log()
        logits = torch.where(inside[..., None], logits, -torch.inf)
        surface, void = self.sample(pooled).unbind(-1)
        surface = surface + EXACT_START * (depths == rays.depth[..., None])[:, 0, 0]
        colors = _softmax(logits[..., 0])
        weights = _softmax(logits[..., 1], void[:, None])
        latents = logits.new_zeros(len(depths), 0)
        if sources.latents is not None:
            theirs = interpolated(sources.latents, gathered.pixels, gathered.inside, sources.size)
            latents = carried_latents(weights[:, None, None], theirs)[:, 0]
        return Samples(
            color=torch.einsum("qv,qvc->qc", colors, gathered.colors[:, 0, 0]),
            weights=weights,
            labels=labels,
            latents=latents,
            surface=torch.where(inside.any(-1), surface, -torch.inf),
            tokens=torch.einsum("qv,qvf->qf", colors, hidden),
        )

    def _hidden(
        self, statistics: Float[Tensor, "Q V T"], inside: Bool[Tensor, "Q V"]
    ) -> tuple[Float[Tensor, "Q V F"], Float[Tensor, "Q F2"]]:
        """Return float32 features of the views, and mean and maximum of those a layer before."""
        there = inside[..., None].to(statistics.dtype)
        hidden = relu(product(self.first, statistics)) * there
        few = there.sum(-2).clamp(min=1)
        pooled = torch.cat([hidden.sum(-2) / few, hidden.amax(-2)], -1)
        hidden = product(self.second, hidden) + product(self.pooled, pooled)[:, None]
        return (relu(hidden) * there).float(), pooled.float()


def _meaning(
    sources: SourceImages, gathered: Gathered, by_hand: Tensor, agreement: Tensor | None
) -> tuple[Int[Tensor, "Q V"], Tensor]:
    """Return the labels of the samples in the views, -1 = none, and their statistics."""
    inside = gathered.inside
    if sources.labels is None:
        nothing = torch.full_like(inside[:, 0, 0], -1, dtype=torch.long)
        return nothing, gathered.far.new_zeros(*inside.shape, MEANING)
    labels = at_pixels(sources.labels, gathered.pixels, inside, -1)
    if agreement is None:
        agreed = torch.stack([torch.full_like(by_hand, 0.5), torch.zeros_like(by_hand)], -1)
    else:
        parts = [at_pixels(agreement[:, i], gathered.pixels, inside) for i in range(2)]
        agreed = torch.stack(parts, -1)
    return labels[:, 0, 0], meaning_statistics(labels, by_hand, agreed)


def _color_terms(
    colors: Float[Tensor, "h w S V 3"], weights: Float[Tensor, "h w S V"]
) -> Float[Tensor, "h w S V {COLOR_TERMS}"]:
    """Return colours, how they differ from the mean of the views, and by how much."""
    apart = colors - weighted_mean(colors, weights)
    return torch.cat([colors, 4 * apart, apart.square().sum(-1, keepdim=True)], -1)


def _sample_terms(
    gathered: Gathered,
    rays: TargetRays,
    depths: Float[Tensor, "h w S"],
    weights: Float[Tensor, "h w S V"],
) -> Float[Tensor, "h w S V {SAMPLE_TERMS}"]:
    """Return numbers of each sample: from D_T, how many views have it, and see it."""
    known = (rays.depth > 0)[..., None]
    off = torch.where(known, depths / rays.depth[..., None].clamp(min=0.1) - 1, 0.0)
    terms = [
        (10 * off).clamp(-2, 2),
        (depths == rays.depth[..., None]).float(),
        gathered.inside.float().mean(-1),
        weights.sum(-1),
    ]
    stacked = torch.stack(terms, -1)[..., None, :]
    return stacked.expand(*weights.shape, SAMPLE_TERMS)


def _spread(place: tuple[Tensor, ...], values: Tensor, shape: torch.Size) -> Tensor:
    """Return values (Q, C) of samples as an image (h, w, S, C), 0 where no sample is."""
    image = values.new_zeros(*shape, values.shape[1])
    image[place] = values
    return image


def _likeliest(depths: Float[Tensor, "h w S"], share: Float[Tensor, "h w S"]) -> Tensor:
    """Return the depth of the sample where the surface most likely is, 0 where none is seen.

    The mean would lie in the air between two surfaces.
    """
    most, best = share.max(-1)
    return torch.where(most > 0, depths.gather(-1, best[..., None])[..., 0], 0.0)


def _softmax(logits: Tensor, void: Tensor | None = None) -> Tensor:
    """Return weights over the last dimension of sum 1; 0 where all are -inf.

    ``void`` (..., 1) is one more logit, whose weight is left out.
    """
    most = logits.amax(-1, keepdim=True)
    most = torch.where(torch.isfinite(most), most, 0.0)
    if void is not None:
        most = torch.maximum(most, void)
    powers = (logits - most).exp()
    total = powers.sum(-1, keepdim=True)
    if void is not None:
        total = total + (void - most).exp()
    return powers / total.clamp(min=1e-12)
