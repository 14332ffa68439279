"""Rays of B images that still need work, gathered side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True)
class ActiveRays:
    """Some of the R rays of each image, as many places for each image as the fullest one needs.

    Attributes:
        index: (B, M) int64, the rays; those that are wanted come first.
        valid: (B, M) bool, False where an image has fewer: the place holds a ray nobody asked for.
    """

    index: Tensor
    valid: Tensor

    @classmethod
    def of(cls, wanted: Bool[Tensor, "B R"]) -> ActiveRays:
        """Return the places of the wanted rays."""
        most = int(wanted.sum(dim=1).max()) if wanted.numel() else 0
        index = wanted.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        return cls(index, wanted.gather(1, index))

    def __len__(self) -> int:
        return self.index.shape[1]

    def take(self, values: Tensor) -> Tensor:
        """Return the values (B, M, ...) of the rays, from those of all rays (B, R, ...)."""
        if values.dim() == 2:
            return values.gather(1, self.index)
        return values.gather(1, self.index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))

    def put(self, into: Tensor, values: Tensor) -> Tensor:
        """Return ``into`` (B, R, ...) with the values (B, M, ...) at the valid rays; a copy."""
        valid, index = self.valid, self.index
        if values.dim() == 3:
            valid = valid.unsqueeze(-1)
            index = index.unsqueeze(-1).expand_as(values)
        return into.scatter(1, index, torch.where(valid, values, into.gather(1, index)))
