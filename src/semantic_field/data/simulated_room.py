"""Simulated furnished room, rendered on demand, with exact depth, labels, instances and objects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.room.layout import LABELS, STRUCTURE, Layout, make_layout
from semantic_field.data.room.scene import Scene
from semantic_field.data.room.sensor import FARTHEST_M, NEAREST_M, degrade
from semantic_field.data.room.shapes import yaw_rotation
from semantic_field.data.room.trajectory import make_trajectory
from semantic_field.frames import Frame
from semantic_field.geometry import Camera

FOCAL_SHARE = 525 / 640  # focal length in image widths, as of a Kinect or Xtion
FIRST_STAMP_NS = 1_000_000_000
NO_ECHO = ("window", "tv")


@dataclass(frozen=True)
class RoomObject:
    """Ground truth bounding box of one object.

    Attributes:
        name: class name.
        centre: (3,), metres, z up.
        size: (3,), metres, along the box's own axes.
        yaw: of the box's x axis, radians about z.
        instance: id in ``Frame.instances``.
    """

    name: str
    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    yaw: float
    instance: int


class SimulatedRoom:
    """A ``FrameSource``: a camera path through a random room.

    Args:
        seed: of sizes, colours and positions; the same seed gives the same room.
        n_frames: number of frames along the whole path; more frames are closer together.
        size: width and height of the images, pixels.
        noise: simulate noise and holes of a real sensor (see ``room.sensor``).
        rate_hz: frames per second of the stamps.
    Attributes:
        poses: ``T_world_camera`` (4, 4) of all frames.
        stamps: of the frames, nanoseconds.
        depth_range_m: z-depths between which the sensor has readings, metres.
    """

    def __init__(
        self,
        seed: int = 0,
        n_frames: int = 90,
        size: tuple[int, int] = (640, 480),
        noise: bool = False,
        rate_hz: float = 5.0,
    ) -> None:
        if n_frames < 1 or not rate_hz > 0:
            raise ValueError(f"expected n_frames >= 1 and rate_hz > 0, got {n_frames}, {rate_hz}")
        width, height = size
        self.name = f"room{seed}"
        self.label_names = dict(enumerate(LABELS))
        focal = FOCAL_SHARE * width
        self.camera = Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
        self.layout, self._scene = _build(seed)
        self.poses = make_trajectory(self.layout, n_frames)
        self.stamps = [FIRST_STAMP_NS + round(i * 1e9 / rate_hz) for i in range(len(self.poses))]
        self.depth_range_m = (NEAREST_M, FARTHEST_M) if noise else (0.0, float("inf"))
        self._seed, self._noise = seed, noise

    @property
    def objects(self) -> tuple[RoomObject, ...]:
        """All objects except floor, walls and ceiling."""
        return tuple(
            RoomObject(
                piece.name,
                piece.position + yaw_rotation(piece.yaw) @ ((piece.low + piece.high) / 2),
                piece.high - piece.low,
                piece.yaw,
                piece.instance,
            )
            for piece in self.layout.pieces
            if piece.name not in STRUCTURE
        )

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, index: int) -> Frame:
        if not 0 <= index < len(self):
            raise IndexError(f"expected a frame 0..{len(self) - 1}, got {index}")
        pose = self.poses[index]
        view = self._scene.view(self.camera, pose)
        color, depth = view.color, view.depth
        if self._noise:
            no_echo = np.isin(view.labels, [LABELS.index(name) for name in NO_ECHO])
            rng = np.random.default_rng((self._seed, index))
            color, depth = degrade(view, self.camera, rng, no_echo)
        stamp_ns = self.stamps[index]
        return Frame(stamp_ns, color, depth, self.camera, pose, view.labels, view.instances)

    def view(self, camera: Camera, T_world_camera: NDArray[np.float64]) -> Frame:
        """Render a noise-free frame (stamp 0) for any camera, as reference for rendered views."""
        view = self._scene.view(camera, T_world_camera)
        return Frame(0, view.color, view.depth, camera, T_world_camera, view.labels, view.instances)

    def clearance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distances (N,) from points (N, 3) to the nearest solid, metres.

        They are 0 in a solid and outside the room; curved solids count as boxes around them.
        """
        solids = [shape for piece in self.layout.pieces for shape in piece.shapes]
        width, depth, height = self.layout.size
        low, high = np.array([-width / 2, -depth / 2, 0]), np.array([width / 2, depth / 2, height])
        inside = ((points > low) & (points < high)).all(axis=1)
        nearest = np.min([solid.distance(points) for solid in solids], axis=0)
        return np.where(inside, nearest, 0.0)


@lru_cache(maxsize=4)
def _build(seed: int) -> tuple[Layout, Scene]:
    """Build the room of a seed; a few are cached, as computing the lighting takes seconds."""
    layout = make_layout(seed)
    return layout, Scene(layout)
