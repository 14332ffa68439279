"""Every mIoU definition against hand-worked numbers and against loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.confusion import ConfusionMatrix, Rule
from semantic_field.evaluation.scores.conventions import CONVENTIONS, convention

NAMES = ("wall", "chair", "table", "lamp")
V = -1  # void in the truth, nothing predicted

# Two images of six pixels. Image 0: wall 3 (2 right, 1 as chair), chair 2 (1 right, 1 not
# predicted), void 1. Image 1: wall 4 (all right), table 1 (as lamp), void 1 predicted as wall.
TRUTH = [np.array([[0, 0, 0], [1, 1, V]]), np.array([[0, 0, 0], [0, 2, V]])]
GUESS = [np.array([[0, 0, 1], [1, V, 2]]), np.array([[0, 0, 0], [0, 3, 0]])]


def scores(name_or_rule: str | Rule, truth=TRUTH, guess=GUESS):
    rule = convention(name_or_rule).rule if isinstance(name_or_rule, str) else name_or_rule
    matrix = ConfusionMatrix(NAMES, rule)
    for true, predicted in zip(truth, guess):
        matrix.add(true, predicted)
    return matrix.result()


def test_semantic_nerf_by_hand() -> None:
    # Whole set: wall 6 of 7, union 7; chair 1 right, union 2 + 1; table 0 of 1; lamp 0, union 1.
    result = scores("semantic_nerf")
    assert result.miou == pytest.approx((6 / 7 + 1 / 3 + 0 + 0) / 4)
    assert result.total_accuracy == pytest.approx(7 / 10)
    assert result.class_accuracy == pytest.approx((6 / 7 + 1 / 2 + 0) / 3)
    assert scores("semantic_nerf_valid").miou == pytest.approx((6 / 7 + 1 / 3 + 0) / 3)


def test_per_image_by_hand() -> None:
    # gsnerf: void is a class. Image 0: wall 2/3, chair 1/3, void: 1 true, predicted as table;
    # one chair pixel is predicted void: union 2, IoU 0. Image 1: wall 4/5, table 0, void 0 / 1.
    expected = ((2 / 3 + 1 / 3 + 0) / 3 + (4 / 5 + 0 + 0) / 3) / 2
    assert scores("gsnerf").miou == pytest.approx(expected)
    # ov_nerf: void truth is not counted. Image 0: wall 2/3, chair 1/3, "none" predicted once: 0.
    # Image 1: wall 1, table 0, lamp 0.
    expected = ((2 / 3 + 1 / 3 + 0) / 3 + (1 + 0 + 0) / 3) / 2
    assert scores("ov_nerf").miou == pytest.approx(expected)
    assert scores("ov_nerf").total_accuracy == pytest.approx((3 / 5 + 4 / 5) / 2)
    # semantic_ray: pixels predicted void are dropped. Image 0: wall 2/3, chair 1/2.
    expected = ((2 / 3 + 1 / 2) / 2 + (1 + 0) / 2) / 2
    assert scores("semantic_ray").miou == pytest.approx(expected)
    assert scores("gp_nerf").miou == pytest.approx(expected)


def test_frequency_weighting_by_hand() -> None:
    # wall 7 of 10 at 6/7, chair 2 of 10 at 1/3, table 1 of 10 at 0.
    result = convention("f_miou").headline(scores("f_miou"))
    assert result == pytest.approx(0.7 * 6 / 7 + 0.2 / 3)


def test_image_without_labels() -> None:
    empty = np.full((2, 3), V)
    with_empty = [*TRUTH, empty], [*GUESS, np.zeros((2, 3), int)]
    assert scores("ov_nerf", *with_empty).miou == pytest.approx(scores("ov_nerf").miou)
    ray = scores("semantic_ray", *with_empty).miou
    assert ray == pytest.approx(scores("semantic_ray").miou * 2 / 3)
    assert math.isnan(scores("semantic_nerf", [empty], [empty]).miou)


def test_rare_classes_stand_beside() -> None:
    truth = np.zeros(2000, int)
    truth[0] = 1  # 0.05 %: too rare for the second figure
    guess = np.zeros(2000, int)
    result = scores(Rule(), [truth], [guess])
    assert result.miou == pytest.approx((1999 / 2000 + 0) / 2)
    assert result.miou_frequent == pytest.approx(1999 / 2000)


def test_all_classes_count_absent_ones_as_zero() -> None:
    result = scores(Rule(classes="all"), [np.zeros(4, int)], [np.zeros(4, int)])
    assert result.miou == pytest.approx(1 / 4)


def loops(name: str, truth: list, guess: list) -> float:
    """The figure by loops over pixels and sets, from the published descriptions."""
    void_is_class = name in ("gsnerf", "semantic_srn")
    void_can_be_predicted = void_is_class or name == "ov_nerf"
    groups = [
        [(int(t), int(p)) for t, p in zip(true.ravel(), predicted.ravel())]
        for true, predicted in zip(truth, guess)
    ]
    if name in ("semantic_nerf", "semantic_nerf_valid", "f_miou"):
        groups = [[pair for group in groups for pair in group]]
    figures = []
    for group in groups:
        pairs = [pair for pair in group if void_is_class or pair[0] != V]
        if name in ("semantic_ray", "gp_nerf"):
            pairs = [pair for pair in pairs if pair[1] != V]
        if not pairs:
            if name in ("semantic_ray", "gp_nerf"):
                figures.append(0.0)
            continue
        true = {t for t, _ in pairs}
        predicted = {p for _, p in pairs if p != V or void_can_be_predicted}
        over_union = name in ("semantic_nerf", "ov_nerf", "semantic_srn")
        over = true | predicted if over_union else true
        ious, weights = [], []
        for c in sorted(over):
            both = sum(t == c and p == c for t, p in pairs)
            either = sum(t == c or p == c for t, p in pairs)
            ious.append(both / either)
            weights.append(sum(t == c for t, _ in pairs) / len(pairs))
        if name == "f_miou":
            figures.append(sum(i * w for i, w in zip(ious, weights)))
        else:
            figures.append(sum(ious) / len(ious))
    return sum(figures) / len(figures)


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
@pytest.mark.parametrize("seed", range(4))
def test_against_loops(name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, guess = [], []
    for _ in range(5):
        present = random.choice(5, size=random.integers(1, 5), replace=False) - 1
        truth.append(random.choice(present, size=(6, 7)))
        wrong = random.random((6, 7)) < 0.4
        guess.append(np.where(wrong, random.integers(-1, 4, (6, 7)), truth[-1]))
    assert convention(name).headline(scores(name, truth, guess)) == pytest.approx(
        loops(name, truth, guess)
    )


def test_conventions_really_differ() -> None:
    random = np.random.default_rng(1)
    truth = [random.integers(-1, 3, (8, 8)) for _ in range(3)]
    guess = [np.where(random.random((8, 8)) < 0.5, t, 3) for t in truth]
    guess[0][:2] = V
    figures = {n: round(convention(n).headline(scores(n, truth, guess)), 6) for n in CONVENTIONS}
    assert figures["semantic_ray"] == figures["gp_nerf"]
    assert len(set(figures.values())) >= 6, figures


def test_against_scikit_learn() -> None:
    from sklearn.metrics import jaccard_score

    random = np.random.default_rng(0)
    truth, guess = random.integers(0, 4, 500), random.integers(0, 4, 500)
    assert scores(Rule(), [truth], [guess]).miou == pytest.approx(
        jaccard_score(truth, guess, average="macro")
    )


def test_rejects_what_cannot_be_counted() -> None:
    matrix = ConfusionMatrix(NAMES, Rule())
    with pytest.raises(ValueError, match="one shape"):
        matrix.add(np.zeros(3, int), np.zeros(4, int))
    with pytest.raises(ValueError, match=r"-1\.\.3"):
        matrix.add(np.array([4]), np.array([0]))
    with pytest.raises(ValueError, match="expected a convention"):
        convention("miou")
    with pytest.raises(ValueError, match="scope"):
        Rule(scope="video")


IDS = {3: "wall", 7: "chair", 9: "armchair", 12: "other"}


def test_class_ids_become_rows() -> None:
    classes = ClassSet(IDS)
    assert classes.names == ("wall", "chair", "armchair", "other")
    ids = np.array([3, 12, 5, -1, 99])
    assert classes.rows(ids).tolist() == [0, 3, -1, -1, -1]


def test_groups_subset_and_ignored_classes() -> None:
    groups = {"seat": ("chair", "armchair", "sofa")}
    grouped = ClassSet(IDS, ignore=("other", "floor"), groups=groups)
    assert grouped.names == ("wall", "seat")
    assert grouped.rows(np.array([3, 7, 9, 12])).tolist() == [0, 1, 1, -1]
    assert ClassSet(IDS, subset=("seat",), groups=groups).rows(np.array([3, 9])).tolist() == [-1, 0]
    with pytest.raises(ValueError, match="one group"):
        ClassSet(IDS, groups={"a": ("chair",), "b": ("chair",)})
    with pytest.raises(ValueError, match="leave none"):
        ClassSet(IDS, subset=("sofa",))
