"""Samples for signed distances: exact ones, those from views, their batches, and the losses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.data.objects.object_cameras import poses_at, square_camera
from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.objects.object_rendering import render_object
from semantic_field.data.objects.object_views import CategoryFrame
from semantic_field.data.objects.procedural_objects import ProceduralObjects, ViewPlan
from semantic_field.data.room.shapes import Material, box
from semantic_field.object_prior.signed_distance.distance_losses import (
    color_loss,
    distance_loss,
    sign_loss,
)
from semantic_field.object_prior.signed_distance.exact_samples import exact_samples
from semantic_field.object_prior.signed_distance.instance_samples import SampleSettings
from semantic_field.object_prior.signed_distance.sample_batches import SampleBatches
from semantic_field.object_prior.signed_distance.view_samples import seen_surface, view_samples
from semantic_field.object_prior.trainable_prior import TrainingObjects

FRAME = CategoryFrame(0.5, (0.0, 0.0, 0.3))
HALF = np.array([0.2, 0.15, 0.3])  # of the block, metres
SETTINGS = SampleSettings(near=3000, free=1000, surface=2000)


def block() -> ObjectModel:
    shape = box(-HALF + [0, 0, 0.3], HALF + [0, 0, 0.3], Material("plain", (0.9, 0.2, 0.2)))
    return ObjectModel("chair", "block", ("seat",), (shape,), np.zeros(1, np.int64))


def true_distance(points: np.ndarray) -> np.ndarray:
    """Of the block, canonical units."""
    beyond = np.abs(points * FRAME.unit_m) - HALF
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    return (outside + np.minimum(beyond.max(axis=1), 0)) / FRAME.unit_m


def views_around(count: int = 24) -> list:
    model, camera = block(), square_camera(64)
    azimuths = np.linspace(0, 4 * math.pi, count, endpoint=False)
    poses = poses_at(model, camera, azimuths, np.linspace(-0.1, 1.3, count))
    return [render_object(model, camera, pose) for pose in poses]


def test_exact_samples_are_those_of_the_block() -> None:
    found = exact_samples(block(), FRAME, SETTINGS, np.random.default_rng(0))
    truth = true_distance(found.points.astype(np.float64))
    assert found.points.shape == (4000, 3)
    assert np.abs(found.distances - truth).max() < 1e-3
    near = np.abs(truth[: SETTINGS.near])
    assert 0.2 < (truth < 0).mean() < 0.6
    assert np.quantile(near, 0.5) < 0.03 < np.abs(truth[SETTINGS.near :]).mean()
    assert np.abs(true_distance(found.surface.astype(np.float64))).max() < 1e-3
    assert found.colors[:, 0].mean() > 2 * found.colors[:, 1].mean()  # red


def test_samples_from_views_come_close_to_the_block() -> None:
    found = view_samples(views_around(), FRAME, SETTINGS, np.random.default_rng(0))
    points = found.points.astype(np.float64)
    truth = true_distance(points)
    # Nothing looks at the block from below: what lies there is left out.
    known = points[:, 2] > -0.5
    sure = known & (np.abs(truth) > 0.01)
    assert (np.sign(found.distances) == np.sign(truth))[sure].mean() > 0.97
    assert np.median(np.abs(found.distances - truth)[known]) < 0.004
    assert np.abs(true_distance(found.surface.astype(np.float64))).max() < 2e-3
    assert found.colors[:, 0].mean() > 2 * found.colors[:, 1].mean()


def test_normals_of_views_point_outwards() -> None:
    seen = seen_surface(views_around(8), FRAME)
    beyond = np.abs(seen.points * FRAME.unit_m) - HALF
    axis = beyond.argmax(axis=1)
    rows = np.arange(len(axis))
    clear = np.sort(beyond, axis=1)[:, 1] < -0.02  # away from edges
    facing = seen.normals[rows, axis] * np.sign(seen.points[rows, axis])
    assert np.median(facing[clear]) > 0.99
    assert facing[clear].min() > 0


def test_views_without_depth_are_an_error() -> None:
    views = [replace(views_around(1)[0], depth=None)]
    with pytest.raises(ValueError, match="expected views with depth"):
        view_samples(views, FRAME, SETTINGS, np.random.default_rng(0))


def test_batches_depend_on_the_step_alone_and_visit_each_instance() -> None:
    small = SampleSettings(
        near=60, free=20, surface=40, instances_per_step=2, points_per_step=16, colors_per_step=8
    )
    data = TrainingObjects(ProceduralObjects("mug", range(3), ViewPlan(1, 16)), 1)
    batches, again = SampleBatches(data, small, seed=1), SampleBatches(data, small, seed=1)
    visited = torch.cat([batches(step).instances for step in range(3)])
    assert visited.sort().values.tolist() == [0, 0, 1, 1, 2, 2]
    assert visited[:3].sort().values.tolist() == [0, 1, 2]
    assert torch.equal(again(2).points, batches(2).points)
    batch = batches(1)
    assert batch.points.shape == (2, 16, 3)
    assert batch.colors.shape == (2, 8, 3)
    assert batch.colors.max() <= 1
    low, high = batches.bounds()
    assert (batch.surface >= low).all() and (batch.surface <= high).all()
    assert -1.1 < float(low.min()) < -0.4 and 0.3 < float(high.max()) < 1.1


def test_exact_samples_of_a_folder_are_an_error() -> None:
    class Folder:
        category, part_names, frame, names = "mug", ("body",), FRAME, ("a",)

    with pytest.raises(ValueError, match="procedural objects"):
        SampleBatches(TrainingObjects(Folder(), 1), SampleSettings(source="exact"), 0)


def test_losses_by_hand() -> None:
    found, truth = torch.tensor([0.02, 0.25]), torch.tensor([0.01, 0.27])
    # 0.01 * 0.03 / 0.04 and 0.02 * 0.03 / 0.3
    assert distance_loss(found, truth, 0.03).item() == pytest.approx((0.0075 + 0.002) / 2, rel=1e-4)
    assert sign_loss(truth, truth, 0.01).item() == pytest.approx(0, abs=1e-6)
    inside, said = 1 / (1 + math.exp(1)), 1 / (1 + math.exp(2))
    entropy = -(inside * math.log(inside) + (1 - inside) * math.log(1 - inside))
    cross = -(inside * math.log(said) + (1 - inside) * math.log(1 - said))
    value = sign_loss(torch.tensor([0.02]), torch.tensor([0.01]), 0.01).item()
    assert value == pytest.approx(cross - entropy, rel=1e-4)
    assert color_loss(torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.0])).item() == 0.125
