"""Whole objects from observations: category, pose and shape, and what was not seen added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.data.objects.object_surface import SurfaceSamples
from semantic_field.geometry import invert_transform, make_transform, transform_points
from semantic_field.object_prior.alignment import (
    Alignment,
    AlignmentOptions,
    CategoryShapes,
    align,
    coarse_poses,
)
from semantic_field.object_prior.category_decision import CategoryDecision
from semantic_field.object_prior.code_surface import surface_points
from semantic_field.object_prior.completion import Completion, NoPriorError, ObservedObject
from semantic_field.object_prior.fit_quality import FitQuality, fit_quality
from semantic_field.object_prior.look_fitting import with_fitted_colors
from semantic_field.object_prior.object_evidence import ObjectEvidence, evidence_of
from semantic_field.object_prior.part_boxes import part_boxes
from semantic_field.object_prior.round_things import is_round
from semantic_field.object_prior.signed_distance_prior import SignedDistancePrior

SAME_SURFACE = 0.035  # of the object's size: predicted points nearer to observed ones are the same
FREE_MARGIN = 0.4  # in tolerances: points farther in seen-through space are not added


@dataclass(frozen=True)
class CompletionOptions:
    """How completions are made.

    Attributes:
        surface_points: of the predicted surface, before what was observed is taken away.
        hopeless: categories whose coarse fit is worse than the best one's by more are not refined.
        alignment: how poses and shapes are searched.
    """

    surface_points: int = 1500
    hopeless: float = 0.35
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)


@dataclass(frozen=True)
class JudgedFit:
    """An alignment with its numbers and the probability that its category is right."""

    alignment: Alignment
    quality: FitQuality
    probability: float


def complete(
    observed: ObservedObject,
    shapes: Mapping[str, CategoryShapes],
    decision: CategoryDecision,
    category: str | None = None,
    options: CompletionOptions | None = None,
) -> Completion:
    """Return the whole object of an observation.

    Args:
        shapes: priors by category, made ready with ``CategoryShapes.of``.
        decision: calibrated on fits of these priors.
        category: what it is; None = what fits best.
    Raises:
        NoPriorError: if there is no prior for the category, or the object fits none.
        ValueError: if the observation cannot be used.
    """
    options = options or CompletionOptions()
    if category is not None and category not in shapes:
        raise NoPriorError(f"no prior for {category!r}: {_offer(shapes)}")
    evidence = evidence_of(observed)
    tried = shapes if category is None else {category: shapes[category]}
    fits = judged_fits(evidence, tried, decision, options)
    best = max(fits, key=lambda fit: fit.probability, default=None)
    if best is None or best.probability < decision.threshold:
        raise NoPriorError(_refusal(best, category, shapes))
    return merged(observed, evidence, shapes[best.alignment.category], best, options)


def judged_fits(
    evidence: ObjectEvidence,
    shapes: Mapping[str, CategoryShapes],
    decision: CategoryDecision,
    options: CompletionOptions,
) -> list[JudgedFit]:
    """Return the fits of the categories that may be right at all."""
    fits = []
    for name, found in category_fits(evidence, shapes, options).items():
        quality = fit_quality(evidence, shapes[name], found)
        fits.append(JudgedFit(found, quality, decision.probability(name, quality.values)))
    return fits


def category_fits(
    evidence: ObjectEvidence, shapes: Mapping[str, CategoryShapes], options: CompletionOptions
) -> dict[str, Alignment]:
    """Return the best fit of each category that has such sizes and is not hopeless."""
    places = {}
    for name, own in shapes.items():
        _, place, contradiction = coarse_poses(evidence, own, options.alignment)
        if len(contradiction):
            places[name] = place, float(contradiction[0])
    least = min((value for _, value in places.values()), default=0.0)
    fits = {}
    for name, (place, contradiction) in places.items():
        if contradiction <= least + options.hopeless:
            found = align(evidence, shapes[name], options.alignment, place)
            assert found is not None, "there are places"
            fits[name] = found
    return fits


def merged(
    observed: ObservedObject,
    evidence: ObjectEvidence,
    shapes: CategoryShapes,
    fit: JudgedFit,
    options: CompletionOptions,
) -> Completion:
    """Return the completion of a fit: the observed points as they are, then predicted ones."""
    prior, found = shapes.prior, fit.alignment
    assert isinstance(prior, SignedDistancePrior)
    round_thing = is_round(prior, found.code)
    own = found.to_own(_to_level(evidence, observed.points))
    code = with_fitted_colors(shapes, found, own, observed.colors)
    surface = surface_points(prior, code, options.surface_points)
    added = _not_seen(evidence, found, own, surface)
    T_world_object = evidence.T_world_level @ found.T_level_object
    predicted = transform_points(T_world_object, found.scale * surface.points[added])
    turned = surface.normals[added] @ T_world_object[:3, :3].T
    parts = np.concatenate([parts_at(prior, code, own), surface.parts[added]])
    points = np.concatenate([observed.points, predicted])
    is_observed = np.arange(len(points)) < len(observed.points)
    T_world_object, size = _own_frame(T_world_object, found.scale * surface.points)
    return Completion(
        category=found.category,
        confidence=fit.probability,
        residual_m=fit.quality.residual_m,
        T_world_object=T_world_object,
        size=size,
        points=np.asarray(points, np.float64),
        normals=np.concatenate([observed.normals, turned]),
        colors=np.concatenate([observed.colors, surface.colors[added]]),
        parts=parts,
        observed=is_observed,
        part_names=tuple(prior.part_names),
        boxes=part_boxes(points, parts, is_observed, tuple(prior.part_names), T_world_object),
        yaw_known=not round_thing,
    )


@torch.no_grad()
def parts_at(
    prior: SignedDistancePrior, code: torch.Tensor, own: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return the part (N,) at points (N, 3) of the object's own frame, metres."""
    points = torch.from_numpy(prior.frame.to_canonical(own)).float()[None]
    scores = prior.part_logits(prior.features(code[None], points))
    return scores[0].argmax(-1).to(torch.uint8).numpy()


