"""Self-attention over the source views of a sample, and a convolutional network along a ray.

As GeoNeRF (Johari et al. 2022) and GSNeRF have them. Tokens of views that do not see the sample
are masked; the last token, of the mean and variance over the views, never is.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import elu, layer_norm, max_pool1d, relu, scaled_dot_product_attention

EPSILON = 1e-6  # of the layer norms


class AttentionLayer(nn.Module):
    """Multi-head self-attention and a two-layer network, each added to its input and normed."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"expected heads to divide the width of tokens, got {heads} heads of {width}: set "
                "heads to a divisor"
            )
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.joined = nn.Linear(width, width, bias=False)
        self.first_norm = nn.LayerNorm(width, eps=EPSILON)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.second_norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(
        self, tokens: Float[Tensor, "N T d"], mask: Bool[Tensor, "N T"]
    ) -> Float[Tensor, "N T d"]:
        """Return the tokens, each having looked at those that the mask lets be seen."""
        N, T, d = tokens.shape
        split = (N, T, self.heads, d // self.heads)
        q, k, v = (
            layer(tokens).view(split).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        found = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        found = self.joined(found.transpose(1, 2).reshape(N, T, d))
        tokens = self.first_norm(tokens + found)
        return self.second_norm(tokens + self.outer(relu(self.inner(tokens))))


class RayAutoencoder(nn.Module):
    """Three convolutions down and three up along a ray of any number of samples, 1 too.

    Args:
        norm: "ray": each channel over the samples of its ray, as published: with few samples
            little is left, with one nothing; "channels": each sample over its channels.
    """

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        if norm not in ("ray", "channels"):
            raise ValueError(f"expected ray_norm to be ray or channels, got {norm!r}")
        self.norm = norm
        c = channels
        self.down = nn.ModuleList(
            nn.Conv1d(a, b, 3, padding=1) for a, b in ((c, 2 * c), (2 * c, 4 * c), (4 * c, 4 * c))
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 4, stride=2, padding=1)
            for a, b in ((4 * c, 4 * c), (8 * c, 2 * c), (4 * c, c))
        )
        self.out = nn.Conv1d(2 * c, c, 3, padding=1)

    def forward(self, x: Float[Tensor, "R c S"]) -> Float[Tensor, "R c S"]:
        """Return the samples' values, each having seen its neighbours on the ray."""
        maps = [x]
        for layer in self.down:
            full = self._active(layer(maps[-1]))
            maps.append(max_pool1d(full, 2, ceil_mode=True))
        x = maps.pop()
        for layer in self.up:
            below = maps.pop()
            x = self._active(layer(x)[..., : below.shape[-1]])
            x = torch.cat([x, below], 1)
        return self._active(self.out(x))

    def _active(self, x: Float[Tensor, "R c S"]) -> Float[Tensor, "R c S"]:
        if self.norm == "ray":
            return elu(layer_norm(x, x.shape[-1:]))
        swapped = x.transpose(1, 2)
        return elu(layer_norm(swapped, swapped.shape[-1:]).transpose(1, 2))


def mean_and_variance(
    features: Float[Tensor, "N V F"], mask: Bool[Tensor, "N V"] | None = None
) -> Float[Tensor, "N 2F"]:
    """Return the variance and the mean over the views.

    Args:
        mask: the views that count, none = 0; None = all, as published.
    """
    if mask is None:
        variance, mean = torch.var_mean(features, dim=1, unbiased=False)
        return torch.cat([variance, mean], -1)
    weight = mask[..., None] / mask.sum(1).clamp(min=1)[:, None, None]
    mean = (features * weight).sum(1)
    variance = ((features - mean[:, None]) ** 2 * weight).sum(1)
    return torch.cat([variance, mean], -1)
