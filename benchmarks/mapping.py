"""Quality against time: trains on a recording, scores held-out views.

    python benchmarks/mapping.py ../shared/data/house/living --seconds 60
    python benchmarks/mapping.py ../shared/data/house/living --rate 5          (live, in a thread)

Every tenth frame is held out. Prints lines of JSON; ``--at 10 30`` scores at these seconds of one
run as well, ``--classes`` makes all others void, ``--record`` writes the lines to the results;
with ``--images FOLDER`` also writes photograph, rendered colour and depths of held-out views side
by side. ``--cpu`` counts seconds of processor time divided by the threads, for machines with
other work to do.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from common import write_results
from numpy.typing import NDArray

from semantic_field.config import Config
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.mapping import Mapper
from semantic_field.settings import updated

HELD_OUT_EVERY = 10
MAX_CLASSES = 4096


@dataclass
class Scores:
    """Sums over held-out views."""

    psnr: list[float] = field(default_factory=list)
    psnr_valid: list[float] = field(default_factory=list)
    depth_errors: list[NDArray] = field(default_factory=list)
    missed: list[float] = field(default_factory=list)
    render_s: list[float] = field(default_factory=list)
    confusion: NDArray = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def add(self, frame: Frame, view: RenderedView, seconds: float) -> None:
        error = (view.color.astype(np.float32) - frame.color) ** 2 / 255.0**2
        valid = frame.depth > 0
        self.psnr.append(-10 * np.log10(error.mean()))
        self.psnr_valid.append(-10 * np.log10(error[valid].mean()))
        both = valid & (view.depth > 0)
        self.depth_errors.append((view.depth - frame.depth)[both])
        self.missed.append(1 - both.sum() / max(valid.sum(), 1))
        self.render_s.append(seconds)
        if frame.labels is not None:
            self._count(frame.labels, view.label)

    def _count(self, truth: NDArray[np.int32], found: NDArray[np.int32]) -> None:
        known = truth >= 0
        size = max(int(truth.max()), int(found.max()), len(self.confusion) - 2) + 2
        grown = np.zeros((size, size), np.int64)
        old = len(self.confusion)
        grown[:old, : max(old - 1, 0)] = self.confusion[:, : max(old - 1, 0)]
        grown[:old, -1] += self.confusion[:, -1] if old else 0
        columns = np.where(found[known] < 0, size - 1, found[known])
        np.add.at(grown, (truth[known], columns), 1)
        self.confusion = grown

    def summary(self) -> dict[str, float]:
        errors = np.concatenate(self.depth_errors)
        result = {
            "psnr_db": np.mean(self.psnr),
            "psnr_valid_depth_db": np.mean(self.psnr_valid),
            "depth_median_cm": 100 * np.median(np.abs(errors)),
            "depth_mean_cm": 100 * np.abs(errors).mean(),
            "more_than_5cm_early_percent": 100 * (errors < -0.05).mean(),
            "more_than_5cm_late_percent": 100 * (errors > 0.05).mean(),
            "no_surface_percent": 100 * np.mean(self.missed),
            "view_s": np.median(self.render_s),
        }
        return result | self._labels()

    def _labels(self) -> dict[str, float]:
        """Set mIoU over the classes present in the ground truth, void left out."""
        matrix, total = self.confusion, self.confusion.sum()
        if not total:
            return {}
        present = np.flatnonzero(matrix.sum(1))
        hit = matrix[present, present]
        iou = hit / (matrix[present].sum(1) + matrix[:, present].sum(0) - hit)
        common = matrix[present].sum(1) > 1e-3 * total
        return {
            "miou": iou.mean(),
            "miou_common": iou[common].mean(),
            "accuracy": hit.sum() / total,
            "classes": len(present),
        }


class OnlyClasses:
    """A recording in which all classes but some are void; ValueError where it lacks one."""

    def __init__(self, source: FrameSource, names: list[str]) -> None:
        missing = sorted(set(names) - set(source.label_names.values()))
        if missing:
            raise ValueError(f"expected classes of {source.name}, got {', '.join(missing)}")
        self.name, self.stamps, self._source = source.name, source.stamps, source
        self.label_names = {i: n for i, n in source.label_names.items() if n in names}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, position: int) -> Frame:
        frame = self._source[position]
        if frame.labels is None:
            return frame
        kept = np.isin(frame.labels, list(self.label_names))
        return replace(frame, labels=np.where(kept, frame.labels, VOID_LABEL))


def evaluate(
    mapper: Mapper, source: FrameSource, every: int, folder: Path | None, moment: bool = False
) -> Scores:
    """Render and score each held-out view; at its ``moment``, with what the keyframes around it
    learnt about poses and exposure (nothing is learnt from held-out views), or as given.
    """
    scores = Scores()
    for index in range(0, len(source), every):
        frame = source[index]
        begin = time.perf_counter()
        where = (frame.camera, frame.T_world_camera)
        view = mapper.render_moment(*where, frame.stamp_ns) if moment else mapper.render(*where)
        scores.add(frame, view, time.perf_counter() - begin)
        if folder is not None:
            write_images(folder / f"{source.name}_{index:06d}.png", frame, view)
    return scores


def write_images(path: Path, frame: Frame, view: RenderedView) -> None:
    """Photograph and rendered colour above, both depths below."""
    path.parent.mkdir(parents=True, exist_ok=True)
    color = np.hstack([frame.color, view.color])[..., ::-1]
    scale = 255 / max(float(frame.depth.max()), 0.1)
    depth = np.clip(np.hstack([frame.depth, view.depth]) * scale, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), np.vstack([color, cv2.applyColorMap(depth, cv2.COLORMAP_TURBO)]))


def kept(source: FrameSource) -> Iterator[Frame]:
    """The frames that are not held out, each read when its turn comes, as a stream's are."""
    return (source[index] for index in range(len(source)) if index % HELD_OUT_EVERY)


