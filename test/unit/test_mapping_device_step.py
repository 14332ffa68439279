"""The training step for a GPU against the hand-written one for the processor, on every device."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from semantic_field.config import Config
from semantic_field.field.annotations import Annotation, AnnotationSet
from semantic_field.field.model import SemanticField, shape_of
from semantic_field.field.rays.device_sampling import (
    Placing,
    draw_rays_on_device,
    place_samples,
)
from semantic_field.field.rays.rays import Rays
from semantic_field.field.rays.sampling import draw_rays
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.kernels import make_kernels
from semantic_field.mapping import Mapper
from semantic_field.mapping.corrections.device_corrections import DeviceCorrections
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.training.device_step import DeviceTrainer
from semantic_field.mapping.training.disagreement import RayErrors
from semantic_field.mapping.training.factory import make_trainer, training_device
from semantic_field.mapping.training.step import Trainer
from semantic_field.settings import updated

HAS_GPU = torch.cuda.is_available()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not HAS_GPU, reason="no GPU"))]
CLASSES, NEAR, FREE, RAYS = 3, 4, 3, 64
SMALL = {
    "field.grid.levels": 3,
    "field.grid.log2_table_size": 10,
    "field.grid.finest_cell_m": 0.1,
    "field.latent_dim": 6,
    "field.geometry_dim": 5,
    "field.hidden_dim": 8,
    "field.truncation_m": 0.1,
    "field.voxel_m": 0.1,
    "mapping.rays_per_step": RAYS,
    "mapping.near_samples": NEAR,
    "mapping.free_samples": FREE,
    "mapping.memory_budget_mb": 16,
    "mapping.keyframe_translation_m": 0.0,
}


@pytest.fixture(params=DEVICES)
def device(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def one_thread():
    """Torch's threads only get into each other's way with so few numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(**more: object) -> Config:
    return updated(Config(), {**SMALL, **more})


def make_field(settings: Config, device: str = "cpu", kernels: str = "reference") -> SemanticField:
    torch.manual_seed(0)
    shape = shape_of(settings.field.grid)
    field = SemanticField(settings.field, CLASSES, make_kernels(kernels, shape, device))
    field.table.data.normal_(0, 0.3)
    return field.to(device)


def wall(step: int = 0, distance: float = 2.0, side: int = 24) -> Frame:
    """A wall with a box before it, seen from a place that moves sidewards; a hole in the depth."""
    camera = Camera(20.0, 22.0, 11.0, 12.5, side, side - 4)
    random = np.random.default_rng(step)
    depth = np.full((camera.height, camera.width), distance, np.float32)
    depth[4:9, 5:12], depth[12:15, 3:6] = 0.6 * distance, 0.0
    return Frame(
        stamp_ns=step,
        color=random.integers(0, 255, (camera.height, camera.width, 3), dtype=np.uint8),
        depth=depth,
        camera=camera,
        T_world_camera=make_transform(np.eye(3), [0.2 * step, 0.0, 0.0]),
        labels=random.integers(-1, CLASSES, depth.shape).astype(np.int32),
    )


def store_of(*frames: Frame) -> tuple[KeyframeStore, VoxelGrid]:
    camera = frames[0].camera
    store = KeyframeStore(camera.width, camera.height, 16, (0.1, 12.0))
    reach = VoxelGrid(0.1)
    for frame in frames:
        assert frame.labels is not None
        slot = store.add(frame, frame.labels.astype(np.int16))
        points, _, _ = store.surface(slot, 1, 0.1)
        reach.insert(points)
    return store, reach


def drawn(store: KeyframeStore, reach: VoxelGrid, settings: Config) -> Rays:
    mapping = settings.mapping
    slots = store.choose(RAYS, np.random.default_rng(0))
    samples = (mapping.near_samples, mapping.free_samples)
    return draw_rays(
        store.images, store.cameras, slots, reach, samples, settings.field.truncation_m,
        mapping.min_depth_m, mapping.guess_trust, seed=1,
    )  # fmt: skip


