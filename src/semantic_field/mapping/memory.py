"""How the memory budget is shared out, and how large the grid's tables are for what is mapped."""

from __future__ import annotations

from semantic_field.config import Config, MappingConfig
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels import GridKernels, GridShape
from semantic_field.mapping.keyframes.store import BYTES_PER_PIXEL, KeyframeStore
from semantic_field.mapping.language.keyframe_features import bytes_per_pixel
from semantic_field.mapping.training.step import Trainer

GRID_SHARE = 0.4  # of the budget; keyframes have the rest, less what voxels and results need
KEYFRAME_SHARE = 0.55
SURFACE_SHARE = 0.12  # labels of the surface: of the keyframes' share, if language is from images
TABLES = 4  # table, gradient and two moments, float32
FIRST_ENTRIES = 1 << 14
MEBIBYTE = 1 << 20
SPREAD = 2.5
"""Vertices touched on a level for each that surfaces pass: samples lie before and behind them.
Counted on house/living, 143 keyframes: 1.6 (64 cm) to 3.1 (14 cm), 1.9 at 3 cm."""


def keyframe_budget_mb(config: Config) -> int:
    """MiB of the whole budget that the keyframes may take.

    Where language is learnt from images, what is learnt of each keyframe has a share of it.
    """
    whole = int(config.mapping.memory_budget_mb * KEYFRAME_SHARE)
    if config.language.source == "images":
        if config.language.enhancement == "surface":
            whole -= surface_bytes(config.mapping) >> 20
        dense = bytes_per_pixel(config.field.latent_dim)
        whole = whole * BYTES_PER_PIXEL // (BYTES_PER_PIXEL + dense)
    return max(1, whole)


def make_keyframes(config: Config, width: int, height: int) -> KeyframeStore:
    """Room for the keyframes of one map, of images of that size in pixels."""
    mapping, budget_mb = config.mapping, keyframe_budget_mb(config)
    return KeyframeStore(width, height, budget_mb, depth_range_m(mapping), mapping.drop_veils)


def depth_range_m(config: MappingConfig) -> tuple[float, float]:
    """The readings that are kept, metres."""
    return config.min_depth_m, config.max_depth_m


def surface_bytes(config: MappingConfig) -> int:
    """Bytes that labels of the surface may take, out of the keyframes' share."""
    return int(config.memory_budget_mb * MEBIBYTE * SURFACE_SHARE)


def first_shape(shape: GridShape, kernels: type[GridKernels] | GridKernels) -> GridShape:
    """The grid of an empty map: small tables, where the kernels let them grow."""
    if not kernels.grows:
        return shape
    return shape.with_sizes((min(FIRST_ENTRIES, shape.table_size),) * shape.levels)


def grid_bytes(shape: GridShape) -> int:
    """Bytes of all tables of a grid that is trained."""
    return sum(shape.level_sizes) * shape.features * 4 * TABLES


def vertices_needed(cell_m: float, voxels: int, voxel_m: float) -> float:
    """About how many vertices of a level samples touch where surfaces pass ``voxels`` voxels.

    Voxels lie along surfaces: coarser cells are fewer by the square of the ratio. Finer ones fill
    the voxels: they are more by its cube.
    """
    ratio = voxel_m / cell_m
    return SPREAD * voxels * (ratio**2 if ratio < 1 else ratio**3)


def fitting_shape(
    shape: GridShape, voxels: int, voxel_m: float, config: MappingConfig
) -> GridShape:
    """The grid for a map of so many voxels: levels double until each vertex has an entry.

    Coarse levels come first, since they carry the map; levels end at their reserved table and at
    the grid's share of the budget. Levels never shrink.
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
    """Let the trainer's grid grow with the mapped space."""
    kernels = trainer.field.kernels
    if kernels.grows:
        shape = fitting_shape(kernels.shape, reach.used_voxels(), reach.voxel_m, config)
        if shape != kernels.shape:
            trainer.grow_table(shape)
