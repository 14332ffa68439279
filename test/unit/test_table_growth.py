"""A grid's table grows without changing what the field says, and within its share of memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semantic_field.config import Config
from semantic_field.field.map_file import dump_map, load_map
from semantic_field.field.model import shape_of
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.kernels import GridGradient, GridShape, grid_shape, make_kernels
from semantic_field.kernels.table_lines import copy_used, fill_lines, grow, used_lines
from semantic_field.mapping import Mapper, memory
from semantic_field.mapping.keyframes.store import BYTES_PER_PIXEL
from semantic_field.mapping.language.keyframe_features import bytes_per_pixel
from semantic_field.mapping.memory import first_shape, fitting_shape
from semantic_field.settings import updated

SHAPE = grid_shape(4, 4, 8, 0.5, 0.05).with_sizes((64, 64, 64, 64))
CAMERA = Camera.from_field_of_view(64, 48, 1.2)


def grown_shape() -> GridShape:
    return SHAPE.with_sizes((64, 128, 256, 256))


def random_table(shape: GridShape) -> torch.Tensor:
    """Random where levels are in use, zero elsewhere."""
    torch.manual_seed(0)
    table = torch.zeros(shape.table_shape)
    for level, size in enumerate(shape.level_sizes):
        table[level, :size].normal_()
    return table


@pytest.mark.parametrize("kernels", ["reference", "cpu"])
def test_every_point_reads_the_same_after_growing(kernels: str) -> None:
    points = 40 * torch.rand(3000, 3) - 20
    table = random_table(SHAPE)
    before = make_kernels(kernels, SHAPE)
    expected = before.encode(points, table)
    grow(table, SHAPE, grown_shape())
    after = before.with_shape(grown_shape())
    torch.testing.assert_close(after.encode(points, table), expected, rtol=0, atol=0)


def test_levels_of_several_sizes_are_the_reference() -> None:
    shape, points = grown_shape(), 40 * torch.rand(777, 3) - 20
    table, grad = random_table(shape), torch.randn(shape.encoding_dim, 777)
    reference, cpu = (make_kernels(name, shape) for name in ("reference", "cpu"))
    torch.testing.assert_close(cpu.encode(points, table), reference.encode(points, table))
    torch.testing.assert_close(
        cpu.backward_points(points, table, grad),
        reference.backward_points(points, table, grad),
        rtol=1e-4,
        atol=1e-4,
    )
    gradients = GridGradient(shape), GridGradient(shape)
    for kernels, gradient in zip((cpu, reference), gradients):
        kernels.backward_table(points, grad, gradient)
    torch.testing.assert_close(gradients[0].table, gradients[1].table, rtol=1e-4, atol=1e-4)
    assert all((gradients[0].table[i, n:] == 0).all() for i, n in enumerate(shape.level_sizes))


def test_places_that_shared_an_entry_part_after_growing() -> None:
    points = 40 * torch.rand(3000, 3) - 20

    def distinct(shape: GridShape) -> int:
        rows = torch.arange(shape.table_size, dtype=torch.float32)
        table = rows[None, :, None].expand(shape.table_shape).contiguous()
        at_vertices = (points / shape.cells_m[3]).round() * shape.cells_m[3]
        features = make_kernels("cpu", shape).encode(at_vertices, table)[12]
        return len(features.round().unique())

    assert distinct(grown_shape()) > 1.5 * distinct(SHAPE)


def test_lines_in_use_are_stored_and_copied() -> None:
    shape = grown_shape()
    table = random_table(shape)
    table[2, :128] = 0
    numbers, lines = used_lines(table, shape)
    assert len(numbers) == (64 + 128 + 128 + 256) // 4
    filled, copied = torch.zeros(shape.table_shape), torch.zeros(shape.table_shape)
    fill_lines(filled, numbers, lines)
    copy_used(table, copied, shape)
    assert torch.equal(filled, table) and torch.equal(copied, table)


def test_tables_follow_the_mapped_space() -> None:
    config = Config().mapping
    full = shape_of(Config().field.grid)
    empty = first_shape(full, make_kernels("cpu", full))
    assert set(empty.level_sizes) == {memory.FIRST_ENTRIES}
    room = fitting_shape(empty, 100_000, 0.04, config)
    house = fitting_shape(room, 1_000_000, 0.04, config)
    assert list(room.level_sizes) == sorted(room.level_sizes)
    assert all(a <= b for a, b in zip(room.level_sizes, house.level_sizes))
    for level, cell_m in enumerate(full.cells_m):
        needed = memory.vertices_needed(cell_m, 100_000, 0.04)
        assert room.level_sizes[level] >= min(needed, full.table_size)
        assert room.level_sizes[level] < 2 * needed or room.level_sizes[level] <= 1 << 14
    assert memory.grid_bytes(house) <= memory.GRID_SHARE * config.memory_budget_mb * 2**20
    assert fitting_shape(house, 10, 0.04, config) == house  # never shrinks


def walls(mapper: Mapper) -> None:
    random = np.random.default_rng(0)
    for x in (-0.2, 0.0, 0.2):
        mapper.add_frame(
            Frame(
                stamp_ns=0,
                color=random.integers(0, 255, (48, 64, 3)).astype(np.uint8),
                depth=np.full((48, 64), 1.5, np.float32),
                camera=CAMERA,
                T_world_camera=make_transform(np.eye(3), [x, 0, 0]),
            )
        )


def small_mapper(**more: object) -> Mapper:
    settings = {
        "field.grid.log2_table_size": 13,
        "field.grid.finest_cell_m": 0.04,
        "mapping.rays_per_step": 256,
        "mapping.memory_budget_mb": 16,
    }
    return Mapper(updated(Config(), settings | more))


def test_a_map_grows_with_its_frames_and_is_saved_as_it_is(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "FIRST_ENTRIES", 1 << 8)
    mapper = small_mapper()
    assert set(mapper.snapshot().field.kernels.shape.level_sizes) == {1 << 8}
    walls(mapper)
    mapper.train_steps(20)
    small = mapper.snapshot()
    sizes = small.field.kernels.shape.level_sizes
    assert sizes[0] == 1 << 8 and sizes[-1] > 1 << 10
    points = torch.rand(500, 3) * 2 - 1
    read = load_map(dump_map(small)).field
    assert read.kernels.shape.level_sizes == sizes
    torch.testing.assert_close(
        read.distance(points), small.field.distance(points), atol=2e-3, rtol=0
    )
    mapper.save(tmp_path / "map")
    again = small_mapper()
    again.load(tmp_path / "map")
    torch.testing.assert_close(again.snapshot().field.table, small.field.table, atol=0, rtol=0)
    again.train_steps(1)


def test_growing_in_mid_training_leaves_field_and_moments_as_they_were() -> None:
    mapper = small_mapper(**{"mapping.vertices_per_entry": 64.0, "field.grid.log2_table_size": 16})
    walls(mapper)
    mapper.train_steps(20)
    before = mapper.snapshot().field
    shape = before.kernels.shape
    mapper.live_map.trainer.grow_table(shape.with_sizes(tuple(2 * n for n in shape.level_sizes)))
    points = torch.rand(500, 3) * 2 - 1
    torch.testing.assert_close(
        mapper.live_map.field.distance(points), before.distance(points), atol=1e-6, rtol=0
    )
    second, size = mapper.live_map.trainer.moments.second, shape.level_sizes[2]
    assert torch.equal(second[2, :size], second[2, size : 2 * size])
    mapper.train_steps(5)


@pytest.mark.parametrize("source", ["labels", "images"])
def test_keyframes_and_what_is_learnt_of_them_have_what_the_grid_leaves(source: str) -> None:
    config = updated(Config(), {"language.source": source, "mapping.memory_budget_mb": 64})
    store = memory.make_keyframes(config, 160, 120)
    kept = store.capacity * store.pixels * BYTES_PER_PIXEL
    if source == "images":
        kept += store.capacity * store.pixels * bytes_per_pixel(config.field.latent_dim)
        kept += memory.surface_bytes(config.mapping)
    left = (1 - memory.GRID_SHARE) * 64 * memory.MEBIBYTE
    assert 0.85 * left < kept <= left
