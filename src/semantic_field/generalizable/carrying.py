"""Carrying meaning from source views to rays: linear, so that any label or latent can be carried.

A model decides with which weight each source speaks for a ray. What the sources say (labels of any
class list, latents of any teacher) is then averaged with these weights. The model never sees it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def carried_labels(
    weights: Float[Tensor, "h w S V"], labels: Int[Tensor, "h w S V"], n_classes: int
) -> Float[Tensor, "h w C"]:
    """Return the votes for each class: weights of the samples whose label it is, added up.

    Args:
        labels: rows 0..C-1 of the samples in the views, -1 = no label (adds to none).
    """
    h, w = labels.shape[:2]
    rows = labels.reshape(h, w, -1)
    votes = weights.new_zeros(h, w, n_classes + 1)
    votes = votes.scatter_add(2, torch.where(rows < 0, n_classes, rows), weights.reshape(h, w, -1))
    return votes[..., :n_classes]


def carried_latents(
    weights: Float[Tensor, "h w S V"], latents: Float[Tensor, "h w S V D"]
) -> Float[Tensor, "h w D"]:
    """Return the weighted sum of the latents of the samples in the views."""
    return torch.einsum("hwsv,hwsvd->hwd", weights, latents)
