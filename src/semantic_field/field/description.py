"""What the field says at points: colour, normal, latent, label, confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.confidence import confidence_of
from semantic_field.field.map_state import MapState
from semantic_field.field.model import affine, two_layers


@dataclass(frozen=True)
class Description:
    """Of N points: unit normals float32 (N, 3) out of the surface, uint8 RGB (N, 3), float16
    latents (N, D), int32 class ids (N,) with -1 = no classes, confidence float32 (N,) in 0..1.
    """

    normal: NDArray[np.float32]
    color: NDArray[np.uint8]
    latent: NDArray[np.float16]
    label: NDArray[np.int32]
    confidence: NDArray[np.float32]


@torch.no_grad()
def describe(state: MapState, points: NDArray[np.float32]) -> Description:
    """What the map says at points (N, 3) of its frame, in one pass over the grid."""
    field = state.field
    code, gradient = field.code_and_gradient(torch.from_numpy(points))
    threads = field.kernels.threads
    color = two_layers(field.color_head, code, threads).sigmoid_()
    latent = two_layers(field.latent_head, code, threads)
    label = np.full(len(points), -1, np.int32)
    if state.class_ids:
        rows = affine(field.label_head, latent, threads=threads).argmax(0).numpy()
        label = np.asarray(state.class_ids, np.int32)[rows]
    return Description(
        normal=torch.nn.functional.normalize(gradient, dim=-1).numpy(),
        color=color.mul_(255).add_(0.5).to(torch.uint8).T.contiguous().numpy(),
        latent=latent.half().T.contiguous().numpy(),
        label=label,
        confidence=confidence_of(state.voxels.lookup(points)),
    )
