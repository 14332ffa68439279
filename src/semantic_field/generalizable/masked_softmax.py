"""The softmax over what counts, as the attention of both systems takes it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

UNSEEN = -1e9  # logit of what does not count


def masked_softmax(
    logits: Float[Tensor, "..."], mask: Bool[Tensor, "..."], dim: int = -1
) -> Float[Tensor, "..."]:
    """Return the softmax over the entries in the mask: exactly 0 elsewhere, also where none is in.

    Entries out of the mask have to be finite; no gradient passes to them.
    """
    out = torch.zeros_like(mask, dtype=logits.dtype).masked_fill_(~mask, UNSEEN)
    return torch.softmax(logits + out, dim) * mask
