"""Samples along rays around the target depth: by hand for few, by their statistics for many."""

from __future__ import annotations

import pytest
import torch

from semantic_field.generalizable.guided_samples import (
    SampleCounts,
    guided_samples,
    sample_counts,
)
from semantic_field.generalizable.source_images import TargetRays

BOUNDS = (0.5, 8.5)


def rays_of(depth: list[float], behind: list[float]) -> TargetRays:
    n = len(depth)
    return TargetRays(
        torch.zeros(1, n, 2),
        torch.tensor([10.0, 10.0, 0.0, 0.0]),
        torch.eye(4),
        torch.tensor([depth]),
        torch.tensor([behind]),
        BOUNDS,
    )


@pytest.mark.parametrize(
    ("total", "counts"),
    [
        (1, SampleCounts(0, 0, 0)),
        (2, SampleCounts(0, 0, 1)),
        (4, SampleCounts(0, 2, 1)),
        (8, SampleCounts(0, 6, 1)),
        (16, SampleCounts(11, 4)),
        (128, SampleCounts(96, 31)),  # the paper's
    ],
)
def test_samples_are_divided(total, counts):
    assert sample_counts(total) == counts
    assert counts.total == total


@pytest.mark.parametrize("total", [0, 129])
def test_other_numbers_are_refused(total):
    with pytest.raises(ValueError, match=f"1 to 128 samples on a ray, got {total}"):
        sample_counts(total)


def test_one_sample_is_the_target_depth():
    got = guided_samples(rays_of([2.0, 0.0], [3.0, 0.0]), sample_counts(1))
    assert got.depths[0].tolist() == [[2.0], [4.5]]  # unknown: the middle of the bounds
    assert got.exact[0].tolist() == [[True], [False]]
    assert got.known[0].tolist() == [True, False]


def test_four_samples_by_hand():
    """Around: quantiles 1/4 and 3/4 of the normal distribution are .67449 deviations away."""
    got = guided_samples(rays_of([2.0, 3.0, 0.0], [5.0, 0.0, 0.0]), sample_counts(4), 0.5)
    off = 0.5 * 0.6744898
    assert got.depths[0, 0].tolist() == pytest.approx([2 - off, 2.0, 2 + off, 5.0])
    assert got.exact[0, 0].tolist() == [False, True, False, False]
    # no surface behind it is known: midway to the far bound
    assert got.depths[0, 1].tolist() == pytest.approx([3 - off, 3.0, 3 + off, 5.75])
    assert got.depths[0, 2].tolist() == pytest.approx([1.5, 3.5, 5.5, 7.5])  # uniform
    assert not got.exact[0, 2].any()


def test_the_target_depth_is_exact_even_outside_the_bounds():
    got = guided_samples(rays_of([0.3, 12.0], [0.0, 0.0]), sample_counts(128))
    assert got.depths[got.exact].tolist() == [pytest.approx(0.3), 12.0]
    others = got.depths[~got.exact]
    assert others.min() >= BOUNDS[0] and others.max() <= BOUNDS[1]


@pytest.mark.parametrize("total", [1, 2, 3, 4, 8, 9, 16, 64, 128])
@pytest.mark.parametrize("jitter", [False, True])
def test_samples_are_sorted_and_exactly_one_is_at_the_target_depth(total, jitter):
    torch.manual_seed(0)
    depth = torch.rand(200) * 7 + 0.8
    depth[::5] = 0
    rays = rays_of(depth.tolist(), (depth + 1).tolist())
    got = guided_samples(rays, sample_counts(total), jitter=jitter)
    assert got.depths.shape == got.exact.shape == (1, 200, total)
    assert (got.depths.diff(dim=-1) >= 0).all()
    assert got.exact.sum(-1)[0].tolist() == (depth > 0).int().tolist()
    assert torch.equal(got.depths[got.exact], depth[depth > 0])


def test_training_draws_as_the_paper_does():
    torch.manual_seed(1)
    rays = rays_of([4.5] * 2000, [0.0] * 2000)
    around = guided_samples(rays, SampleCounts(0, 31), 0.5, jitter=True)
    offsets = around.depths[~around.exact] - 4.5
    assert offsets.mean() == pytest.approx(0.0, abs=0.01)
    assert offsets.std() == pytest.approx(0.5, abs=0.01)
    uniform = guided_samples(rays, SampleCounts(8, 0), jitter=True)
    drawn = uniform.depths[~uniform.exact].reshape(2000, 8)
    bins = ((drawn - 0.5) / 1.0).floor()
    assert bins.unique(dim=0).tolist() == [list(range(8))]  # one in each metre
    assert (drawn - 0.5).frac().std() == pytest.approx(12**-0.5, abs=0.01)
    again = guided_samples(rays, SampleCounts(8, 0), jitter=True)
    assert not torch.equal(again.depths, uniform.depths)


def test_evaluation_is_the_same_each_time_and_around_is_spread_like_the_normal_distribution():
    rays = rays_of([4.5], [0.0])
    got = guided_samples(rays, SampleCounts(0, 31), 0.5)
    assert torch.equal(got.depths, guided_samples(rays, SampleCounts(0, 31), 0.5).depths)
    offsets = (got.depths - 4.5)[~got.exact]
    right = torch.distributions.Normal(0.0, 0.5).icdf((torch.arange(31) + 0.5) / 31)
    torch.testing.assert_close(offsets, right, atol=1e-5, rtol=0)
