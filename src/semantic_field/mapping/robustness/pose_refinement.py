"""Joint optimisation of keyframe poses with the field (small corrections)."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.config import MappingConfig
from semantic_field.field.rays.rays import Rays
from semantic_field.mapping.keyframes.store import KeyframeStore

WARM_UP_STEPS = 300
EVERY_STEPS = 2
BETAS = (0.9, 0.99)
SETTLING_ROUNDS = 3
ARM_M = 1.0  # how a turn of a camera weighs against its shift in the motion of the whole set


class PoseRefiner:
    """Optimises a small correction of each keyframe's pose, with an upper limit.

    A correction is a rotation about the camera's centre and a translation, both along the map's
    axes: ``R = exp(turn) R_given``, ``p = p_given + shift``. Its gradient comes from the ray
    samples near the surface (Lin et al. 2021, BARF, eq. 4), so both colour and depth losses
    contribute. No keyframe is fixed: the motion that all corrections have in common is removed in
    every step (``common_motion``), so that the map as a whole neither moves nor turns.
    """

    def __init__(self, config: MappingConfig) -> None:
        self.config = config

    @staticmethod
    def is_due(step: int) -> bool:
        """Whether this training step is one of those that move keyframes."""
        return step >= WARM_UP_STEPS and step % EVERY_STEPS == 0

    def update(
        self,
        store: KeyframeStore,
        rays: Rays,
        point_grad: Float[Tensor, "N 3"],
        slow_down: float,
    ) -> None:
        """Do one Adam step on the keyframes of a batch of rays.

        Args:
            rays: as drawn, on the CPU.
            point_grad: gradient of the loss with respect to their samples near the surface.
            slow_down: factor (0..1) of the learning rate's decay.
        """
        gradient = self._of_keyframes(store, rays, point_grad.cpu().numpy())
        drawn = np.unique(rays.slot.numpy())
        self._adam(store, drawn, gradient[drawn], self.config.pose_rate * slow_down)
        caps = np.radians(self.config.pose_max_turn_deg), self.config.pose_max_shift_m
        settle(store, caps)

    @staticmethod
    def _of_keyframes(
        store: KeyframeStore, rays: Rays, point_grad: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the gradients (K, 6) of rotations and translations from those of samples."""
        count, samples = rays.near_z.shape
        point_grad = point_grad.reshape(count, samples, 3)
        arms = rays.near_points.numpy().reshape(count, samples, 3) - rays.origin.numpy()[:, None]
        of_rays = np.concatenate([np.cross(arms, point_grad).sum(1), point_grad.sum(1)], axis=1)
        columns = [np.bincount(rays.slot.numpy(), c, store.count) for c in of_rays.T]
        return np.stack(columns, axis=1).astype(np.float64)

    def _adam(
        self, store: KeyframeStore, drawn: NDArray, gradient: NDArray, learning_rate: float
    ) -> None:
        """Adam (Kingma & Ba 2015, algorithm 1) with a separate step count for each keyframe."""
        moments, steps = store.learnt["pose_moments"], store.learnt["pose_steps"]
        steps[drawn] += 1
        first = BETAS[0] * moments[drawn, 0] + (1 - BETAS[0]) * gradient
        second = BETAS[1] * moments[drawn, 1] + (1 - BETAS[1]) * gradient**2
        moments[drawn, 0], moments[drawn, 1] = first, second
        unbiased = [1 - beta ** steps[drawn, None] for beta in BETAS]
        move = (first / unbiased[0]) / (np.sqrt(second / unbiased[1]) + 1e-12)
        store.learnt["pose"][drawn] -= learning_rate * move


def settle(store: KeyframeStore, caps: tuple[float, float]) -> None:
    """Limit the corrections to ``caps`` (rad, m), remove their common motion, and apply them.

    The common motion is removed last and therefore exactly. A correction may exceed its cap by as
    much as the limited ones moved the others; repeating both makes that negligible.
    """
    count = store.count
    corrections, given = store.learnt["pose"][:count], store.learnt["given_pose"][:count]
    for _ in range(SETTLING_ROUNDS):
        for part, cap in ((slice(0, 3), caps[0]), (slice(3, 6), caps[1])):
            length = np.linalg.norm(corrections[:, part], axis=1, keepdims=True)
            corrections[:, part] *= np.minimum(1.0, cap / np.maximum(length, 1e-12))
        corrections -= common_motion(given[:, :3, 3], corrections)
    store.cameras.poses[:count] = corrected(given, corrections)


def common_motion(
    positions: Float[NDArray, "K 3"], corrections: Float[NDArray, "K 6"]
) -> Float[NDArray, "K 6"]:
    """Return the part of corrections that moves all cameras together as one rigid body.

    This is the rigid motion nearest to the corrections: a turn w about the cameras' centre and a
    shift t, for which the sum of ``|turn - w|^2 ARM_M^2 + |shift - t - w x arm|^2`` is smallest.
    ``arm`` leads from the centre to a camera. To first order such a motion of the whole set moves
    the map and changes none of its images, so no measurement holds it back.

    Args:
        positions: of the cameras as given, metres.
        corrections: rotation vectors (rad) and translations (m), see ``PoseRefiner``.
    Returns:
        the same motion as a correction of each camera.
    """
    arms = positions - positions.mean(0)
    turns, shifts = corrections[:, :3], corrections[:, 3:]
    shift = shifts.mean(0)
    # Normal equations of w: the arms' inertia, plus that of a body of radius ARM_M at each camera.
    inertia = (arms**2).sum() * np.eye(3) - arms.T @ arms + len(arms) * ARM_M**2 * np.eye(3)
    moment = np.cross(arms, shifts).sum(0) + ARM_M**2 * turns.sum(0)
    turn = np.linalg.solve(inertia, moment)
    common = np.empty_like(corrections)
    common[:, :3], common[:, 3:] = turn, shift + np.cross(turn, arms)
    return common


def corrected(poses: NDArray, corrections: NDArray) -> NDArray:
    """Apply corrections (K, 6), rotation vectors (rad) and translations (m), to poses (K, 4, 4)."""
    result = np.array(poses, dtype=np.float64)
    turns = np.stack([cv2.Rodrigues(turn)[0] for turn in corrections[:, :3].astype(float)])
    result[:, :3, :3] = turns @ result[:, :3, :3]
    result[:, :3, 3] += corrections[:, 3:]
    return result
