"""Features of frames: a U-Net of few channels, computed once for each frame and kept with it.

``SmallExtractor`` is the shipped default. ``PaperExtractor`` has GSNeRF's sizes: feature maps of
three resolutions made of the encoder's (as a feature pyramid; Lin et al. 2017), and a U-Net decoder
(Ronneberger et al. 2015) for the semantic feature and its logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from semantic_field.generalizable.convolutions import block, enlarged
from semantic_field.generalizable.mobilenet_encoder import MobileNetEncoder
from semantic_field.settings import Settings, option

PAPER_LEVELS = (8, 16, 32)  # channels of the levels, from the finest
PYRAMID = 32  # channels in which levels are added
PLAIN_WIDTHS = (8, 16, 32, 64, 128)
MOBILE_DECODER = (128, 64, 64, 32)


@dataclass(frozen=True)
class ExtractorSettings(Settings):
    """Which extractor, and its sizes."""

    kind: str = option(
        "small",
        "small: two levels, at 1/2 and 1/4 of the size; unet: the paper's plain U-Net; mobilenet: "
        "the paper's MobileNetV3-small-minimal encoder with a U-Net decoder (three levels each)",
        choices=("small", "unet", "mobilenet"),
    )
    widths: tuple[int, ...] = option(
        (16, 32, 48, 64), "channels of the small one at 1/2, 1/4, 1/8 and 1/16 of the size"
    )
    norm: str = option(
        "group",
        "group: each frame by itself; batch: running statistics; batch_in_use: the released "
        "code's, statistics of the frames at hand also when views are predicted",
        choices=("group", "batch", "batch_in_use"),
    )


class FeatureExtractor(nn.Module):
    """Base of the extractors; ``forward`` gives what ``GeneralizableModel.extract`` returns.

    The tensors are the levels (B, C, h, w) from the finest; then, with classes, the semantic
    feature (B, C, h, w) and the logits of the same shape.

    Attributes:
        channels: channels of the levels, from the finest.
        strides: pixels of the frame on one of each level, from the finest.
        n_classes: classes of the semantic feature, 0 = none.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    n_classes: int

    def padded(self, colors: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H2 W2"]:
        """Return frames whose last rows and columns are repeated to a multiple of 16.

        Raises:
            ValueError: if the size is no multiple of the coarsest level's stride.
        """
        H, W = colors.shape[-2:]
        step = self.strides[-1]
        if H % step or W % step:
            raise ValueError(
                f"expected frames whose width and height are multiples of {step}, got {W}x{H}: "
                f"resize them to {W // step * step}x{H // step * step}"
            )
        return pad(colors, (0, -W % 16, 0, -H % 16), mode="replicate")

    @staticmethod
    def cropped(x: Float[Tensor, "B C h2 w2"], colors: Tensor, stride: int) -> Tensor:
        """Return a level of padded frames without what was added."""
        H, W = colors.shape[-2:]
        return x[..., : H // stride, : W // stride]


class SmallExtractor(FeatureExtractor):
    """U-Net with levels at 1/2 and 1/4 of the size: 0.12 M parameters, 0.22 GMAC at 320x240."""

    strides = (2, 4)

    def __init__(self, widths: tuple[int, ...], norm: str, n_classes: int = 0) -> None:
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"expected widths to be 4 numbers of channels, got {list(widths)}")
        a, b, c, d = widths
        self.channels, self.n_classes = (a, b), n_classes
        self.stem = block(3, a, kernel=4, stride=2, norm=norm)
        self.down = nn.ModuleList(_down(*pair, norm) for pair in ((a, b), (b, c), (c, d)))
        self.lateral = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in ((d, c), (b, b), (b, a)))
        self.smooth = nn.ModuleList([block(c, b, norm=norm), block(b, b, norm=norm)])
        self.finest = nn.Conv2d(a, a, 3, padding=1)
        if n_classes:
            self.semantic = nn.Conv2d(a, n_classes, 1)
            self.logits = nn.Conv2d(n_classes, n_classes, 1)

    def forward(self, colors: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the levels, and the semantic feature and logits at half the size."""
        half = self.stem(self.padded(colors) - 0.5)
        quarter = self.down[0](half)
        eighth = self.down[1](quarter)
        lowest = self.lateral[0](self.down[2](eighth))
        x = self.smooth[0](eighth + enlarged(lowest, eighth))
        coarse = self.smooth[1](quarter + enlarged(self.lateral[1](x), quarter))
        fine = self.finest(half + enlarged(self.lateral[2](coarse), half))
        found = [self.cropped(fine, colors, 2), self.cropped(coarse, colors, 4)]
        if self.n_classes:
            feature = self.semantic(found[0])
            found += [feature, self.logits(feature)]
        return tuple(found)


def _down(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        block(inputs, outputs, kernel=2, stride=2, norm=norm), block(outputs, outputs, norm=norm)
    )


class PlainEncoder(nn.Module):
    """The paper's own U-Net encoder: 8 channels at full size, doubled at each halving."""

    widths = PLAIN_WIDTHS

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.first = _double(3, PLAIN_WIDTHS[0], norm)
        self.down = nn.ModuleList(
            nn.Sequential(block(a, b, kernel=5, stride=2, norm=norm), _double(b, b, norm))
            for a, b in pairwise(PLAIN_WIDTHS)
        )

    def forward(self, colors: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return maps at 1, 1/2, 1/4, 1/8 and 1/16 of the size."""
        maps = [self.first(colors)]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        return maps


def _double(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    return nn.Sequential(block(inputs, outputs, norm=norm), block(outputs, outputs, norm=norm))


class PlainDecoder(nn.Module):
    """Up the U-Net: transposed 2x2 convolutions, the encoder's map joined by two more."""

    outputs = PLAIN_WIDTHS[0]
    head_kernel = 1

    def __init__(self, norm: str) -> None:
        super().__init__()
        pairs = list(pairwise(PLAIN_WIDTHS[::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, a // 2, 2, stride=2) for a, _ in pairs)
        self.join = nn.ModuleList(_double(a, b, norm) for a, b in pairs)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return the map at full size."""
        x = maps[-1]
        for up, join, skip in zip(self.up, self.join, maps[-2::-1], strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        return x


class MobileDecoder(nn.Module):
    """Up the U-Net: nearest neighbours; the encoder's maps are joined but at full size."""

    outputs = MOBILE_DECODER[-1]
    head_kernel = 3

    def __init__(self, norm: str) -> None:
        super().__init__()
        skips = (*MobileNetEncoder.widths[-2:0:-1], 0)
        inputs = (MobileNetEncoder.widths[-1], *MOBILE_DECODER)
        self.join = nn.ModuleList(
            _double(inputs[i] + skips[i], MOBILE_DECODER[i], norm) for i in range(4)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return the map at full size."""
        x = maps[-1]
        for join, skip in zip(self.join, [*maps[-2:0:-1], None], strict=True):
            x = interpolate(x, scale_factor=2.0, mode="nearest")
            x = join(x if skip is None else torch.cat([x, skip], 1))
        return x


class PaperExtractor(FeatureExtractor):
    """GSNeRF's: levels of 8, 16 and 32 channels at 1, 1/2 and 1/4 of the size, and semantics.

    Args:
        encoder: gives maps at 1, 1/2, 1/4, 1/8 and 1/16 of the size.
        decoder: of these maps; None = no classes.
    """

    channels = PAPER_LEVELS
    strides = (1, 2, 4)

    def __init__(
        self,
        encoder: PlainEncoder | MobileNetEncoder,
        decoder: PlainDecoder | MobileDecoder | None,
        n_classes: int,
    ) -> None:
        super().__init__()
        self.encoder, self.n_classes = encoder, n_classes
        self.lateral = nn.ModuleList(nn.Conv2d(w, PYRAMID, 1) for w in encoder.widths[:3])
        self.smooth = nn.ModuleList(nn.Conv2d(PYRAMID, n, 3, padding=1) for n in PAPER_LEVELS[:2])
        if decoder is not None:
            kernel = decoder.head_kernel
            self.decoder = decoder
            self.semantic = nn.Conv2d(decoder.outputs, n_classes, kernel, padding=kernel // 2)
            self.logits = nn.Conv2d(n_classes, n_classes, 1)

    def forward(self, colors: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the levels, and the semantic feature and logits at full size."""
        maps = self.encoder(self.padded(colors))
        coarse = self.lateral[2](maps[2])
        middle = self.lateral[1](maps[1]) + enlarged(coarse, maps[1])
        fine = self.lateral[0](maps[0]) + enlarged(middle, maps[0])
        found = [self.smooth[0](fine), self.smooth[1](middle), coarse]
        found = [
            self.cropped(x, colors, stride) for x, stride in zip(found, self.strides, strict=True)
        ]
        if self.n_classes:
            feature = self.cropped(self.semantic(self.decoder(maps)), colors, 1)
            found += [feature, self.logits(feature)]
        return tuple(found)


def feature_extractor(settings: ExtractorSettings, n_classes: int = 0) -> FeatureExtractor:
    """Build the extractor of the settings; with classes it has the semantic feature and logits."""
    norm = settings.norm
    if settings.kind == "small":
        return SmallExtractor(settings.widths, norm, n_classes)
    if settings.kind == "unet":
        return PaperExtractor(
            PlainEncoder(norm), PlainDecoder(norm) if n_classes else None, n_classes
        )
    return PaperExtractor(
        MobileNetEncoder(norm), MobileDecoder(norm) if n_classes else None, n_classes
    )
