"""Whether an object is of a category: probabilities of fits, calibrated on known objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semantic_field.object_prior.fit_quality import QUALITIES

LARGEST = 6.0  # standard deviations at which a number is clamped
RIDGE = 0.3  # keeps weights small where categories are separable
NEWTON_STEPS = 30


@dataclass(frozen=True)
class LogisticModel:
    """Probability that a fit is of an object of the category, from the numbers of the fit.

    Attributes:
        mean, deviation: (Q,) of the numbers, by which they are standardised.
        weights: (Q,), and ``bias``.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float

    def probability(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities (...) of numbers (..., Q)."""
        score = self._standardised(values) @ self.weights + self.bias
        return 1 / (1 + np.exp(-np.clip(score, -30, 30)))

    def _standardised(self, values: NDArray) -> NDArray:
        return np.clip((values - self.mean) / self.deviation, -LARGEST, LARGEST)

    @classmethod
    def fitted(cls, values: NDArray[np.float64], right: NDArray[np.bool_]) -> LogisticModel:
        """Return the model of fits with their numbers (N, Q) and whether they are right (N,).

        Newton's method on the logistic loss with a small ridge; right and wrong fits count alike,
        however many there are. All numbers grow with what speaks against a fit: those that would
        speak for it by chance are left out.

        Raises:
            ValueError: if all are right or all wrong.
        """
        if right.all() or not right.any():
            raise ValueError(
                "expected fits of objects of the category and of others, got one kind only: "
                "add objects of the other kind"
            )
        model = cls(values.mean(0), values.std(0) + 1e-9, np.zeros(values.shape[1]), 0.0)
        inputs = np.column_stack([model._standardised(values), np.ones(len(values))])
        while True:
            weights = _logistic_weights(inputs, right)
            wrong_way = weights[:-1] > 0
            if not wrong_way.any():
                return cls(model.mean, model.deviation, weights[:-1], float(weights[-1]))
            inputs[:, :-1][:, wrong_way] = 0.0


def _logistic_weights(inputs: NDArray, right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the weights (Q + 1,) of inputs (N, Q + 1), of which the last column is 1."""
    each = np.where(right, 0.5 / right.sum(), 0.5 / (~right).sum()) * len(right)
    ridge = np.append(np.full(inputs.shape[1] - 1, RIDGE), 0.0)
    weights = np.zeros(inputs.shape[1])
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        slope = inputs.T @ (each * (probability - right)) + ridge * weights
        curvature = each * probability * (1 - probability) + 1e-9
        weights -= np.linalg.solve((inputs.T * curvature) @ inputs + np.diag(ridge), slope)
    return weights


@dataclass(frozen=True)
class CategoryDecision:
    """Models of all categories.

    Attributes:
        models: by category.
        threshold: least probability with which a category is claimed.
    """

    models: Mapping[str, LogisticModel]
    threshold: float = 0.5

    def probability(self, category: str, values: NDArray[np.float64]) -> float:
        """Return how probable a fit's category is.

        Raises:
            ValueError: for a category without a model.
        """
        if category not in self.models:
            raise ValueError(
                f"expected one of {', '.join(self.models)}, got {category!r}: calibrate it first"
            )
        return float(self.models[category].probability(values))

    def save(self, path: str | Path) -> None:
        """Write the models as JSON."""
        models = {
            name: {key: np.asarray(value).round(6).tolist() for key, value in vars(model).items()}
            for name, model in self.models.items()
        }
        content = {"numbers": list(QUALITIES), "threshold": self.threshold, "models": models}
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> CategoryDecision:
        """Read models from JSON.

        Raises:
            ValueError: if the file is of other numbers than this version computes.
        """
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content.get("numbers") != list(QUALITIES):
            raise ValueError(
                f"{path}: expected a calibration of {QUALITIES}, got {content.get('numbers')}: "
                "make it anew with benchmarks/calibrate_completion.py"
            )
        models = {
            name: LogisticModel(
                np.array(model["mean"]),
                np.array(model["deviation"]),
                np.array(model["weights"]),
                float(model["bias"]),
            )
            for name, model in content["models"].items()
        }
        return cls(models, float(content["threshold"]))


def expected_calibration_error(
    probability: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10
) -> float:
    """Return the mean gap between confidence and share of right ones over even bins (Guo 2017)."""
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        abs(probability[bin_of == b].mean() - right[bin_of == b].mean()) * (bin_of == b).mean()
        for b in range(bins)
        if (bin_of == b).any()
    ]
    return float(np.sum(gaps))
