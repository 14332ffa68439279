"""Views whose colours and labels come from keyframes, on the surface that the field renders."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.field.views.blending import blend
from semantic_field.field.views.rendering import RenderedView
from semantic_field.field.views.silhouettes import discontinuities, settle
from semantic_field.field.views.source_views import SourceViews, Target
from semantic_field.kernels.threads import run_chunks

ROWS_AT_ONCE = 16
PIXELS_AT_ONCE = 2048


def blended(view: RenderedView, target: Target, sources: SourceViews, threads: int) -> RenderedView:
    """Return a view of the field with the images of K keyframes blended on its surface.

    Args:
        view: the field's, at the target's pose.
        sources: the K keyframes; their colours are put on the exposure of those nearest to the
            target, or of the map where exposures are learnt.
    Returns:
        A view with refined depth, and with colour, label and confidence by the keyframes; the
        field's where none sees the surface. Pixels without surface have depth and confidence 0,
        no label, and the colour of the nearest pixel with a surface.
    """
    rays, rotation = target.camera.columns_and_rows(), target.rotation
    focal, images = np.float32(target.camera.fx), sources.images
    lenses, exposures = sources.tuned(target)
    edges = discontinuities(target.depth)
    settled, taken = np.empty(len(edges), np.float32), np.empty(len(edges), np.int64)
    run_chunks(
        lambda start, stop: settle(
            edges[start:stop], rays, target.depth, target.normal, rotation, lenses,
            images.depths, images.labels, focal, settled[start:stop], taken[start:stop],
        ),
        len(edges), threads, PIXELS_AT_ONCE,
    )  # fmt: skip
    view = _with_surfaces(view, edges, settled, taken)
    depth, color, label, normal = view.depth, view.color, view.label, view.normal
    confidence = view.confidence
    run_chunks(
        lambda start, stop: blend(
            start, stop, rays, depth, normal, rotation, color, label, lenses, images, exposures,
            sources.class_ids, focal, confidence,
        ),
        target.camera.height, threads, ROWS_AT_ONCE,
    )  # fmt: skip
    return replace(view, color=filled(color, depth > 0))


def _with_surfaces(
    view: RenderedView,
    pixels: NDArray[np.int64],
    depth: NDArray[np.float32],
    source: NDArray[np.int64],
) -> RenderedView:
    """Return a copy of a view in which some pixels show the surfaces of others.

    Args:
        pixels, source: numbers of the pixels (N,), and of those whose surfaces they show.
        depth: float32 (N,), the surfaces' z-depths at the pixels.
    """
    images = {}
    for name in ("color", "label", "normal", "latent", "confidence"):
        image = getattr(view, name)
        if image is not None:
            flat = image.reshape(-1, *image.shape[2:])
            images[name] = image.copy()
            images[name].reshape(flat.shape)[pixels] = flat[source]
    images["depth"] = view.depth.copy()
    images["depth"].reshape(-1)[pixels] = depth
    return replace(view, **images)


def filled(image: NDArray, known: NDArray[np.bool_]) -> NDArray:
    """Return the image (H, W, ...) with each unknown pixel replaced by the nearest known one.

    Returns the image itself if no pixel is known, or all are.
    """
    if known.all() or not known.any():
        return image
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Known pixels are numbered from 1 row by row.
    numbers = np.asarray(nearest, np.int64)[~known] - 1
    source = np.flatnonzero(known)[numbers]
    image = image.copy()
    image[~known] = image.reshape(-1, *image.shape[2:])[source]
    return image
