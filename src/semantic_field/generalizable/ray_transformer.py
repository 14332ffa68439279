"""The ray transformer of GP-NeRF: samples of a ray attend to each other, instead of compositing.

As in GNT (Varma et al. 2023). The attention of the first sample in the last block, averaged over
the heads, takes the place of the weights of volume rendering: depth is its mean.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from semantic_field.generalizable.masked_softmax import masked_softmax
from semantic_field.generalizable.view_transformer import FeedForward

FEW = 8  # samples, up to which products are summed without matrices


class RayBlock(NamedTuple):
    """Samples after one block, and how much each head of each sample attended to the others.

    Attributes:
        samples: float32 (R, S, W).
        attention: float32 (R, heads, S, S), rows sum to 1; to 0 on rays without a sample.
    """

    samples: Float[Tensor, "R S W"]
    attention: Float[Tensor, "R heads S S"]


class RayTransformer(nn.Module):
    """One block: self-attention along the ray, then a feed-forward network.

    Args:
        width: channels W of the samples, a multiple of ``heads``.
    """

    def __init__(
        self, width: int, heads: int = 4, expansion: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.feed = FeedForward(width, expansion, dropout)

    def forward(
        self,
        samples: Float[Tensor, "R S W"],
        there: Bool[Tensor, "R S"] | None = None,
        prior: Float[Tensor, "R S"] | None = None,
    ) -> RayBlock:
        """Return the updated samples and the attention (before dropout).

        Args:
            there: samples that may be attended to; None = all (the paper).
            prior: logits that attention to each sample begins with; None = 0 (the paper).
        """
        R, S, W = samples.shape
        inputs = self.inputs(self.norm(samples)).view(R, S, 3, self.heads, W // self.heads)
        logits = _few_products(inputs) if S <= FEW else _products(inputs)
        if prior is not None:
            logits = logits + prior.T[:, None, None]
        if there is None:
            attention = logits.softmax(0)
        else:
            attention = masked_softmax(logits, there.T[:, None, None], 0)
        attention = attention.permute(3, 1, 2, 0)
        said = along_rays(self.dropout(attention), inputs[:, :, 2].flatten(2))
        samples = samples + self.dropout(self.out(said))
        return RayBlock(self.feed(samples), attention)


def _products(inputs: Float[Tensor, "R S 3 heads d"]) -> Float[Tensor, "S heads S R"]:
    """Return scaled products of keys (first dimension) and queries (third)."""
    query, key = inputs[:, :, 0], inputs[:, :, 1]
    return torch.einsum("rshd,rthd->thsr", query, key) / math.sqrt(inputs.shape[-1])


def _few_products(inputs: Float[Tensor, "R S 3 heads d"]) -> Float[Tensor, "S heads S R"]:
    """The same for few samples: sums of long rows instead of many tiny matrices."""
    query, key = inputs[:, :, :2].permute(2, 1, 3, 4, 0).contiguous() / inputs.shape[-1] ** 0.25
    return torch.stack([(key * one).sum(2) for one in query], 2)


def _few_along(
    attention: Float[Tensor, "R heads S S"], grouped: Float[Tensor, "R S heads d"]
) -> Float[Tensor, "R S heads d"]:
    """``along_rays`` for few samples."""
    rows = grouped.permute(1, 2, 3, 0).contiguous()  # (S, heads, d, R)
    weights = attention.permute(2, 3, 1, 0)  # (S, S, heads, R)
    return torch.stack([(one[:, :, None] * rows).sum(0) for one in weights]).permute(3, 0, 1, 2)


def along_rays(
    attention: Float[Tensor, "R heads S S"], meaning: Float[Tensor, "R S D"]
) -> Float[Tensor, "R S D"]:
    """Return semantic features of samples, averaged along the ray with the radiance's attention.

    Each head weighs its own D / heads channels.
    """
    R, S, D = meaning.shape
    grouped = meaning.view(R, S, attention.shape[1], -1)
    if S <= FEW:
        return _few_along(attention, grouped).reshape(R, S, D)
    return torch.einsum("rhst,rthd->rshd", attention, grouped).reshape(R, S, D)


def ray_weights(attention: Float[Tensor, "R heads S S"]) -> Float[Tensor, "R S"]:
    """Return the weights of the samples: the first sample's attention, averaged over the heads."""
    return attention[:, :, 0].mean(1)
