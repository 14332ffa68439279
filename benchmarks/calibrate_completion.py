"""Completions of objects seen from one side: calibrates the decision of categories, or measures.

    python benchmarks/calibrate_completion.py            # makes the decision file anew
    python benchmarks/calibrate_completion.py --measure  # measures what ships

Objects stand on a ground, seen by one to three cameras on one side with the noise of a depth
camera. Objects of the calibration and of the measurement have different seeds; the priors were
trained on neither.
"""

from __future__ import annotations

import argparse
import time
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, write_results

from semantic_field.data.objects.procedural_objects import CATEGORIES
from semantic_field.evaluation.objects.completed_part import unseen_part_score
from semantic_field.object_prior.alignment import CategoryShapes
from semantic_field.object_prior.category_decision import (
    CategoryDecision,
    expected_calibration_error,
)
from semantic_field.object_prior.completing import CompletionOptions, complete
from semantic_field.object_prior.completion import NoPriorError
from semantic_field.object_prior.decision_fitting import (
    FIRST_SEED,
    decided,
    fitted_decision,
    known_fits,
    known_scans,
)
from semantic_field.object_prior.signed_distance_prior import SignedDistancePrior
from semantic_field.object_prior.training.prior_files import load_prior, shipped_priors

WEIGHTS = Path(str(resources.files("semantic_field.object_prior"))) / "weights"
DECISION_FILE = WEIGHTS / "completion.json"
CALIBRATION_SEED, MEASURED_SEED = FIRST_SEED, FIRST_SEED + 5_000


def shapes_of(names: list[str]) -> dict[str, CategoryShapes]:
    """Priors by name or path, made ready for alignments."""
    priors = [load_prior(name).eval().requires_grad_(False) for name in names]
    usable = [prior for prior in priors if isinstance(prior, SignedDistancePrior)]
    return {prior.category: CategoryShapes.of(prior) for prior in usable}


def calibrate(shapes: dict[str, CategoryShapes], given: argparse.Namespace) -> None:
    """Fit the decision on known things, and write it."""
    options, fits = CompletionOptions(), []
    scans = known_scans(CATEGORIES, given.objects, given.others, CALIBRATION_SEED)
    for name, seen in scans:
        fits.append(known_fits(name, seen, shapes, options))
        print(name, {key: value.round(2).tolist() for key, value in fits[-1].values.items()})
    decision = fitted_decision(fits, list(shapes))
    decision.save(given.decision)
    report([decided(fit, decision) for fit in fits], [fit.name for fit in fits], shapes)


def report(claims: list[tuple[str | None, float]], names: list[str], shapes: dict) -> dict:
    """Print and return how often the category is right, and how well it is calibrated."""
    truth = [name if name in shapes else None for name in names]
    right = np.array([claim == own for (claim, _), own in zip(claims, truth)])
    known = np.array([own is not None for own in truth])
    chance = np.array([probability for _, probability in claims])
    best_right = np.array([right[i] if claims[i][0] else not right[i] for i in range(len(right))])
    figures = {
        "things": len(names),
        "right": float(right.mean()),
        "right category of known": float(right[known].mean()) if known.any() else float("nan"),
        "refused of others": float(right[~known].mean()) if (~known).any() else float("nan"),
        "calibration error": expected_calibration_error(chance, best_right),
    }
    print(figures)
    return figures


def measure(shapes: dict[str, CategoryShapes], given: argparse.Namespace) -> None:
    """Complete things that were not calibrated on; print and write the figures."""
    decision = CategoryDecision.load(given.decision)
    claims, names, scores, seconds = [], [], [], []
    for name, seen in known_scans(CATEGORIES, given.objects, given.others, MEASURED_SEED):
        started = time.perf_counter()
        try:
            found = complete(seen.observed, shapes, decision)
        except NoPriorError as refusal:
            print(name, refusal)
            claims.append((None, 0.0))
        else:
            claims.append((found.category, found.confidence))
            if found.category == name:
                scores.append(unseen_part_score(seen, found))
                print(name, scores[-1])
        names.append(name)
        seconds.append(time.perf_counter() - started)
    figures = report(claims, names, shapes)
    figures["seconds, median"] = float(np.median(seconds))
    figures["chamfer of unseen part, m"] = float(np.mean([s.chamfer_m for s in scores]))
    figures["mirrored instead, m"] = float(np.mean([s.mirrored_m for s in scores]))
    print(figures)
    write_results("object_completion", [{"name": "one-sided scans", **figures}], given.results)


def main() -> int:
    """Calibrate or measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure, with what ships")
    parser.add_argument("--weights", nargs="+", default=[], help="files in place of shipped priors")
    parser.add_argument("--objects", type=int, default=24, help="of each category")
    parser.add_argument("--others", type=int, default=8, help="things of each other kind")
    parser.add_argument("--decision", type=Path, default=DECISION_FILE, help="the decision file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    shapes = shapes_of(given.weights or list(shipped_priors()))
    (measure if given.measure else calibrate)(shapes, given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
