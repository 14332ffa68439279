#!/usr/bin/env python3
"""Query node: answers text and image queries with hits, relevancy, goal and grasp clouds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from semantic_field.config import QueryConfig, QueryNodeConfig, TeacherConfig
from semantic_field.field.map_file import load_map
from semantic_field.msg import FieldSnapshot
from semantic_field.nodes.asking.answers import AnswerPublisher
from semantic_field.nodes.asking.object_service import ObjectService
from semantic_field.nodes.asking.questions import (
    LastQuestion,
    Question,
    ask_texts,
    question_of,
)
from semantic_field.nodes.asking.responses import fill_query, fill_segments, fill_texts
from semantic_field.nodes.map.shared_map import OF_THIS_PROCESS
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.guarding import GuardedNode
from semantic_field.nodes.ros.parameters import declare_settings, follow_changes
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE
from semantic_field.nodes.ros.run import run_node
from semantic_field.nodes.ros.workers import Diagnostics, Worker
from semantic_field.object_prior.completer import Completer
from semantic_field.object_prior.prior_completer import make_completer
from semantic_field.query.engine import QueryEngine, QueryResult
from semantic_field.srv import Query, QueryTexts, Segment
from semantic_field.teachers import make_language_teacher


class QueryNode(GuardedNode, Node):
    """Answers queries about the newest snapshot; a worker thread loads snapshots."""

    def __init__(self, completer: Completer | None = None, **options) -> None:
        super().__init__("query_node", **options)
        self.settings = declare_settings(self, QueryNodeConfig())
        query = declare_settings(self, QueryConfig(), "query.")
        teacher = make_language_teacher(declare_settings(self, TeacherConfig(), "teacher."))
        if teacher is None:
            raise ValueError("expected teacher.kind to name a language teacher, got 'none'")
        self._engine = QueryEngine(teacher, query)
        follow_changes(self, query, "query.", self._engine.set_config)
        follow_changes(self, self.settings, "", partial(setattr, self, "settings"))
        group = ReentrantCallbackGroup()
        completer = completer or make_completer(self.settings.completion)
        self._objects = ObjectService(
            self, self._engine, completer, lambda: self.settings.completion, group
        )
        self._asked = self._objects.parts
        answers = AnswerPublisher(self, self._engine)
        self._last = LastQuestion(self._asked, answers.publish)
        self._has_surface = False
        self._inbox: FieldSnapshot | None = None
        self._arrived = threading.Condition()
        self._stopping = False
        Diagnostics(self)
        self._worker = Worker(self, "snapshots", self._take_snapshots)
        self._worker.start()
        self.create_subscription(
            FieldSnapshot,
            "snapshot",
            self._on_snapshot,
            LATCHED,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        for kind, name, handler in (
            (Query, "query", self._on_query),
            (QueryTexts, "query_texts", self._on_texts),
            (Segment, "segment", self._on_segment),
        ):
            self.create_service(kind, name, handler, callback_group=group)
        for kind, name, handler in (
            (String, "query_text", self._on_text),
            (Image, "query_image", self._on_image),
        ):
            self.create_subscription(kind, name, handler, RELIABLE, callback_group=group)
        self.get_logger().info("query node: waiting for a snapshot")

    # --- snapshots ----------------------------------------------------------------------------

    def _on_snapshot(self, message: FieldSnapshot) -> None:
        with self._arrived:
            self._inbox = message  # a queue of one: the newest wins
            self._arrived.notify()

    def _take_snapshots(self) -> None:
        """Load each snapshot at once; answer the last question again, at a limited rate."""
        changed, due = False, 0.0
        while True:
            with self._arrived:
                left = max(0.0, due - time.monotonic()) if changed else None
                self._arrived.wait_for(lambda: self._inbox is not None or self._stopping, left)
                message, self._inbox = self._inbox, None
            if self._stopping:
                return
            if message is not None:
                changed = self._take(message) or changed
            if changed and time.monotonic() >= due:
                changed = False
                if self.settings.refresh and self._refreshed():
                    due = time.monotonic() + self.settings.refresh_period_s

    def _take(self, message: FieldSnapshot) -> bool:
        """Load a snapshot; returns False (logged) if it is not usable."""
        try:
            data = bytes(message.data)
            shared = OF_THIS_PROCESS.take(data)
            if shared is not None:
                self._engine.set_map(shared, shared.surfaces)
            else:
                self._engine.set_map(load_map(data))
        except ValueError as error:
            self.get_logger().error(f"snapshot {message.version} is not usable: {error}")
            return False
        self._tell(len(self._engine.points))
        return True

    def _tell(self, points: int) -> None:
        """Log when the map gets its first surface, and when it was emptied."""
        if points and not self._has_surface:
            self.get_logger().info(f"the map can be asked: {points} surface points")
        elif not points and self._has_surface:
            self.get_logger().info("the map is empty: it was reset")
        self._has_surface = points > 0

    def _refreshed(self) -> bool:
        try:
            return self._last.again()
        except ValueError as error:
            self.get_logger().warning(f"the last question is forgotten: {error}")
            return False

    # --- questions ----------------------------------------------------------------------------

    @property
    def engine(self) -> QueryEngine:
        """Answers the questions, about the newest snapshot that was taken in."""
        return self._engine

    def _on_query(self, request: Query.Request, response: Query.Response) -> Query.Response:
        return fill_query(response, self._ask(question_of(request)), request.with_cloud)

    def _on_texts(
        self, request: QueryTexts.Request, response: QueryTexts.Response
    ) -> QueryTexts.Response:
        self._worker.check()
        return fill_texts(response, ask_texts(self._asked, request))

    def _on_segment(self, request: Segment.Request, response: Segment.Response) -> Segment.Response:
        self._worker.check()
        names = list(request.names)
        return fill_segments(response, names, *self._engine.segment(names), request.with_cloud)

    def _on_text(self, message: String) -> None:
        self._ask_by_topic(lambda: Question(message.data))

    def _on_image(self, message: Image) -> None:
        self._ask_by_topic(lambda: Question("", conversions.rgb_image(message)))

    def _ask_by_topic(self, read: Callable[[], Question]) -> None:
        try:
            question = read()
            if not self._engine.has_map:
                self._last.keep(question)  # answered with the first map, if refresh is on
            self._ask(question)
        except ValueError as error:
            self.get_logger().warning(f"the question has no answer: {error}")

    def _ask(self, question: Question) -> QueryResult:
        self._worker.check()
        result = self._last.ask(question)
        self.get_logger().info(result.message)
        return result

    def destroy_node(self) -> None:
        with self._arrived:
            self._stopping = True
            self._arrived.notify()
        self._worker.join()
        self._objects.close()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    """Run the query node; returns the exit code."""
    return run_node(QueryNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
