"""Copies of a live map for readers, renewed only when the map has changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.map_state import MapState
from semantic_field.field.views.device_rendering import DeviceMap, memory_for_a_map
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.mapping.live_map import LiveMap
from semantic_field.mapping.renderer import Renderer
from semantic_field.mapping.robustness.interpolation import Moments


class Snapshots:
    """Makes states and renderers of the current live map; not thread-safe.

    Args:
        frame_id: name of the world frame.
        guard: context manager in which live maps do not change.
    Attributes:
        version: version number of the newest state; increases with every new one.
    """

    def __init__(self, frame_id: str, guard: Callable[[], AbstractContextManager[None]]) -> None:
        self.frame_id, self.version = frame_id, 0
        self._guard = guard
        self.forget()

    def forget(self) -> None:
        """Discard all copies, because another live map has replaced the previous one."""
        self._state: MapState | None = None
        self._has_votes = False
        self._state_of: tuple[int, ...] = ()
        self._device_map: DeviceMap | None = None
        self._device_map_of: tuple[int, ...] = ()

    def state(self, live_map: LiveMap, origin: NDArray[np.float64]) -> MapState:
        """Return the current state of the map; the same object if nothing has changed.

        Args:
            origin: origin of the map in the world frame (3,), metres.
        """
        state = self._without_votes(live_map, origin)
        if not self._has_votes:
            state = self._state = replace(state, votes=live_map.voted_labels())
            self._has_votes = True
        return state

    def _without_votes(self, live_map: LiveMap, origin: NDArray[np.float64]) -> MapState:
        """Return the current state, whose votes may be missing: views do without, and are faster
        if no votes have to be counted for them.
        """
        current = live_map.revision()
        if self._state is None or current != self._state_of:
            self.version += 1
            self._state = None  # frees its memory before the new state is made
            state = live_map.state(self.frame_id, self.version, with_votes=False)
            self._state, self._has_votes = replace(state, origin=origin), False
            self._state_of = current
        return self._state

    def renderer(self, live_map: LiveMap, origin: NDArray[np.float64]) -> Renderer:
        """Return a renderer of the current map, on the device on which the map is trained.

        Args:
            origin: origin of the map in the world frame (3,), metres.
        """
        moments = Moments.of(live_map.keyframes) if live_map.keyframes is not None else None
        sources = None
        if live_map.config.mapping.appearance == "views":
            sources = KeyframeViews(
                lambda: live_map.keyframes,
                lambda: live_map.classes.ids,
                live_map.class_latents,
                self._guard,
                copy=lambda store: live_map.trainer.keyframes_here(store),
            )
        if live_map.device.type == "cpu":
            state = self._without_votes(live_map, origin)
            return Renderer.of(state, "cpu", moments, sources)
        device_map = self._on_device(live_map)
        return Renderer.on_device(device_map, live_map.annotations, origin, moments, sources)

    def _on_device(self, live_map: LiveMap) -> DeviceMap:
        """Return a copy of the map on its device; the same object if nothing has changed."""
        current = live_map.revision()
        if self._device_map is None or current != self._device_map_of:
            live_map.trainer.settle()
            with memory_for_a_map():
                field = live_map.field.frozen_copy(live_map.device)
            intake = live_map.intake
            ids = tuple(live_map.classes.ids)
            before = self._device_map
            self._device_map = DeviceMap(field, intake.voxels, intake.reach, ids, before)
            self._device_map_of = current
            self._device_map.settle()
        return self._device_map
