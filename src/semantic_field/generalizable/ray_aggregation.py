"""The blocks of GP-NeRF: views to points, points along rays, and semantics by the same attention.

For R rays of S samples (P = R x S points) in V views. The radiance branch is GNT's (Varma et al.
2023); the semantic branch of GP-NeRF has no attention of its own: in every block the semantic
features of the views are added up with the attention of the radiance branch, over the views and
then along the ray, and the blocks are summed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from semantic_field.generalizable.gp_nerf_config import GPNeRFConfig
from semantic_field.generalizable.guided_samples import GuidedSamples
from semantic_field.generalizable.ray_transformer import RayTransformer, along_rays, ray_weights
from semantic_field.generalizable.source_images import TargetRays
from semantic_field.generalizable.view_evidence import NUMBERS, ViewEvidence
from semantic_field.generalizable.view_transformer import TwoLayers, ViewTransformer, spoken

TURN = 4  # numbers of ray_diff: difference of the unit directions, and their cosine
BESIDE = 4  # numbers of a sample's place beside the target depth


class Aggregated(NamedTuple):
    """What the blocks make of R rays.

    Attributes:
        feature: float32 (R, W), radiance features of the rays.
        weights: float32 (R, S), of the samples, sum at most 1.
        attention: float32 (V, W, P), what each channel of the last block paid to each view.
        meaning: float32 (R, S, D), semantic features of the samples, summed over the blocks.
    """

    feature: Float[Tensor, "R W"]
    weights: Float[Tensor, "R S"]
    attention: Float[Tensor, "V W P"]
    meaning: Float[Tensor, "R S D"] | None


class RayAggregation(nn.Module):
    """Alternating field and ray transformers; every even block is told where its samples are."""

    def __init__(self, config: GPNeRFConfig) -> None:
        super().__init__()
        width = config.width
        relation = TURN + (NUMBERS if config.evidence else 0)
        place = BESIDE if config.position == "ray" else 2 * 3 * (1 + 2 * config.frequencies)
        self.empty_samples = config.empty_samples
        self.embed = TwoLayers(config.radiance + 3, width, width)
        shape = (config.expansion, config.dropout)
        self.views = nn.ModuleList(
            ViewTransformer(width, relation, *shape) for _ in range(config.blocks)
        )
        self.rays = nn.ModuleList(
            RayTransformer(width, config.heads, *shape) for _ in range(config.blocks)
        )
        self.places = nn.ModuleList(
            TwoLayers(width + place, width, width) for _ in range(0, config.blocks, 2)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        inputs: Float[Tensor, "V F P"],
        turn: Float[Tensor, "V 4 P"],
        seen: Bool[Tensor, "V P"],
        place: Float[Tensor, "R S B"],
        evidence: ViewEvidence | None = None,
        meaning: Float[Tensor, "V D P"] | None = None,
    ) -> Aggregated:
        """Aggregate what the views hold at samples.

        Args:
            inputs: radiance features and colours; arbitrary but finite where not seen.
            turn: how the rays differ, see ``Gathered``.
            place: where the samples are.
            evidence: where ``config.evidence`` is set.
            meaning: semantic features of the views; None = without the semantic branch.
        """
        R, S, _ = place.shape
        views, total = self.embed.of_views(inputs), None
        there = None if self.empty_samples else seen.any(0).view(R, S)
        relation, of_views, of_samples = turn, None, None
        if evidence is not None:
            relation = torch.cat([turn, evidence.numbers], 1)
            of_views, of_samples = evidence.prior, evidence.surface.view(R, S)
        highest = torch.where(seen[:, None], views, -math.inf).amax(0)
        points = torch.where(seen.any(0), highest, 0.0).T
        attention = along = None
        for number, (view_block, ray_block) in enumerate(zip(self.views, self.rays)):
            points, attention = view_block(points, views, relation, seen, of_views)
            if number % 2 == 0:
                told = torch.cat([points, place.flatten(0, 1)], -1)
                points = self.places[number // 2](told)
            samples, along = ray_block(points.view(R, S, -1), there, of_samples)
            points = samples.flatten(0, 1)
            if meaning is not None:
                said = along_rays(along, spoken(attention, meaning).reshape(R, S, -1))
                total = said if total is None else total + said
        assert attention is not None and along is not None
        feature = self.norm(points).view(R, S, -1).mean(1)
        return Aggregated(feature, ray_weights(along), attention, total)


def beside_target_depth(
    rays: TargetRays, samples: GuidedSamples, spread_m: float
) -> Float[Tensor, "h w S 4"]:
    """Return each sample's place: whether it is the target depth, whether that is known, their
    distance (squashed; unit: the spread of the samples), and the logarithm of its depth."""
    known = (rays.depth > 0)[..., None].expand_as(samples.depths)
    apart = (samples.depths - rays.depth[..., None]) / max(spread_m, 1e-3)
    apart = torch.where(known, torch.tanh(apart / 3.0), 0.0)
    far = samples.depths.clamp_min(0.05).log()
    return torch.stack([samples.exact.float(), known.float(), apart, far], -1)


def in_the_world(
    rays: TargetRays, depths: Float[Tensor, "h w S"], frequencies: int
) -> Float[Tensor, "h w S B"]:
    """Return encodings of the samples' world points and of their rays' unit directions (NeRF)."""
    points = rays.points(depths)
    directions = normalize(points - rays.pose[:3, 3], dim=-1)
    both = torch.cat([points, directions], -1)
    octaves = 2.0 ** torch.arange(frequencies, device=points.device)
    angles = (both[..., None] * octaves).flatten(-2)
    return torch.cat([both, angles.sin(), angles.cos()], -1)
