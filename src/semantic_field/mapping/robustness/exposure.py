"""Each keyframe's own gain and bias of the colours: automatic exposure and white balance."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.mapping.keyframes.store import KeyframeStore

FORGET = 0.95  # of what a keyframe has seen, with every further batch of its rays
PRIOR_RAYS = 20.0  # rays' worth of "this keyframe is as the others are"
EVERY_STEPS = 4
LIMITS = ((0.5, 2.0), (-0.3, 0.3))


class Exposure:
    """Gains and biases by regularised least squares of photographs against the field's colours.

    ``photograph = gain * colour of the field + bias`` for each channel of each keyframe. The
    field keeps one colour of everything: gains have mean 1 and biases mean 0 over all keyframes,
    so that the map's colours cannot drift.
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
        """What the cameras of the keyframes ``slots`` make of the field's colours."""
        of_rays = store.learnt["exposure"][slots.cpu().numpy()].astype(np.float32)
        exposure = torch.from_numpy(of_rays).to(color.device)
        return exposure[..., 0] * color + exposure[..., 1]


def _fitted(sums: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Gains and biases (K, 3, 2), mean taken out. ``PRIOR_RAYS`` rays with the keyframe's own
    spread of colours say identity: in the middle of its colours, and a spread beside it.
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
    if seen.any():
        fitted[..., 0] /= fitted[seen, :, 0].mean(0)
        fitted[..., 1] -= fitted[seen, :, 1].mean(0)
    for kind, limits in enumerate(LIMITS):
        fitted[..., kind] = fitted[..., kind].clip(*limits)
    return fitted
