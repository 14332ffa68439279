"""``semantic-field annotate``: trains a map on a few labelled frames, labels every frame.

All state is in the output folder and written atomically: ``map.safetensors`` is the training
checkpoint, ``.annotate/`` records which frames are finished. An interrupted run can be resumed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.annotation.given_labels import GivenLabels, frame_numbers
from semantic_field.annotation.label_calibration import (
    Calibration,
    calibrate,
    held_out_blocks,
    without,
)
from semantic_field.annotation.labelled_view import LabelRenderer, finished_labels
from semantic_field.atomic_files import replacing, write_atomically
from semantic_field.config import Config
from semantic_field.data.folder_writer import ids_to_uint16
from semantic_field.data.sources import FrameSource
from semantic_field.data.view_selection import CELL_M, cells_of, greedy_cover
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.geometry import transform_points
from semantic_field.mapping import Mapper
from semantic_field.mapping.keyframes.store import BYTES_PER_PIXEL
from semantic_field.mapping.memory import keyframe_budget_mb
from semantic_field.settings import updated

LABELS = "labels_annotated"  # the folder layout's name for label images beside the recording's own
MAP, WORK, STATE = "map.safetensors", ".annotate", "state.json"
CHECKPOINT_S = 60.0
SUGGESTIONS = 5
POINT_STRIDE = 4

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Request:
    """Options of an annotation job.

    Attributes:
        seconds, steps: training budget over all runs; the first limit reached ends training, 0 =
            no limit. Only a budget in steps gives the same result on a busy machine.
        wrong_cost: cost of a wrong label, in right labels; see ``label_calibration``.
        keep_given: copy hand-drawn labels unchanged to the output.
    """

    seconds: float = 180.0
    steps: int = 0
    wrong_cost: float = 3.0
    keep_given: bool = True


class AnnotationJob:
    """Annotates one recording from the labels of some of its frames.

    Args:
        source: the recording; its frames must have depth, if necessary estimated (``plane_sweep``).
        given: the labels.
        out: output folder, created if missing; must be empty or of an earlier run of this job.
    Raises:
        ValueError: if ``out`` holds other files, or training has no limit.
    """

    def __init__(
        self,
        source: FrameSource,
        given: GivenLabels,
        out: Path,
        request: Request,
        config: Config | None = None,
        progress: Progress = lambda text, share: None,
    ) -> None:
        if not (request.seconds > 0 or request.steps > 0):
            raise ValueError("expected seconds or steps of training above 0, got neither")
        self._source, self._given, self._out = source, given, out
        self._request, self._progress = request, progress
        # Offline, frames with similar poses are useful as well: keep all of them as keyframes.
        every = {"mapping.keyframe_translation_m": 0.0, "mapping.keyframe_rotation_rad": 0.0}
        self._config = updated(config or Config(), every)
        self._numbers = frame_numbers(source)
        self._state = self._open(asdict(request) | {"labels": given.fingerprint()})
        self._mapper = Mapper(self._config)
        self._mapper.set_label_names(given.names)

    def run(self) -> dict[str, Any]:
        """Train, label all frames, write the summary, and return it."""
        self._train()
        renderer = LabelRenderer(self._mapper.snapshot(), self._mapper.moments())
        calibration = self._calibrate(renderer)
        for position in range(len(self._source)):
            if not self._finished(position):
                self._label(position, renderer, calibration)
            self._progress("labelling frames", (position + 1) / len(self._source))
        return self._summarise(calibration)

    # state of earlier runs

    def _open(self, identity: dict[str, Any]) -> dict[str, Any]:
        identity["recording"] = [self._source.name, len(self._source)]
        (self._out / WORK).mkdir(parents=True, exist_ok=True)
        path = self._out / WORK / STATE
        fresh = {"identity": identity, "trained_s": 0.0}
        if not path.exists():
            others = [f.name for f in self._out.iterdir() if f.name != WORK]
            if others:
                raise ValueError(
                    f"expected an empty folder or one of an earlier run in {self._out}, found "
                    f"{others[0]}; choose another --out"
                )
            write_atomically(path, json.dumps(fresh).encode())
            return fresh
        state = json.loads(path.read_text())
        if state["identity"] == identity:
            return state
        same = {k: state["identity"].get(k) for k in ("labels", "recording")}
        if same != {k: identity[k] for k in same}:
            raise ValueError(
                f"expected the labels and recording of the earlier run in {self._out}, got others; "
                "choose another --out (or remove that folder)"
            )
        self._forget_results()
        return state | {"identity": identity}

    def _forget_results(self) -> None:
        """Delete the labels of a run with other settings; its map is kept."""
        shutil.rmtree(self._out / LABELS, ignore_errors=True)
        for file in (self._out / WORK).glob("*.npz"):
            file.unlink()

    def _note(self) -> None:
        write_atomically(self._out / WORK / STATE, json.dumps(self._state).encode())

    def _finished(self, position: int) -> bool:
        return self._notes(position).exists()

    def _notes(self, position: int) -> Path:
        return self._out / WORK / f"{self._numbers[position]:06d}.npz"

    # training

    def _train(self) -> None:
        path = self._out / MAP
        if path.exists():
            self._mapper.load(path)
        else:
            self._state["trained_s"] = 0.0
            self._take_frames()
        if self._share() >= 1:
            return
        self._forget_results()
        before, began, saved = self._state["trained_s"], time.monotonic(), time.monotonic()
        try:
            while (share := self._share()) < 1:
                self._progress("training", share)
                self._mapper.train_steps(5)
                self._state["trained_s"] = before + time.monotonic() - began
                if time.monotonic() - saved > CHECKPOINT_S:
                    self._checkpoint()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            self._checkpoint()
            raise
        self._checkpoint()

    def _share(self) -> float:
        """Return the share of training that is done; 1 and more when it is finished."""
        request, shares = self._request, [0.0]
        if request.seconds:
            shares.append(self._state["trained_s"] / request.seconds)
        if request.steps:
            shares.append(self._mapper.status().steps / request.steps)
        return max(shares)

    def _checkpoint(self) -> None:
        self._mapper.save(self._out / MAP)
        self._note()

    def _take_frames(self) -> None:
        chosen = self._chosen()
        for number, position in enumerate(chosen):
            frame = self._source[position]
            labels = self._given.images.get(position)
            if labels is not None:
                labels = without(labels, held_out_blocks(labels, position))
            self._mapper.add_frame(replace(frame, labels=labels, instances=None))
            self._progress("reading frames", (number + 1) / len(chosen))
        if self._mapper.status().keyframes == 0:
            raise ValueError(
                "expected frames with depth, got none: give --no-depth to estimate it from colour"
            )
        self._mapper.spread_clicks()

    def _chosen(self) -> list[int]:
        """Return all labelled frames, and as many others, evenly spaced, as fit into memory."""
        camera, mapping = self._source[0].camera, self._config.mapping
        width = min(camera.width, mapping.max_image_width)
        pixels = width * round(camera.height * width / camera.width)
        room = keyframe_budget_mb(self._config) * (1 << 20) // (pixels * BYTES_PER_PIXEL)
        labelled = sorted(self._given.images)
        others = [i for i in range(len(self._source)) if i not in self._given.images]
        count = min(len(others), max(0, room - len(labelled)))
        spread = np.linspace(0, len(others) - 1, count).round().astype(int) if count else []
        return labelled + [others[i] for i in spread]

    # labelling

    def _calibrate(self, renderer: LabelRenderer) -> Calibration:
        """Register the trained labels with ``views``, then calibrate on the held-out ones."""
        frames = {position: self._source[position] for position in sorted(self._given.images)}
        masks = {p: held_out_blocks(self._given.images[p], p) for p in frames}
        for position, frame in frames.items():
            renderer.add(frame, without(self._given.images[position], masks[position]))
        parts = []
        for number, (position, frame) in enumerate(frames.items()):
            view, mask = renderer.render(frame), masks[position]
            right = view.label == self._given.images[position]
            known = mask & view.observed
            parts.append((view.probability[known], view.distance_m[known], right[known]))
            self._progress("calibrating", (number + 1) / len(frames))
        probability, distance, right = (np.concatenate(part) for part in zip(*parts))
        return calibrate(probability, distance, right, self._request.wrong_cost)

    def _label(self, position: int, renderer: LabelRenderer, calibration: Calibration) -> None:
        frame = self._source[position]
        view = renderer.render(frame)
        confidence = calibration.confidence(view.probability, view.distance_m)
        confidence[~view.observed] = 0.0
        labels = finished_labels(view, confidence, calibration.threshold)
        void = labels == VOID_LABEL
        given = self._given.images.get(position)
        if given is not None and self._request.keep_given:
            labels = np.where(given >= 0, given, labels)
            confidence[given >= 0] = 1.0
            void &= given < 0
        name = f"{self._numbers[position]:06d}.png"
        write_png(self._out / LABELS / name, ids_to_uint16(labels))
        write_png(self._out / "confidence" / name, (255 * confidence + 0.5).astype(np.uint8))
        ids, counts = np.unique(labels, return_counts=True)
        self._write_notes(position, ids, counts, _cells(frame, view.depth, void))

    def _write_notes(self, position: int, ids: NDArray, counts: NDArray, cells: NDArray) -> None:
        """Write a frame's statistics; written last, as they mark the frame as finished."""
        path = self._notes(position)
        with replacing(path) as hidden, hidden.open("wb") as file:
            np.savez(file, ids=ids, counts=counts, cells=cells)

    # the end

    def _summarise(self, calibration: Calibration) -> dict[str, Any]:
        notes = [dict(np.load(self._notes(i))) for i in range(len(self._source))]
        pixels: dict[int, int] = {}
        frames: dict[int, int] = {}
        for note in notes:
            for class_id, count in zip(note["ids"].tolist(), note["counts"].tolist()):
                pixels[class_id] = pixels.get(class_id, 0) + count
                frames[class_id] = frames.get(class_id, 0) + 1
        total = sum(pixels.values())
        void = pixels.pop(VOID_LABEL, 0)
        summary = {
            "recording": self._source.name,
            "frames": len(self._source),
            "labelled_by_hand": [self._numbers[i] for i in sorted(self._given.images)],
            "trained_s": round(self._state["trained_s"], 1),
            "steps": self._mapper.snapshot().steps,
            "void": void / total,
            "classes": [
                {"id": i, "name": self._given.names.get(i, ""), "pixels": n, "frames": frames[i]}
                for i, n in sorted(pixels.items(), key=lambda item: -item[1])
            ],
            "calibration": asdict(calibration),
            "label_next": self._suggest([note["cells"] for note in notes]),
        }
        classes = [{"id": i, "name": n} for i, n in sorted(self._given.names.items())]
        names = json.dumps({"classes": classes}, indent=1)
        write_atomically(self._out / f"{LABELS}.json", names.encode())
        text = json.dumps(summary, indent=1) + "\n"
        write_atomically(self._out / "statistics.json", text.encode())
        return summary

    def _suggest(self, cells: list[NDArray[np.int64]]) -> list[dict[str, Any]]:
        """Return the frames to label next: greedily those that add most uncertain surface."""
        mine = [c if i not in self._given.images else c[:0] for i, c in enumerate(cells)]
        chosen, covered = greedy_cover(mine, SUGGESTIONS), np.zeros(0, np.int64)
        found = []
        for position in chosen:
            new = np.setdiff1d(mine[position], covered)
            covered = np.union1d(covered, new)
            area = round(len(new) * CELL_M**2, 2)
            found.append({"frame": self._numbers[position], "uncertain_m2": area})
        return found


def _cells(frame: Frame, depth: NDArray, void: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the keys of the 10 cm cells with visible surface that has no label."""
    part = (slice(POINT_STRIDE // 2, None, POINT_STRIDE),) * 2
    points = frame.camera.backproject(np.where(depth > 0, depth, frame.depth))[part]
    wanted = void[part] & (points[..., 2] > 0)
    return cells_of(transform_points(frame.T_world_camera, points[wanted]))


def write_png(path: Path, image: NDArray) -> None:
    """Write an image as PNG atomically."""
    path.parent.mkdir(exist_ok=True)
    fine, data = cv2.imencode(".png", image)
    assert fine
    write_atomically(path, data.tobytes())
