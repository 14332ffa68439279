"""config/gsnerf.yaml is GSNeRF at the published sizes: shapes, parameters, one training step.

Parameters are counted by hand from the layers of the paper and its released code.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from semantic_field.generalizable.generalizable_model import Truth
from semantic_field.generalizable.gsnerf import GSNeRF
from semantic_field.generalizable.gsnerf_config import GSNeRFConfig, load_gsnerf_config
from semantic_field.generalizable.semantic_branch import ClosedSemantics
from semantic_field.generalizable.source_images import SourceImages, TargetRays, target_rays
from semantic_field.generalizable.unet_extractor import ExtractorSettings, feature_extractor

FILE = Path(__file__).resolve().parents[2] / "config" / "gsnerf.yaml"
C, V, H, W = 20, 8, 48, 64
RAYS = (slice(8, 12), slice(10, 18))


@pytest.fixture(scope="module")
def config() -> GSNeRFConfig:
    return load_gsnerf_config(FILE)


@pytest.fixture(scope="module")
def model(config) -> GSNeRF:
    torch.manual_seed(0)
    return GSNeRF(config)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def conv(inputs: int, outputs: int, taps: int, groups: int = 1) -> int:
    """A convolution without bias and its norm."""
    return inputs // groups * outputs * taps + 2 * outputs


def linear(inputs: int, outputs: int) -> int:
    """A fully connected layer, or a 1x1 convolution with bias."""
    return inputs * outputs + outputs


def double(inputs: int, outputs: int) -> int:
    return conv(inputs, outputs, 9) + conv(outputs, outputs, 9)


def residual(inputs: int, middle: int, outputs: int) -> int:
    return conv(inputs, middle, 1) + conv(middle, middle, 9, middle) + conv(middle, outputs, 1)


def pyramid(encoder: tuple[int, int, int]) -> int:
    """1x1 convolutions to 32 channels, and 3x3 ones to 16 and 8."""
    return sum(linear(c, 32) for c in encoder) + linear(32 * 9, 16) + linear(32 * 9, 8)


MOBILENET = (
    conv(3, 16, 9)
    + conv(16, 16, 9, 16)
    + conv(16, 16, 1)
    + residual(16, 72, 24)
    + residual(24, 88, 24)
    + residual(24, 96, 40)
    + 2 * residual(40, 240, 40)
    + residual(40, 120, 48)
    + residual(48, 144, 48)
)
MOBILENET_UP = double(48 + 24, 128) + double(128 + 16, 64) + double(64 + 16, 64) + double(64, 32)
PLAIN = double(3, 8) + sum(
    conv(a, b, 25) + double(b, b) for a, b in ((8, 16), (16, 32), (32, 64), (64, 128))
)
PLAIN_UP = sum(
    linear(a * 4, b) + double(a, b)  # of the transposed 2x2 convolution, and two 3x3 ones
    for a, b in ((128, 64), (64, 32), (32, 16), (16, 8))
)
VOLUME_NET = (
    conv(8, 8, 27)
    + conv(8, 16, 27) + conv(16, 16, 27)
    + conv(16, 32, 27) + conv(32, 32, 27)
    + conv(32, 64, 27) + conv(64, 64, 27)
    + conv(64, 32, 27) + conv(32, 16, 27) + conv(16, 8, 27)
    + 2 * conv(8, 8, 27)
    + linear(8 * 27, 1)
)  # fmt: skip
ATTENTION = 4 * (4 * 32 * 32 + 2 * 64 + 2 * linear(32, 32))
ALONG_RAY = (
    linear(32 * 3, 64) + linear(64 * 3, 128) + linear(128 * 3, 128)
    + linear(128 * 4, 128) + linear(256 * 4, 64) + linear(128 * 4, 32)
    + linear(64 * 3, 32)
)  # fmt: skip
RADIANCE = (
    linear(24 + 1 + 8, 32)
    + linear(2 * 8, 32) + linear(32, 32)
    + ATTENTION
    + ALONG_RAY
    + linear(32, 32) + linear(32, 16) + linear(16, 1)
    + linear(32 + 9, 32) + linear(32, 16) + linear(16, 1)
)  # fmt: skip
SEMANTICS = (
    linear(1 + 9 * C, 32)
    + linear(2 * 9 * C, 32) + linear(32, 32)
    + ATTENTION
    + linear(9 * 32, 288) + linear(288, 144) + linear(144, C)
)  # fmt: skip


def test_parameters_are_those_of_the_published_layers(model):
    extractor = MOBILENET + MOBILENET_UP + pyramid((3, 16, 16)) + linear(32 * 9, C) + linear(C, C)
    assert parameters(model.extractor) == extractor
    assert model.geometry is not None
    assert [parameters(net) for net in model.geometry.nets] == [VOLUME_NET] * 3
    assert parameters(model.renderer.radiance.along_ray) == ALONG_RAY == 234048
    assert parameters(model.renderer.radiance) == RADIANCE
    assert parameters(model.renderer.semantics) == SEMANTICS
    assert parameters(model) == extractor + 3 * VOLUME_NET + RADIANCE + SEMANTICS


def test_parameters_of_the_plain_u_net():
    net = feature_extractor(ExtractorSettings(kind="unet", norm="batch_in_use"), C)
    right = PLAIN + PLAIN_UP + pyramid((8, 16, 32)) + linear(8, C) + linear(C, C)
    assert parameters(net) == right


def test_the_sizes_are_the_published_ones(config, model):
    assert (config.samples, config.spread_m, config.depth) == (128, 0.5, "volume")
    assert len(model.class_names) == C
    assert isinstance(model.renderer.semantics, ClosedSemantics)
    assert model.extractor.strides == (1, 2, 4) and model.extractor.channels == (8, 16, 32)
    geometry = config.geometry
    assert (geometry.planes, geometry.ratios, geometry.groups) == ((48, 32, 8), (4, 2, 1), 8)
    reach = 8 * (geometry.far_m - geometry.near_m) / 48 / 4  # of the finest level's planes
    assert config.attention.hidden_m == pytest.approx(0.2 * reach)


def scene() -> tuple[SourceImages, TargetRays, Truth]:
    torch.manual_seed(1)
    poses = torch.eye(4).repeat(V, 1, 1)
    poses[:, 0, 3] = torch.linspace(-0.3, 0.3, V)
    intrinsics = torch.tensor([50.0, 50.0, (W - 1) / 2, (H - 1) / 2])
    sources = SourceImages(torch.rand(V, 3, H, W), intrinsics.expand(V, 4), poses)
    nothing = torch.zeros(H, W)
    rays = target_rays(intrinsics, torch.eye(4), nothing, nothing, (0.1, 10.0)).part(*RAYS)
    truth = Truth(
        color=torch.rand(4, 8, 3),
        depth=torch.full((4, 8), 2.0),
        labels=torch.randint(-1, C, (4, 8)),
        source_labels=torch.randint(-1, C, (V, H, W)),
        source_depths=torch.full((V, H, W), 2.0),
    )
    return sources, rays, truth


@pytest.mark.parametrize("supervision", ["depth", "self"])
def test_one_training_step_has_finite_gradients_everywhere(model, supervision):
    losses = replace(model.config.losses, supervision=supervision)
    model.config = replace(model.config, losses=losses)
    sources, rays, truth = scene()
    model.train().zero_grad()
    prediction = model(sources, rays)
    terms = model.losses(prediction, truth, sources)
    torch.stack(list(terms.values())).sum().backward()
    always = {"color", "rendered", "source"}
    own = {"levels", "ray_depth"}
    if supervision == "self":
        own = {"guided", "consistency", "photometric"}
    assert set(terms) == always | own
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    levels = [tuple(prediction.extra[f"level_{i}"].shape) for i in range(3)]
    assert levels == [(V, 48, 64), (V, 24, 32), (V, 12, 16)]


def test_shapes_of_a_prediction(model):
    sources, rays, _ = scene()
    with torch.no_grad():
        features = model.extract(sources.colors)
        got = model.eval()(replace(sources, features=features), rays)
    shapes = [tuple(part.shape[1:]) for part in features]
    assert shapes == [(8, 48, 64), (16, 24, 32), (32, 12, 16), (C, 48, 64), (C, 48, 64)]
    assert (got.color.shape, got.depth.shape) == ((4, 8, 3), (4, 8))
    assert got.scores is not None and got.scores.shape == (4, 8, C)
    assert got.latent is None
