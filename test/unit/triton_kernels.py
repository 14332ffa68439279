"""Cases of the Triton kernels against the plain torch ones; ``test_kernels_triton.py`` runs them.

They need a process of their own: on the GPU where there is one, else under Triton's interpreter,
which is chosen by an environment variable before Triton is imported.
"""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_field.config import Config
from semantic_field.field.annotations import Annotation, AnnotationSet
from semantic_field.field.model import SemanticField, shape_of
from semantic_field.field.rays.device_sampling import Placing, draw_rays_on_device
from semantic_field.field.rays.keyframe_arrays import DeviceImages, KeyframeCameras
from semantic_field.field.rays.rays import Rays
from semantic_field.field.rays.sampling import GUESSED
from semantic_field.field.views.device_asking import ask_in_torch, ask_in_triton
from semantic_field.field.views.device_pixels import TorchBlend, TritonBlend
from semantic_field.field.views.device_seeing import DeviceLenses
from semantic_field.field.views.device_sources import DeviceSources
from semantic_field.field.views.ray_tracers import TritonTracer, WaveTracer
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.kernels import GridGradient, GridMoments, GridShape, grid_shape, make_kernels
from semantic_field.kernels.cuda import CudaKernels
from semantic_field.kernels.reference import ReferenceKernels
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.training.device_step import DeviceTrainer
from semantic_field.settings import updated

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
SHAPES = [
    grid_shape(3, 4, 9, 0.5, 0.03),
    grid_shape(3, 2, 6, 0.4, 0.1),  # 64 entries: nearly every vertex collides
    grid_shape(2, 3, 8, 0.4, 0.1),  # features that are no power of two
    grid_shape(1, 1, 8, 0.25, 0.25),
    grid_shape(3, 4, 9, 0.5, 0.05).with_sizes((32, 128, 512)),
]


def scattered(n: int, seed: int = 0) -> Tensor:
    """Random points on both sides of the origin, some of them exactly on cell borders."""
    generator = torch.Generator().manual_seed(seed)
    points = 6.0 * torch.rand(n, 3, generator=generator) - 3.0
    points[::7] = (points[::7] * 4).round() / 4
    return points.to(DEVICE)


