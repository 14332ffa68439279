"""Layers of the plane sweep: features to be matched, and 2D U-Nets over planes as channels.

After SimpleRecon (Sayed et al. 2022): what neighbours agree on at each plane is reduced to a few
channels of a plane, and an ordinary U-Net over the image does what 3D convolutions do elsewhere.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from semantic_field.generalizable.convolutions import SLOPE, enlarged


def layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution and a leaky ReLU. There are no norms: they would take half of the time.

    An even kernel of stride 2 keeps pixel centres where half-size images have them.
    """
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2)
    nn.init.kaiming_normal_(convolution.weight, SLOPE)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return nn.Sequential(convolution, nn.LeakyReLU(SLOPE, inplace=True))


class Residual(nn.Module):
    """Two convolutions whose result is added to the input; 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = layer(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return images of the same shape."""
        return x + self.second(self.first(x))


class ResidualUNet(nn.Module):
    """A U-Net with a residual block at each resolution, down and up; sums join the two.

    Args:
        widths: channels from the finest resolution on; each halves the size, odd ones rounded up.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.first = Residual(widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(layer(a, b, kernel=2, stride=2), Residual(b)) for a, b in pairwise(widths)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Residual(a) for a in widths[:-1])

    def forward(self, x: Float[Tensor, "B C h w"]) -> list[Tensor]:
        """Return what comes out on the way up, from the finest resolution."""
        maps = [self.first(x)]
        for down in self.down:
            h, w = maps[-1].shape[-2:]
            x = maps[-1]
            if h % 2 or w % 2:
                x = pad(x, (0, w % 2, 0, h % 2), mode="replicate")
            maps.append(down(x))
        found = [maps[-1]]
        for i in reversed(range(len(self.up))):
            below = enlarged(self.lateral[i](found[0]), maps[i])
            found.insert(0, self.up[i](maps[i] + below))
        return found


class MatchingNet(nn.Module):
    """Features of frames at 1/4 and 1/2 of the size, to be compared, and the layers below them.

    Args:
        widths: channels at 1/2, 1/4 and coarser. compared: channels that are compared at 1/4, 1/2.
    """

    def __init__(self, widths: tuple[int, ...], compared: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = layer(3, widths[0], kernel=4, stride=2)
        self.enter = layer(widths[0], widths[1], kernel=2, stride=2)
        self.trunk = ResidualUNet(widths[1:])
        self.lateral = nn.Conv2d(widths[1], widths[0], 1)
        self.fine = Residual(widths[0])
        self.heads = nn.ModuleList(
            nn.Conv2d(width, n, 1) for width, n in zip(widths[1::-1], compared, strict=True)
        )

    def forward(self, colors: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what is compared at 1/4 and at 1/2, and context at 1/4 and at 1/2."""
        half = self.stem(4 * (colors - 0.5))
        quarter = self.trunk(self.enter(half))[0]
        fine = self.fine(half + enlarged(self.lateral(quarter), half))
        return self.heads[0](quarter), self.heads[1](fine), quarter, fine


def upsampled(
    image: Float[Tensor, "h w"], scores: Float[Tensor, "36 h w"]
) -> Float[Tensor, "h2 w2"]:
    """Return an image of twice the size whose pixels are means of 3x3 coarse ones (Teed 2020).

    Args:
        scores: of the nine, for each of the four pixels within a coarse one, before a softmax.
    """
    h, w = image.shape
    weights = scores.float().reshape(4, 9, h, w).softmax(1)
    padded = pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    near = torch.stack([padded[k // 3 : k // 3 + h, k % 3 : k % 3 + w] for k in range(9)])
    fine = (weights * near).sum(1).reshape(2, 2, h, w)
    return fine.permute(2, 0, 3, 1).reshape(2 * h, 2 * w)
