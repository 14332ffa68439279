"""A recording for an evaluation: held-out frames on topics that the mapping node never hears."""

from __future__ import annotations

from collections.abc import Iterator

from rclpy.node import Node

from semantic_field.config import ReplayNodeConfig
from semantic_field.data.replay import Event
from semantic_field.data.sources import FrameSource
from semantic_field.evaluation.protocols.protocol import load_protocol
from semantic_field.nodes.replay.playback import FramePlayback

PREFIX = "held_out/"


class HeldOutPlayback:
    """Mapped frames on the usual topics, held-out ones under ``held_out/``, the rest not at all."""

    def __init__(self, node: Node, source: FrameSource, config: ReplayNodeConfig) -> None:
        protocol = load_protocol(config.protocol)
        if protocol.supervision.kind != "all":
            raise ValueError(
                f"expected a protocol with all labels for a live run, got {protocol.name}: "
                f"{protocol.supervision.describe()}; use semantic-field evaluate"
            )
        split = protocol.make_split(len(source))
        self._positions = sorted((*split.train, *split.test))
        self._test, self._stamps = frozenset(split.test), source.stamps
        self.start_ns = source.stamps[self._positions[0]]
        self.end_ns = source.stamps[self._positions[-1]]
        self._mapped = FramePlayback(node, source, config)
        self._held_out = FramePlayback(node, source, config, PREFIX)

    def heard(self) -> bool:
        """Whether both the mapping and the scorer node listen."""
        return self._mapped.heard() and self._held_out.heard()

    def events(self) -> Iterator[Event]:
        return (Event(self._stamps[position], position) for position in self._positions)

    def publish(self, event: Event) -> None:
        playback = self._held_out if event.payload in self._test else self._mapped
        playback.publish(event)
