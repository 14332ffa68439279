"""Rays of the signed-distance prior against hand-worked spheres, brute force and differences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from semantic_field.data.objects.object_views import CategoryFrame
from semantic_field.object_prior.prior_model import CanonicalRays
from semantic_field.object_prior.signed_distance.active_rays import ActiveRays
from semantic_field.object_prior.signed_distance.distance_network import DistanceSizes
from semantic_field.object_prior.signed_distance.sphere_tracing import TracingPlan, box_span, trace
from semantic_field.object_prior.signed_distance_prior import (
    SignedDistanceConfig,
    SignedDistancePrior,
)
from semantic_field.object_prior.trainable_prior import PriorSubject

SIZES = DistanceSizes(
    geometry_dim=4,
    color_dim=3,
    width=16,
    layers=2,
    octaves=1,
    modulation_width=8,
    slots=2,
    slot_dim=4,
    color_width=8,
)
SUBJECT = PriorSubject("chair", ("seat", "leg"), CategoryFrame(0.6, (0, 0, 0.5)), ("a", "b", "c"))


def small_prior(seed: int = 0, **settings) -> SignedDistancePrior:
    torch.manual_seed(seed)
    return SignedDistancePrior(SignedDistanceConfig(sizes=SIZES, **settings), SUBJECT).double()


class Spheres(nn.Module):
    """Spheres around the origin: the code's first number is the radius, its second the red."""

    def instance_layers(self, codes: Tensor) -> Tensor:
        return codes[:, None, :2]

    def hidden(self, layers: Tensor, points: Tensor) -> Tensor:
        return torch.cat([points, layers[..., :1].expand(-1, points.shape[1], -1)], dim=-1)

    def levels(self, layers: Tensor, points: Tensor) -> list[Tensor]:
        return [self.hidden(layers, points)]

    def distance(self, hidden: Tensor) -> Tensor:
        return hidden[..., :3].norm(dim=-1) - hidden[..., 3]

    def color(self, layers: Tensor, hidden: Tensor) -> Tensor:
        red = layers[..., 1:2].expand(-1, hidden.shape[1], -1)
        return torch.cat([red, hidden[..., 2:3], torch.zeros_like(red)], dim=-1)


def sphere_prior(softness: float = 0.002) -> SignedDistancePrior:
    prior = small_prior(softness=softness)
    prior.network = Spheres()
    return prior


def rays_along_x(offsets: list[float], images: int = 1) -> CanonicalRays:
    """Rays from x = -2 in the direction +x that pass the origin at heights z."""
    origins = torch.tensor([[-2.0, 0.0, z] for z in offsets], dtype=torch.float64)
    directions = torch.zeros_like(origins)
    directions[:, 0] = 1.0
    shape = (images, len(offsets), 3)
    cosines = torch.ones(shape[:2], dtype=torch.float64)
    return CanonicalRays(origins.expand(shape), directions.expand(shape), cosines)


def test_rays_end_on_the_sphere_where_geometry_says() -> None:
    prior, codes = sphere_prior(), torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    with torch.no_grad():
        pixels = prior.render(codes, rays_along_x([0.0, 0.3, -0.4, 0.6, 1.5]))
    expected = [2 - 0.5, 2 - 0.4, 2 - 0.3]
    # a ray has arrived at 0.002 in front of the surface; the last step is along its distance
    assert pixels.distance[0, :3].tolist() == pytest.approx(expected, abs=2e-3)
    assert pixels.opacity[0].tolist() == pytest.approx([1, 1, 1, 0, 0], abs=1e-4)
    red, green, blue = pixels.color[0, 1].tolist()
    assert (red, green, blue) == pytest.approx((0.25, 0.3, 0.0), abs=2e-3)
    assert pixels.color[0, 3:].tolist() == [[1.0] * 3] * 2
    assert pixels.features[0, 4].abs().sum() == 0
    assert pixels.points[0, 1].tolist() == pytest.approx([-0.4, 0, 0.3], abs=2e-3)


def test_several_images_are_as_each_alone() -> None:
    prior = sphere_prior()
    codes = torch.tensor([[0.5, 0.2], [0.2, 0.9], [0.05, 0.5]], dtype=torch.float64)
    offsets = torch.linspace(-0.7, 0.7, 41).tolist()
    with torch.no_grad():
        together = prior.render(codes, rays_along_x(offsets, 3))
        for index in range(3):
            alone = prior.render(codes[index : index + 1], rays_along_x(offsets))
            for name, value in vars(alone).items():
                assert torch.allclose(getattr(together, name)[index], value[0], atol=1e-12), name


