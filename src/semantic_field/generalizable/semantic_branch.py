"""GSNeRF's semantic branch, of a closed set of classes and of meaning that the sources carry.

Both look at one sample of a ray only, that at the target depth.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import elu, relu

from semantic_field.generalizable.gathering import interpolated
from semantic_field.generalizable.masked_softmax import masked_softmax
from semantic_field.generalizable.view_attention import (
    AttentionLayer,
    mean_and_variance,
)

PATCH = 9  # pixels of the 3x3 patch about the sample
BESIDES = 8  # inside, gap, its certainty, turn (4), agreement: what a carried token has beside


class ClosedSemantics(nn.Module):
    """Logits of a closed set of classes, from the semantic features of the source images.

    Args:
        n_classes: C.
        views: most views; the tokens of fewer are filled up with zeros.
        rectified: cut logits off at 0, as the released code does.
    """

    def __init__(
        self, n_classes: int, views: int, width: int, heads: int, layers: int, rectified: bool
    ) -> None:
        super().__init__()
        self.views, self.rectified = views, rectified
        features, joined = PATCH * n_classes, width * (views + 1)
        self.token = nn.Linear(1 + features, width)
        self.overall = nn.Sequential(
            nn.Linear(2 * features, width), nn.ELU(), nn.Linear(width, width), nn.ELU()
        )
        self.attention = nn.ModuleList(AttentionLayer(width, heads) for _ in range(layers))
        self.head = nn.Sequential(
            nn.Linear(joined, joined),
            nn.ELU(),
            nn.Linear(joined, joined // 2),
            nn.ELU(),
            nn.Linear(joined // 2, n_classes),
        )

    def forward(
        self,
        patches: Float[Tensor, "R V 9C"],
        inside: Bool[Tensor, "R V"],
        mask: Bool[Tensor, "R V"],
    ) -> Float[Tensor, "R C"]:
        """Return the logits of R rays.

        Raises:
            ValueError: if there are more views than the head has places for.
        """
        V = patches.shape[1]
        if self.views < V:
            raise ValueError(
                f"expected at most {self.views} source views, got {V}: choose fewer, or train a "
                f"model with views: {V}"
            )
        tokens = elu(self.token(torch.cat([patches, inside[..., None].to(patches.dtype)], -1)))
        overall = self.overall(mean_and_variance(patches))[:, None]
        tokens = torch.cat([tokens, overall], 1)
        keys = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        for layer in self.attention:
            tokens = layer(tokens, keys)
        missing = tokens.new_zeros(len(tokens), self.views - V, tokens.shape[-1])
        logits = self.head(torch.cat([missing, tokens], 1).flatten(1))
        return relu(logits) if self.rectified else logits


def semantic_patches(
    feature: Float[Tensor, "V C h2 w2"],
    pixels: Float[Tensor, "h w V 2"],
    inside: Bool[Tensor, "h w V"],
    size: tuple[int, int],
) -> Float[Tensor, "h w V 9C"]:
    """Return semantic features at a pixel and its 8 neighbours, row by row; 0 where not inside.

    Args:
        pixels: in images of ``size``, height and width. Neighbours are one of their pixels away.
    """
    step = torch.arange(-1.0, 2.0, device=pixels.device)
    rows, columns = torch.meshgrid(step, step, indexing="ij")
    offsets = torch.stack([columns, rows], -1).reshape(PATCH, 1, 2)
    around = pixels[:, :, None] + offsets  # (h, w, 9, V, 2)
    shown = inside[:, :, None].expand(around.shape[:-1])
    found = interpolated(feature, around, shown, size)  # (h, w, 9, V, C)
    return found.transpose(2, 3).flatten(3)


class CarriedSemantics(nn.Module):
    """How far each view is believed in what it says about a ray; it never sees what is said.

    Args:
        features: channels F of the extractor's features.
    """

    def __init__(self, features: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        inputs = features + BESIDES
        self.token = nn.Linear(inputs, width)
        self.overall = nn.Sequential(
            nn.Linear(2 * inputs, width), nn.ELU(), nn.Linear(width, width), nn.ELU()
        )
        self.attention = nn.ModuleList(AttentionLayer(width, heads) for _ in range(layers))
        self.score = nn.Linear(width, 1)
        self.confidence = nn.Linear(width, 1)

    def forward(
        self,
        features: Float[Tensor, "R V F"],
        besides: Float[Tensor, "R V 8"],
        mask: Bool[Tensor, "R V"],
    ) -> tuple[Float[Tensor, "R V"], Float[Tensor, "R"]]:
        """Return the weights of the views, which add up to 1 (0 where the mask has none), and
        the confidence in what they say together, 0..1.

        Args:
            besides: see ``besides_features``.
            mask: views that may be believed.
        """
        shown = torch.cat([features, besides], -1)
        tokens = elu(self.token(shown))
        tokens = torch.cat([tokens, self.overall(mean_and_variance(shown, mask))[:, None]], 1)
        keys = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        for layer in self.attention:
            tokens = layer(tokens, keys)
        weights = masked_softmax(self.score(tokens[:, :-1])[..., 0], mask)
        confidence = self.confidence(tokens[:, -1])[..., 0].sigmoid()
        return weights, confidence * mask.any(-1)


def besides_features(
    inside: Bool[Tensor, "... V"],
    gap: Float[Tensor, "... V"],
    reading: Float[Tensor, "... V"],
    turn: Float[Tensor, "... V 4"],
    agreement: Float[Tensor, "... V"],
    hidden_m: float,
) -> Float[Tensor, "... V 8"]:
    """Return what a token has beside features: bounded numbers, none of them about classes.

    Args:
        gap: the reading minus the sample's depth, see ``Gathered``, in units of ``hidden_m``.
        agreement: of labels, see ``label_agreement``.
    """
    flags = [inside.to(gap.dtype), (gap / hidden_m).tanh(), (reading > 0).to(gap.dtype)]
    return torch.cat([torch.stack([*flags, agreement], -1), turn], -1)
