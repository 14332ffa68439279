"""Per-keyframe colour gain and bias, against automatic exposure and white balance."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.mapping.keyframes.store import KeyframeStore

FORGET = 0.95  # decay of a keyframe's statistics with every batch that contains its rays
PRIOR_RAYS = 20.0  # weight of the prior (gain 1, bias 0), in rays
EVERY_STEPS = 4
LIMITS = ((0.5, 2.0), (-0.3, 0.3))


class Exposure:
    """Gains and biases by regularised least squares of images against the field's colours.

    ``image = gain * colour of the field + bias`` for each channel of each keyframe. Over all
    keyframes the logarithms of the gains and the biases have mean 0, so that the map's colours
    cannot drift.
    """

    def update(
        self,
        store: KeyframeStore,
        slots: Int[Tensor, " R"],
        rendered: Float[Tensor, "R 3"],
        photographed: Float[Tensor, "R 3"],
        step: int,
    ) -> None:
        """Learn from the field's colours of rays of the keyframes ``slots``, on any device."""
        if step % EVERY_STEPS:
            return
        self._learn(store, *(t.cpu().numpy() for t in (slots, rendered, photographed)))

    @staticmethod
    def _learn(
        store: KeyframeStore,
        slots: NDArray[np.int64],
        rendered: NDArray[np.float32],
        photographed: NDArray[np.float32],
    ) -> None:
        """Update gains and biases from a batch of rays.

        Args:
            slots: keyframe of each ray (R,).
            rendered, photographed: colours of the field and of the images (R, 3), 0..1.
        """
        count = store.count
        sums = store.learnt["exposure_sums"]  # (K, 3, 4): x, y, xx, xy; (K,) weights
        weights = store.learnt["exposure_weight"]
        drawn = np.bincount(slots, minlength=count)
        fading = np.where(drawn > 0, FORGET, 1.0)
        weights[:count] = weights[:count] * fading + drawn
        for channel in range(3):
            x, y = rendered[:, channel], photographed[:, channel]
            for kind, value in enumerate((x, y, x * x, x * y)):
                new = np.bincount(slots, value, count)
                sums[:count, channel, kind] = sums[:count, channel, kind] * fading + new
        store.learnt["exposure"][:count] = _fitted(sums[:count], weights[:count])

    @staticmethod
    def applied(
        store: KeyframeStore, slots: Int[Tensor, " R"], color: Float[Tensor, "R 3"]
    ) -> Float[Tensor, "R 3"]:
        """Return the field's colours with the gain and bias of each ray's keyframe applied."""
        of_rays = store.learnt["exposure"][slots.cpu().numpy()].astype(np.float32)
        exposure = torch.from_numpy(of_rays).to(color.device)
        return exposure[..., 0] * color + exposure[..., 1]


def _fitted(sums: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Return limited gains and biases (K, 3, 2), with their means over keyframes removed.

    The prior consists of ``PRIOR_RAYS`` rays with identity gain and bias and the keyframe's own
    distribution of colours.
    """
    n = np.maximum(weights, 1e-9)[:, None]
    x, y, xx, xy = np.moveaxis(sums / n[..., None], -1, 0)
    variance = np.maximum(xx - x * x, 0.0) + 1e-4
    share = n / (n + PRIOR_RAYS)
    gain = 1 + share * ((xy - x * y + 1e-4) / variance - 1)
    bias = share * (y - x) - (gain - 1) * x
    fitted = np.stack([gain, bias], axis=-1)
    seen = weights > 0
    fitted[~seen] = 1.0, 0.0
    for kind, limits in enumerate(LIMITS):
        fitted[..., kind] = fitted[..., kind].clip(*limits)
    if seen.any():
        fitted[..., 0] /= np.exp(np.log(fitted[seen, :, 0]).mean(0))
        fitted[..., 1] -= fitted[seen, :, 1].mean(0)
    return fitted
