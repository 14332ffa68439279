"""Cameras around an object: at random on the upper part of a sphere, and along a fixed spiral."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.geometry import Camera, look_at

FOCAL_TO_SIZE = 131.25 / 128  # of the published renderings
MARGIN = 1.03  # of the distance at which the sphere around the object fills the image
LOWEST, HIGHEST = np.deg2rad(-8.0), np.deg2rad(80.0)


def square_camera(size: int) -> Camera:
    """Return the camera of square images of ``size`` pixels, with the published field of view."""
    focal = FOCAL_TO_SIZE * size
    return Camera(focal, focal, (size - 1) / 2, (size - 1) / 2, size, size)


def viewing_distance(model: ObjectModel, camera: Camera) -> float:
    """Return the distance at which the sphere around an object just fits into the image, metres."""
    half = min(camera.width / camera.fx, camera.height / camera.fy) / 2
    return MARGIN * model.radius() / np.sin(np.arctan(half))


def poses_at(
    model: ObjectModel, camera: Camera, azimuths: NDArray, elevations: NDArray, nearness: float = 1
) -> NDArray[np.float64]:
    """Return T_object_camera (V, 4, 4) of cameras that look at the object's middle.

    Args:
        azimuths: (V,), radians; 0 = in front of it (at -y), positive = to its right side (+x).
        elevations: (V,), radians above its middle.
        nearness: factor of ``viewing_distance``.
    """
    level = np.cos(elevations)
    directions = np.stack(
        [level * np.sin(azimuths), -level * np.cos(azimuths), np.sin(elevations)], axis=1
    )
    middle, distance = model.middle(), nearness * viewing_distance(model, camera)
    poses = [look_at(middle + distance * d, middle) for d in directions]
    return np.stack(poses).astype(np.float64)


def random_poses(
    model: ObjectModel, camera: Camera, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return poses (V, 4, 4) evenly at random on the sphere between ``LOWEST`` and ``HIGHEST``.

    The first ones are the same whatever their number.
    """
    heights, azimuths = rng.uniform(
        (np.sin(LOWEST), -np.pi), (np.sin(HIGHEST), np.pi), (count, 2)
    ).T
    return poses_at(model, camera, azimuths, np.arcsin(heights))


def spiral_poses(model: ObjectModel, camera: Camera, count: int) -> NDArray[np.float64]:
    """Return poses (V, 4, 4) along a spiral of four turns from the highest to the lowest view."""
    steps = (np.arange(count) + 0.5) / count
    heights = np.sin(HIGHEST) + steps * (np.sin(LOWEST) - np.sin(HIGHEST))
    return poses_at(model, camera, 8 * np.pi * steps, np.arcsin(heights))
