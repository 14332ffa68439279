"""The field transformer of GP-NeRF: what source views say about a point, by attention over views.

As in GNT (Varma et al. 2023), attention subtracts: for each channel, an MLP turns the difference
of key and query, plus an embedding of how the two rays differ, into the logit of the view. Views
that do not see the point weigh exactly nothing; a point that none sees gets zeros.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class ViewBlock(NamedTuple):
    """Points after one block, and the attention that every channel paid to each view.

    Attributes:
        points: float32 (P, W).
        attention: float32 (P, V, W), at least 0; sums over the views to 1, to 0 where none sees.
    """

    points: Float[Tensor, "P W"]
    attention: Float[Tensor, "P V W"]


class ViewAttention(nn.Module):
    """Subtraction attention of points over the views that see them.

    Args:
        width: channels W of points and views.
        relation: numbers that say how a source's ray relates to the target's.
        dropout: share of the attention that is dropped in training.
    """

    def __init__(self, width: int, relation: int, dropout: float = 0.0) -> None:
        super().__init__()
        inner = max(width // 8, 4)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.place = _mlp(relation, inner, width)
        self.logit = _mlp(width, inner, width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        points: Float[Tensor, "P W"],
        views: Float[Tensor, "P V W"],
        relation: Float[Tensor, "P V R"],
        seen: Bool[Tensor, "P V"],
    ) -> ViewBlock:
        """Return what the views say, and the attention (before dropout)."""
        key = self.key(views)
        place = self.place(relation)
        logits = self.logit(key - self.query(points)[:, None] + place)
        attention = masked_softmax(logits, seen[..., None], 1)
        said = ((self.value(key) + place) * self.dropout(attention)).sum(1)
        return ViewBlock(self.out(said), attention)


class ViewTransformer(nn.Module):
    """One block: attention over views, then a feed-forward network, each beside the identity."""

    def __init__(self, width: int, relation: int, expansion: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = ViewAttention(width, relation, dropout)
        self.feed = FeedForward(width, expansion, dropout)

    def forward(
        self,
        points: Float[Tensor, "P W"],
        views: Float[Tensor, "P V W"],
        relation: Float[Tensor, "P V R"],
        seen: Bool[Tensor, "P V"],
    ) -> ViewBlock:
        """Return the updated points and the attention."""
        said, attention = self.attention(self.norm(points), views, relation, seen)
        return ViewBlock(self.feed(points + said), attention)


class FeedForward(nn.Module):
    """Two linear layers behind a norm, beside the identity."""

    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(expansion * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Float[Tensor, "... W"]) -> Float[Tensor, "... W"]:
        """Return the features plus what the layers make of them."""
        return x + self.body(x)


def masked_softmax(logits: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Return the softmax over the entries in the mask: exactly 0 elsewhere, also where none is in.

    No gradient passes to entries out of the mask.
    """
    logits = torch.where(mask, logits, -1e9)
    return torch.softmax(logits, dim) * mask


def spoken(
    attention: Float[Tensor, "P V W"], meaning: Float[Tensor, "P V D"]
) -> Float[Tensor, "P D"]:
    """Return the views' semantic features, added up with the attention of the radiance branch.

    Each of the W channels of attention weighs D / W neighbouring channels of the features.
    """
    P, V, W = attention.shape
    grouped = meaning.reshape(P, V, W, -1)
    return torch.einsum("pvw,pvwd->pwd", attention, grouped).reshape(P, -1)


def _mlp(before: int, inner: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, inner), nn.ReLU(inplace=True), nn.Linear(inner, after))
