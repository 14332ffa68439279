"""Division of the memory budget, and growth of the grid's tables with the mapped space."""

from __future__ import annotations

from semantic_field.config import Config, MappingConfig
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels import GridKernels, GridShape
from semantic_field.mapping.keyframes.store import BYTES_PER_PIXEL, KeyframeStore
from semantic_field.mapping.language.keyframe_features import bytes_per_pixel
from semantic_field.mapping.training.step import Trainer

GRID_SHARE = 0.4  # of the budget; what neither share covers is for voxels and results
KEYFRAME_SHARE = 0.55
VOTES_SHARE = 0.05  # of the budget, for votes of keyframes for the labels of the surface
SURFACE_SHARE = 0.12  # of the budget, for surface labels; taken from the keyframes' share
TABLES = 4  # table, gradient and two moments, float32
FIRST_ENTRIES = 1 << 14
MEBIBYTE = 1 << 20
SPREAD = 2.5
"""Ratio of the grid vertices that samples touch to those next to a surface, as samples also lie
before and behind surfaces. Measured on house/living with 143 keyframes: 1.6 (64 cm cells) to 3.1
(14 cm), 1.9 at 3 cm."""


def keyframe_budget_mb(config: Config) -> int:
    """Return the memory for keyframes in MiB, at least 1.

    If language is learnt from images, the dense features of the keyframes (and with the
    enhancement "surface" the surface labels) are taken from the keyframes' share first; if a
    segmenter is used, its doubts are.
    """
    whole = int(config.mapping.memory_budget_mb * KEYFRAME_SHARE)
    if config.language.source == "images":
        if config.language.enhancement == "surface":
            whole -= surface_bytes(config.mapping) >> 20
        dense = bytes_per_pixel(config.field.latent_dim)
        whole = whole * BYTES_PER_PIXEL // (BYTES_PER_PIXEL + dense)
    if config.teacher.segmenter not in ("", "auto"):
        whole = whole * BYTES_PER_PIXEL // (BYTES_PER_PIXEL + 1)
    return max(1, whole)


def make_keyframes(config: Config, width: int, height: int) -> KeyframeStore:
    """Return an empty keyframe store whose slots have room for width * height pixels each."""
    mapping, budget_mb = config.mapping, keyframe_budget_mb(config)
    return KeyframeStore(width, height, budget_mb, depth_range_m(mapping), mapping.drop_veils)


def depth_range_m(config: MappingConfig) -> tuple[float, float]:
    """Return the smallest and largest depth that is used, metres."""
    return config.min_depth_m, config.max_depth_m


def surface_bytes(config: MappingConfig) -> int:
    """Return the memory in bytes for surface labels, part of the keyframes' share."""
    return int(config.memory_budget_mb * MEBIBYTE * SURFACE_SHARE)


def votes_bytes(config: MappingConfig) -> int:
    """Return the memory in bytes for the votes of keyframes for surface labels."""
    return int(config.memory_budget_mb * MEBIBYTE * VOTES_SHARE)


def first_shape(shape: GridShape, kernels: type[GridKernels] | GridKernels) -> GridShape:
    """Return the grid shape of an empty map: small tables if the kernels can grow them."""
    if not kernels.grows:
        return shape
    return shape.with_sizes((min(FIRST_ENTRIES, shape.table_size),) * shape.levels)


def grid_bytes(shape: GridShape) -> int:
    """Return the size of a trained grid in bytes: table, gradient and two moments."""
    return sum(shape.level_sizes) * shape.features * 4 * TABLES


def vertices_needed(cell_m: float, voxels: int, voxel_m: float) -> float:
    """Return an estimate of the vertices of a grid level that samples touch.

    Cells larger than a voxel lie along the surface, so their number scales with the square of the
    ratio of the edges. Smaller cells fill the voxels, so their number scales with its cube.

    Args:
        cell_m: edge of a cell of the level, metres.
        voxels: number of voxels that contain a surface.
        voxel_m: edge of a voxel, metres.
    """
    ratio = voxel_m / cell_m
    return SPREAD * voxels * (ratio**2 if ratio < 1 else ratio**3)


def fitting_shape(
    shape: GridShape, voxels: int, voxel_m: float, config: MappingConfig
) -> GridShape:
    """Return the grid shape for a map with ``voxels`` surface voxels of edge ``voxel_m``.

    From coarse to fine, each level's table is doubled until it has one entry for every
    ``vertices_per_entry`` vertices or reaches its largest size. Growth stops when the grid's share
    of the memory budget is used up. Tables never shrink.
    """
    budget = config.memory_budget_mb * MEBIBYTE * GRID_SHARE
    for level, cell_m in enumerate(shape.cells_m):
        needed = vertices_needed(cell_m, voxels, voxel_m) / config.vertices_per_entry
        size = shape.level_sizes[level]
        while size < min(needed, shape.table_size):
            sizes = list(shape.level_sizes)
            sizes[level] = size = 2 * size
            larger = shape.with_sizes(tuple(sizes))
            if grid_bytes(larger) > budget:
                return shape
            shape = larger
    return shape


def follow_extent(trainer: Trainer, reach: VoxelGrid, config: MappingConfig) -> None:
    """Grow the tables of the trainer's grid to fit the mapped space, if the kernels can.

    Args:
        reach: voxels that contain a surface.
    """
    kernels = trainer.field.kernels
    if kernels.grows:
        shape = fitting_shape(kernels.shape, reach.used_voxels(), reach.voxel_m, config)
        if shape != kernels.shape:
            trainer.grow_table(shape)
