"""Depth of frames as the newest map of a mapping node shows it."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from rclpy.node import Node

from semantic_field.field.map_file import load_map
from semantic_field.field.map_state import MapState
from semantic_field.field.views.rendering import render_view
from semantic_field.geometry import Camera
from semantic_field.msg import FieldSnapshot
from semantic_field.nodes.map.shared_map import OF_THIS_PROCESS
from semantic_field.nodes.ros.qos import LATCHED


class SnapshotDepth:
    """Hears snapshots, and renders depth from the newest one, once for each camera and pose.

    A snapshot is read only when somebody asks for depth. One thread at a time may ask.

    Args:
        most: largest number of depth images that are kept.
    """

    def __init__(self, node: Node, frame_id: str, most: int) -> None:
        self._node, self._frame_id, self._most = node, frame_id, most
        self._message: FieldSnapshot | None = None
        self._state: MapState | None = None
        self._rendered: OrderedDict[tuple[Camera, bytes], NDArray[np.float32]] = OrderedDict()
        self._subscription = node.create_subscription(
            FieldSnapshot, "snapshot", self._on_snapshot, LATCHED
        )

    def _on_snapshot(self, message: FieldSnapshot) -> None:
        self._message = message  # the newest wins

    def __call__(self, camera: Camera, T_world_camera: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the map's depth (H, W), metres; 0 where it has no surface, or there is no map."""
        message, self._message = self._message, None
        if message is not None:
            with torch.inference_mode(False):
                self._read(message)
        if self._state is None:
            return np.zeros((camera.height, camera.width), np.float32)
        key = camera, T_world_camera.tobytes()
        if key not in self._rendered:
            with torch.inference_mode(False):  # a map's renderer writes into tensors of its threads
                self._rendered[key] = render_view(self._state, camera, T_world_camera).depth
            while len(self._rendered) > self._most:
                self._rendered.popitem(last=False)
        return self._rendered[key]

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
            self._node.get_logger().warning(text)
            return
        self._state = state if state.steps else None
        self._rendered.clear()

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)
