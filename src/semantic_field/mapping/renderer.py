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
from semantic_field.field.views.device_rendering import DeviceMap, on_host
from semantic_field.field.views.device_sources import DeviceTarget
from semantic_field.field.views.rendering import RenderedView, render_view
from semantic_field.field.views.source_views import Target
from semantic_field.geometry import Camera, moved, transform_points
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.mapping.robustness.interpolation import Moments, exposed

ViewMaker = Callable[[Camera, NDArray[np.float64], bool], RenderedView]
"""Makes a view without annotations, from a camera, its pose ``T_map_camera`` (4, 4), and whether
the view shall have latents."""


class Renderer:
    """Renders views of one state of a map. Immutable and thread-safe.

    A view is made in four steps: the field is rendered, the keyframes' images are blended on its
    surface, annotations override labels, and the exposure at a stamp is applied to colours.

    Args:
        view: does the first two of these steps, in map coordinates.
        annotations: the annotations of the map.
        origin: origin of the map in the world frame (3,), metres.
        moments: learnt poses and exposures of the keyframes; None if there are none.
        moment_view: does the same in the exposure of the map, to which that of a stamp can be
            applied; None = ``view`` does so.
        field_view: does the first step only; None = ``view`` does so.
        sources: the keyframes that ``view`` uses; None = none.
    """

    def __init__(
        self,
        view: ViewMaker,
        annotations: AnnotationSet,
        origin: NDArray[np.float64],
        moments: Moments | None = None,
        moment_view: ViewMaker | None = None,
        field_view: ViewMaker | None = None,
        sources: KeyframeViews | None = None,
    ) -> None:
        self._view, self._moment_view = view, moment_view or view
        self._annotations, self._origin, self._moments = annotations, origin, moments
        self._field_view, self._sources = field_view or view, sources

    @classmethod
    def of(
        cls,
        state: MapState,
        device: torch.device | str = "cpu",
        moments: Moments | None = None,
        sources: KeyframeViews | None = None,
    ) -> Renderer:
        """Return a renderer of a map's state, which is copied to the device if that is a GPU.

        Args:
            sources: the keyframes; None = views show the field alone.
        """
        annotations, origin = state.annotations, state.origin
        if torch.device(device).type != "cpu":
            return cls.on_device(DeviceMap.of(state, device), annotations, origin, moments, sources)
        field_view = partial(render_view, state.in_own_frame())
        if sources is None:
            return cls(field_view, annotations, origin, moments)
        parts = field_view, sources, state.field.kernels.threads
        view, moment_view = (partial(_with_images, *parts, flag) for flag in (False, True))
        return cls(view, annotations, origin, moments, moment_view, field_view, sources)

    @classmethod
    def on_device(
        cls,
        device_map: DeviceMap,
        annotations: AnnotationSet,
        origin: NDArray[np.float64],
        moments: Moments | None = None,
        sources: KeyframeViews | None = None,
    ) -> Renderer:
        """Return a renderer of a map on a device, whose views are made there; see ``of``."""
        if sources is None:
            return cls(device_map.render, annotations, origin, moments)
        parts = partial(_with_images_on_device, device_map, sources)
        view, moment_view = partial(parts, False), partial(parts, True)
        return cls(view, annotations, origin, moments, moment_view, device_map.render, sources)

    def field_only(self) -> Renderer:
        """Return a renderer of the same map that shows the field alone."""
        renderer = copy(self)
        renderer._view = renderer._moment_view = self._field_view
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
            stamp_ns: apply the pose correction and the exposure of the keyframes just before and
                after this stamp, so that the view can be compared with a photograph. None = apply
                the pose correction of the keyframes around the pose, and no exposure. Without
                ``moments`` neither is applied.
            with_latent: whether the view shall have ``latent``.
        """
        pose = moved(T_world_camera, -self._origin)
        exposure, moments = None, self._moments
        if moments is not None and stamp_ns is not None:
            pose = moments.corrected_pose(stamp_ns, pose)
            exposure = moments.exposure(stamp_ns)
        elif moments is not None:
            pose = moments.pose_nearby(pose)
        make_view = self._view if exposure is None else self._moment_view
        view = self._annotated(make_view(camera, pose, with_latent), camera, pose)
        view = view if self._sources is None else self._sources.named(view)
        if exposure is None:
            return view
        return replace(view, color=exposed(view.color, exposure))

    def _annotated(
        self, view: RenderedView, camera: Camera, T_map_camera: NDArray[np.float64]
    ) -> RenderedView:
        """Return the view with its labels overridden by the annotations."""
        if not self._annotations.entries:
            return view
        points = transform_points(T_map_camera, camera.backproject(view.depth).reshape(-1, 3))
        label = self._annotations.overrule(points, view.label.reshape(-1)).reshape(view.label.shape)
        return replace(view, label=np.where(view.depth > 0, label, view.label))


def _with_images(
    field_view: ViewMaker,
    keyframes: KeyframeViews,
    threads: int,
    at_moment: bool,
    camera: Camera,
    T_map_camera: NDArray[np.float64],
    with_latent: bool,
) -> RenderedView:
    """Return a view of the field with keyframes' images on its surface, if any sees it.

    Args:
        at_moment: whether its colours shall have the exposure of the map, see ``Target``.
    """
    view = field_view(camera, T_map_camera, with_latent)
    target = Target(camera, T_map_camera, view.depth, view.normal, at_moment)
    sources = keyframes(target)
    return view if sources is None else blended(view, target, sources, threads)


def _with_images_on_device(
    device_map: DeviceMap,
    keyframes: KeyframeViews,
    at_moment: bool,
    camera: Camera,
    T_map_camera: NDArray[np.float64],
    with_latent: bool,
) -> RenderedView:
    """Do what ``_with_images`` does on the map's device; the images are downloaded once."""
    images = device_map.images(camera, T_map_camera, with_latent)
    target = DeviceTarget(camera, T_map_camera, images["depth"], images["normal"], at_moment)
    sources = keyframes.on_device(target)
    if sources is not None:
        images = device_map.blended(images, target, sources)
    return on_host(images)
