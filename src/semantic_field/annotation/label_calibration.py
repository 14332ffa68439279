"""Confidence of rendered labels, calibrated on labelled pixels held out from training.

In every labelled frame some blocks of pixels are held out: their labels are not trained on. After
training, each of them is known to be right or wrong. A logistic regression on two features (log
odds of the best class, distance to the nearest trained label) gives the confidence: the probability
that a label is right. Labels below a threshold become void. The threshold maximises the gain on the
held-out pixels, where a right label counts 1 and a wrong one ``-wrong_cost``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from semantic_field.frames import VOID_LABEL

BLOCKS = 4  # across the image: large, so that their centre is far from any trained label
HELD_OUT = 0.1
LEAST_KEPT = 0.5  # least share of each class's pixels that stays in training
NEAR_M = 0.05
FEWEST = 200  # held-out pixels for a calibration
RIDGE = 1e-3
THRESHOLDS = np.linspace(0.0, 0.99, 100)


def held_out_blocks(labels: NDArray[np.int32], seed: int) -> NDArray[np.bool_]:
    """Return a mask (H, W) of held-out labelled pixels: a random tenth of the image's blocks.

    Classes that would lose more than half of their pixels in the image are not held out.
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
    """Return the labels with void where the mask is true."""
    return np.where(mask, VOID_LABEL, labels).astype(np.int32)


def features(probability: NDArray, distance_m: NDArray) -> NDArray[np.float64]:
    """Return the regression features (..., 3): 1, log odds, and log(1 + distance / 5 cm)."""
    p = np.clip(np.asarray(probability, np.float64), 1e-4, 1 - 1e-4)
    away = np.log1p(np.minimum(np.asarray(distance_m, np.float64), 10.0) / NEAR_M)
    return np.stack([np.ones_like(p), np.log(p / (1 - p)), away], axis=-1)


@dataclass(frozen=True)
class Calibration:
    """Maps the features of a pixel to the probability that its label is right.

    Attributes:
        weights: of ``features``.
        threshold: labels of lower confidence become void.
        pixels: number of held-out pixels of the fit. 0 = too few for a fit: default weights (the
            best class's probability, with its odds halved at 5 cm from the nearest label) and
            the threshold implied by the cost alone.
        accuracy: of all held-out pixels.
        kept, kept_accuracy: share of the held-out pixels that pass the threshold, and their
            accuracy.
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
        """Return the confidence, 0..1, in the shape of both arguments."""
        return _sigmoid(features(probability, distance_m) @ np.array(self.weights)).astype(
            np.float32
        )


def calibrate(
    probability: NDArray, distance_m: NDArray, right: NDArray[np.bool_], wrong_cost: float
) -> Calibration:
    """Fit a calibration on held-out pixels (N,).

    Args:
        probability: of the best class, 0..1.
        distance_m: to the nearest trained label, metres.
        right: whether the label is right.
        wrong_cost: cost of a wrong label, in right labels.
    """
    prior = np.array([0.0, 1.0, -1.0])  # weights without evidence
    if len(right) < FEWEST:
        return Calibration((0.0, 1.0, -1.0), wrong_cost / (1 + wrong_cost))
    x, y = features(probability, distance_m), right.astype(np.float64)

    def loss(weights: NDArray) -> tuple[float, NDArray]:
        """Mean negative log likelihood with a ridge around the prior, and its gradient."""
        score, off = x @ weights, weights - prior
        value = (np.logaddexp(0.0, score) - y * score).mean() + 0.5 * RIDGE * (off**2).sum()
        return value, x.T @ (_sigmoid(score) - y) / len(y) + RIDGE * off

    # Confidence never falls with probability and never rises with distance, even if a few
    # pixels suggest it.
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
    """Return the threshold of 0, .01, ... .99 with the highest gain; the lowest one on ties.

    It is at least ``wrong_cost / (1 + wrong_cost) / 2``, half the optimum for a perfect
    confidence: if almost all pixels are right they hardly determine the threshold.
    """
    gain = np.where(right, 1.0, -wrong_cost)
    gains = [gain[confidence >= threshold].sum() for threshold in THRESHOLDS]
    least = 0.5 * wrong_cost / (1 + wrong_cost)
    return max(float(THRESHOLDS[int(np.argmax(gains))]), least)


def calibration_error(confidence: NDArray, right: NDArray[np.bool_], bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal width, weighted by pixels."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    apart = np.abs(
        np.bincount(which, confidence, bins) - np.bincount(which, right.astype(float), bins)
    )
    return float(apart.sum() / max(counts.sum(), 1))


def _sigmoid(x: NDArray) -> NDArray:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -50, 50)))
