"""Priors from a folder: what is asked of it, and an object completed with them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from semantic_field.config import CompletionConfig
from semantic_field.data.objects.procedural_objects import make_object
from semantic_field.object_prior.category_decision import CategoryDecision, LogisticModel
from semantic_field.object_prior.completion import NoPriorError, ObservedObject
from semantic_field.object_prior.fit_quality import QUALITIES
from semantic_field.object_prior.object_evidence import evidence_of
from semantic_field.object_prior.one_sided_scans import scan
from semantic_field.object_prior.prior_completer import DECISION_FILE, make_completer
from semantic_field.object_prior.training.prior_files import shipped_priors


def decision_of(*categories: str, bias: float = 3.0) -> CategoryDecision:
    nothing = np.zeros(len(QUALITIES))
    model = LogisticModel(nothing, np.ones(len(QUALITIES)), nothing, bias)
    return CategoryDecision(dict.fromkeys(categories, model))


@pytest.fixture
def folder(tmp_path):
    shutil.copy(shipped_priors()["chair"], tmp_path / "mine.safetensors")
    return tmp_path


def completer_of(folder):
    return make_completer(CompletionConfig(priors=str(folder)))


def test_a_folder_without_priors_or_without_their_calibration_is_refused(folder, tmp_path, caplog):
    with pytest.raises(ValueError, match=r"got none in .*nowhere: make some with .* train-prior"):
        completer_of(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"got no .*completion\.json: make it with"):
        completer_of(folder)
    decision_of("table").save(folder / DECISION_FILE)
    assert not completer_of(folder).part_names
    assert "categories chair are not completed" in caplog.text


def test_a_folder_s_priors_name_their_parts(folder):
    decision_of("chair").save(folder / DECISION_FILE)
    completer = completer_of(folder)
    assert completer.part_names.keys() == {"chair"}
    assert {"seat", "backrest", "leg"} <= set(completer.part_names["chair"])


def test_objects_are_completed_if_the_decision_believes_the_fit(folder):
    seen = scan(make_object("chair", 900_001), np.random.default_rng(4))
    for bias, believed in ((3.0, True), (-3.0, False)):
        decision_of("chair", bias=bias).save(folder / DECISION_FILE)
        completer = completer_of(folder)
        if believed:
            whole = completer(seen.observed, "chair")
            assert whole.category == "chair" and not whole.observed.all()
            count = len(seen.observed.points)
            assert np.array_equal(whole.points[:count], seen.observed.points)
        else:
            with pytest.raises(NoPriorError, match="no prior for this 'chair'"):
                completer(seen.observed, "chair")
    with pytest.raises(NoPriorError, match="no prior for 'mug': there are priors for chair"):
        completer(seen.observed, "mug")


def test_an_object_stands_on_the_ground_that_is_known():
    """Only the upper half of a thing was seen, 0.5 to 0.9 m above a ground that no view shows."""
    rng = np.random.default_rng(1)
    points = rng.uniform([-0.2, -0.2, 0.5], [0.2, 0.2, 0.9], (400, 3)) + [3.0, 1.0, 7.0]
    up = np.array([0.0, 0.0, 1.0])
    seen = ObservedObject(points, np.tile(up, (400, 1)), np.zeros((400, 3), np.uint8), (), up)
    lowest = np.quantile(points[:, 2], 0.005)
    free = evidence_of(seen)
    assert free.bases == pytest.approx((0.0,), abs=0.01)  # the lowest points
    known = evidence_of(replace(seen, ground_m=7.0))
    assert known.bases == pytest.approx((7.0 - lowest,)) and known.base_deviation_m == 0.02
    turned = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])  # the same with x up
    aside = ObservedObject(
        points @ turned.T, seen.normals @ turned.T, seen.colors, (), turned @ up, ground_m=7.0
    )
    assert evidence_of(aside).bases == pytest.approx((7.0 - lowest,))
    near = replace(seen, ground_m=lowest + 0.01)
    assert evidence_of(near).bases == free.bases  # both say the same: what is seen is finer
