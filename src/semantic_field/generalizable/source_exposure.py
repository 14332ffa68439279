"""Exposure of the sources of a target, and trust in them, measured on what they show together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from semantic_field.field.views.agreement import exposures_between, trust_by_distance
from semantic_field.generalizable.gathering import gather, tolerance_of
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.geometry import pose_distances

OVERLAP = 24, 32  # rows and columns of rays whose colours are compared


def equalized(sources: SourceImages, rays: TargetRays) -> SourceImages:
    """Return the sources with the exposure of those nearest to the target, and with their trust.

    Gain and bias of each source and channel are solved on the surface that rays and sources show
    together, see ``exposures_between``. How much photographs taken apart differ there tells how
    far to trust sources away from the target, see ``trust_by_distance``.
    """
    if sources.depths is None or len(sources) < 2:
        return sources
    h, w = rays.size
    row = torch.arange(OVERLAP[0], device=rays.depth.device) * h // OVERLAP[0]
    column = torch.arange(OVERLAP[1], device=rays.depth.device) * w // OVERLAP[1]
    row, column = (index.reshape(-1) for index in torch.meshgrid(row, column, indexing="ij"))
    some = rays.at(row, column)
    found = gather(sources, some, some.depth[..., None])
    same = found.gap.abs() < tolerance_of(found.far)
    seen = (found.inside & (found.reading > 0) & same)[:, 0, 0].T
    colors = 255.0 * found.colors[:, 0, 0].transpose(0, 1)
    colors, seen = colors.cpu().numpy(), seen.cpu().numpy()
    poses, pose = (part.double().cpu().numpy() for part in (sources.poses, rays.pose))
    distance, apart = pose_distances(poses, pose), pose_distances(poses[:, None], poses[None])
    exposures = exposures_between(colors, seen, distance)
    colors = exposures[:, None, :, 0] * colors + exposures[:, None, :, 1]
    trust = trust_by_distance(np.asarray(colors, np.float32), seen, apart, distance)
    gain, bias = torch.from_numpy(exposures).to(sources.colors)[..., None, None].unbind(2)
    return replace(
        sources,
        colors=gain * sources.colors + bias / 255.0,
        trust=torch.from_numpy(trust).to(sources.colors),
    )
