"""Patch features of self-supervised vision transformers: what looks alike has like features."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


class PatchTeacher(Protocol):
    """A frozen model that gives each patch of an image a feature without a text side.

    Attributes:
        name: short, for messages.
        dim: length D of a feature.
        patch: edge of a patch in pixels of the image that the model sees.
        fingerprint: equal where two teachers give equal features.
    """

    name: str
    dim: int
    patch: int
    fingerprint: str

    def patch_features(self, color: NDArray[np.uint8]) -> Float[Tensor, "h w D"]:
        """Features float32 of an RGB image (H, W, 3); its h x w cells tile the image evenly, as
        those of ``LanguageTeacher.embed_image`` do."""
        ...
