"""The published object prior against explicit loops, hand-worked numbers and finite differences."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from semantic_field.object_prior.prior_model import CanonicalRays, PriorPixels
from semantic_field.object_prior.published.hypernetwork import (
    GeneratedLayer,
    HyperNetwork,
    fully_connected,
    phi,
)
from semantic_field.object_prior.published.part_unet import PartUNet
from semantic_field.object_prior.published.ray_marcher import RayMarcher
from semantic_field.object_prior.published.srn_losses import (
    color_loss,
    depth_loss,
    label_loss,
    target_channels,
)
from semantic_field.object_prior.training.image_batches import ImageBatch
from semantic_field.object_prior.training.prior_files import build_prior, config_of

TINY = runpy.run_path(str(Path(__file__).with_name("tiny_prior.py")))
SUBJECT, in_float64, some_rays = TINY["SUBJECT"], TINY["in_float64"], TINY["some_rays"]
tiny_prior = TINY["tiny_prior"]
CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_generated_layers_are_those_of_each_instance_alone():
    torch.manual_seed(0)
    hyper = HyperNetwork(code_dim=4, hidden=6, width=5, depth=3)
    codes, points = torch.randn(3, 4), torch.randn(3, 7, 3)
    found = phi(hyper(codes), points)
    for instance in range(3):
        value = points[instance]
        for generator, into in zip(hyper.generators, (3, 5, 5), strict=True):
            numbers = generator(codes[instance])
            weight, bias = numbers[: 5 * into].view(5, into), numbers[5 * into :]
            rows = []
            for row in value:
                z = weight @ row + bias
                z = (z - z.mean()) / torch.sqrt(z.var(correction=0) + 1e-5)
                rows.append(z.clamp_min(0))
            value = torch.stack(rows)
        assert torch.allclose(found[instance], value, atol=1e-5)


def test_a_layer_by_hand():
    weight = torch.tensor([[[1.0, 0, 0], [0, 2, 0]]])
    layer = GeneratedLayer(weight, torch.tensor([[0.0, 1.0]]))
    found = phi([layer], torch.tensor([[[3.0, 5.0, 9.0]]]))  # 3 and 11: mean 7, deviation 4
    assert torch.allclose(found, torch.tensor([[[0.0, 1.0]]]), atol=1e-5)


def test_first_weights_of_the_generators():
    torch.manual_seed(0)
    hyper = HyperNetwork(code_dim=64, hidden=100, width=10, depth=2)
    last = hyper.generators[1][-1].weight
    assert last.shape == (110, 100)
    assert last.std().item() == pytest.approx(0.1 * math.sqrt(2 / 100), rel=0.05)
    assert hyper.generators[1][0].weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    kinds = [type(module) for module in fully_connected([2, 3, 4])]
    assert kinds == [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Linear]


def lstm_step(cell: nn.LSTMCell, value, hidden, memory):
    """One step of an LSTM for one ray, gate by gate."""
    size = len(hidden)
    total = cell.weight_ih @ value + cell.bias_ih + cell.weight_hh @ hidden + cell.bias_hh
    enter, forget = torch.sigmoid(total[:size]), torch.sigmoid(total[size : 2 * size])
    candidate = torch.tanh(total[2 * size : 3 * size])
    leave = torch.sigmoid(total[3 * size :])
    memory = forget * memory + enter * candidate
    return leave * torch.tanh(memory), memory


@torch.no_grad()
def test_the_marcher_is_an_explicit_loop_over_rays_and_steps():
    prior, rays = tiny_prior(), some_rays(2, 5)
    layers = prior.hyper(prior.codes.weight)
    found = prior.marcher(lambda points: phi(layers, points), rays)
    for image in range(2):
        own = [GeneratedLayer(la.weight[image : image + 1], la.bias[image : image + 1])
               for la in layers]  # fmt: skip
        for ray in range(5):
            distance = 0.05 / rays.cosines[image, ray]
            hidden = memory = torch.zeros(4)
            for _ in range(3):
                point = rays.origins[image, ray] + distance * rays.directions[image, ray]
                value = phi(own, point.view(1, 1, 3))[0, 0]
                hidden, memory = lstm_step(prior.marcher.cell, value, hidden, memory)
                length = prior.marcher.step_length
                distance = distance + (length.weight[0] @ hidden + length.bias[0])
            assert found[image, ray] == pytest.approx(distance.item(), abs=1e-5)


def test_rays_begin_where_they_should():
    along_y = torch.tensor([[[0.0, 1.0, 0.0]] * 3])
    origins = torch.tensor([[[0.0, -3.0, 0.0], [2.5, -3.0, 0.0], [0.0, 0.0, 0.0]]])
    rays = CanonicalRays(origins, along_y, torch.tensor([[1.0, 0.5, 1.0]]))
    at_camera = RayMarcher(8, 4, 1, "camera", 0.05).first_distances(rays)
    assert at_camera.tolist() == [pytest.approx([0.05, 0.1, 0.05])]
    # the sphere's radius is 1.8: entered after 1.2, missed (closest after 3), begun inside
    at_sphere = RayMarcher(8, 4, 1, "sphere", 0.05).first_distances(rays)
    assert at_sphere.tolist() == [pytest.approx([1.2, 3.0, 0.05])]


def test_forget_gates_begin_open():
    cell = tiny_prior().marcher.cell
    assert cell.bias_ih[4:8].tolist() == cell.bias_hh[4:8].tolist() == [1.0] * 4
    assert not torch.any(cell.bias_ih[:4] == 1.0)


def test_gradients_at_hidden_states_are_bounded():
    marcher = tiny_prior().marcher
    rays = some_rays(1, 1)
    features = torch.ones(1, 1, 8)
    with torch.no_grad():
        marcher.step_length.weight.fill_(100.0)
    marcher.steps = 1
    marcher(lambda points: features, rays).sum().backward()  # 100 at each state without bound
    bounded = marcher.cell.bias_ih.grad.clone()
    marcher.zero_grad()
    marcher(lambda points: features, rays).sum().mul(0.1).backward()  # 10 at each state
    assert torch.allclose(bounded, marcher.cell.bias_ih.grad, atol=1e-6)


@pytest.mark.parametrize("start", ["camera", "sphere"])
def test_gradients_of_the_loss_by_finite_differences(start):
    prior = tiny_prior(start=start).double()
    rays = in_float64(some_rays(2, 6))
    batch = some_batch(rays, in_float=torch.float64)
    sum(prior.losses(batch).values()).backward()  # type: ignore[union-attr]
    random = torch.Generator().manual_seed(5)
    checked = 0
    for name, parameter in prior.named_parameters():
        if parameter.grad is None:
            assert name.startswith("label_layer.")
            continue
        gradient = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
        direction = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        losses = []
        with torch.no_grad():
            for step in (1e-6, -1e-6):
                parameter += step * direction
                losses.append(float(sum(prior.losses(batch).values())))
                parameter -= step * direction
        expected = (losses[0] - losses[1]) / 2e-6
        found = float((gradient * direction).sum())
        assert found == pytest.approx(expected, rel=2e-4, abs=1e-4), name
        checked += 1
    assert checked == 47


def some_batch(rays: CanonicalRays, in_float=torch.float32, parts=False) -> ImageBatch:
    """A batch with random colours and masks for rays of two instances."""
    random = torch.Generator().manual_seed(2)
    shape = rays.cosines.shape
    colors = torch.rand(*shape, 3, generator=random, dtype=in_float)
    masks = (torch.rand(*shape, generator=random) > 0.5).to(in_float)
    labels = torch.randint(3, shape, generator=random) if parts else None
    return ImageBatch(torch.arange(shape[0]), rays, colors, masks, labels)


def test_losses_by_hand():
    channels = torch.tensor([[[1.0, 0.0, 0.0, 1.0]]])
    batch = ImageBatch(
        torch.tensor([0]), some_rays(1, 1), torch.tensor([[[1.0, 0.5, 1.0]]]), None, None
    )
    target = target_channels(batch)
    assert target.tolist() == [[[1.0, 0.0, 1.0, 1.0]]]  # without a mask, as in the released data
    assert color_loss(channels, target).item() == pytest.approx(0.25)
    assert depth_loss(torch.tensor([[2.0, -0.5]])).item() == pytest.approx(0.125)
    scores = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]))
    found = label_loss(scores, torch.tensor([[0, 2]])).item()
    assert found == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)


def test_terms_are_weighted_and_complete():
    prior = tiny_prior(fully_supervised=True, unet_width=4, unet_downs=2)
    batch = some_batch(some_rays(2, 64), parts=True)
    terms = prior.losses(batch)
    assert list(terms) == ["color", "code", "depth", "label"]
    code = prior.codes.weight.square().mean().item()
    assert terms["code"].item() == pytest.approx(code)
    with torch.no_grad():
        pixels = prior.render(prior.codes.weight, batch.rays)
        label = label_loss(prior.label_logits(pixels), batch.parts)
    # batch norm uses the batch's statistics in both calls
    assert terms["label"].item() == pytest.approx(8 * label.item(), rel=1e-4)
    unlabelled = ImageBatch(batch.instances, batch.rays, batch.colors, batch.masks, None)
    with pytest.raises(ValueError, match="fully_supervised"):
        prior.losses(unlabelled)


@torch.no_grad()
def test_rendering_is_the_pixel_generator_at_the_rays_ends():
    prior, rays = tiny_prior(), some_rays(2, 5)
    pixels = prior.render(prior.codes.weight, rays)
    features = prior.features(prior.codes.weight, pixels.points)
    assert torch.allclose(pixels.features, features, atol=1e-5)
    ends = rays.origins + rays.directions * pixels.distance[..., None]
    assert torch.allclose(pixels.points, ends)
    channels = (prior.pixel_generator(features) + 1) / 2
    assert torch.allclose(pixels.color, channels[..., :3].clamp(0, 1), atol=1e-5)
    assert torch.allclose(pixels.opacity, channels[..., 3].clamp(0, 1), atol=1e-5)
    prior.label_layer.weight.normal_()
    scores = prior.label_logits(pixels)
    assert torch.allclose(scores, features @ prior.label_layer.weight.T, atol=1e-4)


def test_colours_out_of_range_keep_their_gradient():
    prior, rays = tiny_prior(), some_rays(1, 5)
    with torch.no_grad():
        prior.pixel_generator[-1].bias.fill_(3.0)
    code = prior.codes.weight[:1].detach().requires_grad_()
    pixels: PriorPixels = prior.render(code, rays)
    assert pixels.color.max() == 1
    pixels.color.sum().backward()
    assert code.grad is not None
    assert code.grad.abs().max() > 0


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_configuration_has_the_published_size():
    content = yaml.safe_load((CONFIG / "semantic_srn.yaml").read_text())
    torch.manual_seed(0)
    prior = build_prior({**content["model"], "products": "float32"}, SUBJECT)
    hidden = 2 * (256 * 256 + 256 + 2 * 256)  # two layers with their norms
    first = hidden + 257 * (3 * 256 + 256)
    others = hidden + 257 * (256 * 256 + 256)
    assert parameters(prior.hyper) == first + 3 * others == 51_519_232
    lstm = 4 * 16 * (256 + 16) + 2 * 4 * 16
    assert parameters(prior.marcher) == lstm + 17 == 17_553
    assert parameters(prior.pixel_generator) == 5 * (257 * 256 + 512) + 257 * 4 == 332_548
    parts = (prior.hyper, prior.marcher, prior.pixel_generator)
    assert sum(map(parameters, parts)) == 51_869_333  # 51.9 M
    assert prior.codes.weight.shape == (2, 256)
    assert config_of(prior)["stages"] == [
        {"side": 64, "batch": 4, "steps": 5000},
        {"side": 128, "batch": 8, "steps": 150000},
    ]


def test_the_published_unet_by_its_channels():
    unet = PartUNet(256, 6, 64, 4)

    def block(outer: int, inner: int, wide: int, normed: bool) -> int:
        bias = not normed
        count = 9 * outer * outer + 16 * outer * inner + 16 * wide * outer + 9 * outer * outer
        widths = 3 * outer + inner
        return count + (2 * widths if normed else 0) + (widths if bias else 0)

    assert parameters(unet) == (
        9 * 256 * 64 + 2 * 64  # enters
        + block(64, 128, 256, True) + 2 * block(128, 128, 256, True)
        + block(128, 128, 128, False) + 9 * 128 * 6 + 6
    )  # fmt: skip
    assert unet(torch.zeros(2, 256, 32, 48)).shape == (2, 6, 32, 48)
    with pytest.raises(ValueError, match="multiples of 16 pixels, got 40x32"):
        unet(torch.zeros(1, 256, 32, 40))


def test_only_codes_of_a_batch_move():
    prior = tiny_prior()
    before = prior.codes.weight.detach().clone()
    batch = some_batch(some_rays(1, 8))
    adam, sparse = prior.optimizers(schedule())
    assert sparse.defaults["betas"] == (0.5, 0.5)
    assert sparse.defaults["eps"] == 1e-5
    sum(prior.losses(batch).values()).backward()  # type: ignore[union-attr]
    adam.step()
    sparse.step()
    moved = (prior.codes.weight.detach() - before).abs()
    assert moved[1].max() == 0
    # the first step of Adam is the rate for every component whose gradient is not tiny
    assert moved[0].max().item() == pytest.approx(4e-4, rel=0.05)


def schedule():
    from semantic_field.object_prior.training.prior_settings import PriorSchedule

    return PriorSchedule(learning_rate=4e-4)