def take_all(mapper: Mapper, source: FrameSource) -> None:
    """All kept frames at once."""
    for frame in kept(source):
        mapper.add_frame(frame)
    mapper.train_steps(1)  # compiled functions are loaded here


def train_offline(mapper: Mapper, seconds: float, cpu: bool) -> float:
    """``seconds`` of training; returns the seconds trained."""
    threads = mapper.config.mapping.threads

    def clock() -> float:
        return time.process_time() / threads if cpu else time.perf_counter()

    begin = clock()
    while clock() - begin < seconds:
        mapper.train_steps(10)
    return clock() - begin


def train_paced(mapper: Mapper, source: FrameSource, rate_hz: float) -> float:
    """As ``train_live``, with the clock of processor time: what an idle machine would do."""
    threads = mapper.config.mapping.threads
    mapper.add_frame(next(kept(source)))
    mapper.train_steps(1)
    begin = time.process_time()
    for number, frame in enumerate(kept(source)):
        mapper.add_frame(frame)
        while (time.process_time() - begin) / threads < (number + 1) / rate_hz:
            mapper.train_steps(1)
    return (time.process_time() - begin) / threads


def train_live(mapper: Mapper, source: FrameSource, rate_hz: float) -> float:
    """Frames arrive at ``rate_hz`` while the worker trains; returns the stream's seconds."""
    mapper.start()
    begin = time.perf_counter()
    for number, frame in enumerate(kept(source)):
        time.sleep(max(0.0, begin + number / rate_hz - time.perf_counter()))
        mapper.add_frame(frame)
    time.sleep(1 / rate_hz)
    mapper.stop()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", help="recording: folder, bag or 'room'")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--at", type=float, nargs="*", default=[], help="score at these, too")
    parser.add_argument("--rate", type=float, default=0.0, help="frames per second, live")
    parser.add_argument("--cpu", action="store_true", help="count processor time")
    parser.add_argument("--classes", nargs="+", default=[], help="all others are void")
    parser.add_argument("--score-every", type=int, default=HELD_OUT_EVERY)
    parser.add_argument("--images", type=Path, default=None)
    parser.add_argument("--record", action="store_true", help="write to benchmarks/results")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = (item.partition("=") for item in options.set)
    config = updated(Config(), {name: json.loads(value) for name, _, value in pairs})
    source = open_source(options.input)
    if options.classes:
        source = OnlyClasses(source, options.classes)
    entries = run(source, config, options)
    if options.record:
        kind = f"frames at {options.rate:g} Hz" if options.rate else "all frames at once"
        changed = "".join(f", {' '.join(part)}" for part in (options.classes, options.set) if part)
        name = "/".join(Path(options.input).parts[-2:])
        write_results(f"mapping, {name}, {kind}{changed}", entries)


def run(source: FrameSource, config: Config, options: argparse.Namespace) -> list[dict]:
    """Train, and score at each of the wanted times."""
    mapper = Mapper(config)
    mapper.set_label_names(source.label_names)
    if options.rate > 0:
        train = train_paced if options.cpu else train_live
        return [scored(mapper, source, train(mapper, source, options.rate), options)]
    take_all(mapper, source)
    entries, seconds = [], 0.0
    for until in sorted({*options.at, options.seconds}):
        seconds += train_offline(mapper, until - seconds, options.cpu)
        entries.append(scored(mapper, source, seconds, options))
    return entries


def scored(
    mapper: Mapper, source: FrameSource, seconds: float, options: argparse.Namespace
) -> dict:
    """One line: what training has done so far, and how good the map is."""
    status = mapper.status()
    speed = status.steps * mapper.config.mapping.rays_per_step / seconds
    entry = {"name": f"{seconds:.0f} s", "steps": status.steps, "rays_per_s": speed}
    entry["peak_resident_mb"] = peak_resident_mb()
    scores = evaluate(mapper, source, options.score_every, options.images)
    if any(state.startswith("on") for state in status.switches.values()):
        at_moment = evaluate(mapper, source, options.score_every, None, moment=True).summary()
        entry |= {f"{name}_at_moment": value for name, value in at_moment.items()}
    entry |= scores.summary() | {"keyframes": status.keyframes}
    entry["peak_resident_with_views_mb"] = peak_resident_mb()
    entry = {k: v if isinstance(v, str) else round(float(v), 3) for k, v in entry.items()}
    print(json.dumps(entry | {"losses": status.losses, "dropped": status.dropped}), flush=True)
    return entry


def peak_resident_mb() -> float:
    """MiB of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
