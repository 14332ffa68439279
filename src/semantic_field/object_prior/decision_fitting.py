"""The decision of categories calibrated: fits of known things, seen from one side, are collected.

Objects of the categories are told from one another and from things of no category: furniture of
the simulated room, boxes and blobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.objects.procedural_objects import make_object
from semantic_field.data.room import furniture, kitchen
from semantic_field.data.room.shapes import Material, Shape, box, ellipsoid
from semantic_field.object_prior.alignment import CategoryShapes
from semantic_field.object_prior.category_decision import CategoryDecision, LogisticModel
from semantic_field.object_prior.completing import CompletionOptions, category_fits
from semantic_field.object_prior.fit_quality import QUALITIES, fit_quality
from semantic_field.object_prior.object_evidence import evidence_of
from semantic_field.object_prior.one_sided_scans import OneSidedScan, scan, solid_object

LEAST_OF_A_KIND = 8  # right and wrong fits of a category for a model of its own
FIRST_SEED = 20_000  # of the objects: neither training nor test instances
GREY = Material("plain", (0.6, 0.6, 0.6))
Random = np.random.Generator


def random_boxes(rng: Random) -> list[Shape]:
    """Return one to three boxes on one another."""
    shapes, height = [], 0.0
    for _ in range(rng.integers(1, 4)):
        half, tall = rng.uniform(0.08, 0.4, 2), rng.uniform(0.08, 0.5)
        shapes.append(box((*-half, height), (*half, height + tall), GREY))
        height += tall
    return shapes


def random_blobs(rng: Random) -> list[Shape]:
    """Return three to six ellipsoids through one another."""
    return [
        ellipsoid(rng.uniform(-0.2, 0.2, 3) + [0, 0, 0.35], rng.uniform(0.08, 0.3, 3), GREY)
        for _ in range(rng.integers(3, 7))
    ]


OTHERS: dict[str, Callable[[Random], list[Shape]]] = {
    "sofa": furniture.sofa,
    "potted plant": furniture.plant,
    "refrigerator": kitchen.refrigerator,
    "tv": furniture.tv,
    "bookshelf": lambda rng: furniture.bookshelf(rng, furniture.WOOD_COLORS[0]),
    "trash bin": kitchen.trash_bin,
    "microwave": kitchen.microwave,
    "bowl": kitchen.bowl,
    "vase": kitchen.vase,
    "cushion": furniture.cushion,
    "boxes": random_boxes,
    "blobs": random_blobs,
}


@dataclass(frozen=True)
class KnownFits:
    """Fits of one known thing.

    Attributes:
        name: what it is: a category, or one of ``OTHERS``.
        values: numbers of the fit (Q,) of each category that was not hopeless.
    """

    name: str
    values: Mapping[str, NDArray[np.float64]]


def known_scans(
    categories: Sequence[str], of_category: int, of_other: int, first_seed: int = FIRST_SEED
) -> Iterator[tuple[str, OneSidedScan]]:
    """Yield observations of known things with their names.

    Args:
        categories: of the generator; ``of_category``: objects of each.
        of_other: things of each kind in ``OTHERS``.
        first_seed: of the objects.
    """
    for index in range(max(of_category, of_other)):
        seed = first_seed + index
        for number, category in enumerate(categories):
            if index < of_category:
                yield category, _scan(make_object(category, seed), number, seed)
        for number, (name, make) in enumerate(OTHERS.items()):
            if index < of_other:
                rng = np.random.default_rng([100 + number, seed])
                yield name, _scan(solid_object(name, make(rng)), 100 + number, seed)


def known_fits(
    name: str,
    seen: OneSidedScan,
    shapes: Mapping[str, CategoryShapes],
    options: CompletionOptions,
) -> KnownFits:
    """Return the numbers of the fits of one observation, as a completion makes them."""
    evidence = evidence_of(seen.observed)
    fits = category_fits(evidence, shapes, options)
    values = {
        category: fit_quality(evidence, shapes[category], found).values
        for category, found in fits.items()
    }
    return KnownFits(name, values)


def fitted_decision(fits: Sequence[KnownFits], categories: Sequence[str]) -> CategoryDecision:
    """Return the decision that fits of known things calibrate.

    A category that hardly anything else is taken for has too few wrong fits for a model of its own
    (``LEAST_OF_A_KIND``): it gets that of the fits of all categories together.

    Raises:
        ValueError: if all fits are right or all wrong.
    """
    fitted = {category: _of_category(fits, category) for category in categories}
    together = [np.concatenate(parts) for parts in zip(*fitted.values(), strict=True)]
    pooled = LogisticModel.fitted(*together)
    models = {}
    for category, (values, right) in fitted.items():
        enough = min(right.sum(), (~right).sum()) >= LEAST_OF_A_KIND
        models[category] = LogisticModel.fitted(values, right) if enough else pooled
    return CategoryDecision(models)


def _of_category(
    fits: Sequence[KnownFits], category: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers (N, Q) of all fits of a category, and whether they are right (N,)."""
    chosen = [fit for fit in fits if category in fit.values]
    values = [fit.values[category] for fit in chosen]
    right = np.array([fit.name == category for fit in chosen], np.bool_)
    return np.reshape(values, (len(chosen), len(QUALITIES))), right


def decided(fit: KnownFits, decision: CategoryDecision) -> tuple[str | None, float]:
    """Return the category that a completion claims, None if it refuses, and the probability."""
    chances = {
        category: decision.probability(category, values) for category, values in fit.values.items()
    }
    if not chances:
        return None, 0.0
    best = max(chances, key=lambda category: chances[category])
    claimed = best if chances[best] >= decision.threshold else None
    return claimed, chances[best]


def _scan(model: ObjectModel, number: int, seed: int) -> OneSidedScan:
    rng = np.random.default_rng([number, seed, 7])
    return scan(model, rng, views=int(rng.integers(1, 4)))
