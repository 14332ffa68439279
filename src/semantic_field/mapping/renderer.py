"""The one way from a map to a view of it, on the processor and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.annotations import AnnotationSet
from semantic_field.field.map_state import MapState
from semantic_field.field.views.device_rendering import DeviceMap
from semantic_field.field.views.rendering import RenderedView, render_view
from semantic_field.geometry import Camera, moved, transform_points
from semantic_field.mapping.robustness.interpolation import Moments

FieldView = Callable[[Camera, NDArray[np.float64], bool], RenderedView]
"""Renders a field alone: camera, ``T_map_camera`` (4, 4), and whether latents are wanted."""


class Renderer:
    """Renders views of a map at one moment. It never changes; any thread may use it.

    A view passes stages that each take and return a ``RenderedView``: the field is rendered,
    annotations overrule its labels, and the colours get the exposure of a moment.

    Args:
        field_view: the first stage, in the map's own coordinates.
        annotations: what people have said about the map.
        origin: where in the world the map's own coordinates begin (3,), metres.
        moments: what was learnt about the cameras' poses and exposures, if anything.
    """

    def __init__(
        self,
        field_view: FieldView,
        annotations: AnnotationSet,
        origin: NDArray[np.float64],
        moments: Moments | None = None,
    ) -> None:
        self._field_view, self._annotations = field_view, annotations
        self._origin, self._moments = origin, moments

    @classmethod
    def of(
        cls, state: MapState, device: torch.device | str = "cpu", moments: Moments | None = None
    ) -> Renderer:
        """A renderer of a state of a map on a device; on others than the CPU it is copied there."""
        if torch.device(device).type == "cpu":
            field_view = partial(render_view, state.in_own_frame())
        else:
            field_view = DeviceMap.of(state, device).render
        return cls(field_view, state.annotations, state.origin, moments)

    def render(
        self,
        camera: Camera,
        T_world_camera: NDArray[np.float64],
        stamp_ns: int | None = None,
        with_latent: bool = False,
    ) -> RenderedView:
        """The map as a camera sees it. Annotations count at once, before the field learns them.

        Args:
            T_world_camera: (4, 4), in the frame of the map, whatever the map's origin is.
            stamp_ns: render what a photograph of that moment would show: the pose is corrected and
                the colours are exposed as those of the keyframes around it. Both stay as they are
                without a stamp, and where nothing was learnt about poses and exposures.
            with_latent: whether the view shall have ``latent``.
        """
        pose = moved(T_world_camera, -self._origin)
        moments = self._moments if stamp_ns is not None else None
        if moments is not None and stamp_ns is not None:
            pose = moments.corrected_pose(stamp_ns, pose)
        view = self._annotated(self._field_view(camera, pose, with_latent), camera, pose)
        if moments is None or stamp_ns is None:
            return view
        return replace(view, color=moments.exposed(view.color, stamp_ns))

    def _annotated(
        self, view: RenderedView, camera: Camera, T_map_camera: NDArray[np.float64]
    ) -> RenderedView:
        """The view with the labels that people have given to what it shows."""
        if not self._annotations.entries:
            return view
        points = transform_points(T_map_camera, camera.backproject(view.depth).reshape(-1, 3))
        label = self._annotations.overrule(points, view.label.reshape(-1)).reshape(view.label.shape)
        return replace(view, label=np.where(view.depth > 0, label, view.label))
