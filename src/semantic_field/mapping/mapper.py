"""The mapper: frames go in, a live map is trained in one worker thread, snapshots come out.

The table of contents of this folder: ``placement`` judges poses and says where the map lies in the
world, ``live_map`` learns, ``labels`` and ``corrections`` change what it is taught, ``snapshots``
and ``renderer`` show it to readers, ``checkpoint`` keeps it in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semantic_field.config import Config
from semantic_field.field.annotations import Annotation, AnnotationSet
from semantic_field.field.map_file import dump_map, load_map, read_map, write_map
from semantic_field.field.map_state import MapState
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.mapping.checkpoint import KeyframePacker, check_fits, pack_training
from semantic_field.mapping.corrections import annotating
from semantic_field.mapping.corrections.pointing import Answer, PointedAt
from semantic_field.mapping.entrance import Entrance
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


class Mapper:
    """Trains one semantic field from posed RGB-D frames.

    ``start`` trains in a worker thread; without it ``add_frame`` and ``train_steps`` do their
    work in the caller. Every method may be called from any thread. Poses that are given and
    returned are in ``frame_id``. What is refused with a ValueError changes nothing.

    Args:
        config: all settings.
        teacher: gives class names their embeddings; None for a map without language.
        frame_id: name of the frame that ``Frame.T_world_camera`` leads to.
        proposer: finds regions in rendered views, see ``ImageLanguage``; that of
            ``image_teachers`` where none is given.
        image_teachers: compute features of the keyframes: in a background thread while the mapper
            runs, otherwise at once in ``add_frame``.
        before_new_map: called with the reason when a new map is about to take the place of this
            one, because the world has moved; ``save`` still writes the old one.
    Attributes:
        live_map: the map. Another one takes its place when a map is loaded, reset or begun anew.
            While the worker runs, whoever uses its parts holds a turn:
            ``with mapper.turns.visit(): ...``. Otherwise use ``snapshot``.
        turns: who may work on the map.
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
        self.turns, self._paused = Turns(), False
        self._meter, self._snapshots = Meter(), Snapshots(frame_id)
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
        """Another live map, beside the present one; see ``LiveMap``."""
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
        """Let another map take the place of the present one; to be called in a turn."""
        self.live_map = live_map
        self._entrance.lead_to(live_map.intake, world)
        self._snapshots.forget()
        self._meter = Meter()
        if self._teaching is not None:
            self._teaching.forget()

    @property
    def origin(self) -> NDArray[np.float64]:
        """Where in ``frame_id`` the map's own coordinates begin (3,), metres."""
        return self._entrance.world.origin

    # frames

    def add_frame(self, frame: Frame) -> bool:
        """Offer a frame; returns True where it was taken for training.

        With the worker running this only puts the frame into a queue of one: a frame that still
        waits there is dropped and counted. A view that the keyframes cover already is not taken,
        nor an image without any depth, nor one whose pose is not believed.
        """
        if not self._entrance.offer(frame):
            return False
        if self._worker.is_started:
            return True
        with self.turns.visit():
            return self._take_waiting()

    def _begin_anew(self, reason: str, before: World, world: World) -> None:
        """Another map in place of this one: the world has moved. What was counted stays."""
        self._before_new_map(reason)
        with self.turns.visit():
            old = self.live_map
            if self._entrance.world is before:
                fresh = self._new_map(old.classes.kept_names(), old.vocabulary.texts)
                fresh.intake.continue_counting(old.intake)
                self._swap(fresh, world)

    def _take_waiting(self) -> bool:
        """Take the waiting frame, if any, in a turn; returns whether it is a keyframe now."""
        frame = self._entrance.take()
        if frame is None or not self.live_map.take(frame):
            return False
        if self._teaching is not None:
            self._teaching.wake() if self._worker.is_started else self._teaching.look_now()
        return True

    def add_image_targets(self, stamp_ns: int, targets: ImageTargets) -> bool:
        """Take in what the image teachers say of the frame of that stamp.

        May come any time after the frame. Returns False where it is no keyframe (any more).
        """
        with self.turns.visit():
            store = self.live_map.keyframes
            if store is None or self.live_map.image_language is None:
                return False
            slots = np.flatnonzero(store.stamps_ns[: store.count] == stamp_ns)
            for slot in slots.tolist():
                self.live_map.add_targets(slot, targets)
            return bool(len(slots))

    # names, and what people say

    def set_label_names(self, names: dict[int, str]) -> None:
        """Name class ids of the label images, see ``renaming.set_label_names``."""
        with self.turns.visit():
            renaming.set_label_names(self.live_map, names)

    def label_names(self) -> dict[int, str]:
        """The names of all classes that are known, by class id; also those that people made."""
        return dict(self.live_map.classes.names)

    def set_vocabulary(self, names: list[str]) -> None:
        """Tell these texts apart from now on, see ``renaming.set_vocabulary``.

        Raises:
            ValueError: where language is not learnt from images, or the teacher does not know a
                text.
        """
        with self.turns.visit():
            renaming.set_vocabulary(self.live_map, names)

    def spread_clicks(self) -> float:
        """Let clicked pixels label the surface around them, see ``click_spreading``.

        For labels of a few pixels a frame, after all frames have been added; takes seconds.
        Returns the share of the keyframes' pixels that had a label before; from 0.5 % on
        nothing is done.
        """
        with self.turns.visit():
            store = self.live_map.keyframes
            return spread_clicks(store) if store is not None else 0.0

    def annotate(self, name: str, pointed_at: PointedAt) -> Answer:
        """Let a part of the map belong to the class ``name``, which may be new.

        Training rests while the part is found: a person waits. Frames are taken in all the same.
        Of contradictory annotations the newest counts.

        Raises:
            ValueError: where there is no map, no surface, or no frame of that stamp, the name
                means no class, or another map was loaded meanwhile.
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
        """Take an annotation back, 0 = the newest; its place is what it would be without.

        Raises:
            ValueError: where there is no such annotation.
        """
        with self.turns.visit():
            gone = annotating.forget(self.live_map, annotation_id)
        self._entrance.wake()
        return gone

    def annotations(self) -> AnnotationSet:
        """What people have said and not taken back."""
        return self.live_map.annotations

    # training

    def set_config(self, config: Config) -> None:
        """Use other settings of mapping and language from now on; fixed ones must stay.

        Raises:
            ValueError: where a text of another vocabulary cannot be told apart, see
                ``set_vocabulary``; all settings then stay as they are.
        """
        with self.turns.visit():
            if config.language.vocabulary != self.config.language.vocabulary:
                renaming.set_vocabulary(self.live_map, config.language.texts)
            self.config = config
            self.live_map.set_config(config)
        self._entrance.set_max_speed(config.mapping.max_speed_mps)

    def start(self) -> None:
        """Train in a worker thread until ``stop``."""
        if not self._worker.is_started:
            self._worker.start()
            if self._teaching is not None:
                self._teaching.start()

    def stop(self) -> None:
        """End the worker thread and wait for it; the map stays."""
        if self._worker.is_started:
            self._worker.stop()
            if self._teaching is not None:
                self._teaching.stop()

    def pause(self) -> None:
        """Stop training; frames are still taken."""
        self._paused = True

    def resume(self) -> None:
        """Train again."""
        self._paused = False
        self._entrance.wake()

    def reset(self) -> None:
        """Forget the map; label names stay."""
        with self.turns.visit():
            fresh = self._new_map(self.live_map.classes.kept_names())
            self._swap(fresh, World(self.config.mapping.max_speed_mps))

    def train_steps(self, n: int) -> None:
        """Take ``n`` training steps now, in the calling thread.

        Raises:
            ValueError: while there is no keyframe.
        """
        self.live_map.check_keyframes()
        for _ in range(n):
            with self.turns.visit():
                self._learn()
                self._step()

    def _learn(self) -> None:
        """Take in what the image teachers have said since the last step."""
        if self._teaching is not None:
            for slot, targets in self._teaching.arrived():
                self.live_map.add_targets(slot, targets)

    def _step(self) -> None:
        trainer = self.live_map.trainer
        before = trainer.rays
        self.live_map.step()
        self._meter.count(trainer.rays - before)

    def _work_once(self) -> None:
        """Take the waiting frame, then one step; wait where there is neither."""
        if self._entrance.rest_unless(lambda: self._worker.is_stopping or self._may_train()):
            self._meter.restart()
        with self.turns.turn():
            self._take_waiting()
            self._learn()
            if self._may_train():
                self._step()

    def _may_train(self) -> bool:
        """Whether there is something to learn from, and no pause; corrections are learnt in one."""
        live_map = self.live_map
        return live_map.has_keyframes and (not self._paused or live_map.is_corrected)

    # readers

    def snapshot(self) -> MapState:
        """The map as it is now, immutable; the same object while nothing has changed."""
        with self.turns.visit():
            return self._state()

    def _state(self) -> MapState:
        return self._snapshots.state(self.live_map, self.origin)

    def renderer(self) -> Renderer:
        """What renders the map as it is now, on the device on which it is trained."""
        with self.turns.visit():
            return self._snapshots.renderer(self.live_map, self.origin)

    def render(
        self, camera: Camera, T_world_camera: NDArray[np.float64], with_latent: bool = False
    ) -> RenderedView:
        """The map as a camera would see it now, see ``Renderer``; training goes on meanwhile."""
        return self.renderer().render(camera, T_world_camera, with_latent=with_latent)

    def render_moment(
        self, camera: Camera, T_world_camera: NDArray[np.float64], stamp_ns: int
    ) -> RenderedView:
        """The map as a camera saw it at that moment, to be compared with its photograph.

        Where poses are refined or exposures adapted, the pose is corrected and the colours are
        exposed as those of the keyframes around that moment; otherwise both stay as they are.
        """
        return self.renderer().render(camera, T_world_camera, stamp_ns)

    @property
    def steps(self) -> int:
        """Training steps of the map so far."""
        return self.live_map.trainer.steps

    def status(self) -> MapperStatus:
        """Counters and losses; never waits for training."""
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
        """Write the map with all that resuming needs; readers may load the same file.

        Training waits only while it is copied, not while images are compressed.
        """
        packer = KeyframePacker()
        while isinstance(copied := self._training_copy(packer), tuple):
            packer.pack(copied)
        write_map(path, dump_map(copied))

    def _training_copy(self, packer: KeyframePacker) -> MapState | tuple:
        """All of the map at one moment, or a keyframe that has to be packed before."""
        with self.turns.visit():
            live_map = self.live_map
            missing = packer.next_missing(live_map.keyframes)
            if missing is not None:
                return missing
            training = pack_training(live_map.trainer, live_map.keyframes, packer)
            return replace(self._state(), training=training)

    def load(self, path: str | Path) -> None:
        """Continue from a saved map, in place of the present one.

        The saved map is built beside the present one, which is replaced only when all of it is
        found to be right; for that time there are two maps in memory, see ``checkpoint``. Without
        a teacher the map's language is handed on as it was.

        Raises:
            ValueError: where the file is damaged, or does not fit the settings or the teacher;
                the present map is then as it was.
        """
        state = load_map(read_map(path))
        with self.turns.visit():
            check_fits(state, self.config.field, self.frame_id)
            # What people named is the other map's affair.
            live_map = self._new_map(self.live_map.classes.given_names(), stored=state)
            self._snapshots.version = max(self._snapshots.version, state.version)
            self._swap(live_map, World(self.config.mapping.max_speed_mps, state.origin))
