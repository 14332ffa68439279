"""The mapper: frames go in, a field is trained in one worker thread, snapshots come out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.config import Config
from semantic_field.field.annotations import Annotation, AnnotationSet
from semantic_field.field.map_file import dump_map, load_map, read_map, write_map
from semantic_field.field.map_state import LanguageSpace, MapState
from semantic_field.field.model import SemanticField, shape_of
from semantic_field.field.surface.cache import SurfaceCache
from semantic_field.field.views.device_rendering import DeviceMap
from semantic_field.field.views.rendering import RenderedView, render_view
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, moved, transform_points
from semantic_field.kernels import GridShape, make_kernels
from semantic_field.mapping.checkpoint import KeyframePacker, pack_training, unpack_training
from semantic_field.mapping.corrections.pointing import (
    Answer,
    Labels,
    Target,
    claim_of,
    keyframe_views,
    target_from,
)
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.intake import Intake
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable, checked_name
from semantic_field.mapping.labels.click_spreading import spread_clicks
from semantic_field.mapping.labels.vocabulary import Vocabulary
from semantic_field.mapping.language.basis import TEXT_SHARE, LanguageBasis, TextTeacher
from semantic_field.mapping.language.image_language import ImageLanguage
from semantic_field.mapping.language.teacher_worker import TeacherStatus
from semantic_field.mapping.language.teaching import Teaching
from semantic_field.mapping.mapper_status import MapperStatus, Meter, run_state
from semantic_field.mapping.memory import (
    depth_range_m,
    first_shape,
    follow_extent,
    grid_bytes,
    surface_bytes,
)
from semantic_field.mapping.placement import World
from semantic_field.mapping.robustness.interpolation import corrected_pose, exposed, interpolated
from semantic_field.mapping.training.factory import make_trainer, training_device
from semantic_field.mapping.training.step import Trainer
from semantic_field.mapping.turns import Turns
from semantic_field.teachers.image_teachers import ImageTargets, ImageTeachers
from semantic_field.teachers.regions import RegionProposer

log = logging.getLogger(__name__)
IDLE_WAIT_S = 0.1


class Mapper:
    """Trains one semantic field from posed RGB-D frames.

    ``start`` trains in a worker thread; without it ``add_frame`` and ``train_steps`` do their
    work in the caller. Every method may be called from any thread.

    Args:
        config: all settings.
        teacher: gives class names their embeddings; None for a map without language.
        frame_id: name of the frame that ``Frame.T_world_camera`` leads to.
        proposer: finds regions in the map's own views, see ``ImageLanguage``; that of ``eyes``
            where none is given.
        eyes: teachers that look at the keyframes: while the worker runs in a thread of their
            own at the rate they manage, otherwise at once in ``add_frame``.
        before_new_map: called with the reason when a new map is about to take the place of this
            one, because the world has moved; ``save`` still writes the old one.

    Poses that are given and asked for are in ``frame_id``. Inside, everything is in the map's own
    coordinates, which begin at ``origin``: see ``mapping.placement``.
    """

    def __init__(
        self,
        config: Config,
        teacher: TextTeacher | None = None,
        frame_id: str = "map",
        proposer: RegionProposer | None = None,
        eyes: ImageTeachers | None = None,
        before_new_map: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._before_new_map, self._map_number = before_new_map, 0
        self._placing = threading.Lock()
        self.config, self.frame_id, self._teacher = config, frame_id, teacher
        self._device = training_device(config)
        self._proposer = proposer or (eyes.proposer if eyes else None)
        self._turns = Turns()
        self._inbox: tuple[Frame, int] | None = None  # and the map that it is for
        self._arrived = threading.Condition()
        self._stopping = self._paused = False
        self._thread: threading.Thread | None = None
        self._error = ""
        self._version = 0
        self._teaching = self._make_teaching(eyes) if eyes is not None else None
        self._renamed = 0  # how often classes got other names
        self._clear()
        self._follow_classes()

    def _make_teaching(self, eyes: ImageTeachers) -> Teaching:
        return Teaching(
            eyes,
            self.config.teacher.threads,
            keyframes=lambda: self._keyframes,
            names=lambda: dict(enumerate(self._classes.row_names())),
            turns=self._turns,
        )

    def _clear(self, names: dict[int, str] | None = None) -> None:
        """An empty map whose label images have these names; the version counter runs on."""
        self._map_number += 1
        torch.manual_seed(self.config.mapping.seed)
        self._field = self._new_field()
        self._trainer = self._new_trainer(self._field)
        self._intake = Intake(self.config)
        self._world = World(self.config.mapping.max_speed_mps)
        self._language = self._new_language()
        self._kept_language: LanguageSpace | None = None  # of a loaded map, without its teacher
        self._learn_from_images()
        teacher = self._teacher if self._trainer.language is not None else None
        self._vocabulary = Vocabulary(teacher, self.config.language.texts)
        self._classes = self._vocabulary.table(names or {})
        self._surfaces = SurfaceCache()
        self._snapshot: MapState | None = None
        self._snapshot_of: tuple | None = None
        self._views: DeviceMap | None = None
        self._views_of: tuple | None = None
        self._meter = Meter()
        if self._teaching is not None:
            self._teaching.forget()
        self._annotations = AnnotationSet(cell_m=self.config.mapping.annotation_cell_m)
        self._corrections = Corrections(self.config.mapping)

    def _new_language(self) -> LanguageBasis | None:
        if self._teacher is None:
            return None
        share = TEXT_SHARE if self.config.language.source == "images" else 1.0
        return LanguageBasis(self._teacher, self.config.field.latent_dim, share)

    def _learn_from_images(self) -> None:
        """Start the learning of language from images, where the settings ask for it."""
        if self.config.language.source != "images":
            return
        if self._language is None:
            raise ValueError(
                "expected a language teacher for language.source 'images', got none: set "
                "teacher.kind, or language.source to 'labels'"
            )
        self._trainer.language = ImageLanguage(
            self.config.language,
            self._language,
            self._field,
            self._state,
            self._proposer,
            self.config.mapping.seed,
            self.config.query.up,
            surface_bytes(self.config.mapping),
            live=lambda: self._thread is not None,
        )

    def _new_field(self, classes: int = 0, shape: GridShape | None = None) -> SemanticField:
        config, threads = self.config.field, self.config.mapping.threads
        full = shape_of(config.grid)
        kernels = make_kernels(config.grid.kernels, full, self._device, threads)
        kernels = kernels.with_shape(shape or first_shape(full, kernels))
        return SemanticField(config, classes, kernels, self._device)

    def _new_trainer(self, field: SemanticField) -> Trainer:
        return make_trainer(field, self.config.mapping)

    @property
    def _keyframes(self) -> KeyframeStore | None:
        return self._intake.keyframes

    @property
    def origin(self) -> NDArray[np.float64]:
        """Where in ``frame_id`` the map's own coordinates begin (3,), metres."""
        return self._world.origin

    # frames

    def add_frame(self, frame: Frame) -> bool:
        """Offer a frame; True where it was taken for training.

        With the worker running this only puts the frame into a queue of one: a frame that still
        waits there is dropped and counted. A view that the keyframes cover already is not taken,
        nor an image without any depth, nor one whose pose is not believed.
        """
        with self._placing:
            placed, number = self._placed(frame), self._map_number
        if placed is None:
            return False
        frame = placed
        with self._arrived:
            waits = self._inbox is not None
            if not self._intake.wants(frame, busy=waits):
                return False
            if self._thread is not None:
                if waits:
                    self._intake.drop("mapper_busy")
                self._inbox = frame, number
                self._arrived.notify()
                return True
        with self._turns.visit():
            return self._take(frame)

    def _placed(self, frame: Frame) -> Frame | None:
        """The frame in the map's own coordinates; None where its pose is not believed."""
        news = self._world.look(frame)
        if news.outliers:
            self._intake.drop(news.cause, news.outliers)
        self._intake.frames += news.frame is None
        if news.text:
            log.warning("%s", news.text)
        if news.new_map:
            self._begin_anew(news.text)
            return self._world.begin(frame)
        return news.frame

    def _begin_anew(self, reason: str) -> None:
        """Another map in place of this one: the world has moved. What was counted stays."""
        self._before_new_map(reason)
        with self._turns.visit():
            world, before, texts = self._world, self._intake, self._vocabulary.texts
            with self._arrived:
                self._inbox = None
            self._clear(self._classes.kept_names())
            self._world, self._intake.frames = world, before.frames
            self._intake.dropped = before.dropped
            if texts != self._vocabulary.texts:
                self._vocabulary.choose(texts)
                self._classes = self._vocabulary.table(self._classes.given)
            self._follow_classes()

    def set_label_names(self, names: dict[int, str]) -> None:
        """Name the class ids; may be called again with more, nothing learnt is forgotten.

        Of a vocabulary that was set only these names count that are in it; common things, which
        maps learnt from images tell apart as long as there is nothing else, give way.
        """
        with self._turns.visit():
            classes, before = self._classes, dict(self._classes.names)
            given = classes.given | names
            if self._vocabulary.needs_new_table(names):
                if given != classes.given:
                    self._rename(self._vocabulary.table(given))
                return
            classes.set_names(names)
            self._renamed += classes.names != before
            self._follow_classes()

    def label_names(self) -> dict[int, str]:
        """The names of all classes that are known, by class id; also those that people made."""
        return dict(self._classes.names)

    def set_vocabulary(self, names: list[str]) -> None:
        """Tell these texts apart from now on, in place of those before (language from images).

        No texts = the names of label images, or common things where there are none. A text has
        the class id that label images give it, if they do, and they go on teaching what is in the
        vocabulary. Labels are made again from the stored features, which know of a new text what
        the columns of the latent held when they came.

        Raises:
            ValueError: where language is not learnt from images, or the teacher does not know a
                text.
        """
        with self._turns.visit():
            self._vocabulary.choose(names)
            self._rename(self._vocabulary.table(self._classes.given))
            language = self._trainer.language
            if language is not None and language.targets is not None:
                self._make_do()

    def _rename(self, classes: ClassTable) -> None:
        """Let all that is labelled follow another table: by names, and void where it has none."""
        before, self._classes = self._classes, classes
        self._annotations = self._annotations.renumbered(
            lambda class_id: class_id if class_id < 0 else classes.id_of(before.names[class_id])
        )
        self._corrections.follow(self._annotations, classes)
        rows = classes.rows_like(before)
        if self._keyframes is not None and rows.tolist() != list(range(len(rows))):
            self._keyframes.relabel(rows)
        self._renamed += 1
        self._follow_classes()

    def _make_do(self) -> None:
        if self._vocabulary.make_do(self._classes):
            self._renamed += 1
            self._follow_classes()

    def add_image_targets(self, stamp_ns: int, targets: ImageTargets) -> bool:
        """Take in what the teachers of images say of the frame of that stamp.

        May come any time after the frame; False where it is no keyframe (any more).
        """
        with self._turns.visit():
            store = self._keyframes
            if store is None or self._trainer.language is None:
                return False
            slots = np.flatnonzero(store.stamps_ns[: store.count] == stamp_ns)
            for slot in slots.tolist():
                self._add_targets(slot, targets)
            return bool(len(slots))

    def _add_targets(self, slot: int, targets: ImageTargets) -> None:
        assert self._keyframes is not None and self._language is not None
        assert self._trainer.language is not None
        self._make_do()
        self._trainer.language.add(self._keyframes, slot, targets)
        self._trainer.rank = self._language.rank

    def spread_clicks(self) -> float:
        """Let clicked pixels label the surface around them, see ``click_spreading``.

        For labels of a few pixels a frame, after all frames have been added; takes seconds.
        Returns the share of the keyframes' pixels that had a label before; from 0.5 % on
        nothing is done.
        """
        with self._turns.visit():
            return spread_clicks(self._keyframes) if self._keyframes is not None else 0.0

    def _take(self, frame: Frame) -> bool:
        """Make a keyframe of a frame, and let everything follow what it shows."""
        if self._intake.take(frame, self._classes) is None:
            return False
        follow_extent(self._trainer, self._intake.reach, self.config.mapping)
        self._follow_classes()
        if self._teaching is not None:
            self._teaching.look_now() if self._thread is None else self._teaching.wake()
        return True

    def _learn(self) -> None:
        """Take in what the teachers of images have said since the last step."""
        if self._teaching is not None:
            for slot, targets in self._teaching.arrived():
                self._add_targets(slot, targets)

    def _follow_classes(self) -> None:
        """Let label head and language targets follow the class table."""
        names, language = self._classes.row_names(), self._trainer.language
        if self._language is not None:
            known = self._trainer.class_latents
            latents_of = self._language.directions_of if language else self._language.latents_of
            self._trainer.class_latents = latents_of(names)
            self._trainer.rank = self._language.rank
            if language is None or torch.equal(known, self._trainer.class_latents):
                self._trainer.grow_classes(len(self._classes))
                return
            config, texts = self.config.language, self._trainer.class_latents
            self._trainer.set_label_rows(texts / (config.relevancy_temperature or 1.0))
            if config.unlabelled:
                texts = torch.cat([texts, latents_of([config.unlabelled])])
            language.set_vocabulary(texts)
        else:
            self._trainer.grow_classes(len(self._classes))

    # what people say

    def annotate(self, name: str, target: Target) -> Answer:
        """Let a part of the map belong to the class ``name``, which may be new.

        Training rests while the part is found: a person waits. Frames are taken in all the same.
        Of contradictory annotations the newest counts.

        Raises:
            ValueError: where there is no map, no surface or no view at the target, or the name
                means no class.
        """
        names = target.names if isinstance(target, Labels) else {0: checked_name(name)}
        seen = self._intake.seen
        views = [*seen, *(keyframe_views(self._keyframes) if self._keyframes else [])]
        newest = seen[-1] if seen else None
        with self._turns.rest():
            state, target = self.snapshot().in_own_frame(), target_from(target, self.origin)
            claimed = claim_of(state, target, views, newest, self._annotations.cell_m)
        with self._turns.visit():
            given, which = np.unique(claimed.classes, return_inverse=True)
            ids = np.array([self._classes.id_of(names[i]) for i in given.tolist()], np.int32)
            entry = Annotation(
                id=self._annotations.next_id,
                kind=target.kind,
                name=", ".join(self._classes.names[i] for i in ids.tolist()),
                stamp_ns=time.time_ns(),
                points=claimed.points,
                cells=claimed.cells,
                class_ids=ids[which],
            )
            conflicts = self._annotations.conflicts(entry.cells, entry.class_ids)
            self._correct(self._annotations.extended(entry), entry.cells)
        return Answer(entry, conflicts)

    def forget(self, annotation_id: int = 0) -> Annotation:
        """Take an annotation back, 0 = the newest; its place is what it would be without.

        Raises:
            ValueError: where there is no such annotation.
        """
        with self._turns.visit():
            entries = self._annotations.entries
            if not annotation_id and entries:
                annotation_id = entries[-1].id
            gone = self._annotations.get(annotation_id)
            self._correct(self._annotations.without(annotation_id), gone.cells)
            return gone

    def annotations(self) -> AnnotationSet:
        """What people have said and not taken back."""
        return self._annotations

    def _correct(self, annotations: AnnotationSet, changed: NDArray[np.int32]) -> None:
        """Follow the annotations from now on, and look at what has changed for a while."""
        self._annotations = annotations
        self._corrections.follow(annotations, self._classes)
        self._corrections.focus(changed, self._trainer.rays)
        self._follow_classes()
        with self._arrived:
            self._arrived.notify()

    # training

    def set_config(self, config: Config) -> None:
        """Use other settings of mapping and language from now on; fixed ones must stay.

        Raises:
            ValueError: where a text of another vocabulary cannot be told apart, see
                ``set_vocabulary``; all settings then stay as they are.
        """
        if config.language.vocabulary != self.config.language.vocabulary:
            self.set_vocabulary(config.language.texts)
        with self._turns.visit():
            self.config = self._intake.config = config
            self._corrections.config = config.mapping
            self._trainer.set_config(config.mapping)
            if self._intake.keyframes is not None:
                self._intake.keyframes.depth_range_m = depth_range_m(config.mapping)
            if self._trainer.language is not None:
                self._trainer.language.config = config.language

    def start(self) -> None:
        """Train in a worker thread until ``stop``."""
        if self._thread is None:
            self._stopping, self._error = False, ""
            self._thread = threading.Thread(target=self._run, name="mapper", daemon=True)
            self._thread.start()
            if self._teaching is not None:
                self._teaching.start()

    def stop(self) -> None:
        """End the worker thread and wait for it; the map stays."""
        thread, self._thread = self._thread, None
        if thread is not None:
            with self._arrived:
                self._stopping = True
                self._arrived.notify()
            thread.join()
            if self._teaching is not None:
                self._teaching.stop()

    def pause(self) -> None:
        """Stop training; frames are still taken."""
        self._paused = True

    def resume(self) -> None:
        """Train again."""
        with self._arrived:
            self._paused = False
            self._arrived.notify()

    def reset(self) -> None:
        """Forget the map; label names stay."""
        with self._turns.visit():
            self._inbox = None
            self._clear(self._classes.kept_names())
            self._follow_classes()

    def train_steps(self, n: int) -> None:
        """Take ``n`` training steps now, in the calling thread.

        Raises:
            ValueError: while there is no keyframe.
        """
        if self._keyframes is None or self._keyframes.count == 0:
            why = ", ".join(f"{n} {cause}" for cause, n in self.status().dropped.items())
            raise ValueError(
                "expected a keyframe before training (add_frame), got none"
                + (f"; frames dropped: {why}" if why else "")
            )
        for _ in range(n):
            with self._turns.visit():
                self._learn()
                self._step()

    def _step(self) -> None:
        assert self._keyframes is not None
        before = self._trainer.rays
        intake = self._intake
        self._trainer.step(self._keyframes, intake.reach, intake.voxels, self._corrections)
        if intake.moved is not None:
            intake.moved.search_one(self._keyframes, intake.reach)
        self._meter.count(self._trainer.rays - before)

    def _run(self) -> None:
        try:
            torch.set_num_threads(1)  # the kernels' threads share the work, see field.affine
            while not self._stopping:
                self._work_once()
        except Exception as error:  # whatever it was: the thread ends, and the status says why
            self._error = f"{type(error).__name__}: {error}"
            log.exception("training stopped")

    def _work_once(self) -> None:
        """Take the waiting frame, then one step; wait where there is neither."""
        with self._arrived:
            has_work = self._may_train()
            if self._inbox is None and not has_work and not self._stopping:
                self._arrived.wait(IDLE_WAIT_S)
                self._meter.restart()
            waiting, self._inbox = self._inbox, None
        with self._turns.turn():
            if waiting is not None and waiting[1] == self._map_number:
                self._take(waiting[0])
            self._learn()
            if self._may_train():
                self._step()

    def _may_train(self) -> bool:
        """Whether there is something to learn from, and no pause; corrections are learnt in one."""
        if self._keyframes is None or not self._keyframes.count:
            return False
        return not self._paused or self._corrections.are_fresh(self._trainer.rays)

    # readers

    def snapshot(self) -> MapState:
        """The map as it is now, immutable; the same object while nothing has changed."""
        with self._turns.visit():
            return self._snapshot_now()

    def _snapshot_now(self) -> MapState:
        current = self._moment()
        if self._snapshot is None or current != self._snapshot_of:
            self._version += 1
            self._snapshot = None  # its memory may serve for the new one
            self._snapshot = replace(self._state(), origin=self.origin)
            self._snapshot_of = current
        return self._snapshot

    def _moment(self) -> tuple:
        """What tells whether the map has changed."""
        keyframes = self._keyframes.count + self._keyframes.replaced if self._keyframes else 0
        names = self._renamed, len(self._classes)
        return self._trainer.steps, keyframes, names, self._annotations

    def _state(self) -> MapState:
        """The map as those see it who work in its own coordinates."""
        self._trainer.settle()
        told_apart = self.config.language.relevancy_temperature if self._trainer.language else 0.0
        return MapState(
            field=self._field.frozen_copy(),
            frame_id=self.frame_id,
            bounds=self._intake.voxels.bounds(),
            voxels=self._intake.voxels.copy(),
            reach=self._intake.reach.copy(),
            label_names=dict(self._classes.names),
            class_ids=tuple(self._classes.ids),
            language=self._language.space(told_apart) if self._language else self._kept_language,
            version=self._version,
            steps=self._trainer.steps,
            stamp_ns=self._intake.stamp_ns,
            surfaces=self._surfaces,
            annotations=self._annotations,
        )

    def render(self, camera: Camera, T_world_camera: NDArray[np.float64]) -> RenderedView:
        """The map as a camera would see it; training goes on meanwhile.

        What people have said counts at once, before the field has learnt it.
        """
        T_map_camera = moved(T_world_camera, -self.origin)
        if self._device.type != "cpu":
            return self._view_map().render(camera, T_map_camera)
        view = render_view(self.snapshot(), camera, T_world_camera)
        if not self._annotations.entries:
            return view
        points = transform_points(T_map_camera, camera.backproject(view.depth).reshape(-1, 3))
        label = self._annotations.overrule(points, view.label.reshape(-1)).reshape(view.label.shape)
        return replace(view, label=np.where(view.depth > 0, label, view.label))

    def _view_map(self) -> DeviceMap:
        """The map as it is now, on the GPU; the same object while nothing has changed."""
        with self._turns.visit():
            current = self._moment()
            if self._views is None or current != self._views_of:
                self._trainer.settle()
                field, intake = self._field.frozen_copy(self._device), self._intake
                ids = tuple(self._classes.ids)
                self._views = DeviceMap(field, intake.voxels, intake.reach, ids, self._views)
                self._views_of = current
                self._views.settle()
            return self._views

    def render_moment(
        self, camera: Camera, T_world_camera: NDArray[np.float64], stamp_ns: int
    ) -> RenderedView:
        """The map as a camera saw it at that moment, to be compared with its photograph.

        Where poses are refined or exposures adapted, the pose is corrected and the colours are
        exposed as those of the keyframes around that moment; otherwise both stay as they are. The
        labels are the field's own: unlike in ``render``, annotations overrule none of them.
        """
        state, store = self.snapshot(), self._keyframes
        if store is None:
            return render_view(state, camera, T_world_camera)
        with self._turns.visit():
            pose = corrected_pose(store, stamp_ns, moved(T_world_camera, -state.origin))
            exposure = interpolated(store, "exposure", stamp_ns)
        view = render_view(state.in_own_frame(), camera, pose)
        return view if exposure is None else replace(view, color=exposed(view.color, exposure))

    @property
    def steps(self) -> int:
        """Training steps of the map so far."""
        return self._trainer.steps

    def status(self) -> MapperStatus:
        """Counters and losses; never waits for training."""
        intake, trainer = self._intake, self._trainer  # a reset exchanges them
        store = intake.keyframes
        keyframes = store.count if store else 0
        return MapperStatus(
            state=run_state(self._error, self._thread is not None, self._paused, keyframes),
            keyframes=keyframes,
            steps=trainer.steps,
            rays_per_s=self._meter.rays_per_s,
            losses=dict(trainer.losses),
            dropped=dict(intake.dropped),
            memory_bytes=self._memory_bytes(),
            snapshot_version=self._version,
            frames=intake.frames,
            kernels=self._field.kernels.name,
            device=str(self._device),
            error=self._error,
            teachers=self._teaching.status() if self._teaching is not None else TeacherStatus(),
        )

    def _memory_bytes(self) -> int:
        store = self._keyframes
        voxels = self._intake.voxels.memory_bytes() + self._intake.reach.memory_bytes()
        language = self._trainer.language.memory_bytes() if self._trainer.language else 0
        keyframes = store.memory_bytes() if store else 0
        return grid_bytes(self._field.kernels.shape) + voxels + keyframes + language

    # files

    def save(self, path: str | Path) -> None:
        """Write the map with all that resuming needs; readers may load the same file.

        Training waits only while it is copied, not while images are compressed.
        """
        packer = KeyframePacker()
        while isinstance(copied := self._training_copy(packer), tuple):
            packer.pack(copied)
        write_map(path, dump_map(copied))

    def _training_copy(self, packer: KeyframePacker) -> MapState | tuple:
        """All of the map at one moment, or a keyframe that has to be packed before."""
        with self._turns.visit():
            missing = packer.next_missing(self._keyframes)
            if missing is not None:
                return missing
            state = self._snapshot_now()
            training = pack_training(self._trainer, self._keyframes, packer)
            return replace(state, training=training)

    def load(self, path: str | Path) -> None:
        """Continue from a saved map, in place of the present one.

        Without a teacher the map's language is handed on as it was.

        Raises:
            ValueError: where the file is damaged, or does not fit the settings or the teacher.
        """
        state = load_map(read_map(path))
        if state.frame_id != self.frame_id:
            raise ValueError(
                f"expected a map in frame {self.frame_id!r}, got one in {state.frame_id!r}; "
                "poses must lead to the frame of the map"
            )
        with self._turns.visit():
            if state.field.config != self.config.field:
                raise ValueError(
                    f"expected a map made with the settings {self.config.field}, got one with "
                    f"{state.field.config}; start with the settings of the map"
                )
            self._clear(self._classes.given_names())  # what people named is the other map's affair
            self._restore(state)

    def _restore(self, state: MapState) -> None:
        if self._language is None:
            self._kept_language = state.language
        elif state.language is not None:
            self._language.restore(state.language)
        self._field = self._new_field(len(state.class_ids), state.field.kernels.shape)
        self._field.assign(state.field)
        self._trainer = self._new_trainer(self._field)
        self._learn_from_images()
        names = self._classes.given_names()
        self._classes.restore(state.label_names, state.class_ids)
        self._classes.set_names(names)
        self._vocabulary.keep(self._classes)
        intake = self._intake
        intake.voxels, intake.reach = state.voxels.copy(), state.reach.copy()
        intake.stamp_ns = state.stamp_ns
        self._world = World(self.config.mapping.max_speed_mps, state.origin)
        self._trainer.steps = state.steps
        self._version = max(self._version, state.version)
        intake.keyframes = unpack_training(state.training, self._trainer, self.config)
        self._annotations = state.annotations
        self._corrections.follow(self._annotations, self._classes)
        self._follow_classes()
