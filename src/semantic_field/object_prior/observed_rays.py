"""The pixels of views as rays with what was seen along them, for fits of codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from semantic_field.data.objects.object_views import BACKGROUND, CategoryFrame, ObjectView
from semantic_field.object_prior.prior_model import CanonicalRays, canonical_rays

EVIDENCE = ("color", "labels", "depth", "mask")
WHITE = 255


@dataclass(frozen=True)
class ObservedRays:
    """M rays of one or more views in canonical coordinates, and what they met.

    Attributes:
        origins, directions: (M, 3); cosines: (M,), as in ``CanonicalRays``.
        color: (M, 3), 0..1.
        labels: (M,) int64 class of each, 0 = background, -1 = not labelled.
        distance: (M,) along the ray in canonical units, 0 = not measured.
        mask: (M,) 1 = object, 0 = background, -1 = not known.
    """

    origins: Tensor
    directions: Tensor
    cosines: Tensor
    color: Tensor
    labels: Tensor
    distance: Tensor
    mask: Tensor

    @classmethod
    def of(
        cls, views: Sequence[ObjectView], frame: CategoryFrame, use: Sequence[str]
    ) -> ObservedRays:
        """Return the rays of all pixels of views of any sizes.

        The silhouette is taken from what is used: the mask, labels, depth, or the colour's
        background, which is white.

        Args:
            use: which of ``EVIDENCE`` is used; a view need not have all of it.
        Raises:
            ValueError: if something else is to be used, or no view has any of it.
        """
        unknown = sorted(set(use) - set(EVIDENCE))
        if unknown or not use:
            raise ValueError(f"expected some of {EVIDENCE} to be used, got {tuple(use)}")
        parts = [cls._of_view(view, frame, use) for view in views]
        if not parts or all(bool((part.mask < 0).all()) for part in parts):
            raise ValueError(
                f"expected views with some of {tuple(use)}, got none: give color, depth, parts or "
                "mask in the views"
            )
        joined = {
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(cls)
        }
        return cls(**joined)

    @classmethod
    def _of_view(cls, view: ObjectView, frame: CategoryFrame, use: Sequence[str]) -> ObservedRays:
        rays = canonical_rays([view], frame)
        count = rays.cosines.shape[1]
        labels = np.full(count, -1, np.int64)
        depth = np.zeros(count, np.float32)
        mask = np.full(count, -1, np.int64)
        if "color" in use:
            mask = (view.color.reshape(-1, 3) < WHITE).any(1).astype(np.int64)
        if "depth" in use and view.depth is not None:
            depth = view.depth.reshape(-1).astype(np.float32)
            mask = np.where(depth > 0, 1, mask)
        if "labels" in use and view.parts is not None:
            labels = view.parts.reshape(-1).astype(np.int64)
            mask = (labels != BACKGROUND).astype(np.int64)
        if "mask" in use and view.mask is not None:
            mask = view.mask.reshape(-1).astype(np.int64)
        distance = torch.from_numpy(depth / frame.unit_m) / rays.cosines[0]
        color = torch.from_numpy(view.color.reshape(-1, 3).astype(np.float32) / 255)
        return cls(
            rays.origins[0],
            rays.directions[0],
            rays.cosines[0],
            color,
            torch.from_numpy(labels),
            distance,
            torch.from_numpy(mask),
        )

    def __len__(self) -> int:
        return len(self.cosines)

    def __getitem__(self, index: Tensor) -> ObservedRays:
        """Return some of the rays, index (R,)."""
        return ObservedRays(*(getattr(self, field.name)[index] for field in fields(self)))

    def canonical(self, batch: int) -> CanonicalRays:
        """Return the rays, the same ones for each of ``batch`` codes."""
        every = (self.origins, self.directions, self.cosines)
        return CanonicalRays(*(part.expand(batch, *part.shape) for part in every))

    @property
    def points(self) -> Tensor:
        """The points (M, 3) that the depth says; meaningless where it was not measured."""
        return self.origins + self.distance[:, None] * self.directions

    def drawn(self, count: int, generator: torch.Generator) -> ObservedRays:
        """Return ``count`` random rays, at least half of them on the object where it is known."""
        on = torch.nonzero(self.mask == 1)[:, 0]
        half = count // 2 if len(on) else 0
        every = torch.randint(len(self), (count - half,), generator=generator)
        if half:
            inside = on[torch.randint(len(on), (half,), generator=generator)]
            every = torch.cat([every, inside])
        return self[every]
