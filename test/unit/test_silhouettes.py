"""Silhouettes near the pixel of a ray: what they say about distances, on every device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from semantic_field.field.rays.device_sampling import Placing, clearance_along, place_samples
from semantic_field.field.rays.device_surroundings import surroundings
from semantic_field.field.rays.pixel_surroundings import (
    REACH,
    silhouettes_at,
    steepness_at,
)
from semantic_field.field.rays.rays import Rays
from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, INSIDE_SHARE, draw_rays
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.keyframes.store import KeyframeStore

HAS_GPU = torch.cuda.is_available()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not HAS_GPU, reason="no GPU"))]
CAMERA = Camera(50.0, 40.0, 19.5, 14.5, 40, 30)
BAND_M = 0.1
SAMPLES = (2, 3)


def step_image(near_m: float = 2.0, far_m: float = 3.0) -> NDArray[np.float32]:
    """A nearer surface from column 20 on, before a wall."""
    depth = np.full((30, 40), far_m, np.float32)
    depth[:, 20:] = near_m
    return depth


def seen_at(depth: NDArray[np.float32], column: int, row: int) -> tuple[float, float, float]:
    stored = np.rint(depth / DEPTH_UNIT_M).astype(np.uint16).reshape(-1)
    found = silhouettes_at(stored, row * 40 + column, 40, 30, 50.0, 40.0, depth[row, column])
    to_front, front, to_end = map(float, found)
    return to_front, front, to_end


def store_of(*depths: NDArray[np.float32]) -> KeyframeStore:
    store = KeyframeStore(40, 30, 16, (0.1, 12.0))
    for i, depth in enumerate(depths):
        pose = np.eye(4)
        pose[0, 3] = i
        store.add(Frame(i, np.zeros((30, 40, 3), np.uint8), depth, CAMERA, pose), None)
    return store


def rays_of(store: KeyframeStore, columns: NDArray[np.int64], samples: tuple = SAMPLES) -> Rays:
    reach = VoxelGrid(0.1)
    reach.insert(store.surface(0, 1, 0.1)[0])
    slots, pixels = np.zeros(len(columns), np.int64), 15 * 40 + columns
    return draw_rays(
        store.images, store.cameras, slots, reach, samples, BAND_M, 0.2, 0.1, seed=1, pixels=pixels
    )


def free_z(rays: Rays, free: int = SAMPLES[1]) -> torch.Tensor:
    return rays.points[rays.near_z.numel() :, 2].view(len(rays.depth), free)


def test_both_sides_of_a_silhouette_know_how_far_away_it_is() -> None:
    depth = step_image()
    assert seen_at(depth, 19, 15) == pytest.approx((0.5 / 50, 2.0, np.inf))
    assert seen_at(depth, 17, 15) == pytest.approx((2.5 / 50, 2.0, np.inf))
    assert seen_at(depth, 21, 15) == pytest.approx((np.inf, 0.0, 1.5 / 50))
    assert seen_at(depth, 19 - REACH, 15) == (np.inf, 0.0, np.inf)

    wide = step_image(near_m=2.96)  # no jump: less than five centimetres
    assert seen_at(wide, 19, 15) == seen_at(wide, 20, 15) == (np.inf, 0.0, np.inf)


def test_a_slanting_silhouette_passes_closer_than_along_a_row_or_a_column() -> None:
    depth = np.full((30, 40), 3.0, np.float32)
    rows, columns = np.indices(depth.shape)
    depth[columns / 50 + rows / 40 > 40 / 50] = 2.0
    to_front, front, _ = seen_at(depth, 20, 14)  # both axes meet it
    row_part, column_part = (3 - 0.5) / 50, (3 - 0.5) / 40
    assert depth[14, 22] == 3 and depth[14, 23] == 2 and depth[16, 20] == 3 and depth[17, 20] == 2
    by_hand = row_part * column_part / np.hypot(row_part, column_part)
    assert to_front == pytest.approx(by_hand, rel=1e-5) and front == 2.0
    depth[14, 17:20] = 1.5  # nearer, and closer
    assert seen_at(depth, 20, 14)[1] == pytest.approx(1.5)


def test_nothing_is_concluded_across_a_hole() -> None:
    depth = step_image()
    stored = np.rint(depth / DEPTH_UNIT_M).astype(np.uint16)
    stored[:, 19] |= GUESSED
    assert silhouettes_at(stored.reshape(-1), 15 * 40 + 18, 40, 30, 50.0, 40.0, 3.0)[1] == 0
    stored[:, 19] = 0
    assert silhouettes_at(stored.reshape(-1), 15 * 40 + 18, 40, 30, 50.0, 40.0, 3.0)[1] == 0


def test_rays_past_a_nearer_surface_have_a_sample_beside_it() -> None:
    store = store_of(step_image())
    rays = rays_of(store, np.repeat([19, 10], 200))
    first = free_z(rays)[:, 0]
    past = first[:200]
    assert ((past - 2.0).abs() <= BAND_M / rays.stretch[:200] + 1e-4).all() and past.std() > 0.03
    assert ((first[200:] - 2.0).abs() > BAND_M).float().mean() > 0.9
    single = rays_of(store, np.repeat([19], 200), (2, 1))  # the only one stays along the ray
    assert ((free_z(single, 1) - 2.0).abs() > BAND_M).float().mean() > 0.5


def test_free_samples_are_no_farther_from_surfaces_than_these_can_be_seen_to_be() -> None:
    store = store_of(step_image())
    rays = rays_of(store, np.repeat([19, 18, 10], 100))
    z, along = free_z(rays).numpy(), rays.stretch.numpy()[:, None]
    own = (3.0 - z) * along  # the walls are seen from the front
    aside = np.repeat([0.5, 1.5, np.inf], 100)[:, None] / 50 * 2.0
    by_hand = np.minimum(np.minimum(own, np.hypot(aside, (2.0 - z) * along)), BAND_M)
    np.testing.assert_allclose(rays.clearance.numpy(), by_hand, atol=1e-4)
    assert (rays.clearance[:100, 0] < BAND_M).float().mean() > 0.9
    assert (rays.clearance[200:] == BAND_M).all()


def test_samples_behind_the_end_of_a_surface_need_not_be_deep_inside() -> None:
    rays = rays_of(store_of(step_image()), np.array([20, 22, 30, 19]))
    by_hand = [INSIDE_SHARE * aside / 50 * 2.0 for aside in (0.5, 2.5, np.inf)]
    np.testing.assert_allclose(rays.inside.numpy(), [*by_hand, np.inf], rtol=1e-4)


def test_the_clearance_before_a_slanting_surface_is_taken_at_a_right_angle() -> None:
    depth = np.repeat(np.linspace(2.0, 4.0, 40, dtype=np.float32)[None], 30, 0)
    store = store_of(depth)
    rays = rays_of(store, np.repeat([18], 200))
    here, step = (store.images.depths[0, 15 * 40 + i] * DEPTH_UNIT_M for i in (18, 19))
    slope = (step - here) * 50 / here
    own = (here - free_z(rays)) * rays.stretch[:, None] / np.sqrt(1 + slope * slope)
    assert slope > 0.8
    torch.testing.assert_close(rays.clearance, own.clamp_max(BAND_M), atol=2e-3, rtol=0)
    assert (rays.clearance < 0.99 * BAND_M).any()


def scattered() -> NDArray[np.float32]:
    """Boxes of all sizes and depths, a slope, and holes."""
    random = np.random.default_rng(0)
    depth = np.linspace(2.0, 4.0, 40, dtype=np.float32) * np.ones((30, 1), np.float32)
    for _ in range(25):
        row, column = random.integers(0, 28), random.integers(0, 38)
        height, width = random.integers(1, 9, 2)
        depth[row : row + height, column : column + width] = random.uniform(0.5, 4.5)
    depth[random.random(depth.shape) < 0.03] = 0.0
    return depth


@pytest.mark.parametrize("device", DEVICES)
def test_silhouettes_are_seen_as_the_processor_sees_them(device: str) -> None:
    store = store_of(scattered(), scattered()[::-1])
    copied = DeviceKeyframes(store, device)
    copied.follow(store)
    slots, pixel = np.repeat([0, 1], 1200), np.tile(np.arange(1200), 2)
    stored = store.images.depths[slots, pixel]
    depth = ((stored & GUESSED - 1) * np.float32(DEPTH_UNIT_M)).astype(np.float32)
    expected = np.array(
        [
            (
                steepness_at(store.images.depths[slot], p, 40, 30, 50.0, 40.0, d),
                *silhouettes_at(store.images.depths[slot], p, 40, 30, 50.0, 40.0, d),
            )
            for slot, p, d in zip(slots, pixel, depth, strict=True)
        ]
    )
    places = (torch.from_numpy(array).to(device) for array in (slots, pixel, depth))
    found = surroundings(copied.images.depths, copied.cameras, *places)
    for part, by_processor in zip(found, expected.T, strict=True):
        np.testing.assert_allclose(part.cpu().numpy(), by_processor, rtol=1e-4)
    assert 100 < (expected[:, 2] > 0).sum() < 2000 and np.isfinite(expected[:, 3]).sum() > 100


@pytest.mark.parametrize("device", DEVICES)
def test_samples_are_bounded_as_the_processor_bounds_them(device: str) -> None:
    store = store_of(scattered())
    reach = VoxelGrid(0.1)
    reach.insert(store.surface(0, 1, 0.1)[0])
    slots, pixels = np.zeros(1200, np.int64), np.arange(1200)
    drawn = draw_rays(
        store.images, store.cameras, slots, reach, SAMPLES, BAND_M, 0.2, 0.1, seed=1, pixels=pixels
    )
    copied = DeviceKeyframes(store, device)
    copied.follow(store)
    placing = Placing(SAMPLES, BAND_M, 0.2, 0.1)
    places = torch.from_numpy(slots).to(device), torch.from_numpy(pixels).to(device)
    images, cameras = copied.images, copied.cameras
    found = place_samples(images, cameras, *places, DeviceVoxels.of(reach, device), placing)
    torch.testing.assert_close(found.inside.cpu(), drawn.inside, rtol=1e-4, atol=1e-6)
    around = surroundings(images.depths, cameras, *places, found.depth)
    there = free_z(drawn).to(device)
    bounds = clearance_along(there, found.depth, around, found.stretch, BAND_M)
    torch.testing.assert_close(bounds.cpu(), drawn.clearance, rtol=1e-3, atol=2e-5)
    own = clearance_along(free_z(found), found.depth, around, found.stretch, BAND_M)
    torch.testing.assert_close(own, found.clearance, rtol=1e-3, atol=2e-5)
    past = around.front > 0
    near_front = (free_z(found)[:, 0] - around.front)[past].abs() < 1.01 * BAND_M
    assert past.sum() > 100 and near_front.float().mean() > 0.9
