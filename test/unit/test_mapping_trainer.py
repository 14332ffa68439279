"""The hand-written training step against autograd through the whole model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss

from semantic_field.config import Config
from semantic_field.field.model import SemanticField
from semantic_field.field.rays.rays import Rays
from semantic_field.kernels.reference import ReferenceKernels
from semantic_field.mapping.training.step import Trainer
from semantic_field.settings import updated

RAYS, NEAR, FREE, CLASSES = 40, 4, 3, 3


def config(**more: object) -> Config:
    values = {
        "field.grid.levels": 3,
        "field.grid.log2_table_size": 8,
        "field.grid.finest_cell_m": 0.1,
        "field.latent_dim": 6,
        "field.geometry_dim": 5,
        "field.hidden_dim": 8,
        "field.truncation_m": 0.3,
        "field.sharpness_m": 0.1,
        "mapping.rays_per_step": 64,
        "mapping.near_samples": NEAR,
        "mapping.free_samples": FREE,
    }
    return updated(Config(), {**values, **more})


def make_trainer(settings: Config) -> Trainer:
    torch.manual_seed(0)
    field = SemanticField(settings.field, CLASSES)
    field.table.data.normal_(0, 0.3)
    trainer = Trainer(field, settings.mapping)
    trainer.class_latents, trainer.rank = torch.randn(CLASSES, 6), 4
    return trainer


def some_rays() -> Rays:
    random = np.random.default_rng(0)
    depth = random.uniform(1.0, 2.0, RAYS).astype(np.float32)
    offsets = np.sort(random.uniform(-0.29, 0.29, (RAYS, NEAR)), axis=1)
    values = {
        "points": random.uniform(-2, 2, (RAYS * (NEAR + FREE), 3)).astype(np.float32),
        "near_z": (depth[:, None] + offsets).astype(np.float32),
        "depth": depth,
        "stretch": random.uniform(1.0, 1.03, RAYS).astype(np.float32),
        "trust": random.choice([0.0, 0.1, 1.0], RAYS).astype(np.float32),
        "color": random.uniform(0, 1, (RAYS, 3)).astype(np.float32),
        "color_weight": random.choice([0.0, 1.0], RAYS).astype(np.float32),
        "label": random.integers(-1, CLASSES, RAYS),
        "label_weight": random.uniform(0.5, 4, RAYS).astype(np.float32),
        "pixel": np.zeros(RAYS, np.int64),
        "slot": np.zeros(RAYS, np.int64),
        "clearance": random.uniform(0.0, 0.3, (RAYS, FREE)).astype(np.float32),
        "inside": random.choice([0.05, np.inf], RAYS).astype(np.float32),
        "origin": np.zeros((RAYS, 3), np.float32),
    }
    return Rays(**{name: torch.from_numpy(value) for name, value in values.items()})


def composited(out: Tensor, z: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
    """Codes (R, G) and depths (R,); nothing lies far behind the first surface here."""
    s = out[0].view(RAYS, NEAR)
    weights = torch.sigmoid(s * sharpness) * torch.sigmoid(-s * sharpness)
    weights = weights / weights.sum(1, keepdim=True)
    code = (out[1:].view(-1, RAYS, NEAR) * weights).sum(-1).T
    return code, (weights * z).sum(1)


def total_loss(trainer: Trainer, table: Tensor, rays: Rays) -> Tensor:
    field, weights = trainer.field, trainer.config
    truncation = field.config.truncation_m
    z, depth, stretch, trust = rays.near_z, rays.depth, rays.stretch, rays.trust
    color, label = rays.color, rays.label
    features = ReferenceKernels(field.kernels.shape).encode(rays.points, table)
    out = field.trunk_out(torch.relu(field.trunk_in(features.T))).T
    near, free = out[:, : RAYS * NEAR], out[0, RAYS * NEAR :].view(RAYS, FREE)
    target = ((depth[:, None] - z) * stretch[:, None] / truncation).clamp(-1, 1)
    target = torch.maximum(target, -rays.inside[:, None] / truncation)
    distance = (near[0].view(RAYS, NEAR) - target).square().mean(1)
    code, rendered = composited(near, z, truncation / field.config.sharpness_m)
    missing = (free - rays.clearance / truncation).clamp_max(0).square().mean(1)
    scale = stretch / truncation
    depth_error = smooth_l1_loss(rendered * scale, depth * scale, reduction="none")
    latent = field.latent(code)
    known = label >= 0
    weight, shown = rays.label_weight[known], rays.color_weight
    error = (latent[known, :4] - trainer.class_latents[label[known], :4]).square().sum(1)
    entropy = cross_entropy(field.label_scores(latent)[known], label[known], reduction="none")
    return (
        weights.distance_weight * (trust * distance).mean()
        + weights.free_space_weight * (trust * missing).mean()
        + weights.depth_weight * (trust * depth_error).mean()
        + weights.color_weight * (shown * (field.color(code) - color).square().mean(1)).mean()
        + weights.label_weight * (weight * entropy).sum() / RAYS
        + weights.language_weight * 0.5 * (weight * error).sum() / RAYS
    )


def test_gradients_are_autograds() -> None:
    trainer, rays = make_trainer(config()), some_rays()
    losses = trainer.find_gradients(rays).losses
    found = {n: p.grad.clone() for n, p in trainer.field.named_parameters() if p.grad is not None}
    for parameter in trainer.field.parameters():
        parameter.grad = None
    table = trainer.field.table.detach().clone().requires_grad_()
    loss = total_loss(trainer, table, rays)
    loss.backward()
    assert abs(sum(losses.values()) - loss.item()) < 1e-3 * loss.item()
    torch.testing.assert_close(trainer.gradient.table, table.grad, atol=1e-4, rtol=2e-3)
    for name, parameter in trainer.field.named_parameters():
        if name != "table":
            torch.testing.assert_close(found[name], parameter.grad, atol=3e-4, rtol=2e-3, msg=name)


ONLY_LABELS = {
    "mapping.color_weight": 0.0,
    "mapping.depth_weight": 0.0,
    "mapping.distance_weight": 0.0,
    "mapping.free_space_weight": 0.0,
}


@pytest.mark.parametrize("shapes", [True, False])
def test_pseudo_labels_can_be_kept_from_the_geometry(shapes: bool) -> None:
    settings = config(**ONLY_LABELS, **{"mapping.labels_shape_geometry": shapes})
    trainer = make_trainer(settings)
    trainer.find_gradients(some_rays())
    assert bool(trainer.gradient.table.any()) is shapes
    assert trainer.field.trunk_out.weight.grad is not None
    assert bool(trainer.field.trunk_out.weight.grad.any()) is shapes
    assert trainer.field.label_head.weight.grad is not None
    assert trainer.field.label_head.weight.grad.any()


def test_growing_the_head_keeps_the_moments() -> None:
    trainer = make_trainer(config())
    trainer.find_gradients(some_rays())
    trainer.steps = 1
    trainer.set_rates(0.01)
    trainer.update()
    before = trainer.optimizer.state[trainer.field.label_head.weight]["exp_avg"].clone()
    weights = trainer.field.label_head.weight.detach().clone()
    trainer.grow_classes(CLASSES + 2)
    after = trainer.optimizer.state[trainer.field.label_head.weight]["exp_avg"]
    assert torch.equal(after[:CLASSES], before)
    assert not after[CLASSES:].any()
    assert torch.equal(trainer.field.label_head.weight[:CLASSES], weights)


def test_learning_rate_follows_rays_per_keyframe() -> None:
    trainer = make_trainer(config())
    assert trainer.learning_rate(10) == trainer.config.learning_rate
    trainer.rays = 7 * int(trainer.config.decay_rays)
    at_first, with_more = trainer.learning_rate(1), trainer.learning_rate(100)
    assert at_first == pytest.approx(trainer.config.learning_rate / 8)
    assert with_more > 5 * at_first
