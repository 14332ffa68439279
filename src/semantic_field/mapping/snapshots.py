"""What readers get of a live map, made anew only when the map has changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.map_state import MapState
from semantic_field.field.views.device_rendering import DeviceMap
from semantic_field.mapping.live_map import LiveMap
from semantic_field.mapping.renderer import Renderer
from semantic_field.mapping.robustness.interpolation import Moments


class Snapshots:
    """States and renderers of one live map after another; one thread at a time may ask.

    Args:
        frame_id: name of the world's frame.
    Attributes:
        version: of the last state; grows with every new one.
    """

    def __init__(self, frame_id: str) -> None:
        self.frame_id, self.version = frame_id, 0
        self.forget()

    def forget(self) -> None:
        """Another live map has taken the place of the one before."""
        self._state: MapState | None = None
        self._state_of: tuple[int, ...] = ()
        self._device_map: DeviceMap | None = None
        self._device_map_of: tuple[int, ...] = ()

    def state(self, live_map: LiveMap, origin: NDArray[np.float64]) -> MapState:
        """The map as it is now, whose coordinates begin at ``origin`` (3,) of the world.

        Returns the same object while nothing has changed.
        """
        current = live_map.revision()
        if self._state is None or current != self._state_of:
            self.version += 1
            self._state = None  # its memory may serve for the new one
            self._state = replace(live_map.state(self.frame_id, self.version), origin=origin)
            self._state_of = current
        return self._state

    def renderer(self, live_map: LiveMap, origin: NDArray[np.float64]) -> Renderer:
        """What renders the map as it is now, on the device on which it is trained."""
        moments = Moments.of(live_map.keyframes) if live_map.keyframes is not None else None
        if live_map.device.type == "cpu":
            return Renderer.of(self.state(live_map, origin), moments=moments)
        on_device = self._on_device(live_map)
        return Renderer(on_device.render, live_map.annotations, origin, moments)

    def _on_device(self, live_map: LiveMap) -> DeviceMap:
        """The map in the device's memory; the same object while nothing has changed."""
        current = live_map.revision()
        if self._device_map is None or current != self._device_map_of:
            live_map.trainer.settle()
            field, intake = live_map.field.frozen_copy(live_map.device), live_map.intake
            ids = tuple(live_map.classes.ids)
            before = self._device_map
            self._device_map = DeviceMap(field, intake.voxels, intake.reach, ids, before)
            self._device_map_of = current
            self._device_map.settle()
        return self._device_map
