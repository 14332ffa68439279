"""The chunked bfloat16 step of the published prior against plain torch in float32."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from semantic_field.object_prior.published.bf16_kernels import (
    first_layer_backward,
    first_layer_forward,
    norm_backward,
    norm_forward,
)
from semantic_field.object_prior.published.factored_adam import (
    FACTORS,
    FactoredAdam,
    factored_linear,
    gradient_of,
)
from semantic_field.object_prior.published.fused_layers import bits
from semantic_field.object_prior.published.fused_step import FusedRendering, parameters_of
from semantic_field.object_prior.published.march_kernels import cell_backward, cell_forward
from semantic_field.object_prior.training.image_batches import ImageBatch
from semantic_field.object_prior.training.joint_optimizer import JointOptimizer
from semantic_field.object_prior.training.prior_settings import PriorSchedule

TINY = runpy.run_path(str(Path(__file__).with_name("tiny_prior.py")))
some_rays, tiny_prior = TINY["some_rays"], TINY["tiny_prior"]
ROUNDING = 2**-8  # of bfloat16


def bf16(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.mark.parametrize("affine", [False, True])
def test_norms_and_their_gradients_are_torchs(affine):
    rows, width = 7, 21
    product, gradient = bf16(rows, width), bf16(rows, width, seed=1)
    bias = torch.linspace(-1, 1, width)
    gain = torch.linspace(0.5, 2, width) if affine else torch.ones(width)
    shift = torch.linspace(-0.3, 0.4, width) if affine else torch.zeros(width)
    normed, active, out, again = (torch.empty(rows, width).bfloat16() for _ in range(4))
    scale, sums = np.empty(rows, np.float32), np.zeros((3, width), np.float32)
    numbers = bias.numpy(), gain.numpy(), shift.numpy()
    norm_forward(bits(product), *numbers, affine, bits(normed), bits(active), scale)
    norm_backward(
        bits(gradient), bits(normed), scale, *numbers[1:], affine, bits(out), bits(again), sums
    )
    value = product.float().requires_grad_()
    gain, shift, bias = (t.clone().requires_grad_() for t in (gain, shift, bias))
    expected = functional.layer_norm(value + bias, (width,))
    expected_active = functional.relu(expected * gain + shift)
    expected_active.backward(gradient.float())
    assert torch.allclose(normed.float(), expected, atol=2 * ROUNDING, rtol=ROUNDING)
    assert torch.allclose(active.float(), expected_active, atol=4 * ROUNDING, rtol=ROUNDING)
    assert torch.allclose(out.float(), value.grad, atol=0.03, rtol=0.02)
    if affine:
        assert torch.allclose(torch.from_numpy(sums[0]), gain.grad, atol=0.05, rtol=0.02)
        assert torch.allclose(torch.from_numpy(sums[1]), shift.grad, atol=0.02)
    assert torch.allclose(torch.from_numpy(sums[2]), bias.grad, atol=0.1, rtol=0.02)
    # once more from what was rounded; without gain and shift that makes no difference
    assert torch.allclose(again.float(), active.float(), atol=affine * 4 * ROUNDING)


def test_the_first_layer_and_its_gradients_are_torchs():
    rows, width = 5, 19
    points, directions = torch.randn(2, rows, 3, generator=torch.Generator().manual_seed(1))
    weight, bias = torch.linspace(-1, 2, 3 * width).view(3, width).sin(), torch.ones(width)
    normed, active = (torch.empty(rows, width).bfloat16() for _ in range(2))
    scale = np.empty(rows, np.float32)
    first_layer_forward(
        points.numpy(), weight.numpy(), bias.numpy(), bits(normed), bits(active), scale
    )
    expected = functional.layer_norm(points @ weight + bias, (width,))
    assert torch.allclose(normed.float(), expected, atol=2 * ROUNDING, rtol=ROUNDING)
    assert torch.equal(active, normed.clamp_min(0))
    at_product = bf16(rows, width)
    sums, along = np.zeros((3, width), np.float32), np.full(rows, 2.0, np.float32)
    first_layer_backward(
        bits(at_product), points.numpy(), weight.numpy(), directions.numpy(), sums, along
    )
    assert torch.allclose(torch.from_numpy(sums), points.T @ at_product.float(), atol=1e-5)
    expected_along = 2 + ((at_product.float() @ weight.T) * directions).sum(1)
    assert torch.allclose(torch.from_numpy(along), expected_along, atol=1e-4)


def test_the_cell_and_its_gradients_are_torchs():
    rows, states = 6, 4
    random = torch.Generator().manual_seed(0)
    product = bf16(rows, 4 * states)
    bias, recurrent = torch.randn(16, generator=random), torch.randn(4, 16, generator=random)
    step_weight = torch.randn(4, generator=random)
    hidden, cell, at_hidden, at_cell = torch.randn(4, rows, states, generator=random)
    along = torch.randn(rows, generator=random)
    leaves = [product.float(), bias, recurrent, step_weight, hidden, cell]
    value, b, u, w, h, c = (t.clone().requires_grad_() for t in leaves)
    enter, forget, candidate, leave = (value + b + h @ u).chunk(4, 1)
    c_next = forget.sigmoid() * c + enter.sigmoid() * candidate.tanh()
    h_next = leave.sigmoid() * c_next.tanh()
    distance = 1 + h_next @ w + 0.25
    h_next.register_hook(lambda gradient: gradient.clamp(-0.5, 0.5))
    (h_next * at_hidden + c_next * at_cell).sum().add((distance * along).sum()).backward()

    gates, bent = np.empty((rows, 16), np.float32), np.empty((rows, 4), np.float32)
    after, memory = np.empty((2, rows, 4), np.float32)
    found = np.empty(rows, np.float32)
    weights = recurrent.numpy(), step_weight.numpy()
    cell_forward(
        bits(product), bias.numpy(), *weights, np.float32(0.25), hidden.numpy(), cell.numpy(),
        gates, bent, after, memory, np.ones(rows, np.float32), found,
    )  # fmt: skip
    assert np.allclose(after, h_next.detach(), atol=1e-6)
    assert np.allclose(memory, c_next.detach(), atol=1e-6)
    assert np.allclose(found, distance.detach(), atol=1e-5)
    sums = np.zeros((4, 16), np.float32), np.zeros(16, np.float32), np.zeros(5, np.float32)
    at_product = torch.empty(rows, 16).bfloat16()
    cell_backward(
        along.numpy(), gates, bent, hidden.numpy(), cell.numpy(), after, *weights,
        np.float32(0.5), at_hidden.numpy(), at_cell.numpy(), bits(at_product), *sums,
    )  # fmt: skip
    assert torch.allclose(at_product.float(), value.grad, rtol=ROUNDING, atol=1e-6)
    assert torch.allclose(at_hidden, h.grad, atol=1e-5)  # the arrays share memory with tensors
    assert torch.allclose(at_cell, c.grad, atol=1e-5)
    assert np.allclose(sums[0], u.grad, atol=1e-5)
    assert np.allclose(sums[1], b.grad, atol=1e-5)
    assert np.allclose(sums[2], [*w.grad.tolist(), along.sum().item()], atol=1e-5)


def batch_of(images: int, count: int) -> ImageBatch:
    random = torch.Generator().manual_seed(3)
    colors = torch.rand(images, count, 3, generator=random)
    masks = (colors[..., 0] > 0.5).float()
    rays = some_rays(images, count)
    return ImageBatch(torch.arange(images), rays, colors, masks, None)


def gradients(prior, batch: ImageBatch) -> dict[str, torch.Tensor]:
    prior.zero_grad()
    sum(prior.losses(batch).values()).backward()
    found = {
        name: parameter.grad.to_dense().clone()
        for name, parameter in prior.named_parameters()
        if parameter.grad is not None
    }
    factored = {
        name: gradient_of(parameter)
        for name, parameter in prior.named_parameters()
        if getattr(parameter, FACTORS, None)
    }
    assert not found.keys() & factored.keys()
    return found | factored


@pytest.mark.parametrize("start", ["camera", "sphere"])
def test_gradients_agree_with_float32(start):
    sizes = {"width": 32, "march_hidden": 8, "code_dim": 16, "hyper_width": 16, "depth": 4}
    batch = batch_of(2, 300)
    plain, fused = (
        tiny_prior(**sizes, start=start, products=kind) for kind in ("float32", "bfloat16")
    )
    terms, fused_terms = plain.losses(batch), fused.losses(batch)
    assert list(terms) == list(fused_terms)
    for name, term in terms.items():
        assert fused_terms[name].item() == pytest.approx(term.item(), rel=0.01, abs=0.01)
    expected, found = gradients(plain, batch), gradients(fused, batch)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        cosine = functional.cosine_similarity(value.flatten(), found[name].flatten(), 0)
        error = (found[name] - value).norm() / value.norm()
        assert cosine > 0.998, (name, cosine)
        assert error < 0.06, (name, error)


def test_adam_on_factors_is_adam_on_their_product():
    random = torch.Generator().manual_seed(0)
    start = torch.randn(30, 5, generator=random)
    ours, plain, dense = (torch.nn.Parameter(start.clone()) for _ in range(3))
    layer = torch.nn.Linear(5, 30)
    optimizers = [FactoredAdam([ours], 0.01), torch.optim.Adam([plain], 0.01)]
    optimizers.append(FactoredAdam([dense], 0.01))
    for _ in range(4):
        inputs, target = torch.randn(3, 5, generator=random), torch.randn(3, 30, generator=random)
        outputs = []
        for weight, optimizer in zip((ours, plain, dense), optimizers, strict=True):
            optimizer.zero_grad()
            value = inputs.clone().requires_grad_()
            if weight is ours:
                layer.weight = weight
                made = factored_linear(layer, value)
            else:
                made = value @ weight.T + layer.bias
            (made * target).sum().backward()
            optimizer.step()
            outputs.append((made.detach(), value.grad))
        assert torch.allclose(outputs[0][0], outputs[1][0], atol=1e-5)
        assert torch.allclose(outputs[0][1], outputs[1][1], atol=1e-5)
    assert ours.grad is None
    assert torch.allclose(ours, plain, atol=1e-5)
    assert torch.allclose(dense, plain, atol=1e-5)
    assert (plain - start).abs().mean() > 0.001


def test_chunks_add_up():
    prior, batch = tiny_prior(width=16), batch_of(2, 50)
    layers = [t.detach() for la in prior.hyper(prior.codes.weight) for t in (la.weight, la.bias)]
    target = torch.cat([batch.colors, batch.masks[..., None]], -1)
    whole, parts = (
        FusedRendering(prior.marcher, prior.pixel_generator, rows=rows) for rows in (64, 7)
    )
    *terms, found = whole.computed(layers, batch.rays, target, 2.0, 3.0)
    *terms_of_parts, found_of_parts = parts.computed(layers, batch.rays, target, 2.0, 3.0)
    assert terms == pytest.approx(terms_of_parts, rel=1e-5)
    assert len(found) == len(layers) + len(parameters_of(prior.marcher, prior.pixel_generator))
    for one, other in zip(found, found_of_parts, strict=True):
        assert torch.allclose(one, other, rtol=0.02, atol=0.02 * float(one.abs().max()))


def test_training_comes_as_far_as_in_float32():
    ends = []
    for kind in ("float32", "bfloat16"):
        prior, batch = tiny_prior(width=32, products=kind, start="sphere"), batch_of(2, 128)
        batch.colors[0], batch.colors[1] = 0.2, 0.9
        optimizer = JointOptimizer(prior.optimizers(PriorSchedule(learning_rate=3e-3)))
        first = last = 0.0
        for step in range(60):
            terms = prior.losses(batch)
            last = terms["color"].item()
            first = first if step else last
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
        ends.append(last / first)
    assert max(ends) < 0.75
    assert ends[1] == pytest.approx(ends[0], rel=0.1)


def test_the_unet_wants_plain_torch():
    prior = tiny_prior(products="bfloat16", fully_supervised=True, unet_width=4, unet_downs=1)
    with pytest.raises(ValueError, match=r"set model\.products to auto"):
        prior.losses(batch_of(1, 16))
