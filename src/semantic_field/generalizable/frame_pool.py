"""A bounded pool of posed frames, from which the sources of a target view are chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.data.view_selection import visible_cells
from semantic_field.field.rays.keyframe_arrays import (
    DEPTH_UNIT_M,
    KeyframeCameras,
    KeyframeImages,
)
from semantic_field.field.views.source_views import SourceViews, Target
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.generalizable.label_segments import segments_of
from semantic_field.generalizable.source_images import SourceImages
from semantic_field.generalizable.target_depth import target_depth
from semantic_field.geometry import Camera, moved, pose_distances

RULES = ("coverage", "nearest")
COARSE = 24, 32  # rows and columns of the target depth by which sources are chosen
STRIDE = 8  # of the sources' pixels that are splatted for it
ASSUMED_M = 2.5  # depth of what a target shows where no frame has depth
FARTHEST_M = ((1 << 15) - 1) * DEPTH_UNIT_M
LABELLED = 2.0  # how much more a frame counts that has labels when one must go


@dataclass(frozen=True)
class PooledFrame:
    """A frame of the pool with what was computed of it once.

    Attributes:
        frame: at the pool's size.
        features: what the model computed of its colours, without a first dimension for frames.
        latent: float16 (D, h, w), or None.
        cells: int64 (N,), keys of the surface cells that it shows.
        segments: int32 (H, W), connected areas of one label; None without labels.
    """

    frame: Frame
    features: tuple[Tensor, ...] | None
    latent: NDArray[np.float16] | None
    cells: NDArray[np.int64]
    segments: NDArray[np.int32] | None


class FramePool:
    """Holds up to ``most`` frames. When it is full, the frame goes that shows least by itself.

    Not thread-safe.

    Args:
        most: largest number of frames.
        width: wider frames are resized to it, in proportion; all frames must then be of one size.
        oldest_s: when a frame is added, those go that are older by more than that; 0 = none.
    """

    def __init__(self, most: int = 32, width: int = 320, oldest_s: float = 0.0) -> None:
        if most < 1 or width < 16 or oldest_s < 0:
            raise ValueError(
                f"expected most from 1, width from 16 and oldest_s from 0 on, got {most}, {width} "
                f"and {oldest_s}"
            )
        self._most, self._width, self._oldest_ns = most, width, round(1e9 * oldest_s)
        self._frames: list[PooledFrame] = []
        self._views: SourceViews | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, number: int) -> PooledFrame:
        return self._frames[number]

    @property
    def origin(self) -> NDArray[np.float64]:
        """Position (3,) in the world to which ``sources`` and ``source_views`` are relative.

        Both are float32, which is too coarse for far coordinates.
        """
        return (
            np.array(self._frames[0].frame.T_world_camera[:3, 3]) if self._frames else np.zeros(3)
        )

    @property
    def width(self) -> int:
        """Width of the frames, pixels, unless they were narrower."""
        return self._width

    @property
    def is_labelled(self) -> bool:
        """Whether any frame has labels."""
        return any(item.frame.labels is not None for item in self._frames)

    @property
    def stamps_ns(self) -> list[int]:
        """Acquisition times of the frames, in the order in which they were added."""
        return [item.frame.stamp_ns for item in self._frames]

    def resized(self, frame: Frame) -> Frame:
        """Return the frame at the size that the pool keeps.

        Raises:
            ValueError: if it is of another size than those in the pool.
        """
        frame = frame.no_wider_than(self._width)
        size = frame.camera.width, frame.camera.height
        if self._frames:
            camera = self._frames[0].frame.camera
            if size != (camera.width, camera.height):
                raise ValueError(
                    f"expected frames of {camera.width}x{camera.height} pixels as before, got "
                    f"{size[0]}x{size[1]}; clear the pool when the camera changes"
                )
        return frame

    def add(
        self,
        frame: Frame,
        features: tuple[Tensor, ...] | None = None,
        latent: NDArray[np.float16] | None = None,
    ) -> None:
        """Add a frame; see ``PooledFrame``. One with the same stamp and camera is replaced."""
        frame = self.resized(frame)
        segments = None if frame.labels is None else segments_of(frame.labels)
        item = PooledFrame(frame, features, latent, visible_cells(frame), segments)
        key = frame.stamp_ns, frame.camera_id
        self._frames = [
            old for old in self._frames if (old.frame.stamp_ns, old.frame.camera_id) != key
        ]
        self._frames.append(item)
        if self._oldest_ns:
            since = max(self.stamps_ns) - self._oldest_ns
            self._frames = [old for old in self._frames if old.frame.stamp_ns >= since]
        if len(self._frames) > self._most:
            del self._frames[self._least_needed()]
        self._views = None

    def relabel(self, stamp_ns: int, labels: NDArray[np.int32]) -> bool:
        """Give the frames of a stamp labels (H, W), of any size; whether there is such a frame."""
        found = False
        for number, item in enumerate(self._frames):
            if item.frame.stamp_ns == stamp_ns:
                camera = item.frame.camera
                size = camera.width, camera.height
                own = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT))
                frame = replace(item.frame, labels=own)
                self._frames[number] = replace(item, frame=frame, segments=segments_of(own))
                found, self._views = True, None
        return found

    def clear(self) -> None:
        """Forget all frames."""
        self._frames, self._views = [], None

    def choose(
        self,
        camera: Camera,
        T_world_camera: NDArray[np.float64],
        views: int,
        rule: str = "coverage",
        exclude_ns: int | None = None,
        among: NDArray[np.int64] | None = None,
    ) -> list[int]:
        """Choose up to ``views`` frames that show what a target camera sees.

        Args:
            rule: "coverage" = those that together show most of its surface, best first;
                "nearest" = those whose cameras are nearest, as the published systems choose.
            exclude_ns: the frame of this stamp is not chosen.
            among: numbers of the frames that may be chosen; None = all.
        Returns:
            Numbers of the frames; fewer than ``views`` if the pool has fewer.
        """
        if rule not in RULES:
            raise ValueError(f"expected a rule of {RULES}, got {rule!r}")
        stamps = np.array(self.stamps_ns, np.int64)
        allowed = np.arange(len(stamps)) if among is None else among
        allowed = allowed if exclude_ns is None else allowed[stamps[allowed] != exclude_ns]
        if not len(allowed):
            return []
        poses = np.stack([self._frames[i].frame.T_world_camera for i in allowed])
        near = pose_distances(poses, T_world_camera)
        if rule == "nearest":
            near = np.linalg.norm(poses[:, :3, 3] - T_world_camera[:3, 3], axis=1)
            return allowed[np.argsort(near, kind="stable")[:views]].tolist()
        sources = self.source_views().taken(allowed)
        chosen = sources.choose(self._coarse_target(camera, T_world_camera, allowed), views)
        chosen = chosen[:views].tolist()
        rest = [i for i in np.argsort(near, kind="stable").tolist() if i not in set(chosen)]
        return allowed[chosen + rest[: views - len(chosen)]].tolist()

    def source_views(self) -> SourceViews:
        """Return all frames as the keyframes of a map are given, relative to ``origin``."""
        if self._views is None:
            self._views = _source_views([item.frame for item in self._frames], self.origin)
        return self._views

    def sources(self, numbers: list[int]) -> tuple[SourceImages, NDArray[np.int32]]:
        """Return frames as tensors, relative to ``origin``, and the class id of each label row."""
        return source_images([self._frames[i] for i in numbers], self.origin)

    def _least_needed(self) -> int:
        """Return the number of the frame, not the newest, that alone shows least."""
        cells = [item.cells for item in self._frames]
        _, inverse, count = np.unique(
            np.concatenate(cells), return_inverse=True, return_counts=True
        )
        # A cell that n frames show counts 1 / n for each: copies of a view become cheap.
        share = np.split(1.0 / count[inverse], np.cumsum([len(part) for part in cells])[:-1])
        worth = np.array([part.sum() for part in share])
        worth[[item.segments is not None for item in self._frames]] *= LABELLED
        if not count.size:  # no depth at all: what is nearest to another view goes
            poses = np.stack([item.frame.T_world_camera for item in self._frames])
            apart = pose_distances(poses[:, None], poses[None]) + np.diag([np.inf] * len(poses))
            worth = apart.min(1)
        return int(worth[:-1].argmin())

    def _coarse_target(
        self, camera: Camera, T_world_camera: NDArray[np.float64], allowed: NDArray[np.int64]
    ) -> Target:
        """Return the target, relative to ``origin``, with a coarse depth splatted from frames."""
        small, origin = camera.resized(COARSE[1], COARSE[0]), self.origin
        pose = moved(T_world_camera, -origin)
        frames = [self._frames[i].frame for i in allowed]
        depths = np.stack([f.depth[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE] for f in frames])
        offset = np.array([0, 0, STRIDE // 2, STRIDE // 2])
        intrinsics = np.stack([(f.camera.intrinsics - offset) / STRIDE for f in frames])
        found = target_depth(
            torch.from_numpy(depths),
            torch.as_tensor(intrinsics, dtype=torch.float32),
            _tensor([moved(f.T_world_camera, -origin) for f in frames]),
            torch.as_tensor(small.intrinsics, dtype=torch.float32),
            torch.as_tensor(pose, dtype=torch.float32),
            COARSE,
        )
        depth = found.depth.numpy()
        depth = np.where(depth > 0, depth, np.float32(ASSUMED_M))
        row = np.arange(camera.height) * COARSE[0] // camera.height
        column = np.arange(camera.width) * COARSE[1] // camera.width
        normal = normals_of(depth, small) @ np.asarray(pose[:3, :3].T, np.float32)
        pick = np.ix_(row, column)
        return Target(camera, pose, depth[pick], normal[pick])


def source_images(
    items: list[PooledFrame], origin: NDArray[np.float64]
) -> tuple[SourceImages, NDArray[np.int32]]:
    """Return pooled frames as tensors, and the class id of each row of their labels, (C,).

    Args:
        origin: (3,), subtracted from their positions: tensors are too coarse for far coordinates.
    """
    frames = [item.frame for item in items]
    colors = torch.from_numpy(np.stack([frame.color for frame in frames]))
    class_ids, labels = _rows([frame.labels for frame in frames])
    features = [item.features for item in items]
    latents = [item.latent for item in items]
    depths = np.stack([frame.depth for frame in frames])
    sources = SourceImages(
        colors=colors.permute(0, 3, 1, 2).float().div(255.0).contiguous(),
        intrinsics=_tensor([frame.camera.intrinsics for frame in frames]),
        poses=_tensor([moved(frame.T_world_camera, -origin) for frame in frames]),
        depths=torch.from_numpy(depths) if depths.any() else None,
        labels=None if labels is None else torch.from_numpy(labels),
        segments=_segments(items) if labels is not None else None,
        n_classes=len(class_ids),
        latents=_latents(latents),
        features=_stacked(features),
    )
    return sources, class_ids


def normals_of(depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """Return unit normals (H, W, 3), towards the camera and in its axes, of a depth image."""
    points = camera.backproject(depth)
    across = np.gradient(points, axis=1)
    down = np.gradient(points, axis=0)
    normal = np.cross(down, across)
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-12)
    return normal.astype(np.float32)


def _source_views(frames: list[Frame], origin: NDArray[np.float64]) -> SourceViews:
    """Return frames of one size as the arrays of a map's keyframes."""
    K, camera = len(frames), frames[0].camera
    pixels = camera.width * camera.height
    class_ids, labels = _rows([frame.labels for frame in frames])
    if labels is None:
        labels = np.full((K, camera.height, camera.width), VOID_LABEL)
    depths = np.stack([frame.depth for frame in frames]).clip(0, FARTHEST_M)
    return SourceViews(
        images=KeyframeImages(
            np.stack([frame.color for frame in frames]).reshape(K, pixels, 3),
            np.rint(depths / DEPTH_UNIT_M).astype(np.uint16).reshape(K, pixels),
            labels.astype(np.int16).reshape(K, pixels),
        ),
        cameras=KeyframeCameras(
            np.array([frame.camera.intrinsics for frame in frames], np.float32),
            np.array([moved(frame.T_world_camera, -origin) for frame in frames], np.float32),
            np.array([[camera.width, camera.height]] * K, np.int64),
        ),
        exposures=np.tile(np.array([1.0, 0.0]), (K, 3, 1)),
        stamps_ns=np.array([frame.stamp_ns for frame in frames], np.int64),
        class_ids=class_ids,
    )


