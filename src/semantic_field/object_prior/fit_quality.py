"""How well an aligned shape agrees with what was observed, in numbers that judge categories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.object_prior.alignment import Alignment, CategoryShapes
from semantic_field.object_prior.joint_refinement import RefinementOptions, prior_distances
from semantic_field.object_prior.object_evidence import ObjectEvidence
from semantic_field.object_prior.prototypes import coarse_surface

QUALITIES = ("off_surface", "missed", "normals", "contradicted", "surprise", "scale", "larger")

SCALE_DEVIATION = RefinementOptions().scale_deviation


@dataclass(frozen=True)
class FitQuality:
    """Numbers of one fit.

    Attributes:
        values: in the order of ``QUALITIES``: mean distance of the observed points from the
            surface in tolerances (at most 1 each); share of the points farther than half a
            tolerance; mean disagreement along the normals, 0..1; share of the shape's surface
            that lies in space seen to be free; squared Mahalanobis distance of the shape, an
            axis; squared logarithm of the scale in its expected deviations; logarithm of the
            ratio of the shape's extent to the observed one.
        residual_m: median distance of the observed points from the surface, metres.
    """

    values: NDArray[np.float64]
    residual_m: float


@torch.no_grad()
def fit_quality(evidence: ObjectEvidence, shapes: CategoryShapes, found: Alignment) -> FitQuality:
    """Return the numbers of a fit."""
    tolerance, place = evidence.tolerance_m, found.place
    distances = prior_distances(shapes.prior, found.code[None])
    points, normals = torch.from_numpy(evidence.points), torch.from_numpy(evidence.normals)
    ahead = 0.6 * tolerance
    both = torch.cat([points, points + ahead * normals])[None]
    distance = place.scaled(distances(place.to_own(both)))[0].double().numpy()
    on, before = np.abs(distance[: len(points)]), distance[len(points) :]
    off = np.minimum(np.abs(before - ahead) / ahead, 1.0)
    surface = found.to_level(coarse_surface(shapes.prior, found.code))
    contradicted = evidence.seen_free(surface, 0.5 * tolerance).mean() if len(surface) else 1.0
    extent = np.linalg.norm(np.ptp(surface, axis=0)) if len(surface) else np.inf
    values = np.array(
        [
            np.minimum(on / tolerance, 1.0).mean(),
            (on > 0.5 * tolerance).mean(),
            off.mean(),
            contradicted,
            found.surprise,
            (np.log(found.scale) / SCALE_DEVIATION) ** 2,
            np.log(np.clip(extent / evidence.extent_m, 0.1, 10.0)),
        ]
    )
    return FitQuality(values, float(np.median(on)))
