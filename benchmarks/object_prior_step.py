"""Processor time of a training step of Semantic SRN at the published size, and of the plain one.

    python benchmarks/object_prior_step.py [--rounds 5] [--config semantic_srn] [--side 64]

One step: 4 views of 64x64 pixels, forwards, backwards and the optimisers. Both take turns in one
process and on one thread. "plain" is float32 with torch's own gradients and Adam, as the released
code computes it (without its logging, which it does besides). U is one float32 product of two
1024x1024 matrices, measured between the steps: it compares machines.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch
from common import interleave, write_results

from semantic_field.data.objects.procedural_objects import ProceduralObjects, ViewPlan
from semantic_field.generalizable.training.train_commands import config_file
from semantic_field.object_prior.published.semantic_srn import SemanticSRN
from semantic_field.object_prior.trainable_prior import PriorSubject, TrainingObjects
from semantic_field.object_prior.training.image_batches import ImageBatch, ImageBatches, Stage
from semantic_field.object_prior.training.joint_optimizer import JointOptimizer
from semantic_field.object_prior.training.prior_files import build_prior
from semantic_field.object_prior.training.prior_settings import PriorConfig, read_prior_config

BATCH, INSTANCES, VIEWS = 4, 4, 4
PLAIN, OURS = "plain float32", "ours, bfloat16 products"
RELEASED_CPU_S, RELEASED_U_S = 3.9, 0.0205  # measured once elsewhere: the released code, and U


def stepper(config: PriorConfig, kind: str, batch: ImageBatch) -> Callable[[], None]:
    torch.manual_seed(0)
    objects = chairs(64)
    prior = build_prior({**config.model, "products": kind}, PriorSubject.of(objects))
    assert isinstance(prior, SemanticSRN)
    optimizers = prior.optimizers(config.training)
    if kind == "float32":
        own = optimizers[0].param_groups[0]["params"]
        optimizers = [torch.optim.Adam(own, config.training.learning_rate), *optimizers[1:]]
    joint = JointOptimizer(optimizers)

    def step() -> None:
        joint.zero_grad()
        terms = prior.losses(batch)
        torch.stack(list(terms.values())).sum().backward()
        joint.step()

    return step


def chairs(side: int) -> ProceduralObjects:
    return ProceduralObjects("chair", range(INSTANCES), ViewPlan(count=VIEWS, size=side))


def measure(config: PriorConfig, side: int, rounds: int) -> list[dict[str, float | str]]:
    torch.set_num_threads(1)
    data = TrainingObjects(chairs(side), VIEWS)
    batch = ImageBatches(data, (Stage(side, BATCH, 1),), seed=0)(0)
    left, right = torch.randn(2, 1024, 1024)
    alternatives = {
        PLAIN: stepper(config, "float32", batch),
        OURS: stepper(config, "bfloat16", batch),
        "U": lambda: torch.mm(left, right),
    }
    timings = {t.name: t for t in interleave(alternatives, rounds, warm_up=1)}
    unit, plain = timings["U"].cpu_s, timings[PLAIN].cpu_s
    return [
        {
            "name": f"{name}, {BATCH}x{side}x{side}",
            "CPU-s": round(timing.cpu_s, 3),
            "in U": round(timing.cpu_s / unit, 1),
            "faster than plain": round(plain / timing.cpu_s, 2),
            "faster than released, by U": round(
                RELEASED_CPU_S / RELEASED_U_S / (timing.cpu_s / unit), 2
            ),
            "spread": round(timing.spread, 3),
        }
        for name, timing in timings.items()
        if name != "U"
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--config", default="semantic_srn")
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    config = read_prior_config(config_file(options.config))
    entries = measure(config, options.side, options.rounds)
    for entry in entries:
        sys.stdout.write(f"{entry}\n")
    sys.stdout.write(f"results: {write_results('object prior step', entries)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
