"""Training of the signed-distance prior, its precision, its file, and the chair that ships."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semantic_field.data.objects.procedural_objects import (
    CATEGORIES,
    TRAIN_SEEDS,
    ProceduralObjects,
    ViewPlan,
)
from semantic_field.generalizable.training.training_settings import ScheduleSettings
from semantic_field.object_prior.label_layers import image_miou, rendered_view
from semantic_field.object_prior.signed_distance.distance_network import DistanceSizes
from semantic_field.object_prior.signed_distance.instance_samples import SampleSettings
from semantic_field.object_prior.signed_distance_prior import (
    SignedDistanceConfig,
    SignedDistancePrior,
)
from semantic_field.object_prior.trainable_prior import PriorSubject, TrainingObjects
from semantic_field.object_prior.training.novel_views import psnr
from semantic_field.object_prior.training.prior_files import (
    PriorCard,
    load_prior,
    read_prior_card,
    save_prior,
    shipped_priors,
)

SAMPLES = SampleSettings(
    near=1200, free=400, surface=600, instances_per_step=2, points_per_step=300, colors_per_step=60
)
SIZES = DistanceSizes(geometry_dim=8, color_dim=6, width=48, layers=3, modulation_width=32)


def mugs() -> TrainingObjects:
    return TrainingObjects(ProceduralObjects("mug", range(2), ViewPlan(2, 32)), 2)


def new_prior(data: TrainingObjects, **samples) -> SignedDistancePrior:
    torch.manual_seed(0)
    config = SignedDistanceConfig(sizes=SIZES, samples=replace(SAMPLES, **samples))
    return SignedDistancePrior(config, PriorSubject.of(data.objects))


def test_two_mugs_are_learnt() -> None:
    data, schedule = mugs(), ScheduleSettings(learning_rate=8e-3)
    prior = new_prior(data)
    batches, optimizers = prior.batches(data, schedule), prior.optimizers(schedule)
    for step in range(160):
        terms = prior.losses(batches(step))
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    batch = batches(1000)
    with torch.no_grad():
        found = prior.distances(prior.codes(batch.instances), batch.points)
        sure = batch.distances.abs() > 0.02
        right = (found.sign() == batch.distances.sign())[sure].float().mean()
        color = prior.colors(prior.codes(batch.instances), batch.surface)
    assert right > 0.95
    # better than the mean colour of each mug, the best that a constant can do
    mean = batch.colors.mean(dim=1, keepdim=True)
    assert (color - batch.colors).square().mean() < 0.5 * (mean - batch.colors).square().mean()
    # the box of rays is that of the instances, with a margin
    surface = batch.surface.flatten(0, 1)
    assert (surface > prior.box[0]).all() and (surface < prior.box[1]).all()
    assert (prior.box[1] - prior.box[0]).max() < 2.3


def test_bfloat16_and_float32_agree() -> None:
    data = mugs()
    batch = new_prior(data).batches(data, ScheduleSettings())(0)
    values, gradients = [], []
    for fast in (False, True):
        prior = new_prior(data, bfloat16=fast)
        terms = prior.losses(batch)
        torch.stack(list(terms.values())).sum().backward()
        values.append(torch.stack(list(terms.values())).detach())
        gradients.append(torch.cat([p.grad.flatten() for p in prior.network.parameters()]))
    assert torch.allclose(values[0], values[1], rtol=0.02)
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert cosine > 0.995


def test_the_colour_code_does_not_move_the_shape() -> None:
    prior = new_prior(mugs())
    codes = prior.codes.weight.detach()[:1].clone().requires_grad_()
    points = torch.rand(1, 50, 3) - 0.5
    (shape,) = torch.autograd.grad(prior.distances(codes, points).sum(), codes)
    (color,) = torch.autograd.grad(prior.colors(codes, points).sum(), codes)
    assert shape[0, : prior.geometry_dim].abs().min() > 0
    assert shape[0, prior.geometry_dim :].abs().max() == 0
    assert color[0, prior.geometry_dim :].abs().min() > 0


def test_a_prior_comes_back_from_its_file(tmp_path: Path) -> None:
    prior = new_prior(mugs())
    prior.box.copy_(torch.tensor([[-0.5] * 3, [0.75] * 3]))
    save_prior(prior, tmp_path / "mug.safetensors", PriorCard(), half=True)
    back = load_prior(tmp_path / "mug.safetensors")
    points = torch.rand(1, 50, 3) - 0.5
    assert isinstance(back, SignedDistancePrior)
    with torch.no_grad():
        first, second = (p.distances(p.codes.weight[:1], points) for p in (prior, back))
    assert torch.allclose(first, second, atol=2e-3)
    assert back.box.tolist() == prior.box.tolist()


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_prior_that_ships_shows_an_instance_from_a_new_view(category: str) -> None:
    prior = load_prior(category)
    assert isinstance(prior, SignedDistancePrior)
    names = prior.subject.instances
    seeds = [int(name.rsplit("-", 1)[1]) for name in names]
    assert set(seeds) <= set(TRAIN_SEEDS)
    assert read_prior_card(category).labelled_images == 30
    row = len(names) // 2
    objects = ProceduralObjects(category, [seeds[row]], ViewPlan(26, 64))
    assert objects.names[0] == names[row]
    view = objects.view(0, 25)
    assert view.parts is not None and view.mask is not None
    with torch.no_grad():
        pixels = rendered_view(prior, prior.codes.weight[row], view)
        labels = prior.label_logits(pixels)[0].argmax(dim=-1)
    truth = torch.from_numpy(view.color.reshape(-1, 3)).float() / 255
    white = psnr(torch.ones_like(truth), truth)
    assert psnr(pixels.color[0], truth) > white + 4
    assert image_miou(labels, torch.from_numpy(view.parts.reshape(-1)).long()) > 0.4
    seen = (pixels.opacity[0] > 0.5).numpy()
    mask = view.mask.reshape(-1)
    assert np.sum(seen & mask) / np.sum(seen | mask) > 0.6


def test_the_priors_that_ship_are_small() -> None:
    files = [path for name, path in shipped_priors().items() if name in CATEGORIES]
    assert len(files) == len(CATEGORIES)
    assert sum(path.stat().st_size for path in files) < 8e6
