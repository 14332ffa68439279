"""Which frames a frame is compared with to find its depth, chosen by their poses alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

DEPTHS_M = (1.2, 2.0, 3.2, 5.0)  # where something may be, as no depth is known
GRID = 6, 8  # rows and columns of pixels at which overlap is judged
GOOD_RAD, WIDE_RAD = 0.15, 0.4  # angle of two rays: below, depth is vague; above, looks differ
AGAIN = 0.5  # worth of a point that one more neighbour sees, against the first one
LEAST = 0.02  # mean worth of a neighbour


def stereo_neighbours(
    poses: Float[NDArray, "N 4 4"],
    intrinsics: Float[NDArray, "N 4"],
    size: tuple[int, int],
    index: int,
    count: int,
) -> list[int]:
    """Return up to ``count`` frames to compare a frame with, best first.

    A point in space is worth most if the other frame has it in its image, under an angle that
    makes its depth certain, but not so large that it looks different. Points that are not seen yet
    count more, so that all of the frame has a neighbour.

    Args:
        poses: ``T_world_camera``. intrinsics: fx fy cx cy, pixels. size: height and width.
    """
    worth = point_worth(poses, intrinsics, size, index)
    left = np.ones(worth.shape[1])
    chosen: list[int] = []
    for _ in range(min(count, len(poses) - 1)):
        gain = worth @ left / len(left)
        gain[[index, *chosen]] = -1
        best = int(gain.argmax())
        if gain[best] < LEAST * AGAIN ** len(chosen):
            break
        chosen.append(best)
        left *= 1 - (1 - AGAIN) * worth[best]
    return chosen


def point_worth(
    poses: Float[NDArray, "N 4 4"],
    intrinsics: Float[NDArray, "N 4"],
    size: tuple[int, int],
    index: int,
) -> Float[NDArray, "N P"]:
    """Return what each frame is worth, 0..1, for P points in space before a frame."""
    rows, columns = (((np.arange(n) + 0.5) / n) for n in GRID)
    v, u = np.meshgrid(rows * size[0] - 0.5, columns * size[1] - 0.5, indexing="ij")
    fx, fy, cx, cy = intrinsics[index]
    rays = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], -1).reshape(-1, 3)
    points = (np.array(DEPTHS_M)[:, None, None] * rays).reshape(-1, 3)
    points = points @ poses[index, :3, :3].T + poses[index, :3, 3]
    apart = points - poses[:, None, :3, 3]  # (N, P, 3)
    local = np.einsum("npi,nij->npj", apart, poses[:, :3, :3])
    far = local[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = local[..., :2] / far[..., None] * intrinsics[:, None, :2] + intrinsics[:, None, 2:]
    inside = (far > 0.1) & (pixels > -0.5).all(-1)
    inside &= (pixels[..., 0] < size[1] - 0.5) & (pixels[..., 1] < size[0] - 0.5)
    unit = apart / np.maximum(np.linalg.norm(apart, axis=-1, keepdims=True), 1e-9)
    angle = np.arccos(np.clip((unit * unit[index]).sum(-1), -1, 1))
    good = np.minimum(angle / GOOD_RAD, 1) * np.minimum(
        1, (WIDE_RAD / np.maximum(angle, 1e-6)) ** 2
    )
    return np.where(inside, good, 0.0)
