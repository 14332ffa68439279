"""Poses and shapes of objects that are known exactly, seen from one side."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from analytic_prior import BoxChair, RoundPost, box_distance, observe

from semantic_field.geometry import invert_transform
from semantic_field.object_prior.alignment import (
    AlignmentOptions,
    CategoryShapes,
    align,
    coarse_poses,
)
from semantic_field.object_prior.fit_quality import fit_quality
from semantic_field.object_prior.joint_refinement import (
    Placement,
    RefinementOptions,
    contradiction,
    prior_distances,
)
from semantic_field.object_prior.object_evidence import evidence_of
from semantic_field.object_prior.pose_search import search
from semantic_field.object_prior.round_things import is_round

CODE = torch.tensor([0.5, -0.4, 0.3, 0.8])


@pytest.fixture(scope="module")
def chairs() -> CategoryShapes:
    return CategoryShapes.of(BoxChair(), prototypes=12)


@pytest.fixture(scope="module")
def posts() -> CategoryShapes:
    return CategoryShapes.of(RoundPost(), prototypes=8)


def off_by(found, evidence, T_world_object) -> tuple[float, float]:
    """Errors of the pose: yaw, radians, and position, metres."""
    delta = invert_transform(T_world_object) @ evidence.T_world_level @ found.T_level_object
    return abs(float(np.arctan2(delta[1, 0], delta[0, 0]))), float(np.linalg.norm(delta[:3, 3]))


@pytest.mark.parametrize("yaw", [0.3, 2.9, -1.4])
def test_a_chair_is_found_where_it_stands(chairs, yaw):
    observed, T_world_object = observe(chairs.prior, CODE, yaw, (0.4, -0.3, 0.1))
    evidence = evidence_of(observed)
    found = align(evidence, chairs)
    assert found is not None
    turn, shift = off_by(found, evidence, T_world_object)
    assert turn < 0.03 and shift < 0.03
    assert abs(found.scale - 1) < 0.03
    assert (found.code - CODE)[:3].abs().max() < 0.5  # 0.5 is 7 % of a size
    quality = fit_quality(evidence, chairs, found)
    assert quality.residual_m < 0.006 and quality.values[3] < 0.1


def test_a_chair_is_no_post_and_a_post_no_chair(chairs, posts):
    for own, other, code in ((chairs, posts, CODE), (posts, chairs, torch.tensor([0.3, -0.2]))):
        evidence = evidence_of(observe(own.prior, code, 0.4, (0.0, 0.0, 0.0))[0])
        right, wrong = align(evidence, own), align(evidence, other)
        assert right is not None and right.contradiction < 0.2
        assert wrong is None or wrong.contradiction > right.contradiction + 0.3


def test_the_coarse_search_is_near(chairs):
    evidence = evidence_of(observe(chairs.prior, CODE, 1.0, (0.0, 0.0, 0.0))[0])
    found = search(evidence, chairs.bank, 10)
    assert (np.diff(found.score) >= 0).all()
    truth = 1.0  # the level frame's axes are the world's
    turn = np.abs((found.pose[:, 0] - truth + np.pi) % (2 * np.pi) - np.pi)
    assert turn.min() < 0.14  # half a step of the grid


def test_free_space_pushes_shapes_out(chairs):
    """The true chair, and one whose back is twice as high: only free space tells them apart."""
    observed, T_world_object = observe(chairs.prior, CODE, 0.0, (0.0, 0.0, 0.0))
    evidence = evidence_of(observed)
    at = (invert_transform(evidence.T_world_level) @ T_world_object)[:3, 3]
    place = Placement(
        torch.zeros(2),
        torch.from_numpy(at).float().expand(2, 3),
        torch.zeros(2),
        torch.zeros(2, 4),
    )
    codes = torch.stack([CODE, CODE + torch.tensor([0, 0, 0, 2.5])])
    surface = torch.from_numpy(evidence.points), torch.from_numpy(evidence.normals)
    free = torch.from_numpy(evidence.free_places(20000)).float().expand(2, -1, -1)
    distances = prior_distances(chairs.prior, codes)
    options = RefinementOptions(free_weight=1.0)
    # a back that is too high has no observed points off its surface ...
    without = contradiction(evidence, place, distances, surface, free[:, :0], options)
    # ... but lies in space that was seen to be free
    depth = distances(place.to_own(free))
    inside = (depth < 0).sum(1)
    assert inside[0] == 0 and inside[1] > 10
    deepest = free.gather(1, depth.topk(40, largest=False).indices[..., None].expand(-1, -1, 3))
    with_free = contradiction(evidence, place, distances, surface, deepest, options)
    assert with_free[1] - with_free[0] > without[1] - without[0] + 0.05


def test_a_fit_without_free_space_is_worse(chairs):
    """From behind the seat is hidden, but the space beside the legs is seen through."""
    observed, _ = observe(chairs.prior, CODE, 0.0, (0.0, 0.0, 0.0), azimuth=1.57)
    evidence = evidence_of(observed)
    options = AlignmentOptions(starts=3)
    blind = replace(options, joint=replace(options.joint, free_weight=0.0))
    start = coarse_poses(evidence, chairs, options)[1]
    contradicted = [
        fit_quality(evidence, chairs, align(evidence, chairs, chosen, start)).values[3]
        for chosen in (options, blind)
    ]
    assert contradicted[0] <= contradicted[1]
    assert contradicted[0] < 0.05


def test_gradients_of_the_contradiction(chairs):
    observed, _ = observe(chairs.prior, CODE, 0.5, (0.1, 0.0, 0.0))
    evidence = evidence_of(observed)
    surface = torch.from_numpy(evidence.points[:50]), torch.from_numpy(evidence.normals[:50])
    surface = tuple(part.double() for part in surface)
    free = torch.from_numpy(evidence.free_places(300))[None, :40]
    values = torch.tensor([0.45, 0.08, 0.02, 0.01, 0.02, 0.4, -0.3, 0.2, 0.7]).double()

    def loss(values):
        place = Placement(
            values[:1], values[None, 1:4], values[4:5], torch.zeros(1, 4, dtype=values.dtype)
        )

        def distances(points):
            centre = torch.tensor(chairs.prior.frame.centre_m, dtype=points.dtype)
            unit = chairs.prior.frame.unit_m
            return chairs.prior.distances(values[None, 5:], (points - centre) / unit) * unit

        options = RefinementOptions()
        return contradiction(evidence, place, distances, surface, free, options)[0]

    values.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(values), values)
    step = 1e-6
    for index in range(len(values)):
        with torch.no_grad():
            moved = torch.eye(len(values), dtype=torch.float64)[index] * step
            difference = (loss(values + moved) - loss(values - moved)) / (2 * step)
        assert float(gradient[index]) == pytest.approx(float(difference), rel=1e-3, abs=1e-4)


def test_placements_turn_scale_and_move():
    place = Placement(
        torch.tensor([torch.pi / 2]),
        torch.tensor([[1.0, 2.0, 0.5]]),
        torch.tensor([2.0]).log(),
        torch.zeros(1, 1),
    )
    # own (1, 0, 1): scaled (2, 0, 2), turned (0, 2, 2), moved (1, 4, 2.5)
    own = place.to_own(torch.tensor([[[1.0, 4.0, 2.5]]]))
    assert torch.allclose(own, torch.tensor([[[1.0, 0.0, 1.0]]]), atol=1e-6)
    assert torch.allclose(place.scaled(torch.ones(1, 3)), torch.full((1, 3), 2.0))


def test_round_things_have_no_yaw(chairs, posts):
    assert is_round(posts.prior, torch.zeros(2))
    assert not is_round(chairs.prior, torch.zeros(4))


def test_a_small_handle_tells_the_yaw():
    class PostWithHandle(RoundPost):
        def part_distances(self, sizes, points):
            low, high = torch.tensor([[0.14, -0.03, 0.3]]), torch.tensor([[0.25, 0.03, 0.6]])
            handle = box_distance(points, low, high)[..., None]
            return torch.minimum(super().part_distances(sizes, points), handle)

    assert not is_round(PostWithHandle(), torch.zeros(2))


def test_a_thing_larger_than_all_prototypes_has_no_place(posts):
    observed, _ = observe(BoxChair(), torch.tensor([4.0, 4.0, 2.0, 2.0]), 0.0, (0.0, 0.0, 0.0))
    assert align(evidence_of(observed), posts) is None
