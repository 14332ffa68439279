"""How far completions of objects seen from one side are from the part that nobody saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.data.objects.object_surface import surface_samples
from semantic_field.data.objects.object_visibility import visible_points
from semantic_field.evaluation.objects.unseen_surface import TrueSurface, unseen_score
from semantic_field.geometry import invert_transform, transform_points
from semantic_field.object_prior.completion import Completion
from semantic_field.object_prior.one_sided_scans import OneSidedScan

SAMPLES = 4000
NEAR_M = 0.04  # of an observed point: other visible points were hidden by something else


@dataclass(frozen=True)
class CompletedPart:
    """Chamfer distances (mean of both directions) of the unseen part, metres.

    Attributes:
        chamfer_m: of the completion.
        mirrored_m: of the observed points with their mirror image about the found object's middle
            plane, the simplest alternative.
        observed_m: of the observed points alone.
        unseen: share of the surface that was not seen.
    """

    chamfer_m: float
    mirrored_m: float
    observed_m: float
    unseen: float


def unseen_part_score(seen: OneSidedScan, found: Completion) -> CompletedPart:
    """Return the scores of a completion of an observation with known truth."""
    truth = true_surface(seen)
    T_object_world = invert_transform(seen.T_world_object)
    whole = np.asarray(transform_points(T_object_world, found.points), np.float64)
    observed = np.asarray(transform_points(T_object_world, seen.observed.points), np.float64)
    mirrored = transform_points(T_object_world, mirrored_points(seen.observed.points, found))
    score = unseen_score(truth, whole)
    return CompletedPart(
        score.chamfer_m,
        unseen_score(truth, np.concatenate([observed, mirrored], dtype=np.float64)).chamfer_m,
        unseen_score(truth, observed).completeness_m,
        score.share,
    )


def true_surface(seen: OneSidedScan) -> TrueSurface:
    """Return the true surface, and what of it any of the views sees."""
    rng = np.random.default_rng(0)
    points = surface_samples(seen.model, SAMPLES, rng).points
    poses = [
        invert_transform(seen.T_world_object) @ view.T_world_camera for view in seen.observed.views
    ]
    own = transform_points(invert_transform(seen.T_world_object), seen.observed.points)
    near = KDTree(own).query(points)[0] < NEAR_M
    visible = [visible_points(seen.model, points, pose) for pose in poses]
    return TrueSurface(points, np.any(visible, axis=0) & near)


def mirrored_points(points: NDArray[np.float64], found: Completion) -> NDArray[np.float64]:
    """Return world points mirrored about the plane x = 0 of the found object's frame."""
    own = transform_points(invert_transform(found.T_world_object), points)
    world = transform_points(found.T_world_object, own * [-1.0, 1.0, 1.0])
    return np.asarray(world, np.float64)
