"""Compositing and losses: by hand, and gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_field.field.rays.compositing import composite
from semantic_field.mapping.training.losses import (
    color_loss,
    depth_loss,
    free_space_loss,
    label_loss,
    language_loss,
    near_loss,
)

RAYS, SAMPLES, CODE = 37, 9, 5


def example() -> tuple[Tensor, Tensor, Tensor]:
    """Distances (N,) with surfaces at various places, codes (G, N), and increasing z (R, S)."""
    random = np.random.default_rng(0)
    z = np.sort(random.uniform(0.5, 3.0, (RAYS, SAMPLES)), axis=1).astype(np.float32)
    surface = random.uniform(0.5, 3.0, (RAYS, 1))
    s = np.clip((surface - z) / 0.8, -1.5, 1.5) + 0.1 * random.standard_normal(z.shape)
    codes = random.standard_normal((CODE, RAYS * SAMPLES)).astype(np.float32)
    distance = torch.from_numpy(s.reshape(-1).astype(np.float32)).requires_grad_()
    return distance, torch.from_numpy(codes).requires_grad_(), torch.from_numpy(z)


def by_another_way(distance: Tensor, codes: Tensor, z: Tensor, sharpness: float, behind: float):
    s = distance.view(RAYS, SAMPLES)
    is_inside = s < 0
    entry = z.gather(1, is_inside.int().argmax(1, True))[:, 0]
    first = torch.where(is_inside.any(1), entry, torch.inf)
    weights = torch.sigmoid(s * sharpness) * torch.sigmoid(-s * sharpness)
    weights = weights * (z <= first[:, None] + behind)
    weights = weights / weights.sum(1, keepdim=True)
    return weights, (codes.view(CODE, RAYS, SAMPLES) * weights).sum(-1), (weights * z).sum(1)


def test_values_and_gradients_are_those_of_another_way() -> None:
    distance, codes, z = example()
    torch.manual_seed(0)
    code_grad, depth_grad = torch.randn(CODE, RAYS), torch.randn(RAYS)
    results = []
    for compositing in (composite, by_another_way):
        weights, code, depth = compositing(distance, codes, z, 3.0, 0.4)
        total = (code * code_grad).sum() + (depth * depth_grad).sum()
        grads = torch.autograd.grad(total, [distance, codes])
        results.append((weights.detach(), code.detach(), depth.detach(), *grads))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


def test_codes_can_be_kept_from_the_geometry() -> None:
    distance, codes, z = example()
    result = composite(distance, codes, z, 3.0, 0.4, codes_shape_geometry=False)
    grads = torch.autograd.grad(result.code.sum(), [distance, codes], allow_unused=True)
    assert grads[0] is None or not grads[0].any()
    assert grads[1].any()
    assert not result.weights.requires_grad


def test_distance_loss_by_hand() -> None:
    s, z = torch.tensor([0.5, 0.0, 1.0, 1.0]), torch.tensor([[1.9, 2.1], [1.0, 3.0]])
    depth, stretch, trust = torch.tensor([2.0, 2.0]), torch.ones(2), torch.tensor([1.0, 0.5])
    # targets .5 and -.5, then 1 and -1 (cut): squares 0, .25, 0, 4
    by_hand = (0.25 / 2 + 0.5 * 4 / 2) / 2

    def loss(*inside: float) -> float:
        return float(near_loss(s, z, depth, stretch, trust, torch.tensor(inside), 0.2))

    assert loss(torch.inf, torch.inf) == pytest.approx(by_hand, rel=1e-5)
    # 5 cm inside at most: targets .5 and -.25, then 1 and -.1: squares 0, .0625, 0, 1.21
    by_hand = (0.0625 / 2 + 0.5 * 1.21 / 2) / 2
    assert loss(0.05, 0.02) == pytest.approx(by_hand, rel=1e-5)


def test_free_space_loss_by_hand() -> None:
    s, trust = torch.tensor([1.5, 0.5, -1.0, 1.0]), torch.tensor([1.0, 0.5])
    clearance = torch.full((2, 2), 0.2)
    by_hand = (0.25 / 2 + 0.5 * 4 / 2) / 2
    assert float(free_space_loss(s, clearance, trust, 0.2)) == pytest.approx(by_hand)
    clearance[0, 1], clearance[1, 0] = 0.12, 0.1  # .1 and 1.5 truncations are missing
    by_hand = (0.01 / 2 + 0.5 * 2.25 / 2) / 2
    assert float(free_space_loss(s, clearance, trust, 0.2)) == pytest.approx(by_hand)


def test_depth_loss_by_hand_and_its_gradient() -> None:
    rendered = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    depth, stretch = (torch.tensor(v).double() for v in ([1.01, 2.5, 3.0], [1.0, 1.2, 1.0]))
    trust = torch.tensor([1.0, 0.5, 0.0]).double()

    def value(r: Tensor) -> Tensor:
        return depth_loss(r, depth, stretch, trust, 0.06)

    by_hand = 0.5 / 3 * (0.01 / 0.06) ** 2 + 0.5 / 3 * (0.5 * 1.2 / 0.06 - 0.5)
    assert float(value(rendered)) == pytest.approx(by_hand, abs=1e-6)
    assert torch.autograd.gradcheck(value, rendered)


def test_head_losses_leave_void_out() -> None:
    label = torch.tensor([0, -1, 1])
    scores = torch.tensor([[2.0, 0.0], [9.0, -9.0], [0.0, 0.0]])
    by_hand = (np.log(1 + np.exp(-2.0)) + np.log(2.0)) / 3
    assert abs(float(label_loss(scores, label)) - by_hand) < 1e-6
    assert float(label_loss(scores, torch.full((3,), -1))) == 0.0
    assert float(label_loss(torch.zeros(3, 0), label)) == 0.0
    latent = torch.tensor([[1.0, 0, 5], [3.0, 3, 3], [0.0, 0, 0]])
    targets = torch.tensor([[0.0, 1, 0], [0.6, 0.8, 0]])
    assert abs(float(language_loss(latent, label, targets, rank=2)) - (2.0 + 1.0) / 6) < 1e-6
    assert float(language_loss(latent, label, targets, rank=0)) == 0.0
    assert float(color_loss(torch.zeros(1, 3), torch.ones(1, 3))) == 1.0


def test_head_losses_gradients() -> None:
    torch.manual_seed(0)
    double = {"dtype": torch.float64, "requires_grad": True}
    label = torch.tensor([0, -1, 2, 1])
    assert torch.autograd.gradcheck(lambda x: label_loss(x, label), torch.randn(4, 3, **double))
    targets = torch.randn(3, 5, dtype=torch.float64)
    latent = torch.randn(4, 5, **double)
    assert torch.autograd.gradcheck(lambda x: language_loss(x, label, targets, 4), latent)
