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

from semantic_field.generalizable.gathering import at_pixels, gather, tolerance_of
from semantic_field.generalizable.source_images import SourceImages, TargetRays

STRIDE = 4  # of the pixels that ask the other frames
PRIOR = 2.0  # answers that a segment has from the start, half of them in agreement


def segments_of(labels: Int[NDArray, "H W"]) -> Int[NDArray, "H W"]:
    """Return the number, from 0 on, of the connected area of one label that each pixel is in.

    Pixels are connected with their four neighbours; areas without a label count as well.
    """
    nothing = np.iinfo(labels.dtype).min
    numbers = connected(labels, background=nothing, return_num=False, connectivity=1)
    return np.asarray(numbers, np.int32) - 1


def segment_agreement(sources: SourceImages, rounds: int = 2) -> Float[Tensor, "V 2 H W"]:
    """Return for each pixel of each source how far the other sources agree with its segment.

    Pixels of a source with depth ask all other sources that see their surface, by projection and
    comparison of depth, for their label. A segment's agreement is the share of the answers that
    are its own label; in further rounds, answers count by the agreement of their own segments.

    Returns:
        Agreement in 0..1, .5 where nobody answers, and logarithm of 1 + the number of answers.
    Raises:
        ValueError: if the sources carry no labels, or no depth.
    """
    if sources.labels is None or sources.segments is None or sources.depths is None:
        raise ValueError("expected sources with labels, segments and depth")
    count = int(sources.segments.max()) + 1
    answers = [_answers(sources, k, count) for k in range(len(sources))]
    trust = sources.colors.new_ones(len(sources) * count)
    asked = trust
    for _ in range(rounds):
        same, asked = (torch.zeros_like(trust) for _ in range(2))
        for asking, answering, agrees in answers:
            weight = trust[answering]
            same.index_add_(0, asking, weight * agrees)
            asked.index_add_(0, asking, weight)
        trust = (same + PRIOR / 2) / (asked + PRIOR)
    table = torch.stack([trust, asked.log1p()]).reshape(2, len(sources), count).transpose(0, 1)
    index = sources.segments.reshape(len(sources), 1, -1).expand(-1, 2, -1)
    return table.gather(2, index).reshape(len(sources), 2, *sources.size)


def known_agreement(sources: SourceImages) -> Float[Tensor, "V 2 H W"] | None:
    """Return ``segment_agreement``; None for sources without labels, segments or depth."""
    if sources.labels is None or sources.segments is None or sources.depths is None:
        return None
    return segment_agreement(sources)


def _answers(
    sources: SourceImages, k: int, count: int
) -> tuple[Int[Tensor, "M"], Int[Tensor, "M"], Float[Tensor, "M"]]:
    """Return the segments of source k that asked, those that answered, and whether they agree.

    Segments are numbered over all sources, ``count`` for each.
    """
    assert sources.depths is not None
    assert sources.labels is not None and sources.segments is not None
    rows = torch.arange(STRIDE // 2, sources.size[0], STRIDE, device=sources.labels.device)
    columns = torch.arange(STRIDE // 2, sources.size[1], STRIDE, device=sources.labels.device)
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    depth, own = sources.depths[k, v, u], sources.labels[k, v, u]
    pixels = torch.stack([u, v], -1).float()
    rays = TargetRays(
        pixels, sources.intrinsics[k], sources.poses[k], depth, torch.zeros_like(depth)
    )
    found = gather(sources, rays, depth[..., None])
    theirs = at_pixels(sources.labels, found.pixels, found.inside, -1)[:, :, 0]
    near = found.gap.abs() < tolerance_of(found.far)
    answers = ((found.reading > 0) & near)[:, :, 0] & (theirs >= 0) & (own >= 0)[..., None]
    answers[..., k] = False
    numbers = at_pixels(sources.segments, found.pixels, found.inside)[:, :, 0]
    numbers = numbers + count * torch.arange(len(sources), device=numbers.device)
    asking = (sources.segments[k, v, u] + count * k)[..., None].expand_as(numbers)
    agrees = (theirs == own[..., None])[answers].float()
    return asking[answers], numbers[answers], agrees
