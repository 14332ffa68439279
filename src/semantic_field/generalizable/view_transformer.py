"""The field transformer of GP-NeRF: what source views say about a point, by attention over views.

As in GNT (Varma et al. 2023), attention subtracts: for each channel, an MLP turns the difference
of key and query, plus an embedding of how the two rays differ, into the logit of the view. Views
that do not see the point weigh exactly nothing; a point that none sees gets zeros.

Tensors of views have the views first and the points last: sums over views and products with small
matrices are then of long rows, which a CPU needs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from semantic_field.generalizable.masked_softmax import UNSEEN


class ViewBlock(NamedTuple):
    """Points after one block, and the attention that every channel paid to each view.

    Attributes:
        points: float32 (P, W).
        attention: float32 (V, W, P), at least 0; sums over the views to 1, to 0 where none sees.
    """

    points: Float[Tensor, "P W"]
    attention: Float[Tensor, "V W P"]


class ViewAttention(nn.Module):
    """Subtraction attention of points over the views that see them.

    Args:
        width: channels W of points and views.
        relation: numbers E that say how a source's ray relates to the target's.
        dropout: share of the attention that is dropped in training.
    """

    def __init__(self, width: int, relation: int, dropout: float = 0.0) -> None:
        super().__init__()
        inner = max(width // 8, 4)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.place = TwoLayers(relation, inner, width)
        self.logit = TwoLayers(width, inner, width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        points: Float[Tensor, "P W"],
        views: Float[Tensor, "V W P"],
        relation: Float[Tensor, "V E P"],
        seen: Bool[Tensor, "V P"],
        prior: Float[Tensor, "V G P"] | None = None,
    ) -> ViewBlock:
        """Return what the views say, and the attention (before dropout).

        The first layer of the logits is linear, so it is multiplied into keys, queries and places
        beforehand: what is computed for each view has as few channels as that layer gives.

        Args:
            prior: logits that G equal groups of channels begin with; None = 0 (the paper).
        """
        inner = torch.relu(pointwise(self.place.first, relation))
        place, first, last = self.place.last, self.logit.first, self.logit.last
        asked = (first.weight @ self.query.weight) @ points.T
        asked = asked - (first.weight @ place.bias + first.bias)[:, None]
        hidden = times(first.weight @ self.key.weight, views)
        hidden = times(first.weight @ place.weight, inner, onto=hidden)
        start = torch.where(seen[:, None], 0.0 if prior is None else prior, UNSEEN)
        groups = _of_groups(start.shape[1], len(last.weight), start)
        logits = times(
            torch.cat([last.weight, groups], 1),
            torch.cat([torch.relu(hidden - asked), start], 1),
            onto=last.bias[:, None],
        )
        attention = torch.softmax(logits, 0) * seen[:, None]
        value = times(place.weight, inner, onto=place.bias[:, None])
        value = times(self.value.weight, views, onto=value)
        said = (value * self.dropout(attention)).sum(0)
        return ViewBlock(self.out(said.T), attention)


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
        views: Float[Tensor, "V W P"],
        relation: Float[Tensor, "V E P"],
        seen: Bool[Tensor, "V P"],
        prior: Float[Tensor, "V G P"] | None = None,
    ) -> ViewBlock:
        """Return the updated points and the attention."""
        said, attention = self.attention(self.norm(points), views, relation, seen, prior)
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


def spoken(
    attention: Float[Tensor, "V W P"], meaning: Float[Tensor, "V D P"]
) -> Float[Tensor, "P D"]:
    """Return the views' semantic features, added up with the attention of the radiance branch.

    Each of the W channels of attention weighs D / W neighbouring channels of the features.
    """
    _, W, P = attention.shape
    total = meaning.new_zeros(W, meaning.shape[1] // W, P)
    for weight, features in zip(attention, meaning):  # no product of all views is ever kept
        total = torch.addcmul(total, weight[:, None], features.view_as(total))
    return total.flatten(0, 1).T


class TwoLayers(nn.Module):
    """Two linear layers with a ReLU between them, of features in the last dimension."""

    def __init__(self, before: int, inner: int, after: int) -> None:
        super().__init__()
        self.first = nn.Linear(before, inner)
        self.last = nn.Linear(inner, after)

    def forward(self, x: Float[Tensor, "... F"]) -> Float[Tensor, "... G"]:
        """Return what the layers make of the features."""
        return self.last(torch.relu(self.first(x)))

    def of_views(self, x: Float[Tensor, "V F P"]) -> Float[Tensor, "V G P"]:
        """Return the same for features with the points last."""
        return pointwise(self.last, torch.relu(pointwise(self.first, x)))


def pointwise(layer: nn.Linear, x: Float[Tensor, "V F P"]) -> Float[Tensor, "V G P"]:
    """Return a linear layer, applied to each point."""
    return times(layer.weight, x, onto=layer.bias[:, None])


def times(
    weight: Float[Tensor, "G F"], x: Float[Tensor, "V F P"], onto: Tensor | None = None
) -> Float[Tensor, "V G P"]:
    """Return ``weight @ x``, added to ``onto`` (without the copies that a plain product makes)."""
    weight = weight.expand(len(x), -1, -1)
    return weight.bmm(x) if onto is None else torch.baddbmm(onto, weight, x)


def _of_groups(groups: int, width: int, like: Tensor) -> Float[Tensor, "W G"]:
    """Return for each channel which group it is of, as ones and zeros."""
    return torch.eye(groups, dtype=like.dtype, device=like.device).repeat_interleave(
        width // groups, 0
    )
