"""Compositing and distance losses against autograd on the same formulas written in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semantic_field.field.rays.compositing import Composite
from semantic_field.mapping.training.losses import (
    color_loss,
    depth_loss,
    free_space_loss,
    label_loss,
    language_loss,
    near_loss,
)

RAYS, SAMPLES, CODE = 37, 9, 5


def example() -> tuple[Tensor, np.ndarray]:
    """Trunk output (1 + G, R * S) with surfaces at various places, and increasing z (R, S)."""
    random = np.random.default_rng(0)
    z = np.sort(random.uniform(0.5, 3.0, (RAYS, SAMPLES)), axis=1).astype(np.float32)
    surface = random.uniform(0.5, 3.0, (RAYS, 1))
    s = np.clip((surface - z) / 0.8, -1.5, 1.5) + 0.1 * random.standard_normal(z.shape)
    codes = random.standard_normal((CODE, RAYS * SAMPLES))
    out = np.concatenate([s.reshape(1, -1), codes]).astype(np.float32)
    return torch.from_numpy(out), z


def composite_in_torch(out: Tensor, z: Tensor, sharpness: float, behind: float):
    s = out[0].view(RAYS, SAMPLES)
    is_inside = s < 0
    entry = z.gather(1, is_inside.int().argmax(1, True))[:, 0]
    first = torch.where(is_inside.any(1), entry, torch.inf)
    weights = torch.sigmoid(s * sharpness) * torch.sigmoid(-s * sharpness)
    weights = weights * (z <= first[:, None] + behind)
    weights = weights / weights.sum(1, keepdim=True)
    code = (out[1:].view(CODE, RAYS, SAMPLES) * weights).sum(-1)
    return weights, code, (weights * z).sum(1)


def test_forward_and_backward_are_autograds() -> None:
    out, z = example()
    composite = Composite(out, z, sharpness=3.0, behind=0.4)
    variable = out.clone().requires_grad_()
    weights, code, depth = composite_in_torch(variable, torch.from_numpy(z), 3.0, 0.4)
    np.testing.assert_allclose(composite.weights, weights.detach(), atol=1e-5)
    torch.testing.assert_close(composite.code, code.detach(), atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(composite.depth, depth.detach(), atol=1e-5)
    torch.manual_seed(0)
    code_grad, depth_grad = torch.randn(CODE, RAYS), torch.randn(RAYS)
    ((code * code_grad).sum() + (depth * depth_grad).sum()).backward()
    found = torch.zeros_like(out)
    composite.backward(code_grad, depth_grad.numpy(), found, codes_shape_geometry=True)
    torch.testing.assert_close(found, variable.grad, atol=2e-4, rtol=1e-3)


def test_codes_can_be_kept_from_the_geometry() -> None:
    out, z = example()
    composite = Composite(out, z, sharpness=3.0, behind=0.4)
    grad = torch.zeros_like(out)
    no_depth = np.zeros(RAYS, np.float32)
    composite.backward(torch.ones(CODE, RAYS), no_depth, grad, codes_shape_geometry=False)
    assert not grad[0].any()
    assert grad[1:].any()


def test_distance_losses_are_autograds() -> None:
    out, z = example()
    random = np.random.default_rng(1)
    depth, stretch = (random.uniform(1.0, 2.0, RAYS).astype(np.float32) for _ in range(2))
    trust = random.choice([0.0, 0.1, 1.0], RAYS).astype(np.float32)
    near, near_grad = near_loss(out[0].numpy(), z, depth, stretch, trust, 0.3, weight=10.0)
    free, free_grad = free_space_loss(out[0].numpy(), trust, weight=2.0)
    s = out[0].view(RAYS, SAMPLES).clone().requires_grad_()
    target = torch.from_numpy(depth[:, None] - z) * torch.from_numpy(stretch)[:, None] / 0.3
    errors = (s - target.clamp(-1, 1)).square().mean(1), (s - 1).clamp_max(0).square().mean(1)
    expected = [w * (torch.from_numpy(trust) * e).mean() for w, e in zip((10, 2), errors)]
    np.testing.assert_allclose([near, free], [e.item() for e in expected], rtol=1e-4)
    for loss, found in zip(expected, (near_grad, free_grad), strict=True):
        (grad,) = torch.autograd.grad(loss, s)
        np.testing.assert_allclose(found.reshape(RAYS, SAMPLES), grad, atol=1e-6, rtol=1e-3)


def test_depth_loss_gradient_is_a_finite_difference() -> None:
    rendered = np.array([1.0, 2.0, 3.0])
    depth, stretch = np.array([1.01, 2.5, 3.0]), np.array([1.0, 1.2, 1.0])
    trust = np.array([1.0, 0.5, 0.0])

    def value(r: np.ndarray) -> float:
        return depth_loss(r, depth, stretch, trust, 0.06, 2.0)[0]

    grad = depth_loss(rendered, depth, stretch, trust, 0.06, 2.0)[1]
    for i in range(3):
        step = np.eye(3)[i] * 1e-5
        numeric = (value(rendered + step) - value(rendered - step)) / 2e-5
        assert abs(numeric - grad[i]) < 1e-3 * max(1.0, abs(numeric))
    by_hand = 2.0 / 3 * 0.5 * (0.01 / 0.06) ** 2 + 2.0 / 3 * 0.5 * (0.5 * 1.2 / 0.06 - 0.5)
    assert abs(value(rendered) - by_hand) < 1e-6


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
