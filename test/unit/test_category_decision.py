"""Calibrated probabilities of categories: by hand and against what they are made from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from semantic_field.object_prior.category_decision import (
    CategoryDecision,
    LogisticModel,
    expected_calibration_error,
)
from semantic_field.object_prior.decision_fitting import KnownFits, fitted_decision
from semantic_field.object_prior.fit_quality import QUALITIES

COUNT = len(QUALITIES)


def test_a_probability_by_hand():
    model = LogisticModel(np.full(COUNT, 2.0), np.full(COUNT, 0.5), np.eye(COUNT)[0] * -1.5, 0.3)
    values = np.full(COUNT, 2.0)
    values[0] = 3.0  # two deviations: score 0.3 - 3
    assert float(model.probability(values)) == pytest.approx(1 / (1 + np.exp(2.7)))


def test_a_fitted_model_is_calibrated():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6000, COUNT))
    truth = 1 / (1 + np.exp(1.5 * values[:, 0] + values[:, 2]))
    right = rng.random(6000) < truth  # half of them
    model = LogisticModel.fitted(values, right)
    found = model.probability(values)
    assert np.abs(found - truth).mean() < 0.02
    assert expected_calibration_error(found, right) < 0.03


def test_what_speaks_for_a_fit_by_chance_is_left_out():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(800, COUNT))
    right = rng.random(800) < 1 / (1 + np.exp(2 * values[:, 0] - values[:, 1]))
    model = LogisticModel.fitted(values, right)
    assert model.weights[0] < -1 and model.weights[1] == 0 and (model.weights <= 0).all()


def test_rare_kinds_count_as_much_as_frequent_ones():
    rng = np.random.default_rng(1)
    wrong, right = rng.normal(1, 1, (900, COUNT)), rng.normal(-1, 1, (30, COUNT))
    model = LogisticModel.fitted(np.concatenate([wrong, right]), np.arange(930) >= 900)
    assert (model.probability(right) > 0.5).mean() > 0.9
    assert (model.probability(wrong) < 0.5).mean() > 0.9


def test_one_kind_alone_cannot_be_told_apart():
    with pytest.raises(ValueError, match="one kind only"):
        LogisticModel.fitted(np.zeros((5, COUNT)), np.ones(5, bool))


def test_a_category_that_nothing_is_taken_for_gets_the_model_of_all():
    rng = np.random.default_rng(2)
    fits = [KnownFits("chair", {"chair": rng.normal(-1, 1, COUNT)}) for _ in range(20)]
    fits += [KnownFits("sofa", {"chair": rng.normal(1, 1, COUNT)}) for _ in range(20)]
    alone = fitted_decision(fits, ["chair"]).models["chair"]
    fits += [KnownFits("mug", {"mug": rng.normal(-3, 1, COUNT)}) for _ in range(20)]
    models = fitted_decision(fits, ["chair", "mug", "lamp"]).models
    np.testing.assert_array_equal(models["chair"].weights, alone.weights)
    assert models["mug"] is models["lamp"] is not models["chair"]
    assert models["mug"].probability(np.full(COUNT, -3.0)) > 0.9
    assert models["mug"].probability(np.full(COUNT, 1.0)) < 0.5


def test_decisions_are_read_as_written(tmp_path):
    model = LogisticModel(np.arange(COUNT) * 0.1, np.ones(COUNT), np.ones(COUNT), -0.5)
    CategoryDecision({"chair": model}, 0.4).save(tmp_path / "decision.json")
    read = CategoryDecision.load(tmp_path / "decision.json")
    values = np.linspace(-1, 1, COUNT)
    assert read.threshold == 0.4
    assert read.probability("chair", values) == pytest.approx(float(model.probability(values)))
    with pytest.raises(ValueError, match="expected one of chair, got 'sofa'"):
        read.probability("sofa", values)


def test_files_of_other_numbers_are_refused(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"numbers": ["off"], "threshold": 0.5, "models": {}}))
    with pytest.raises(ValueError, match="expected a calibration of"):
        CategoryDecision.load(path)


def test_calibration_error_by_hand():
    # bin 0.2: says .25, is .5 (2 of 4); bin 0.9: says .95, is 1 (4 of 4)
    probability = np.array([0.25] * 4 + [0.95] * 4)
    right = np.array([1, 1, 0, 0, 1, 1, 1, 1], bool)
    assert expected_calibration_error(probability, right) == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)
