"""Views beside the recorded path, where the truth of a simulated room is rendered and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource, poses_of
from semantic_field.evaluation.baselines.reprojection import Reprojection
from semantic_field.evaluation.protocols.off_path import PlacedCamera, place_cameras
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.off_path_scores import OffPathScores, OffPathView
from semantic_field.evaluation.truth.observed import ObservedSurface
from semantic_field.evaluation.truth.true_scene import true_scene
from semantic_field.field.views.rendering import RenderedView
from semantic_field.geometry import Camera

BASELINE = "reprojection"
Progress = Callable[[str, float], None]
View = Callable[[Camera, NDArray[np.float64]], RenderedView]
"""Renders the view of a camera at ``T_world_camera`` (4, 4)."""


@dataclass
class VirtualViews:
    """Scores as in ``quality.off_path`` of a report, and examples of views.

    For each distance these are the first view, and the one of which least was observed.
    """

    figures: dict[str, Any]
    examples: list[OffPathView] = field(default_factory=list)


def score_off_path(
    source: FrameSource,
    mapped: FrameSource,
    views: Mapping[str, View],
    protocol: Protocol,
    baseline: bool = True,
    progress: Progress = lambda text, share: None,
) -> VirtualViews:
    """Score views at each of the protocol's distances from the path.

    Args:
        source: the recording; distances are from the path of all its frames.
        mapped: those of its frames from which the map was made.
        views: the map's appearances by name.
        baseline: whether the reprojected mapped frames are scored beside them.
    Raises:
        ValueError: if the truth of the recording is not known, or there is no space off the path.
    """
    stage = _Stage(source, mapped, dict(views), protocol, baseline)
    found = VirtualViews({"names": list(stage.views), "distances": {}})
    wanted = protocol.off_path.distances_m
    for number, distance in enumerate(wanted):
        cameras = stage.cameras(distance)
        scores = OffPathScores(mapped.label_names, protocol, list(stage.views))
        examples: list[OffPathView] = []  # the first, and the least observed one
        for item in stage.rendered(cameras, distance):
            if not examples or item.observed.sum() < examples[-1].observed.sum():
                examples = [*examples[:1], item]
            scores.add(item)
            done = number + scores.count / len(cameras)
            progress("views off the path", done / len(wanted))
        found.examples += examples
        found.figures["distances"][f"{round(1000 * distance)} mm"] = {
            "distance_m": distance,
            "cameras": [_described(camera) for camera in cameras],
            "scores": scores.result(),
        }
    return found


class _Stage:
    """The true scene, what of it was observed, and everyone who renders it."""

    def __init__(
        self,
        source: FrameSource,
        mapped: FrameSource,
        views: dict[str, View],
        protocol: Protocol,
        baseline: bool,
    ) -> None:
        self._scene, self._settings = true_scene(source), protocol.off_path
        self._poses = poses_of(source)
        self._camera = _no_wider_than(self._scene.camera, protocol.views.width)
        exact = [self._scene.view(self._camera, pose) for pose in poses_of(mapped)]
        self._observed = ObservedSurface(exact, self._scene.depth_range_m)
        reproject = Reprojection(mapped)
        self.views: dict[str, View] = views
        if baseline:
            self.views[BASELINE] = lambda camera, pose: reproject(camera, pose).view

    def cameras(self, distance_m: float) -> list[PlacedCamera]:
        return place_cameras(self._poses, distance_m, self._settings, self._scene.clearance)

    def rendered(self, cameras: list[PlacedCamera], distance_m: float) -> Iterator[OffPathView]:
        for item in cameras:
            pose = item.T_world_camera
            truth = self._scene.view(self._camera, pose)
            yield OffPathView(
                f"{distance_m:g} m off frame {item.base}, turned by {item.turned_deg:.0f}°",
                truth,
                self._observed(truth),
                {name: view(self._camera, pose) for name, view in self.views.items()},
            )


def _no_wider_than(camera: Camera, width: int) -> Camera:
    """Return the camera, resized in proportion if it is wider (0 = unchanged)."""
    if not 0 < width < camera.width:
        return camera
    return camera.resized(width, max(1, round(camera.height * width / camera.width)))


def _described(camera: PlacedCamera) -> dict[str, Any]:
    return {
        "frame": camera.base,
        "position": camera.T_world_camera[:3, 3].round(3).tolist(),
        "turned_deg": round(camera.turned_deg, 1),
    }
