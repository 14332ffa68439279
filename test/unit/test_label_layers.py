"""Label layers on frozen features: the optimum by Newton's method, hand-worked cases, variants."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from semantic_field.data.objects.procedural_objects import ProceduralObjects, ViewPlan
from semantic_field.object_prior.label_layers import (
    AdamFit,
    LabelledPixels,
    fit_by_adam,
    fit_to_optimum,
    labelled_pixels,
    labelled_views,
    logistic_loss,
    mlp_layers,
)
from semantic_field.object_prior.published.semantic_srn import SemanticSRN, SemanticSRNConfig
from semantic_field.object_prior.trainable_prior import PriorSubject, TrainingObjects
from semantic_field.object_prior.training.prior_job import fit_label_layer
from semantic_field.object_prior.training.prior_settings import LabelSettings

TINY = runpy.run_path(str(Path(__file__).with_name("tiny_prior.py")))


def three_classes(count: int = 400, dtype=torch.float64) -> LabelledPixels:
    """Points of the plane in three overlapping heaps, as four images."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (4, count // 4), generator=random)
    middles = torch.tensor([[0.0, 0.0], [2.0, 0.5], [-0.5, 1.5]])
    noise = torch.randn(4, count // 4, 2, generator=random)
    return LabelledPixels((middles[labels] + noise).to(dtype), labels)


def newton(features: torch.Tensor, labels: torch.Tensor, decay: float) -> torch.Tensor:
    """The optimum (3, F + 1) by Newton's method with the whole Hessian; biases last."""

    def loss(flat: torch.Tensor) -> torch.Tensor:
        numbers = flat.view(3, -1)
        return logistic_loss(numbers[:, :-1], numbers[:, -1], features, labels, decay)

    flat = torch.zeros(3 * (features.shape[1] + 1), dtype=torch.float64)
    for _ in range(20):
        gradient = torch.autograd.functional.jacobian(loss, flat)
        hessian = torch.autograd.functional.hessian(loss, flat)
        # a constant added to all biases changes nothing: the least step
        flat = flat - torch.linalg.pinv(hessian, rtol=1e-10) @ gradient
    return flat.view(3, -1)


def test_the_optimum_is_newtons():
    pixels = three_classes()
    features, labels = pixels.features.flatten(0, 1), pixels.labels.flatten()
    layer = fit_to_optimum(pixels, classes=3, decay=0.01)
    expected = newton(features, labels, 0.01)
    assert torch.allclose(layer.weight, expected[:, :-1], atol=1e-4)
    bias = layer.bias - layer.bias.mean()
    assert torch.allclose(bias, expected[:, -1] - expected[:, -1].mean(), atol=1e-4)
    loss = logistic_loss(layer.weight, layer.bias, features, labels, 0.01)
    loss.backward()
    assert layer.weight.grad.abs().max() < 1e-5
    assert layer.bias.grad.abs().max() < 1e-5


def test_the_optimum_by_hand():
    """One constant feature of 0: only biases count, and they are the classes' shares."""
    labels = torch.tensor([[0, 0, 0, 1]])
    pixels = LabelledPixels(torch.zeros(1, 4, 1, dtype=torch.float64), labels)
    layer = fit_to_optimum(pixels, classes=2)
    assert (layer.bias[0] - layer.bias[1]).item() == pytest.approx(math.log(3), abs=1e-4)
    assert layer.weight.abs().max() == 0


def test_the_loss_by_hand():
    weight, bias = torch.tensor([[1.0], [-1.0]]), torch.tensor([0.0, 0.0])
    loss = logistic_loss(weight, bias, torch.tensor([[1.0]]), torch.tensor([0]), decay=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)) + 0.5 * 0.5 * 2)


def test_adam_comes_near_the_optimum():
    pixels = three_classes(dtype=torch.float32)
    features, labels = pixels.features.flatten(0, 1), pixels.labels.flatten()
    layer = torch.nn.Linear(2, 3)
    fit_by_adam(layer, pixels, AdamFit(steps=400, batch=2, learning_rate=0.02))
    best = fit_to_optimum(pixels, 3, decay=0.0)
    losses = [functional.cross_entropy(each(features), labels).item() for each in (best, layer)]
    assert losses[0] < losses[1] < losses[0] + 0.02


def test_the_mlp_bends_where_a_line_cannot():
    """Two classes, one inside the other: no linear layer tells them apart."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn(2, 200, 2, generator=random)
    labels = (features.norm(dim=-1) > 1.2).long()
    pixels = LabelledPixels(features, labels)
    torch.manual_seed(0)
    mlp = mlp_layers(2, 2, hidden=16)
    assert sum(isinstance(m, torch.nn.Linear) for m in mlp) == 5
    fit_by_adam(mlp, pixels, AdamFit(steps=150, batch=2, learning_rate=0.01))
    right = (mlp(features).argmax(-1) == labels).float().mean()
    linear = fit_to_optimum(pixels, 2)
    linear_right = (linear(features).argmax(-1) == labels).float().mean()
    assert right > 0.93 > 0.8 > linear_right


def mugs_and_prior() -> tuple[ProceduralObjects, SemanticSRN]:
    mugs = ProceduralObjects("mug", range(4), ViewPlan(count=3, size=16))
    torch.manual_seed(0)
    config = SemanticSRNConfig(**{**TINY["SIZES"], "start": "sphere"})
    return mugs, SemanticSRN(config, PriorSubject.of(mugs)).eval()


def test_labelled_views_are_fixed_and_their_pixels_the_priors():
    mugs, prior = mugs_and_prior()
    chosen = labelled_views(mugs, instances=2, views=2)
    assert [row for row, _ in chosen] == [0, 0, 3, 3]
    assert chosen[3][1].color.tobytes() == mugs.view(3, 1).color.tobytes()
    codes = prior.codes.weight.detach()[[0, 3]]
    pixels = labelled_pixels(prior, codes, [chosen[0][1], chosen[3][1]])
    assert pixels.features.shape == (2, 256, 8)
    assert torch.equal(pixels.labels[1], torch.tensor(mugs.view(3, 1).parts.reshape(-1)).long())
    # the features are phi's at the rays' ends
    again = labelled_pixels(prior, codes[1:], [chosen[3][1]])
    assert torch.allclose(again.features[0], pixels.features[1], atol=1e-5)
    assert not torch.allclose(pixels.features[0], pixels.features[1])


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_a_label_layer_is_fitted_and_nothing_else_moves(solver):
    mugs, prior = mugs_and_prior()
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    settings = LabelSettings(instances=2, views=2, solver=solver, steps=20)
    assert fit_label_layer(prior, TrainingObjects(mugs, 2), settings) == 4
    changed = {n for n, value in prior.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"label_layer.weight", "label_layer.bias"}
    nothing = LabelSettings(instances=0)
    assert fit_label_layer(prior, TrainingObjects(mugs, 2), nothing) == 0
