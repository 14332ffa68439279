"""Episodes for the plane sweep: a frame, the neighbours it is compared with, and its true depth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.generalizable.episodes import Episode, EpisodeSettings, Scene
from semantic_field.generalizable.generalizable_model import Truth
from semantic_field.generalizable.source_images import SourceImages, target_rays
from semantic_field.generalizable.stereo_neighbours import stereo_neighbours

TRIES = 20  # references that may be drawn until one has a neighbour
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
FAULTS = 0.6  # share of the episodes whose frames differ in their colours
GAIN, BRIGHTNESS, GAMMA = 0.06, 0.25, 0.15  # deviations of logarithms; the first of each frame
GRAIN = 0.012  # largest deviation of colour noise
NO_CLASSES = np.zeros(0, np.int32)


class PosedImages(NamedTuple):
    """Arrays of N frames.

    Attributes:
        colors: uint8 (N, H, W, 3). depths: float32 (N, H, W), metres, 0 = none.
        poses: float64 (N, 4, 4), ``T_world_camera``. intrinsics: float64 (N, 4).
    """

    colors: NDArray[np.uint8]
    depths: NDArray[np.float32]
    poses: NDArray[np.float64]
    intrinsics: NDArray[np.float64]

    def taken(self, numbers: NDArray[np.int64]) -> PosedImages:
        """Return the frames of these numbers."""
        return PosedImages(
            self.colors[numbers],
            self.depths[numbers],
            self.poses[numbers],
            self.intrinsics[numbers],
        )


class StereoEpisodeMaker:
    """Draws episodes whose first source is the reference and whose others are its neighbours.

    Which frames are neighbours is decided as when depth is found. Colours change, and half of the
    episodes are mirrored. There is nothing to render: the rays are one pixel.
    """

    def __init__(self, scene: Scene, settings: EpisodeSettings) -> None:
        self._settings, frames = settings, scene.frames
        self._frames = PosedImages(
            np.stack([frame.color for frame in frames]),
            np.stack([frame.depth for frame in frames]),
            np.stack([frame.T_world_camera for frame in frames]),
            np.stack([np.asarray(frame.camera.intrinsics, np.float64) for frame in frames]),
        )

    def __call__(self, random: np.random.Generator) -> Episode:
        """Return an episode with a random reference, pool, neighbours and colours.

        Raises:
            ValueError: if no frame of many has one to be compared with.
        """
        for _ in range(TRIES):
            chosen = self._drawn(random)
            if len(chosen) > 1:
                return self._episode(chosen, random)
        raise ValueError(
            f"expected frames that see the same things from two places, found none in {TRIES} "
            "tries: leave out recordings whose camera only turns"
        )

    def _drawn(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Return the numbers of a reference and its neighbours."""
        settings, frames = self._settings, self._frames
        count = len(frames.depths)
        reference = int(random.integers(count))
        stride = int(random.integers(settings.strides[0], settings.strides[1] + 1))
        pool = np.arange(int(random.integers(stride)), count, stride)
        among = np.concatenate([[reference], pool[pool != reference]])
        views = int(random.integers(settings.views[0], settings.views[1] + 1))
        size = frames.depths.shape[1:]
        others = stereo_neighbours(
            frames.poses[among], frames.intrinsics[among], size, 0, views - 1
        )
        return among[[0, *others]]

    def _episode(self, chosen: NDArray[np.int64], random: np.random.Generator) -> Episode:
        frames = self._frames.taken(chosen)
        if random.random() < 0.5:
            frames = mirrored(frames)
        colors = torch.from_numpy(np.ascontiguousarray(frames.colors)).permute(0, 3, 1, 2)
        poses = frames.poses.copy()
        poses[:, :3, 3] -= poses[0, :3, 3].copy()
        sources = SourceImages(
            colors=recolored(colors.float() / 255.0, random),
            intrinsics=torch.as_tensor(frames.intrinsics, dtype=torch.float32),
            poses=torch.as_tensor(poses, dtype=torch.float32),
        )
        nothing = torch.zeros(1, 1)
        truth = Truth(
            color=torch.zeros(1, 1, 3),
            depth=nothing,
            labels=torch.full((1, 1), -1),
            source_depths=torch.from_numpy(np.ascontiguousarray(frames.depths)),
        )
        rays = target_rays(sources.intrinsics[0], sources.poses[0], nothing, nothing)
        return Episode(sources, rays, truth, NO_CLASSES)


def mirrored(frames: PosedImages) -> PosedImages:
    """Return frames of the mirrored scene: left is right in the images and in the world."""
    intrinsics = frames.intrinsics.copy()
    intrinsics[:, 2] = frames.depths.shape[2] - 1 - intrinsics[:, 2]
    poses = MIRROR @ frames.poses @ MIRROR
    return PosedImages(frames.colors[:, :, ::-1], frames.depths[:, :, ::-1], poses, intrinsics)


def recolored(colors: Tensor, random: np.random.Generator) -> Tensor:
    """Return frames (V, 3, H, W) with other colours: alike in all, and a little in each."""
    gamma = float(np.exp(random.normal(0, GAMMA)))
    gain = np.full((len(colors), 3, 1, 1), np.exp(random.normal(0, BRIGHTNESS)))
    if random.random() < FAULTS:
        gain = gain * np.exp(random.normal(0, GAIN, gain.shape))
    colors = colors.clamp(min=1e-3) ** gamma * torch.as_tensor(gain, dtype=torch.float32)
    if random.random() < FAULTS:
        grain = random.standard_normal(colors.shape, np.float32) * random.uniform(0, GRAIN)
        colors = colors + torch.from_numpy(grain.astype(np.float32))
    if random.random() < 0.5 * FAULTS:
        colors = colors[:, torch.from_numpy(random.permutation(3))]
    return colors.clamp(0, 1)
