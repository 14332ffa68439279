"""Selection of keyframes from the frames of a map, and bookkeeping of frames that are dropped."""

from __future__ import annotations

import logging
from collections import deque

from semantic_field.config import Config
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.kernels.threads import run_together
from semantic_field.mapping.corrections.claims import StampedCamera
from semantic_field.mapping.keyframes.readings import mark_voxels
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.labels.noise_vote import without_noise
from semantic_field.mapping.memory import make_keyframes
from semantic_field.mapping.robustness.interpolation import start_as_neighbours
from semantic_field.mapping.robustness.switches import Switches
from semantic_field.mapping.robustness.vanished import NOVEL_SHARE, MovedThings, novel_share

log = logging.getLogger(__name__)
VOXEL_STRIDE = 2  # every second pixel and row marks observed voxels
REMEMBERED_CAMERAS = 1000  # of the newest frames, for annotations that refer to a stamp


class Intake:
    """Makes keyframes of frames, marks the observed voxels, and counts dropped frames by cause.

    ``wants`` and ``drop`` may be called while another thread works on the map, as they only read
    the map; only one thread at a time may call them.

    Attributes:
        keyframes: the keyframe store; None before the first keyframe.
        voxels, reach: grids of the observed space, see ``MapState``.
        switches: options that are decided by what the keyframes show.
        moved: removes objects that have moved away; None if ``mapping.forget_moved`` is off.
        recent_cameras: cameras, poses and stamps of the newest frames.
        frames: number of frames offered. dropped: number of frames not used, by cause.
        stamp_ns: stamp of the newest keyframe.
    """

    def __init__(self, config: Config) -> None:
        self.config, mapping, voxel_m = config, config.mapping, config.field.voxel_m
        self.keyframes: KeyframeStore | None = None
        self.voxels, self.reach = VoxelGrid(voxel_m, with_errors=True), VoxelGrid(voxel_m)
        self.switches = Switches(mapping)
        self.moved = MovedThings(voxel_m, mapping.threads) if mapping.forget_moved else None
        self.recent_cameras: deque[StampedCamera] = deque(maxlen=REMEMBERED_CAMERAS)
        self.frames = self.stamp_ns = 0
        self.dropped: dict[str, int] = {}

    def continue_counting(self, before: Intake) -> None:
        """Continue the frame counters of another map's intake; ``dropped`` is then shared."""
        self.frames, self.dropped = before.frames, before.dropped

    def drop(self, cause: str, count: int = 1) -> None:
        """Add ``count`` dropped frames to the counter of a cause."""
        self.dropped[cause] = self.dropped.get(cause, 0) + count

    def wants(self, frame: Frame, busy: bool) -> bool:
        """Return whether an offered frame is worth taking; counts it as dropped if not.

        A frame needs a depth reading within range. A frame whose view the keyframes already cover
        is only taken to look for objects that have moved, and not while ``busy``.
        """
        self.frames += 1
        self.recent_cameras.append(
            StampedCamera(frame.stamp_ns, frame.camera, frame.T_world_camera)
        )
        cause = self._without_depth(frame)
        if cause:
            self.drop(cause)
            return False
        if self._is_covered(frame) and (
            busy or self.moved is None or not self.moved.wants(frame.stamp_ns)
        ):
            self.drop("view_covered")
            return False
        return True

    def _without_depth(self, frame: Frame) -> str:
        """Return why a frame has no usable depth; "" if it has a reading within range."""
        mapping, depth = self.config.mapping, frame.depth
        if ((depth >= mapping.min_depth_m) & (depth <= mapping.max_depth_m)).any():
            return ""
        return "depth_out_of_range" if (depth > 0).any() else "no_depth"

    def take(self, frame: Frame, classes: ClassTable) -> int | None:
        """Make a keyframe of a frame; returns its slot, or None if it was dropped instead.

        Args:
            frame: frame with its pose in map coordinates.
            classes: class table that gives the rows of its labels.
        """
        frame = frame.no_wider_than(self.config.mapping.max_image_width)
        slot = self._store(frame, classes)
        if slot is None:
            self.drop("view_covered")
            return None
        assert self.keyframes is not None
        if self.moved is not None and not self.moved.take(self.keyframes, slot):
            self.drop("view_blocked")
            return None
        try:
            surface = self.keyframes.surface(slot, VOXEL_STRIDE, self.config.field.voxel_m)
            mark_voxels(surface, self.voxels, self.reach)
        except ValueError as error:  # the pose is far outside the map; only this frame is lost
            self.keyframes.remove(slot)
            log.warning("frame left out: %s", error)
            self.drop("outside_map")
            return None
        self.switches.look(self.keyframes, slot)
        if self.switches.is_on("refine_poses"):
            start_as_neighbours(self.keyframes, slot)
        self.stamp_ns = max(self.stamp_ns, frame.stamp_ns)
        return slot

    def _store(self, frame: Frame, classes: ClassTable) -> int | None:
        """Store a frame's images; returns their slot, or None if the frame shows nothing new."""
        if self._is_covered(frame):
            return self._add(frame, classes) if self._shows_changes(frame) else None
        slots = []
        run_together(
            lambda: slots.append(self._add(frame, classes)), lambda: self._shows_changes(frame)
        )
        return slots[0]

    def _add(self, frame: Frame, classes: ClassTable) -> int:
        if self.keyframes is None:
            self.keyframes = make_keyframes(self.config, frame.camera.width, frame.camera.height)
        labels = None if self.config.teacher.segmenter_alone else frame.labels
        rows = None if labels is None else classes.rows(labels)
        if rows is not None and self.config.mapping.vote_on_noise:
            rows = without_noise(rows, frame.color)
        return self.keyframes.add(frame, rows)

    def _is_covered(self, frame: Frame) -> bool:
        mapping, store = self.config.mapping, self.keyframes
        near_enough = (mapping.keyframe_translation_m, mapping.keyframe_rotation_rad)
        return store is not None and not store.is_new_view(frame.T_world_camera, *near_enough)

    def _shows_changes(self, frame: Frame) -> bool:
        """Remove surfaces that a frame sees through from the voxel grids.

        Returns True if many voxels were cleared or the view is mostly new.
        """
        if self.moved is None or self.keyframes is None:
            return False
        novel = novel_share(frame, self.reach) > NOVEL_SHARE
        return self.moved.look(frame, self.voxels, self.reach, self.keyframes) or novel
