"""Object priors against the published baselines and the simplest alternatives, on test objects.

    python benchmarks/object_prior.py --categories chair table
    python benchmarks/object_prior.py --weights chair.safetensors --pictures docs/images

Procedural objects, 64x64 unless --size says otherwise; test instances are seeds from 10000 on,
which no training uses. Labels come from 30 images (views 0, 1, 2 of 10 training instances); mIoU is
the mean over images of the mean over classes in truth or prediction, background included; novel
views are six of a spiral of 16, the given view is another one. Chamfer: mean of both directions
between the predicted surface and the true surface that the given view does not see, metres. With
--published a prior of the published form is measured in the same table.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import torch
from common import RESULTS, write_results
from torch import Tensor

from semantic_field.data.objects.object_views import ObjectView
from semantic_field.data.objects.procedural_objects import TEST_SEEDS, make_object
from semantic_field.evaluation.objects.contest_table import markdown_table
from semantic_field.evaluation.objects.object_contest import (
    ContestPlan,
    ContestRow,
    ObjectContest,
    common_seeds,
    contest_rows,
)
from semantic_field.evaluation.objects.object_pictures import (
    category_view,
    interpolation_picture,
    one_view_picture,
    views_around,
)
from semantic_field.object_prior.code_fitting import FitOptions, fit_code
from semantic_field.object_prior.prior_model import ObjectPrior
from semantic_field.object_prior.trainable_prior import TrainablePrior
from semantic_field.object_prior.training.prior_files import load_prior

PICTURE_SIZE = 128


def fitter(steps: int, restarts: int):
    """The fitting function of a contest."""
    options = replace(FitOptions(), steps=steps, restarts=restarts)

    def fit(prior: ObjectPrior, views: Sequence[ObjectView], use: Sequence[str]) -> Tensor:
        return fit_code(prior, views, use, options).code

    return fit


def measured(priors: dict[str, TrainablePrior], plan: ContestPlan, fit) -> list[ContestRow]:
    """The rows of one category's priors, on the training instances that all of them know."""
    seeds = common_seeds(list(priors.values()))
    category = next(iter(priors.values())).category
    contest = ObjectContest.of(category, seeds, TEST_SEEDS, plan)
    return contest_rows(contest, priors, fit)


def write_pictures(prior: TrainablePrior, fit, folder: Path) -> None:
    """One view of a test object to eight views with labels, and between two training objects."""
    model = make_object(prior.category, TEST_SEEDS[1])
    truth = views_around(model, PICTURE_SIZE)
    code = fit(prior, [truth[0]], ("color",))
    first, second = prior.codes.weight.detach()[0], prior.codes.weight.detach()[1]
    camera = category_view(prior, PICTURE_SIZE)
    pictures = {
        "one_view": one_view_picture(prior, code, truth[0], truth),
        "interpolation": interpolation_picture(prior, first, second, camera),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        path = folder / f"object_{prior.category}_{name}.png"
        cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]))
        print(path)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Object priors against baselines")
    parser.add_argument("--categories", nargs="+", default=["chair", "table"])
    parser.add_argument("--weights", nargs="+", default=[], help="files in place of shipped priors")
    parser.add_argument("--published", nargs="*", default=[], help="files of the published form")
    parser.add_argument("--unseen", type=int, default=8, help="test instances of each category")
    parser.add_argument("--known", type=int, default=8, help="training instances, novel views")
    parser.add_argument("--train", type=int, default=200, help="instances: the nearest is sought")
    parser.add_argument("--steps", type=int, default=FitOptions().steps, help="of a fit")
    parser.add_argument("--restarts", type=int, default=FitOptions().restarts, help="of a fit")
    parser.add_argument("--size", type=int, default=64, help="side of the images, pixels")
    parser.add_argument("--pictures", type=Path, help="folder for pictures")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    return parser.parse_args()


def main() -> int:
    """Measure, print and write."""
    given = arguments()
    torch.set_num_threads(1)
    own = [load_prior(name) for name in given.weights or given.categories]
    published = {prior.category: prior for prior in map(load_prior, given.published)}
    counts = {name: getattr(given, name) for name in ("unseen", "known", "train", "size")}
    plan = replace(ContestPlan(), **counts)
    fit, rows = fitter(given.steps, given.restarts), []
    for prior in own:
        began = time.process_time()
        priors = {"signed distances": prior}
        if prior.category in published:
            priors["published form"] = published[prior.category]
        rows += measured(priors, plan, fit)
        print(f"{prior.category}: {time.process_time() - began:.0f} s of processor time")
        if given.pictures:
            write_pictures(prior, fit, given.pictures)
    table = markdown_table(rows)
    print(table)
    entries = [{"name": f"{r.category}: {r.task}: {r.contestant}", **asdict(r)} for r in rows]
    path = write_results("object_prior", entries, given.results)
    path.with_name(f"{date.today().isoformat()}-object-prior.md").write_text(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
