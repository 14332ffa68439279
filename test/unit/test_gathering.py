"""What sources hold at samples of target rays, against projection by hand, and what they carry."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from semantic_field.generalizable.carrying import carried_labels, carried_latents
from semantic_field.generalizable.gathering import (
    NEAREST_M,
    Gathered,
    at_pixels,
    gather,
    interpolated,
)
from semantic_field.generalizable.source_images import (
    SourceImages,
    TargetRays,
    rotated,
    target_rays,
)
from semantic_field.geometry import Camera, invert_transform, look_at

SOURCE = Camera(20.0, 22.0, 11.0, 8.5, 24, 16)
TARGET = Camera(14.0, 13.0, 4.5, 3.0, 9, 7)
EYES = [(0.0, 0.0, 0.0), (1.0, 0.3, 0.1), (0.2, 3.0, 0.0), (-0.5, 0.1, -0.2)]
AIMS = [(0.1, 2.0, 0.0), (0.0, 2.0, 0.3), (0.1, 9.0, 0.0), (0.3, 2.0, -0.3)]  # the third looks away


class Scene(NamedTuple):
    """Four sources with images of noise, and the rays of a target with three samples each."""

    sources: SourceImages
    rays: TargetRays
    depths: torch.Tensor
    poses: list[NDArray]
    target: NDArray

    @property
    def gathered(self) -> Gathered:
        return gather(self.sources, self.rays, self.depths)


@pytest.fixture(scope="module")
def scene() -> Scene:
    rng = np.random.default_rng(4)
    poses = [look_at(eye, aim) for eye, aim in zip(EYES, AIMS, strict=True)]
    target = look_at((0.3, -0.2, 0.1), (0.2, 2.0, 0.0))
    readings = rng.uniform(0.5, 5.0, (4, 16, 24))
    readings[rng.random(readings.shape) < 0.3] = 0
    sources = SourceImages(
        colors=torch.tensor(rng.random((4, 3, 16, 24)), dtype=torch.float32),
        intrinsics=torch.tensor(SOURCE.intrinsics, dtype=torch.float32).expand(4, 4),
        poses=torch.tensor(np.stack(poses), dtype=torch.float32),
        depths=torch.tensor(readings, dtype=torch.float32),
    )
    blank = torch.zeros(TARGET.height, TARGET.width)
    rays = target_rays(
        torch.tensor(TARGET.intrinsics, dtype=torch.float32),
        torch.tensor(target, dtype=torch.float32),
        blank,
        blank,
    )
    depths = torch.tensor(rng.uniform(0.3, 6.0, (7, 9, 3)), dtype=torch.float32)
    depths[2, 3, 1] = 0  # no sample
    return Scene(sources, rays, depths, poses, target)


def samples(scene: Scene):
    """Each sample and source: indices, the world point, the pixel, depth and whether it is seen."""
    for v, u, s in np.ndindex(7, 9, 3):
        depth = float(scene.depths[v, u, s])
        world = scene.target @ np.append(TARGET.lift(u, v, depth), 1)
        for k, T in enumerate(scene.poses):
            pixel, z = SOURCE.project((invert_transform(T) @ world)[:3])
            seen = depth > 0 and z > NEAREST_M
            seen = seen and -0.5 <= pixel[0] < 23.5 and -0.5 <= pixel[1] < 15.5
            yield (v, u, s, k), world[:3], pixel, z, seen


def cubic_between_pixels(image, u, v):
    """Cubic convolution (Keys 1981, a = -.75); beyond the border, the pixel at the border."""

    def weight(x):
        x = abs(x)
        if x <= 1:
            return 1.25 * x**3 - 2.25 * x**2 + 1
        return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    total, (rows, columns) = np.zeros(len(image)), image.shape[1:]
    for j in range(int(np.floor(v)) - 1, int(np.floor(v)) + 3):
        for i in range(int(np.floor(u)) - 1, int(np.floor(u)) + 3):
            pixel = image[:, np.clip(j, 0, rows - 1), np.clip(i, 0, columns - 1)]
            total += weight(u - i) * weight(v - j) * pixel
    return total


def between_pixels(image: NDArray, u: float, v: float) -> NDArray:
    """The bilinear value (C,) of an image (C, H, W), borders repeated."""
    _, H, W = image.shape
    x, y = int(np.floor(u)), int(np.floor(v))
    total = np.zeros(len(image))
    for i, a in ((x, 1 - (u - x)), (x + 1, u - x)):
        for j, b in ((y, 1 - (v - y)), (y + 1, v - y)):
            total += a * b * image[:, np.clip(j, 0, H - 1), np.clip(i, 0, W - 1)]
    return total


def test_pixels_depths_and_who_sees_a_sample_are_those_of_the_cameras(scene):
    got = scene.gathered
    behind, outside, inside = 0, 0, 0
    for index, _, pixel, z, seen in samples(scene):
        assert bool(got.inside[index]) == seen
        behind += z <= 0
        outside += z > NEAREST_M and not seen
        inside += seen
        if seen:
            assert got.pixels[index].tolist() == pytest.approx(pixel.tolist(), abs=1e-3)
            assert float(got.far[index]) == pytest.approx(z, rel=1e-5)
        else:
            assert float(got.far[index]) == 0
    assert min(behind, outside, inside) > 80  # each case occurs


def test_a_source_that_looks_away_gives_nothing_of_what_is_behind_it(scene):
    """Behind a camera, pixels would be mirrored into its image: without a z test they are used."""
    mirrored = 0
    got = scene.gathered
    for index, world, _, z, _ in samples(scene):
        if index[3] != 2 or z > -NEAREST_M:
            continue
        local = (invert_transform(scene.poses[2]) @ np.append(world, 1))[:3]
        u = local[0] / z * SOURCE.fx + SOURCE.cx
        v = local[1] / z * SOURCE.fy + SOURCE.cy
        mirrored += -0.5 <= u < 23.5 and -0.5 <= v < 15.5
        assert not got.inside[index]
        assert got.colors[index].abs().sum() == 0
        assert got.reading[index] == 0 and got.turn[index].abs().sum() == 0
    assert mirrored > 50


def test_colours_are_those_of_the_right_view_and_place(scene):
    got, images = scene.gathered, scene.sources.colors.numpy()
    for index, _, pixel, _, seen in samples(scene):
        right = cubic_between_pixels(images[index[3]], *pixel) if seen else np.zeros(3)
        assert got.colors[index].tolist() == pytest.approx(right.tolist(), abs=1e-3)


def test_readings_are_those_of_the_nearest_pixel_and_gaps_tell_who_is_hidden(scene):
    got, readings = scene.gathered, scene.sources.depths.numpy()
    hidden = 0
    for index, _, pixel, z, seen in samples(scene):
        right = 0.0
        if seen:
            column, row = np.clip(np.floor(pixel + 0.5), 0, (23, 15)).astype(int)
            right = readings[index[3], row, column]
        if (
            not seen or np.abs((pixel + 0.5) % 1 - 0.5).max() < 0.499
        ):  # not halfway, where it rounds
            assert float(got.reading[index]) == pytest.approx(right, rel=1e-6)
            gap = right - z if right > 0 else 0.0
            assert float(got.gap[index]) == pytest.approx(gap, abs=1e-4)
            hidden += gap < 0
    assert hidden > 50


def test_turns_and_details_are_those_of_the_directions_and_distances(scene):
    got = scene.gathered
    for index, world, _, z, seen in samples(scene):
        if not seen:
            assert got.turn[index].abs().sum() == 0 and got.detail[index] == 0
            continue
        here = world - scene.target[:3, 3]
        there = world - scene.poses[index[3]][:3, 3]
        here, there = here / np.linalg.norm(here), there / np.linalg.norm(there)
        right = [*(here - there), here @ there]
        assert got.turn[index].tolist() == pytest.approx(right, abs=1e-4)
        # a pixel of the target is depth / 14 m wide there, one of the source z / 20 m
        detail = (float(scene.depths[index[:3]]) / TARGET.fx) / (z / SOURCE.fx)
        assert float(got.detail[index]) == pytest.approx(detail, rel=1e-4)


def test_views_in_another_order_give_their_values_in_that_order(scene):
    order = torch.tensor([2, 0, 3, 1])
    sources = scene.sources
    moved = SourceImages(
        sources.colors[order], sources.intrinsics, sources.poses[order], sources.depths[order]
    )
    got, other = scene.gathered, gather(moved, scene.rays, scene.depths)
    assert torch.equal(other.colors, got.colors[..., order, :])
    assert torch.equal(other.reading, got.reading[..., order])
    assert not torch.equal(other.colors, got.colors)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_maps_of_less_resolution_are_read_where_their_pixels_are(scene, stride):
    """A map that holds its own position in pixels of the frame gives the pixel back."""
    h, w = 16 // stride, 24 // stride
    y, x = torch.meshgrid(
        torch.arange(h) * stride + (stride - 1) / 2,
        torch.arange(w) * stride + (stride - 1) / 2,
        indexing="ij",
    )
    maps = torch.stack([torch.stack([x, y, torch.full_like(x, k)]) for k in range(4)])
    got = scene.gathered
    found = interpolated(maps, got.pixels, got.inside, (16, 24))
    least = (stride - 1) / 2
    right = torch.stack(
        [
            got.pixels[..., 0].clamp(least, 23 - least),
            got.pixels[..., 1].clamp(least, 15 - least),
            torch.arange(4.0).expand(got.inside.shape),
        ],
        -1,
    )
    right = torch.where(got.inside[..., None], right, 0.0)
    torch.testing.assert_close(found, right, atol=1e-3, rtol=0)


def test_labels_are_of_the_nearest_pixel_and_absent_outside():
    images = torch.tensor([[[1, 2, 3], [4, 5, 6]], [[-1, 8, 9], [0, 1, 2]]])
    pixels = torch.tensor([[[[[0.4, 0.0], [0.0, 0.0]], [[1.6, 0.6], [9.0, 9.0]]]]])
    inside = torch.tensor([[[[True, True], [True, False]]]])
    assert at_pixels(images, pixels, inside, outside=-1)[0, 0].tolist() == [[1, -1], [6, -1]]


def test_gradients_of_colours_with_respect_to_depth_are_the_finite_differences(scene):
    depths = scene.depths.clone().requires_grad_()
    gather(scene.sources, scene.rays, depths).colors.sum().backward()
    step, right = 1e-3, 0
    for index in [(0, 0, 0), (3, 4, 1), (6, 8, 2), (2, 5, 0), (5, 1, 1)]:
        sums = []
        for sign in (1, -1):
            moved = scene.depths.clone()
            moved[index] += sign * step
            sums.append(gather(scene.sources, scene.rays, moved).colors[index[:2]].sum().item())
        difference = (sums[0] - sums[1]) / (2 * step)
        right += abs(difference - float(depths.grad[index])) < 0.02 + 0.05 * abs(difference)
    assert right >= 4  # one may cross the border of a pixel, where the slope changes


def test_mixed_precision_leaves_the_geometry_exact(scene):
    """Under autocast products of matrices are of half precision: pixels would be off by many."""
    with torch.autocast("cpu", torch.bfloat16):
        got = scene.gathered
        assert (torch.ones(1, 3) @ torch.ones(3, 1)).dtype == torch.bfloat16
    right = scene.gathered
    assert got.pixels.dtype == torch.float32
    torch.testing.assert_close(got.pixels, right.pixels)
    torch.testing.assert_close(got.far, right.far)


def test_rotations_are_those_of_matrices():
    torch.manual_seed(0)
    points, rotation = torch.randn(5, 2, 3), torch.randn(2, 3, 3)
    right = torch.stack([points[:, k] @ rotation[k].T for k in range(2)], 1)
    torch.testing.assert_close(rotated(points, rotation), right)


def test_votes_are_the_weights_of_the_samples_with_the_label():
    labels = torch.tensor([[[[0, 2], [2, -1]]]])  # one ray, two samples in two views
    weights = torch.tensor([[[[0.1, 0.2], [0.3, 0.4]]]], requires_grad=True)
    votes = carried_labels(weights, labels, 4)
    assert votes[0, 0].tolist() == pytest.approx([0.1, 0.0, 0.5, 0.0])
    votes[0, 0, 2].backward()
    assert weights.grad[0, 0].tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_votes_and_latents_against_loops():
    rng = np.random.default_rng(0)
    weights = rng.random((3, 4, 2, 5)).astype(np.float32)
    labels, latents = rng.integers(-1, 6, weights.shape), rng.random((*weights.shape, 7))
    votes, mean = np.zeros((3, 4, 6)), np.zeros((3, 4, 7))
    for index in np.ndindex(weights.shape):
        if labels[index] >= 0:
            votes[(*index[:2], labels[index])] += weights[index]
        mean[index[:2]] += weights[index] * latents[index]
    got = carried_labels(torch.tensor(weights), torch.tensor(labels), 6)
    np.testing.assert_allclose(got.numpy(), votes, atol=1e-6)
    got = carried_latents(torch.tensor(weights), torch.tensor(latents, dtype=torch.float32))
    np.testing.assert_allclose(got.numpy(), mean, atol=1e-5)
