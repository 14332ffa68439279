"""The compiled grid kernels against the plain torch ones, and these against hand-worked values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semantic_field.kernels import GridGradient, GridMoments, GridShape, grid_shape, make_kernels
from semantic_field.kernels.cpu import CpuKernels
from semantic_field.kernels.reference import ReferenceKernels, corner_weights, hash_vertices

SHAPES = [
    grid_shape(5, 4, 10, 0.5, 0.03),
    grid_shape(3, 2, 6, 0.4, 0.1),  # 64 entries: nearly every vertex collides
    grid_shape(1, 1, 8, 0.25, 0.25),
]


def points(n: int, seed: int = 0) -> Tensor:
    """Random points on both sides of the origin, some of them exactly on cell borders."""
    torch.manual_seed(seed)
    scattered = 6.0 * torch.rand(n, 3) - 3.0
    scattered[::7] = (scattered[::7] * 4).round() / 4
    return scattered


def shape_name(shape: GridShape) -> str:
    return f"{shape.levels}x{shape.features}x{shape.table_size}"


@pytest.fixture(params=SHAPES, ids=shape_name)
def shape(request) -> GridShape:
    return request.param


@pytest.mark.parametrize("n", [0, 1, 63, 64, 517])
def test_encode_is_the_reference(shape: GridShape, n: int) -> None:
    torch.manual_seed(1)
    table = torch.randn(shape.table_shape)
    expected = ReferenceKernels(shape).encode(points(n), table)
    found = CpuKernels(shape, threads=2).encode(points(n), table)
    assert found.shape == (shape.encoding_dim, n)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 301])
def test_gradients_are_the_reference(shape: GridShape, n: int) -> None:
    torch.manual_seed(2)
    table, grad = torch.randn(shape.table_shape), torch.randn(shape.encoding_dim, n)
    x = points(n)
    found, expected = GridGradient(shape), GridGradient(shape)
    cpu, reference = CpuKernels(shape), ReferenceKernels(shape)
    cpu.backward_table(x, grad, found)
    reference.backward_table(x, grad, expected)
    torch.testing.assert_close(found.table, expected.table, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.touched, expected.touched)
    for level in range(shape.levels):
        count = int(found.counts[level])
        listed = found.lines[level, :count].sort().values
        assert torch.equal(listed, expected.lines[level, : int(expected.counts[level])])
    torch.testing.assert_close(
        cpu.backward_points(x, table, grad),
        reference.backward_points(x, table, grad),
        rtol=1e-3,
        atol=2e-3,
    )


def along_rays(n: int) -> Tensor:
    """Points a millimetre apart on a few lines: most of a batch share their cells."""
    t = torch.arange(n)
    origin = torch.stack([t // 97 * 0.01, t // 97 * -0.02, torch.ones(n)], -1)
    return (origin + (t % 97)[:, None] * 1e-3 * torch.tensor([0.36, -0.48, 0.8])).float()


def on_borders(n: int) -> Tensor:
    """Vertices, edges and sides of cells of a level: one to three coordinates on a border."""
    inside, border = points(n), torch.arange(3)[None] <= (torch.arange(n) % 3)[:, None]
    return torch.where(border, (inside / 0.5).round() * 0.5, inside)


def far_away(n: int) -> Tensor:
    """Half a kilometre from the origin, on all sides: large and negative coordinates."""
    return points(n) + 500.0 * points(n, seed=1).sign()


@pytest.mark.parametrize("place", [along_rays, on_borders, far_away])
def test_coherent_bordering_and_distant_points(shape: GridShape, place) -> None:
    torch.manual_seed(5)
    cpu, reference, x = CpuKernels(shape), ReferenceKernels(shape), place(203)
    table, grad = torch.randn(shape.table_shape), torch.randn(shape.encoding_dim, 203)
    # products that place a point in its cell are fused: at 500 m that is 1/1000 of a cell
    close = {"rtol": 1e-3, "atol": 3e-2 if place is far_away else 1e-4}
    torch.testing.assert_close(cpu.encode(x, table), reference.encode(x, table), **close)
    found, expected = GridGradient(shape), GridGradient(shape)
    cpu.backward_table(x, grad, found)
    reference.backward_table(x, grad, expected)
    close = {"rtol": 1e-3, "atol": 3e-2 if place is far_away else 1e-3}
    torch.testing.assert_close(found.table, expected.table, **close)
    assert torch.equal(found.touched, expected.touched)


def test_without_points_nothing_moves() -> None:
    shape = SHAPES[0]
    for kernels in (CpuKernels(shape), ReferenceKernels(shape)):
        gradient, moments = GridGradient(shape), GridMoments(shape)
        table = torch.ones(shape.table_shape)
        kernels.backward_table(points(0), torch.zeros(shape.encoding_dim, 0), gradient)
        kernels.set_rates(1, 0.1)
        kernels.apply_adam(table, gradient, moments)
        assert (table == 1).all() and not moments.second.any()


def test_table_gradient_adds_up_over_calls() -> None:
    shape = SHAPES[0]
    cpu, gradient, twice = CpuKernels(shape), GridGradient(shape), GridGradient(shape)
    grad = torch.randn(shape.encoding_dim, 100, generator=torch.Generator().manual_seed(0))
    cpu.backward_table(points(100), grad, gradient)
    cpu.backward_table(points(100), 0.25 * grad, twice)
    cpu.backward_table(points(100), 0.75 * grad, twice)
    torch.testing.assert_close(twice.table, gradient.table, rtol=1e-4, atol=1e-5)
    assert torch.equal(twice.counts, gradient.counts)


def test_reference_gradients_are_finite_differences() -> None:
    shape = SHAPES[0]
    reference = ReferenceKernels(shape)
    torch.manual_seed(3)
    table = torch.randn(shape.table_shape)
    x = 0.5 * torch.rand(20, 3) + 0.013
    grad = torch.randn(shape.encoding_dim, 20)
    direction = torch.randn(20, 3)
    step = 1e-3
    ahead, behind = (reference.encode(x + s * direction, table) for s in (step, -step))
    moved = (reference.encode(x, table) * grad).sum()  # kinks at cell borders average out
    numeric = ((ahead - behind) / (2 * step) * grad).sum(0)
    analytic = (reference.backward_points(x, table, grad) * direction).sum(1)
    assert moved.isfinite()
    assert (numeric - analytic).abs().median() < 0.05 * analytic.abs().median()


def test_trilinear_weights_by_hand() -> None:
    weights = corner_weights(torch.tensor([[[0.25, 0.5, 0.0]]]))[0, 0]
    expected = torch.tensor([0.375, 0.125, 0.375, 0.125, 0, 0, 0, 0])
    torch.testing.assert_close(weights, expected)


def test_vertices_of_a_block_lie_side_by_side() -> None:
    low = torch.tensor([-4, 6, 10])  # even: the first vertex of its block
    corners = torch.stack([low + torch.tensor([c & 1, c >> 1 & 1, c >> 2]) for c in range(8)])
    indices = hash_vertices(corners, 1 << 12)
    assert indices.tolist() == list(range(int(indices[0]), int(indices[0]) + 8))
    assert int(indices[0]) % 8 == 0


@pytest.mark.parametrize("steps", [1, 5])
def test_adam_is_the_reference(shape: GridShape, steps: int) -> None:
    torch.manual_seed(4)
    tables = [torch.randn(shape.table_shape)] * 2
    tables = [t.clone() for t in tables]
    kernels = [CpuKernels(shape), ReferenceKernels(shape)]
    gradients = [GridGradient(shape) for _ in kernels]
    moments = [GridMoments(shape) for _ in kernels]
    for step in range(1, steps + 1):
        x, grad = points(40, seed=step), torch.randn(shape.encoding_dim, 40)
        for i, kernel in enumerate(kernels):
            kernels[0].backward_table(x, grad, gradients[i])
            kernel.adam_step(tables[i], gradients[i], moments[i], step, 0.01)
    torch.testing.assert_close(tables[0], tables[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moments[0].second, moments[1].second, rtol=1e-4, atol=1e-6)
    for gradient in gradients:
        assert not gradient.table.any()
        assert not gradient.touched.any()
        assert not gradient.counts.any()


def test_adam_leaves_cells_without_gradient_alone() -> None:
    """First step by hand: every element with a gradient moves by the learning rate exactly."""
    shape = SHAPES[0]
    cpu, gradient, moments = CpuKernels(shape), GridGradient(shape), GridMoments(shape)
    table = torch.zeros(shape.table_shape)
    cpu.backward_table(points(1), torch.ones(shape.encoding_dim, 1), gradient)
    has_gradient = gradient.table != 0
    cpu.adam_step(table, gradient, moments, 1, learning_rate=0.01)
    assert 0 < has_gradient.sum() <= 8 * shape.encoding_dim
    torch.testing.assert_close(table[has_gradient], torch.full_like(table[has_gradient], -0.01))
    assert not table[~has_gradient].any()


def test_result_does_not_depend_on_threads() -> None:
    shape = SHAPES[0]
    table, grad = torch.randn(shape.table_shape), torch.randn(shape.encoding_dim, 777)
    results = []
    for threads in (1, 3):
        kernels, gradient = CpuKernels(shape, threads), GridGradient(shape)
        kernels.backward_table(points(777), grad, gradient)
        results.append((kernels.encode(points(777), table), gradient.table))
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_factory_names_what_it_cannot_do() -> None:
    shape = SHAPES[0]
    assert make_kernels("auto", shape).name == "cpu"
    assert make_kernels("reference", shape).name == "reference"
    with pytest.raises(ValueError, match=r"field\.grid\.kernels"):
        make_kernels("cuda", shape)
    with pytest.raises(ValueError, match="power of two"):
        GridShape((0.1,), 1000, 2)
    with pytest.raises(ValueError, match="coarsest_cell_m"):
        grid_shape(4, 2, 10, 0.01, 0.1)


@pytest.mark.parametrize("log2_size", [14, 16, 19])
def test_mirrored_places_do_not_share_entries(log2_size: int) -> None:
    """A map has its origin where the robot started: all that is around it must be told apart."""
    side = torch.arange(1, 40, 2)
    blocks = 2 * torch.stack(torch.meshgrid(side, side, side, indexing="ij"), -1).reshape(-1, 3)
    place = hash_vertices(blocks, 1 << log2_size)
    for mirror in ([-1, -1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, 1]):
        mirrored = hash_vertices(blocks * torch.tensor(mirror), 1 << log2_size)
        assert (place == mirrored).float().mean() < 100 * 8 / (1 << log2_size)
