"""Depth of the frames of a pool from colours alone, found once and kept while it is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.frames import Frame
from semantic_field.generalizable.depth_fusion import fused
from semantic_field.generalizable.stereo_neighbours import stereo_neighbours
from semantic_field.generalizable.sweep_reasoner import Matched, Pair, SweepReasoner
from semantic_field.geometry import moved

Key = tuple[int, int]
"""Stamp and camera of a frame."""


class _Depth(NamedTuple):
    """Depth and confidence (H, W) of a frame."""

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]


class PoolDepths:
    """Finds depth by a sweep. Features and depths are kept as long as their frames are given.

    Not thread-safe.
    """

    def __init__(self, reasoner: SweepReasoner) -> None:
        self._reasoner = reasoner
        self._matched: dict[Key, Matched] = {}
        self._found: dict[tuple[Key, ...], _Depth] = {}

    @torch.inference_mode()
    def find(
        self, frames: Sequence[Frame], wanted: Sequence[int], exclude_ns: int | None = None
    ) -> Float[NDArray, "V H W"]:
        """Return the depth of some frames, consistent among them; 0 = unknown.

        Args:
            frames: of one size; what is known of others is forgotten. wanted: numbers of V.
            exclude_ns: frames of this stamp are not compared with.

        Raises:
            ValueError: if none of the wanted frames has another that sees the same things.
        """
        self._forget(frames)
        among = [i for i, frame in enumerate(frames) if frame.stamp_ns != exclude_ns]
        poses = np.stack([frame.T_world_camera for frame in frames])
        poses[:, :3, 3] -= poses[0, :3, 3].copy()
        lenses = np.stack([frame.camera.intrinsics for frame in frames])
        found = [self._depth_of(frames, i, among, poses, lenses) for i in wanted]
        if not any((one.confidence > 0).any() for one in found):
            raise ValueError(
                "expected frames that see the same things from different places to find their "
                f"depth, got none among {len(frames)}: move the camera sideways, or use a depth "
                "camera"
            )
        depths, confidence = (np.stack(part) for part in zip(*found, strict=True))
        chosen = list(wanted)
        return fused(depths, confidence, lenses[chosen], poses[chosen])

    def clear(self) -> None:
        """Forget all frames."""
        self._matched, self._found = {}, {}

    def _depth_of(
        self,
        frames: Sequence[Frame],
        number: int,
        among: list[int],
        poses: Float[NDArray, "N 4 4"],
        lenses: Float[NDArray, "N 4"],
    ) -> _Depth:
        camera = frames[number].camera
        all_numbers = [number, *(i for i in among if i != number)]
        others = stereo_neighbours(
            poses[all_numbers],
            lenses[all_numbers],
            (camera.height, camera.width),
            0,
            self._reasoner.settings.neighbours,
        )
        chosen = [frames[all_numbers[i]] for i in (0, *others)]
        key = tuple(_key(frame) for frame in chosen)
        if key not in self._found:
            self._found[key] = self._swept(chosen)
        return self._found[key]

    def _swept(self, frames: list[Frame]) -> _Depth:
        """Return the depth of the first frame, compared with the others."""
        if len(frames) < 2:
            nothing = np.zeros_like(frames[0].depth)
            return _Depth(nothing, nothing)
        each = [self._matched_of(frame) for frame in frames]
        matched = Matched(*(torch.cat(parts) for parts in zip(*each, strict=True)))
        origin = frames[0].T_world_camera[:3, 3]
        device = matched.coarse.device
        found = self._reasoner.find(
            matched,
            Pair(0, list(range(1, len(frames)))),
            _tensor([frame.camera.intrinsics for frame in frames], device),
            _tensor([moved(frame.T_world_camera, -origin) for frame in frames], device),
        )
        H, W = frames[0].depth.shape
        depth, confidence = found.depth[:H, :W], found.confidence[:H, :W]
        return _Depth(depth.cpu().numpy(), confidence.cpu().numpy())

    def _matched_of(self, frame: Frame) -> Matched:
        key = _key(frame)
        if key not in self._matched:
            device = next(self._reasoner.parameters()).device
            color = torch.from_numpy(frame.color).to(device).permute(2, 0, 1)[None]
            self._matched[key] = self._reasoner.match(color.float() / 255.0)
        return self._matched[key]

    def _forget(self, frames: Sequence[Frame]) -> None:
        """Drop what belongs to frames that are no longer given."""
        there = {_key(frame) for frame in frames}
        self._matched = {key: one for key, one in self._matched.items() if key in there}
        self._found = {key: one for key, one in self._found.items() if there.issuperset(key)}


def _key(frame: Frame) -> Key:
    return frame.stamp_ns, frame.camera_id


def _tensor(values: list[NDArray[np.float64]], device: torch.device) -> Tensor:
    return torch.as_tensor(np.stack(values), dtype=torch.float32, device=device)
