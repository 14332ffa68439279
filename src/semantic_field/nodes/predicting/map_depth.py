"""Depth of frames as the newest map of a mapping node shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from rclpy.node import Node

from semantic_field.field.map_file import load_map
from semantic_field.field.map_state import MapState
from semantic_field.field.views.rendering import render_view
from semantic_field.frames import Frame
from semantic_field.msg import FieldSnapshot
from semantic_field.nodes.map.shared_map import OF_THIS_PROCESS
from semantic_field.nodes.ros.qos import LATCHED


class MapDepth:
    """Hears snapshots, and renders the depth of frames from the newest one.

    A snapshot is read only when a frame needs it. One thread at a time may call ``of``.
    """

    def __init__(self, node: Node, frame_id: str) -> None:
        self._node, self._frame_id = node, frame_id
        self._message: FieldSnapshot | None = None
        self._state: MapState | None = None
        self._subscription = node.create_subscription(
            FieldSnapshot, "snapshot", self._on_snapshot, LATCHED
        )

    def _on_snapshot(self, message: FieldSnapshot) -> None:
        self._message = message  # the newest wins

    @property
    def version(self) -> int:
        """Version of the map that depth was last rendered from; -1 = none yet."""
        return -1 if self._state is None else self._state.version

    def of(self, frame: Frame) -> Frame:
        """Return the frame with the map's depth where the map has a surface."""
        message, self._message = self._message, None
        if message is not None:
            self._read(message)
        if self._state is None:
            return frame
        view = render_view(self._state, frame.camera, frame.T_world_camera)
        return replace(frame, depth=np.where(view.depth > 0, view.depth, frame.depth))

    def _read(self, message: FieldSnapshot) -> None:
        """Read a snapshot; one that is not usable is named in a warning, and the last one stays."""
        data = bytes(message.data)
        try:
            state = OF_THIS_PROCESS.take(data) or load_map(data)
            if state.frame_id != self._frame_id:
                raise ValueError(
                    f"expected a map in frame {self._frame_id!r}, got one in {state.frame_id!r}: "
                    "give both nodes the same input.global_frame"
                )
        except ValueError as error:
            text = f"snapshot {message.version} gives no depth: {error}"
            self._node.get_logger().warning(text, throttle_duration_sec=10.0)
            return
        self._state = state if state.steps else None

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)
