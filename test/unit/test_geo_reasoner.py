"""Depth of source views by comparing them: planes, warping, correlation, the cascade."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from semantic_field.generalizable.cost_volume import (
    Planes,
    at_stride,
    correlation_volume,
    finer_planes,
    first_planes,
    nearest_others,
)
from semantic_field.generalizable.geo_reasoner import (
    GeometrySettings,
    GeoReasoner,
    Level,
)
from semantic_field.generalizable.source_images import SourceImages
from semantic_field.generalizable.volume_reading import completed, volume_features
from semantic_field.geometry import Camera, invert_transform, look_at

CAMERA = Camera(40.0, 42.0, 23.0, 15.0, 48, 32)
WALL_M = 2.6  # y of a wall in the world; cameras look along +y
CPU = torch.device("cpu")
EYES = [(-0.3, 0.0, 0.1), (0.0, 0.1, 0.0), (0.35, -0.1, 0.05), (0.1, 0.0, -0.3), (3.0, 0.0, 0.0)]
FORMS = np.random.default_rng(0).normal(size=(8, 2)) * 5


def pose(eye: tuple[float, float, float]) -> NDArray[np.float64]:
    return look_at(eye, (0.1, WALL_M, 0.05))


def texture(points: NDArray) -> NDArray[np.float32]:
    """Features (..., 16) of length 1 of points of the wall."""
    phase = points[..., [0, 2]] @ FORMS.T
    return (np.concatenate([np.sin(phase), np.cos(phase)], -1) / np.sqrt(8)).astype(np.float32)


def wall_seen(camera: Camera, T_world_camera: NDArray) -> tuple[NDArray, NDArray]:
    """The features (H, W, 16) and z-depth (H, W) that a camera sees of the wall."""
    rays = camera.rays() @ T_world_camera[:3, :3].T
    depth = (WALL_M - T_world_camera[1, 3]) / rays[..., 1]
    return texture(T_world_camera[:3, 3] + rays * depth[..., None]), depth


def tensors(poses: list[NDArray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (V, 16, H, W), depths (V, H, W) and poses (V, 4, 4)."""
    seen = [wall_seen(CAMERA, p) for p in poses]
    features = torch.tensor(np.stack([f for f, _ in seen])).permute(0, 3, 1, 2)
    depths = torch.tensor(np.stack([d for _, d in seen]), dtype=torch.float32)
    return features, depths, torch.tensor(np.stack(poses), dtype=torch.float32)


def sources_of(poses: list[NDArray], **others) -> SourceImages:
    features, _, T = tensors(poses)
    intrinsics = torch.tensor(CAMERA.intrinsics, dtype=torch.float32).expand(len(poses), 4)
    return SourceImages(features[:, :3], intrinsics, T, **others)


def volume_of(poses: list[NDArray], planes: Planes, groups: int = 4) -> torch.Tensor:
    features, _, T = tensors(poses)
    intrinsics = torch.tensor(CAMERA.intrinsics, dtype=torch.float32).expand(len(poses), 4)
    relative = torch.linalg.solve(T[1:], T[:1].expand_as(T[1:]))
    return correlation_volume(
        features[0], features[1:], intrinsics, relative, planes.depths(), groups
    )


def test_planes_begin_near_and_have_equal_steps():
    planes = first_planes(0.1, 10.0, 48, False, (2, 3), CPU)
    depths = planes.depths()
    assert depths.shape == (48, 2, 3)
    assert depths[0, 0, 0] == pytest.approx(0.1)
    assert planes.step == pytest.approx(9.9 / 48)
    assert depths[-1, 1, 2] == pytest.approx(10.0 - 9.9 / 48, rel=1e-5)


def test_inverse_planes_reach_both_bounds():
    depths = first_planes(0.5, 8.0, 16, True, (1, 1), CPU).depths()[:, 0, 0]
    assert (depths[0].item(), depths[-1].item()) == pytest.approx((8.0, 0.5))
    assert depths.reciprocal().diff().std() < 1e-6


