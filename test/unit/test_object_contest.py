"""The contest of object priors, with a prior of balls whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semantic_field.data.objects.procedural_objects import (
    CATEGORY_FRAMES,
    PART_NAMES,
    TEST_SEEDS,
    ProceduralObjects,
)
from semantic_field.evaluation.objects.contest_table import markdown_table
from semantic_field.evaluation.objects.object_contest import (
    ONE_COLOR,
    ONE_MASK,
    SURFACE,
    TRAINING_VIEWS,
    ContestPlan,
    ObjectContest,
    common_seeds,
    contest_rows,
    seeds_of_prior,
)
from semantic_field.evaluation.objects.object_pictures import (
    category_view,
    grid,
    interpolation_picture,
    one_view_picture,
    views_around,
)
from semantic_field.evaluation.objects.prior_predictions import predicted_surface, predicted_views
from semantic_field.evaluation.objects.unet_baseline import UNetPlan
from semantic_field.object_prior.prior_model import CanonicalRays, ObjectPrior, PriorPixels
from semantic_field.object_prior.signed_distance.distance_network import DistanceSizes
from semantic_field.object_prior.signed_distance_prior import (
    SignedDistanceConfig,
    SignedDistancePrior,
)
from semantic_field.object_prior.trainable_prior import PriorSubject

PLAN = ContestPlan(
    train=4,
    known=2,
    unseen=2,
    turn=8,
    given=4,
    novel=(2, 6),
    size=32,
    labelled=(2, 2),
    surface_points=500,
    unet=UNetPlan(steps=3, batch=2, first=8, most=16),
)


class Balls(ObjectPrior):
    """Red balls around the canonical origin; a code is a radius; the part is always the first."""

    def __init__(self) -> None:
        super().__init__()
        self.category, self.part_names = "mug", PART_NAMES["mug"]
        self.frame = CATEGORY_FRAMES["mug"]
        self.codes = nn.Embedding.from_pretrained(torch.full((4, 1), 0.5))
        self.label_layer = nn.Linear(1, 3)
        with torch.no_grad():
            self.label_layer.weight.copy_(torch.tensor([[-1.0], [1.0], [0.0]]))
            self.label_layer.bias.zero_()

    def render(self, codes: Tensor, rays: CanonicalRays) -> PriorPixels:
        along = -(rays.origins * rays.directions).sum(-1)
        square = codes[:, :1] ** 2 - (rays.origins.square().sum(-1) - along**2)
        on = square > 0
        distance = along - square.clamp_min(0).sqrt()
        color = torch.where(on[..., None], torch.tensor([1.0, 0.0, 0.0]), torch.ones(3))
        points = rays.origins + distance[..., None] * rays.directions
        features = (2.0 * on - 1.0)[..., None]
        return PriorPixels(color, distance, on.float(), points, features)

    def features(self, codes: Tensor, points: Tensor) -> Tensor:
        return torch.ones(*points.shape[:2], 1)


def half_metre(prior: ObjectPrior, views, use) -> Tensor:
    """A fit that always says the same and notes what it was given."""
    assert len(views) == 1
    return torch.tensor([0.5])


@pytest.fixture(scope="module")
def contest() -> ObjectContest:
    return ObjectContest.of("mug", range(4), TEST_SEEDS, PLAN)


def test_a_ball_is_predicted_as_a_ball(contest: ObjectContest) -> None:
    prior = Balls()
    surface = predicted_surface(prior, torch.tensor([0.5]))
    away = np.linalg.norm(surface - np.array(prior.frame.centre_m), axis=1)
    assert away == pytest.approx(0.04, abs=1e-6)  # half a unit of 8 cm
    directions = (surface - prior.frame.centre_m) / 0.04
    assert (directions.min(axis=0) < -0.95).all() and (directions.max(axis=0) > 0.95).all()
    view = predicted_views(prior, torch.tensor([0.5]), [contest.test.view(0, 4)])[0]
    assert view.color is not None and view.parts is not None
    assert ((view.color == [255, 0, 0]).all(axis=2) == (view.parts == 1)).all()
    assert set(np.unique(view.parts)) == {0, 1}


def test_every_contestant_does_every_task(contest: ObjectContest) -> None:
    rows = contest_rows(contest, {"balls": Balls()}, half_metre)
    found = {(row.task, row.contestant): row for row in rows}
    assert len(found) == len(rows) == 4 + 2 + 2 + 7
    for task in (TRAINING_VIEWS, ONE_COLOR, ONE_MASK):
        row = found[task, "balls"]
        assert 0 < row.miou < 1 and row.psnr > 5 and row.images == 4 and row.instances == 2
    surface = found[SURFACE, "balls"]
    assert 0.002 < surface.chamfer_m < 0.06
    assert surface.chamfer_m == pytest.approx((surface.accuracy_m + surface.completeness_m) / 2)
    observed = found[SURFACE, "observed points alone"]
    nearest = found[SURFACE, "nearest training instance"]
    assert nearest.completeness_m < observed.completeness_m
    # One class everywhere: background's share of the image over two or three classes.
    most = found[ONE_COLOR, "majority class"]
    background = [
        (np.asarray(contest.test.view(i, k).parts) == 0).mean()
        / len(np.unique(np.asarray(contest.test.view(i, k).parts)))
        for i in range(2)
        for k in PLAN.novel
    ]
    assert most.miou == pytest.approx(float(np.mean(background)), abs=1e-6)
    table = markdown_table(rows)
    assert table.startswith("### mug") and f"| {ONE_MASK} | balls | 0." in table
    assert len([line for line in table.splitlines() if line.startswith("|")]) == len(rows) + 2


def test_the_given_view_and_evidence_are_those_of_the_task(contest: ObjectContest) -> None:
    asked = []

    def noting(prior: ObjectPrior, views, use) -> Tensor:
        asked.append((views[0], tuple(use)))
        return torch.tensor([0.5])

    prior = Balls()
    contest.prior_rows("balls", prior, noting)
    contest.rendered_unet_rows("balls", prior, noting)  # takes the codes that were found
    assert [use for _, use in asked] == [("color",)] * 2 + [("labels",)] * 2 + [
        ("color", "depth", "mask")
    ] * 2
    given = contest.test.view(0, PLAN.given)
    assert (asked[0][0].color == given.color).all() and PLAN.given not in PLAN.novel


def test_no_test_instance_is_among_the_trained_ones(contest: ObjectContest) -> None:
    assert not set(contest.train.names) & set(contest.test.names)
    assert contest.test.seeds[0] == TEST_SEEDS[0]
    labelled_rows = {row for row, _ in contest.labelled}
    assert labelled_rows == {0, 3} and len(contest.labelled) == 4
    with pytest.raises(ValueError, match=r"test seeds that are not trained on, got \[3\]"):
        ObjectContest.of("mug", range(4), (3, 7), PLAN)


def test_seeds_come_from_the_names_of_the_training_instances() -> None:
    subject = PriorSubject(
        "mug", PART_NAMES["mug"], CATEGORY_FRAMES["mug"], ("mug-00007", "mug-00001")
    )
    sizes = DistanceSizes(geometry_dim=4, color_dim=3, width=16, layers=2, modulation_width=8)
    prior = SignedDistancePrior(SignedDistanceConfig(sizes=sizes), subject)
    assert seeds_of_prior(prior) == [7, 1]
    train = ProceduralObjects("mug", seeds_of_prior(prior))
    assert tuple(train.names) == subject.instances
    fewer = replace(subject, instances=("mug-00007",))
    short = SignedDistancePrior(SignedDistanceConfig(sizes=sizes), fewer)
    assert common_seeds([prior, short]) == [7]
    strange = replace(subject, instances=("mug-00001",))
    with pytest.raises(ValueError, match="whose first instances are the same"):
        common_seeds([prior, SignedDistancePrior(SignedDistanceConfig(sizes=sizes), strange)])
    other = replace(subject, instances=("red", "blue"))
    with pytest.raises(ValueError, match="procedural instances such as mug-00012"):
        seeds_of_prior(SignedDistancePrior(SignedDistanceConfig(sizes=sizes), other))


def test_pictures_show_the_given_view_then_all_others(contest: ObjectContest) -> None:
    truth = views_around(contest.test.model(0), 32)
    picture = one_view_picture(Balls(), torch.tensor([0.5]), truth[0], truth)
    assert picture.shape == (4 * 36 + 4, 9 * 36 + 4, 3)
    assert (picture[4:36, 4:36] == truth[0].color).all()
    assert (picture[40:72, 40:72] == truth[0].color).all()
    assert (picture[:4] == 225).all()
    camera = category_view(Balls(), 32)
    row = interpolation_picture(Balls(), torch.tensor([0.2]), torch.tensor([0.6]), camera, 3)
    reds = [
        int((row[4:36, 4 + 36 * k : 36 + 36 * k] == [255, 0, 0]).all(axis=2).sum())
        for k in range(3)
    ]
    assert 0 < reds[0] < reds[1] < reds[2]
    # 1.15 units fill the image: the camera is 2.52 away, and .6 units have a radius of 8.0 pixels.
    focal = 131.25 / 4
    radius = 0.6 / np.sqrt((1.15 / np.sin(np.arctan(16 / focal))) ** 2 - 0.36) * focal
    assert reds[2] == pytest.approx(np.pi * radius**2, rel=0.06)
    assert grid([[np.zeros((2, 3, 3), np.uint8)] * 2]).shape == (10, 18, 3)
