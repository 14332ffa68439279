"""All of the GPU's figures in one run: kernels, training step, stream, view, query, quality.

    python benchmarks/gpu.py [--check] [--input room:frames=60] [--seconds 60] [--no-results]

Where torch finds no GPU this says so and measures nothing. With ``--check`` the tests that hold the
GPU's results against plain ones run first; both together are made for less than eight minutes.
Times of the device are those between two events on it; times of whole calls are wall clock, with
the device waited for. Results go into ``results/`` beside those of other benchmarks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import write_results
from kernels import coherent_points, make_cases, on_gpu, replayed
from mapping import HELD_OUT_EVERY, evaluate

from semantic_field.config import Config, GridConfig
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.field.map_state import LanguageSpace
from semantic_field.field.model import shape_of
from semantic_field.field.views.source_views import VIEWS
from semantic_field.frames import Frame
from semantic_field.geometry import moved
from semantic_field.mapping import Mapper
from semantic_field.mapping.corrections.pointing import Pixel
from semantic_field.query.interpretation import Interpretation, TextSet
from semantic_field.query.latent_index import LatentIndex
from semantic_field.settings import updated
from semantic_field.teachers.image_teachers import ImageTargets
from semantic_field.teachers.language import Calibration

WARM_UP_STEPS = 64
RAYS = (2048, 1 << 15)  # of the kernels: those of a step, and what fills the device
SAMPLES = 11
THREADS = max(2, min(8, (os.cpu_count() or 2) // 2))  # of the host, which takes in keyframes
CHECKS = (
    "test_kernels_triton", "test_mapping_device_step", "test_mapping_device_options",
    "test_field_device_rendering", "test_device_views", "test_renderer", "test_annotations",
)  # fmt: skip
OPTIONS: dict[str, dict[str, object]] = {
    "refined poses": {"mapping.refine_poses": "on"},
    "adapted exposures": {"mapping.adapt_exposure": "on"},
    "language of images": {"language.source": "images", "language.enhance_from": 100},
}
EMBEDDING_DIM = 128
Entry = dict[str, Any]


class RandomTeacher:
    """Any text has an embedding, at random: as much work as a real one's."""

    dim, fingerprint = EMBEDDING_DIM, "random"

    def knows(self, text: str) -> bool:
        return True

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        seeds = (int.from_bytes(text.encode()[-4:], "little") for text in texts)
        drawn = [torch.randn(self.dim, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return torch.nn.functional.normalize(torch.stack(drawn), dim=1)


def seconds_of(call: Callable[[], object], rounds: int = 20) -> float:
    """Median wall time of a call, the device waited for before and after."""
    times = []
    for turn in range(-3, rounds):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if turn >= 0:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def kernel_entries(rays: int) -> list[Entry]:
    """Each operation of each implementation, replayed from a graph, in milliseconds."""
    shape = shape_of(GridConfig())
    cases = make_cases("cuda", shape, coherent_points(rays, SAMPLES).cuda())
    entries, points = [], rays * SAMPLES
    for label, case in cases.items():
        for name, operation in case.operations().items():
            measured = replayed(operation) if label.startswith("cuda") else operation
            milliseconds = on_gpu(measured, 1 if label == "reference" else 5)
            entries.append({"name": f"{name}, {label}", "points": points, "ms": milliseconds})
    return entries


def new_mapper(source: FrameSource, **settings: object) -> Mapper:
    config = updated(Config(), {"mapping.device": "cuda", "mapping.threads": THREADS, **settings})
    from_images = config.language.source == "images"
    mapper = Mapper(config, RandomTeacher() if from_images else None)
    mapper.set_label_names(source.label_names)
    return mapper


def training_frames(source: FrameSource) -> list[Frame]:
    return [source[i] for i in range(len(source)) if i % HELD_OUT_EVERY]


def step_entry(mapper: Mapper, steps: int = 2000) -> Entry:
    """Captured steps one after the other."""
    mapper.train_steps(WARM_UP_STEPS)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    mapper.train_steps(steps)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    rays = mapper.config.mapping.rays_per_step
    return {
        "name": "training step",
        "rays": rays,
        "ms": 1e3 * seconds / steps,
        "rays_per_s": rays * steps / seconds,
    }


def option_entries(source: FrameSource, frames: list[Frame], steps: int = 400) -> list[Entry]:
    """Steps with what people have said, and with each option that draws rays on the processor."""
    mapper = new_mapper(source, **{"mapping.annotation_rays": 1e12})
    for frame in frames:
        mapper.add_frame(frame)
    mapper.train_steps(WARM_UP_STEPS)
    camera = frames[-1].camera
    mapper.annotate("thing", Pixel(camera.width // 2, camera.height // 2, frames[-1].stamp_ns))
    entries = [step_entry(mapper, steps) | {"name": "training step, fresh annotation"}]
    mapper.set_config(updated(mapper.config, {"mapping.annotation_rays": 0.0}))
    mapper.forget()
    mapper.annotate("thing", Pixel(camera.width // 2, camera.height // 2, frames[-1].stamp_ns))
    entries.append(step_entry(mapper, steps) | {"name": "training step, old annotation"})
    for name, settings in OPTIONS.items():
        mapper = new_mapper(source, **settings)
        for frame in frames:
            if mapper.add_frame(frame) and mapper.config.language.source == "images":
                embedding = torch.randn(3, 24, 32, EMBEDDING_DIM)
                mapper.add_image_targets(frame.stamp_ns, ImageTargets(embedding))
        mapper.train_steps(300)  # poses are refined from then on
        entries.append(step_entry(mapper, steps) | {"name": f"training step, {name}"})
    return entries


def check() -> None:
    """Run the tests that hold the GPU's results against plain ones.

    Raises:
        subprocess.CalledProcessError: where one of them fails.
    """
    root = Path(__file__).resolve().parents[1]
    files = [f"test/unit/{name}.py" for name in CHECKS]
    subprocess.run([sys.executable, "-m", "pytest", "-q", *files], cwd=root, check=True)


def stream_entry(source: FrameSource, frames: list[Frame], steps_between: int = 10) -> Entry:
    """Keyframes taken with some steps after each: how many a second."""
    mapper = new_mapper(source, **{"mapping.keyframe_translation_m": 0.0})
    mapper.add_frame(frames[0])
    mapper.train_steps(WARM_UP_STEPS)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for frame in frames[1:]:
        mapper.add_frame(frame)
        mapper.train_steps(steps_between)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    camera = frames[0].camera
    return {
        "name": f"stream of {camera.width}x{camera.height} keyframes",
        "steps_between": steps_between,
        "host_threads": THREADS,
        "keyframes_per_s": (len(frames) - 1) / seconds,
    }


def view_entries(mapper: Mapper, frame: Frame) -> list[Entry]:
    """A view of the unchanged map, and one that a training step came before."""

    def view() -> object:
        return mapper.render(frame.camera, frame.T_world_camera)

    def changed() -> object:
        mapper.train_steps(1)
        return view()

    size = f"{frame.camera.width}x{frame.camera.height}"
    return [
        {"name": f"view {size}, map unchanged", "ms": 1e3 * seconds_of(view)},
        *image_entries(mapper, frame, f"view {size}"),
        {"name": f"view {size}, map just changed", "ms": 1e3 * seconds_of(changed)},
    ]


def image_entries(mapper: Mapper, frame: Frame, name: str) -> list[Entry]:
    """What the keyframes' images cost a view of the unchanged map beside the field alone.

    The view is .1 m off the frame's place, so that its pixels are between those of the keyframes.
    """
    pose = moved(frame.T_world_camera, np.array([0.1, 0.0, 0.05]))
    renderer = mapper.renderer()
    times = {
        kind: 1e3 * seconds_of(lambda r=renderer: r.render(frame.camera, pose))
        for kind, renderer in (("field", renderer.field_only()), ("images", renderer))
    }
    keyframes = mapper.live_map.keyframes
    return [
        {"name": f"{name}, field alone", "ms": times["field"]},
        {
            "name": f"{name}, added by {VIEWS} keyframes' images",
            "of_keyframes": 0 if keyframes is None else keyframes.count,
            "ms": times["images"] - times["field"],
        },
    ]


def query_entry(points: int = 1_000_000, dim: int = 64) -> Entry:
    """Relevancy of float16 latents to one text with four negatives, result on the host."""
    random = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(384, dim, generator=random)).Q
    space = LanguageSpace(basis, torch.zeros(384), dim, "benchmark")
    limits = Calibration(torch.zeros(384), 0.6, 0.8, 0.4, 0.1, 20.0)
    texts = torch.nn.functional.normalize(torch.randn(6, 384, generator=random), dim=1)
    meaning = Interpretation("q", texts[:1], texts[:1], torch.ones(1), torch.zeros(0), 0.9, "a")
    latent = np.random.default_rng(0).normal(size=(points, dim)).astype(np.float16)
    index = LatentIndex(latent, space, limits, device="cuda")
    question = TextSet(meaning, texts[1:5])
    seconds = seconds_of(lambda: index.relevancy([question]))
    return {"name": f"query over {points} points x {dim}", "ms": 1e3 * seconds}


def quality_entry(source: FrameSource, seconds: float) -> Entry:
    """Held-out views after so many seconds on all other frames."""
    mapper = new_mapper(source)
    for frame in training_frames(source):
        mapper.add_frame(frame)
    mapper.train_steps(WARM_UP_STEPS)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        mapper.train_steps(100)
    scores = evaluate(mapper, source, HELD_OUT_EVERY, None).summary()
    return {"name": f"quality after {seconds:.0f} s", "steps": mapper.status().steps, **scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", default="room:frames=60", help="recording of 640x480 frames")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training for the quality")
    parser.add_argument("--no-results", action="store_true", help="only print")
    parser.add_argument("--check", action="store_true", help="run the tests of a GPU first")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: torch finds none that it can use, so there is nothing to measure here")
        return
    if options.check:
        check()
    source = open_source(options.input)
    frames = training_frames(source)
    mapper = new_mapper(source)
    for frame in frames:
        mapper.add_frame(frame)
    entries = [entry for rays in RAYS for entry in kernel_entries(rays)]
    entries.append(step_entry(mapper) | {"kernels": mapper.status().kernels})
    entries += option_entries(source, frames)
    entries.append(stream_entry(source, frames))
    entries += view_entries(mapper, frames[0])
    entries.append(query_entry())
    entries.append(quality_entry(source, options.seconds))
    for entry in entries:
        shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in entry.items())
        print("  ".join(shown).removeprefix("name "))
    if not options.no_results:
        print(write_results("gpu", [{k: _plain(v) for k, v in e.items()} for e in entries]))


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, (float, np.floating)) else value


if __name__ == "__main__":
    main()
