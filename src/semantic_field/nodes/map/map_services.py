"""Services of the mapping node: save_map, load_map, render_view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode

from semantic_field.config import MappingNodeConfig
from semantic_field.geometry import check_transform, moved
from semantic_field.mapping.mapper import Mapper
from semantic_field.nodes.map.local_frame import offset_of
from semantic_field.nodes.map.map_keeping import resolve
from semantic_field.nodes.map.map_publisher import requested_camera, view_images
from semantic_field.nodes.ros import conversions
from semantic_field.query.view_relevancy import ViewQuery
from semantic_field.srv import MapFile, RenderView


class MapServices:
    """Responds with ``success`` and a message; ``GuardedNode`` turns errors into refusals.

    ``on_loaded`` is called after a map was loaded.
    """

    def __init__(
        self,
        node: LifecycleNode,
        mapper: Mapper,
        questions: ViewQuery,
        config: MappingNodeConfig,
        group: CallbackGroup,
        on_loaded: Callable[[], None],
    ) -> None:
        self._node, self._mapper, self._config = node, mapper, config
        self._on_loaded = on_loaded
        self._questions = questions
        self._services = [
            node.create_service(kind, name, handler, callback_group=group)
            for kind, name, handler in (
                (MapFile, "save_map", self._on_save),
                (MapFile, "load_map", self._on_load),
                (RenderView, "render_view", self._on_render),
            )
        ]

    def follow(self, config: MappingNodeConfig) -> None:
        """Apply new settings from the next request on."""
        self._config = config

    def close(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)

    def _path(self, request: MapFile.Request) -> Path:
        return resolve(request.path or self._config.map_path)

    def _on_save(self, request: MapFile.Request, response: MapFile.Response) -> MapFile.Response:
        try:
            path = self._path(request)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._mapper.save(path)
            size = path.stat().st_size / 1e6
            response.success, response.message = True, f"saved {path} ({size:.1f} MB)"
        except (OSError, ValueError) as error:
            response.success, response.message = False, f"not saved: {error}"
        return response

    def _on_load(self, request: MapFile.Request, response: MapFile.Response) -> MapFile.Response:
        try:
            path = self._path(request)
            self._mapper.load(path)
            self._on_loaded()
            response.success, response.message = True, f"loaded {path}"
        except (OSError, ValueError) as error:
            response.success, response.message = False, f"not loaded: {error}"
        return response

    def _on_render(
        self, request: RenderView.Request, response: RenderView.Response
    ) -> RenderView.Response:
        frame_id = self._config.input.global_frame
        asked = request.camera_pose.header.frame_id
        offset = offset_of(asked, frame_id, self._mapper.origin, "camera_pose")
        pose = check_transform(conversions.matrix_from_pose(request.camera_pose.pose))
        pose = moved(pose, offset)
        camera = requested_camera(request)
        if self._mapper.steps == 0:
            raise ValueError("expected a map with something in it, got no frame yet")
        view = self._mapper.render(camera, pose, with_latent=bool(request.text))
        header = conversions.make_header(
            conversions.to_nanoseconds(request.camera_pose.header.stamp), frame_id
        )
        for name, image in view_images(view, header).items():
            setattr(response, name, image)
        if request.text:
            state = self._mapper.snapshot()
            relevancy = self._questions.relevancy(view, state, request.text)
            response.relevancy = conversions.image_message(relevancy, "32FC1", header)
        response.success = True
        return response
