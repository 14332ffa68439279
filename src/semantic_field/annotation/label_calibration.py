"""How far a rendered label can be trusted, learnt on labelled pixels that training never saw.

In every labelled frame some blocks are held out: their labels are not trained on. After training
each of their pixels is known to be right or wrong, and a logistic regression of that on two
figures (log odds of the best class, distance to the nearest trained label) gives the confidence:
the chance that a label is right. Below the threshold a label becomes void. The threshold is the
one that would have been best on the held-out pixels, where a right label counts 1 and a wrong
one costs ``wrong_cost``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from semantic_field.frames import VOID_LABEL

BLOCKS = 4  # across the image: large, so that their middle is far from any trained label
HELD_OUT = 0.1
LEAST_KEPT = 0.5  # of the pixels of each class stay in training
NEAR_M = 0.05
FEWEST = 200  # held-out pixels for a calibration
RIDGE = 1e-3
THRESHOLDS = np.linspace(0.0, 0.99, 100)


def held_out_blocks(labels: NDArray[np.int32], seed: int) -> NDArray[np.bool_]:
    """Which pixels (H, W) of a label image are kept from training: a tenth of its blocks.

    Where that would take more than half of a class's pixels in the image, they stay.
    """
    height, width = labels.shape
    edge = max(1, width // BLOCKS)
    shape = -(-height // edge), -(-width // edge)
    chosen = np.random.default_rng(seed).random(shape) < HELD_OUT
    mask = chosen.repeat(edge, 0).repeat(edge, 1)[:height, :width] & (labels >= 0)
    for class_id in np.unique(labels[mask]).tolist():
        of_class = labels == class_id
        if (of_class & mask).sum() > (1 - LEAST_KEPT) * of_class.sum():
            mask &= ~of_class
    return mask


def without(labels: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The labels with void where the mask is true."""
    return np.where(mask, VOID_LABEL, labels).astype(np.int32)


def features(probability: NDArray, distance_m: NDArray) -> NDArray[np.float64]:
    """1, log odds of the best class's probability, and the log of the distance (in 5 cm)."""
    p = np.clip(np.asarray(probability, np.float64), 1e-4, 1 - 1e-4)
    away = np.log1p(np.minimum(np.asarray(distance_m, np.float64), 10.0) / NEAR_M)
    return np.stack([np.ones_like(p), np.log(p / (1 - p)), away], axis=-1)


@dataclass(frozen=True)
class Calibration:
    """From the figures of a pixel to the chance that its label is right.

    Attributes:
        weights: of ``features``.
        threshold: labels of less confidence are void.
        pixels: held-out pixels behind it; 0 = there were too few, and the best class's own
            probability counts, halved in odds at 5 cm from the next label and so on, with the
            threshold that the cost alone implies.
        accuracy, kept, kept_accuracy: on the held-out pixels: before the threshold, the share
            that passes it, and the share of those that is right.
        error: expected calibration error over ten bins.
    """

    weights: tuple[float, float, float]
    threshold: float
    pixels: int = 0
    accuracy: float | None = None
    kept: float | None = None
    kept_accuracy: float | None = None
    error: float | None = None

    def confidence(self, probability: NDArray, distance_m: NDArray) -> NDArray[np.float32]:
        """0..1, the shape of both."""
        return _sigmoid(features(probability, distance_m) @ np.array(self.weights)).astype(
            np.float32
        )


def calibrate(
    probability: NDArray, distance_m: NDArray, right: NDArray[np.bool_], wrong_cost: float
) -> Calibration:
    """Fit on held-out pixels (N,), see the module."""
    prior = np.array([0.0, 1.0, -1.0])  # what nothing speaks against
    if len(right) < FEWEST:
        return Calibration((0.0, 1.0, -1.0), wrong_cost / (1 + wrong_cost))
    x, y = features(probability, distance_m), right.astype(np.float64)

    def loss(weights: NDArray) -> tuple[float, NDArray]:
        """Mean negative log likelihood with a ridge around the prior, and its gradient."""
        score, off = x @ weights, weights - prior
        value = (np.logaddexp(0.0, score) - y * score).mean() + 0.5 * RIDGE * (off**2).sum()
        return value, x.T @ (_sigmoid(score) - y) / len(y) + RIDGE * off

    # More probable is never less certain, farther from any label never more, whatever a few
    # pixels say.
    limits = [(None, None), (0.0, None), (None, 0.0)]
    weights = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=limits).x
    confidence = _sigmoid(x @ weights)
    threshold = best_threshold(confidence, right, wrong_cost)
    kept = confidence >= threshold
    return Calibration(
        tuple(weights.tolist()),
        threshold,
        len(right),
        float(right.mean()),
        float(kept.mean()),
        float(right[kept].mean()) if kept.any() else None,
        calibration_error(confidence, right),
    )


def best_threshold(confidence: NDArray, right: NDArray[np.bool_], wrong_cost: float) -> float:
    """Of 0, .01, ... .99 the lowest where the kept right ones less the cost of wrong ones is most.

    Pixels that are almost all right say little about the threshold: it is never below
    ``wrong_cost / (1 + wrong_cost) / 2``, half of what a perfect confidence would ask for.
    """
    gain = np.where(right, 1.0, -wrong_cost)
    gains = [gain[confidence >= threshold].sum() for threshold in THRESHOLDS]
    least = 0.5 * wrong_cost / (1 + wrong_cost)
    return max(float(THRESHOLDS[int(np.argmax(gains))]), least)


def calibration_error(confidence: NDArray, right: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean distance between confidence and accuracy over equal bins, weighted by pixels."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    apart = np.abs(
        np.bincount(which, confidence, bins) - np.bincount(which, right.astype(float), bins)
    )
    return float(apart.sum() / max(counts.sum(), 1))


def _sigmoid(x: NDArray) -> NDArray:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -50, 50)))
