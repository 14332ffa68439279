"""Heads on the image of rendered features: classes of a closed set, or weights of neighbours.

A ray alone knows no context; these heads see its neighbours in the image of rays, which may have
any size. ``NeighbourFilter`` never sees classes: it says which of the 25 rays around one to
believe, and how much, so it works for labels of any list and for latents.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_field.generalizable.view_transformer import masked_softmax

RADIUS = 2  # of the neighbourhood of 5 x 5 rays
NEIGHBOURS = (2 * RADIUS + 1) ** 2
CENTRE = NEIGHBOURS // 2


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
        half = self.at_half(F.max_pool2d(full, 2, ceil_mode=True))
        quarter = self.at_quarter(F.max_pool2d(half, 2, ceil_mode=True))
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
        parts = F.avg_pool2d(image, 2, ceil_mode=True).chunk(4, 1)
        total = sum(level(part) for level, part in zip(self.levels, parts))
        return _enlarged(self.out(total), image)


HEADS = {"unet": UNetHead, "fpn": FPNHead}


class NeighbourFilter(nn.Module):
    """Predicts for each ray the weights of the 5 x 5 rays around it, and a share of belief.

    Neighbours count less where depth or colour jumps; what else matters, two convolutions say.

    Args:
        before: channels of the feature image.
        width: channels between the convolutions.
    """

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, NEIGHBOURS + 1, 1),
        )
        self.jumps = nn.Parameter(torch.tensor([20.0, 5.0]))  # of relative depth, of colour
        out = self.body[-1]
        assert isinstance(out, nn.Conv2d) and out.bias is not None
        with torch.no_grad():  # begins with the ray alone, nearly believed
            out.weight.mul_(0.1)
            out.bias.zero_()
            out.bias[CENTRE], out.bias[-1] = 4.0, 3.0

    def forward(
        self,
        image: Float[Tensor, "F h w"],
        depth: Float[Tensor, "h w"],
        color: Float[Tensor, "h w 3"],
        voted: Bool[Tensor, "h w"],
    ) -> Float[Tensor, "25 h w"]:
        """Return weights of the neighbours (row by row), at least 0, with a sum below 1.

        Rays that are out of the image or that have no vote get none.

        Args:
            depth: metres, 0 = unknown.
            voted: rays whose sources say something.
        """
        out = self.body(image[None])[0]
        near = torch.stack([torch.log(depth.clamp_min(0.05)), *color.unbind(-1)])
        jumps = self.jumps.abs()
        logits = []
        for logit, other in zip(out, shifted(near)):
            apart = (other - near).abs()
            logits.append(logit - jumps[0] * apart[0] - jumps[1] * apart[1:].mean(0))
        there = torch.stack(list(shifted(voted[None].float())))[:, 0] > 0
        return masked_softmax(torch.stack(logits), there, 0) * torch.sigmoid(out[-1])


def filtered(
    weights: Float[Tensor, "25 h w"], votes: Float[Tensor, "h w C"]
) -> Float[Tensor, "h w C"]:
    """Return the weighted sum of what the neighbouring rays carry, labels' votes or latents."""
    total = torch.zeros_like(votes)
    for weight, other in zip(weights, shifted(votes.movedim(-1, 0))):
        total = torch.addcmul(total, weight[..., None], other.movedim(0, -1))
    return total


def shifted(image: Float[Tensor, "F h w"]) -> Iterator[Float[Tensor, "F h w"]]:
    """Yield the image as seen by each of the 25 neighbours in turn, 0 beyond its border."""
    h, w = image.shape[-2:]
    wide = F.pad(image, (RADIUS, RADIUS, RADIUS, RADIUS))
    for row in range(2 * RADIUS + 1):
        for column in range(2 * RADIUS + 1):
            yield wide[:, row : row + h, column : column + w]


def _block(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, width, 3, 1, 1, bias=False),
        nn.GroupNorm(min(8, width // 2), width),
        nn.ReLU(inplace=True),
    )


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
