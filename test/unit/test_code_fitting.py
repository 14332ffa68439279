"""Codes from views of objects that are known exactly, by each kind of evidence alone."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from analytic_prior import BoxChair, exact_depth

from semantic_field.data.objects.object_views import ObjectView
from semantic_field.geometry import Camera, look_at
from semantic_field.object_prior.code_distribution import (
    CodeDistribution,
    spread_codes,
    surprise,
)
from semantic_field.object_prior.code_fitting import FitOptions, fit_code, softened, starting_codes
from semantic_field.object_prior.code_losses import EvidenceWeights, evidence_losses
from semantic_field.object_prior.observed_rays import ObservedRays
from semantic_field.object_prior.prior_model import canonical_rays

CODE = torch.tensor([0.8, -1.0, 0.7, -0.9])
FAST = FitOptions(steps=45, rays=128, tried=20)


def view_of(
    prior: BoxChair, code: torch.Tensor, eye=(1.2, -1.4, 1.3), side: int = 32
) -> ObjectView:
    """What a camera sees, from the prior's own renderer: colour, depth, parts and mask."""
    camera = Camera.from_field_of_view(side, side, 0.8)
    pose = look_at(eye, (0.0, 0.0, 0.45))
    depth, mask = exact_depth(prior, code, camera, pose)
    empty = ObjectView(np.zeros((side, side, 3), np.uint8), camera, pose)
    pixels = prior.render(code[None], canonical_rays([empty], prior.frame))
    color = (pixels.color[0].clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    color = np.where(mask[..., None], color.reshape(side, side, 3), 255).astype(np.uint8)
    parts = pixels.features[0].argmax(-1).numpy().reshape(side, side) + 1
    parts = np.where(mask, parts, 0).astype(np.uint8)
    return ObjectView(color, camera, pose, np.where(mask, depth, 0), parts, mask)


@pytest.fixture(scope="module")
def prior() -> BoxChair:
    return BoxChair()


@pytest.fixture(scope="module")
def view(prior) -> ObjectView:
    return view_of(prior, CODE)


def surface_error(prior: BoxChair, code: torch.Tensor) -> float:
    """Mean distance between the true and the fitted shape's surfaces, metres, near the surface."""
    places = torch.rand(1, 4000, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    truth, found = prior.distances(CODE[None], places), prior.distances(code[None], places)
    near = truth.abs() < 0.05
    return float((truth - found).abs()[near].mean()) * prior.frame.unit_m


@pytest.mark.parametrize(
    ("use", "most_m"), [(("color",), 0.02), (("labels",), 0.03), (("depth",), 0.006)]
)
def test_one_view_gives_the_shape(prior, view, use, most_m):
    found = fit_code(prior, [view], use, FAST)
    mean = prior.codes.weight.mean(0)
    assert surface_error(prior, found.code) < min(most_m, 0.6 * surface_error(prior, mean))
    assert found.residual == pytest.approx(float(found.restarts.min()))
    assert set(found.losses) == {*use, "mask"} - ({"mask"} if use == ("depth",) else set())


def test_all_evidence_of_two_views_gives_the_code(prior, view):
    other = view_of(prior, CODE, eye=(-1.0, 1.5, 1.0), side=24)
    found = fit_code(prior, [view, other], options=FAST)
    assert (found.code - CODE)[:3].abs().max() < 0.1
    assert (found.code - CODE)[3].abs() < 0.6  # of the back's height, 9 %: its top is few pixels
    assert set(found.losses) == {"color", "labels", "depth", "mask"}


def test_more_restarts_are_never_worse(prior, view):
    one = fit_code(prior, [view], ("depth",), replace(FAST, restarts=1))
    four = fit_code(prior, [view], ("depth",), replace(FAST, restarts=4))
    assert four.residual <= one.residual + 1e-4
    assert len(four.restarts) == 4


def test_starts_are_the_best_training_codes_and_the_mean(prior, view):
    rays = ObservedRays.of([view], prior.frame, ("depth",))
    options = replace(FAST, restarts=3, tried=40)
    starts = starting_codes(prior, rays, ("depth",), options)
    weights = EvidenceWeights()

    def loss(codes):
        generator = torch.Generator().manual_seed(0)
        return evidence_losses(prior, codes, rays, ("depth",), weights, generator)["depth"]

    every = loss(prior.codes.weight)
    assert torch.allclose(loss(starts[:1]), every.min(), atol=1e-6)
    assert torch.allclose(starts[-1], prior.codes.weight.mean(0))


def test_a_strong_expectation_keeps_the_code_usual(prior, view):
    free = fit_code(prior, [view], ("depth",), replace(FAST, code_weight=1e-4))
    bound = fit_code(prior, [view], ("depth",), replace(FAST, code_weight=3.0))
    assert bound.surprise < 0.2 < free.surprise


def test_gradients_of_distance_losses(prior, view):
    rays = ObservedRays.of([view], prior.frame, ("depth",))
    rays = rays[torch.nonzero(rays.mask == 1)[::9, 0]]
    weights = EvidenceWeights()

    def loss(code):
        generator = torch.Generator().manual_seed(2)
        return evidence_losses(prior, code[None], rays, ("depth",), weights, generator)["depth"][0]

    code = torch.tensor([0.3, -0.2, 0.1, 0.4], requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(code), code)
    step = 2e-3
    for index in range(4):
        moved = torch.eye(4)[index] * step
        with torch.no_grad():
            difference = float(loss(code + moved) - loss(code - moved)) / (2 * step)
        assert float(gradient[index]) == pytest.approx(difference, rel=0.05, abs=2e-3)


def test_silhouettes_come_from_what_is_used(prior, view):
    by_color = ObservedRays.of([view], prior.frame, ("color",))
    assert torch.equal(by_color.mask.bool(), torch.from_numpy(view.mask.reshape(-1)))
    by_depth = ObservedRays.of([view], prior.frame, ("depth",))
    assert set(by_depth.mask.unique().tolist()) == {-1, 1}  # no reading is not background
    bare = ObjectView(view.color, view.camera, view.T_object_camera)
    with pytest.raises(ValueError, match="expected views with some of"):
        ObservedRays.of([bare], prior.frame, ("depth", "mask"))
    with pytest.raises(ValueError, match="expected some of"):
        ObservedRays.of([view], prior.frame, ("colour",))


def test_points_of_rays_lie_on_the_surface(prior, view):
    rays = ObservedRays.of([view], prior.frame, ("depth",))
    measured = rays.distance > 0
    off = prior.distances(CODE[None], rays.points[measured][None])[0]
    assert off.abs().median() < 1e-3


def test_half_of_the_drawn_rays_meet_the_object(prior, view):
    rays = ObservedRays.of([view], prior.frame, ("mask",))
    drawn = rays.drawn(100, torch.Generator().manual_seed(0))
    assert len(drawn) == 100 and int((drawn.mask == 1).sum()) >= 50


def test_the_width_of_silhouettes_is_restored(prior):
    before = prior.softness
    with pytest.raises(RuntimeError), softened(prior) as soften:
        soften(0.5)
        assert prior.softness == 0.5
        raise RuntimeError
    assert prior.softness == before != 0.5


def test_whitened_codes_have_unit_variance():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(500, 3, generator=generator) @ torch.tensor(
        [[2.0, 1.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.1]]
    ) + torch.tensor([1.0, 2.0, 3.0])
    spread = CodeDistribution.of(codes, kept=1.0)
    whitened = spread.whitened(codes)
    assert torch.allclose(whitened.mT.cov(), torch.eye(3), atol=1e-3)
    assert torch.allclose(spread.codes(whitened), codes, atol=1e-4)
    assert float(surprise(whitened).mean()) == pytest.approx(1.0, abs=0.01)


def test_shape_and_colour_of_codes_are_apart():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(60, 2, generator=generator)
    codes = torch.cat([base, base @ torch.tensor([[1.0], [1.0]])], dim=1)  # colour follows shape
    spread = CodeDistribution.of(codes, shape_dim=2)
    assert spread.shape_axes == 2
    moved = spread.codes(torch.tensor([[0.0, 0.0, 1.0]])) - spread.mean
    assert torch.allclose(moved[0, :2], torch.zeros(2)) and moved[0, 2].abs() > 0.1
    whitened = torch.tensor([[1.0, 1.0, 50.0]])
    assert float(spread.shape_surprise(whitened)) == pytest.approx(1.0)


def test_spread_codes_lie_far_from_one_another():
    codes = torch.tensor([[0.0, 0.1], [0.1, 0.0], [5.0, 0.0], [0.0, 5.0], [-5.0, 0.1], [0.1, -5.0]])
    chosen = spread_codes(codes, 5).tolist()
    assert chosen[0] in (0, 1) and set(chosen[1:]) == {2, 3, 4, 5}
    assert len(spread_codes(codes, 50)) == 6


def test_one_code_has_no_spread():
    with pytest.raises(ValueError, match="at least 2 instances"):
        CodeDistribution.of(torch.zeros(1, 4))