def along_rays(n: int) -> Tensor:
    """Points a millimetre apart on a few lines: most of a block share their cells."""
    t = torch.arange(n)
    direction = torch.tensor([0.36, -0.48, 0.8])
    origin = torch.stack([t // 97 * 0.01, t // 97 * -0.02, torch.ones(n)], -1)
    return (origin + (t % 97)[:, None] * 1e-3 * direction).float().to(DEVICE)


def far_away(n: int) -> Tensor:
    """Half a kilometre from the origin, on all sides: large and negative coordinates."""
    return scattered(n) + 500.0 * scattered(n, seed=1).sign()


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


STEP = updated(
    Config(),
    {
        "field.grid.levels": 3, "field.grid.log2_table_size": 10, "field.grid.finest_cell_m": 0.1,
        "field.latent_dim": 6, "field.geometry_dim": 5, "field.hidden_dim": 8,
        "mapping.rays_per_step": 64,
    },
)  # fmt: skip


def recorded() -> tuple[KeyframeStore, VoxelGrid]:
    """A slanted wall seen from two places."""
    camera = Camera(20.0, 20.0, 11.5, 9.5, 24, 20)
    store, reach = KeyframeStore(24, 20, 1, (0.1, 12.0)), VoxelGrid(0.1)
    for step in range(2):
        random = np.random.default_rng(step)
        depth = np.linspace(1.0, 2.0, 24, dtype=np.float32) + np.zeros((20, 1), np.float32)
        color = random.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        pose = make_transform(np.eye(3), [0.1 * step, 0.0, 0.0])
        labels = random.integers(-1, 3, (20, 24)).astype(np.int16)
        slot = store.add(Frame(step, color, depth, camera, pose), labels)
        reach.insert(store.surface(slot, 1, 0.1)[0])
    return store, reach


def some_rays() -> Rays:
    store, reach = recorded()
    copied = DeviceKeyframes(store, DEVICE)
    copied.follow(store)
    slots = torch.arange(64, device=DEVICE) % 2
    placing = Placing((4, 3), STEP.field.truncation_m, 0.1, 0.1)
    voxels, generator = DeviceVoxels.of(reach, DEVICE), torch.Generator(DEVICE).manual_seed(0)
    images = (copied.images, copied.cameras, copied.contours)
    return draw_rays_on_device(*images, slots, voxels, placing, generator)


def shape_name(shape: GridShape) -> str:
    return f"{shape.levels}x{shape.features}x{shape.level_sizes}"


@pytest.fixture(params=SHAPES, ids=shape_name)
def shape(request) -> GridShape:
    return request.param


def both(shape: GridShape) -> tuple[CudaKernels, ReferenceKernels]:
    return CudaKernels(shape, device=DEVICE), ReferenceKernels(shape)


@pytest.mark.parametrize("n", [0, 1, 131])
def test_encode_is_the_reference(shape: GridShape, n: int) -> None:
    cuda, reference = both(shape)
    table, x = normal(*shape.table_shape), scattered(n)
    found = cuda.encode(x, table)
    assert found.shape == (shape.encoding_dim, n)
    torch.testing.assert_close(found, reference.encode(x, table), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", [along_rays, far_away])
def test_coherent_and_distant_points(place) -> None:
    cuda, reference = both(SHAPES[0])
    table, x = normal(*SHAPES[0].table_shape), place(150)
    grad = normal(SHAPES[0].encoding_dim, 150, seed=2)
    # GPUs fuse the products that place a point in its cell: at 500 m that is 1/1000 of a cell
    torch.testing.assert_close(
        cuda.encode(x, table), reference.encode(x, table), rtol=1e-3, atol=3e-2
    )
    found, expected = GridGradient(SHAPES[0], DEVICE), GridGradient(SHAPES[0], DEVICE)
    cuda.backward_table(x, grad, found)
    reference.backward_table(x, grad, expected)
    torch.testing.assert_close(found.table, expected.table, rtol=1e-3, atol=3e-2)
    assert torch.equal(found.touched, expected.touched)


@pytest.mark.parametrize("n", [0, 1, 131])
def test_gradients_are_the_reference(shape: GridShape, n: int) -> None:
    cuda, reference = both(shape)
    table, grad = normal(*shape.table_shape), normal(shape.encoding_dim, n, seed=2)
    x = scattered(n)
    found, expected = GridGradient(shape, DEVICE), GridGradient(shape, DEVICE)
    cuda.backward_table(x, grad, found)
    reference.backward_table(x, grad, expected)
    torch.testing.assert_close(found.table, expected.table, rtol=1e-4, atol=3e-4)
    assert torch.equal(found.touched, expected.touched)
    slopes = cuda.backward_points(x, table, grad)
    assert slopes.shape == (n, 3)
    torch.testing.assert_close(
        slopes, reference.backward_points(x, table, grad), rtol=1e-3, atol=1e-2
    )


def test_reduced_precision_stays_near_the_reference(shape: GridShape) -> None:
    """float16 tables and gradients round each entry to 11 bits, and so do sums of few."""
    cuda, reference = both(shape)
    table, grad = normal(*shape.table_shape), 1e-6 * normal(shape.encoding_dim, 60, seed=2)
    x = scattered(60)
    half = table.half()
    expected = reference.encode(x, half.float())
    torch.testing.assert_close(cuda.encode(x, half), expected, rtol=1e-4, atol=1e-4)
    features = torch.empty(shape.encoding_dim, 60, dtype=torch.float16, device=DEVICE)
    torch.testing.assert_close(
        cuda.encode(x, half, out=features).float(), expected, rtol=1e-3, atol=1e-3
    )
    slopes = reference.backward_points(x, half.float(), grad)
    torch.testing.assert_close(cuda.backward_points(x, half, grad), slopes, rtol=1e-3, atol=1e-8)
    found = GridGradient(shape, DEVICE, torch.float16, scale=2.0**20)
    exact = GridGradient(shape, DEVICE)
    cuda.backward_table(x, grad, found)
    reference.backward_table(x, grad, exact)
    torch.testing.assert_close(found.table.float() / found.scale, exact.table, rtol=2e-2, atol=2e-8)
    assert torch.equal(found.touched, exact.touched)


def test_table_gradient_adds_up_over_calls() -> None:
    cuda, _ = both(SHAPES[0])
    once, twice = GridGradient(SHAPES[0], DEVICE), GridGradient(SHAPES[0], DEVICE)
    grad = normal(SHAPES[0].encoding_dim, 100)
    cuda.backward_table(scattered(100), grad, once)
    cuda.backward_table(scattered(100), 0.25 * grad, twice)
    cuda.backward_table(scattered(100), 0.75 * grad, twice)
    torch.testing.assert_close(twice.table, once.table, rtol=1e-4, atol=1e-5)
    assert torch.equal(twice.touched, once.touched)


def test_points_without_gradient_touch_nothing() -> None:
    cuda, _ = both(SHAPES[0])
    gradient = GridGradient(SHAPES[0], DEVICE)
    cuda.backward_table(scattered(50), torch.zeros(SHAPES[0].encoding_dim, 50).to(DEVICE), gradient)
    assert not gradient.touched.any()
    assert not gradient.table.any()


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize(("steps", "n"), [(1, 1), (3, 41)])
def test_adam_is_the_reference(shape: GridShape, steps: int, n: int, half: bool) -> None:
    """Both optimisers get the same gradient, the float16 one scaled."""
    kernels = both(shape)
    tables = [normal(*shape.table_shape) for _ in kernels]
    dtype, scale = (torch.float16, 1024.0) if half else (torch.float32, 1.0)
    gradients = [GridGradient(shape, DEVICE, dtype, scale), GridGradient(shape, DEVICE)]
    moments = [GridMoments(shape, DEVICE) for _ in kernels]
    for step in range(1, steps + 1):
        grad = 1e-3 * normal(shape.encoding_dim, n, seed=step)
        kernels[0].backward_table(scattered(n, seed=step), grad, gradients[0])
        gradients[1].table.copy_(gradients[0].table.float() / scale)
        for kernel, table, gradient, moment in zip(
            kernels, tables, gradients, moments, strict=True
        ):
            kernel.adam_step(table, gradient, moment, step, 0.01)
    torch.testing.assert_close(tables[0], tables[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moments[0].first, moments[1].first, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(moments[0].second, moments[1].second, rtol=1e-4, atol=1e-12)
    assert not gradients[0].table.any()
    assert not gradients[0].touched.any()


def test_without_points_nothing_moves() -> None:
    shape = SHAPES[0]
    cuda, _ = both(shape)
    gradient, moments = GridGradient(shape, DEVICE), GridMoments(shape, DEVICE)
    table = torch.ones(shape.table_shape, device=DEVICE)
    cuda.backward_table(scattered(0), normal(shape.encoding_dim, 0), gradient)
    cuda.adam_step(table, gradient, moments, 1, 0.25)
    assert (table == 1).all() and not moments.second.any()


def test_first_step_moves_by_the_learning_rate_and_the_working_copy_follows() -> None:
    """By hand: Adam's first step is the learning rate for every element with a gradient."""
    shape = SHAPES[0]
    cuda, _ = both(shape)
    gradient, moments = GridGradient(shape, DEVICE), GridMoments(shape, DEVICE)
    table = torch.ones(shape.table_shape, device=DEVICE)
    working = torch.full(shape.table_shape, 7.0, dtype=torch.float16, device=DEVICE)
    cuda.backward_table(scattered(1), torch.ones(shape.encoding_dim, 1).to(DEVICE), gradient)
    moved, listed = gradient.table != 0, gradient.touched.repeat_interleave(4, dim=1) != 0
    cuda.adam_step(table, gradient, moments, 1, 0.25, working=working)
    assert 0 < moved.sum() <= 8 * shape.encoding_dim
    torch.testing.assert_close(table[moved], torch.full_like(table[moved], 0.75))
    assert (table[~moved] == 1).all()
    assert (working[moved] == 0.75).all()
    assert (working[listed] == table[listed].half()).all()
    assert (working[~listed] == 7).all()


def test_a_sum_that_left_the_range_of_float16_moves_nothing() -> None:
    shape = SHAPES[0]
    cuda, _ = both(shape)
    gradient = GridGradient(shape, DEVICE, torch.float16)
    moments, table = GridMoments(shape, DEVICE), torch.ones(shape.table_shape, device=DEVICE)
    gradient.table[1, 8] = torch.tensor([float("inf"), float("nan"), 1.0, 0.0])
    gradient.touched[1, 2] = 1
    cuda.adam_step(table, gradient, moments, 1, 0.25)
    torch.testing.assert_close(table[1, 8].cpu(), torch.tensor([1.0, 1.0, 0.75, 1.0]))
    assert moments.first.isfinite().all() and moments.second.isfinite().all()
    assert not gradient.table.any()


def test_results_go_where_they_are_asked_for() -> None:
    shape = SHAPES[0]
    cuda, _ = both(shape)
    table, x, grad = normal(*shape.table_shape), scattered(9), normal(shape.encoding_dim, 9)
    features = torch.full((shape.encoding_dim, 9), float("nan"), device=DEVICE)
    slopes = torch.full((9, 3), float("nan"), device=DEVICE)
    assert cuda.encode(x, table, out=features) is features
    assert cuda.backward_points(x, table, grad, out=slopes) is slopes
    assert torch.equal(features, cuda.encode(x, table))
    assert torch.equal(slopes, cuda.backward_points(x, table, grad))


def test_rays_walk_as_in_torch() -> None:
    """To voxels near and far, along axes, past the map, from inside a voxel in use."""
    random = np.random.default_rng(0)
    grid = VoxelGrid(0.1)
    grid.insert(random.normal(0, 1.0, (1500, 3)).astype(np.float32))
    voxels = DeviceVoxels.of(grid, DEVICE)
    origin = normal(3, seed=4)
    directions = normal(300, 3, seed=5) - origin
    directions[:20, 0] = 0.0
    rays = torch.arange(0, 300, 2, device=DEVICE)
    found = torch.full((300,), 0.05, device=DEVICE)
    expected = found.clone()
    voxels.launch(origin, directions, found, 20.0, rays)
    voxels.walk(origin, directions, expected, 20.0, rays)
    assert (found[1::2] == 0.05).all()
    assert 0.1 < found.isfinite().float().mean() < 0.98
    same = found.isfinite() == expected.isfinite()
    assert same.float().mean() > 0.99
    near = (found - expected).abs() < 1e-3
    assert near[same & found.isfinite()].float().mean() > 0.99


def scene() -> tuple[DeviceSources, DeviceLenses, Tensor, Tensor, Tensor]:
    """Keyframes of two sizes with random images; directions (3, N), depths (N,) and normals (3, N)
    of points before and behind cameras, outside images, and of none."""
    random, (K, N, room) = np.random.default_rng(1), (4, 700, 450)
    sizes = np.array([[22, 20], [20, 14], [22, 20], [20, 14]])
    poses = np.tile(np.eye(4), (K, 1, 1))
    poses[:, :3, 3] = random.normal(0, 0.2, (K, 3))
    poses[3, :3, :3] *= np.array([-1, 1, -1])  # looks back
    intrinsics = np.concatenate([np.full((K, 2), 18.0), (sizes - 1) / 2], 1)
    depths = (2000 * random.normal(2, 0.1, (K + 1, room))).astype(np.uint16)  # one image of none
    depths[random.random(depths.shape) < 0.1] = 0
    depths[random.random(depths.shape) < 0.1] |= GUESSED
    arrays = (
        random.integers(0, 256, (K + 1, room, 3), np.uint8),
        depths.view(np.int16),
        random.integers(-2, 3, depths.shape).astype(np.int16),
    )
    sources = DeviceSources(
        images=DeviceImages(*(torch.from_numpy(array).to(DEVICE) for array in arrays)),
        slots=np.array([2, 0, 4, 1]),
        cameras=KeyframeCameras(intrinsics.astype(np.float32), poses.astype(np.float32), sizes),
        exposures=np.tile([1.0, 0.0], (K, 3, 1)),
        stamps_ns=np.arange(K),
        class_ids=np.array([5, 9, 5], np.int32),
    )
    trust = torch.linspace(0.5, 1.0, K, device=DEVICE)[:, None]
    directions, z = random.normal(0, 0.25, (3, N)), random.normal(2, 0.05, N)
    directions[2], z[::9] = 1, 0
    normals = random.normal(0, 0.4, (3, N)) - [[0.0], [0.0], [1.0]]
    normals /= np.linalg.norm(normals, axis=0)
    given = (torch.from_numpy(a.astype(np.float32)).to(DEVICE) for a in (directions, z, normals))
    lenses = sources.lenses(np.eye(4))
    return sources, DeviceLenses(*lenses[:-1], trust), *given


@pytest.mark.parametrize("doubted", [0.0, 0.1])
def test_keyframes_are_asked_as_in_torch(doubted: float) -> None:
    sources, lenses, directions, z, normals = scene()
    arguments = (directions * z, normals, lenses, sources.images, sources.slots_here(), 25.0)
    sure = ask_in_torch(*arguments)
    arguments = (*arguments, doubted)
    found, expected = ask_in_triton(*arguments), ask_in_torch(*arguments)
    seen = expected.votes > 0
    assert 0.1 < seen[:3].float().mean() < 0.9 and not seen[3].any()
    assert (expected.past > 0).any() and (expected.off != 0).any()
    assert ((sure.votes == 0) & seen).any() == (doubted > 0)
    for name in ("shown", "votes", "past", "off", "facing"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (torch.isclose(one, other, rtol=1e-3, atol=1e-5)).float().mean() > 0.998, name
    assert (found.index == expected.index)[seen].float().mean() > 0.998


def test_pixels_are_blended_as_in_torch() -> None:
    sources, lenses, directions, z, normals = scene()
    random = np.random.default_rng(2)
    color = torch.from_numpy(random.integers(0, 256, (len(z), 3), np.uint8)).to(DEVICE)
    label = torch.from_numpy(random.integers(4, 7, len(z)).astype(np.int32)).to(DEVICE)
    exposures = normal(4, 3, 2, seed=7) * 0.1 + torch.tensor([1.0, 4.0], device=DEVICE)
    asked = partial(
        ask_in_torch, lenses=lenses, images=sources.images, slots=sources.slots_here(), focal=25.0
    )
    given, pixels = (sources, lenses, exposures, asked), (directions, z, normals, color, label)
    found, expected = TritonBlend(*given)(*pixels), TorchBlend(*given)(*pixels)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
    assert (found[0] - expected[0]).abs().max() < 1e-4
    assert (expected[0] != z).float().mean() > 0.3 and (expected[2] != label).float().mean() > 0.1
    apart = (found[1].int() - expected[1].int()).abs().amax(1)
    assert (apart <= 1).float().mean() > 0.995
    assert ((expected[1].int() - color.int()).abs().amax(1) > 8).float().mean() > 0.3
    assert (found[2] == expected[2]).float().mean() > 0.998
    assert ((found[3] - expected[3]).abs() < 1e-3).float().mean() > 0.998
    nothing = z == 0
    assert not found[3][nothing].any() and torch.equal(found[1][nothing], color[nothing])


@pytest.mark.parametrize("shape", SHAPES[2::2])
def test_rays_are_traced_as_in_torch(shape: GridShape) -> None:
    """A field of random waves: rays hit fronts, graze, start inside, and miss."""
    config = updated(Config(), {"field.hidden_dim": 20, "field.truncation_m": 0.2}).field
    kernels, _ = both(shape)
    torch.manual_seed(3)
    field = SemanticField(config, 0, kernels).to(DEVICE).requires_grad_(False)
    field.table.normal_(0, 0.6)
    at_random = field.distance(normal(500, 3)) / config.truncation_m
    field.trunk_out.weight[0] *= 0.6 / at_random.std()
    field.trunk_out.bias[0] += 0.5 - field.distance(normal(500, 3)).mean() / config.truncation_m
    grid = VoxelGrid(0.1)
    random = np.random.default_rng(0)
    grid.insert(random.normal(0, 0.6, (6000, 3)).astype(np.float32))
    voxels = DeviceVoxels.of(grid, DEVICE)
    pose = normal(4, 4, seed=4)  # whose last column does not lie side by side
    directions = normal(80, 3, seed=5) - 2.0 * pose[:3, 3]
    pose[:3, 3] *= 2.0
    found, expected = (
        tracer(field).trace(pose[:3, 3], directions, voxels, 0.05, 20.0)
        for tracer in (TritonTracer, WaveTracer)
    )
    assert 0.2 < expected.isfinite().float().mean() < 0.95
    same = found.isfinite() == expected.isfinite()
    assert same.float().mean() > 0.97
    away = (found - expected).abs()[same & found.isfinite()]
    assert (away < 1e-3).float().mean() > 0.97


def test_a_training_step_in_float16_is_the_one_in_float32() -> None:
    """Losses and gradients of the device's step with these kernels against plain torch ones."""
    rays = some_rays()
    steps, losses = {}, {}
    for name, kernels in zip(("cuda", "reference"), both(shape_of(STEP.field.grid)), strict=True):
        torch.manual_seed(0)
        field = SemanticField(STEP.field, 3, kernels).to(DEVICE)
        field.table.data.copy_(normal(*field.table.shape, seed=6))
        steps[name] = trainer = DeviceTrainer(field, STEP.mapping)
        trainer.class_latents, trainer.rank = normal(3, STEP.field.latent_dim), 4
        losses[name] = torch.stack(list(trainer.find_gradients(rays).losses.values()))
    cuda, reference = steps["cuda"], steps["reference"]
    assert cuda.gradient.table.dtype == cuda.working_table.dtype == torch.float16
    torch.testing.assert_close(losses["cuda"], losses["reference"], rtol=1e-2, atol=1e-4)
    expected = reference.gradient.table
    error = cuda.gradient.table.float() / cuda.gradient.scale - expected
    assert error.norm() < 0.02 * expected.norm()
    written = cuda.gradient.table.view(*cuda.gradient.touched.shape, -1).any(-1)
    assert (cuda.gradient.touched[written] == 1).all() and written.any()
    assert (cuda.gradient.touched <= reference.gradient.touched).all()
    for one, other in zip(cuda.field.parameters(), reference.field.parameters(), strict=True):
        if one.grad is not None and other.grad is not None:
            assert (one.grad - other.grad).norm() < 0.02 * other.grad.norm() + 1e-6
    before = cuda.field.table.detach().clone()
    cuda.field.kernels.set_rates(1, 0.01)
    cuda.field.kernels.apply_adam(before, cuda.gradient, cuda.moments, cuda.working_table)
    moved = before != cuda.field.table
    assert moved.any() and torch.equal(cuda.working_table[moved], before[moved].half())


@pytest.mark.skipif(DEVICE == "cpu", reason="a CUDA graph needs a GPU")
def test_the_captured_training_step_is_the_plain_one() -> None:
    """Twenty steps, replayed and not, from the same random numbers; replays allocate nothing."""
    trainers = []
    for capturable in (True, False):
        torch.manual_seed(0)
        kernels = CudaKernels(shape_of(STEP.field.grid), device=DEVICE)
        trainer = DeviceTrainer(SemanticField(STEP.field, 3, kernels).to(DEVICE), STEP.mapping)
        trainer.graph.capturable = capturable
        trainer.class_latents, trainer.rank = normal(3, STEP.field.latent_dim), 4
        store, reach = recorded()
        for number in range(20):
            if number == 12:
                trainer.settle()
                before = torch.cuda.memory_stats()["allocation.all.allocated"]
            trainer.step(store, reach)
        trainer.settle()
        if capturable:
            assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
        trainers.append(trainer)
    one, other = (t.field.table.detach() for t in trainers)
    assert one.any() and (one - other).norm() < 0.1 * other.norm()


@pytest.mark.skipif(DEVICE == "cpu", reason="a CUDA graph needs a GPU, the interpreter minutes")
@pytest.mark.parametrize("capturable", [True, False])
def test_annotations_are_followed_by_captured_steps(capturable: bool) -> None:
    """Rays look at what was said while it is fresh, and learn it; captured anew for each change."""
    settings = updated(STEP.mapping, {"annotation_rays": 12.0 * 64, "labelled_share": 0.0})
    torch.manual_seed(0)
    kernels = CudaKernels(shape_of(STEP.field.grid), device=DEVICE)
    trainer = DeviceTrainer(SemanticField(STEP.field, 5, kernels).to(DEVICE), settings)
    trainer.graph.capturable = capturable
    store, reach = recorded()
    table = ClassTable()
    table.set_names({1: "a", 2: "b", 3: "c", 4: "door"})
    cells = np.stack(np.meshgrid(*[np.arange(-80, 120)] * 2, np.arange(40, 110, 1)), -1)
    cells = cells.reshape(-1, 3).astype(np.int32)
    ids = np.full(len(cells), 4, np.int32)
    said = AnnotationSet().extended(Annotation(1, "box", "door", 0, 1, cells, ids))
    corrections, losses = Corrections(settings), []
    for number in range(60):
        if number == 8:
            corrections.follow(said, table)
            corrections.focus(cells[::5000], trainer.rays)
        trainer.step(store, reach, None, corrections)
        if number > 40:
            trainer.settle()
            losses.append(trainer.losses["label"])
    assert corrections.table is not None and not corrections.are_fresh(trainer.rays)
    scores = trainer.field.label_head(trainer.field.latent(torch.zeros(1, 5, device=DEVICE)))
    assert int(scores.argmax()) == 3  # whatever there is, it is a door
    assert np.mean(losses[-5:]) < losses[0] < np.log(5) * settings.annotation_weight


@pytest.mark.skipif(DEVICE == "cpu", reason="a CUDA graph needs a GPU")
def test_a_captured_step_is_the_step() -> None:
    """Six replays with falling rates against six plain steps; replays allocate nothing."""
    shape = SHAPES[0]
    cuda, _ = both(shape)
    x, grad = scattered(300), normal(shape.encoding_dim, 300)
    features = torch.empty(shape.encoding_dim, 300, device=DEVICE)
    tables = [normal(*shape.table_shape) for _ in range(2)]
    gradients = [GridGradient(shape, DEVICE) for _ in range(2)]
    moments = [GridMoments(shape, DEVICE) for _ in range(2)]

    def step(i: int) -> None:
        cuda.encode(x, tables[i], out=features)
        cuda.backward_table(x, grad, gradients[i])
        cuda.apply_adam(tables[i], gradients[i], moments[i])

    cuda.set_rates(1, 0.01)
    for i in range(2):
        step(i)  # compiles
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        step(0)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for number in range(2, 8):
        cuda.set_rates(number, 0.01 / number)
        graph.replay()
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
    for number in range(2, 8):
        cuda.set_rates(number, 0.01 / number)
        step(1)
    torch.testing.assert_close(tables[0], tables[1], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(DEVICE == "cpu", reason="the factory chooses these kernels for a GPU only")
def test_factory_chooses_these_kernels_on_a_gpu() -> None:
    for name in ("auto", "cuda"):
        assert isinstance(make_kernels(name, SHAPES[0], "cuda"), CudaKernels)
