"""Schedule and novel poses of cross-view self-enhancement (OV-NeRF)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOVE_M = 0.25
TURN_RAD = 0.35
CIRCLE = 0.005  # radius of the released code's circle, of the largest distance of a camera
CIRCLE_DROP = 0.001


class Schedule:
    """Refreshes at step ``first`` (T), and every ``every`` (N) steps from then on."""

    def __init__(self, first: int, every: int) -> None:
        self._next, self._every = first, every

    def due(self, step: int) -> bool:
        """Return whether a refresh is due at this step; True once per refresh."""
        if step < self._next:
            return False
        self._next += self._every * (1 + (step - self._next) // self._every)
        return True


def poses_near(
    poses: NDArray[np.floating], number: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return novel poses (number, 4, 4) near recorded ones (K, 4, 4), ``T_world_camera``.

    Each is a random recorded pose, moved by up to 25 cm and rotated by up to 0.35 rad about the
    camera's vertical axis and half as much about its horizontal one. So it views mapped space from
    a place where no image was taken.
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
    """Return the novel poses (number, 4, 4) of OV-NeRF's released code: a camera rotating in place.

    They are on a horizontal circle around the mean recorded position, slightly below it, and look
    at it. Its radius is 0.005 times the largest distance of a recorded camera from the mean, which
    counts as at least 1 m.

    Args:
        up: vertical axis (3,) of the map frame.
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
