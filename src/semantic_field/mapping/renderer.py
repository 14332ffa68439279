"""Rendering of views of a map, on the processor or on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.annotations import AnnotationSet
from semantic_field.field.map_state import MapState
from semantic_field.field.views.blended_view import blended
from semantic_field.field.views.device_rendering import DeviceMap
from semantic_field.field.views.rendering import RenderedView, render_view
from semantic_field.field.views.source_views import Target
from semantic_field.geometry import Camera, moved, transform_points
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.mapping.robustness.interpolation import Moments

FieldView = Callable[[Camera, NDArray[np.float64], bool], RenderedView]
"""Renders the field without annotations, from a camera, its pose ``T_map_camera`` (4, 4), and
whether the view shall have latents."""


class Renderer:
    """Renders views of one state of a map. Immutable and thread-safe.

    A view is made in four steps: the field is rendered, the keyframes' images are blended on its
    surface, annotations override labels, and the exposure at a stamp is applied to colours.

    Args:
        field_view: renders the field, in map coordinates.
        annotations: the annotations of the map.
        origin: origin of the map in the world frame (3,), metres.
        moments: learnt poses and exposures of the keyframes; None if there are none.
        sources: the keyframes; None = views show the field alone.
        threads: for blending.
    """

    def __init__(
        self,
        field_view: FieldView,
        annotations: AnnotationSet,
        origin: NDArray[np.float64],
        moments: Moments | None = None,
        sources: KeyframeViews | None = None,
        threads: int = 2,
    ) -> None:
        self._field_view, self._annotations = field_view, annotations
        self._origin, self._moments = origin, moments
        self._sources, self._threads = sources, threads

    @classmethod
    def of(
        cls,
        state: MapState,
        device: torch.device | str = "cpu",
        moments: Moments | None = None,
        sources: KeyframeViews | None = None,
    ) -> Renderer:
        """Return a renderer of a map's state, which is copied to the device if that is a GPU."""
        if torch.device(device).type == "cpu":
            field_view = partial(render_view, state.in_own_frame())
        else:
            field_view = DeviceMap.of(state, device).render
        threads = state.field.kernels.threads
        return cls(field_view, state.annotations, state.origin, moments, sources, threads)

    def field_only(self) -> Renderer:
        """Return a renderer of the same map that shows the field alone."""
        renderer = copy(self)
        renderer._sources = None
        return renderer

    def earlier(self, state: MapState) -> Renderer:
        """Return a renderer of an earlier state of the same map, with the keyframes of that time.

        Keyframes that have been replaced since then are missing.
        """
        sources = None if self._sources is None else self._sources.until(state.stamp_ns)
        return Renderer.of(state, sources=sources)

    def render(
        self,
        camera: Camera,
        T_world_camera: NDArray[np.float64],
        stamp_ns: int | None = None,
        with_latent: bool = False,
    ) -> RenderedView:
        """Return a view of the map, with annotations, even those that are not yet trained.

        Args:
            T_world_camera: (4, 4), camera pose in the world frame.
            stamp_ns: apply the pose correction and the exposure of the keyframes around this
                stamp, so that the view can be compared with a photograph. None, or no ``moments``,
                = apply neither.
            with_latent: whether the view shall have ``latent``.
        """
        pose = moved(T_world_camera, -self._origin)
        moments = self._moments if stamp_ns is not None else None
        if moments is not None and stamp_ns is not None:
            pose = moments.corrected_pose(stamp_ns, pose)
        view = self._blended(self._field_view(camera, pose, with_latent), camera, pose)
        view = self._annotated(view, camera, pose)
        if moments is None or stamp_ns is None:
            return view
        return replace(view, color=moments.exposed(view.color, stamp_ns))

    def _blended(
        self, view: RenderedView, camera: Camera, T_map_camera: NDArray[np.float64]
    ) -> RenderedView:
        """Return the view with the keyframes' images on its surface, if they are to be shown."""
        if self._sources is None:
            return view
        target = Target(camera, T_map_camera, view.depth, view.normal)
        sources = self._sources(target)
        return view if sources is None else blended(view, target, sources, self._threads)

    def _annotated(
        self, view: RenderedView, camera: Camera, T_map_camera: NDArray[np.float64]
    ) -> RenderedView:
        """Return the view with its labels overridden by the annotations."""
        if not self._annotations.entries:
            return view
        points = transform_points(T_map_camera, camera.backproject(view.depth).reshape(-1, 3))
        label = self._annotations.overrule(points, view.label.reshape(-1)).reshape(view.label.shape)
        return replace(view, label=np.where(view.depth > 0, label, view.label))
