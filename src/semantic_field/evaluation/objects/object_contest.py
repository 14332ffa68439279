"""Priors of one category against the published baselines and the simplest alternatives.

The tasks are those of Kohli et al. (3DV 2020), and the completion of a surface: labels from 30
images on novel views of training instances; novel views of an unseen instance from one colour
view, or from one label mask; and the unseen part of the surface from one view with depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.data.objects.object_surface import surface_samples
from semantic_field.data.objects.object_views import ObjectView
from semantic_field.data.objects.procedural_objects import ProceduralObjects, ViewPlan
from semantic_field.evaluation.objects.object_view_scores import (
    PredictedView,
    score_views,
)
from semantic_field.evaluation.objects.prior_predictions import predicted_surface, predicted_views
from semantic_field.evaluation.objects.simple_object_views import (
    NearestInstance,
    majority_view,
    warped,
)
from semantic_field.evaluation.objects.unet_baseline import UNetLabels, UNetPlan
from semantic_field.evaluation.objects.unseen_surface import TrueSurface, unseen_score
from semantic_field.geometry import depth_to_world
from semantic_field.object_prior.label_layers import labelled_views
from semantic_field.object_prior.prior_model import ObjectPrior
from semantic_field.object_prior.trainable_prior import TrainablePrior

Fitter = Callable[[ObjectPrior, Sequence[ObjectView], Sequence[str]], Tensor]
Predict = Callable[[ObjectView], list[PredictedView]]
TRAINING_VIEWS, ONE_COLOR, ONE_MASK, SURFACE = (
    "labels from 30 images, novel views of training instances",
    "one colour view",
    "one label mask",
    "one view with depth: unseen surface",
)


@dataclass(frozen=True)
class ContestPlan:
    """How much is measured.

    Attributes:
        train: training instances, the first ones of the prior; of those the nearest is looked for.
        known: training instances whose novel views are labelled.
        unseen: test instances.
        turn: views of the spiral; ``given`` = the one that is given, ``novel`` = those predicted.
        size: of the images, pixels.
        labelled: instances with labels, and labelled views of each.
        surface_points: of a true surface.
        unet: training of the U-Nets.
    """

    train: int = 200
    known: int = 8
    unseen: int = 8
    turn: int = 16
    given: int = 8
    novel: tuple[int, ...] = (1, 5, 7, 10, 12, 14)
    size: int = 64
    labelled: tuple[int, int] = (10, 3)
    surface_points: int = 6000
    unet: UNetPlan = field(default_factory=UNetPlan)


@dataclass(frozen=True)
class ContestRow:
    """One contestant on one task.

    Attributes:
        category, task, contestant: what was measured.
        miou, psnr: means over images; NaN where there are none.
        chamfer_m, completeness_m, accuracy_m: of the unseen surface, means over instances, metres.
        instances, images: how many.
    """

    category: str
    task: str
    contestant: str
    miou: float = float("nan")
    psnr: float = float("nan")
    chamfer_m: float = float("nan")
    completeness_m: float = float("nan")
    accuracy_m: float = float("nan")
    instances: int = 0
    images: int = 0


@dataclass
class ObjectContest:
    """The contest of a category.

    Attributes:
        train, test: its instances, seen along the same spiral; no seed is in both.
        labelled: the labelled images and the rows of their instances in ``train``.
        plan: how much is measured.
    """

    train: ProceduralObjects
    test: ProceduralObjects
    labelled: list[tuple[int, ObjectView]]
    plan: ContestPlan = field(default_factory=ContestPlan)
    _codes: dict[tuple, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        category: str,
        train_seeds: Sequence[int],
        test_seeds: Sequence[int],
        plan: ContestPlan | None = None,
    ) -> ObjectContest:
        """Return the contest of a category's training and test objects.

        Raises:
            ValueError: if an instance is in both.
        """
        plan = plan or ContestPlan()
        both = set(train_seeds) & set(test_seeds)
        if both:
            raise ValueError(
                f"expected test seeds that are not trained on, got {sorted(both)[:5]} in both: "
                "choose them from TEST_SEEDS"
            )
        spiral = ViewPlan(plan.turn, plan.size, spiral=True)
        train = ProceduralObjects(category, list(train_seeds)[: plan.train], spiral)
        test = ProceduralObjects(category, list(test_seeds)[: plan.unseen], spiral)
        usual = ProceduralObjects(category, train_seeds, ViewPlan(plan.labelled[1], plan.size))
        return cls(train, test, labelled_views(usual, *plan.labelled), plan)

    @property
    def category(self) -> str:
        """The category's name."""
        return self.train.category

    def _labels(self) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
        views = [view for _, view in self.labelled]
        return [v.color for v in views], [v.parts for v in views if v.parts is not None]

    def known_instances(self) -> list[int]:
        """Return the rows of the training instances whose novel views are labelled."""
        count = min(self.plan.known, len(self.train.names))
        return np.linspace(0, len(self.train.names) - 1, count).round().astype(int).tolist()

    def _score_views(
        self,
        task: str,
        contestant: str,
        objects: ProceduralObjects,
        instances: Sequence[int],
        predict: Callable[[int], list[PredictedView]],
    ) -> ContestRow:
        truth, guesses = [], []
        for instance in instances:
            truth += [objects.view(instance, index) for index in self.plan.novel]
            guesses += predict(instance)
        found = score_views(self.train.part_names, truth, guesses)
        return ContestRow(
            self.category,
            task,
            contestant,
            miou=found.miou,
            psnr=found.psnr,
            instances=len(instances),
            images=found.images,
        )

    def _score_surfaces(
        self, contestant: str, surface: Callable[[int], NDArray[np.float64]]
    ) -> ContestRow:
        scores = []
        for instance in range(len(self.test.names)):
            pose = self.test.view(instance, self.plan.given).T_object_camera
            truth = TrueSurface.of(self.test.model(instance), pose, self.plan.surface_points)
            scores.append(unseen_score(truth, surface(instance)))
        return ContestRow(
            self.category,
            SURFACE,
            contestant,
            chamfer_m=float(np.mean([score.chamfer_m for score in scores])),
            completeness_m=float(np.mean([score.completeness_m for score in scores])),
            accuracy_m=float(np.mean([score.accuracy_m for score in scores])),
            instances=len(scores),
        )

    def prior_rows(self, name: str, prior: ObjectPrior, fit: Fitter) -> list[ContestRow]:
        """Return the rows of a prior, whose label layer is fitted, on all tasks.

        Args:
            fit: the code for some views of an object by some evidence ("color", "labels", ...).
        """
        rows = [self._known_row(name, prior)]
        for task, use in ((ONE_COLOR, ("color",)), (ONE_MASK, ("labels",))):
            rows.append(self._fitted_row(task, name, prior, fit, use))

        def surface(instance: int) -> NDArray[np.float64]:
            code = self._code(instance, prior, fit, ("color", "depth", "mask"))
            return predicted_surface(prior, code)

        return [*rows, self._score_surfaces(name, surface)]

    def _known_row(self, name: str, prior: ObjectPrior) -> ContestRow:
        codes = prior.codes.weight.detach()

        def predict(instance: int) -> list[PredictedView]:
            return predicted_views(prior, codes[instance], self._novel(self.train, instance))

        instances = self.known_instances()
        return self._score_views(TRAINING_VIEWS, name, self.train, instances, predict)

    def _fitted_row(
        self, task: str, name: str, prior: ObjectPrior, fit: Fitter, use: Sequence[str]
    ) -> ContestRow:
        def predict(instance: int) -> list[PredictedView]:
            code = self._code(instance, prior, fit, use)
            return predicted_views(prior, code, self._novel(self.test, instance))

        every = range(len(self.test.names))
        return self._score_views(task, name, self.test, every, predict)

    def _code(self, instance: int, prior: ObjectPrior, fit: Fitter, use: Sequence[str]) -> Tensor:
        """Return the code for the given view of a test instance; found once for all rows."""
        key = prior, fit, instance, tuple(use)
        if key not in self._codes:
            given = self.test.view(instance, self.plan.given)
            self._codes[key] = fit(prior, [given], use).detach()
        return self._codes[key]

    def _novel(self, objects: ProceduralObjects, instance: int) -> list[ObjectView]:
        return [objects.view(instance, index) for index in self.plan.novel]

    def unet_rows(self) -> list[ContestRow]:
        """Return the rows of the U-Net that is given the true colour of each novel view."""
        unet = UNetLabels(*self._labels(), len(self.train.part_names) + 1, self.plan.unet)

        def labels_of(objects: ProceduralObjects) -> Callable[[int], list[PredictedView]]:
            def predict(instance: int) -> list[PredictedView]:
                colors = [view.color for view in self._novel(objects, instance)]
                return [PredictedView(parts=parts) for parts in unet(colors)]

            return predict

        name, every = "U-Net on true colour", range(len(self.test.names))
        known = self.known_instances()
        return [
            self._score_views(TRAINING_VIEWS, name, self.train, known, labels_of(self.train)),
            self._score_views(ONE_COLOR, name, self.test, every, labels_of(self.test)),
        ]

    def rendered_unet_rows(self, name: str, prior: ObjectPrior, fit: Fitter) -> list[ContestRow]:
        """Return the rows of a U-Net on a prior's renderings, in training and in use."""
        codes = prior.codes.weight.detach()
        colors = [
            colored(predicted_views(prior, codes[row], [view])[0]) for row, view in self.labelled
        ]
        parts = self._labels()[1]
        unet = UNetLabels(colors, parts, len(self.train.part_names) + 1, self.plan.unet)

        def labelled(code: Tensor, views: list[ObjectView]) -> list[PredictedView]:
            rendered = [colored(guess) for guess in predicted_views(prior, code, views)]
            return [PredictedView(c, p) for c, p in zip(rendered, unet(rendered))]

        def known(instance: int) -> list[PredictedView]:
            return labelled(codes[instance], self._novel(self.train, instance))

        def unseen(instance: int) -> list[PredictedView]:
            code = self._code(instance, prior, fit, ("color",))
            return labelled(code, self._novel(self.test, instance))

        contestant, every = f"U-Net on renderings of {name}", range(len(self.test.names))
        return [
            self._score_views(
                TRAINING_VIEWS, contestant, self.train, self.known_instances(), known
            ),
            self._score_views(ONE_COLOR, contestant, self.test, every, unseen),
        ]

    def simple_rows(self) -> list[ContestRow]:
        """Return the rows of the nearest instance, the warped view, and the majority class."""
        plan, test, every = self.plan, self.test, range(len(self.test.names))
        nearest = NearestInstance(self.train)
        most = majority_view([view for _, view in self.labelled])

        def like(instance: int, by_labels: bool) -> int:
            return nearest.find(test.view(instance, plan.given), plan.given, by_labels)

        def others(by_labels: bool) -> Callable[[int], list[PredictedView]]:
            return lambda instance: nearest.views(like(instance, by_labels), plan.novel)

        def moved(instance: int) -> list[PredictedView]:
            given = test.view(instance, plan.given)
            return [warped(given, view) for view in self._novel(test, instance)]

        def all_alike(instance: int) -> list[PredictedView]:
            return [most] * len(plan.novel)

        def surface_of_other(instance: int) -> NDArray[np.float64]:
            model = self.train.model(like(instance, False))
            return surface_samples(model, plan.surface_points, np.random.default_rng(1)).points

        def observed(instance: int) -> NDArray[np.float64]:
            view = test.view(instance, plan.given)
            depth = np.asarray(view.depth)
            points = depth_to_world(depth, view.camera, view.T_object_camera, depth > 0)
            return np.asarray(points, np.float64)

        known = self.known_instances()
        return [
            self._score_views(TRAINING_VIEWS, "majority class", self.train, known, all_alike),
            self._score_views(ONE_COLOR, "nearest training instance", test, every, others(False)),
            self._score_views(ONE_COLOR, "view warped by its depth", test, every, moved),
            self._score_views(ONE_COLOR, "majority class", test, every, all_alike),
            self._score_views(ONE_MASK, "nearest training instance", test, every, others(True)),
            self._score_surfaces("nearest training instance", surface_of_other),
            self._score_surfaces("observed points alone", observed),
        ]


