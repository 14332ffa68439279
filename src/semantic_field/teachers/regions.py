"""Class-agnostic regions of an image: ``Regions``, and the interface of region proposers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.geometry import Camera


@dataclass(frozen=True)
class Regions:
    """Masks of one image, which may overlap, in the order given by the proposer.

    SAM's order is that of its non-maximum suppression, not of area; methods in which the last mask
    wins (region semantic ranking) depend on it. Masks are run-length encoded, 1-2 % of their size.

    Attributes:
        height, width: of the image, pixels.
        starts, stops: int32 (N,), runs of pixels [start, stop) of the row-major image.
        splits: int64 (M + 1,), the runs of mask m are splits[m] to splits[m + 1].
        scores: float32 (M,), confidence of the proposer, 0..1.
        ids: int32 (M,), unique within one image.
    """

    height: int
    width: int
    starts: NDArray[np.int32]
    stops: NDArray[np.int32]
    splits: NDArray[np.int64]
    scores: NDArray[np.float32]
    ids: NDArray[np.int32]

    @classmethod
    def from_masks(
        cls,
        masks: Iterable[NDArray[np.bool_]],
        size: tuple[int, int],
        scores: NDArray[np.floating] | None = None,
        ids: NDArray[np.integer] | None = None,
    ) -> Regions:
        """Build regions from bool masks of ``size`` (H, W); by default scores 1 and ids 0..M-1.

        Raises:
            ValueError: if the size of a mask, or the number of scores or ids, does not fit.
        """
        runs = [_runs(np.asarray(mask), size) for mask in masks]
        counts = [len(starts) for starts, _ in runs]
        m = len(runs)
        scores = np.ones(m) if scores is None else np.asarray(scores)
        ids = np.arange(m) if ids is None else np.asarray(ids)
        if len(scores) != m or len(ids) != m:
            raise ValueError(f"expected {m} scores and ids, got {len(scores)} and {len(ids)}")
        return cls(
            *size,
            starts=np.concatenate([np.zeros(0, np.int32), *(starts for starts, _ in runs)]),
            stops=np.concatenate([np.zeros(0, np.int32), *(stops for _, stops in runs)]),
            splits=np.cumsum([0, *counts], dtype=np.int64),
            scores=scores.astype(np.float32),
            ids=ids.astype(np.int32),
        )

    @classmethod
    def from_label_image(cls, labels: NDArray[np.integer]) -> Regions:
        """Build one region for each id >= 0 of an image (H, W), largest first."""
        ids, counts = np.unique(labels[labels >= 0], return_counts=True)
        ids = ids[np.argsort(-counts, kind="stable")]
        return cls.from_masks((labels == i for i in ids), labels.shape, ids=ids)

    def __len__(self) -> int:
        return len(self.ids)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return the mask (H, W) of one region."""
        runs = slice(self.splits[index], self.splits[index + 1])
        edges = np.zeros(self.height * self.width + 1, np.int8)
        edges[self.starts[runs]] += 1
        edges[self.stops[runs]] -= 1  # starts and stops of one mask are all different
        return np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_).reshape(self.height, self.width)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        """Iterate over the masks (H, W)."""
        return (self.mask(i) for i in range(len(self)))

    @property
    def masks(self) -> NDArray[np.bool_]:
        """All masks (M, H, W), uncompressed: 0.3 MB each at 640x480."""
        masks = np.empty((len(self), self.height, self.width), np.bool_)
        for i, mask in enumerate(self):
            masks[i] = mask
        return masks

    @property
    def areas(self) -> NDArray[np.int64]:
        """Number of pixels of each region (M,)."""
        ends = np.concatenate([[0], np.cumsum(self.stops - self.starts, dtype=np.int64)])
        return np.diff(ends[self.splits])

    def label_image(self) -> NDArray[np.int32]:
        """Return the index of the last region that covers each pixel (H, W), -1 = none."""
        image = np.full(self.height * self.width, -1, np.int32)
        for i in range(len(self)):
            image[self.mask(i).reshape(-1)] = i
        return image.reshape(self.height, self.width)


class RegionProposer(Protocol):
    """Proposes regions of an image.

    Attributes:
        name: short, for messages.
        fingerprint: equal if two proposers give equal regions.
    """

    name: str
    fingerprint: str

    def propose(
        self,
        color: NDArray[np.uint8],
        depth: NDArray[np.float32] | None = None,
        camera: Camera | None = None,
    ) -> Regions:
        """Return the regions of an RGB image (H, W, 3).

        ``depth`` is z-depth (H, W) in metres, 0 = no reading; ``camera`` belongs to it."""
        ...


def pool_features(features: Float[Tensor, "h w E"], regions: Regions) -> Float[Tensor, "M E"]:
    """Return the normalised mean feature under each mask, weighted by the covered share of cells.

    Cells tile the image as in ``LanguageTeacher.embed_image``. Zeros for an empty mask, or one
    over cells that are zeros.
    """
    h, w, _ = features.shape
    cover = np.stack([_coverage(mask, h, w) for mask in regions]) if len(regions) else None
    if cover is None:
        return torch.zeros(0, features.shape[-1])
    pooled = torch.from_numpy(cover.reshape(len(regions), -1)) @ features.reshape(h * w, -1).float()
    return torch.nn.functional.normalize(pooled, dim=-1)


def _coverage(mask: NDArray[np.bool_], h: int, w: int) -> NDArray[np.float32]:
    import cv2

    cells = cv2.resize(mask.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float32)


def _runs(
    mask: NDArray[np.bool_], size: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    if mask.shape != tuple(size) or mask.dtype != np.bool_:
        raise ValueError(f"expected masks bool {tuple(size)}, got {mask.dtype} {mask.shape}")
    flat = np.concatenate([[False], mask.reshape(-1), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1]).astype(np.int32)
    return edges[::2], edges[1::2]
