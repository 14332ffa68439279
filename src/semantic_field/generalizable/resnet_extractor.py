"""Features of a frame as GP-NeRF (Li et al. 2024) computes them: a ResNet with two readouts.

The trunk is that of a ResNet-34 up to 1/16 of the resolution (stages of 3, 4 and 6 blocks), with
instance norms and without the first pooling. The radiance features come from IBRNet's decoder
(Wang et al. 2021) at 1/4; what it learns does not reach the deepest stage, which is left to the
semantics. The semantic features come from a pyramid whose four levels are brought to 1/2 and
concatenated.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu


class ResNetExtractor(nn.Module):
    """Trunk, radiance decoder and semantic pyramid.

    Args:
        stem: channels at 1/2.
        widths: channels of the stages at 1/4, 1/8 and 1/16.
        stages: residual blocks of the three stages.
        radiance: channels of the radiance features.
        semantic: channels of each of the four levels of the pyramid; 0 = no semantic features.
    """

    def __init__(
        self,
        stem: int = 64,
        widths: tuple[int, ...] = (64, 128, 256),
        stages: tuple[int, ...] = (3, 4, 6),
        radiance: int = 32,
        semantic: int = 128,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 7, 2, 3, bias=False), _norm(stem), nn.ReLU(inplace=True)
        )
        self.stages = nn.ModuleList(
            _stage(before, width, count)
            for before, width, count in zip((stem, *widths), widths, stages)
        )
        self.radiance = RadianceDecoder(widths, radiance)
        self.semantic = SemanticPyramid((stem, *widths), semantic) if semantic else None

    def forward(
        self, colors: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B F H4 W4"], Float[Tensor, "B D H2 W2"] | None]:
        """Return radiance features at 1/4 and semantic ones at 1/2 (None without a pyramid).

        Args:
            colors: RGB in 0..1, of any size.
        """
        levels = [self.stem(colors)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        semantic = self.semantic(levels) if self.semantic is not None else None
        return self.radiance(levels[1:]), semantic


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a 1x1 one where the shape changes."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False),
            _norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            _norm(width),
        )
        self.beside = nn.Identity()
        if stride != 1 or before != width:
            self.beside = nn.Sequential(
                nn.Conv2d(before, width, 1, stride, bias=False), _norm(width)
            )

    def forward(self, x: Float[Tensor, "B F h w"]) -> Float[Tensor, "B F2 h2 w2"]:
        """Return the block's features, h and w divided by the stride (rounded up)."""
        return relu(self.body(x) + self.beside(x))


class RadianceDecoder(nn.Module):
    """From 1/16 by way of 1/8 to 1/4; no gradient reaches the features at 1/16."""

    def __init__(self, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        fine, middle, deep = widths
        self.from_deep = _convolution(deep, middle)
        self.at_middle = _convolution(2 * middle, middle)
        self.from_middle = _convolution(middle, fine)
        self.at_fine = _convolution(2 * fine, fine)
        self.out = nn.Conv2d(fine, channels, 1)

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B F h w"]:
        """Return features at the resolution of the first of the three levels."""
        fine, middle, deep = levels
        x = self.from_deep(_resized(deep.detach(), middle))
        x = self.at_middle(torch.cat([middle, x], 1))
        x = self.from_middle(_resized(x, fine))
        return self.out(self.at_fine(torch.cat([fine, x], 1)))


class SemanticPyramid(nn.Module):
    """A feature pyramid (Lin et al. 2017): all levels at the resolution of the first, concatenated.

    Args:
        before: channels of the levels, the finest first.
        channels: channels of each level of the pyramid.
    """

    def __init__(self, before: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.across = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in before)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1) for _ in before)

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B D h w"]:
        """Return ``len(levels) * channels`` features for each pixel of the first level."""
        merged = [self.across[-1](levels[-1])]
        for across, level in zip(list(self.across)[-2::-1], levels[-2::-1]):
            here = across(level)
            merged.insert(0, here + _resized(merged[0], here))
        smoothed = [smooth(level) for smooth, level in zip(self.smooth, merged)]
        return torch.cat([_resized(level, smoothed[0]) for level in smoothed], 1)


def _norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True)


def _stage(before: int, width: int, count: int) -> nn.Sequential:
    blocks = [ResidualBlock(before, width, 2)]
    blocks += [ResidualBlock(width, width, 1) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


def _convolution(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, width, 3, 1, 1, bias=False), _norm(width), nn.ELU(inplace=True)
    )


def _resized(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
