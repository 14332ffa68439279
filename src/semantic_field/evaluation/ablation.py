"""Training and scoring of the maps of an open-vocabulary ablation, one for each cell.

The recording is read once; the map of each cell is trained for the same number of steps on the
same images. These maps get no label images: labels are used only by the simulated teacher, as
ground truth of held-out views, and (true instances) as an upper bound for region proposals.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from semantic_field.config import Config
from semantic_field.data.placed import placed
from semantic_field.data.sources import open_source
from semantic_field.evaluation.mapping_run import Progress
from semantic_field.evaluation.protocols.ablation_cells import Cell
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.calibration import calibration
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.confusion import ConfusionMatrix
from semantic_field.evaluation.scores.conventions import convention
from semantic_field.evaluation.scores.held_out_views import fit
from semantic_field.evaluation.scores.queries import ABSENT, NOT_OBJECTS, answer
from semantic_field.evaluation.scores.scoring import held_out
from semantic_field.evaluation.truth.known_answers import Question
from semantic_field.evaluation.truth.object_masks import true_objects
from semantic_field.field.map_state import MapState
from semantic_field.frames import Frame
from semantic_field.mapping import Mapper
from semantic_field.mapping.renderer import Renderer
from semantic_field.query.engine import QueryEngine
from semantic_field.teachers.factory import make_language_teacher, make_region_proposer
from semantic_field.teachers.image_teachers import ImageTargets
from semantic_field.teachers.language import LanguageTeacher
from semantic_field.teachers.regions import RegionProposer, Regions

RECALL = 0.9
SAME_FEATURE = 0.999  # cosine from which on two texts count as one
# Names from other vocabularies for classes of the recordings, or for their subclasses.
SYNONYMS = {
    "sofa": ("couch", "loveseat", "studio couch"),
    "trash bin": ("garbage", "waste container", "trash bin can"),
    "television": ("television set", "monitor/tv"),
    "wardrobe": ("armoire",),
    "dining table": ("kitchen & dining room table", "kitchen table"),
    "stove": ("gas stove", "cooker"),
    "photo frame": ("picture/frame",),
    "tablet computer": ("tablet",),
    "tableware": ("chinaware",),
    "chair": ("armchair",),
    "rug": ("runner (carpet)",),
}


@dataclass(frozen=True)
class TaughtFrame:
    """A frame without labels, the teacher's features and regions, and the true regions."""

    frame: Frame
    targets: ImageTargets
    true_regions: Regions | None


