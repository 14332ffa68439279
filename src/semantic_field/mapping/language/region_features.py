"""Region features by deconvolution of a teacher's crop-averaged features.

A cell's feature is the mean over the crops that cover it, and a crop's feature is approximately a
mixture of the features of its regions. The mixing shares are known, so cells are mixtures of
regions,

    F = A f,    A[cell, region] = share of the region in the crops around the cell,

and ridge regression over the cells of all scales gives the regions' own features f, without their
surroundings. This is the "mended" form of OV-NeRF's region semantic ranking: a small object on a
wall is ranked by its own feature and not by that of the wall around it.

Ridge regression shrinks features with little evidence towards the image's mean, so that a small
object would look like its room in every view. But the amount of shrinkage is known: a feature is
returned multiplied by its determined share, and views are summed with these shares as weights.
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

SILENT = 1e-6  # squared length up to which a feature counts as missing
PRIOR_CELLS = 3.0  # weight of the prior (the image's mean), in cells


def units_of(regions: Regions, most: int) -> NDArray[np.int16]:
    """Partition an image into units: each pixel belongs to the smallest region that covers it.

    Returns unit numbers int16 (H, W) from 0, largest first, at most ``most``; -1 = none.
    """
    pixels, owner = pixels_of(regions)
    order = np.argsort(-regions.areas[owner], kind="stable")
    image = np.full(regions.height * regions.width, -1)
    image[pixels[order]] = owner[order]  # of repeated pixels the last assignment wins
    size = np.bincount(image[image >= 0], minlength=len(regions))
    rank = np.append(np.argsort(np.argsort(-size, kind="stable"), kind="stable"), -1)
    image = rank[image]
    image[image >= most] = -1
    return image.reshape(regions.height, regions.width).astype(np.int16)


def unit_features(
    features: Float[Tensor, "S h w D"], units: NDArray[np.int16], footprint: tuple[float, ...]
) -> tuple[Float[Tensor, "U D"], Float[Tensor, " U"]]:
    """Return the feature of each unit of an image, see the module.

    Args:
        features: of cells; zeros = missing.
        units: unit numbers (H, W), -1 = none.
        footprint: see ``LanguageTeacher.footprint``.
    Returns:
        Features multiplied by their determined shares, and these shares, 0..1.
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
    """Return the share (h, w, U + 1) of each unit in each cell; the last one is "no unit"."""
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
    """Return the 1D mixing matrix of crops: weight of each cell in the feature of each cell.

    A crop's feature is the mean over its cells, and a cell's feature the mean over the crops around
    it, both clipped to the image.
    """
    place = torch.arange(cells)
    near = ((place[:, None] - place).abs() <= round((edge - 1.0) / 2.0)).float()
    mean = near / near.sum(1, keepdim=True)
    return mean @ mean
