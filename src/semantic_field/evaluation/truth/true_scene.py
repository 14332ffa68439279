"""Recordings whose truth can be rendered from anywhere."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame
from semantic_field.geometry import Camera


@runtime_checkable
class TrueScene(Protocol):
    """The truth of a recording, see ``SimulatedRoom``.

    Attributes:
        camera: that of the recording.
        depth_range_m: z-depths between which its sensor has readings, metres.
    """

    camera: Camera
    depth_range_m: tuple[float, float]

    def view(self, camera: Camera, T_world_camera: NDArray[np.float64], /) -> Frame:
        """Return the exact view of any camera at a pose (4, 4)."""
        ...

    def clearance(self, points: NDArray[np.float64], /) -> NDArray[np.float64]:
        """Return the distances (N,) from points (N, 3) to the nearest solid, 0 inside, metres."""
        ...


def true_scene(source: FrameSource) -> TrueScene:
    """Return the source as a scene whose truth is known.

    Raises:
        ValueError: if its truth cannot be rendered from anywhere.
    """
    if not isinstance(source, TrueScene):
        raise ValueError(
            "expected a simulated room for views off the path, whose truth is known everywhere, "
            f"got the recording {source.name}: use room:seed=3, or room:seed=3,noise=1 for a noisy "
            "sensor, or a protocol without off_path"
        )
    return source
