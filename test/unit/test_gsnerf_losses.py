"""Losses of GSNeRF: by hand, by finite differences, and what the unsupervised ones lead to."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from semantic_field.generalizable.generalizable_model import Prediction, Truth
from semantic_field.generalizable.gsnerf_losses import (
    LossSettings,
    class_loss,
    class_weights,
    gsnerf_losses,
    level_loss,
    resized_labels,
)
from semantic_field.generalizable.photometric_losses import (
    depth_consistency,
    dissimilarity,
    photometric_loss,
    reconstruction,
    roughness,
    texture,
)
from semantic_field.generalizable.source_images import SourceImages
from semantic_field.geometry import Camera, depth_to_world, look_at

CAMERA = Camera(40.0, 40.0, 19.5, 15.5, 40, 32)
WALL_M = 2.5


def wall_scene(dtype: torch.dtype = torch.float32) -> tuple[SourceImages, torch.Tensor]:
    """Four views of a coloured wall, and their depths (V, H, W)."""
    colors, depths, poses = [], [], []
    for eye in ((-0.2, 0.0, 0.0), (0.0, 0.1, 0.1), (0.2, -0.1, 0.0), (0.1, -0.3, -0.1)):
        T = look_at(eye, (0.0, WALL_M, 0.0))
        rays = CAMERA.rays() @ T[:3, :3].T
        depth = (WALL_M - T[1, 3]) / rays[..., 1]
        points = T[:3, 3] + rays * depth[..., None]
        colors.append(wall_color(points))
        depths.append(depth)
        poses.append(T)

    def tensor(values: list[NDArray]) -> torch.Tensor:
        return torch.tensor(np.stack(values), dtype=dtype)

    sources = SourceImages(
        tensor(colors).permute(0, 3, 1, 2),
        torch.tensor(CAMERA.intrinsics, dtype=dtype).expand(4, 4),
        tensor(poses),
    )
    return sources, tensor(depths)


def wall_color(points: NDArray) -> NDArray:
    x, z = points[..., 0], points[..., 2]
    waves = [np.sin(9 * x + 2 * z), np.cos(7 * z - 3 * x), np.sin(5 * x) * np.cos(8 * z)]
    return 0.5 + 0.35 * np.stack(waves, -1)


def prediction_of(**changes) -> Prediction:
    values = {"color": torch.zeros(1, 2, 3), "depth": torch.zeros(1, 2)}
    return Prediction(**({**values, "confidence": torch.full((1, 2), 0.5)} | changes))


def truth_of(**changes) -> Truth:
    values = {"color": torch.full((1, 2, 3), 0.5), "depth": torch.tensor([[3.0, 0.0]])}
    return Truth(**({**values, "labels": torch.tensor([[1, -1]])} | changes))


def sources_of_nothing() -> SourceImages:
    return SourceImages(torch.zeros(2, 3, 4, 4), torch.ones(2, 4), torch.eye(4).expand(2, 4, 4))


def test_weights_of_the_background():
    settings = LossSettings(background=0.8)
    got = class_weights(settings, 5, torch.device("cpu"))
    assert got.tolist() == pytest.approx([0.8, 0.8, 1.0, 1.0, 0.8])


def test_cross_entropy_by_hand():
    """Two labelled pixels of weights .8 and 1; the third has none."""
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)], [5.0, 0.0]])
    got = class_loss(logits, torch.tensor([0, 1, -1]), torch.tensor([0.8, 1.0]))
    right = (0.8 * math.log(2) + 1.0 * math.log(4 / 3)) / 1.8
    assert got.item() == pytest.approx(right, rel=1e-5)


def test_without_labels_there_is_no_cross_entropy_and_no_nan():
    logits = torch.randn(3, 2, requires_grad=True)
    loss = class_loss(logits, torch.tensor([-1, -1, -1]), torch.ones(2))
    loss.backward()
    assert loss.item() == 0 and logits.grad.abs().max() == 0


def test_levels_by_hand():
    """Errors of .5 m (.125) and 2 m (1.5) at two levels of weights 2 and 1; a hole in the truth."""
    truth = torch.tensor([[[2.0, 2.0], [0.0, 2.0]]])
    fine = torch.full((1, 2, 2), 2.5)
    coarse = torch.full((1, 1, 1), 4.0)
    assert level_loss([fine, coarse], truth).item() == pytest.approx(2 * 0.125 + 1 * 1.5)
    nothing = torch.zeros(1, 2, 2)  # of a source whose depth was not looked for
    both = level_loss([torch.cat([nothing, fine])], torch.cat([truth, truth]))
    assert both.item() == pytest.approx(2 * 0.125)


def test_labels_of_half_the_size_are_those_of_pixels():
    labels = torch.tensor([[[-1, 3, 5, 5], [0, 300, 5, 7]]])
    assert resized_labels(labels, torch.Size((1, 2))).flatten().tolist() == [300, 7]


def test_terms_with_depth_supervision_by_hand():
    prediction = prediction_of(
        depth=torch.tensor([[3.5, 9.0]]),
        scores=torch.tensor([[[0.2, 0.5], [0.5, 0.5]]]),
        extra={"level_0": torch.full((2, 4, 4), 1.0)},
    )
    truth = truth_of(source_depths=torch.full((2, 4, 4), 1.5))
    terms = gsnerf_losses(LossSettings(), prediction, truth, sources_of_nothing())
    right = {
        "color": 0.25,
        "rendered": 0.5 * math.log(2),
        "confidence": 0.1 * math.log(2),  # .5, and the label is right
        "ray_depth": 0.1 * 0.125,
        "levels": 2 * 0.125,
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(right, rel=1e-5)


def test_terms_of_a_closed_set_by_hand():
    extra = {"logits": torch.zeros(1, 2, 3), "source_logits": torch.zeros(2, 3, 2, 2)}
    settings = LossSettings(background=0.5)
    labels = torch.randint(0, 3, (2, 4, 4))
    terms = gsnerf_losses(
        settings, prediction_of(extra=extra), truth_of(source_labels=labels), sources_of_nothing()
    )
    assert terms["rendered"].item() == pytest.approx(0.5 * math.log(3))
    assert terms["source"].item() == pytest.approx(0.5 * math.log(3))
    assert "confidence" not in terms


def test_depth_of_the_sources_is_asked_for():
    prediction = prediction_of(extra={"level_0": torch.ones(2, 4, 4)})
    with pytest.raises(ValueError, match=r"set losses\.supervision to self"):
        gsnerf_losses(LossSettings(), prediction, truth_of(), sources_of_nothing())


def test_terms_without_depth_supervision():
    sources, depths = wall_scene()
    point = torch.tensor(depth_to_world(depths[0].numpy(), CAMERA, sources.poses[0].numpy()))
    color = sources.colors[0].permute(1, 2, 0)
    prediction = Prediction(
        color=color,
        depth=depths[0] + 0.5,
        confidence=torch.ones(32, 40),
        extra={"level_0": depths, "points": point.float(), "target_depth": depths[0]},
    )
    truth = Truth(color, torch.zeros(32, 40), torch.full((32, 40), -1))
    settings = LossSettings(supervision="self")
    terms = gsnerf_losses(settings, prediction, truth, sources)
    assert set(terms) == {"color", "guided", "consistency", "photometric"}
    assert terms["guided"].item() == pytest.approx(0.05 * 0.125, rel=1e-5)
    half = replace(settings, consistency=0.0, photometric=0.05)
    other = gsnerf_losses(half, prediction, truth, sources)
    assert "consistency" not in other
    assert other["photometric"].item() == pytest.approx(terms["photometric"].item() / 2, rel=1e-5)


def test_textures_against_a_loop():
    torch.manual_seed(0)
    colors = torch.rand(2, 3, 9, 11)
    got = texture(colors)
    grey = colors.mean(1)
    for k, row, column in [(0, 4, 5), (1, 2, 2), (1, 6, 8)]:
        patch = grey[k, row - 2 : row + 3, column - 2 : column + 3]
        assert got[k, row, column].item() == pytest.approx(patch.std().item(), rel=1e-4)
    assert torch.equal(got[:, 0, 0], got[:, 2, 2])  # at the border, the nearest patch within


def test_consistency_is_the_error_of_depth_where_colours_agree():
    """Depth off by .2 m everywhere: smooth L1 .02, times weights 2 and 1 of two levels."""
    sources, depths = wall_scene()
    points = torch.tensor(depth_to_world(depths[1].numpy(), CAMERA, sources.poses[1].numpy()))
    color = sources.colors[1].permute(1, 2, 0)
    coarse = depths[:, 1::2, 1::2]  # not quite the depth between the pixels: 1 cm off at most
    exact = depth_consistency(points.float(), color, color, [depths, coarse], sources)
    off = depth_consistency(points.float(), color, color, [depths + 0.2, coarse + 0.2], sources)
    assert exact.item() < 1e-3
    wrong = depth_consistency(points.float(), color + 0.1, color, [depths + 0.2], sources)
    assert wrong.item() == 0  # what was rendered was not right
    grey = replace(sources, colors=torch.full_like(sources.colors, 0.5))
    flat = torch.full_like(color, 0.5)
    assert depth_consistency(points.float(), flat, flat, [depths + 0.2], grey).item() == 0
    # own view: all textured points count; other views: those in the image, of the same colour
    assert 0.3 * 0.06 < off.item() <= 0.06


def test_consistency_by_brute_force():
    sources, depths = wall_scene()
    generator = torch.Generator().manual_seed(0)
    noisy = depths + 0.3 * torch.rand(depths.shape, generator=generator)
    points = torch.tensor(depth_to_world(depths[1].numpy(), CAMERA, sources.poses[1].numpy()))
    color = sources.colors[1].permute(1, 2, 0)
    got = depth_consistency(points.float(), color, color, [noisy], sources).item()
    marks, total = texture(sources.colors).numpy(), 0.0
    for k in range(4):
        T = np.linalg.inv(sources.poses[k].numpy().astype(np.float64))
        pixels, z = CAMERA.project(points.numpy() @ T[:3, :3].T + T[:3, 3])
        for (u, v), far, own in zip(
            pixels.reshape(-1, 2), z.flatten(), color.numpy().reshape(-1, 3), strict=True
        ):
            if not (-0.5 <= u < 39.5 and -0.5 <= v < 31.5):
                continue
            image = sources.colors[k].numpy()
            if np.abs(between_pixels(image, u, v) - own).mean() >= 0.02:
                continue
            row, column = np.clip(np.rint([v, u]).astype(int), 0, (31, 39))
            if marks[k, row, column] > 0.05:
                off = abs(between_pixels(noisy[k][None].numpy(), u, v)[0] - far)
                total += 2 * (0.5 * off**2 if off < 1 else off - 0.5) / z.size
    assert got == pytest.approx(total / 4, rel=0.01)


def between_pixels(image: NDArray, u: float, v: float) -> NDArray:
    _, H, W = image.shape
    x, y = int(np.floor(u)), int(np.floor(v))
    total = np.zeros(len(image))
    for i, a in ((x, 1 - (u - x)), (x + 1, u - x)):
        for j, b in ((y, 1 - (v - y)), (y + 1, v - y)):
            total += a * b * image[:, np.clip(j, 0, H - 1), np.clip(i, 0, W - 1)]
    return total


def test_the_right_depth_warps_the_sources_into_each_other():
    sources, depths = wall_scene()
    right = photometric_loss([depths], sources).item()
    for off in (-0.3, -0.15, 0.15, 0.3):
        assert photometric_loss([depths + off], sources).item() > 1.1 * right
    mirrored = replace(sources, poses=sources.poses.flip(0))
    assert photometric_loss([depths], mirrored).item() > 1.1 * right


def test_gradients_of_the_photometric_loss_are_the_finite_differences():
    sources, depths = wall_scene(torch.float64)
    depths = (depths + 0.07).requires_grad_()
    photometric_loss([depths], sources).backward()
    step, far_off = 1e-6, 0
    indices = [(0, 12, 20), (1, 9, 13), (2, 20, 30), (3, 16, 17), (2, 10, 11), (0, 25, 28)]
    for index in indices:
        sums = []
        for sign in (1, -1):
            moved = depths.detach().clone()
            moved[index] += sign * step
            sums.append(photometric_loss([moved], sources).item())
        difference = (sums[0] - sums[1]) / (2 * step)
        far_off += abs(difference - depths.grad[index].item()) > 1e-3 * abs(difference) + 1e-7
    assert far_off == 0


def test_reconstruction_by_hand():
    """A step of .4 in one image of three columns: .08 in its columns, and .08 in the gradient."""
    own = torch.zeros(3, 2, 3)
    theirs = own.clone()
    theirs[..., 1:] = 0.4
    inside = torch.ones(2, 3, dtype=torch.bool)
    got = reconstruction(theirs, own, inside)
    right = [0.5 * 0.0 + 0.5 * 0.08, 0.5 * 0.08, 0.5 * 0.08]
    assert got.tolist() == [pytest.approx(right), pytest.approx(right)]
    assert reconstruction(theirs, own, ~inside).abs().max() == 0


def test_equal_images_are_not_dissimilar_and_inverted_ones_are():
    torch.manual_seed(0)
    image = torch.rand(3, 6, 6)
    inside = torch.ones(6, 6, dtype=torch.bool)
    assert dissimilarity(image, image, inside).abs().max() < 1e-5
    assert dissimilarity(image, 1 - image, inside).mean() > 0.5
    assert dissimilarity(image, 1 - image, ~inside).abs().max() == 0


def test_steps_of_depth_count_less_at_edges_of_the_image():
    depth = torch.tensor([[1.0, 1.0, 3.0]]).expand(2, 3)
    flat, edge = torch.zeros(3, 2, 3), torch.zeros(3, 2, 3)
    edge[..., 2] = 1.0
    assert roughness(depth, flat).item() == pytest.approx(1.0)  # one step of 2 m in two
    assert roughness(depth, edge).item() == pytest.approx(math.exp(-1))
