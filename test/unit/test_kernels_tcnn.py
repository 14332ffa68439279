"""tiny-cuda-nn's kernels: the layout by hand, and the wrapper over the package or a stand-in.

The stand-in has the documented interface of ``tinycudann.Encoding`` (a module with a flat float32
``params``, called with points of the unit cube, float16 results) and computes in torch, vertex by
vertex as in the package's ``grid.h``. Where the package and a GPU are there, it is used itself.
"""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from itertools import product
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from semantic_field.config import Config
from semantic_field.field.model import SemanticField, shape_of
from semantic_field.kernels import GridGradient, GridMoments, grid_shape, make_kernels
from semantic_field.kernels.reference import ReferenceKernels
from semantic_field.kernels.tcnn import TcnnKernels, TcnnLayout, TcnnReader
from semantic_field.mapping.training.factory import training_device
from semantic_field.settings import updated

HAS_PACKAGE = torch.cuda.is_available() and find_spec("tinycudann") is not None
SHAPE = grid_shape(4, 2, 9, 1.0, 0.1, extent_m=4.0)  # two dense levels, two hashed ones
CASES = [
    "stand-in",
    pytest.param(
        "package", marks=pytest.mark.skipif(not HAS_PACKAGE, reason="no GPU with tinycudann")
    ),
]


