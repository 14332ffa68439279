"""Segments of label images, and how far the other frames agree with each of them.

A network that segments images errs in whole segments: a chair is called a sofa. Whether the other
frames that see a segment call it the same tells more than a vote at one pixel.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from skimage.measure import label as connected
from torch import Tensor

from semantic_field.generalizable.gathering import at_pixels, gather
from semantic_field.generalizable.source_images import SourceImages, TargetRays

STRIDE = 4  # of the pixels that ask the other frames
SAME_M, SAME_SHARE = 0.02, 0.03  # readings that differ by less are of one surface
PRIOR = 2.0  # answers that a segment has from the start, half of them in agreement


def segments_of(labels: Int[NDArray, "H W"]) -> Int[NDArray, "H W"]:
    """Return the number, from 0 on, of the connected area of one label that each pixel is in.

    Pixels are connected with their four neighbours; areas without a label count as well.
    """
    return (connected(labels, background=np.iinfo(labels.dtype).min, connectivity=1) - 1).astype(
        np.int32
    )


def segment_agreement(sources: SourceImages) -> Float[Tensor, "V 2 H W"]:
    """Return for each pixel of each source how far the other sources agree with its segment.

    Pixels of a source with depth ask all other sources that see their surface, by projection and
    comparison of depth, for their label. A segment's agreement is the share of the answers that
    are its own label.

    Returns:
        Agreement in 0..1, .5 where nobody answers, and logarithm of 1 + the number of answers.
    Raises:
        ValueError: if the sources carry no labels, or no depth.
    """
    if sources.labels is None or sources.segments is None or sources.depths is None:
        raise ValueError("expected sources with labels, segments and depth")
    V = len(sources)
    count = int(sources.segments.max()) + 1
    same, asked = (sources.colors.new_zeros(V, count) for _ in range(2))
    start = slice(STRIDE // 2, None, STRIDE)
    for k in range(V):
        own = sources.labels[k, start, start]
        agrees, answers = _answers(sources, k, own)
        segment = sources.segments[k, start, start].reshape(-1)
        same[k].index_add_(0, segment, agrees.reshape(-1))
        asked[k].index_add_(0, segment, answers.reshape(-1))
    share = (same + PRIOR / 2) / (asked + PRIOR)
    table = torch.stack([share, asked.log1p()], 1)  # (V, 2, segments)
    index = sources.segments.reshape(V, 1, -1).expand(-1, 2, -1)
    return table.gather(2, index).reshape(V, 2, *sources.size)


def _answers(
    sources: SourceImages, k: int, own: Int[Tensor, "h w"]
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Return how many other sources agree with labels of source k, and how many answer at all."""
    assert sources.depths is not None and sources.labels is not None
    rows = torch.arange(STRIDE // 2, sources.size[0], STRIDE, device=own.device)
    columns = torch.arange(STRIDE // 2, sources.size[1], STRIDE, device=own.device)
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    depth = sources.depths[k, v, u]
    rays = TargetRays(
        torch.stack([u, v], -1).float(),
        sources.intrinsics[k],
        sources.poses[k],
        depth,
        torch.zeros_like(depth),
    )
    found = gather(sources, rays, depth[..., None])
    theirs = at_pixels(sources.labels, found.pixels, found.inside, -1)[:, :, 0]
    near = found.gap.abs() < SAME_M + SAME_SHARE * found.far
    sees = (found.reading > 0) & near
    sees = sees[:, :, 0] & (theirs >= 0) & (own >= 0)[..., None]
    sees[..., k] = False
    return (sees & (theirs == own[..., None])).float().sum(-1), sees.float().sum(-1)