PLACING = Placing((NEAR, FREE), 0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"mapping.color_shapes_geometry": False, "mapping.labels_shape_geometry": False},
    ],
    ids=["everything shapes", "nothing shapes"],
)
def test_losses_and_gradients_are_the_processors(device: str, more: dict) -> None:
    settings = config(**more)
    rays = drawn(*store_of(wall(), wall(1)), settings)
    latents = torch.randn(CLASSES, 6)
    by_hand = Trainer(make_field(settings), settings.mapping)
    on_device = DeviceTrainer(make_field(settings, device), settings.mapping)
    for trainer in (by_hand, on_device):
        trainer.class_latents, trainer.rank = latents, 4
    expected, found = (t.find_gradients(rays).values() for t in (by_hand, on_device))
    assert found.keys() == expected.keys() and len(found) == 6
    for name, loss in expected.items():
        assert loss > 0
        assert found[name] == pytest.approx(loss, rel=1e-4), name
    expected = by_hand.gradient.table
    torch.testing.assert_close(on_device.gradient.table.cpu(), expected, rtol=2e-3, atol=1e-4)
    assert torch.equal(on_device.gradient.touched.cpu(), by_hand.gradient.touched)
    twins = zip(by_hand.field.named_parameters(), on_device.field.parameters(), strict=True)
    for (name, one), other in twins:
        if name != "table":
            assert one.grad is not None and other.grad is not None
            torch.testing.assert_close(
                other.grad.cpu(), one.grad, rtol=2e-3, atol=3e-4, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_pixels_are_read_as_the_processor_reads_them(device: str) -> None:
    """Holes, masked pixels, images of another size, readings that count less with distance."""
    store, reach = store_of(wall(), wall(1), wall(2, side=20))
    store.mask(0, np.arange(480) % 480 > 40)
    slots = store.choose(RAYS, np.random.default_rng(0))
    rays = draw_rays(
        store.images, store.cameras, slots, reach, (NEAR, FREE), 0.1, 0.1, 0.1, seed=1,
        depth_noise=0.003,
    )  # fmt: skip
    assert (rays.trust == 0).any() and ((rays.trust > 0.3) & (rays.trust < 0.9)).any()
    copied = DeviceKeyframes(store, device)
    copied.follow(store)
    voxels = DeviceVoxels.of(reach, device)
    placing = Placing((NEAR, FREE), 0.1, 0.1, 0.1, depth_noise=0.003)
    slots, pixel = rays.slot.to(device), rays.pixel.to(device)
    found = place_samples(copied.images, copied.cameras, slots, pixel, voxels, placing)
    for name in ("origin", "depth", "stretch", "trust", "color", "color_weight", "label"):
        torch.testing.assert_close(
            getattr(found, name).cpu(), getattr(rays, name), rtol=1e-5, atol=1e-6
        )
    torch.testing.assert_close(found.ends().cpu(), rays.ends(), rtol=1e-4, atol=1e-5)
    assert found.points.shape == rays.points.shape and found.near_z.shape == rays.near_z.shape
    drawn = draw_rays_on_device(
        copied.images, copied.cameras, copied.contours, slots * 0, voxels, placing
    )
    # of 480 pixels 41 are not masked: seven tries find one of them in 46 % of all cases
    assert 0.2 < (drawn.pixel <= 40).float().mean() < 0.75
    along = [
        (r.near_points.view(RAYS, NEAR, 3) - r.origin[:, None]) / r.near_z[..., None]
        for r in (found.to("cpu"), rays)
    ]
    torch.testing.assert_close(along[0], along[1], rtol=1e-3, atol=1e-4)


def test_samples_lie_where_they_should(device: str) -> None:
    """Near the surface in equal parts; before it where some surface was seen: a curtain, here."""
    store, reach = store_of(wall(), wall(1))
    curtain = np.random.default_rng(0).uniform([-1, -1, 0.82], [1.3, 1, 0.98], (20000, 3))
    reach.insert(curtain.astype(np.float32))
    copied = DeviceKeyframes(store, device)
    copied.follow(store)
    generator = torch.Generator(device).manual_seed(3)
    edges = Placing((NEAR, FREE), 0.1, 0.1, 0.1, contour_share=1.0)
    drawn = draw_rays_on_device(
        copied.images, copied.cameras, copied.contours, torch.ones(99, device=device).long(),
        DeviceVoxels.of(reach, device), edges, generator,
    )  # fmt: skip
    listed = store.contours.pixels[1, : store.contours.counts[1]]
    assert 0 < len(listed) < store.pixels and np.isin(drawn.pixel.cpu().numpy(), listed).all()
    given = torch.arange(99, device=device) - 50  # negative: a random one
    drawn = draw_rays_on_device(
        copied.images, copied.cameras, copied.contours, torch.ones(99, device=device).long(),
        DeviceVoxels.of(reach, device), PLACING, generator, given,
    )  # fmt: skip
    assert (drawn.pixel[given >= 0] == given[given >= 0]).all() and (drawn.pixel >= 0).all()
    slots = torch.arange(400, device=device) % 2
    rays = draw_rays_on_device(
        copied.images, copied.cameras, copied.contours, slots,
        DeviceVoxels.of(reach, device), PLACING, generator,
    )  # fmt: skip
    band = 0.1 / rays.stretch
    offset = rays.near_z - torch.where(rays.depth > 0, rays.depth, 4.0)[:, None]
    assert (offset.abs() <= band[:, None] * 1.001).all()
    place = (offset / band[:, None] + 1) / 2 * NEAR - torch.arange(NEAR, device=device)
    assert (place > -1e-3).all() and (place < 1 + 1e-3).all() and place.std() > 0.2
    free = rays.points[400 * NEAR :].view(400, FREE, 3)
    inside = reach.lookup(free.reshape(-1, 3).cpu().numpy()).reshape(400, FREE) > 0
    # The rays that spread samples evenly; the first sample may lie beside a nearer surface.
    assert 0.03 < (~inside[:, 1:]).any(1).mean() < 0.25
    processor = draw_rays(
        store.images, store.cameras, slots.cpu().numpy(), reach, (NEAR, FREE), 0.1, 0.1, 0.1, seed=5
    )
    same = reach.lookup(processor.points[400 * NEAR :].numpy()).reshape(400, FREE) > 0
    assert inside.mean() == pytest.approx(same.mean(), abs=0.05)
    z = free[..., 2].cpu().numpy()
    ends = (rays.depth - band).cpu().numpy()[:, None]
    assert ((z >= 0.1 - 1e-5) & (z <= ends + 1e-4))[rays.depth.cpu().numpy() > 0].all()
    assert (np.diff(z[:, 1:], axis=1) >= 0).all()


def test_voxels_are_looked_up_as_on_the_processor_while_they_grow(device: str) -> None:
    random = np.random.default_rng(0)
    grid, copied = VoxelGrid(0.07), DeviceVoxels(0.07, device)
    for spread in (0.5, 2.0, 9.0):
        grid.insert(random.normal(0, spread, (4000, 3)).astype(np.float32))
        version, before = grid.version, copied.room
        copied.load(grid)
        assert version == grid.version and copied.room >= before
        points = random.normal(0, spread, (5000, 3)).astype(np.float32)
        # a hair's breadth from a border the two may round to different sides
        clear = (np.abs(points / 0.07 - np.round(points / 0.07)) > 1e-3).all(1)
        found = copied.lookup(torch.from_numpy(points).to(device)).cpu().numpy()
        np.testing.assert_array_equal(found[clear], grid.lookup(points)[clear].astype(np.int16))
        assert found.any()


def test_keyframes_are_followed(device: str) -> None:
    """Added, given up and replaced ones, beyond the reserved slots."""
    store, _ = store_of(wall())
    copied = DeviceKeyframes(store, device, reserve=2)
    for step in range(1, 6):
        assert copied.is_behind(store)
        copied.follow(store)
        assert not copied.is_behind(store)
        frame = wall(step)
        store.add(frame, frame.labels.astype(np.int16))
        if step == 4:
            store.remove(1)
    copied.follow(store)
    assert copied.room >= store.count == 5
    colors, depths, labels = (t.cpu().numpy()[: store.count] for t in copied.images)
    np.testing.assert_array_equal(colors, store.images.colors[:5])
    np.testing.assert_array_equal(depths.view(np.uint16), store.images.depths[:5])
    np.testing.assert_array_equal(labels, store.images.labels[:5])
    for found, expected in zip(copied.cameras, store.cameras, strict=True):
        np.testing.assert_array_equal(found.cpu().numpy()[:5], expected[:5])


def test_views_find_the_keyframes_on_the_device_while_they_are_complete(device: str) -> None:
    settings = config()
    field = make_field(settings, device, "auto" if device == "cuda" else "reference")
    trainer = DeviceTrainer(field, settings.mapping)
    store, reach = store_of(wall())
    assert trainer.keyframes_here(store) is None
    trainer.step(store, reach)
    copied = trainer.keyframes_here(store)
    assert copied is not None
    copied.wait()
    assert np.array_equal(copied.images.labels[0].cpu().numpy(), store.images.labels[0])
    frame = wall(1)
    store.add(frame, frame.labels.astype(np.int16))
    assert trainer.keyframes_here(store) is None
    trainer.step(store, reach)
    assert trainer.keyframes_here(store) is not None
    assert Trainer(make_field(settings), settings.mapping).keyframes_here(store) is None


def test_steps_learn_while_everything_grows(device: str) -> None:
    """Keyframes, classes, class latents and the table between steps; what can be learnt is."""
    settings = config(**{"mapping.learning_rate": 0.01})
    field = make_field(settings, device, "auto" if device == "cuda" else "reference")
    field.kernels = field.kernels.with_shape(field.kernels.shape.with_sizes((512,) * 3))
    field.table.data[:, 512:] = 0.0
    trainer = DeviceTrainer(field, settings.mapping)
    trainer.class_latents, trainer.rank = torch.randn(CLASSES, 6), 4
    store, reach = store_of(wall())
    voxels = VoxelGrid(0.1, with_errors=True)
    voxels.insert(store.surface(0, 1, 0.1)[0])
    losses = []
    for step in range(81):
        if step == 20:
            frame = wall(1)
            slot = store.add(frame, frame.labels.astype(np.int16))
            for grid in (reach, voxels):
                grid.insert(store.surface(slot, 1, 0.1)[0])
        if step == 30:
            trainer.grow_classes(CLASSES + 1)
            trainer.class_latents, trainer.rank = torch.randn(CLASSES + 1, 6), 5
        if step == 40:
            trainer.grow_table(field.kernels.shape.with_sizes((1024,) * 3))
        if step == 50:
            trainer.steps += 200  # only then do rays tell where images and map disagree
        trainer.step(store, reach, voxels)
        losses.append(trainer.losses.get("distance", np.nan))
    trainer.settle()
    assert trainer.steps == 281 and trainer.rays == 81 * RAYS
    assert losses[-1] < 0.6 * losses[40]
    assert trainer.losses.keys() == {
        "distance",
        "free_space",
        "depth",
        "color",
        "label",
        "language",
    }
    assert field.label_head.weight.shape[0] == CLASSES + 1
    assert field.kernels.shape.level_sizes == (1024,) * 3 and field.table[:, 512:].any()
    assert store.visits[:2].min() > 0 and store.learnt["error"][:2].min() > 0
    seen, errors = voxels.counts > 0, voxels.errors
    assert (errors[seen].min(1) > 0).mean() > 0.1 and errors[~seen].any(1).mean() < 1e-3


def test_other_weights_count_from_the_next_step(device: str) -> None:
    """On a GPU the step was captured with the weights before."""
    settings = config()
    field = make_field(settings, device, "auto" if device == "cuda" else "reference")
    trainer = DeviceTrainer(field, settings.mapping)
    trainer.class_latents, trainer.rank = torch.randn(CLASSES, 6), 4
    store, reach = store_of(wall())
    for _ in range(8):
        trainer.step(store, reach)
    trainer.settle()
    assert trainer.losses["color"] > 0
    trainer.set_config(updated(settings.mapping, {"color_weight": 0.0}))
    for _ in range(8):
        trainer.step(store, reach)
    trainer.settle()
    assert trainer.losses["color"] == 0 < trainer.losses["distance"]


def test_a_map_trained_on_a_device_is_read_and_resumed_elsewhere(
    device: str, monkeypatch, tmp_path
) -> None:
    if device == "cpu":
        monkeypatch.setattr("semantic_field.mapping.live_map.make_trainer", DeviceTrainer)
    mapper = Mapper(config(**{"mapping.device": device}))
    for step in range(3):
        assert mapper.add_frame(wall(step))
    mapper.train_steps(20)
    assert isinstance(mapper.live_map.trainer, DeviceTrainer) and mapper.status().device == device
    state = mapper.snapshot()
    assert state.field.table.device.type == "cpu" and state.field.kernels.name == "cpu"
    assert state.field.table.any() and mapper.snapshot() is state
    frame = wall(1)
    view = mapper.render(frame.camera, frame.T_world_camera)
    assert view.depth.shape == frame.depth.shape
    mapper.save(tmp_path / "map")
    monkeypatch.undo()
    other = Mapper(config(**{"mapping.device": "cpu"}))
    other.load(tmp_path / "map")
    assert type(other.live_map.trainer) is Trainer and other.live_map.trainer.steps == 20
    torch.testing.assert_close(other.live_map.field.table, mapper.live_map.field.table.cpu())
    for one, two in zip(
        vars(other.live_map.trainer.moments).values(),
        vars(mapper.live_map.trainer.moments).values(),
        strict=True,
    ):
        assert one.any()
        torch.testing.assert_close(one, two.cpu())
    other.train_steps(2)
    assert sum(other.live_map.trainer.losses.values()) < 1.5 * sum(
        mapper.live_map.trainer.losses.values()
    )


class NoHost(TorchDispatchMode):
    """Notes every operation that brings tensors of the host to the device or the other way."""

    def __init__(self) -> None:
        super().__init__()
        self.crossed: list[str] = []
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        self.operations += 1
        if any(t.device.type != "meta" for t in tensors):
            self.crossed.append(str(func))
        return result


class WithoutGrid(DeviceTrainer):
    """The kernels of the grid have tests of their own; plain torch's do ask the device."""

    def _encode(self, points: Tensor) -> Tensor:
        return torch.empty(12, len(points), device=points.device).requires_grad_()

    def _backward_grid(self, points: Tensor, grad: Tensor) -> None:
        assert grad.shape == (12, len(points))


def annotations_of(settings: Config) -> Corrections:
    """Everything within half a metre of the middle of the first view's box is a mug."""
    cells = np.stack(np.meshgrid(*[np.arange(-25, 25)] * 3), -1).reshape(-1, 3)
    cells = (cells + [0, 0, 60]).astype(np.int32)
    ids = np.full(len(cells), 1, np.int32)
    entry = Annotation(1, "box", "mug", 0, 1, cells, ids)
    table = ClassTable()
    table.set_names({1: "mug", 2: "wall"})
    corrections = Corrections(settings.mapping)
    corrections.follow(AnnotationSet().extended(entry), table)
    corrections.focus(cells, 0)
    return corrections


def test_nothing_in_a_step_waits_for_the_device() -> None:
    """A CUDA graph takes no operation whose result the host reads, and no copy from its memory.

    Tensors of the device "meta" have no contents: whatever reads them raises.
    """
    settings = config()
    store, _ = store_of(wall(), wall(1))
    trainer = WithoutGrid(make_field(settings), settings.mapping)
    trainer.field.to("meta")
    trainer.device = torch.device("meta")
    trainer.class_latents, trainer.rank = torch.zeros(CLASSES, 6), 4
    copied, voxels = DeviceKeyframes(store, "meta"), DeviceVoxels(0.1, "meta")
    slots = torch.zeros(RAYS, dtype=torch.int64, device="meta")
    placing = Placing((NEAR, FREE), 0.1, 0.1, 0.1, 0.3)
    annotated = DeviceCorrections(torch.device("meta"))
    corrections = annotations_of(settings)
    annotated.follow(corrections, store, copied.room)
    with NoHost() as mode:
        rays = draw_rays_on_device(
            copied.images, copied.cameras, copied.contours, slots, voxels, placing
        )
        annotated.apply(rays)
        found = trainer.find_gradients(rays)
        RayErrors.of(rays, found.depth_error, found.color_error).packed()
    assert len(found.losses) == 6 and mode.operations > 100
    assert trainer.field.trunk_in.weight.grad is not None
    assert not mode.crossed


IN_A_STEP = {
    "seed": 1,
    "rays_per_step": 2 * RAYS,
    "contour_share": 1.0,
    "near_samples": NEAR + 1,
    "free_samples": FREE + 1,
    "learning_rate": 0.5,
    "network_rate": 0.9,
    "decay_rays": 10.0,
    "color_weight": 1.0,
    "depth_weight": 9.0,
    "distance_weight": 1.0,
    "free_space_weight": 1.0,
    "label_weight": 9.0,
    "language_weight": 9.0,
    "labelled_share": 1.0,
    "class_balance": 1.0,
    "stream_label_weight": 9.0,
    "labels_shape_geometry": False,
    "color_shapes_geometry": False,
    "guess_trust": 1.0,
    "min_depth_m": 0.5,
    "depth_noise": 0.05,
    "replay_by_error": 1.0,
    "refine_poses": "on",
    "pose_rate": 1e-2,  # this one and the two below with ``refine_poses``
    "pose_max_shift_m": 1e-4,
    "pose_max_turn_deg": 1e-3,
    "adapt_exposure": "on",
    "annotation_weight": 9.0,
    "annotation_share": 1.0,
    "annotation_rays": 0.0,
}
BEFORE_THE_STEP = {  # of what is taken in on the processor, and of views
    "vote_on_noise", "max_depth_m", "max_image_width", "keyframe_translation_m",
    "keyframe_rotation_rad", "drop_veils", "forget_moved", "memory_budget_mb",
    "vertices_per_entry", "device", "threads", "max_speed_mps", "annotation_cell_m", "appearance",
}  # fmt: skip


def learnt_with(make: type[Trainer], device: str, **more: object) -> Tensor:
    """The table after 24 steps on annotated walls with labels, guesses and a jump of the depth."""
    settings = config(**{f"mapping.{name}": value for name, value in more.items()})
    trainer = make(make_field(settings, device), settings.mapping)
    torch.manual_seed(1)
    trainer.class_latents, trainer.rank = torch.randn(CLASSES, 6), 4
    store, reach = store_of(wall(), wall(1), wall(2))
    store.images.depths[:, 5:40] |= 1 << 15  # guesses
    voxels = VoxelGrid(0.1, with_errors=True)
    trainer.steps = 1000  # errors are noted
    store.learnt["error"][:3] = 0.1, 0.2, 5.0
    corrections = annotations_of(settings)
    for _ in range(24):
        trainer.step(store, reach, voxels, corrections)
    trainer.settle()
    return trainer.field.table.detach().cpu()


def test_every_setting_of_mapping_has_its_place() -> None:
    names = {item.name for item in fields(Config().mapping)}
    assert names == IN_A_STEP.keys() | BEFORE_THE_STEP


@pytest.mark.parametrize("make", [Trainer, DeviceTrainer])
def test_every_setting_of_a_step_counts_in_it(make: type[Trainer]) -> None:
    """None may be accepted and ignored, on whichever device."""
    usual = {}
    for refined in ("off", "on"):
        usual[refined] = learnt_with(make, "cpu", refine_poses=refined)
        again = learnt_with(make, "cpu", refine_poses=refined)
        torch.testing.assert_close(again, usual[refined], rtol=0, atol=0)
    ignored = []
    for name, value in IN_A_STEP.items():
        refined = "on" if name.startswith("pose_") else "off"
        settings = {"refine_poses": refined, name: value}
        if torch.equal(learnt_with(make, "cpu", **settings), usual[refined]):
            ignored.append(name)
    assert not ignored


def test_the_device_is_chosen_once() -> None:
    settings = config()
    auto = training_device(settings)
    assert auto.type == ("cuda" if HAS_GPU else "cpu")
    on_cpu = config(**{"mapping.device": "cpu"})
    assert training_device(on_cpu).type == "cpu"
    assert training_device(config(**{"field.grid.kernels": "cpu"})).type == "cpu"
    assert type(make_trainer(make_field(settings), settings.mapping)) is Trainer
    if not HAS_GPU:
        with pytest.raises(ValueError, match=r"mapping\.device"):
            training_device(config(**{"mapping.device": "cuda"}))
    status = Mapper(on_cpu).status()
    assert (status.kernels, status.device) == ("cpu", "cpu")
