"""A U-Net over images of features: the class generator of the fully supervised variant.

Kohli, Sitzmann, Wetzstein, Semantic Implicit Neural Scene Representations With Semi-Supervised
Training (3DV 2020). The same network over colour is the published 2D baseline.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky ReLU on the way down


class PartUNet(nn.Module):
    """Class scores of each pixel, from features of all pixels around it.

    Args:
        features, classes: channels that come in and go out.
        first: channels at full resolution; each halving doubles them, up to ``most``.
        downs: halvings of the resolution; the side must be a multiple of 2 to that power.
    """

    def __init__(
        self, features: int, classes: int, first: int = 64, downs: int = 4, most: int = 128
    ) -> None:
        super().__init__()
        self.factor = 2**downs
        self.enter = nn.Sequential(
            *same_convolution(features, first, bias=False), nn.BatchNorm2d(first),
            nn.LeakyReLU(SLOPE),
        )  # fmt: skip
        widths = [min(first * 2**level, most) for level in range(downs)]
        centre = min(first * 2 ** (downs - 1), most)
        inner: nn.Module = SkipBlock(centre, centre, None, normed=False)
        for level in reversed(range(downs - 1)):
            inner = SkipBlock(widths[level], widths[level + 1], inner)
        self.block = inner
        self.leave = nn.Sequential(*same_convolution(2 * first, classes, bias=True))

    def forward(self, images: Float[Tensor, "B F h w"]) -> Float[Tensor, "B C h w"]:
        """Return the class scores.

        Raises:
            ValueError: if the sides are no multiples of 2 to the number of halvings.
        """
        height, width = images.shape[2:]
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"expected images whose sides are multiples of {self.factor} pixels, got "
                f"{width}x{height}; choose another side or fewer halvings"
            )
        return self.leave(self.block(self.enter(images)))


class SkipBlock(nn.Module):
    """Halves the resolution, does what is inside, doubles it again; beside it, its input."""

    def __init__(
        self, outer: int, inner: int, inside: nn.Module | None, normed: bool = True
    ) -> None:
        super().__init__()
        down = [
            *_convolved(same_convolution(outer, outer, not normed), outer, normed, SLOPE),
            *_convolved(_halving(outer, inner, not normed), inner, normed, SLOPE),
        ]
        wide = inner if inside is None else 2 * inner
        doubling = [nn.ConvTranspose2d(wide, outer, 4, stride=2, padding=1, bias=not normed)]
        up = [
            *_convolved(doubling, outer, normed, 0.0),
            *_convolved(same_convolution(outer, outer, not normed), outer, normed, 0.0),
        ]
        self.path = nn.Sequential(*down, *([] if inside is None else [inside]), *up)

    def forward(self, images: Tensor) -> Tensor:
        """Return the input with what the block made of it, (B, 2 * outer, h, w)."""
        return torch.cat([images, self.path(images)], 1)


def same_convolution(before: int, after: int, bias: bool) -> list[nn.Module]:
    """Return a 3x3 convolution that keeps the size, with reflected borders."""
    return [nn.ReflectionPad2d(1), nn.Conv2d(before, after, 3, bias=bias)]


def _halving(before: int, after: int, bias: bool) -> list[nn.Module]:
    return [nn.ReflectionPad2d(1), nn.Conv2d(before, after, 4, stride=2, bias=bias)]


def _convolved(
    convolution: Sequence[nn.Module], channels: int, normed: bool, slope: float
) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(channels)] if normed else []
    return [*convolution, *norm, nn.LeakyReLU(slope) if slope else nn.ReLU()]
