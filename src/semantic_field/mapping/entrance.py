"""Where frames come in: placed in the map's coordinates, judged, and kept in a queue of one."""

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
    """A queue of one frame before a map; its methods may be called from any thread.

    Args:
        intake: of the present map. world: where that map lies.
        begin_anew: called with the reason, the world before and the world afterwards, where a
            frame belongs into a new map; calls ``lead_to`` for that map.
    Attributes:
        world: where the present map lies, and what is thought of poses.
    """

    def __init__(
        self, intake: Intake, world: World, begin_anew: Callable[[str, World, World], None]
    ) -> None:
        self.world, self._intake, self._begin_anew = world, intake, begin_anew
        self._one_by_one = threading.Lock()  # taken before a turn of the mapper; the other after
        self._changed = threading.Condition()
        self._waiting: Frame | None = None  # in the coordinates of the present map

    def offer(self, frame: Frame) -> bool:
        """Let a frame whose pose is in the world wait, if it is worth taking.

        A frame that waits already is dropped and counted. Returns whether the frame waits.
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
                if self.world is not before:  # another map was loaded meanwhile
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
        """Believe cameras up to this speed from the next frame on; 0 = believe all."""
        with self._one_by_one:
            self.world.set_max_speed(max_speed_mps)

    def take(self) -> Frame | None:
        """The frame that waits, which waits no longer; None where there is none."""
        with self._changed:
            frame, self._waiting = self._waiting, None
            return frame

    def lead_to(self, intake: Intake, world: World) -> None:
        """Let frames go to another map; one that waits for the map before is forgotten."""
        with self._changed:
            self._intake, self.world, self._waiting = intake, world, None

    def recent_cameras(self) -> list[StampedCamera]:
        """The cameras of the newest frames, in the map's coordinates, oldest first."""
        with self._changed:
            return list(self._intake.recent_cameras)

    def rest_unless(self, has_work: Callable[[], bool]) -> bool:
        """Wait a little for a frame or ``wake``, unless there is work; returns whether it did."""
        with self._changed:
            rests = self._waiting is None and not has_work()
            if rests:
                self._changed.wait(IDLE_WAIT_S)
            return rests

    def wake(self) -> None:
        """There may be work again."""
        with self._changed:
            self._changed.notify()
