"""Annotations, language from images, refined poses and exposures: one step on every device.

``DeviceTrainer`` is that of a GPU; without one it works on the processor, in the same way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_field.config import Config, LanguageConfig
from semantic_field.field.annotations import Annotation, AnnotationSet
from semantic_field.field.model import SemanticField, shape_of
from semantic_field.field.rays.rays import Rays
from semantic_field.field.rays.sampling import draw_rays
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.kernels import make_kernels
from semantic_field.mapping.corrections.device_corrections import DeviceCorrections
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.language.basis import LanguageBasis
from semantic_field.mapping.language.image_language import ImageLanguage
from semantic_field.mapping.language.language_losses import feature_loss, feature_loss_in_torch
from semantic_field.mapping.training.device_step import STEPS_PER_UPLOAD, DeviceTrainer
from semantic_field.mapping.training.step import Trainer
from semantic_field.settings import updated
from semantic_field.teachers.image_teachers import ImageTargets

HAS_GPU = torch.cuda.is_available()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not HAS_GPU, reason="no GPU"))]
CAMERA = Camera(40.0, 40.0, 15.5, 11.5, 32, 24)
DIM, RAYS, CLASSES = 6, 64, 4
SMALL = {
    "field.grid.levels": 3,
    "field.grid.log2_table_size": 10,
    "field.grid.finest_cell_m": 0.1,
    "field.latent_dim": DIM,
    "field.geometry_dim": 5,
    "field.hidden_dim": 8,
    "mapping.rays_per_step": RAYS,
    "mapping.memory_budget_mb": 32,
    "mapping.keyframe_translation_m": 0.0,
}
ON_THE_HOST = {"mapping.refine_poses": "on", "mapping.adapt_exposure": "on"}


@pytest.fixture(params=DEVICES)
def device(request) -> str:
    return request.param


def config(**more: object) -> Config:
    return updated(Config(), {**SMALL, **more})


def wall(step: int = 0, labels: bool = True) -> Frame:
    """A wall, blue on the left and red on the right, seen from places side by side."""
    depth = np.full((24, 32), 1.5, np.float32)
    depth[0, :4] = 0.0
    label = np.repeat([[0] * 16 + [1] * 16], 24, 0).astype(np.int32)
    color = np.random.default_rng(step + 5).integers(0, 60, (24, 32, 3), dtype=np.uint8)
    color[..., 2] += np.where(label == 0, 150, 0).astype(np.uint8)
    color[..., 0] += np.where(label == 1, 150, 0).astype(np.uint8)
    pose = make_transform(np.eye(3), [0.05 * step, 0.0, 0.0])
    return Frame(step, color, depth, CAMERA, pose, label if labels else None)


def recorded() -> tuple[KeyframeStore, VoxelGrid]:
    """Two views with labels, and one without."""
    store, reach = KeyframeStore(32, 24, 4, (0.1, 12.0)), VoxelGrid(0.1)
    for step in range(3):
        frame = wall(step, labels=step < 2)
        labels = None if frame.labels is None else frame.labels.astype(np.int16)
        slot = store.add(frame, labels)
        reach.insert(store.surface(slot, 1, 0.1)[0])
    return store, reach


def drawn(store: KeyframeStore, reach: VoxelGrid, settings: Config) -> Rays:
    slots = np.arange(RAYS) % store.count
    samples = settings.mapping.near_samples, settings.mapping.free_samples
    return draw_rays(
        store.images, store.cameras, slots, reach, samples, settings.field.truncation_m,
        0.1, 0.1, seed=1,
    )  # fmt: skip


def make(kind: type[Trainer], settings: Config, device: str = "cpu") -> Trainer:
    torch.manual_seed(0)
    kernels = make_kernels("reference", shape_of(settings.field.grid), device)
    field = SemanticField(settings.field, CLASSES, kernels)
    field.table.data.normal_(0, 0.3)
    return kind(field.to(device), settings.mapping)


class Teacher:
    dim, fingerprint = DIM, "test"

    def knows(self, text: str) -> bool:
        return True

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.eye(DIM)[: len(texts)]


def teach(trainer: Trainer, store: KeyframeStore, **more: object) -> ImageLanguage:
    """Let dense features, labels, and a patch of each of two keyframes be learnt."""
    basis = LanguageBasis(Teacher(), DIM)
    texts = basis.latents_of(["blue", "red", "green"])
    settings = {"fda_every": 1, "fda_side": 4, "fda_spacing": 2, "enhance_from": 0, **more}
    torch.manual_seed(3)
    language = ImageLanguage(LanguageConfig(**settings), basis, trainer.field, lambda: None)  # type: ignore[arg-type]
    language.set_vocabulary(texts)
    random = torch.Generator().manual_seed(4)
    for slot in range(2):
        embedding = torch.rand(2, 3, 4, DIM, generator=random)
        patches = torch.rand(3, 4, 7, generator=random)
        language.add(store, slot, ImageTargets(embedding, None, patches))
    weight = language.selection.weight
    weight.data.copy_(torch.randn(weight.shape, generator=random))
    trainer.language, trainer.rank = language, basis.rank
    return language


def test_every_loss_and_gradient_is_the_processors(device: str) -> None:
    """All that there is in one step: of colours as exposed, labels, language, points, for poses."""
    settings = config(**ON_THE_HOST)
    found, gradients = [], []
    for kind, where in ((Trainer, "cpu"), (DeviceTrainer, device)):
        store, reach = recorded()
        store.learnt["exposure"][:2] = [1.2, 0.05]
        trainer = make(kind, settings, where)
        trainer.class_latents = torch.eye(CLASSES, DIM)
        language = teach(trainer, store)
        rays, seen = drawn(store, reach, settings), language.seen(0, store)
        assert len(seen.chance) and len(seen.patch)
        trainer.steps = 1  # exposures are applied, and not learnt
        evaluation = trainer.find_gradients(rays, seen, store, for_poses=True)
        found.append(evaluation)
        head = language.selection.weight.grad
        assert head is not None and evaluation.point_grad is not None
        tensors = [trainer.gradient.table, head, evaluation.point_grad, evaluation.depth_error]
        tensors += [evaluation.color_error, *(p.grad for p in trainer.field.network_parameters())]
        gradients.append([t.cpu() for t in tensors if t is not None])
    expected, values = (evaluation.values() for evaluation in found)
    names = {"distance", "free_space", "depth", "color", "label", "language"}
    assert values.keys() == names | {"features", "relevancy", "new_views", "fda"}
    for name, value in expected.items():
        assert value != 0 and values[name] == pytest.approx(value, rel=1e-3), name
    for ours, theirs in zip(*gradients, strict=True):
        assert theirs.any()
        torch.testing.assert_close(theirs, ours, rtol=5e-3, atol=3e-4)


def test_language_of_images_moves_no_pose(device: str) -> None:
    store, reach = recorded()
    settings = config(**ON_THE_HOST)
    trainer = make(DeviceTrainer, settings, device)
    trainer.class_latents = torch.eye(CLASSES, DIM)
    language = teach(trainer, store)
    rays, grads = drawn(store, reach, settings), []
    trainer.steps = 1  # exposures are applied, and not learnt
    for weight in (0.0, 9.0):
        language.config = replace(language.config, feature_weight=weight, relevancy_weight=weight)
        grads.append(trainer.find_gradients(rays, keyframes=store, for_poses=True).point_grad)
    assert grads[0] is not None and grads[0].any()
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-3, atol=1e-6)


def test_steps_with_everything_are_the_processors() -> None:
    """Poses move and exposures are found, and all is the same on both paths."""
    tables = []
    for one in (Trainer, DeviceTrainer):
        settings = config(**ON_THE_HOST, **{"mapping.learning_rate": 0.02})
        store, reach = recorded()
        trainer = make(one, settings)
        trainer.class_latents = torch.eye(CLASSES, DIM)
        teach(trainer, store)
        trainer.steps = 300
        for _ in range(12):
            trainer.step(store, reach, VoxelGrid(0.1, with_errors=True))
        trainer.settle()
        assert len(trainer.losses) == 10
        assert store.learnt["pose"][:3].any(1).all() and store.learnt["error"][:3].all()
        assert (store.learnt["exposure"][:3] != [1.0, 0.0]).any()
        tables.append(trainer.field.table.detach())
    torch.testing.assert_close(tables[1], tables[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("make_one", [Trainer, DeviceTrainer])
def test_poses_and_exposures_may_begin_in_any_step(make_one, device: str) -> None:
    """Until then all is as without them; then nothing jumps, and what was learnt is kept."""
    where = "cpu" if make_one is Trainer else device
    runs = {}
    for begins in (False, True):
        store, reach = recorded()
        settings = config(**{"mapping.learning_rate": 0.02, "mapping.refine_poses": "off"})
        trainer = make(make_one, settings, where)
        trainer.class_latents, trainer.steps = torch.eye(CLASSES, DIM), 300
        for _ in range(STEPS_PER_UPLOAD + 5):  # in the middle of what was uploaded
            trainer.step(store, reach, VoxelGrid(0.1, with_errors=True))
        trainer.settle()
        before, losses = trainer.field.table.detach().cpu().clone(), dict(trainer.losses)
        assert not store.learnt["pose"].any() and (store.learnt["exposure"][:3] == [1, 0]).all()
        if begins:
            trainer.adapt(poses=True, exposures=True)
            trainer.adapt(poses=False, exposures=False)  # what is on stays on
        count = trainer.steps, trainer.rays
        trainer.step(store, reach, VoxelGrid(0.1, with_errors=True))
        trainer.settle()
        assert (trainer.steps, trainer.rays) == (count[0] + 1, count[1] + RAYS)
        assert trainer.losses.keys() == losses.keys()
        assert (trainer.field.table.detach().cpu() - before).abs().max() <= 2 * 0.02
        for _ in range(12):
            trainer.step(store, reach, VoxelGrid(0.1, with_errors=True))
        trainer.settle()
        runs[begins] = before, store
        assert all(trainer.losses[name] < 2 * losses[name] + 0.1 for name in losses)
        assert store.learnt["pose"][:3].any() == begins
        assert (store.learnt["exposure"][:3] != [1.0, 0.0]).any() == begins
    assert torch.equal(runs[True][0], runs[False][0])
    assert np.abs(runs[True][1].learnt["pose"][:3]).max() < 0.02


def test_features_are_compared_as_in_torch() -> None:
    torch.manual_seed(0)
    latent, target = torch.randn(20, DIM, requires_grad=True), torch.randn(20, 3, DIM)
    selection = torch.rand(20, 3).softmax(-1).requires_grad_()
    weight = torch.rand(20)
    compiled = feature_loss(latent, target, selection, weight)
    plain = feature_loss_in_torch(latent, target, selection, weight / 20)
    torch.testing.assert_close(compiled, plain)
    for ours, theirs in zip(
        torch.autograd.grad(compiled, [latent, selection]),
        torch.autograd.grad(plain, [latent, selection]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


# --- annotations ----------------------------------------------------------------------------------


def said(settings: Config, taken_back: bool = False) -> Corrections:
    """The left half of the wall is a door."""
    span = np.arange(-30, 1), np.arange(-20, 20), np.arange(73, 78)
    cells = np.stack(np.meshgrid(*span), -1).reshape(-1, 3).astype(np.int32)
    table = ClassTable()
    table.set_names({1: "blue", 2: "red", 3: "door"})
    ids = np.full(len(cells), 3, np.int32)
    annotations = AnnotationSet().extended(Annotation(1, "box", "door", 0, 1, cells, ids))
    if taken_back:
        annotations = annotations.without(1)
    corrections = Corrections(settings.mapping)
    corrections.follow(annotations, table)
    corrections.focus(cells, 0)
    return corrections


@pytest.mark.parametrize("taken_back", [False, True])
def test_rays_are_overruled_as_on_the_processor(device: str, taken_back: bool) -> None:
    settings = config(**{"mapping.stream_label_weight": 0.5})
    store, reach = recorded()
    corrections = said(settings, taken_back)
    rays = drawn(store, reach, settings)
    there = replace(rays, label=rays.label.clone(), label_weight=rays.label_weight.clone())
    there, before = there.to(device), rays.label.clone()
    copied = DeviceCorrections(torch.device(device))
    for said_now in (Corrections(settings.mapping), corrections):  # nothing, then something
        said_now.apply(rays, store)
        copied.follow(said_now, store, room=5)
        copied.apply(there)
        assert torch.equal(there.label.cpu(), rays.label)
        assert torch.equal(there.label_weight.cpu(), rays.label_weight)
        assert torch.equal(rays.label, before) is (said_now is not corrections)
    weights = set(rays.label_weight.tolist())
    assert weights == ({0.5} if taken_back else {0.5, settings.mapping.annotation_weight})


def test_rays_look_at_once_at_what_was_said_and_no_longer_than_it_is_fresh(device: str) -> None:
    settings = config(**{"mapping.annotation_rays": 20.0 * RAYS, "mapping.labelled_share": 0.0})
    store, reach = recorded()
    trainer = make(DeviceTrainer, settings, device)
    assert isinstance(trainer, DeviceTrainer)
    corrections, looked_at = Corrections(settings.mapping), []
    rays_of_step = trainer.draw_here

    def watched() -> Rays:
        rays = rays_of_step()
        looked_at.append(float((rays.label == 2).float().mean()))
        return rays

    trainer.draw_here = watched  # type: ignore[method-assign]
    trainer.graph.capturable = False
    for step in range(60):
        if step == 5:  # in the middle of what was uploaded
            corrections = said(settings)
            corrections.focus(np.zeros((0, 3), np.int32), trainer.rays)
        trainer.step(store, reach, None, corrections)
    assert STEPS_PER_UPLOAD > 5 and max(looked_at[:5]) == 0.0
    fresh, later = np.mean(looked_at[5:24]), np.mean(looked_at[-20:])
    assert looked_at[5] > 0 and fresh > later + 0.1 and later > 0.2
