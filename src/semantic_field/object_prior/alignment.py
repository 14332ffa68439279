"""Where an upright object of a category stands, and which shape of the category it has."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.geometry import invert_transform, make_transform, transform_points
from semantic_field.object_prior.code_distribution import CodeDistribution
from semantic_field.object_prior.joint_refinement import (
    Placement,
    RefinementOptions,
    grid_distances,
    prior_distances,
    refine,
)
from semantic_field.object_prior.object_evidence import ObjectEvidence
from semantic_field.object_prior.pose_search import PoseCandidates, search
from semantic_field.object_prior.prototypes import DistancePrior, PrototypeBank


@dataclass(frozen=True)
class AlignmentOptions:
    """How widely is searched.

    Attributes:
        coarse: poses kept of the search over the grids of prototypes.
        starts: of these, refined together with their codes.
        grid: refinement of the poses alone, against the grids.
        joint: refinement with the codes.
    """

    coarse: int = 48
    starts: int = 4
    grid: RefinementOptions = field(default_factory=lambda: RefinementOptions(steps=24))
    joint: RefinementOptions = field(default_factory=RefinementOptions)


@dataclass(frozen=True)
class CategoryShapes:
    """A prior, made ready for alignments: its prototypes and the spread of its codes."""

    prior: DistancePrior
    bank: PrototypeBank
    distribution: CodeDistribution

    @classmethod
    def of(cls, prior: DistancePrior, prototypes: int = 24) -> CategoryShapes:
        """Return what alignments need of a prior; takes about a second."""
        return cls(prior, PrototypeBank.of(prior, prototypes), CodeDistribution.of_prior(prior))


@dataclass(frozen=True)
class Alignment:
    """A shape of a category in its place.

    Attributes:
        category: its name.
        code: (D,).
        place: of the one object.
        contradiction: what was minimised; 0 = the evidence and the expectation are met.
        surprise: squared Mahalanobis distance of the shape's code, an axis.
    """

    category: str
    code: Float[Tensor, "D"]
    place: Placement
    contradiction: float
    surprise: float

    @property
    def scale(self) -> float:
        """By how much the object is larger than the prior says."""
        return float(self.place.log_scale.exp())

    @property
    def T_level_object(self) -> NDArray[np.float64]:
        """The pose (4, 4) of the object's own frame, without its scale."""
        yaw = float(self.place.yaw)
        c, s = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        pose = make_transform(rotation, self.place.translation[0].double().numpy())
        return np.asarray(pose, np.float64)

    def to_level(self, points: Float[NDArray, "N 3"]) -> NDArray[np.float64]:
        """Return points of the object's own frame (metres before scaling) in the level frame."""
        level = transform_points(self.T_level_object, self.scale * points)
        return np.asarray(level, np.float64)

    def to_own(self, points: Float[NDArray, "N 3"]) -> NDArray[np.float64]:
        """Return level points in the object's own frame, metres before scaling."""
        own = transform_points(invert_transform(self.T_level_object), points)
        return np.asarray(own / self.scale, np.float64)


def coarse_poses(
    evidence: ObjectEvidence, shapes: CategoryShapes, options: AlignmentOptions
) -> tuple[PoseCandidates, Placement, Tensor]:
    """Return candidates of a category, their places refined on grids, and their contradictions.

    Best first; all empty if no prototype has the object's size.
    """
    found = search(evidence, shapes.bank, options.coarse)
    place = Placement.of_candidates(found, shapes.bank, shapes.distribution)
    if not len(found.score):
        return found, place, torch.zeros(0)
    prototype = torch.from_numpy(found.prototype)
    distances = grid_distances(shapes.bank, prototype)
    spread = shapes.distribution
    place, loss = refine(evidence, place, lambda _: distances, spread, options.grid, False)
    order = loss.argsort()
    ranked = PoseCandidates(*(part[order.numpy()] for part in vars(found).values()))
    return ranked, place[order], loss[order]


def align(
    evidence: ObjectEvidence,
    shapes: CategoryShapes,
    options: AlignmentOptions | None = None,
    start: Placement | None = None,
) -> Alignment | None:
    """Return the shape and pose of a category that fit the evidence best.

    Args:
        start: places to refine, best first; None = those of ``coarse_poses``.
    Returns:
        None if no object of the category has such a size.
    """
    options = options or AlignmentOptions()
    place = coarse_poses(evidence, shapes, options)[1] if start is None else start
    if not len(place.yaw):
        return None
    place = place[_apart(place, evidence.tolerance_m, options.starts)]

    def distances(whitened: Tensor):
        return prior_distances(shapes.prior, shapes.distribution.codes(whitened))

    place, loss = refine(evidence, place, distances, shapes.distribution, options.joint, True)
    best = loss.argmin()[None]
    chosen = place[best]
    return Alignment(
        shapes.prior.category,
        shapes.distribution.codes(chosen.whitened)[0],
        chosen,
        float(loss[best]),
        float(shapes.distribution.shape_surprise(chosen.whitened)),
    )


def _apart(place: Placement, tolerance: float, count: int) -> Tensor:
    """Return the first ``count`` places that differ: another yaw, position or shape."""
    kept: list[int] = []
    for index in range(len(place.yaw)):
        turn = place.yaw[index] - place.yaw[kept]
        near = (torch.atan2(turn.sin(), turn.cos()).abs() < 0.15) & (
            (place.translation[index] - place.translation[kept]).norm(dim=1) < tolerance
        )
        if not near.any():
            kept.append(index)
        if len(kept) == count:
            break
    return torch.tensor(kept)