class AblationRun:
    """Reads a recording and computes the teachers' features once; ``score`` scores one cell.

    Args:
        location: a recording with labels.
        protocol: split, views and number of training steps.
        config: settings; ``teacher`` selects the language teacher and the region proposer.
        progress: called with what is being done and the share that is done, 0..1.
        options: further arguments of ``open_source``.
    Raises:
        ValueError: if the protocol has no number of steps, the recording no labels, or the
            settings no language teacher.
    """

    def __init__(
        self,
        location: str,
        protocol: Protocol,
        config: Config,
        progress: Progress = lambda text, share: None,
        options: dict[str, Any] | None = None,
    ) -> None:
        if not protocol.training.steps:
            raise ValueError("expected a budget in steps for an ablation, got one in seconds")
        self.protocol, self._config, self._progress = protocol, config, progress
        self.source = placed(open_source(location, **(options or {})))
        if not self.source.label_names:
            raise ValueError(f"expected a recording with labels, got none in {location}")
        teacher = make_language_teacher(config.teacher)
        if teacher is None:
            raise ValueError("expected a language teacher, got none: set teacher.kind")
        self.teacher: LanguageTeacher = teacher
        self._proposer = make_region_proposer(config.teacher)
        split = protocol.make_split(len(self.source))
        self._mapped = split.train
        self.frames = list(self._taught(split.train))
        self._held_out = held_out(split.test, protocol)
        self.objects = true_objects(self.source, protocol.max_depth_m)
        self.objects = [item for item in self.objects if item.name not in NOT_OBJECTS]

    def _taught(self, positions: tuple[int, ...]) -> Iterator[TaughtFrame]:
        width = self.protocol.views.width
        began = time.process_time()
        for number, position in enumerate(positions):
            original = self.source[position]
            embedding = self.teacher.embed_image(
                original.color, original.labels, self.source.label_names
            )
            small = fit(original, width)
            regions = _propose(self._proposer, small)
            blind = replace(small, labels=None, instances=None)
            targets = ImageTargets(embedding.half(), regions, footprint=self.teacher.footprint)
            yield TaughtFrame(blind, targets, true_regions(small))
            self._progress("teachers", (number + 1) / len(positions))
        self.teacher_s = (time.process_time() - began) / max(len(positions), 1)

    def labelled_frames(self) -> Iterator[Frame]:
        """Yield the mapped frames with their label images, for a map trained on labels."""
        for position in self._mapped:
            yield replace(fit(self.source[position], self.protocol.views.width), instances=None)

    @property
    def vocabulary(self) -> list[str]:
        """The texts that the map learns to distinguish: class names known to the teacher."""
        return [name for name in self.source.label_names.values() if self.teacher.knows(name)]

    def train(self, cell: Cell) -> tuple[Mapper, float]:
        """Train the map of one cell; returns the mapper and the CPU time of training, seconds."""
        steps = self.protocol.training.steps
        mapper = Mapper(cell.config(self._config, steps), self.teacher, proposer=self._proposer)
        ids = {name: i for i, name in self.source.label_names.items()}
        mapper.set_label_names({ids[name]: name for name in self.vocabulary})
        for item in self.frames:
            targets = item.targets
            if cell.regions == "instances":
                targets = replace(targets, regions=item.true_regions)
            if mapper.add_frame(item.frame):
                mapper.add_image_targets(item.frame.stamp_ns, targets)
        began = time.process_time()
        for done in range(0, steps, 50):
            mapper.train_steps(min(50, steps - done))
            self._progress(cell.name, min(1.0, (done + 50) / steps))
        return mapper, time.process_time() - began

    def score(self, cell: Cell) -> dict[str, Any]:
        """Train and score one cell; returns scores of held-out views and queries, and costs."""
        mapper, seconds = self.train(cell)
        state, status = mapper.snapshot(), mapper.status()
        renderer = mapper.renderer()
        del mapper  # it has reference cycles: only the garbage collector frees it
        gc.collect()
        result: dict[str, Any] = {"name": cell.name, "teacher": self.teacher.name}
        result |= self._score_views(renderer) | self._score_queries(state)
        return result | {
            "training_cpu_s": round(seconds, 1),
            "steps": status.steps,
            "keyframes": status.keyframes,
            "memory_mb": round(status.memory_bytes / 1e6, 1),
        }

    def _score_views(self, renderer: Renderer) -> dict[str, float | None]:
        classes = ClassSet(self.source.label_names, self.protocol.classes.ignore)
        names = (self.protocol.headline, "semantic_nerf")
        matrices = {n: ConfusionMatrix(classes.names, convention(n).rule) for n in names}
        errors = []
        for position in self._held_out:
            frame = fit(self.source[position], self.protocol.views.width)
            view = renderer.render(frame.camera, frame.T_world_camera)
            assert frame.labels is not None
            for matrix in matrices.values():
                matrix.add(classes.rows(frame.labels), classes.rows(view.label))
            both = (view.depth > 0) & (frame.depth > 0)
            if both.any():
                errors.append(np.abs(view.depth - frame.depth)[both].mean())
        scores = {name: matrix.result() for name, matrix in matrices.items()}
        headline = scores[self.protocol.headline]
        return {
            "miou": round(headline.miou, 4),
            "accuracy": round(headline.total_accuracy, 4),
            "miou_set": round(scores["semantic_nerf"].miou, 4),
            "depth_l1_cm": round(100 * float(np.mean(errors)), 2) if errors else None,
        }

    def _score_queries(self, state: MapState) -> dict[str, Any]:
        engine = QueryEngine(self.teacher, self._config.query)
        engine.set_map(state)
        names, synonyms, absent = self.questions()
        own = [answer(engine, question, self.objects) for question in names]
        other = [answer(engine, question, self.objects) for question in synonyms]
        missing = [answer(engine, question, self.objects) for question in absent]
        present = np.array([a.best_score for a in own + other])
        not_there = np.array([a.best_score for a in missing])
        limit = float(np.quantile(present, 1 - RECALL))
        scores = np.clip(np.concatenate([present, not_there]), 0, 1)
        reliability = calibration(scores, np.arange(len(scores)) < len(present))
        return {
            "localisation_names": _mean([a.localised for a in own]),
            "localisation_synonyms": _mean([a.localised for a in other]),
            "absent_rejected_at_90_recall": _mean(not_there < limit),
            "found_precision": _precision(own + other, missing),
            "found_recall": _mean([a.found for a in own + other]),
            "ece": round(reliability.ece, 3),
            "questions": f"{len(own)} names, {len(other)} synonyms, {len(missing)} absent",
        }

    def questions(self) -> tuple[list[Question], list[Question], list[Question]]:
        """Return questions for present objects by name, by synonym, and for absent objects.

        Synonyms with the embedding of a class name are left out ("drapery" has that of "curtain"
        in LVIS).
        """
        present = sorted({item.name for item in self.objects} & set(self.vocabulary))
        names = [Question(name, frozenset({name})) for name in present]
        synonyms = [
            Question(text, frozenset({name}))
            for name in present
            for text in SYNONYMS.get(name, ())
            if self.teacher.knows(text) and self._is_new(text)
        ]
        learnt = {name.lower() for name in self.vocabulary}
        absent = [
            Question(text, frozenset({text}))
            for text in ABSENT
            if text not in learnt and self.teacher.knows(text)
        ]
        return names, synonyms, absent

    def _is_new(self, text: str) -> bool:
        learnt = self.teacher.embed_text(self.vocabulary)
        return float((learnt @ self.teacher.embed_text([text]).T).max()) < SAME_FEATURE


