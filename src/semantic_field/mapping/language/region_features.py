"""What each region of an image shows, where a teacher sees it through wide crops.

A cell's feature is the mean over the crops that cover it, and a crop's feature is about a mixture
of what the crop shows. Both blur by known shares, so cells are mixtures of regions,

    F = A f,    A[cell, region] = share of the region in the crops around the cell,

and ridge regression over the cells of all scales gives the regions' own features f, out of which
their surroundings are taken. This is the mended form of OV-NeRF's region semantic ranking: a
small thing on a wall is ranked by what it shows, and not by the wall around it.

Ridge regression pulls what cells say little of towards the image's mean, and a small thing would
look like its room in view after view. How far it was pulled is known, though: a feature comes with
the share of it that cells determine, without the rest, and views add up with that weight.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.mapping.language.region_ranking import pixels_of
from semantic_field.teachers.language import cells_of
from semantic_field.teachers.regions import Regions

SILENT = 1e-6  # squared length of a feature that says nothing
PRIOR_CELLS = 3.0  # the image's mean counts for a region as so many cells would


def units_of(regions: Regions, most: int) -> NDArray[np.int16]:
    """The image (H, W) cut into units: each pixel belongs to the smallest region that covers it.

    Units are numbered from 0, largest first, the first ``most`` alone; -1 = none.
    """
    pixels, owner = pixels_of(regions)
    order = np.argsort(-regions.areas[owner], kind="stable")
    image = np.full(regions.height * regions.width, -1)
    image[pixels[order]] = owner[order]  # of repeated pixels the last one counts
    size = np.bincount(image[image >= 0], minlength=len(regions))
    rank = np.append(np.argsort(np.argsort(-size, kind="stable"), kind="stable"), -1)
    image = rank[image]
    image[image >= most] = -1
    return image.reshape(regions.height, regions.width).astype(np.int16)


def unit_features(
    features: Float[Tensor, "S h w D"], units: NDArray[np.int16], footprint: tuple[float, ...]
) -> tuple[Float[Tensor, "U D"], Float[Tensor, " U"]]:
    """The feature of each unit of an image, see the module.

    Returns:
        features times the share of each that the cells determine, and these shares, 0..1.

    Args:
        features: of cells; zeros where the teacher says nothing.
        units: numbers (H, W), -1 = none of them.
        footprint: edge of the crops of each scale, as a share of the image's shorter side; empty
            where a cell sees itself alone.
    """
    scales, h, w, dim = features.shape
    count = int(units.max(initial=-1)) + 1
    if not count:
        return features.new_zeros(0, dim), features.new_zeros(0)
    shares = torch.from_numpy(_shares(units, (h, w), count)).permute(2, 0, 1)
    said = (features.square().sum(-1) > SILENT).float().flatten(1)  # zeros are no evidence
    mean = features.sum((0, 1, 2)) / said.sum().clamp_min(1.0)
    normal = PRIOR_CELLS * torch.eye(count + 1)
    right = torch.zeros(count + 1, dim)
    for seen, there, edge in zip(features, said, footprint or (0.0,) * scales, strict=True):
        down, across = (_crops(cells, edge * min(h, w)) for cells in (h, w))
        matrix = (down @ shares @ across.T).flatten(1) * there
        normal += matrix @ matrix.T
        right += matrix @ (seen - mean).flatten(0, 1)
    inverse = torch.linalg.inv(normal)
    known = (1.0 - PRIOR_CELLS * inverse.diagonal()[:count]).clamp(0.0, 1.0)
    return (inverse @ right)[:count] + known[:, None] * mean, known


def _shares(units: NDArray, grid: tuple[int, int], count: int) -> NDArray[np.float32]:
    """Share (h, w, U + 1) of each unit in each cell; the last one is what is in no unit."""
    height, width = units.shape
    place = np.moveaxis(np.indices(units.shape), 0, -1)
    cell = cells_of(place, (height, width), grid) @ [grid[1], 1]
    unit = np.where(units >= 0, units, count).astype(np.int64)
    pixels = np.bincount(
        (cell * (count + 1) + unit).ravel(), minlength=(count + 1) * grid[0] * grid[1]
    )
    pixels = pixels.reshape(*grid, count + 1).astype(np.float32)
    return pixels / np.maximum(pixels.sum(-1, keepdims=True), 1.0)


def _crops(cells: int, edge: float) -> Float[Tensor, "n n"]:
    """How much each cell of a row counts in the crops of this edge around each of them.

    A crop is the mean of what it shows, and what is seen is the mean over the crops around; both
    as far as they lie in the image.
    """
    place = torch.arange(cells)
    near = ((place[:, None] - place).abs() <= round((edge - 1.0) / 2.0)).float()
    mean = near / near.sum(1, keepdim=True)
    return mean @ mean
