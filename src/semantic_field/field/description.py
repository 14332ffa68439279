"""Field evaluation at points: colour, normal, latent, label, confidence, signed distance."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from semantic_field.field.confidence import confidence_of
from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField, affine, two_layers
from semantic_field.kernels.threads import run_chunks

COLUMNS = 256


@dataclass(frozen=True)
class Description:
    """Outputs of the field at N points.

    Attributes:
        normal: float32 (N, 3), unit length, pointing out of the surface.
        color: uint8 RGB (N, 3).
        latent: float16 (N, D); (N, 0) if not requested.
        label: int32 class ids (N,), -1 if the map has no classes.
        confidence: float32 (N,) in 0..1.
        distance: float32 (N,), signed distance in metres.
        gradient: float32 (N, 3), gradient of the distance, not normalised.
    """

    normal: NDArray[np.float32]
    color: NDArray[np.uint8]
    latent: NDArray[np.float16]
    label: NDArray[np.int32]
    confidence: NDArray[np.float32]
    distance: NDArray[np.float32]
    gradient: NDArray[np.float32]


def describe(state: MapState, points: NDArray[np.float32], with_latent: bool = True) -> Description:
    """Evaluate the map at ``points`` float32 (N, 3), metres, in the map's own coordinates.

    Returns:
        A ``Description`` of the N points, computed in one pass over the grid.
    """
    n = len(points)
    found = Description(
        normal=np.empty((n, 3), np.float32),
        color=np.empty((n, 3), np.uint8),
        latent=np.empty((n, state.field.config.latent_dim if with_latent else 0), np.float16),
        label=np.full(n, -1, np.int32),
        confidence=np.empty(n, np.float32),
        distance=np.empty(n, np.float32),
        gradient=np.empty((n, 3), np.float32),
    )
    reader = _Reader(state)
    run_chunks(
        lambda start, stop: reader.read(points[start:stop], found, slice(start, stop)),
        n,
        state.field.kernels.threads,
    )
    return found


class _Reader:
    """Fills a ``Description`` chunk by chunk; ``read`` may be called from several threads."""

    def __init__(self, state: MapState) -> None:
        self._field = state.field.on_one_thread()
        self._voxels = state.voxels
        self._class_ids = np.asarray(state.class_ids, np.int32)
        self._label_head = _label_head_of_hidden(self._field)

    @torch.no_grad()
    def read(self, points: NDArray[np.float32], found: Description, rows: slice) -> None:
        field = self._field
        distance, code, gradient = field.distance_code_gradient(torch.from_numpy(points))
        found.distance[rows], found.gradient[rows] = distance.numpy(), gradient.numpy()
        found.normal[rows] = torch.nn.functional.normalize(gradient, dim=-1).numpy()
        color = two_layers(field.color_head, code, threads=1).sigmoid_()
        found.color[rows] = color.mul_(255).add_(0.5).to(torch.uint8).T.numpy()
        hidden = affine(_layer(field.latent_head, 0), code, rectified=True, threads=1)
        if found.latent.shape[1]:
            latent = affine(_layer(field.latent_head, 2), hidden, threads=1)
            found.latent[rows] = latent.half().T.numpy()
        if len(self._class_ids):
            found.label[rows] = self._labels(hidden)
        found.confidence[rows] = confidence_of(
            self._voxels.lookup(points).astype(np.float32), self._voxels.lookup_errors(points)
        )

    def _labels(self, hidden: Tensor) -> NDArray[np.int32]:
        weight, bias = self._label_head
        best = np.empty(hidden.shape[1], np.int64)
        _highest(torch.addmm(bias, weight, hidden).numpy(), best)
        return self._class_ids[best]


def _label_head_of_hidden(field: SemanticField) -> tuple[Tensor, Tensor]:
    """Return weight (C, D) and bias (C, 1) from the latent head's hidden layer to the label scores.

    The latent head's second layer and the label head are both linear, so they merge into one.
    """
    second, head = _layer(field.latent_head, 2), field.label_head
    weight = head.weight.detach() @ second.weight.detach()
    bias = head.weight.detach() @ second.bias.detach() + head.bias.detach()
    return weight, bias[:, None]


def _layer(head: nn.Sequential, number: int) -> nn.Linear:
    layer = head[number]
    assert isinstance(layer, nn.Linear)
    return layer


@njit(nogil=True, cache=True, error_model="numpy")
def _highest(scores, best):
    """Column-wise argmax of ``scores`` into ``best``; on ties the first row."""
    rows, columns = scores.shape
    value, row = np.empty(COLUMNS, np.float32), np.empty(COLUMNS, np.int32)
    for first in range(0, columns, COLUMNS):
        count = min(COLUMNS, columns - first)
        for i in range(count):
            value[i], row[i] = scores[0, first + i], 0
        for c in range(1, rows):
            for i in range(count):
                score = scores[c, first + i]
                higher = score > value[i]
                value[i] = score if higher else value[i]
                row[i] = c if higher else row[i]
        for i in range(count):
            best[first + i] = row[i]
