"""Dense image features of CLIP models, by two methods.

``crop_features`` runs the model on many overlapping crops (3D-OVS, Liu et al. 2023, used in
OV-NeRF); ``patch_features`` runs it once and takes the values of the last attention layer
(MaskCLIP, Zhou et al. 2022; without the residual and MLP after it, as in F3RM, Shen et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from semantic_field.kernels.device_memory import Halving

Crops = NDArray[np.int64]


def shrunk(color: NDArray[np.uint8], by: int) -> NDArray[np.uint8]:
    """Downsample an image (H, W, 3) to H // by rows and W // by columns by area averaging."""
    height, width = color.shape[0] // by, color.shape[1] // by
    if by == 1:
        return color
    return np.asarray(cv2.resize(color, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def crop_boxes(height: int, width: int, divisor: int, random: np.random.Generator) -> Crops:
    """Return the crops of one scale: left, top, right, bottom in pixels (N, 4), ends excluded.

    Squares of edge min(H, W) // divisor at a stride of a quarter of it. Each side is moved
    outwards by a random 0 to a quarter of the edge, and clipped to the image.

    Raises:
        ValueError: if the crops would be smaller than 4 pixels.
    """
    edge = min(height, width) // divisor
    stride = edge // 4
    if stride == 0:
        raise ValueError(
            f"expected crops of 4 pixels at least, got {edge} for {width}x{height} over {divisor}: "
            "set teacher.crop_shrink or teacher.crop_divisors lower"
        )
    tops = np.arange(-(-(height - edge) // stride) + 1) * stride
    lefts = np.arange(-(-(width - edge) // stride) + 1) * stride
    top, left = (side.reshape(-1) for side in np.meshgrid(tops, lefts, indexing="ij"))
    moved = random.integers(0, stride, (4, len(top)), endpoint=True)
    return np.stack(
        [
            np.maximum(left - moved[0], 0),
            np.maximum(top - moved[1], 0),
            np.minimum(left + edge + moved[2], width),
            np.minimum(top + edge + moved[3], height),
        ],
        axis=1,
    )


def mean_over_crops(
    boxes: Crops, features: Float[Tensor, "N E"], height: int, width: int
) -> Float[Tensor, "H W E"]:
    """Return for each pixel the mean feature of the crops that cover it; zeros where none does.

    Uses an integral image: features are added at the corners of their boxes and summed along both
    axes, at a cost that does not depend on the size of the crops.
    """
    left, top, right, bottom = torch.from_numpy(boxes).to(features.device).unbind(1)
    ones = torch.ones(len(features), 1, device=features.device)
    rows = torch.cat([features, ones], dim=1).double()  # float64, as large sums must cancel
    sums = rows.new_zeros((height + 1) * (width + 1), rows.shape[1])
    for y, x, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        sums.index_add_(0, y * (width + 1) + x, rows, alpha=sign)
    sums = sums.view(height + 1, width + 1, -1).cumsum(0).cumsum(1)[:height, :width]
    count = sums[..., -1:].round()
    return (sums[..., :-1] / count.clamp_min(1.0) * (count > 0)).float()


def crop_features(
    encode: Callable[[Float[Tensor, "N 3 S S"]], Float[Tensor, "N E"]],
    image: Float[Tensor, "3 H W"],
    divisors: tuple[int, ...],
    side: int,
    at_once: Halving,
    random: np.random.Generator,
) -> Float[Tensor, "S H W E"]:
    """Return unit features of every pixel, at one scale for each divisor, smallest crops first.

    Crops of all scales are encoded in common batches, of ``at_once.size``. Each crop is resized so
    that its shorter side has ``side`` pixels, and cut to the central square. Raw features are
    averaged over crops; the mean is normalised.
    """
    _, height, width = image.shape
    scales = [crop_boxes(height, width, d, random) for d in sorted(divisors, reverse=True)]
    boxes = np.concatenate(scales)

    def encoded(part: slice) -> Float[Tensor, "n E"]:
        return encode(torch.stack([_square(image, box, side) for box in boxes[part].tolist()]))

    parts = at_once.parts(encoded, len(boxes))
    features = torch.cat(parts).split([len(scale) for scale in scales])
    means = [mean_over_crops(b, f, height, width) for b, f in zip(scales, features)]
    return functional.normalize(torch.stack(means), dim=-1)


def _square(image: Float[Tensor, "3 H W"], box: list[int], side: int) -> Float[Tensor, "3 S S"]:
    left, top, right, bottom = box
    crop = image[None, :, top:bottom, left:right]
    height, width = crop.shape[2:]
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    crop = functional.interpolate(crop, size, mode="bicubic", antialias=True, align_corners=False)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return crop[0, :, top : top + side, left : left + side].clamp(0.0, 1.0)


def patch_features(visual: nn.Module, image: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "h w E"]:
    """Return unit features of every patch of an image, from one forward pass.

    Args:
        visual: the image tower of an open_clip model: a vision transformer or a ResNet.
        image: normalised; its sides must be multiples of the patch size.
    Raises:
        ValueError: if the tower is of another kind.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        last = visual.transformer.resblocks[-1]
        if isinstance(getattr(last, "attn", None), nn.MultiheadAttention):
            return _transformer_values(visual, image)
    if isinstance(visual, ModifiedResNet):
        return _resnet_values(visual, image)
    raise ValueError(
        f"expected a CLIP vision transformer or ResNet, got a {type(visual).__name__} without "
        "values for each patch: set teacher.dense to crops"
    )


def patch_size(visual: nn.Module) -> int:
    """Return the edge in pixels of one cell of ``patch_features``."""
    patch = getattr(visual, "patch_size", 32)  # ResNets halve an image five times
    return int(patch[0]) if isinstance(patch, (tuple, list)) else int(patch)


def _transformer_values(visual, image: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "h w E"]:
    patches = visual.conv1(image)  # (1, width, h, w)
    h, w = patches.shape[2:]
    tokens = patches.flatten(2).transpose(1, 2)
    first = visual.class_embedding.to(tokens.dtype).expand(1, 1, -1)
    tokens = torch.cat([first, tokens], dim=1) + _positions(visual, h, w).to(tokens.dtype)
    tokens = visual.ln_pre(tokens)
    *blocks, last = visual.transformer.resblocks
    swap = not getattr(visual.transformer, "batch_first", True)
    tokens = tokens.transpose(0, 1) if swap else tokens
    for block in blocks:
        tokens = block(tokens)
    tokens = tokens.transpose(0, 1) if swap else tokens
    attention, dim = last.attn, last.attn.embed_dim
    bias = attention.in_proj_bias[2 * dim :] if attention.in_proj_bias is not None else None
    values = functional.linear(last.ln_1(tokens), attention.in_proj_weight[2 * dim :], bias)
    values = last.ls_1(attention.out_proj(values))[0, 1:]
    features = visual.ln_post(values)
    features = features if visual.proj is None else features @ visual.proj
    return functional.normalize(features.float(), dim=-1).view(h, w, -1)


def _positions(visual, h: int, w: int) -> Float[Tensor, "T E"]:
    """Return position embeddings for an h x w grid, bicubically interpolated from the trained."""
    own = visual.positional_embedding
    grid = tuple(visual.grid_size)
    if (h, w) == grid:
        return own
    table = own[1:].float().view(*grid, -1).permute(2, 0, 1)[None]
    table = functional.interpolate(table, (h, w), mode="bicubic", align_corners=False)
    return torch.cat([own[:1].float(), table[0].permute(1, 2, 0).reshape(h * w, -1)])


def _resnet_values(visual, image: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "h w E"]:
    tokens = visual.stem(image)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        tokens = layer(tokens)
    pool = visual.attnpool
    values = pool.c_proj(pool.v_proj(tokens[0].permute(1, 2, 0)))
    return functional.normalize(values.float(), dim=-1)
