"""A grid's table grows without changing what the field says, and within its share of memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semantic_field.config import Config, updated
from semantic_field.field.map_file import dump_map, load_map
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.kernels import grid_shape, make_kernels
from semantic_field.kernels.table_lines import count_used, doubled, used_copy
from semantic_field.mapping import Mapper, memory
from semantic_field.mapping.memory import keyframe_budget_mb

SHAPE = grid_shape(4, 4, 8, 0.5, 0.05)
CAMERA = Camera.from_field_of_view(64, 48, 1.2)


def sparse_table() -> torch.Tensor:
    torch.manual_seed(0)
    table = torch.randn(SHAPE.table_shape)
    table[:, ::3] = 0.0
    table[:, 64:80] = 0.0
    return table


@pytest.mark.parametrize("kernels", ["reference", "cpu"])
def test_every_point_reads_the_same_from_a_doubled_table(kernels: str) -> None:
    points = 40 * torch.rand(3000, 3) - 20
    table = sparse_table()
    before = make_kernels(kernels, SHAPE)
    after = before.with_shape(SHAPE.doubled())
    assert after.shape.table_size == 512
    torch.testing.assert_close(
        after.encode(points, doubled(table)), before.encode(points, table), rtol=0, atol=0
    )


def test_places_that_shared_an_entry_part_in_a_doubled_table() -> None:
    kernels = make_kernels("cpu", SHAPE)
    points = 40 * torch.rand(3000, 3) - 20

    def distinct(shape) -> int:
        rows = torch.arange(shape.table_size, dtype=torch.float32)
        table = rows[None, :, None].expand(shape.table_shape).contiguous()
        at_vertices = (points / SHAPE.cells_m[3]).round() * SHAPE.cells_m[3]
        features = kernels.with_shape(shape).encode(at_vertices, table)[12]
        return len(features.round().unique())

    assert distinct(SHAPE.doubled()) > 1.5 * distinct(SHAPE)


def test_copies_and_counts_of_lines_in_use() -> None:
    table = sparse_table()
    assert torch.equal(used_copy(table), table)
    lines = table.reshape(4 * 64, 16)
    assert count_used(table) == int(lines.any(1).sum()) == 4 * 60


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


def crowded(**more: object) -> Mapper:
    settings = {
        "field.grid.log2_table_size": 9,
        "field.grid.finest_cell_m": 0.04,
        "mapping.rays_per_step": 256,
        "mapping.memory_budget_mb": 16,
        "mapping.crowded_at": 0.2,
    }
    mapper = Mapper(updated(Config(), settings | more))
    walls(mapper)
    return mapper


def test_a_crowded_map_grows_while_it_trains_and_is_saved_as_it_is(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "CHECK_EVERY_STEPS", 5)
    mapper = crowded()
    mapper.train_steps(4)
    small = mapper.snapshot().field
    mapper.train_steps(1)
    large = mapper.snapshot().field
    assert large.kernels.shape.table_size == 2 * small.kernels.shape.table_size
    mapper.train_steps(30)
    grown = mapper.snapshot()
    size = grown.field.kernels.shape.table_size
    assert size > 1024
    points = torch.rand(500, 3) * 2 - 1
    read = load_map(dump_map(grown)).field
    torch.testing.assert_close(
        read.distance(points), grown.field.distance(points), atol=2e-3, rtol=0
    )
    mapper.save(tmp_path / "map")
    again = crowded()
    again.load(tmp_path / "map")
    torch.testing.assert_close(again.snapshot().field.table, grown.field.table, atol=0, rtol=0)
    again.train_steps(1)


def test_growth_ends_at_the_budget(monkeypatch) -> None:
    monkeypatch.setattr(memory, "CHECK_EVERY_STEPS", 2)
    monkeypatch.setattr(memory, "GRID_SHARE", 0.05)
    mapper = crowded()
    mapper.train_steps(60)
    assert mapper._growth.used_bytes <= 0.05 * 16 * memory.MEBIBYTE
    assert mapper.snapshot().field.kernels.shape.table_size < 1 << 14


def test_keyframes_have_what_the_grid_leaves() -> None:
    config = Config().mapping
    assert keyframe_budget_mb(config) < (1 - memory.GRID_SHARE) * config.memory_budget_mb