def _rows(
    images: list[NDArray[np.int32] | None],
) -> tuple[NDArray[np.int32], NDArray[np.int64] | None]:
    """Return the class ids in label images, and the images (V, H, W) with their positions."""
    given = [image for image in images if image is not None]
    if not given:
        return np.zeros(0, np.int32), None
    ids = np.unique(np.concatenate([np.unique(image) for image in given]))
    ids = ids[ids >= 0].astype(np.int32)
    empty = np.full(given[0].shape, VOID_LABEL, np.int32)
    stacked = np.stack([empty if image is None else image for image in images])
    if not len(ids):
        return ids, np.full(stacked.shape, -1, np.int64)
    return ids, np.where(stacked >= 0, np.searchsorted(ids, stacked), -1).astype(np.int64)


def _segments(items: list[PooledFrame]) -> Tensor:
    empty = np.zeros_like(items[0].frame.depth, np.int32)
    parts = [empty if item.segments is None else item.segments for item in items]
    return torch.from_numpy(np.stack(parts).astype(np.int64))


def _latents(latents: list[NDArray[np.float16] | None]) -> Tensor | None:
    given = [latent for latent in latents if latent is not None]
    if not given:
        return None
    empty = np.zeros_like(given[0])
    stacked = np.stack([empty if latent is None else latent for latent in latents])
    return torch.from_numpy(stacked).float()


def _stacked(features: list[tuple[Tensor, ...] | None]) -> tuple[Tensor, ...] | None:
    given = [item for item in features if item is not None]
    if len(given) < len(features):
        return None
    return tuple(torch.stack(parts) for parts in zip(*given, strict=True))


def _tensor(values: list[NDArray[np.float64]]) -> Tensor:
    return torch.as_tensor(np.stack(values), dtype=torch.float32)
