"""Blending of source views by learnt weights: the small default of the generalizable models.

A few layers look at the statistics of each view at each sample, at their mean and maximum over the
views, and give weights: of colours, of labels, and of the sample against the others of its ray. A
small convolutional network then looks at the image of rays and chooses, for each pixel, weights of
its neighbours. All that is carried is averaged with these weights, so it may be anything.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from semantic_field.generalizable.carrying import carried_labels, carried_latents
from semantic_field.generalizable.gathering import Gathered, at_pixels, gather, interpolated
from semantic_field.generalizable.model import Prediction
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.view_statistics import (
    GEOMETRY,
    MEANING,
    geometry_statistics,
    hand_weights,
    meaning_statistics,
    weighted_mean,
)

COLOR_TERMS, SAMPLE_TERMS = 7, 4
WINDOW = 5  # rows and columns of neighbours that a pixel may take
COLOR_STEP, LABEL_STEP = 1, 2  # pixels between neighbours for colours and for labels
VOID_START = -2.0  # logarithm of the weight of "no class" when training starts


class ViewWeights(NamedTuple):
    """Weights of S samples in V views; 0 for views that do not have the sample in their image.

    Attributes:
        colors: float32 (h, w, S, V), sum 1 over S and V (0 if no view has a sample of the ray).
        labels: float32 (h, w, S, V), sum at most 1: the rest is the weight of "not known".
        samples: float32 (h, w, S), sum 1: where the surface is.
        tokens: float32 (h, w, F), features of the ray.
    """

    colors: Float[Tensor, "h w S V"]
    labels: Float[Tensor, "h w S V"]
    samples: Float[Tensor, "h w S"]
    tokens: Float[Tensor, "h w F"]


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
        self.sample = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))
        self.void = nn.Linear(width, 1)
        self.neighbours = NeighbourWeights(width + 4, width)
        nn.init.zeros_(self.views.weight)
        nn.init.constant_(self.void.bias, VOID_START)

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
            features: of the sources. agreement: see ``segments``; None without labels.
        """
        gathered = gather(sources, rays, depths)
        size = sources.size
        found = interpolated(features, gathered.pixels, gathered.inside, size)
        labels, meaning = _meaning(sources, gathered, agreement)
        weights = self.weigh(gathered, sources, rays, depths, found, meaning)
        color = torch.einsum("hwsv,hwsvc->hwc", weights.colors, gathered.colors)
        depth = (weights.samples * depths).sum(-1)
        known = gathered.inside.any(-1).any(-1)
        guide = torch.cat([weights.tokens, color, known[..., None].float()], -1)
        color_kernel, label_kernel = self.neighbours(guide)
        blended = filtered(color, known, color_kernel, COLOR_STEP)
        scores, latent, extra = None, None, {"color": color, "known": known}
        if labels is not None:
            votes = carried_labels(weights.labels, labels, sources.n_classes)
            scores = filtered(votes, known, label_kernel, LABEL_STEP)
            extra["votes"] = votes
        if sources.latents is not None:
            theirs = interpolated(sources.latents, gathered.pixels, gathered.inside, size)
            latent = carried_latents(weights.labels, theirs)
            latent = filtered(latent, known, label_kernel, LABEL_STEP)
        confidence = weights.labels.sum((-1, -2)) if scores is None else _most(scores)
        return Prediction(
            color=blended.clamp(0, 1) if not self.training else blended,
            depth=torch.where(known, depth, 0.0),
            confidence=torch.where(known, confidence, 0.0),
            scores=scores,
            latent=latent,
            extra=extra,
        )

    def weigh(
        self,
        gathered: Gathered,
        sources: SourceImages,
        rays: TargetRays,
        depths: Float[Tensor, "h w S"],
        features: Float[Tensor, "h w S V F"],
        meaning: Float[Tensor, "h w S V M"],
    ) -> ViewWeights:
        """Return the weights of the samples in the views."""
        by_hand = hand_weights(gathered)
        inside = gathered.inside
        statistics = torch.cat(
            [
                geometry_statistics(gathered, sources),
                meaning,
                _color_terms(gathered.colors, by_hand),
                features,
                features - weighted_mean(features, by_hand),
                _sample_terms(gathered, rays, depths, by_hand),
            ],
            -1,
        )
        hidden = _at(inside, statistics, lambda x: F.relu(self.first(x)), self.first.out_features)
        few = inside.sum(-1, keepdim=True).clamp(min=1)
        pooled = torch.cat([hidden.sum(-2) / few, hidden.amax(-2)], -1)  # (h, w, S, 2 F)
        shared = self.pooled(pooled)[..., None, :].expand(*inside.shape, -1)
        hidden = F.relu(self.second(hidden) + shared) * inside[..., None]
        logits = self.views(hidden)
        logits = logits + (by_hand + 1e-4).log()[..., None]
        seen = inside.any(-1)
        of_sample = torch.where(seen, self.sample(pooled)[..., 0], -torch.inf)
        surface = _softmax(of_sample, (-1,))
        tokens = torch.einsum("hws,hwsf->hwf", surface, hidden.sum(-2) / few)
        void = self.void(tokens)[..., None]
        color, label = (torch.where(inside, part, -torch.inf) for part in logits.unbind(-1))
        shares = surface[..., None] + 1e-6
        return ViewWeights(
            colors=_softmax(color + shares.log(), (-1, -2)),
            labels=_softmax(label + shares.log(), (-1, -2), void),
            samples=surface,
            tokens=tokens,
        )


