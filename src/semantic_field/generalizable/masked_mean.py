"""The mean of what counts, as losses take it."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(values: Float[Tensor, "..."], mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the mean of the values where the mask is set, 0 if it is nowhere.

    A value that is not finite makes the mean so, also outside the mask.
    """
    return (values * mask).sum() / mask.sum().clamp(min=1)
