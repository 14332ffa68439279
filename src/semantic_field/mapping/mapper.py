"""The mapper: frames go in, a live map is trained in one worker thread, snapshots come out.

Overview of this folder: ``placement`` judges poses and keeps the map's origin in the world frame,
``entrance`` and ``intake`` select keyframes, ``live_map`` owns what is trained, ``training`` takes
the training steps, ``labels``, ``language`` and ``corrections`` provide its targets, ``robustness``
handles changes and errors, ``snapshots`` and ``renderer`` serve readers, ``checkpoint`` saves the
training state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from semantic_field.config import Config
from semantic_field.field.annotations import Annotation, AnnotationSet
from semantic_field.field.map_file import dump_map, load_map, read_map, write_map
from semantic_field.field.map_state import MapState
from semantic_field.field.views.rendering import RenderedView
from semantic_field.field.views.source_views import SourceViews
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.mapping.checkpoint import KeyframePacker, check_fits, pack_training
from semantic_field.mapping.corrections import annotating
from semantic_field.mapping.corrections.pointing import Answer, PointedAt
from semantic_field.mapping.entrance import Entrance
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.mapping.labels import renaming
from semantic_field.mapping.labels.click_spreading import spread_clicks
from semantic_field.mapping.language.basis import TextTeacher
from semantic_field.mapping.language.teacher_worker import TeacherStatus
from semantic_field.mapping.language.teaching import Teaching
from semantic_field.mapping.live_map import LiveMap
from semantic_field.mapping.mapper_status import MapperStatus, Meter, status_of
from semantic_field.mapping.placement import World
from semantic_field.mapping.renderer import Renderer
from semantic_field.mapping.snapshots import Snapshots
from semantic_field.mapping.turns import Turns
from semantic_field.mapping.worker import Worker
from semantic_field.teachers.image_teachers import ImageTargets, ImageTeachers
from semantic_field.teachers.regions import RegionProposer

LONGEST_REST_S = 60.0
Seen = TypeVar("Seen")


class Mapper:
    """Trains one semantic field from posed RGB-D frames.

    ``start`` trains in a worker thread; without it ``add_frame`` and ``train_steps`` do their
    work in the calling thread. All methods are thread-safe. All poses, given and returned, are in
    the frame ``frame_id``. A call that is refused with a ValueError changes nothing.

    Args:
        config: all settings.
        teacher: embeds class names; None for a map without language.
        frame_id: name of the world frame, the target frame of ``Frame.T_world_camera``.
        proposer: finds regions in rendered views, see ``ImageLanguage``; by default that of
            ``image_teachers``.
        image_teachers: compute features of the keyframes: in a background thread while the mapper
            runs, otherwise at once in ``add_frame``.
        before_new_map: called with the reason before a new map replaces this one because the
            world frame has shifted; ``save`` still writes the old map at that time.
    Attributes:
        live_map: the current map; replaced by another object on ``load``, on ``reset`` and when a
            new map begins. While the worker runs, access its parts only inside
            ``with mapper.turns.visit(): ...``, or use ``snapshot`` instead.
        turns: the lock of the map.
        teacher: as given.
    """

    live_map_type: type[LiveMap] = LiveMap

    def __init__(
        self,
        config: Config,
        teacher: TextTeacher | None = None,
        frame_id: str = "map",
        proposer: RegionProposer | None = None,
        image_teachers: ImageTeachers | None = None,
        before_new_map: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.config, self.frame_id, self.teacher = config, frame_id, teacher
        self._before_new_map = before_new_map
        self._proposer = proposer or (image_teachers.proposer if image_teachers else None)
        self.turns, self._paused, self._rests_until = Turns(), False, 0.0
        self._meter, self._snapshots = Meter(), Snapshots(frame_id, self.turns.visit)
        self._worker = Worker(self._work_once, wake=lambda: self._entrance.wake())
        self.live_map = self._new_map()
        world = World(config.mapping.max_speed_mps)
        self._entrance = Entrance(self.live_map.intake, world, self._begin_anew)
        self._teaching = self._make_teaching(image_teachers) if image_teachers is not None else None

    def _make_teaching(self, image_teachers: ImageTeachers) -> Teaching:
        return Teaching(
            image_teachers,
            self.config.teacher.threads,
            keyframes=lambda: self.live_map.keyframes,
            names=lambda: dict(enumerate(self.live_map.classes.row_names())),
            turns=self.turns,
        )

    def _new_map(
        self,
        names: dict[int, str] | None = None,
        texts: list[str] | None = None,
        stored: MapState | None = None,
    ) -> LiveMap:
        """Return another live map without touching the current one; arguments as of ``LiveMap``."""
        return self.live_map_type(
            self.config,
            self.teacher,
            self._proposer,
            names,
            texts,
            stored,
            is_live=lambda: self._worker.is_started,
        )

    def _swap(self, live_map: LiveMap, world: World) -> None:
        """Replace the current map by another one; the caller must hold a turn."""
        self.live_map = live_map
        self._entrance.lead_to(live_map.intake, world)
        self._snapshots.forget()
        self._meter = Meter()
        if self._teaching is not None:
            self._teaching.forget()

    @property
    def origin(self) -> NDArray[np.float64]:
        """Origin of the map's coordinates in ``frame_id`` (3,), metres."""
        return self._entrance.world.origin

    # frames

    def add_frame(self, frame: Frame) -> bool:
        """Offer a frame; returns True if it was accepted for training.

        While the worker runs, this only puts the frame into a queue of one, and replaces a frame
        that is still waiting there. A frame is refused if the keyframes already cover its view, if
        it has no depth within range, or if its pose is rejected. ``status().dropped`` counts all
        frames that are not used.
        """
        if not self._entrance.offer(frame):
            return False
        if self._worker.is_started:
            return True
        with self.turns.visit():
            return self._take_waiting()

    def _begin_anew(self, reason: str, before: World, world: World) -> None:
        """Begin a new map because the world frame has shifted; frame counters go on."""
        self._before_new_map(reason)
        with self.turns.visit():
            old = self.live_map
            if self._entrance.world is before:
                fresh = self._new_map(old.classes.kept_names(), old.vocabulary.texts)
                fresh.intake.continue_counting(old.intake)
                self._swap(fresh, world)

    def _take_waiting(self) -> bool:
        """Take the frame from the queue, if any; returns whether it became a keyframe.

        The caller must hold a turn.
        """
        frame = self._entrance.take()
        if frame is None or not self.live_map.take(frame):
            return False
        if self._teaching is not None:
            self._teaching.wake() if self._worker.is_started else self._teaching.look_now()
        return True

    def add_image_targets(self, stamp_ns: int, targets: ImageTargets) -> bool:
        """Train from now on with the image teachers' results for the frame of a stamp.

        May be called at any time after ``add_frame``. Returns False, and ignores the targets, if
        the frame is not (or no longer) a keyframe or language is not learnt from images.
        """
        with self.turns.visit():
            store = self.live_map.keyframes
            if store is None or self.live_map.image_language is None:
                return False
            slots = np.flatnonzero(store.stamps_ns[: store.count] == stamp_ns)
            for slot in slots.tolist():
                self.live_map.add_targets(slot, targets)
            return bool(len(slots))

    # names and annotations

    def set_label_names(self, names: dict[int, str]) -> None:
        """Set names of class ids of the label images, see ``renaming.set_label_names``."""
        with self.turns.visit():
            renaming.set_label_names(self.live_map, names)

    def label_names(self) -> dict[int, str]:
        """Return the names of all classes by class id, with those made by annotations."""
        return dict(self.live_map.classes.names)

    def set_vocabulary(self, names: list[str]) -> None:
        """Use these texts as classes from now on, see ``renaming.set_vocabulary``.

        Raises:
            ValueError: if language is not learnt from images, or the teacher does not know a
                text.
        """
        with self.turns.visit():
            renaming.set_vocabulary(self.live_map, names)

    def spread_clicks(self) -> float:
        """Spread the labels of single pixels over the surface around them, see ``click_spreading``.

        For frames with a few labelled pixels each; call it after all frames have been added. Takes
        seconds. Returns the share (0..1) of the keyframes' pixels that were labelled before; if it
        is 0.5 % or more, nothing is changed.
        """
        with self.turns.visit():
            store = self.live_map.keyframes
            return spread_clicks(store) if store is not None else 0.0

    def annotate(self, name: str, pointed_at: PointedAt) -> Answer:
        """Assign a part of the map to the class ``name``, which may be new.

        Training pauses while the part is determined, because a person waits for the answer; frames
        are still put into the queue. Where annotations contradict each other, the newest counts.

        Returns:
            the new annotation, and the earlier ones that it contradicts.
        Raises:
            ValueError: if there is no map, no surface or no frame of that stamp, the name is empty
                or means "no class", or another map was loaded in the meantime.
        """
        names = annotating.names_of(name, pointed_at)
        with self.turns.rest():
            with self.turns.visit():
                live_map, recent = self.live_map, self._entrance.recent_cameras()
                scene = annotating.Scene.of(live_map, self._state(), recent)
            claimed = scene.claim(pointed_at)
        with self.turns.visit():
            if live_map is not self.live_map:
                raise ValueError(
                    "expected the map that was pointed at, got another one that has taken its "
                    "place meanwhile; point at it again"
                )
            answer = annotating.annotate(live_map, pointed_at.kind, names, claimed)
        self._entrance.wake()
        return answer

    def forget(self, annotation_id: int = 0) -> Annotation:
        """Delete an annotation (0 = the newest) and return it.

        Its cells are labelled as if it had never been made.

        Raises:
            ValueError: if there is no such annotation.
        """
        with self.turns.visit():
            gone = annotating.forget(self.live_map, annotation_id)
        self._entrance.wake()
        return gone

    def annotations(self) -> AnnotationSet:
        """Return all annotations that have not been deleted."""
        return self.live_map.annotations

    # training

    def set_config(self, config: Config) -> None:
        """Use other settings of mapping and language from now on.

        Settings that are fixed at the start must have the same values as before.

        Raises:
            ValueError: if a new vocabulary is refused, see ``set_vocabulary``; all settings then
                stay as they are.
        """
        with self.turns.visit():
            if config.language.vocabulary != self.config.language.vocabulary:
                renaming.set_vocabulary(self.live_map, config.language.texts)
            self.config = config
            self.live_map.set_config(config)
        self._entrance.set_max_speed(config.mapping.max_speed_mps)

    def start(self) -> None:
        """Start a worker thread that trains until ``stop``; no effect if it is started."""
        if not self._worker.is_started:
            self._worker.start()
            if self._teaching is not None:
                self._teaching.start()

    def stop(self) -> None:
        """End the worker thread and wait for it; the map is kept."""
        if self._worker.is_started:
            self._worker.stop()
            if self._teaching is not None:
                self._teaching.stop()

    def pause(self) -> None:
        """Stop training; frames are still taken, and new annotations still trained."""
        self._paused = True

    def resume(self) -> None:
        """Continue training after ``pause``."""
        self._paused = False
        self._entrance.wake()

    def rest(self, seconds: float) -> None:
        """Take no training step for so many seconds, so that another task has the processor.

        As ``pause``, but it ends by itself, so that nobody who fails can stop training for ever. A
        later call replaces an earlier one; 0 = go on now.

        Raises:
            ValueError: on a negative duration, or one above ``LONGEST_REST_S``.
        """
        if not 0.0 <= seconds <= LONGEST_REST_S:
            raise ValueError(
                f"expected a rest of 0 to {LONGEST_REST_S:.0f} s, got {seconds}: pause the mapping "
                "node for longer ones"
            )
        self._rests_until = time.monotonic() + seconds
        if not seconds:
            self._entrance.wake()

    def reset(self) -> None:
        """Replace the map by an empty one; class names are kept, the vocabulary is ``config``'s."""
        with self.turns.visit():
            fresh = self._new_map(self.live_map.classes.kept_names())
            self._swap(fresh, World(self.config.mapping.max_speed_mps))

    def train_steps(self, n: int) -> None:
        """Take ``n`` training steps now, in the calling thread.

        Raises:
            ValueError: if there is no keyframe.
        """
        self.live_map.check_keyframes()
        for _ in range(n):
            with self.turns.visit():
                self._learn()
                self._step()

    def _learn(self) -> None:
        """Pass on the results of the image teachers that arrived since the last step."""
        if self._teaching is not None:
            for slot, targets in self._teaching.arrived():
                self.live_map.add_targets(slot, targets)

    def _step(self) -> None:
        trainer = self.live_map.trainer
        before = trainer.rays
        self.live_map.step()
        self._meter.count(trainer.rays - before)

    def _work_once(self) -> None:
        """Take the waiting frame, then one training step; wait a little if there is neither."""
        if self._entrance.rest_unless(lambda: self._worker.is_stopping or self._may_train()):
            self._meter.restart()
        with self.turns.turn():
            self._take_waiting()
            self._learn()
            if self._may_train():
                self._step()

    def _may_train(self) -> bool:
        """Return whether to train: not without keyframes; while it pauses or rests, only new
        corrections."""
        live_map = self.live_map
        idle = self._paused or time.monotonic() < self._rests_until
        return live_map.has_keyframes and (not idle or live_map.is_corrected)

    def ask_keyframes(self, question: Callable[[SourceViews], Seen]) -> Seen | None:
        """Return what a function of the keyframes returns; None if there are none.

        They are in map coordinates and do not change meanwhile; see ``KeyframeViews.ask``.
        """
        views = KeyframeViews(
            lambda: self.live_map.keyframes,
            lambda: self.live_map.classes.ids,
            guard=self.turns.visit,
        )
        return views.ask(question)

    # readers

    def snapshot(self) -> MapState:
        """Return an immutable copy of the current map; the same object if nothing has changed."""
        with self.turns.visit():
            return self._state()

    def _state(self) -> MapState:
        return self._snapshots.state(self.live_map, self.origin)

    def renderer(self) -> Renderer:
        """Return a renderer of the current map, on the device on which the map is trained."""
        with self.turns.visit():
            return self._snapshots.renderer(self.live_map, self.origin)

    def render(
        self, camera: Camera, T_world_camera: NDArray[np.float64], with_latent: bool = False
    ) -> RenderedView:
        """Render the current map; training continues meanwhile. See ``Renderer.render``.

        Args:
            T_world_camera: (4, 4), camera pose in ``frame_id``.
            with_latent: whether to also render the latents.
        Returns:
            the rendered images.
        """
        return self.renderer().render(camera, T_world_camera, with_latent=with_latent)

    def render_moment(
        self, camera: Camera, T_world_camera: NDArray[np.float64], stamp_ns: int
    ) -> RenderedView:
        """Return a view of the current map for comparison with a photograph taken at a stamp.

        If poses are refined or exposures adapted, the pose correction and the exposure of the
        keyframes around that stamp are applied; otherwise the view is that of ``render``.
        """
        return self.renderer().render(camera, T_world_camera, stamp_ns)

    @property
    def steps(self) -> int:
        """Number of training steps of the map so far."""
        return self.live_map.trainer.steps

    def status(self) -> MapperStatus:
        """Return counters and losses; never waits for training."""
        return status_of(
            self.live_map,
            self._meter.rays_per_s,
            started=self._worker.is_started,
            paused=self._paused,
            error=self._worker.error,
            snapshot_version=self._snapshots.version,
            teachers=self._teaching.status() if self._teaching is not None else TeacherStatus(),
        )

    # files

    def save(self, path: str | Path) -> None:
        """Write the map and its training state to a file, which readers can load, too.

        Training pauses only while data are copied, not while images are compressed.
        """
        packer = KeyframePacker()
        while isinstance(copied := self._training_copy(packer), tuple):
            packer.pack(copied)
        write_map(path, dump_map(copied))

    def _training_copy(self, packer: KeyframePacker) -> MapState | tuple:
        """Return a copy of the map with its training state, or a keyframe to be packed first."""
        with self.turns.visit():
            live_map = self.live_map
            missing = packer.next_missing(live_map.keyframes)
            if missing is not None:
                return missing
            training = pack_training(live_map.trainer, live_map.keyframes, packer)
            return replace(self._state(), training=training)

    def load(self, path: str | Path) -> None:
        """Replace the current map by a saved one and continue its training.

        The current map is replaced only after the saved one has been built and checked completely;
        until then both are in memory, see ``checkpoint``. Without a teacher, the saved map's
        language is passed on unchanged.

        Raises:
            ValueError: if the file is damaged, or does not fit the settings or the teacher; the
                current map is then unchanged.
        """
        state = load_map(read_map(path))
        with self.turns.visit():
            check_fits(state, self.config.field, self.frame_id)
            # Names from annotations of the current map are not passed on to the loaded one.
            live_map = self._new_map(self.live_map.classes.given_names(), stored=state)
            self._snapshots.version = max(self._snapshots.version, state.version)
            self._swap(live_map, World(self.config.mapping.max_speed_mps, state.origin))