class StandIn(nn.Module):
    """``tinycudann.Encoding`` of a hash grid, slow and plain."""

    def __init__(self, n_input_dims: int, encoding_config: dict, seed: int = 1337) -> None:
        super().__init__()
        assert n_input_dims == 3 and encoding_config["type"] == "Hash"
        self.config, self.levels = encoding_config, []
        total = 0
        for level in range(encoding_config["n_levels"]):
            growth = math.log2(encoding_config["per_level_scale"])
            scale = 2.0 ** (level * growth) * encoding_config["base_resolution"] - 1.0
            side = math.ceil(scale) + 1
            size = min((side**3 + 7) // 8 * 8, 1 << encoding_config["log2_hashmap_size"])
            self.levels.append((scale, side, size, total))
            total += size
        self.params = nn.Parameter(torch.zeros(total * encoding_config["n_features_per_level"]))

    def forward(self, x: Tensor) -> Tensor:
        entries = self.params.half().float().view(-1, self.config["n_features_per_level"])
        return torch.cat([self.one_level(x, entries, *level) for level in self.levels], 1).half()

    def one_level(
        self, x: Tensor, entries: Tensor, scale: float, side: int, size: int, start: int
    ) -> Tensor:
        position = x * scale + 0.5
        cell = torch.floor(position.detach())
        fraction, total = position - cell, torch.zeros(())
        for corner in product((0, 1), repeat=3):
            vertex = cell.long() + torch.tensor(corner)
            weight = torch.where(torch.tensor(corner) == 1, fraction, 1 - fraction).prod(1)
            index, stride = torch.zeros_like(vertex[:, 0]), 1
            for axis in range(3):
                if stride <= size:
                    index = index + vertex[:, axis] * stride
                    stride *= side
            if size < stride:
                hashed = [vertex[:, a] * p for a, p in enumerate((1, 2654435761, 805459861))]
                index = (hashed[0] ^ hashed[1] ^ hashed[2]) & 0xFFFFFFFF
            total = total + weight[:, None] * entries[start + index % size]
        return total


@pytest.fixture(params=CASES)
def kernels(request, monkeypatch) -> TcnnKernels:
    if request.param == "package":
        return TcnnKernels(SHAPE)
    module = ModuleType("tinycudann")
    module.Encoding = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    return TcnnKernels(SHAPE, device="cpu")


def points(n: int, seed: int = 0) -> Tensor:
    """Inside and outside the cube, on cell borders and on its sides."""
    torch.manual_seed(seed)
    scattered = 5.0 * torch.rand(n, 3) - 2.5
    scattered[::5] = (scattered[::5] * 2).round() / 2
    return scattered


@pytest.mark.parametrize("n", [0, 1, 131])
def test_kernels_are_their_reader(kernels: TcnnKernels, n: int) -> None:
    """Forward and both gradients; the package calculates in float16."""
    device, reader = kernels.device, TcnnReader(SHAPE)
    torch.manual_seed(1)
    table, grad, x = torch.randn(SHAPE.table_shape), torch.randn(SHAPE.encoding_dim, n), points(n)
    inputs = x.to(device), table.to(device)
    found = kernels.encode(*inputs)
    assert found.shape == (SHAPE.encoding_dim, n) and found.dtype == torch.float32
    torch.testing.assert_close(found.cpu(), reader.encode(x, table), rtol=2e-3, atol=4e-3)
    one, other = GridGradient(SHAPE, device), GridGradient(SHAPE)
    kernels.backward_table(inputs[0], grad.to(device), one)
    reader.backward_table(x, grad, other)
    torch.testing.assert_close(one.table.cpu(), other.table, rtol=1e-2, atol=2e-2)
    assert torch.equal(one.touched.cpu() == 0, (other.table.view(4, -1, 8) == 0).all(-1))
    slopes = kernels.backward_points(*inputs, grad.to(device)).cpu()
    torch.testing.assert_close(slopes, reader.backward_points(x, table, grad), rtol=2e-2, atol=0.2)
    outside = (x.abs() > 2.0).any(1)
    if n > 1:
        assert outside.any() and (slopes[outside] == 0).any(1).all()


def test_optimiser_leaves_what_has_no_gradient(kernels: TcnnKernels) -> None:
    device = kernels.device
    gradient, moments = GridGradient(SHAPE, device), GridMoments(SHAPE, device)
    table = torch.zeros(SHAPE.table_shape, device=device)
    ones = torch.ones(SHAPE.encoding_dim, 1, device=device)
    kernels.backward_table(points(2)[1:].to(device), ones, gradient)
    moved = gradient.table != 0
    kernels.adam_step(table, gradient, moments, 1, 0.25)
    assert 0 < moved.sum() <= 8 * SHAPE.encoding_dim
    torch.testing.assert_close(table[moved], torch.full_like(table[moved], -0.25))
    assert not table[~moved].any() and not gradient.table.any()


def test_layout_by_hand() -> None:
    """4 m and 1 m cells: 5 vertices a side, dense; 0.1 m: 41 a side, hashed into 512."""
    layout = TcnnLayout(SHAPE)
    assert layout.base == 5 and layout.scales[0] == 4.0 and layout.resolutions[0] == 5
    assert layout.scales[-1] == pytest.approx(40.0) and layout.sizes == [128, 512, 512, 512]
    assert int(layout.vertex_index(torch.tensor([1, 2, 3]), 0)) == 1 + 2 * 5 + 3 * 25
    hashed = (7 ^ (2 * 2654435761) ^ (5 * 805459861)) % 2**32 % 512
    assert int(layout.vertex_index(torch.tensor([7, 2, 5]), 3)) == hashed
    table = torch.randn(SHAPE.table_shape)
    parts = layout.unpacked(layout.packed(table))
    for level, part in enumerate(parts):
        assert torch.equal(part, table[level, : layout.sizes[level]])


def test_the_reader_is_linear_between_vertices() -> None:
    """In the middle of the cube's lowest cell: half a cell from its low side, scale 4."""
    reader, table = TcnnReader(SHAPE), torch.zeros(SHAPE.table_shape)
    table[0, 0, 0], table[0, 1, 0] = 3.0, 5.0
    corner = torch.tensor([[-2.0, -2.0, -2.0]])  # position 0.5 on every axis
    assert float(reader.encode(corner, table)[0, 0]) == pytest.approx((3.0 + 5.0) / 8)
    assert torch.equal(reader.encode(corner - 1.0, table), reader.encode(corner, table))


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(ValueError, match="features"):
        TcnnLayout(grid_shape(2, 3, 8, 0.4, 0.1, 4.0))
    with pytest.raises(ValueError, match="tcnn_extent_m"):
        TcnnLayout(grid_shape(2, 2, 8, 0.4, 0.1))
    if not HAS_PACKAGE:
        with pytest.raises(ValueError, match="tinycudann"):
            TcnnKernels(SHAPE)
    settings = updated(Config(), {"field.grid.kernels": "tcnn", "mapping.device": "cpu"})
    with pytest.raises(ValueError, match="expected a GPU"):
        training_device(settings)


def test_a_map_made_with_it_is_read_in_its_own_layout() -> None:
    small = {"grid.kernels": "tcnn", "grid.log2_table_size": 9, "grid.levels": 2}
    config = updated(Config().field, small)
    shape = shape_of(config.grid)
    assert shape.extent_m == config.grid.tcnn_extent_m
    reader = SemanticField(config).frozen_copy().kernels
    assert isinstance(reader, TcnnReader) and reader.name == "tcnn"
    assert isinstance(make_kernels("tcnn", shape), ReferenceKernels)
