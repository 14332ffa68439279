"""The input queue of a map: checks poses, transforms them into map coordinates, holds one frame."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from semantic_field.frames import Frame
from semantic_field.mapping.corrections.claims import StampedCamera
from semantic_field.mapping.intake import Intake
from semantic_field.mapping.placement import News, World

log = logging.getLogger(__name__)
IDLE_WAIT_S = 0.1


class Entrance:
    """A queue of one frame in front of a map; its methods may be called from any thread.

    Args:
        intake: the intake of the current map.
        world: origin and pose judge of the current map.
        begin_anew: called when a frame needs a new map, with the reason, the old world and the new
            world; must call ``lead_to`` for the new map.
    Attributes:
        world: origin and pose judge of the current map; replaced by a copy for each frame.
    """

    def __init__(
        self, intake: Intake, world: World, begin_anew: Callable[[str, World, World], None]
    ) -> None:
        self.world, self._intake, self._begin_anew = world, intake, begin_anew
        # Lock order: ``_one_by_one``, then a turn of the mapper, then ``_changed``.
        self._one_by_one = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: Frame | None = None  # in the coordinates of the current map

    def offer(self, frame: Frame) -> bool:
        """Put a frame into the queue if its pose is accepted and the map can use it.

        Replaces a frame that is still in the queue, and counts that one as dropped.

        Args:
            frame: frame with its pose in the world frame.
        Returns:
            whether the frame is in the queue now.
        """
        with self._one_by_one:
            before, world = self.world, self.world.copy()
            news = world.look(frame)
            if news.text:
                log.warning("%s", news.text)
            if news.new_map:
                news = replace(news, frame=world.begin(frame))
                self._begin_anew(news.text, before, world)
                before = world
            with self._changed:
                if self.world is not before:  # another map has been loaded in the meantime
                    return False
                self.world = world
                return self._let_wait(news)

    def _let_wait(self, news: News) -> bool:
        intake, busy = self._intake, self._waiting is not None
        if news.outliers:
            intake.drop(news.cause, news.outliers)
        if news.frame is None:
            intake.frames += 1
            return False
        if not intake.wants(news.frame, busy):
            return False
        if busy:
            intake.drop("mapper_busy")
        self._waiting = news.frame
        self._changed.notify()
        return True

    def set_max_speed(self, max_speed_mps: float) -> None:
        """Accept poses up to this camera speed from the next frame on; 0 = accept all."""
        with self._one_by_one:
            self.world.set_max_speed(max_speed_mps)

    def take(self) -> Frame | None:
        """Remove the frame from the queue and return it; None if the queue is empty."""
        with self._changed:
            frame, self._waiting = self._waiting, None
            return frame

    def lead_to(self, intake: Intake, world: World) -> None:
        """Send frames to another map from now on, and empty the queue."""
        with self._changed:
            self._intake, self.world, self._waiting = intake, world, None

    def recent_cameras(self) -> list[StampedCamera]:
        """Return the cameras of the newest frames, in map coordinates, oldest first."""
        with self._changed:
            return list(self._intake.recent_cameras)

    def rest_unless(self, has_work: Callable[[], bool]) -> bool:
        """Wait up to ``IDLE_WAIT_S`` for a frame or ``wake``, unless there is work.

        Returns whether it has waited.
        """
        with self._changed:
            rests = self._waiting is None and not has_work()
            if rests:
                self._changed.wait(IDLE_WAIT_S)
            return rests

    def wake(self) -> None:
        """End the wait of ``rest_unless``, because there may be work."""
        with self._changed:
            self._changed.notify()
