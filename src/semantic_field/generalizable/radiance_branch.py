"""GSNeRF's radiance branch: which views to take a sample's colour from, and how dense it is."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import elu, relu

from semantic_field.generalizable.gathering import Gathered
from semantic_field.generalizable.masked_softmax import masked_softmax
from semantic_field.generalizable.view_attention import (
    AttentionLayer,
    RayAutoencoder,
    mean_and_variance,
)
from semantic_field.generalizable.view_blending import weights_of_densities

FREQUENCIES = 4
ANGLES = 1 + 2 * FREQUENCIES  # the sine of the angle, and sine and cosine of its multiples


class RadianceBranch(nn.Module):
    """Attention over a token for each view and one for their mean and variance.

    Args:
        features: channels F of the extractor's features at samples.
        volume: channels F2 of the volumes' features, may be 0.
        width, heads, layers: of the attention.
        ray_norm: see ``RayAutoencoder``.
    """

    def __init__(
        self, features: int, volume: int, width: int, heads: int, layers: int, ray_norm: str
    ) -> None:
        super().__init__()
        self.token = nn.Linear(volume + 1 + features, width)
        self.overall = nn.Sequential(
            nn.Linear(2 * features, width), nn.ELU(), nn.Linear(width, width), nn.ELU()
        )
        self.attention = nn.ModuleList(AttentionLayer(width, heads) for _ in range(layers))
        self.along_ray = RayAutoencoder(width, ray_norm)
        self.density = _perceptron(width, width)
        self.score = _perceptron(width + ANGLES, width)
        bound = (width // 2) ** -0.5
        nn.init.uniform_(self.density[-1].weight, -bound, bound)  # type: ignore[arg-type]
        nn.init.constant_(self.density[-1].bias, bound)  # type: ignore[arg-type]

    def forward(
        self,
        gathered: Gathered,
        features: Float[Tensor, "h w S V F"],
        volume: Float[Tensor, "h w S V F2"],
        mask: Bool[Tensor, "h w S V"],
    ) -> tuple[Float[Tensor, "h w S V"], Float[Tensor, "h w S"]]:
        """Return the weights of the views' colours in each sample, and those of the samples.

        Args:
            features: of the extractor at the samples, 0 where not inside.
            volume: of the cost volumes there; F2 may be 0.
            mask: views that may be believed, see ``believable``.
        """
        h, w, S, V = mask.shape
        inside = gathered.inside[..., None].to(features.dtype)
        features = features.reshape(h * w * S, V, -1)
        shown = torch.cat([volume, inside], -1).reshape(h * w * S, V, -1)
        tokens = elu(self.token(torch.cat([shown, features], -1)))
        overall = self.overall(mean_and_variance(features))
        tokens = torch.cat([tokens, overall[:, None]], 1)
        seen = mask.reshape(h * w * S, V)
        keys = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
        for layer in self.attention:
            tokens = layer(tokens, keys)
        along = tokens[:, -1].reshape(h * w, S, -1).transpose(1, 2)
        along = self.along_ray(along).transpose(1, 2)  # (hw, S, width)
        density = relu(self.density(along))[..., 0].reshape(h, w, S)
        angles = angle_encoding(gathered.turn[..., 3]).reshape(h * w * S, V, -1)
        score = self.score(torch.cat([tokens[:, :-1], angles], -1))[..., 0]
        colors = masked_softmax(score, seen).reshape(h, w, S, V)
        return colors, weights_of_densities(density)


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    half = width // 2
    layers = (nn.Linear(inputs, width), nn.ELU(), nn.Linear(width, half), nn.ELU())
    return nn.Sequential(*layers, nn.Linear(half, 1))


def angle_encoding(cosine: Float[Tensor, "..."]) -> Float[Tensor, "... A"]:
    """Return the sine of angles, and the sine and cosine of it times 1, 2, 4 and 8."""
    sine = (1 - cosine**2).clamp(min=1e-12).sqrt()[..., None]
    scaled = sine * 2.0 ** torch.arange(FREQUENCIES, device=sine.device)
    return torch.cat([sine, scaled.sin(), scaled.cos()], -1)