def test_finer_planes_are_about_the_depth_and_never_behind_the_camera():
    value = torch.tensor([[2.0, 0.01]], requires_grad=True)
    planes = finer_planes(value, 0.05, 8, False)
    assert planes.depths()[:, 0, 0].tolist() == pytest.approx([1.8 + 0.05 * i for i in range(8)])
    assert planes.depths()[0, 0, 1] == pytest.approx(1e-3)
    assert not planes.first.requires_grad


@pytest.mark.parametrize("inverse", [False, True])
def test_the_number_of_a_plane_undoes_its_depth(inverse):
    planes = first_planes(0.5, 8.0, 12, inverse, (1, 1), CPU)
    numbers = planes.number_of(planes.depths(), planes.first)
    assert numbers[:, 0, 0].tolist() == pytest.approx(list(range(12)), abs=1e-4)


def test_intrinsics_of_a_smaller_image_are_those_of_the_resized_camera():
    small = CAMERA.resized(12, 8)
    got = at_stride(torch.tensor(CAMERA.intrinsics, dtype=torch.float32), 4)
    assert got.tolist() == pytest.approx(small.intrinsics.tolist())


def test_the_nearest_others_are_those_of_the_cameras_positions():
    """Against brute force, where the released code's order (of inverse translations) differs."""
    rng = np.random.default_rng(3)
    poses = [look_at(rng.normal(size=3), rng.normal(size=3) * 4) for _ in range(8)]
    got = nearest_others(torch.tensor(np.stack(poses)), 3)
    wrong = np.stack([invert_transform(p)[:3, 3] for p in poses])
    differs = 0
    for i, own in enumerate(poses):
        apart = [np.linalg.norm(own[:3, 3] - p[:3, 3]) for p in poses]
        right = [j for j in np.argsort(apart) if j != i][:3]
        assert got[i].tolist() == right
        released = np.linalg.norm(wrong - wrong[i], axis=1)
        differs += [j for j in np.argsort(released) if j != i][:3] != right
    assert differs > 4


def test_one_source_alone_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"at least 2 sources.*wait for more"):
        nearest_others(torch.eye(4)[None], 3)


def bilinear(image: NDArray, u: float, v: float) -> NDArray:
    """The value (C,) of an image (C, H, W) between pixels, borders repeated."""
    _, H, W = image.shape
    x, y = int(np.floor(u)), int(np.floor(v))
    total = np.zeros(len(image))
    for i, a in ((x, 1 - (u - x)), (x + 1, u - x)):
        for j, b in ((y, 1 - (v - y)), (y + 1, v - y)):
            total += a * b * image[:, np.clip(j, 0, H - 1), np.clip(i, 0, W - 1)]
    return total


def test_the_volume_is_what_projection_by_hand_gives():
    poses = [pose(eye) for eye in EYES]
    poses[2] = look_at(EYES[2], (0.3, -5.0, 0.0))  # looks away: sees nothing of it
    features = tensors(poses)[0].numpy()
    planes = first_planes(0.5, 6.0, 10, True, (32, 48), CPU)
    volume, depths = volume_of(poses, planes).numpy(), planes.depths().numpy()
    rng = np.random.default_rng(1)
    counts = set()
    for _ in range(300):
        d, v, u = rng.integers(10), rng.integers(32), rng.integers(48)
        world = poses[0] @ np.append(CAMERA.lift(u, v, depths[d, v, u]), 1)
        groups = []
        for image, T in zip(features[1:], poses[1:], strict=True):
            pixel, z = CAMERA.project((invert_transform(T) @ world)[:3])
            inside = z > 0.05 and -0.5 <= pixel[0] < 47.5 and -0.5 <= pixel[1] < 31.5
            if inside:
                product = features[0][:, v, u] * bilinear(image, *pixel)
                groups.append(product.reshape(4, 4).mean(1))
        counts.add(len(groups))
        right = np.mean(groups, 0) if groups else np.zeros(4)
        assert volume[:, d, v, u] == pytest.approx(right, abs=2e-4)
    assert {0, 1, 2, 3} <= counts  # points that none sees, and that some see


