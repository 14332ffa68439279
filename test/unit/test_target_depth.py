"""Target depth splatted from sources: z-buffer, second surface, cracks, holes, released form."""

from __future__ import annotations

import torch

from semantic_field.generalizable.target_depth import (
    RELEASED_DEFAULT_M,
    filled_in,
    layers,
    layers_on_processor,
    readings_of,
    released_depth,
    splatted,
    target_depth,
)

H, W = 12, 16
LENS = torch.tensor([10.0, 10.0, 7.5, 5.5])


def pose(x: float = 0.0, z: float = 0.0) -> torch.Tensor:
    T = torch.eye(4)
    T[0, 3], T[2, 3] = x, z
    return T


def depth_of(depths: torch.Tensor, *poses: torch.Tensor, target: torch.Tensor):
    lenses = LENS.expand(len(depths), 4)
    return target_depth(depths, lenses, torch.stack(poses), LENS, target, (H, W))


def test_a_wall_seen_from_elsewhere_has_its_true_depth() -> None:
    wall = torch.full((2, H, W), 3.0)
    found = depth_of(wall, pose(x=-0.2), pose(x=0.2), target=pose(z=0.5))
    assert found.reached.float().mean() > 0.95
    torch.testing.assert_close(found.depth, torch.full((H, W), 2.5))


def test_the_nearer_of_two_surfaces_is_the_target_depth_and_the_other_is_behind() -> None:
    scene = torch.full((2, H, W), 3.0)
    scene[0, 4:8, 6:10] = 1.0  # only the first source sees the near square
    found = depth_of(scene, pose(), pose(), target=pose())
    assert (found.depth[4:8, 6:10] == 1.0).all()
    assert (found.behind[4:8, 6:10] == 3.0).all()
    assert (found.behind[:3] == 0).all()


def test_readings_of_one_surface_are_averaged() -> None:
    noisy = torch.stack([torch.full((H, W), 2.0 + off) for off in (-0.02, 0.0, 0.05)])
    found = depth_of(noisy, pose(), pose(), pose(), target=pose())
    torch.testing.assert_close(found.depth, torch.full((H, W), 2.01))
    assert (found.behind == 0).all()


def test_nothing_comes_from_behind_the_camera() -> None:
    found = depth_of(torch.full((1, H, W), 1.0), pose(), target=pose(z=2.0))
    assert not found.reached.any()
    assert (found.depth == 0).all()


def test_no_surface_shows_through_the_cracks_of_a_nearer_one() -> None:
    scene = torch.full((2, H, W), 4.0)
    scene[0] = 1.0
    # From half as far away, the near wall's readings lie two pixels apart.
    found = depth_of(scene, pose(), pose(), target=pose(z=0.5))
    inner = found.depth[1:-1, 1:-1]
    near = (inner - 0.5).abs() < 0.01
    assert near.float().mean() > 0.8


def test_holes_get_the_farther_side() -> None:
    depth = torch.zeros(8, 8)
    depth[:, :3], depth[:, 5:] = 1.0, 2.0
    filled = filled_in(depth)
    assert (filled > 0).all()
    assert (filled[:, 4] == 2.0).all()
    assert (filled[depth > 0] == depth[depth > 0]).all()


def test_nothing_known_stays_unknown() -> None:
    assert (filled_in(torch.zeros(5, 7)) == 0).all()


def test_released_form_has_no_z_buffer() -> None:
    scene = torch.stack([torch.full((H, W), 1.0), torch.full((H, W), 3.0)])
    poses = torch.stack([pose(), pose()])
    splats = splatted(readings_of(scene, LENS.expand(2, 4), poses, LENS, pose(), (H, W)))
    assert (released_depth(splats, (H, W)) > 2.9).all()  # the last source wins
    nothing = splatted(readings_of(scene * 0, LENS.expand(2, 4), poses, LENS, pose(), (H, W)))
    assert (released_depth(nothing, (H, W)) == RELEASED_DEFAULT_M).all()


def test_released_form_weighs_the_window_by_inverse_distance() -> None:
    scene = torch.zeros(1, H, W)
    scene[0, 5, 5], scene[0, 5, 7] = 1.0, 2.0
    splats = splatted(readings_of(scene, LENS[None], pose()[None], LENS, pose(), (H, W)))
    found = released_depth(splats, (H, W), window=5)
    torch.testing.assert_close(found[5, 6], torch.tensor(1.5))
    expected = (1.0 / 1 + 2.0 / (2**2 + 1) ** 0.5) / (1 / 1 + 1 / (2**2 + 1) ** 0.5)
    torch.testing.assert_close(found[6, 5], torch.tensor(expected))


def test_the_processor_s_loops_find_what_torch_finds() -> None:
    random = torch.Generator().manual_seed(0)
    scene = 1.0 + 2.0 * torch.rand(3, H, W, generator=random).round(decimals=1)
    scene[torch.rand(3, H, W, generator=random) < 0.2] = 0
    poses = torch.stack([pose(x=-0.1), pose(z=-0.3), pose(x=0.2, z=0.1)])
    given = readings_of(scene, LENS.expand(3, 4), poses, LENS, pose(x=0.05, z=0.3), (H, W))
    for by_loop, by_torch in zip(layers_on_processor(given), layers(given), strict=True):
        assert (by_torch > 0).any()
        torch.testing.assert_close(by_loop, by_torch, rtol=1e-4, atol=1e-4)
