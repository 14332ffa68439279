"""Seconds of a view from source frames, of a frame's features, and of the first answer.

    python benchmarks/generalizable.py ../shared/data/house/bedroom --weights gsnerf

Views are 320x240 with labels, from K = 4 or 8 source frames of a pool of 32, N samples a ray. The
first answer is a new pool: the features of K = 4 frames, and a view. All run in turns within one
process, beside the reprojection of the same source frames and a map's blending of them by set
rules; "times the reprojection" is the ratio of the medians of wall time. Other work on the machine
changes it more than that of processor time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, replace

import torch
from common import interleave, write_results

from semantic_field.data.sources import FrameSource, open_source
from semantic_field.evaluation.generalizable.methods import (
    hand_set,
    pool_of,
    reprojection,
    with_samples,
)
from semantic_field.evaluation.protocols.view_sources import SourceFrames
from semantic_field.frames import Frame
from semantic_field.generalizable.frame_pool import FramePool
from semantic_field.generalizable.generalizable_model import GeneralizableModel
from semantic_field.generalizable.predictor import Predictor, ViewSettings
from semantic_field.generalizable.training.weight_files import load_model

WIDTH, SAMPLES, POOL = 320, 4, 32
CASES = (4, SAMPLES), (8, SAMPLES)  # K and N of the views


def pooled(source: FrameSource) -> list[Frame]:
    """Up to ``POOL`` frames of a recording, every fifth one, at the size of the views."""
    return [source[i].no_wider_than(WIDTH) for i in range(0, len(source), 5)][:POOL]


def filled(
    model: GeneralizableModel, frames: list[Frame], views: int, samples: int = SAMPLES
) -> Predictor:
    """A predictor that knows the frames."""
    pool = FramePool(most=POOL, width=WIDTH)
    predictor = Predictor(with_samples(model, samples), pool, ViewSettings(views=views))
    for frame in frames:
        predictor.add(frame)
    return predictor


def cases(
    model: GeneralizableModel, frames: list[Frame], target: Frame, samples: list[int]
) -> dict[str, Callable[[], object]]:
    """The reprojection first; all others are compared with it."""
    pool, found = pool_of(frames), {}
    for views in (4, 8):
        settings = SourceFrames(views=views, samples=SAMPLES)
        for name, method in (("reprojection", reprojection), ("hand-set weights", hand_set)):
            predict = method(pool, settings)
            found[f"{name}, K = {views}"] = lambda predict=predict: predict(target)
    for views, count in (*CASES, *((8, number) for number in samples)):
        predictor = filled(model, frames, views, count)
        found[f"view, K = {views}, N = {count}"] = lambda predictor=predictor: predictor.render(
            target.camera, target.T_world_camera
        )
    fresh = filled(model, frames, 4)
    found["features of a frame"] = lambda: fresh.add(frames[0])
    near = frames[:4]

    def first_answer() -> None:
        filled(model, near, 4).render(near[0].camera, near[0].T_world_camera)

    found["first answer, K = 4"] = first_answer
    follower = filled(model, frames, 4)
    for frame in frames[:2]:
        follower.hear(frame)
    unlabelled = replace(target, labels=None)
    found["labels of an image in follow mode"] = lambda: follower.follow(unlabelled)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", nargs="?", default="room:seed=3,frames=60", help="recording")
    parser.add_argument("--weights", nargs="+", default=["gsnerf", "gp_nerf"])
    parser.add_argument(
        "--samples", type=int, nargs="*", default=[16], help="further N, with K = 8: 128 is slow"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = open_source(options.input)
    frames, target = pooled(source), source[2].no_wider_than(WIDTH)
    rows = []
    for weights in options.weights:
        timings = interleave(
            cases(load_model(weights), frames, target, options.samples), options.rounds
        )
        for timing in timings:
            row = asdict(timing) | {"name": f"{weights}: {timing.name}"}
            row["times the reprojection"] = row.pop("ratio")
            row["the same, processor time"] = timing.cpu_s / timings[0].cpu_s
            rows.append(row)
    for row in rows:
        print(
            f"{row['name']:40} {row['wall_s']:8.4f} s wall {row['cpu_s']:8.4f} s processor "
            f"{row['times the reprojection']:7.2f} {row['the same, processor time']:7.2f}"
        )
    print("results in", write_results("generalizable", rows))


if __name__ == "__main__":
    main()
