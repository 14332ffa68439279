"""Views whose colours and labels come from keyframes, in torch.

The counterpart of ``blended_view``: all pixels of a view are blended at once, or
as many as the device has memory for.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from semantic_field.field.views.device_asking import ask
from semantic_field.field.views.device_filling import filled
from semantic_field.field.views.device_pixels import pixel_blend
from semantic_field.field.views.device_silhouettes import discontinuities, settle
from semantic_field.field.views.device_sources import DeviceSources, DeviceTarget
from semantic_field.kernels.device_memory import Halving

PIXELS_AT_ONCE, LEAST_PIXELS = 1 << 20, 1 << 10
Images = dict[str, Tensor]
"""Images (H, W, ...) by the names of ``RenderedView``'s attributes."""


def pixels_at_once(remedy: str) -> Halving:
    """Return how many pixels to blend at once; it is to be kept from one view to the next."""
    return Halving(PIXELS_AT_ONCE, LEAST_PIXELS, "pixels of a view to blend", remedy)


def blended_on_device(
    view: Images, target: DeviceTarget, sources: DeviceSources, at_once: Halving
) -> Images:
    """Return a view of the field with the images of K keyframes blended on its surface.

    See ``blended_view.blended``; all tensors are on one device.

    Raises:
        DeviceMemoryError: if the device has not even memory for ``LEAST_PIXELS`` at once.
    """
    lenses, exposures = sources.tuned(target)
    slots, focal = sources.slots_here(), target.camera.fx
    asked = partial(ask, lenses=lenses, images=sources.images, slots=slots, focal=focal)
    directions = target.directions()
    normals = target.rotation @ view["normal"].view(-1, 3).T  # (3, P)
    depth, source = view["depth"].reshape(-1).clone(), None
    edges = discontinuities(view["depth"])
    if len(edges):
        parts = at_once.parts(
            lambda part: settle(edges[part], view["depth"], directions, normals, asked),
            len(edges),
        )
        source = torch.arange(len(depth), device=depth.device)
        depth[edges] = torch.cat([settled for settled, _ in parts])
        source[edges] = torch.cat([taken for _, taken in parts])
        normals = normals[:, source]
        view = {n: image.flatten(0, 1)[source].view_as(image) for n, image in view.items()}
    blend = pixel_blend(sources, lenses, exposures, asked)
    color, label = view["color"].view(-1, 3), view["label"].view(-1)
    field_confidence = view["confidence"].view(-1)
    parts = at_once.parts(
        lambda part: blend(
            directions[:, part], depth[part], normals[:, part], color[part], label[part]
        ),
        len(depth),
    )
    size = view["depth"].shape
    depth, color, label, confidence = (torch.cat(p) for p in zip(*parts, strict=True))
    depth = depth.view(size)
    return view | {
        "color": filled(color.view(*size, 3), depth > 0),
        "depth": depth,
        "label": label.view(size),
        "confidence": torch.where(confidence > 0, confidence, field_confidence).view(size),
    }
