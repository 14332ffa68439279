"""Cross-view self-enhancement (OV-NeRF): when, and from which new poses, the map labels itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOVE_M = 0.25
TURN_RAD = 0.35
CIRCLE = 0.005  # radius of the released circle, of the largest distance of a camera
CIRCLE_DROP = 0.001


class Schedule:
    """Due at step T and every N steps from then on, once each."""

    def __init__(self, first: int, every: int) -> None:
        self._next, self._every = first, every

    def due(self, step: int) -> bool:
        """Whether a refresh has to begin at this step; says so once for each."""
        if step < self._next:
            return False
        self._next += self._every * (1 + (step - self._next) // self._every)
        return True


def poses_near(
    poses: NDArray[np.floating], number: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """New poses (number, 4, 4) near real ones (K, 4, 4), ``T_world_camera``.

    Each is a real pose moved by up to 25 cm and turned by up to 0.35 rad about the camera's
    vertical axis, and half as much about its horizontal one: surroundings that the map knows,
    from where no image was taken.
    """
    new = np.asarray(poses, np.float64)[random.integers(0, len(poses), number)]
    turn = random.uniform(-TURN_RAD, TURN_RAD, (number, 2)) * [1.0, 0.5]
    for pose, (yaw, pitch) in zip(new, turn, strict=True):
        pose[:3, :3] = pose[:3, :3] @ _about_y(yaw) @ _about_x(pitch)
    direction = random.standard_normal((number, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    new[:, :3, 3] += direction * random.uniform(0, MOVE_M, (number, 1))
    return new


def poses_on_circle(
    poses: NDArray[np.floating], number: int, up: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The released code's poses: a camera that spins in place, around the middle of the real ones.

    They lie on a horizontal circle of radius 0.005, in units of the farthest real camera's distance
    from the middle, a little below it, and look at the middle.
    """
    poses = np.asarray(poses, np.float64)
    middle = poses[:, :3, 3].mean(0)
    unit = max(float(np.linalg.norm(poses[:, :3, 3] - middle, axis=1).max()), 1.0)
    up = up / np.linalg.norm(up)
    side = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    side /= np.linalg.norm(side)
    other = np.cross(up, side)
    new = np.tile(np.eye(4), (number, 1, 1))
    for pose, angle in zip(new, np.arange(number) * 2 * np.pi / max(number, 1), strict=True):
        outward = np.cos(angle) * side + np.sin(angle) * other
        offset = CIRCLE * outward - CIRCLE_DROP * up
        forward = -offset / np.linalg.norm(offset)
        right = np.cross(forward, up)
        right /= np.linalg.norm(right)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
        pose[:3, 3] = middle + unit * offset
    return new


def _about_y(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_x(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
