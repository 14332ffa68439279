"""Cameras beside the recorded path, from which a robot may ask for views as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import make_transform

CLEARANCE_M = 0.2  # between a camera and the nearest solid
NEARER = 0.95  # share of its distance by which a camera keeps away from all recorded cameras
TRIES = 200  # for one camera

Clearance = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Returns the distances (N,) from points (N, 3) to the nearest solid, metres; 0 inside."""


@dataclass(frozen=True)
class OffPath:
    """Which views beside the recorded path are scored.

    Attributes:
        distances_m: distances from the nearest recorded camera, metres; () = no such views.
        views: number of views for each distance.
        turn_deg: largest angle between a view and the recorded one it starts from, degrees.
        seed: of the random positions and angles.
    Raises:
        ValueError: on a number out of range, or if two distances are the same to a millimetre.
    """

    distances_m: tuple[float, ...] = ()
    views: int = 16
    turn_deg: float = 40.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(d > 0 for d in self.distances_m) or self.views < 1:
            raise ValueError(
                "expected off_path.distances_m above 0 and off_path.views from 1 on, got "
                f"{self.distances_m} and {self.views}"
            )
        if len({round(1000 * d) for d in self.distances_m}) < len(self.distances_m):
            raise ValueError(
                f"expected off_path.distances_m that differ by millimetres, got {self.distances_m}"
            )
        if not 0 <= self.turn_deg <= 180:
            raise ValueError(f"expected off_path.turn_deg in 0..180, got {self.turn_deg}")


@dataclass(frozen=True)
class PlacedCamera:
    """A camera beside the path.

    Attributes:
        base: position in the recording of the frame that it starts from.
        T_world_camera: its pose (4, 4).
        turned_deg: angle between the two poses, degrees.
    """

    base: int
    T_world_camera: NDArray[np.float64]
    turned_deg: float


def place_cameras(
    poses: Sequence[NDArray[np.float64]], distance_m: float, settings: OffPath, clearance: Clearance
) -> list[PlacedCamera]:
    """Return ``settings.views`` cameras that are ``distance_m`` off the path.

    Each starts from one of the recorded poses, evenly spaced: it is moved in a random direction,
    and turned about a random axis perpendicular to its view direction. Positions in or close to a
    solid, or closer to any other recorded camera, are drawn again.

    Args:
        poses: ``T_world_camera`` (4, 4) of all frames of the recording.
    Raises:
        ValueError: if there is no such position.
    """
    rng = np.random.default_rng((settings.seed, round(1000 * distance_m)))
    centres = np.stack([pose[:3, 3] for pose in poses])
    bases = np.linspace(0, len(poses), settings.views, endpoint=False).astype(int)
    start = int(rng.integers(len(poses)))  # so that each distance has other frames
    cameras = []
    for first in ((bases + start) % len(poses)).tolist():
        found = _free_position(centres, first, distance_m, rng, clearance)
        if found is None:
            raise ValueError(
                f"expected free space {distance_m:g} m off the path of {len(poses)} frames, found "
                f"none in {TRIES} tries: choose smaller off_path.distances_m"
            )
        base, position = found
        turned = float(rng.uniform(0, settings.turn_deg))
        rotation = poses[base][:3, :3] @ _tilt(np.radians(turned), rng.uniform(0, 2 * np.pi))
        pose = np.asarray(make_transform(rotation, position), np.float64)
        cameras.append(PlacedCamera(base, pose, turned))
    return cameras


def _free_position(
    centres: NDArray[np.float64],
    first: int,
    distance_m: float,
    rng: np.random.Generator,
    clearance: Clearance,
) -> tuple[int, NDArray[np.float64]] | None:
    """Return a recorded frame and a free position (3,) off it, or None if there is none.

    The first half of the tries starts from the frame ``first``, the others from any frame.
    """
    for attempt in range(TRIES):
        base = first if attempt < TRIES // 2 else int(rng.integers(len(centres)))
        direction = rng.standard_normal(3)
        position = centres[base] + distance_m * direction / np.linalg.norm(direction)
        nearest = float(np.linalg.norm(centres - position, axis=1).min())
        if nearest >= NEARER * distance_m and clearance(position[None])[0] >= CLEARANCE_M:
            return base, position
    return None


def _tilt(angle: float, towards: float) -> NDArray[np.float64]:
    """Return the rotation (3, 3) by ``angle`` about an axis in the image plane, radians.

    Args:
        towards: angle of the axis from the camera's x axis.
    """
    from scipy.spatial.transform import Rotation

    axis = np.array([np.cos(towards), np.sin(towards), 0.0])
    return Rotation.from_rotvec(angle * axis).as_matrix()
