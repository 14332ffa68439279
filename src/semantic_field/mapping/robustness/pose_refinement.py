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


class PoseRefiner:
    """Optimises a small correction of each keyframe's pose, with an upper limit.

    A correction is a rotation about the camera's centre and a translation, both along the map's
    axes: ``R = exp(turn) R_given``, ``p = p_given + shift``. Its gradient comes from the ray
    samples near the surface (Lin et al. 2021, BARF, eq. 4), so both colour and depth losses
    contribute. No keyframe is fixed: the mean of all corrections is kept at zero, so that the map
    as a whole does not move.
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
    """Remove the mean of the corrections, limit them to ``caps`` (rad, m), and apply them."""
    count = store.count
    corrections = store.learnt["pose"][:count]
    corrections -= corrections.mean(0)
    for part, cap in ((slice(0, 3), caps[0]), (slice(3, 6), caps[1])):
        length = np.linalg.norm(corrections[:, part], axis=1, keepdims=True)
        corrections[:, part] *= np.minimum(1.0, cap / np.maximum(length, 1e-12))
    store.cameras.poses[:count] = corrected(store.learnt["given_pose"][:count], corrections)


def corrected(poses: NDArray, corrections: NDArray) -> NDArray:
    """Apply corrections (K, 6), rotation vectors (rad) and translations (m), to poses (K, 4, 4)."""
    result = np.array(poses, dtype=np.float64)
    turns = np.stack([cv2.Rodrigues(turn)[0] for turn in corrections[:, :3].astype(float)])
    result[:, :3, :3] = turns @ result[:, :3, :3]
    result[:, :3, 3] += corrections[:, 3:]
    return result