def test_opacity_is_the_logistic_of_the_least_distance() -> None:
    prior = sphere_prior(softness=0.05)
    codes = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    offsets = [0.6, 0.5, 0.45]
    with torch.no_grad():
        found = prior.render(codes, rays_along_x(offsets)).opacity[0].tolist()
    expected = [1 / (1 + math.exp((z - 0.5) / 0.05)) for z in offsets]
    assert found[0] == pytest.approx(expected[0], abs=2e-3)
    assert found[1] == pytest.approx(expected[1], abs=2e-2)
    # inside, the deepest place is found by few steps: never beyond the truth, and close to it
    assert expected[2] - 0.04 < found[2] <= expected[2] + 1e-9


def test_implicit_gradients_of_the_sphere_are_the_analytic_ones() -> None:
    prior = sphere_prior()
    codes = torch.tensor([[0.5, 0.25]], dtype=torch.float64, requires_grad=True)
    pixels = prior.render(codes, rays_along_x([0.3]))
    # t = 2 - sqrt(r^2 - z^2): dt/dr = -r / sqrt(r^2 - z^2) = -0.5 / 0.4
    (by_code,) = torch.autograd.grad(pixels.distance.sum(), codes, retain_graph=True)
    assert by_code[0, 0].item() == pytest.approx(-1.25, rel=1e-2)
    (by_code,) = torch.autograd.grad(pixels.color[0, 0, 0], codes)
    assert by_code[0, 1].item() == pytest.approx(1.0, abs=1e-9)


def test_the_silhouette_pulls_a_sphere_that_is_too_small() -> None:
    prior = sphere_prior(softness=0.05)
    codes = torch.tensor([[0.4, 0.25]], dtype=torch.float64, requires_grad=True)
    pixels = prior.render(codes, rays_along_x([0.5]))
    (by_code,) = torch.autograd.grad(pixels.opacity.sum(), codes)
    o = 1 / (1 + math.exp(0.1 / 0.05))
    assert by_code[0, 0].item() == pytest.approx(o * (1 - o) / 0.05, rel=2e-2)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("distance", 1e-5), ("features", 1e-5), ("points", 1e-5), ("color", 1e-5), ("opacity", 0.1)],
)
def test_gradients_agree_with_finite_differences(name: str, tolerance: float) -> None:
    """Rays that hit; for opacity rays that miss, whose nearest place is only found roughly."""
    prior = small_prior(3)
    with torch.no_grad():  # a sphere-like surface: the network bends it
        prior.network.distance_layer.weight.mul_(30.0)
    prior.network = Bent(prior.network)
    prior.plan = replace(prior.plan, near=1e-9, least_step=0.0, steps=400, settled=1.0)
    prior.softness = 0.05 if name == "opacity" else 0.002
    codes = torch.randn(2, 7, dtype=torch.float64) * 0.5
    offsets = [0.9, 0.6, 0.57, -0.6, -0.55] if name == "opacity" else [0.9, -0.3, 0.0, 0.2, 0.35]
    rays = rays_along_x(offsets, 2)
    weights = torch.linspace(0.5, 1.5, 10, dtype=torch.float64).reshape(2, 5)

    def value(at: Tensor) -> Tensor:
        found = getattr(prior.render(at, rays), name)
        seen = (
            found if found.dim() == 2 else (found * (1.0 + torch.arange(found.shape[-1]))).sum(-1)
        )
        return (weights * seen)[:, 1:].sum()

    at = codes.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(at), at)
    assert gradient.abs().max() > 1e-3
    for row, column in ((0, 0), (0, 2), (1, 1), (1, 5)):
        step = torch.zeros_like(codes)
        step[row, column] = 1e-5
        with torch.no_grad():
            difference = (value(codes + step) - value(codes - step)) / 2e-5
        assert gradient[row, column].item() == pytest.approx(
            difference.item(), rel=tolerance, abs=1e-7
        )


