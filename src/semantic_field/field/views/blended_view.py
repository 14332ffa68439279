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
    depth, source = target.depth.copy(), np.arange(target.depth.size).reshape(target.depth.shape)
    edges = discontinuities(target.depth)
    settled, taken = np.empty(len(edges), np.float32), np.empty(len(edges), np.int64)
    run_chunks(
        lambda start, stop: settle(
            edges[start:stop], rays, target.depth, target.normal, rotation, lenses,
            images.depths, images.labels, focal, settled[start:stop], taken[start:stop],
        ),
        len(edges), threads, PIXELS_AT_ONCE,
    )  # fmt: skip
    depth.reshape(-1)[edges], source.reshape(-1)[edges] = settled, taken
    color, label, normal = (
        image.reshape(-1, *image.shape[2:])[source]
        for image in (view.color, view.label, view.normal)
    )
    confidence = np.zeros_like(depth)
    run_chunks(
        lambda start, stop: blend(
            start, stop, rays, depth, normal, rotation, color, label, lenses, images, exposures,
            sources.class_ids, focal, confidence,
        ),
        target.camera.height, threads, ROWS_AT_ONCE,
    )  # fmt: skip
    if view.latent is not None:
        view = replace(view, latent=view.latent.reshape(-1, view.latent.shape[2])[source])
    return replace(
        view,
        color=filled(color, depth > 0),
        depth=depth,
        normal=normal,
        label=label,
        confidence=confidence,
    )


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
