"""Building blocks of the convolutional parts: a convolution with its norm and activation."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

CONVOLUTIONS: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORMS: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
CHANNELS_OF_A_GROUP = 8
SLOPE = 0.01  # of the leaky ReLU for negative values


def normalisation(kind: str, channels: int, dimensions: int) -> nn.Module:
    """Return a norm layer of images (dimensions 2) or volumes (3).

    Args:
        kind: "group": groups of 8 channels, each image by itself; "batch": with running
            statistics; "batch_in_use": statistics of the batch at hand always, as the released
            GSNeRF has it: the running ones would be those of other scenes.

    Raises:
        ValueError: on another kind.
    """
    if kind == "group":
        return nn.GroupNorm(max(1, channels // CHANNELS_OF_A_GROUP), channels)
    if kind in ("batch", "batch_in_use"):
        remembers = kind == "batch"
        return BATCH_NORMS[dimensions](channels, track_running_stats=remembers)
    raise ValueError(f"expected norm to be group, batch or batch_in_use, got {kind!r}")


def normed(convolution: nn.Module, channels: int, norm: str, dimensions: int) -> nn.Sequential:
    """Return a layer followed by its norm and a leaky ReLU."""
    activation = nn.LeakyReLU(SLOPE, inplace=True)
    return nn.Sequential(convolution, normalisation(norm, channels, dimensions), activation)


def block(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    norm: str = "group",
    dimensions: int = 2,
) -> nn.Sequential:
    """Return a convolution without bias, its norm and a leaky ReLU.

    An even kernel of stride 2 keeps pixel centres where half-size images have them; an odd one
    shifts them by half a pixel.
    """
    padding = (kernel - 1) // 2
    layer = CONVOLUTIONS[dimensions](inputs, outputs, kernel, stride, padding, bias=False)
    return normed(layer, outputs, norm, dimensions)


def up_block(inputs: int, outputs: int, norm: str, dimensions: int) -> nn.Sequential:
    """Return a transposed convolution that doubles the size, its norm and a leaky ReLU."""
    layer = TRANSPOSED[dimensions](
        inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False
    )
    return normed(layer, outputs, norm, dimensions)


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    """Return images resized to those of ``like``, bilinear, pixel centres as images have them."""
    return interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