def test_the_right_depth_of_a_textured_wall_agrees_best():
    poses = [pose(eye) for eye in EYES[:4]]
    planes = first_planes(1.0, 5.0, 40, True, (32, 48), CPU)
    agreement = volume_of(poses, planes).sum(0)
    best = planes.depths()[:, 0, 0][agreement.argmax(0)]
    truth = tensors(poses)[1][0]
    off = (1 / best - 1 / truth).abs() / planes.step
    assert off.median() < 0.5
    assert (off < 1.0).float().mean() > 0.9  # elsewhere at most one neighbour sees it


def test_a_wrong_pose_of_a_neighbour_spoils_the_depth():
    """The measure of the test above can fail."""
    poses = [pose(eye) for eye in EYES[:4]]
    planes = first_planes(1.0, 5.0, 40, True, (32, 48), CPU)
    features, depths, T = tensors(poses)
    intrinsics = torch.tensor(CAMERA.intrinsics, dtype=torch.float32).expand(4, 4)
    relative = torch.linalg.solve(T[:1].expand_as(T[1:]), T[1:])  # inverted
    volume = correlation_volume(features[0], features[1:], intrinsics, relative, planes.depths(), 4)
    best = planes.depths()[:, 0, 0][volume.sum(0).argmax(0)]
    off = (1 / best - 1 / depths[0]).abs() / planes.step
    assert (off < 1.0).float().mean() < 0.5


SMALL = GeometrySettings(
    strides=(4, 2), planes=(16, 8), ratios=(4, 1), near_m=1.0, far_m=6.0, volume_channels=4
)


def reasoner(settings: GeometrySettings = SMALL) -> GeoReasoner:
    torch.manual_seed(0)
    return GeoReasoner(settings, (2, 4), (16, 16))


def maps_of(poses: list[NDArray]) -> tuple[torch.Tensor, torch.Tensor]:
    features = tensors(poses)[0]
    return tuple(interpolate(features, scale_factor=1 / s, mode="area") for s in (2, 4))  # type: ignore[return-value]


def test_a_cascade_learns_the_depth_of_a_wall():
    """Sizes, and that its gradients lead to depth: 5 cm after 60 steps, 50 cm before."""
    poses = [pose(eye) for eye in EYES[:4]]
    sources, maps, truth = sources_of(poses), maps_of(poses), tensors(poses)[1]
    net = reasoner()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    half = interpolate(truth[:, None], size=(16, 24), mode="area")[:, 0]
    quarter = interpolate(truth[:, None], size=(8, 12), mode="area")[:, 0]
    errors = []
    for _ in range(60):
        coarse, fine = net(sources, maps)
        errors.append((fine.depth - half).abs().mean().item())
        loss = (coarse.depth - quarter).abs().mean() + (fine.depth - half).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert coarse.depth.shape == (4, 8, 12) and fine.features.shape == (4, 4, 8, 16, 24)
    assert errors[0] > 0.3
    assert errors[-1] < 0.08
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in net.nets[0].scores.parameters()
    )


def test_depth_is_the_mean_over_the_planes_by_softmax():
    """With scores of 0 all planes count alike; then the confidence is that of 3 of 16 planes."""
    net = reasoner(replace(SMALL, spacing="depth"))
    for layer in net.nets:
        torch.nn.init.zeros_(layer.scores.weight)
    poses = [pose(eye) for eye in EYES[:3]]
    coarse, fine = net(sources_of(poses), maps_of(poses))
    step = 5.0 / 16
    assert coarse.depth.flatten().tolist() == pytest.approx([1 + 7.5 * step] * 3 * 96, rel=1e-5)
    assert coarse.confidence.unique().tolist() == pytest.approx([2 / 16], rel=1e-5)
    # 8 planes a quarter as far apart, centred half a plane above the mean of the planes
    right = [1 + 7.5 * step - 0.5 * step / 4] * 3 * 384
    assert fine.depth.flatten().tolist() == pytest.approx(right, rel=1e-5)