def ablation_table(results: list[dict[str, Any]]) -> list[list[str]]:
    """Return header and rows of a table of scores; mIoU also as a multiple of the first row's.

    Args:
        results: return values of ``AblationRun.score``.
    """
    columns = {
        "accuracy": "accuracy",
        "synonyms": "localisation_synonyms",
        "absent": "absent_rejected_at_90_recall",
        "precision": "found_precision",
        "recall": "found_recall",
        "ECE": "ece",
    }
    base = max(results[0]["miou"], 1e-9) if results else 1.0
    head = ["cell", "mIoU", "x base", *columns, "CPU s"]
    rows = []
    for result in results:
        values = [result.get(name) for name in columns.values()]
        shown = ["–" if value is None else f"{value:.3f}" for value in values]
        own = [result["name"], f"{result['miou']:.3f}", f"{result['miou'] / base:.2f}"]
        rows.append([*own, *shown, f"{result['training_cpu_s']}"])
    return [head, *rows]


def true_regions(frame: Frame) -> Regions | None:
    """Return a frame's true instances as regions, other pixels by class; None without labels."""
    if frame.labels is None:
        return None
    instances = np.full_like(frame.labels, -1) if frame.instances is None else frame.instances
    known = frame.labels >= 0
    ids = frame.labels.astype(np.int64) * (int(instances.max()) + 2) + instances + 1
    return Regions.from_label_image(np.where(known, ids, -1))


def _propose(proposer: RegionProposer | None, frame: Frame) -> Regions | None:
    return proposer.propose(frame.color, frame.depth, frame.camera) if proposer else None


def _mean(values: Any) -> float | None:
    known = [float(v) for v in values if v is not None]
    return round(float(np.mean(known)), 3) if known else None


def _precision(present: list, absent: list) -> float | None:
    said = sum(a.found for a in present + absent)
    return round(sum(a.found for a in present) / said, 3) if said else None
