"""Agreement of a frame with its neighbours at planes: by hand, by torch, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semantic_field.generalizable.sweep_volume import (
    LogPlanes,
    Stereo,
    planes_about,
    swept,
    swept_by_torch,
    whole_range,
)

CPU = torch.device("cpu")
FOCAL, WALL_M, BASELINE_M, SHIFT = 40.0, 2.4, 0.3, 5  # pixels: 40 x 0.3 / 2.4
H, W, C = 6, 24, 8
LENS = torch.tensor([FOCAL, FOCAL, (W - 1) / 2, (H - 1) / 2])


def beside(*metres: float) -> Stereo:
    """Neighbours to the right of the reference, by so many metres."""
    T = torch.eye(4).repeat(len(metres), 1, 1)
    T[:, 0, 3] = -torch.tensor(metres)
    return Stereo(LENS.expand(len(metres) + 1, 4), T)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random features of length 1, (..., C, H, W)."""
    torch.manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-3)


def wall() -> tuple[torch.Tensor, torch.Tensor]:
    """A textured wall parallel to the images, as the reference and a neighbour see it."""
    whole = unit(C, H, W + SHIFT)
    return whole[..., :W], whole[..., SHIFT:]


def test_planes_are_each_so_many_times_nearer():
    planes = whole_range(1.2, 4.8, 3, (2, 2), CPU)
    torch.testing.assert_close(planes.depths()[:, 0, 0], torch.tensor([4.8, 2.4, 1.2]))
    number = planes.number_of(-torch.full((2, 2), 2.4).log())
    torch.testing.assert_close(number, torch.ones(2, 2))
    about = planes_about(-torch.tensor([[2.0]]).log(), 0.1, 3).depths()[:, 0, 0]
    expected = 2.0 * np.exp([0.1, 0.0, -0.1])
    np.testing.assert_allclose(about.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("sweep", [swept, swept_by_torch])
def test_a_wall_agrees_at_its_own_plane(sweep):
    """The neighbour sees each point 5 pixels to the left at 2.4 m, 2.5 at 4.8 m, 10 at 1.2 m."""
    own, theirs = wall()
    planes = whole_range(1.2, 4.8, 3, (H, W), CPU)
    found = sweep(own, theirs[None], beside(BASELINE_M), planes)
    torch.testing.assert_close(found.mean[1, :, SHIFT:], torch.ones(H, W - SHIFT))
    assert torch.equal(found.share[1, 0], (torch.arange(W) >= SHIFT).float())
    u = 12
    middle = (theirs[:, :, u - 3] + theirs[:, :, u - 2]) / 2
    torch.testing.assert_close(found.mean[0, :, u], (own[:, :, u] * middle).sum(0))
    nearest = (own[:, :, u] * theirs[:, :, u - 10]).sum(0)
    torch.testing.assert_close(found.mean[2, :, u], nearest)
    assert (found.mean[[0, 2], :, 10:].abs() < 0.98).all()
    assert not found.mean[:, :, 0].any() and not found.best[:, :, 0].any()


def several(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, Stereo, LogPlanes]:
    """Neighbours that are displaced and turned, and planes that differ between pixels."""
    torch.manual_seed(seed)
    T = torch.eye(4).repeat(3, 1, 1)
    angle = torch.tensor([0.2, -0.1, 0.05])
    T[:, 0, 0], T[:, 0, 2] = angle.cos(), angle.sin()
    T[:, 2, 0], T[:, 2, 2] = -angle.sin(), angle.cos()
    T[:, :3, 3] = 0.3 * torch.randn(3, 3)
    planes = LogPlanes(0.3 * torch.randn(H, W) - 1.2, 0.25, 5)
    stereo = Stereo(LENS.expand(4, 4), T)
    return unit(C, H, W, seed=2), unit(3, C, H, W, seed=3), stereo, planes


def test_compiled_loops_and_torch_agree():
    fast, slow = swept(*several()), swept_by_torch(*several())
    for name in ("best", "mean", "share"):
        difference = (getattr(fast, name) - getattr(slow, name)).abs()
        assert difference.max() < 1e-4, name
    assert 0.2 < fast.share.mean() < 0.9


def test_the_order_of_the_neighbours_does_not_matter():
    own, others, stereo, planes = several()
    order = [2, 0, 1]
    turned = Stereo(stereo.intrinsics, stereo.T_other_reference[order])
    for one, other in zip(
        swept(own, others, stereo, planes), swept(own, others[order], turned, planes), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_a_neighbour_says_nothing_of_what_is_behind_it():
    """One that looks back would have all points in its image if their depth's sign was ignored."""
    own, theirs = wall()
    back = beside(0.0)
    back.T_other_reference[0, 0, 0] = back.T_other_reference[0, 2, 2] = -1
    planes = whole_range(1.2, 4.8, 3, (H, W), CPU)
    for sweep in (swept, swept_by_torch):
        found = sweep(own, theirs[None], back, planes)
        assert not found.share.any() and not found.best.any() and not found.mean.any()


def test_gradients_are_those_of_finite_differences():
    """Products are linear in each map, so that large differences are exact."""
    own, others, stereo, planes = several()
    weights = torch.randn(2, planes.count, H, W)

    def total(own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        found = swept(own, others, stereo, planes)
        return (found.best * weights[0] + found.mean * weights[1]).double().sum()

    own.requires_grad_()
    others.requires_grad_()
    total(own, others).backward()
    step, random = 1e-3, np.random.default_rng(0)
    for leaf in (own, others):
        for _ in range(12):
            place = tuple(int(random.integers(n)) for n in leaf.shape)
            ends = []
            for sign in (1, -1):
                moved = leaf.detach().clone()
                moved[place] += sign * step
                pair = (moved, others) if leaf is own else (own, moved)
                ends.append(float(total(*pair).detach()))
            slope = (ends[0] - ends[1]) / (2 * step)
            assert float(leaf.grad[place]) == pytest.approx(slope, abs=2e-2, rel=2e-2)
    assert own.grad.abs().max() > 0.5 and others.grad.abs().max() > 0.5


def test_gradients_agree_with_those_of_torch():
    grads = []
    for sweep in (swept, swept_by_torch):
        own, others, stereo, planes = several()
        own.requires_grad_()
        others.requires_grad_()
        found = sweep(own, others, stereo, planes)
        loss = (found.best.square() + found.mean.exp()).sum()
        grads.append(torch.autograd.grad(loss, [own, others]))
    for fast, slow in zip(*grads, strict=True):
        assert (fast - slow).abs().max() < 1e-3 * slow.abs().max()
