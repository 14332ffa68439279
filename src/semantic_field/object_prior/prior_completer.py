"""Completes objects with the priors in a folder: one for each category, and their calibration."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from semantic_field.config import CompletionConfig
from semantic_field.object_prior.alignment import CategoryShapes
from semantic_field.object_prior.category_decision import CategoryDecision
from semantic_field.object_prior.completer import Completer, NoPriors
from semantic_field.object_prior.completing import complete
from semantic_field.object_prior.completion import Completion, ObservedObject
from semantic_field.object_prior.signed_distance_prior import SignedDistancePrior
from semantic_field.object_prior.training.prior_files import SUFFIX, load_prior, shipped_priors

log = logging.getLogger(__name__)
DECISION_FILE = "completion.json"  # beside the priors: when a fit is believed


class PriorCompleter:
    """Completes objects with trained priors.

    What an alignment needs of a prior is computed when its category is first asked for, which
    takes about a second.

    Args:
        priors: by category. decision: calibrated on fits of these priors.
    """

    def __init__(
        self, priors: Mapping[str, SignedDistancePrior], decision: CategoryDecision
    ) -> None:
        self._shapes, self._decision = _Shapes(priors), decision
        self._part_names = {name: tuple(prior.part_names) for name, prior in priors.items()}

    @property
    def part_names(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the parts of each category."""
        return self._part_names

    def __call__(self, observed: ObservedObject, category: str | None) -> Completion:
        """Return the whole object, see ``completing.complete``."""
        return complete(observed, self._shapes, self._decision, category)


class _Shapes(Mapping[str, CategoryShapes]):
    """Priors made ready for alignments, each when it is first asked for."""

    def __init__(self, priors: Mapping[str, SignedDistancePrior]) -> None:
        self._priors, self._ready = priors, dict[str, CategoryShapes]()

    def __getitem__(self, category: str) -> CategoryShapes:
        if category not in self._ready:
            self._ready[category] = CategoryShapes.of(self._priors[category])
        return self._ready[category]

    def __iter__(self) -> Iterator[str]:
        return iter(self._priors)

    def __len__(self) -> int:
        return len(self._priors)


def make_completer(config: CompletionConfig) -> Completer:
    """Return what completes objects with the priors of the settings' folder, or of the package.

    A prior without a calibration is not used, which is logged.

    Raises:
        ValueError: if the folder has no priors, or no calibration of them.
    """
    if config.priors:
        folder = Path(config.priors).expanduser()
        files = sorted(folder.glob(f"*{SUFFIX}"))
        if not files:
            raise ValueError(
                f"expected priors of objects (*{SUFFIX}) in the folder completion.priors, got none "
                f"in {folder}: make some with semantic-field train-prior, or leave it empty for "
                "those of the package"
            )
    else:
        files = list(shipped_priors().values())
        if not files or not (files[0].parent / DECISION_FILE).exists():
            return NoPriors(f"the package has no priors with their calibration ({DECISION_FILE})")
        folder = files[0].parent
    loaded = [load_prior(file) for file in files]
    priors = {prior.category: prior for prior in loaded if isinstance(prior, SignedDistancePrior)}
    decision = _decision(folder / DECISION_FILE)
    missing = sorted(priors.keys() - decision.models.keys())
    if missing:
        log.warning(
            "objects of the categories %s are not completed: %s has no calibration of them, make "
            "it anew with benchmarks/calibrate_completion.py",
            ", ".join(missing),
            folder / DECISION_FILE,
        )
    usable = {name: prior for name, prior in priors.items() if name not in missing}
    return PriorCompleter(usable, decision)


def _decision(path: Path) -> CategoryDecision:
    if not path.exists():
        raise ValueError(
            f"expected a calibration of the priors, got no {path}: make it with "
            "benchmarks/calibrate_completion.py"
        )
    return CategoryDecision.load(path)