def colored(guess: PredictedView) -> NDArray[np.uint8]:
    """Return the colours of a prediction that has some."""
    assert guess.color is not None
    return guess.color


def contest_rows(
    contest: ObjectContest, priors: Mapping[str, ObjectPrior], fit: Fitter
) -> list[ContestRow]:
    """Return all rows of a contest; the first prior is the one whose renderings a U-Net labels."""
    rows = []
    for name, prior in priors.items():
        rows += contest.prior_rows(name, prior, fit)
    rows += contest.unet_rows()
    for name in list(priors)[:1]:
        rows += contest.rendered_unet_rows(name, priors[name], fit)
    return rows + contest.simple_rows()


def seeds_of_prior(prior: TrainablePrior) -> list[int]:
    """Return the seeds of a prior's procedural training instances, in the order of its codes.

    Raises:
        ValueError: if they are no procedural objects.
    """
    names = prior.subject.instances
    seeds = [name.rpartition("-")[2] for name in names]
    if not all(seed.isdigit() for seed in seeds):
        raise ValueError(
            f"expected procedural instances such as {prior.category}-00012, got {names[:3]}: the "
            "contest needs a prior that was trained on those"
        )
    return [int(seed) for seed in seeds]


def common_seeds(priors: Sequence[TrainablePrior]) -> list[int]:
    """Return the seeds that all priors were trained on, the first ones of each of them.

    Raises:
        ValueError: if row i of their codes is not the same object in all.
    """
    every = [seeds_of_prior(prior) for prior in priors]
    shared = min(every, key=len)
    if any(seeds[: len(shared)] != shared for seeds in every):
        raise ValueError(
            f"expected priors of one category whose first instances are the same, got "
            f"{[seeds[:3] for seeds in every]}: train them on seeds that begin alike"
        )
    return shared
