#!/usr/bin/env python3
"""Mapping node: builds the semantic field from posed RGB-D topics and publishes snapshots."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from functools import partial

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from std_srvs.srv import SetBool, Trigger

from semantic_field.config import Config, MappingNodeConfig
from semantic_field.frames import Frame
from semantic_field.mapping.mapper import Mapper
from semantic_field.mapping.warm_up import warm_up
from semantic_field.nodes.camera.inputs import FrameInput
from semantic_field.nodes.map.annotator import Annotator
from semantic_field.nodes.map.field_status import StatusPublisher
from semantic_field.nodes.map.map_keeping import MapKeeper, resolve
from semantic_field.nodes.map.map_publisher import MapPublisher
from semantic_field.nodes.map.map_services import MapServices
from semantic_field.nodes.map.object_view_service import ObjectViewService
from semantic_field.nodes.ros.drops import DropCounter
from semantic_field.nodes.ros.parameters import declare_settings, follow_changes
from semantic_field.nodes.ros.run import run_node
from semantic_field.nodes.ros.staged_node import StagedNode
from semantic_field.query.view_relevancy import ViewQuery
from semantic_field.settings import Settings, updated
from semantic_field.teachers import LanguageTeacher, make_language_teacher
from semantic_field.teachers.image_teachers import ImageTeachers, make_image_teachers


class MappingNode(StagedNode):
    """Lifecycle node around a Mapper; with ``autostart`` it configures and activates itself."""

    def __init__(self, **options) -> None:
        super().__init__("mapping_node", **options)
        self.settings = declare_settings(self, MappingNodeConfig())
        defaults = Config()
        self.config = Config(
            field=declare_settings(self, defaults.field, "field."),
            mapping=declare_settings(self, defaults.mapping, "mapping."),
            teacher=declare_settings(self, defaults.teacher, "teacher."),
            language=declare_settings(self, defaults.language, "language."),
        )
        follow_changes(self, self.settings, "", self._on_settings)
        for name in ("mapping", "language"):
            settings = getattr(self.config, name)
            follow_changes(self, settings, f"{name}.", partial(self._on_config, name))
        self.mapper: Mapper | None = None
        self.input: FrameInput | None = None
        self.label_names: dict[int, str] = {}
        self.teacher_error = ""
        if self.settings.autostart:
            self.start()

    # --- states -------------------------------------------------------------------------------

    def open_parts(self, opened: ExitStack) -> None:
        slow = MutuallyExclusiveCallbackGroup()  # services that take a while
        self.drops = DropCounter(self)
        teacher, image_teachers = self._teachers()
        frame_id = self.settings.input.global_frame
        mapper = Mapper(
            self.config,
            teacher=teacher,
            frame_id=frame_id,
            image_teachers=image_teachers,
            before_new_map=self._before_new_map,
        )
        if self.settings.load_map_at_start:
            path = resolve(self.settings.map_path)
            mapper.load(path)
            self.get_logger().info(f"going on with the map {path}")
        self.mapper = mapper
        opened.callback(setattr, self, "mapper", None)
        opened.callback(mapper.stop)
        self.publisher = MapPublisher(self, mapper, self.settings)
        opened.callback(self.publisher.close)
        self._annotator = Annotator(self, mapper, self.settings, slow, self.publisher.hasten)
        opened.callback(self._annotator.close)
        self._map_services = MapServices(
            self, mapper, ViewQuery(teacher), self.settings, slow, self._on_loaded
        )
        opened.callback(self._map_services.close)
        opened.callback(ObjectViewService(self, mapper).close)
        for kind, name, handler in (
            (SetBool, "pause", self._on_pause),
            (Trigger, "reset", self._on_reset),
        ):
            opened.callback(self.destroy_service, self.create_service(kind, name, handler))
        self._keeper = MapKeeper(self, mapper, self.settings, slow)
        opened.callback(self._keeper.close)
        self._status = StatusPublisher(self)
        opened.callback(self._status.close)

    def _teachers(self) -> tuple[LanguageTeacher | None, ImageTeachers | None]:
        """Return the teachers; without usable weights, (None, None): mapping without language."""
        self.teacher_error = ""
        try:
            teacher = make_language_teacher(self.config.teacher)
            return teacher, make_image_teachers(self.config, teacher)
        except ValueError as error:
            self.config = updated(self.config, {"language.source": "labels"})
            self.teacher_error = str(error)
            self.get_logger().error(f"mapping goes on without language: {error}")
            return None, None

    @property
    def annotator(self) -> Annotator:
        """Hears what people say about the map, while the node is configured."""
        return self._annotator

    def run_parts(self, running: ExitStack) -> None:
        assert self.mapper is not None
        self.mapper.start()
        running.callback(self.mapper.stop)
        self.publisher.start()
        running.callback(self.publisher.stop)

    def warm_up(self) -> None:
        warm_up(self.config)

    def listen(self) -> None:
        self.input = FrameInput(
            self, self.settings.input, self.drops, self._on_frame, self._on_label_names
        )
        self.get_logger().info("mapping: waiting for images")

    def mute(self) -> None:
        if self.input is not None:
            self.input.close()
        self.input = None

    def close(self) -> None:
        self.mute()
        if self.mapper is not None:
            self.mapper.pause()
            self.exit_code = 0 if self._keeper.close() else 1
        super().close()

    # --- callbacks ----------------------------------------------------------------------------

    def _on_frame(self, frame: Frame) -> None:
        assert self.mapper is not None
        self.publisher.latest_frame, self._told = frame, True
        self.mapper.add_frame(frame)
        if not self._told:  # the frame started a new map: publish it
            self._on_loaded()

    def _before_new_map(self, reason: str) -> None:
        self.get_logger().warning(reason)
        self._keeper.set_aside()
        self._told = False

    def _on_label_names(self, names: dict[int, str]) -> None:
        assert self.mapper is not None
        self.label_names = names
        self.mapper.set_label_names(names)
        self._annotator.tell()

    def _on_settings(self, settings: MappingNodeConfig) -> None:
        """Apply new settings of the node while it runs."""
        self.settings = settings
        if self.mapper is None:
            return
        parts = self.publisher, self._annotator, self._map_services, self._keeper, self._status
        for part in parts:
            part.follow(settings)
        if self.input is not None:
            self.input.follow(settings.input)

    def _on_config(self, name: str, settings: Settings) -> None:
        """Apply new settings ``config.<name>`` to the mapper."""
        config = dataclasses.replace(self.config, **{name: settings})
        if self.teacher_error:
            config = updated(config, {"language.source": "labels"})
        if self.mapper is not None:
            self.mapper.set_config(config)
        self.config = config

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        assert self.mapper is not None
        if request.data:
            self.mapper.pause()
        else:
            self.mapper.resume()
        response.success, response.message = True, "paused" if request.data else "mapping"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self.mapper is not None
        self.mapper.reset()
        self.mapper.set_label_names(self.label_names)
        if self.config.language.source == "images":
            self.mapper.set_vocabulary(self.config.language.texts)
        if self.input is not None:
            self.input.clear()
        self._on_loaded()
        response.success, response.message = True, "the map is empty"
        return response

    def _on_loaded(self) -> None:
        """Publish a map that was replaced or emptied, also for late subscribers."""
        self.publisher.renew()
        self._annotator.tell()


def main(args: list[str] | None = None) -> int:
    """Run the mapping node; returns the exit code."""
    return run_node(MappingNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
