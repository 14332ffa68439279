"""The targets of a recording, and the frames of its pool with the faults of a protocol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semantic_field.data.sources import FrameSource
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.protocols.view_sources import SourceFrames
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames, fit
from semantic_field.evaluation.scores.scoring import held_out
from semantic_field.frames import Frame, split_void
from semantic_field.generalizable.sensor_noise import SensorNoise, corrupted


class TargetViews:
    """Targets with their truth, and the frames from which they are predicted.

    Args:
        source: a recording with labels.
        protocol: its ``sources`` say which faults the frames have.
    Raises:
        ValueError: if the protocol has no sources, or the recording is too short for its split.
    """

    def __init__(self, source: FrameSource, protocol: Protocol) -> None:
        if protocol.sources is None:
            raise ValueError(
                f"expected a protocol with sources, such as carried, got {protocol.name}"
            )
        self.settings: SourceFrames = protocol.sources
        self.split = protocol.make_split(len(source))
        self.truth = HeldOutFrames(
            source, held_out(self.split.test, protocol), protocol.views.width
        )
        self._source, self._width = source, protocol.views.width
        names, _ = split_void(source.label_names)
        self._classes = np.array(sorted(names), np.int32)

    def pool(self, draw: int) -> list[Frame]:
        """Return the frames of the pool, without instances, with the faults of a draw (0, 1, …)."""
        frames = [
            replace(fit(self._source[i], self._width), instances=None) for i in self.split.train
        ]
        if self.settings.faults == "exact":
            return frames
        random = np.random.default_rng((self.settings.seed, draw))
        return [corrupted(frame, SensorNoise(), self._classes, random) for frame in frames]


def blind(frames: list[Frame]) -> list[Frame]:
    """Return the frames without their depth, as a colour camera gives them."""
    return [replace(frame, depth=np.zeros_like(frame.depth)) for frame in frames]
