"""Seconds of a view, of surface extraction and of a query, beside plain dense sampling in torch.

    python benchmarks/rendering.py ../shared/data/house/living --seconds 20

The baseline samples every ray evenly (128 samples between 0.05 and 6 m), encodes with plain torch
and composites, as the common PyTorch renderers do; it renders every 16th pixel in both
directions and is scaled up by 256. All alternatives run in turns within one process.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import torch
from common import interleave, write_results

from semantic_field.config import Config
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.field.map_state import LanguageSpace, MapState
from semantic_field.field.model import SemanticField
from semantic_field.field.surface.cache import SurfaceCache
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.views.rendering import render_view
from semantic_field.field.views.tracing import ray_directions
from semantic_field.frames import Frame
from semantic_field.kernels import make_kernels
from semantic_field.mapping import Mapper
from semantic_field.mapping.renderer import Renderer

BASELINE = "torch, 128 even samples a ray"
SAMPLES, NEAR_M, FAR_M, SKIP = 128, 0.05, 6.0, 16
STEPS_BETWEEN = 50


class Alternating:
    """The newest two snapshots of a map by turns, so that the map has always just changed."""

    def __init__(self, states: tuple[MapState, MapState], read: Callable[[MapState], object]):
        shared = SurfaceCache()
        self._states = [replace(state, surfaces=shared) for state in states]
        self._read, self._turn = read, 0

    def __call__(self) -> None:
        self._turn ^= 1
        self._read(self._states[self._turn])


@torch.no_grad()
def dense_view(field: SemanticField, frame: Frame) -> None:
    """Colour, latent and labels of every ``SKIP``-th pixel by even samples, in plain torch."""
    camera = frame.camera.resized(frame.camera.width // SKIP, frame.camera.height // SKIP)
    directions = torch.from_numpy(ray_directions(camera, frame.T_world_camera))
    origin = torch.from_numpy(frame.T_world_camera[:3, 3].astype(np.float32))
    z = torch.linspace(NEAR_M, FAR_M, SAMPLES)
    for rays in directions.split(512):
        points = (origin + z[:, None] * rays[:, None]).reshape(-1, 3)
        features = field.kernels.encode(points, field.table)
        out = field.trunk_out(torch.relu(field.trunk_in(features.T)))
        s = out[:, 0].reshape(len(rays), SAMPLES)
        sharp = field.config.truncation_m / field.config.sharpness_m
        weights = torch.sigmoid(s * sharp) * torch.sigmoid(-s * sharp)
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-12)
        code = (weights[..., None] * out[:, 1:].reshape(len(rays), SAMPLES, -1)).sum(1)
        field.color(code)
        field.label_scores(field.latent(code)).argmax(1)


def train(source: FrameSource, seconds: float) -> tuple[MapState, MapState, Renderer]:
    """Two snapshots, ``STEPS_BETWEEN`` training steps apart, and a renderer of the second."""
    from mapping import take_all, train_offline

    mapper = Mapper(Config())
    mapper.set_label_names(source.label_names)
    take_all(mapper, source)
    train_offline(mapper, seconds, cpu=True)
    first = mapper.snapshot()
    mapper.train_steps(STEPS_BETWEEN)
    return first, mapper.snapshot(), mapper.renderer()


def reading_cases(
    states: tuple[MapState, MapState], renderer: Renderer, frame: Frame
) -> dict[str, Callable]:
    """Views and surface extraction; the baseline first."""

    def view(state: MapState) -> None:
        render_view(state, frame.camera, frame.T_world_camera)

    newest = states[1]
    plain = SemanticField(newest.field.config, newest.field.classes)
    plain.load_state_dict(newest.field.state_dict())
    plain.kernels = make_kernels("reference", plain.kernels.shape)
    return {
        BASELINE: lambda: dense_view(plain, frame),
        "view, map unchanged": lambda: view(newest),
        "view with keyframes, map unchanged": lambda: renderer.render(
            frame.camera, frame.T_world_camera
        ),
        "view, map just changed": Alternating(states, view),
        "view, nothing known before": lambda: view(replace(newest, surfaces=SurfaceCache())),
        "surface, full": lambda: extract_surface(replace(newest, surfaces=SurfaceCache())),
        "surface, incremental": Alternating(states, extract_surface),
    }


def query_cases(points: int = 1_000_000, latent: int = 64) -> dict[str, Callable]:
    """One text and four negatives against the latents of many points, decoded or not."""
    from semantic_field.query.interpretation import Interpretation, TextSet
    from semantic_field.query.latent_index import LatentIndex
    from semantic_field.teachers.language import Calibration

    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(384, latent)).Q
    space = LanguageSpace(basis, torch.zeros(384), latent, "benchmark")
    latents = torch.randn(points, latent)
    texts = torch.nn.functional.normalize(torch.randn(5, 384), dim=1)
    limits = Calibration(torch.zeros(384), 0.3, 0.8, 0.5, 0.1, 30.0)
    index, none = LatentIndex(latents.numpy(), space, limits), torch.zeros(0)
    meaning = Interpretation("benchmark", texts[:1], texts[:0], none, none, 0.9, "benchmark")
    question = TextSet(meaning, texts[1:])

    def decoded() -> None:
        for part in latents.split(1 << 16):
            embedding = torch.nn.functional.normalize(part @ basis.T, dim=1)
            cosine = embedding @ texts.T
            torch.sigmoid(10 * (cosine[:, :1] - cosine[:, 1:])).amin(1)

    return {"torch, decoded embeddings": decoded, "query": lambda: index.relevancy([question])}


def entries(cases: dict[str, Callable], rounds: int, scale: float = 1.0) -> list[dict]:
    """Timings; the first case's are multiplied by ``scale``. ``times faster`` is against it."""
    found = interleave(cases, rounds, warm_up=1)
    base = found[0].wall_s * scale
    rows = []
    for number, timing in enumerate(found):
        factor = scale if number == 0 else 1.0
        row = asdict(timing) | {"wall_s": factor * timing.wall_s, "cpu_s": factor * timing.cpu_s}
        del row["ratio"]
        rows.append(row | {"times faster": base / row["wall_s"]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", help="recording: folder, bag or 'room'")
    parser.add_argument("--seconds", type=float, default=20.0, help="of training")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(2)
    source = open_source(options.input)
    *states, renderer = train(source, options.seconds)
    rows = entries(reading_cases(tuple(states), renderer, source[0]), options.rounds, SKIP**2)
    rows += entries(query_cases(), options.rounds)
    for row in rows:
        print(
            f"{row['name']:32} {row['wall_s']:8.3f} s wall {row['cpu_s']:8.3f} s processor "
            f"{row['times faster']:7.1f}x"
        )
    print("results in", write_results("rendering", rows))


if __name__ == "__main__":
    main()
