"""Heads on the image of rendered features: classes of a closed set, or weights of neighbours.

A ray alone knows no context; these heads see its neighbours in the image of rays, which may have
any size. ``CarriedHead`` never sees classes: it says which of the 25 rays around one to believe,
and how far, so it works for labels of any list and for latents.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from semantic_field.generalizable.neighbour_weights import NeighbourWeights

BELIEF_START = 3.0  # logit


class UNetHead(nn.Module):
    """A U-Net of three scales, the decoder that the paper of GP-NeRF names.

    Args:
        before: channels of the feature image.
        width: channels at its own scale; 2 and 4 times as many at 1/2 and 1/4.
        outputs: logits of a pixel.
    """

    def __init__(self, before: int, width: int, outputs: int) -> None:
        super().__init__()
        self.at_full = _block(before, width)
        self.at_half = _block(width, 2 * width)
        self.at_quarter = _block(2 * width, 4 * width)
        self.to_half = _block(6 * width, 2 * width)
        self.to_full = _block(3 * width, width)
        self.out = nn.Conv2d(width, outputs, 1)

    def forward(self, image: Float[Tensor, "B F h w"]) -> Float[Tensor, "B C h w"]:
        """Return logits; scales are rounded up, so that one row is an image, too."""
        full = self.at_full(image)
        half = self.at_half(max_pool2d(full, 2, ceil_mode=True))
        quarter = self.at_quarter(max_pool2d(half, 2, ceil_mode=True))
        half = self.to_half(torch.cat([half, _enlarged(quarter, half)], 1))
        full = self.to_full(torch.cat([full, _enlarged(half, full)], 1))
        return self.out(full)


class FPNHead(nn.Module):
    """The head of semantic FPN (Kirillov et al. 2019), which the released code of GP-NeRF has.

    The feature image is the four levels of the pyramid side by side: each has its own convolution,
    at half the resolution, and their sum is classified.

    Args:
        before: channels of the feature image, a multiple of 4.
        width: channels of the sum (128 in the code).
        outputs: logits of a pixel.
    """

    def __init__(self, before: int, width: int, outputs: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_block(before // 4, width) for _ in range(4))
        self.out = nn.Conv2d(width, outputs, 1)

    def forward(self, image: Float[Tensor, "B F h w"]) -> Float[Tensor, "B C h w"]:
        """Return logits, enlarged to the resolution of the image."""
        parts = avg_pool2d(image, 2, ceil_mode=True).chunk(4, 1)
        total = sum(level(part) for level, part in zip(self.levels, parts))
        return _enlarged(self.out(total), image)


HEADS = {"unet": UNetHead, "fpn": FPNHead}


class CarriedHead(nn.Module):
    """Says of each ray which of its 5 x 5 neighbours to believe, and how far.

    Args:
        before: numbers of a ray.
        width: channels between the convolutions.
    """

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.neighbours = NeighbourWeights(before, width)
        self.belief = nn.Linear(before, 1)
        with torch.no_grad():  # begins with nearly all of what is carried
            self.belief.weight.zero_()
            self.belief.bias.fill_(BELIEF_START)

    def forward(
        self, image: Float[Tensor, "h w F"]
    ) -> tuple[Float[Tensor, "25 h w"], Float[Tensor, "25 h w"], Float[Tensor, "h w"]]:
        """Return weights of the neighbours for colours and for meaning, and belief in 0..1."""
        return *self.neighbours(image), torch.sigmoid(self.belief(image))[..., 0]


def _block(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, width, 3, 1, 1, bias=False),
        nn.GroupNorm(min(8, width // 2), width),
        nn.ReLU(inplace=True),
    )


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
