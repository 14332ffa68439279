"""Crops of the keyframes that show an object best: what is the object in them, and what hides it.

Which pixels show the object is decided by their depth readings: the nearest point of the map to
where a pixel's reading lies is one of the object, or one of its surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.field.views.seeing import NEAREST_M, NOISE_M, NOISE_PER_M
from semantic_field.field.views.source_views import SourceViews
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, transform_points
from semantic_field.object_prior.completion import ObservedView

MARGIN = 0.2  # of the crop around the object, of its longer side
SPACINGS = 1.5  # a pixel shows the point of the map that is within so many spacings of the points
HIDDEN_M = (
    0.08  # a pixel is free of the object if less of its ray is hidden inside the object's box
)


@dataclass(frozen=True)
class SurroundedObject:
    """Points of an object's surface and of what is around it, in map coordinates, metres.

    Attributes:
        points: (N, 3), N >= 1, of the object. around: (M, 3), of other things.
    """

    points: NDArray[np.floating]
    around: NDArray[np.floating]

    def is_object(
        self, where: NDArray[np.floating], noise_m: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Return whether the points (P, 3) lie on the object, up to a noise (P,) in metres."""
        everything = np.concatenate([self.points, self.around])
        distance, nearest = KDTree(everything).query(where)
        reach = SPACINGS * self._spacing() + noise_m
        return np.asarray((nearest < len(self.points)) & (distance <= reach), bool)

    def _spacing(self) -> float:
        """Return the median distance of the object's points to their next ones, metres."""
        if len(self.points) < 2:
            return 0.0
        distance, _ = KDTree(self.points).query(self.points[:2000], k=2)
        return float(np.median(np.asarray(distance)[:, 1]))


def crop_of(
    thing: SurroundedObject, sources: SourceViews, number: int, side: int
) -> ObservedView | None:
    """Return the part of a keyframe that shows the object; None if no pixel shows it.

    Args:
        number: of the keyframe in ``sources``.
        side: largest width and height of the crop, pixels; more are averaged.
    Returns:
        The crop; its pose is in map coordinates.
    """
    frame = _keyframe(sources, number)
    window = _window(thing.points, frame)
    if window is None:
        return None
    frame = _shrunk(_cut(frame, window), side)
    known = frame.depth > 0
    where = transform_points(frame.T_world_camera, frame.camera.backproject(frame.depth)[known])
    mask = np.zeros(known.shape, bool)
    mask[known] = thing.is_object(where, NOISE_M + NOISE_PER_M * frame.depth[known])
    if not mask.any():
        return None
    others = ~mask & (~known | _hides(frame, thing.points))
    return ObservedView(frame.color, frame.depth, mask, others, frame.camera, frame.T_world_camera)


def camera_of(sources: SourceViews, number: int) -> Camera:
    """Return the camera of a keyframe."""
    fx, fy, cx, cy = sources.cameras.intrinsics[number].tolist()
    width, height = sources.cameras.sizes[number].tolist()
    return Camera(fx, fy, cx, cy, width, height)


def measured(
    sources: SourceViews, number: int, pixels: slice | NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the z-depth (P,) of pixels of a keyframe, metres.

    0 where nothing was measured (also if the depth was filled in), and at masked pixels.
    """
    _, depths, labels = sources.images
    stored = depths[number, pixels]
    valid = ((stored & GUESSED) == 0) & (labels[number, pixels] != MASKED)
    return np.where(valid, stored * np.float32(DEPTH_UNIT_M), np.float32(0))


def _keyframe(sources: SourceViews, number: int) -> Frame:
    camera = camera_of(sources, number)
    used = slice(camera.width * camera.height)
    size = (camera.height, camera.width)
    return Frame(
        stamp_ns=int(sources.stamps_ns[number]),
        color=sources.images.colors[number, used].reshape(*size, 3),
        depth=measured(sources, number, used).reshape(size),
        camera=camera,
        T_world_camera=sources.cameras.poses[number].astype(np.float64),
    )


def _window(points: NDArray, frame: Frame) -> tuple[int, int, int, int] | None:
    """Return first and last column, first and last row around the points; None if none is seen."""
    camera, pose = frame.camera, frame.T_world_camera
    _, u, v, z = camera.pixels_inside((points - pose[:3, 3]) @ pose[:3, :3])
    u, v = u[z > NEAREST_M], v[z > NEAREST_M]
    if not len(u):
        return None
    pad = max(4, int(MARGIN * max(np.ptp(u), np.ptp(v))))
    return (
        max(0, int(u.min()) - pad),
        min(camera.width - 1, int(u.max()) + pad),
        max(0, int(v.min()) - pad),
        min(camera.height - 1, int(v.max()) + pad),
    )


def _cut(frame: Frame, window: tuple[int, int, int, int]) -> Frame:
    left, right, top, bottom = window
    rows, columns = slice(top, bottom + 1), slice(left, right + 1)
    camera = frame.camera
    width, height = right - left + 1, bottom - top + 1
    moved = Camera(camera.fx, camera.fy, camera.cx - left, camera.cy - top, width, height)
    color, depth = frame.color[rows, columns].copy(), frame.depth[rows, columns]
    return Frame(frame.stamp_ns, color, depth, moved, frame.T_world_camera)


def _shrunk(frame: Frame, side: int) -> Frame:
    width, height = frame.camera.width, frame.camera.height
    scale = min(1.0, side / max(width, height))
    return frame.resized(max(1, round(width * scale)), max(1, round(height * scale)))


def _hides(frame: Frame, points: NDArray) -> NDArray[np.bool_]:
    """Return at which pixels (H, W) something may hide a part of the object.

    What a pixel shows hides the object if a part of its ray behind the reading is inside the box of
    the object's observed points, or, beside that box, if it is nearer than all of it: there may be
    more of the object than was observed.
    """
    low, high = points.min(0), points.max(0)
    pose = frame.T_world_camera
    rays = frame.camera.rays().reshape(-1, 3).astype(np.float64) @ pose[:3, :3].T  # z = 1
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(low - pose[:3, 3]) / rays, (high - pose[:3, 3]) / rays])
    enters = np.nanmax(ends.min(0), axis=1)
    leaves = np.nanmin(ends.max(0), axis=1)
    depth = frame.depth.reshape(-1)
    meets = (leaves > enters) & (leaves > 0)
    lengths = np.linalg.norm(rays, axis=1)
    hidden_m = (leaves - np.maximum(enters, depth)) * lengths
    nearest = ((points - pose[:3, 3]) @ pose[:3, 2]).min()
    return np.where(meets, hidden_m > HIDDEN_M, depth < nearest).reshape(frame.depth.shape)
