"""How fast and how far a click corrects the map while a stream goes on.

    python benchmarks/corrections.py ../shared/data/house/living --frames 80

The recording is mapped at 5 Hz; half of it lets the stream call one class by a wrong name, or has
no labels at all (``--silent``). Then, for each of a few objects, a click on it names it rightly,
the stream goes on, and the labels of the surface are compared with the true instances: the share
of the object's points that have the new name, and the points beside it that have it wrongly, as a
share of the object. At the end the annotation is taken back. Seconds are of processor time,
divided by the threads. Prints one line of JSON for each object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.config import Config
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.field.description import describe
from semantic_field.frames import Frame
from semantic_field.geometry import transform_points
from semantic_field.mapping import Mapper
from semantic_field.mapping.corrections.claims import surface_within
from semantic_field.mapping.corrections.pointing import Point
from semantic_field.settings import updated
from semantic_field.teachers import make_language_teacher

RATE_HZ = 5.0
NEW_NAME = "wardrobe"  # a name that the recording does not have
STRUCTURE = ("wall", "floor", "ceiling", "void", "door", "window")
MARGIN_M = 0.6


class Stream:
    """The recording at 5 Hz, in processor time."""

    def __init__(self, mapper: Mapper, source: FrameSource, silent: bool) -> None:
        self._mapper, self._source, self._silent = mapper, source, silent
        self.index = 0

    def frame(self, index: int) -> Frame:
        frame = self._source[index % len(self._source)]
        return replace(frame, labels=None) if self._silent else frame

    def run(self, seconds: float) -> float:
        """Map for so long; returns the seconds taken."""
        begin, next_frame = clock(), 0.0
        while (now := clock() - begin) < seconds:
            if now >= next_frame:
                self._mapper.add_frame(self.frame(self.index))
                self.index += 1
                next_frame += 1 / RATE_HZ
            self._mapper.train_steps(2)
        return clock() - begin


def clock() -> float:
    return time.process_time() / 2


def true_surface(source: FrameSource, frames: int) -> tuple[NDArray, NDArray]:
    """Points (N, 3) of the recording's depth images and the instance of each."""
    points, instances = [], []
    for index in range(0, frames, 2):
        frame = source[index]
        part = np.s_[::4, ::4]
        seen = frame.depth[part] > 0
        local = frame.camera.backproject(frame.depth)[part][seen]
        points.append(transform_points(frame.T_world_camera, local).astype(np.float32))
        assert frame.instances is not None
        instances.append(frame.instances[part][seen])
    return np.concatenate(points), np.concatenate(instances)


def click_on(points: NDArray, tree: KDTree, instances: NDArray, wanted: int) -> NDArray:
    """A point in the middle of an object, beside which there is nothing else."""
    order = np.argsort(np.linalg.norm(points - np.median(points, axis=0), axis=1))
    for point in points[order[::5]]:
        if (instances[tree.query_ball_point(point, 0.05)] == wanted).all():
            return point
    return points[order[0]]


def correct(mapper: Mapper, stream: Stream, object_points: NDArray, truth: tuple) -> dict:
    """Click on the middle of an object, go on for four seconds, and take it back."""
    tree, instances, wanted = truth
    middle = click_on(object_points, tree, instances, wanted)
    low, high = object_points.min(0) - MARGIN_M, object_points.max(0) + MARGIN_M
    state = mapper.snapshot()
    surface = surface_within(state, low, high, 0.03)
    apart, nearest = tree.query(surface.xyz)
    inside = (apart < 0.03) & (instances[nearest] == wanted)
    outside = (apart < 0.03) & (instances[nearest] != wanted)
    begin = clock()
    answer = mapper.annotate(NEW_NAME, Point(middle))
    took = clock() - begin
    (class_id,) = np.unique(answer.annotation.class_ids)
    curve = []
    for pause in (0.25, 0.25, 0.5, 0.5, 0.5, 2.0):
        took += stream.run(pause)
        named = describe(mapper.snapshot(), surface.xyz, False).label == class_id
        curve.append(
            {
                "s": round(took, 2),
                "object": round(float(named[inside].mean()), 3),
                "beside": round(float((named & outside).sum() / inside.sum()), 3),
            }
        )
    before = surface.label[inside]
    mapper.forget()
    back = []
    for _ in range(3):
        stream.run(1.0)
        label = describe(mapper.snapshot(), surface.xyz, False).label[inside]
        back.append(
            [round(float((label == class_id).mean()), 3), round(float((label == before).mean()), 3)]
        )
    return {"points": int(inside.sum()), "curve": curve, "after_forget_1_2_3_s": back}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", help="recording with instances")
    parser.add_argument("--frames", type=int, default=80, help="mapped before the click")
    parser.add_argument("--silent", action="store_true", help="a stream without labels")
    parser.add_argument("--objects", type=int, nargs="*", help="instances; else one of each class")
    parser.add_argument("--map", type=Path, help="kept here, and used again")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = (item.partition("=") for item in options.set)
    config = updated(Config(), {name: json.loads(value) for name, _, value in pairs})
    source = open_source(options.input)
    teacher = make_language_teacher(config.teacher)
    points, instances = true_surface(source, options.frames)
    tree = KDTree(points)
    with tempfile.TemporaryDirectory() as folder:
        path = options.map or Path(folder) / "map.safetensors"
        if not path.exists():
            mapper = Mapper(config, teacher)
            if not options.silent:
                mapper.set_label_names(source.label_names)
            stream = Stream(mapper, source, options.silent)
            mapper.add_frame(stream.frame(0))
            mapper.train_steps(1)
            stream.run(options.frames / RATE_HZ)
            mapper.save(path)
        for wanted in options.objects or []:
            mapper = Mapper(config, teacher)
            mapper.load(path)
            stream = Stream(mapper, source, options.silent)
            stream.index = options.frames
            result = correct(mapper, stream, points[instances == wanted], (tree, instances, wanted))
            print(json.dumps({"instance": wanted} | result), flush=True)


if __name__ == "__main__":
    main()