class NeighbourWeights(nn.Module):
    """Chooses for each pixel the weights of its neighbours, for colours and for labels."""

    def __init__(self, in_dim: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_dim, width, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
        )
        self.color = nn.Conv2d(width, WINDOW**2, 1)
        self.label = nn.Conv2d(width, WINDOW**2, 1)
        for last in (self.color, self.label):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        with torch.no_grad():
            self.label.bias[WINDOW**2 // 2] = 4.0

    def forward(
        self, guide: Float[Tensor, "h w C"]
    ) -> tuple[Float[Tensor, "K h w"], Float[Tensor, "K h w"]]:
        """Return weights of the neighbours: of any sign for colours, above 0 for labels; sum 1."""
        hidden = self.layers(guide.permute(2, 0, 1)[None])
        color = self.color(hidden)[0]
        color = color - color.mean(0, keepdim=True)
        centre = torch.zeros_like(color)
        centre[WINDOW**2 // 2] = 1.0
        return centre + color, self.label(hidden)[0].softmax(0)


def filtered(
    image: Float[Tensor, "h w C"],
    known: Bool[Tensor, "h w"],
    kernel: Float[Tensor, "K h w"],
    step: int,
) -> Float[Tensor, "h w C"]:
    """Return each pixel as the weighted sum of its K neighbours, ``step`` pixels apart.

    Beyond the border, the pixel at the border counts. Unknown neighbours do not count.
    """
    reach = step * (WINDOW // 2)
    h, w, _ = image.shape
    padded = F.pad(image.permute(2, 0, 1)[None], (reach,) * 4, mode="replicate")[0]
    use = F.pad(known[None, None].float(), (reach,) * 4, mode="replicate")[0, 0]
    total = torch.zeros_like(padded[:, :h, :w])
    share = torch.zeros_like(use[:h, :w])
    for number in range(WINDOW**2):
        row, column = number // WINDOW * step, number % WINDOW * step
        part = kernel[number] * use[row : row + h, column : column + w]
        total = total + part * padded[:, row : row + h, column : column + w]
        share = share + part
    safe = torch.where(share.abs() > 0.1, share, 1.0)
    return (total / safe).permute(1, 2, 0)


def _meaning(
    sources: SourceImages, gathered: Gathered, agreement: Tensor | None
) -> tuple[Tensor | None, Tensor]:
    """Return the labels of the samples in the views, None if there are none, and their statistics."""
    inside = gathered.inside
    if sources.labels is None:
        return None, gathered.far.new_zeros(*inside.shape, MEANING)
    labels = at_pixels(sources.labels, gathered.pixels, inside, -1)
    if agreement is None:
        neutral = torch.tensor([0.5, 0.0], device=labels.device)
        agreed = neutral.expand(*inside.shape, 2)
    else:
        parts = [at_pixels(agreement[:, i], gathered.pixels, inside) for i in range(2)]
        agreed = torch.stack(parts, -1)
    return labels, meaning_statistics(labels, hand_weights(gathered), agreed)


def _color_terms(
    colors: Float[Tensor, "h w S V 3"], weights: Float[Tensor, "h w S V"]
) -> Float[Tensor, "h w S V {COLOR_TERMS}"]:
    """Return colours, how they differ from the mean of the views, and by how much."""
    apart = colors - weighted_mean(colors, weights)
    return torch.cat([colors, 4 * apart, apart.norm(dim=-1, keepdim=True)], -1)


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


def _at(mask: Tensor, values: Tensor, layer, width: int) -> Tensor:
    """Return a layer's output at the chosen elements, 0 elsewhere."""
    result = values.new_zeros(*mask.shape, width)
    result[mask] = layer(values[mask])
    return result


def _softmax(logits: Tensor, dims: tuple[int, ...], void: Tensor | None = None) -> Tensor:
    """Return weights over dims of sum 1; 0 where all are -inf. ``void`` is one more logit."""
    most = logits.amax(dims, keepdim=True)
    most = torch.where(torch.isfinite(most), most, 0.0)
    if void is not None:
        most = torch.maximum(most, void)
    powers = (logits - most).exp()
    total = powers.sum(dims, keepdim=True)
    if void is not None:
        total = total + (void - most).exp()
    return powers / total.clamp(min=1e-12)


def _most(scores: Float[Tensor, "h w C"]) -> Float[Tensor, "h w"]:
    """Return the highest score, 0 if there are no classes."""
    return scores.amax(-1) if scores.shape[-1] else scores.sum(-1)