def test_one_source_alone_can_be_looked_at():
    poses = [pose(eye) for eye in EYES[:3]]
    net, sources, maps = reasoner(), sources_of(poses), maps_of(poses)
    for every, one in zip(net(sources, maps), net(sources, maps, only=1), strict=True):
        torch.testing.assert_close(one.depth[1], every.depth[1])
        assert one.depth[[0, 2]].abs().max() == 0 and one.features is None


def test_readings_stand_in_the_volume_at_their_depth():
    settings = replace(SMALL, spacing="depth", readings=True)
    net = reasoner(settings)
    poses = [pose(eye) for eye in EYES[:3]]
    seen = []
    net.nets[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    readings = torch.zeros(3, 32, 48)
    readings[0] = 1 + 2.25 * 5 / 16
    net(sources_of(poses, depths=readings), maps_of(poses))
    spikes = seen[0][0, -1]
    assert spikes[:, 3, 4].tolist() == pytest.approx([0, 0, 0.75, 0.25] + [0] * 12, abs=1e-5)
    assert seen[1][0, -1].abs().max() == 0  # holes


def test_holes_and_only_they_are_completed():
    level = Level(torch.full((1, 2, 2), 3.0), torch.tensor([[[0.9, 0.9], [0.2, 0.9]]]), (), None)
    readings = torch.zeros(1, 4, 4)
    readings[0, 0] = 2.0
    got = completed(readings, level, (4, 4), 0.5)[0]
    assert got.tolist() == [[2, 2, 2, 2], [3, 3, 3, 3], [0, 0, 3, 3], [0, 0, 3, 3]]
    assert completed(None, level, (4, 4), 0.0)[0].unique().tolist() == [3.0]


@pytest.mark.parametrize("inverse", [False, True])
def test_features_of_the_volume_are_trilinear_where_the_sample_is(inverse):
    """A volume that holds column, row and plane number gives them back between its cells."""
    first = torch.full((4, 6), 0.2 if inverse else 1.0)
    planes = Planes(first, 0.1, 5, inverse)
    d, y, x = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float32) for n in (5, 4, 6)), indexing="ij"
    )
    features = torch.stack([torch.stack([x, y, d]), torch.stack([x, y, d]) + 100])
    level = Level(first[None], first[None], (planes, planes), features)
    pixels = torch.tensor([[[[[5.5, 3.5], [4.0, 2.0]]]]])  # (1, 1, 1, 2, 2) of 12x8 images
    depth = planes.depth_of(planes.first[0, 0] + torch.tensor(0.225)).expand(1, 1, 1, 2)
    inside = torch.tensor([True, True])[None, None, None]
    got = volume_features(level, pixels, depth, inside, (8, 12))[0, 0, 0]
    assert got[0].tolist() == pytest.approx([2.5, 1.5, 2.25], abs=1e-4)
    assert got[1].tolist() == pytest.approx([101.75, 100.75, 102.25], abs=1e-4)
    hidden = volume_features(level, pixels, depth, ~inside, (8, 12))
    assert hidden.abs().max() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strides": (4,)}, "as many levels"),
        ({"strides": (2, 4)}, "from coarse to fine"),
        ({"near_m": 7.0}, "at most far_m"),
    ],
)
def test_settings_that_fit_no_cascade_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **change)


def test_levels_and_sizes_that_do_not_fit_the_features_are_refused():
    with pytest.raises(ValueError, match=r"strides.*got 1"):
        GeoReasoner(replace(SMALL, strides=(4, 1)), (2, 4), (16, 16))
    with pytest.raises(ValueError, match="8 groups of 12 channels"):
        GeoReasoner(SMALL, (2, 4), (16, 12))
    poses = [pose(eye) for eye in EYES[:2]]
    sources = sources_of(poses)
    sources = replace(sources, colors=sources.colors[..., :30])
    with pytest.raises(ValueError, match="resize them to 28x32"):
        reasoner()(sources, maps_of(poses))
