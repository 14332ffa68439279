#!/usr/bin/env python3
"""The mapping node: posed RGB-D topics in, a semantic field and its snapshots out."""

from __future__ import annotations

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, State, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from semantic_field.config import Config, LanguageConfig, MappingNodeConfig, updated
from semantic_field.frames import Frame
from semantic_field.mapping.mapper import Mapper
from semantic_field.nodes.annotating import Annotator
from semantic_field.nodes.drops import DropCounter
from semantic_field.nodes.inputs import FrameInput
from semantic_field.nodes.map_keeping import MapKeeper, resolve
from semantic_field.nodes.map_publisher import MapPublisher
from semantic_field.nodes.map_services import MapServices
from semantic_field.nodes.parameters import declare_settings, follow_changes
from semantic_field.nodes.run import run_node
from semantic_field.nodes.status import StatusPublisher
from semantic_field.query.view import ViewQuery
from semantic_field.teachers import LanguageTeacher, make_language_teacher
from semantic_field.teachers.images import ImageTeachers, make_image_teachers


class MappingNode(LifecycleNode):
    """Config → mapper → publishers → services → subscriptions; managed, or started by itself."""

    def __init__(self, **options) -> None:
        super().__init__("mapping_node", **options)
        self.settings = declare_settings(self, MappingNodeConfig())
        defaults = Config()
        self.config = Config(
            field=declare_settings(self, defaults.field, "field."),
            mapping=declare_settings(self, defaults.mapping, "mapping."),
            teacher=declare_settings(self, defaults.teacher, "teacher."),
            language=declare_settings(self, defaults.language, "language.", ("vocabulary",)),
        )
        follow_changes(self, self.config.language, "language.", self._on_language)
        self.mapper: Mapper | None = None
        self.label_names: dict[int, str] = {}
        self.teacher_error = ""
        self.exit_code = 0
        if self.settings.autostart:
            self._start()

    def _start(self) -> None:
        """Configure and activate as a lifecycle manager would; rclpy logs what went wrong."""
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise ValueError("the mapping node could not start: see the error above")

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        self._slow = MutuallyExclusiveCallbackGroup()  # services that take a while
        self.drops = DropCounter(self)
        teacher, eyes = self._teachers()
        frame_id = self.settings.input.global_frame
        self.mapper = Mapper(
            self.config,
            teacher=teacher,
            frame_id=frame_id,
            eyes=eyes,
            before_new_map=self._before_new_map,
        )
        if self.settings.load_map_at_start:
            path = resolve(self.settings.map_path)
            self.mapper.load(path)
            self.get_logger().info(f"going on with the map {path}")
        self.publisher = MapPublisher(self, self.mapper, self.settings)
        self._annotator = Annotator(
            self, self.mapper, self.settings, self._slow, self.publisher.hasten
        )
        self._map_services = MapServices(
            self,
            self.mapper,
            ViewQuery(teacher),
            self.settings,
            self._slow,
            on_loaded=self._annotator.tell,
        )
        self._keeper = MapKeeper(self, self.mapper, self.settings, self._slow)
        self._own = [
            self.create_service(SetBool, "pause", self._on_pause),
            self.create_service(Trigger, "reset", self._on_reset),
        ]
        self.input: FrameInput | None = None
        self.status = StatusPublisher(self)
        return TransitionCallbackReturn.SUCCESS

    def _teachers(self) -> tuple[LanguageTeacher | None, ImageTeachers | None]:
        """The teachers; without usable weights the map is made without language, and says so."""
        self.teacher_error = ""
        try:
            teacher = make_language_teacher(self.config.teacher)
            return teacher, make_image_teachers(self.config, teacher)
        except ValueError as error:
            self.config = updated(self.config, {"language.source": "labels"})
            self.teacher_error = str(error)
            self.get_logger().error(f"mapping goes on without language: {error}")
            return None, None

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        assert self.mapper is not None
        self.input = FrameInput(
            self, self.settings.input, self.drops, self._on_frame, self._on_label_names
        )
        self.mapper.start()
        self.publisher.start()
        self.get_logger().info("mapping: waiting for images")
        return super().on_activate(state)

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        assert self.mapper is not None
        if self.input is not None:
            self.input.close()
            self.input = None
        self.publisher.stop()
        self.mapper.stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def _on_frame(self, frame: Frame) -> None:
        assert self.mapper is not None
        self.publisher.latest_frame, self._told = frame, True
        self.mapper.add_frame(frame)
        if not self._told:  # a new map: nothing was said about it yet
            self._annotator.tell()

    def _before_new_map(self, reason: str) -> None:
        self.get_logger().warning(reason)
        self._keeper.set_aside()
        self._told = False

    def _on_label_names(self, names: dict[int, str]) -> None:
        assert self.mapper is not None
        self.label_names = names
        self.mapper.set_label_names(names)
        self._annotator.tell()

    def _on_language(self, language: LanguageConfig) -> None:
        """Another vocabulary while the node runs."""
        if self.mapper is not None:
            self.mapper.set_vocabulary(language.texts)
        self.config = updated(self.config, {"language.vocabulary": language.vocabulary})

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
        self._annotator.tell()
        response.success, response.message = True, "the map is empty"
        return response

    def _close(self) -> None:
        if self.mapper is None:
            return
        if self.input is not None:
            self.input.close()
            self.input = None
        self.publisher.close()
        self.mapper.pause()  # and save before the wait for a teacher, which may outlast patience
        if not self._keeper.close():
            self.exit_code = 1
        self.mapper.stop()
        self.status.close()
        self._map_services.close()
        self._annotator.close()
        for service in self._own:
            self.destroy_service(service)
        self.mapper = None

    def destroy_node(self) -> None:
        self._close()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    return run_node(MappingNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
