"""GP-NeRF at the size of its paper, as config/gp_nerf.yaml has it: counts, shapes, one step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from semantic_field.generalizable.generalizable_model import Truth
from semantic_field.generalizable.gp_nerf import GPNeRF, GPNeRFConfig
from semantic_field.generalizable.source_images import SourceImages, target_rays
from semantic_field.settings import updated

CONFIG = Path(__file__).resolve().parents[2] / "config" / "gp_nerf.yaml"


def paper_config(**changes) -> GPNeRFConfig:
    values = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["model"]
    assert values.pop("system") == "gp_nerf"
    return updated(GPNeRFConfig(), values | changes)


def count(part: nn.Module | None) -> int:
    assert part is not None
    return sum(weight.numel() for weight in part.parameters())


def test_the_extractor_has_the_parameters_of_a_resnet_34():
    extractor = GPNeRF(paper_config()).extractor
    # 3x3 convolutions without bias, a norm of 2 numbers per channel after each; the first block of
    # a stage has a 1x1 convolution and a norm beside it
    assert count(extractor.stem) == 7 * 7 * 3 * 64 + 2 * 64
    first = 2 * 9 * 64 * 64 + 4 * 64 + 64 * 64 + 2 * 64
    assert count(extractor.stages[0]) == first + 2 * (2 * 9 * 64 * 64 + 4 * 64) == 226176
    first = 9 * 64 * 128 + 9 * 128 * 128 + 4 * 128 + 64 * 128 + 2 * 128
    assert count(extractor.stages[1]) == first + 3 * (2 * 9 * 128 * 128 + 4 * 128) == 1116416
    first = 9 * 128 * 256 + 9 * 256 * 256 + 4 * 256 + 128 * 256 + 2 * 256
    assert count(extractor.stages[2]) == first + 5 * (2 * 9 * 256 * 256 + 4 * 256) == 6822400
    # IBRNet's decoder: 256 to 128, with 128 beside to 128, to 64, with 64 beside to 64, to 32
    decoder = 2 * (9 * 256 * 128 + 2 * 128) + 2 * (9 * 128 * 64 + 2 * 64) + 64 * 32 + 32
    assert count(extractor.radiance) == decoder == 740128
    pyramid = (64 + 64 + 128 + 256) * 128 + 4 * 128 + 4 * (9 * 128 * 128 + 128)
    assert count(extractor.semantic) == pyramid == 656384


def test_the_transformers_have_the_parameters_of_gnt():
    rays = GPNeRF(paper_config()).rays
    feed = 2 * 64 + (64 * 256 + 256) + (256 * 64 + 64)
    place, logit = (4 * 8 + 8) + (8 * 64 + 64), (64 * 8 + 8) + (8 * 64 + 64)
    view_block = 2 * 64 + 3 * 64 * 64 + place + logit + (64 * 64 + 64) + feed
    assert [count(block) for block in rays.aggregation.views] == [view_block] * 8 == [51504] * 8
    ray_block = 2 * 64 + 3 * 64 * 64 + (64 * 64 + 64) + feed
    assert [count(block) for block in rays.aggregation.rays] == [ray_block] * 8 == [49792] * 8
    even = (64 + 63 + 63) * 64 + 64 + (64 * 64 + 64)
    assert [count(layers) for layers in rays.aggregation.places] == [even] * 4
    assert count(rays.aggregation.embed) == (35 * 64 + 64) + (64 * 64 + 64)
    assert count(rays) == 8 * (51504 + 49792) + 4 * even + 6464 + 2 * 64 + 64 * 3 + 3 == 882691


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            "unet",
            9 * (512 * 128 + 128 * 256 + 256 * 512 + 768 * 256 + 384 * 128)
            + 2 * (128 + 256 + 512 + 256 + 128)
            + 128 * 20
            + 20,
        ),
        ("fpn", 4 * (9 * 128 * 128 + 2 * 128) + 128 * 20 + 20),
    ],
)
def test_the_heads_read_512_channels(head, expected):
    model = GPNeRF(paper_config(head=head))
    assert count(model.head) == expected
    assert count(model.meaning) == 512 * 512 + 512
    assert count(model.fuse) == (512 + 64) * 512 + 512
    whole = count(model.extractor) + count(model.rays) + expected
    assert count(model) == whole + count(model.meaning) + count(model.fuse)


def test_a_full_size_step_is_finite_and_reaches_every_part():
    """Of fewer samples and views than the paper's, which change no parameter."""
    torch.manual_seed(1)
    config = paper_config(coarse=3, importance=2, instances=4)
    model = GPNeRF(config).train()
    views, size = 2, (40, 48)
    intrinsics, poses = torch.tensor([40.0, 40.0, 23.5, 19.5]), torch.eye(4).repeat(views, 1, 1)
    poses[1, 0, 3] = 0.2
    colors = torch.rand(views, 3, *size)
    features = model.extract(colors)
    assert features[0].shape == (views, 32, 10, 12) and features[1].shape == (views, 512, 20, 24)
    sources = SourceImages(colors, intrinsics.expand(views, 4), poses, features=features)
    nothing = torch.zeros(size)
    crop = (slice(4, 36), slice(8, 40))
    rays = target_rays(intrinsics, torch.eye(4), nothing, nothing).part(*crop)
    found = model(sources, rays)
    assert found.scores is not None and found.scores.shape == (32, 32, 20)
    assert found.extra["meaning_samples"].shape == (32, 32, 5, 512)
    assert found.extra["instance_logits"].shape == (32, 32, 5)
    labels = torch.randint(-1, 20, (32, 32))
    truth = Truth(torch.rand(32, 32, 3), torch.zeros(32, 32), labels, instances=labels % 4)
    terms = model.losses(found, truth, sources)
    expected = {"color", "color_coarse", "depth", "classes", "teacher", "distillation"}
    expected |= {"depth_guided", "instance_entropy", "instance_overlap", "instance_invalid"}
    assert set(terms) == expected
    before = [weight.detach().clone() for weight in model.parameters()]
    descent = torch.optim.Adam(model.parameters(), 1e-4)
    sum(terms.values()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
    descent.step()
    moved = [(weight != old).any() for weight, old in zip(model.parameters(), before, strict=True)]
    assert all(moved)