def _not_seen(
    evidence: ObjectEvidence, found: Alignment, own: NDArray, surface: SurfaceSamples
) -> NDArray[np.bool_]:
    """Return which surface points (N,) are to be added.

    Those far from all observed points, and not in space that was seen to be free.
    """
    size = float(np.linalg.norm(np.ptp(surface.points, axis=0)))
    away, _ = KDTree(own).query(surface.points)
    level = found.to_level(surface.points)
    free = evidence.seen_free(level, FREE_MARGIN * evidence.tolerance_m)
    return (np.asarray(away) > SAME_SURFACE * size) & ~free


def _own_frame(
    T_world_object: NDArray[np.float64], points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pose with its origin below the middle of the points' box, and the box's size."""
    low, high = points.min(0), points.max(0)
    offset = np.append((low + high)[:2] / 2, low[2])
    return T_world_object @ make_transform(np.eye(3), offset), high - low


def _to_level(evidence: ObjectEvidence, points: NDArray[np.float64]) -> NDArray[np.float64]:
    level = transform_points(invert_transform(evidence.T_world_level), points)
    return np.asarray(level, np.float64)


def _offer(shapes: Mapping[str, CategoryShapes]) -> str:
    return f"there are priors for {', '.join(sorted(shapes))}"


def _refusal(
    best: JudgedFit | None, category: str | None, shapes: Mapping[str, CategoryShapes]
) -> str:
    """Return why nothing is completed."""
    if category is not None:
        chance = 0.0 if best is None else best.probability
        return (
            f"no prior for this {category!r}: it fits no {category} of the prior "
            f"(probability {chance:.2f}); {_offer(shapes)}"
        )
    if best is None:
        return f"no prior for an object of this size: {_offer(shapes)}"
    return (
        f"no prior for this object: the best fit, {best.alignment.category}, has a probability "
        f"of {best.probability:.2f} only; {_offer(shapes)}"
    )