class Bent(nn.Module):
    """A network whose distance is that of a sphere plus a fifth of what it says."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.instance_layers, self.color = inner.instance_layers, inner.color

    def hidden(self, layers: object, points: Tensor) -> Tensor:
        return self.levels(layers, points)[-1]

    def levels(self, layers: object, points: Tensor) -> list[Tensor]:
        self.radii = points.norm(dim=-1)
        return self.inner.levels(layers, points)

    def distance(self, hidden: Tensor) -> Tensor:
        return self.radii - 0.5 + 0.2 * self.inner.distance(hidden)


def test_tracing_agrees_with_dense_marching() -> None:
    centres = torch.tensor([[0.1, 0.0, 0.2], [-0.3, 0.2, -0.2]], dtype=torch.float64)

    def distance(points: Tensor) -> Tensor:  # a ball, and a thin plate 0.02 thick
        ball = (points - centres[0]).norm(dim=-1) - 0.25
        reach = torch.tensor([0.4, 0.3, 0.01], dtype=points.dtype)
        beyond = (points - centres[1]).abs() - reach
        inner = beyond.amax(dim=-1).clamp(max=0)
        return torch.minimum(ball, beyond.clamp_min(0).norm(dim=-1) + inner)

    torch.manual_seed(0)
    eye = torch.tensor([-1.6, 0.4, 0.7], dtype=torch.float64)
    aims = (torch.rand(1, 400, 3, dtype=torch.float64) - 0.5) * 1.2
    directions = nn.functional.normalize(aims - eye, dim=-1)
    origins = eye.expand_as(directions)
    corner = torch.ones(3, dtype=torch.float64)
    ends = trace(distance, origins, directions, (-corner, corner), TracingPlan(steps=64))
    dense = torch.linspace(0, 4, 8001, dtype=torch.float64)
    places = origins[0, :, None] + directions[0, :, None] * dense[:, None]
    values = distance(places)
    crossed = (values < 0).any(dim=1)
    clear = values.amin(dim=1).abs() > 0.004  # not just touched
    assert 40 < int(crossed.sum()) < 360
    assert torch.equal(ends.hit[0][clear], crossed[clear])
    first = dense[(values < 0).to(torch.uint8).argmax(dim=1)]
    both = crossed & clear
    assert (ends.surface[0] - first)[both].abs().max() < 6e-3
    missed = ~crossed & clear & ends.inside[0]
    least = values.amin(dim=1)
    assert (ends.least_distance[0] - least)[missed & (least < 0.2)].max() < 0.02


def test_a_box_is_entered_and_left_where_it_should() -> None:
    origins = torch.tensor([[[-3.0, 0, 0], [-3.0, 2, 0], [0.0, 0, 0]]])
    directions = torch.tensor([[[1.0, 0, 0]] * 3])
    corner = torch.ones(3)
    enter, leave = box_span(origins, directions, -corner, corner)
    assert (enter[0, 0], leave[0, 0]) == (2.0, 4.0)
    assert enter[0, 1] > leave[0, 1]
    assert (enter[0, 2], leave[0, 2]) == (0.0, 1.0)


def test_active_rays_come_and_go_back_to_their_places() -> None:
    wanted = torch.tensor([[False, True, False, True], [False, False, True, False]])
    rays = ActiveRays.of(wanted)
    assert rays.index.tolist() == [[1, 3], [2, 0]]
    assert rays.valid.tolist() == [[True, True], [True, False]]
    values = torch.arange(8.0).reshape(2, 4)
    assert rays.take(values).tolist() == [[1, 3], [6, 4]]
    put = rays.put(values, -rays.take(values))
    assert put.tolist() == [[0, -1, 2, -3], [4, 5, -6, 7]]


def test_background_and_parts_share_the_probability() -> None:
    prior = sphere_prior(softness=0.05)
    prior.label_layer = nn.Linear(4, 3).double()
    with torch.no_grad():
        prior.label_layer.weight.zero_()
        prior.label_layer.weight[1, 2] = 1.0  # the score of the seat is the height z
        prior.label_layer.bias.copy_(torch.tensor([9.0, 0.0, 0.1]))  # row 0 has no effect
        codes = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
        pixels = prior.render(codes, rays_along_x([0.3, 0.55]))
        chances = prior.label_logits(pixels)[0].exp()
    assert chances.sum(dim=-1).tolist() == pytest.approx([1.0, 1.0])
    assert chances[:, 0].tolist() == pytest.approx((1 - pixels.opacity[0]).tolist(), rel=1e-6)
    seat = 1 / (1 + math.exp(0.1 - 0.3))
    assert (chances[0, 1] / chances[0, 1:].sum()).item() == pytest.approx(seat, rel=1e-3)
