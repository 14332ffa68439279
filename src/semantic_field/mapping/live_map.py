"""A map in training: its field, keyframes, classes and annotations, in map coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.config import Config
from semantic_field.field.annotations import AnnotationSet
from semantic_field.field.map_state import LanguageSpace, MapState
from semantic_field.field.model import SemanticField, shape_of
from semantic_field.field.surface.cache import SurfaceCache
from semantic_field.field.surface.voted_labels import VotedLabels
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.kernels import GridShape, make_kernels
from semantic_field.kernels.device_memory import memory_for
from semantic_field.mapping.checkpoint import unpack_training
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.intake import Intake
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.class_targets import embedded, follow_classes
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.labels.surface_votes import SurfaceVotes
from semantic_field.mapping.labels.vocabulary import Vocabulary
from semantic_field.mapping.language.basis import TextTeacher
from semantic_field.mapping.language.factory import make_basis, make_image_language
from semantic_field.mapping.language.image_language import ImageLanguage
from semantic_field.mapping.memory import (
    depth_range_m,
    first_shape,
    follow_extent,
    grid_bytes,
    votes_bytes,
)
from semantic_field.mapping.training.factory import make_trainer, training_device
from semantic_field.mapping.training.step import Trainer
from semantic_field.teachers.image_teachers import ImageTargets
from semantic_field.teachers.regions import RegionProposer
from semantic_field.teachers.segmentation import Segmentation

MEMORY_REMEDY = (
    "lower field.grid.log2_table_size, end what else uses the device, or set mapping.device to cpu"
)


class LiveMap:
    """One map in training, from posed RGB-D frames of any number of cameras.

    A live map has no lock and no thread: only one thread at a time may call its methods and use
    its parts, except ``intake.wants`` and ``intake.drop``, see there. All poses and points are in
    map coordinates; the owner of the map keeps the map's origin in the world frame.

    Args:
        config: all settings.
        teacher: embeds class names; None for a map without language.
        proposer: finds regions in rendered views of the map, see ``ImageLanguage``.
        names: class names of the label images, by class id.
        texts: vocabulary of a map that learns language from images; None = the one of the
            settings.
        stored: a map read from a file, to continue from.
        is_live: returns whether frames arrive during training, so that steps must not wait.
    Attributes:
        field: the semantic field. trainer: takes its training steps.
        intake: the keyframes and the space that they observed.
        language: the basis in which latents and text embeddings are expressed; None without a
            teacher.
        stored_language: the language of a stored map that is continued without its teacher.
        vocabulary: the names that are distinguished. classes: their ids and rows.
        annotations: the annotations made by people. corrections: applies them in training.
        votes: votes of the keyframes for the labels of the surface.
        surfaces: cache of extracted surfaces, shared by all states of the map.
    Raises:
        ValueError: if the settings, the teacher and the stored map do not fit together, or the
            device has not enough memory.
    """

    def __init__(
        self,
        config: Config,
        teacher: TextTeacher | None = None,
        proposer: RegionProposer | None = None,
        names: dict[int, str] | None = None,
        texts: list[str] | None = None,
        stored: MapState | None = None,
        is_live: Callable[[], bool] = lambda: False,
    ) -> None:
        torch.manual_seed(config.mapping.seed)
        self.config, self.device = config, training_device(config)
        self.surfaces, self._edits = SurfaceCache(), 0
        with memory_for("the map and what trains it", MEMORY_REMEDY):
            self.field = self._first_field(stored)
            self.trainer = self.make_trainer()
        self.intake = Intake(config)
        self.language = make_basis(config, teacher)
        self.stored_language: LanguageSpace | None = None
        self.trainer.language = make_image_language(
            config, self.language, self.field, self.state, proposer, is_live
        )
        text_teacher = teacher if self.image_language is not None else None
        texts = config.language.texts if texts is None else texts
        self.vocabulary = Vocabulary(text_teacher, texts)
        self.classes = self.vocabulary.table(names or {})
        self.annotations = AnnotationSet(cell_m=config.mapping.annotation_cell_m)
        self.corrections = Corrections(config.mapping)
        self.votes = SurfaceVotes(votes_bytes(config.mapping))
        self._voted: tuple[int, VotedLabels] | None = None
        self._stored_latents = np.zeros((0, 0), np.float16)
        if stored is not None:
            self._continue_from(stored)
        self._follow_classes(self._embedded(self.classes))

    # the parts

    @property
    def keyframes(self) -> KeyframeStore | None:
        """The keyframe store; None before the first keyframe."""
        return self.intake.keyframes

    @property
    def image_language(self) -> ImageLanguage | None:
        """Language training from images; None unless ``language.source`` is "images"."""
        return self.trainer.language

    def make_field(self, classes: int = 0, shape: GridShape | None = None) -> SemanticField:
        """Return a new field on the map's device.

        Args:
            classes: number of classes of the label head.
            shape: shape of the grid; None = small tables, if the kernels can grow them.
        """
        config, threads = self.config.field, self.config.mapping.threads
        full = shape_of(config.grid)
        kernels = make_kernels(config.grid.kernels, full, self.device, threads)
        kernels = kernels.with_shape(shape or first_shape(full, kernels))
        return SemanticField(config, classes, kernels, self.device)

    def make_trainer(self) -> Trainer:
        """Return a new trainer of ``field``, in its initial state."""
        return make_trainer(self.field, self.config.mapping)

    def _first_field(self, stored: MapState | None) -> SemanticField:
        if stored is None:
            return self.make_field()
        field = self.make_field(len(stored.class_ids), stored.field.kernels.shape)
        field.assign(stored.field)
        return field

    def _continue_from(self, stored: MapState) -> None:
        """Take over everything of a stored map except its field, see ``_first_field``."""
        if self.language is None:
            self.stored_language = stored.language
        elif stored.language is not None:
            self.language.restore(stored.language)
        names = self.classes.given_names()
        self.classes.restore(stored.label_names, stored.class_ids)
        self.classes.set_names(names)
        self.vocabulary.keep(self.classes)
        intake = self.intake
        intake.voxels, intake.reach = stored.voxels.copy(), stored.reach.copy()
        intake.stamp_ns = stored.stamp_ns
        self.trainer.steps = stored.steps
        rows = len(stored.class_ids)
        intake.keyframes = unpack_training(stored.training, self.trainer, self.config, rows)
        if intake.keyframes is not None:
            intake.switches.adopt(intake.keyframes)
            self._follow_switches()
        if stored.annotations:
            self.annotations = stored.annotations
            self.corrections.follow(self.annotations, self.classes)
        if stored.votes is not None:
            self._stored_latents = stored.votes.latents
            if intake.keyframes is None:
                self.votes.begin_with(stored.votes.table)

    # input

    def take(self, frame: Frame) -> bool:
        """Make a keyframe of a frame in map coordinates; returns False if it was dropped."""
        if self.intake.take(frame, self.classes) is None:
            return False
        follow_extent(self.trainer, self.intake.reach, self.config.mapping)
        self._follow_switches()
        self._follow_classes(self._embedded(self.classes))
        return True

    def _follow_switches(self) -> None:
        switches = self.intake.switches
        self.trainer.adapt(switches.is_on("refine_poses"), switches.is_on("adapt_exposure"))

    def add_targets(self, slot: int, targets: ImageTargets) -> None:
        """Train from now on with the image teachers' results for the keyframe in ``slot``."""
        assert self.keyframes is not None
        if targets.segmentation is not None:
            self._add_labels(slot, targets.segmentation, targets.class_names)
        if targets.embedding is None:
            return
        assert self.language is not None and self.image_language is not None
        classes = self.classes.copy()
        if self.vocabulary.make_do(classes):
            self.extend_classes(classes)
        self.image_language.add(self.keyframes, slot, targets)
        self.trainer.rank = self.language.rank

    def _add_labels(self, slot: int, found: Segmentation, names: Mapping[int, str]) -> None:
        """Label those pixels of a keyframe that have no label, as a segmenter says."""
        store = self.keyframes
        assert store is not None
        labels = found.labels.reshape(-1)
        ids = np.unique(labels[labels >= 0])
        classes = self.classes.copy()
        row_of = np.full(int(ids.max(initial=-1)) + 2, -1, np.int16)  # the last one: no label
        row_of[ids] = classes.rows_named([names[i] for i in ids.tolist()])
        if classes.ids != self.classes.ids:
            self.extend_classes(classes)
        rows, unlabelled = row_of[labels], store.images.labels[slot, : len(labels)] == VOID_LABEL
        pixels = np.flatnonzero(unlabelled & (rows >= 0))
        if len(pixels):
            store.set_labels(slot, pixels, rows[pixels], found.doubts.reshape(-1)[pixels])

    def step(self) -> None:
        """Take one training step; there must be a keyframe."""
        assert self.keyframes is not None
        intake = self.intake
        self.trainer.step(self.keyframes, intake.reach, intake.voxels, self.corrections)
        if intake.moved is not None:
            intake.moved.search_one(self.keyframes, intake.reach)
        self.votes.count(self.keyframes, most=1)

    @property
    def has_keyframes(self) -> bool:
        """Whether there is a keyframe to train on."""
        return self.keyframes is not None and self.keyframes.count > 0

    def check_keyframes(self) -> None:
        """Raise a ValueError if there is no keyframe to train on."""
        if not self.has_keyframes:
            why = ", ".join(f"{n} {cause}" for cause, n in self.intake.dropped.items())
            raise ValueError(
                "expected a keyframe before training (add_frame), got none"
                + (f"; frames dropped: {why}" if why else "")
            )

    @property
    def is_corrected(self) -> bool:
        """Whether annotations were changed so recently that they are still being trained."""
        return self.corrections.are_fresh(self.trainer.rays)

    def set_config(self, config: Config) -> None:
        """Use other settings from now on.

        Fixed settings and the vocabulary must have the same values as before.
        """
        self.config = self.intake.config = config
        self.corrections.config = config.mapping
        self.trainer.set_config(config.mapping)
        if self.keyframes is not None:
            self.keyframes.depth_range_m = depth_range_m(config.mapping)
        if self.image_language is not None:
            self.image_language.config = config.language

    # classes and annotations

    def extend_classes(self, classes: ClassTable, annotations: AnnotationSet | None = None) -> None:
        """Use a class table that keeps the current rows and may add some, and other annotations.

        Args:
            annotations: None = keep the current ones.
        Raises:
            Exception: whatever the teacher raises for a name; nothing has changed then.
        """
        annotations = self.annotations if annotations is None else annotations
        if annotations:
            classes.none_row()
        latents = self._embedded(classes)
        if annotations is not self.annotations:
            self.corrections.follow(annotations, classes)
            self._edits += 1
        self._edits += classes.names != self.classes.names
        self.classes, self.annotations = classes, annotations
        self._follow_classes(latents)

    def replace_classes(self, classes: ClassTable, vocabulary: Vocabulary) -> None:
        """Use another class table, with other rows.

        Labels and annotations are matched to it by class name; they become void if the new table
        does not have their name.

        Raises:
            Exception: whatever the teacher raises for a name; nothing has changed then.
        """
        before = self.classes
        annotations = self.annotations.renumbered(
            lambda class_id: class_id if class_id < 0 else classes.id_of(before.names[class_id])
        )
        if annotations:
            classes.none_row()
        if self.image_language is not None and self.image_language.targets is not None:
            vocabulary.make_do(classes)
        latents, rows = self._embedded(classes), classes.rows_like(before)
        self.classes, self.vocabulary, self.annotations = classes, vocabulary, annotations
        self.corrections.follow(annotations, classes)
        if rows.tolist() != list(range(len(rows))):
            if self.keyframes is not None:
                self.keyframes.relabel(rows)
            self.votes.relabel(rows)
            self._stored_latents = self._stored_latents[:0]
        self._edits += 1
        self._follow_classes(latents)

    def _embedded(self, classes: ClassTable) -> Tensor | None:
        from_images = self.image_language is not None
        return embedded(classes, self.language, from_images, self.config.language)

    def _follow_classes(self, latents: Tensor | None) -> None:
        temperature = self.config.language.relevancy_temperature
        follow_classes(self.trainer, self.classes, self.language, latents, temperature)

    # output

    def revision(self) -> tuple[int, ...]:
        """Return numbers that change whenever readers would see a different map."""
        keyframes = self.keyframes.count + self.keyframes.replaced if self.keyframes else 0
        return self.trainer.steps, keyframes, self._edits, len(self.classes)

    def state(self, frame_id: str = "", version: int = 0, with_votes: bool = True) -> MapState:
        """Return an immutable copy of the map, in map coordinates.

        Args:
            frame_id: name of the world frame. version: version number of the copy.
            with_votes: whether it has the votes for labels of the surface, which views do without.
        """
        self.trainer.settle()
        tells_apart = self.image_language is not None
        temperature = self.config.language.relevancy_temperature if tells_apart else 0.0
        return MapState(
            field=self.field.frozen_copy(),
            frame_id=frame_id,
            bounds=self.intake.voxels.bounds(),
            voxels=self.intake.voxels.copy(),
            reach=self.intake.reach.copy(),
            label_names=dict(self.classes.names),
            class_ids=tuple(self.classes.ids),
            language=self.language.space(temperature) if self.language else self.stored_language,
            version=version,
            steps=self.trainer.steps,
            stamp_ns=self.intake.stamp_ns,
            surfaces=self.surfaces,
            annotations=self.annotations,
            votes=self.voted_labels() if with_votes else None,
        )

    def class_latents(self) -> NDArray[np.float16]:
        """Return the latent of each label row's name (C, D); (0, D) if images teach latents."""
        if self.language is None:
            return self._stored_latents
        if self.image_language is not None:
            return np.zeros((0, 0), np.float16)
        return self.trainer.class_latents.cpu().numpy().astype(np.float16)

    def voted_labels(self) -> VotedLabels | None:
        """Return a copy of all keyframes' votes; the same object if nothing has changed."""
        if self.keyframes is not None:
            self.votes.count(self.keyframes)
        if not len(self.votes.table):
            return None
        latents, version = self.class_latents(), self.votes.version
        if self._voted is None or self._voted[0] != version:
            self._voted = version, VotedLabels(self.votes.table.copy(), latents)
        elif not np.array_equal(self._voted[1].latents, latents):
            self._voted = version, replace(self._voted[1], latents=latents)
        return self._voted[1]

    def memory_bytes(self) -> int:
        """Return the memory of keyframes, grid, voxels, votes and image targets in bytes."""
        voxels = self.intake.voxels.memory_bytes() + self.intake.reach.memory_bytes()
        language = self.image_language.memory_bytes() if self.image_language else 0
        keyframes = self.keyframes.memory_bytes() if self.keyframes else 0
        votes = self.votes.memory_bytes()
        return grid_bytes(self.field.kernels.shape) + voxels + keyframes + language + votes
