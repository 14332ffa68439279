"""Observations of single objects from one side, as a depth camera in a room makes them.

With them completions are calibrated and measured: the object stands on a ground, is seen by a few
cameras close together, and its depth has the noise, steps and holes of a real sensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.objects.object_model import ObjectModel, assembled
from semantic_field.data.room import room_renderer, textures
from semantic_field.data.room.lighting import LightMaps
from semantic_field.data.room.scene import SceneImages
from semantic_field.data.room.scene_tables import group_tables, shape_tables, surface_tables
from semantic_field.data.room.sensor import degrade
from semantic_field.data.room.shapes import Material, Shape, box, yaw_rotation
from semantic_field.geometry import (
    Camera,
    invert_transform,
    look_at,
    make_transform,
    transform_points,
)
from semantic_field.object_prior.completion import ObservedObject, ObservedView

SIZE = (320, 240)
FOCAL_PX = 262.5  # of a Kinect at this size
GROUND = Material("plain", (0.6, 0.55, 0.5))
BRIGHTNESS = 0.8
FAR_M = 20.0  # of what is behind everything: beyond the sensor's reach
RIM_PX = 6  # of the crop around the object
SMOOTH_PX = 5  # over which normals are taken


@dataclass(frozen=True)
class OneSidedScan:
    """An observation with its truth.

    Attributes:
        observed: the object as the map knows it.
        T_world_object: (4, 4) of the object's own frame.
        model: the true object, in its own frame.
    """

    observed: ObservedObject
    T_world_object: NDArray[np.float64]
    model: ObjectModel


def scan(model: ObjectModel, rng: np.random.Generator, views: int = 2) -> OneSidedScan:
    """Return an observation of an object from a random side.

    The cameras are within 50 degrees of one another and 10 to 45 degrees above the object's middle.
    """
    yaw = rng.uniform(-np.pi, np.pi)
    place = [*rng.uniform(-2, 2, 2), rng.uniform(0, 0.8)]
    T_world_object = np.asarray(make_transform(yaw_rotation(yaw), place), np.float64)
    azimuth, away = rng.uniform(-np.pi, np.pi), _viewing_distance(model, rng)
    middle = transform_points(T_world_object, model.middle())
    turns = azimuth + np.deg2rad(rng.uniform(-25, 25, views))
    heights = np.deg2rad(rng.uniform(10, 45, views))
    eyes = [
        middle + away * np.array([np.cos(h) * np.cos(a), np.cos(h) * np.sin(a), np.sin(h)])
        for a, h in zip(turns, heights)
    ]
    poses = [look_at(eye, middle) for eye in eyes]
    seen = tuple(_observed_view(model, T_world_object, pose, rng) for pose in poses)
    return OneSidedScan(observation(seen), T_world_object, model)


def solid_object(name: str, shapes: Sequence[Shape]) -> ObjectModel:
    """Return a thing without known parts, such as a piece of furniture of the simulated room."""
    return assembled(name, name, ("body",), {"body": list(shapes)})


def observation(views: tuple[ObservedView, ...]) -> ObservedObject:
    """Return the observation of the masked pixels of views (the world's z is up)."""
    parts = [_surface(view) for view in views]
    points, normals, colors = (np.concatenate(part) for part in zip(*parts))
    return ObservedObject(points, normals, colors, views, np.array([0.0, 0.0, 1.0]))


def cropped(
    color: NDArray[np.uint8],
    depth: NDArray[np.float32],
    mask: NDArray[np.bool_],
    camera: Camera,
    T_world_camera: NDArray[np.float64],
    rim: int = RIM_PX,
) -> ObservedView:
    """Return the part of a view around a mask, with ``rim`` pixels more at each side.

    Raises:
        ValueError: if the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("expected pixels of the object in the mask, got none: use another view")
    top, left = max(rows.min() - rim, 0), max(columns.min() - rim, 0)
    part = np.s_[top : rows.max() + rim + 1, left : columns.max() + rim + 1]
    height, width = mask[part].shape
    own = Camera(camera.fx, camera.fy, camera.cx - left, camera.cy - top, width, height)
    others = np.zeros((height, width), bool)
    return ObservedView(color[part], depth[part], mask[part], others, own, T_world_camera)


def _viewing_distance(model: ObjectModel, rng: np.random.Generator) -> float:
    """Return a distance at which the object fills a good part of the image, metres."""
    fills = model.radius() * FOCAL_PX / (0.5 * SIZE[1])
    return float(np.clip(fills * rng.uniform(1.1, 2.0), 0.55, 5.0))


def _observed_view(
    model: ObjectModel, T_world_object: NDArray, pose: NDArray, rng: np.random.Generator
) -> ObservedView:
    camera = Camera(FOCAL_PX, FOCAL_PX, (SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2, *SIZE)
    reach = 6.0
    shapes = [*model.shapes, box((-reach, -reach, -0.1), (reach, reach, -0.0005), GROUND)]
    tables = (*shape_tables(shapes), *group_tables([model.shapes, shapes[-1:]], [5, 1]))
    surfaces = (*surface_tables(shapes), *textures.make_textures())
    light = LightMaps(
        np.tile(np.array([0, 1, 1], np.int32), (len(shapes), 6, 1)),
        np.full((1, 3), BRIGHTNESS, np.float32),
    )
    T_object_camera = np.ascontiguousarray(invert_transform(T_world_object) @ pose, np.float64)
    color, depth, shape, cosine = room_renderer.render(
        tables, surfaces, light, camera, T_object_camera, threads=1
    )
    own = (shape >= 0) & (shape < len(model.shapes))
    none = np.full(shape.shape, -1, np.int32)
    nothing = shape < 0
    depth, cosine = np.where(nothing, FAR_M, depth), np.where(nothing, 1, cosine)
    exact = SceneImages(color, depth.astype(np.float32), none, none, cosine)
    color, depth = degrade(exact, camera, rng, np.zeros(shape.shape, bool))
    return cropped(color, depth, own, camera, pose)


def _surface(view: ObservedView) -> tuple[NDArray, NDArray, NDArray]:
    """Return points, normals (N, 3), world frame, and colours of the measured masked pixels.

    Normals come from depth smoothed within the mask; where it has steps there are none.
    """
    known = (view.mask & (view.depth > 0)).astype(np.float32)
    size = (SMOOTH_PX, SMOOTH_PX)
    weight = cv2.blur(known, size)
    smooth = cv2.blur(view.depth * known, size) / np.maximum(weight, 1e-6)
    near = known.astype(bool) & (np.abs(smooth - view.depth) < 0.02 * view.depth)
    lifted = view.camera.backproject(smooth)
    across = cv2.Sobel(lifted, cv2.CV_32F, 1, 0, ksize=3)
    down = cv2.Sobel(lifted, cv2.CV_32F, 0, 1, ksize=3)
    normals = np.cross(down, across)
    lengths = np.linalg.norm(normals, axis=2)
    whole = cv2.erode(known, np.ones((3, 3), np.uint8)).astype(bool)
    cosine = -(normals * lifted).sum(2) / np.maximum(
        lengths * np.linalg.norm(lifted, axis=2), 1e-12
    )
    use = near & whole & (cosine > 0.15)
    points = view.camera.backproject(view.depth)[use]
    turned = (normals[use] / lengths[use, None]) @ view.T_world_camera[:3, :3].T
    return transform_points(view.T_world_camera, points), turned, view.color[use]
