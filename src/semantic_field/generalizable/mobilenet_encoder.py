"""The encoder of GSNeRF's released code: MobileNetV3-small in its minimal form.

MobileNetV3 (Howard et al. 2019) without squeeze-and-excitation, with ReLU and 3x3 kernels only, up
to 1/16 of the size. No weights come with it: the released code starts from ImageNet's.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from semantic_field.generalizable.convolutions import normalisation

# (expanded channels, channels, stride) of the inverted residuals of each stage
STAGES = (
    ((72, 24, 2), (88, 24, 1)),
    ((96, 40, 2), (240, 40, 1), (240, 40, 1), (120, 48, 1), (144, 48, 1)),
)
STEM = 16


class MobileNetEncoder(nn.Module):
    """Maps of a frame at 1 (the frame itself), 1/2, 1/4, 1/8 and 1/16 of its size."""

    widths = (3, STEM, STEM, 24, 48)

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_normed(nn.Conv2d(3, STEM, 3, 2, 1, bias=False), norm, True))
        self.separable = nn.Sequential(
            *_depthwise(STEM, 2, norm), *_pointwise(STEM, STEM, norm, False)
        )
        self.stages, inputs = nn.ModuleList(), STEM
        for stage in STAGES:
            layers = []
            for expanded, outputs, stride in stage:
                layers.append(InvertedResidual(inputs, expanded, outputs, stride, norm))
                inputs = outputs
            self.stages.append(nn.Sequential(*layers))

    def forward(self, colors: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the maps, from the largest."""
        maps = [colors, self.stem(colors)]
        maps.append(self.separable(maps[-1]))
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, project; added to its input where shapes agree."""

    def __init__(self, inputs: int, expanded: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_pointwise(inputs, expanded, norm, True),
            *_depthwise(expanded, stride, norm),
            *_pointwise(expanded, outputs, norm, False),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the map, of half the size with stride 2."""
        return x + self.layers(x) if self.adds else self.layers(x)


def _pointwise(inputs: int, outputs: int, norm: str, active: bool) -> list[nn.Module]:
    return _normed(nn.Conv2d(inputs, outputs, 1, bias=False), norm, active)


def _depthwise(channels: int, stride: int, norm: str) -> list[nn.Module]:
    layer = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return _normed(layer, norm, True)


def _normed(layer: nn.Conv2d, norm: str, active: bool) -> list[nn.Module]:
    layers = [layer, normalisation(norm, layer.out_channels, 2)]
    return [*layers, nn.ReLU()] if active else layers
