"""Rendered labels of a frame: class, probability, and distance to the nearest given label."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.data.view_selection import first_of_cells
from semantic_field.field.map_state import MapState
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.geometry import Camera, depth_to_world
from semantic_field.mapping.renderer import Renderer

SPACING_M = 0.04
FAR_M = 2.0
STRIDE = 4  # distances are computed at every fourth pixel of every fourth row


@dataclass(frozen=True)
class RenderedLabels:
    """Images (H, W) of one frame.

    Attributes:
        label: int32 class ids, -1 = no surface.
        probability: float32, of that class.
        distance_m: float32, from the surface to the nearest trained label, at most ``FAR_M``.
        observed: whether the surface was observed by any frame.
        depth: float32 rendered z-depth, metres, 0 = no surface.
    """

    label: NDArray[np.int32]
    probability: NDArray[np.float32]
    distance_m: NDArray[np.float32]
    observed: NDArray[np.bool_]
    depth: NDArray[np.float32]


class LabelRenderer:
    """Renders the labels of frames; register all trained labels with ``add`` first.

    Args:
        state: the map.
        renderer: of the map. Labels are rendered where the frames' images are (at poses as
            learnt), not where their recorded poses are.
    """

    def __init__(self, state: MapState, renderer: Renderer) -> None:
        self._state, self._renderer = state, renderer
        self._labelled: list[NDArray[np.float64]] = []
        self._tree: KDTree | None = None

    def add(self, frame: Frame, labels: NDArray[np.int32]) -> None:
        """Register the labels (H, W) of a frame that were trained on, at the rendered surface."""
        view = self._renderer.render(frame.camera, frame.T_world_camera, frame.stamp_ns)
        points = _points(frame.camera, frame.T_world_camera, view.depth)
        chosen = points[(labels >= 0) & (view.depth > 0)]
        self._labelled.append(chosen[first_of_cells(chosen, SPACING_M)])
        self._tree = None

    def render(self, frame: Frame) -> RenderedLabels:
        """Render labels, probabilities and distances of a frame."""
        view = self._renderer.render(
            frame.camera, frame.T_world_camera, frame.stamp_ns, with_latent=True
        )
        assert view.latent is not None
        points = _points(frame.camera, frame.T_world_camera, view.depth)
        return RenderedLabels(
            label=view.label,
            probability=_settled(self._probability(view.latent)),
            distance_m=self._distance(points, view.depth),
            observed=_settled((view.confidence > 0).astype(np.uint8)) > 0,
            depth=view.depth,
        )

    @torch.no_grad()
    def _probability(self, latent: NDArray[np.float16]) -> NDArray[np.float32]:
        """Return the highest class probability (H, W)."""
        rows = torch.from_numpy(latent).flatten(0, 1).float()
        scores = self._state.field.label_scores(rows)
        return torch.softmax(scores, 1).amax(1).view(latent.shape[:2]).numpy()

    def _distance(self, points: NDArray, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        tree = self._tree or KDTree(np.concatenate([np.empty((0, 3)), *self._labelled]))
        self._tree = tree
        coarse = points[::STRIDE, ::STRIDE]
        found = np.full(coarse.shape[:2], FAR_M, np.float32)
        seen = depth[::STRIDE, ::STRIDE] > 0
        if tree.n and seen.any():
            found[seen] = np.minimum(tree.query(coarse[seen])[0], FAR_M)
        height, width = depth.shape
        return found.repeat(STRIDE, 0).repeat(STRIDE, 1)[:height, :width]


def _settled(image: NDArray) -> NDArray:
    """Return the image after a 5 x 5 median filter, which removes speckles."""
    return np.asarray(cv2.medianBlur(image, 5))


def _points(
    camera: Camera, T_world_camera: NDArray[np.float64], depth: NDArray[np.float32]
) -> NDArray[np.float64]:
    return np.asarray(depth_to_world(depth, camera, T_world_camera), np.float64)


def finished_labels(
    view: RenderedLabels, confidence: NDArray[np.float32], threshold: float
) -> NDArray[np.int32]:
    """Return the labels, int32 (H, W), void where not observed or below the threshold."""
    keep = view.observed & (confidence >= threshold)
    return np.where(keep, view.label, VOID_LABEL).astype(np.int32)
