"""Playback for evaluations: held-out frames go to topics that mapping does not subscribe to."""

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
    """Mapped frames on the usual topics, held-out ones under ``held_out/``, others skipped.

    Raises:
        ValueError: if the protocol does not use all labels, or wants views off the path.
    """

    def __init__(self, node: Node, source: FrameSource, config: ReplayNodeConfig) -> None:
        protocol = load_protocol(config.protocol)
        if protocol.supervision.kind != "all":
            raise ValueError(
                f"expected a protocol with all labels for a live run, got {protocol.name}: "
                f"{protocol.supervision.describe()}; use semantic-field evaluate"
            )
        if protocol.off_path.distances_m:
            raise ValueError(
                f"expected a protocol without off_path for a live run, got {protocol.name}: no "
                "topic brings views off the path; use semantic-field evaluate"
            )
        split = protocol.make_split(len(source))
        self._positions = sorted((*split.train, *split.test))
        self._test, self._stamps = frozenset(split.test), source.stamps
        self.start_ns = source.stamps[self._positions[0]]
        self.end_ns = source.stamps[self._positions[-1]]
        self._mapped = FramePlayback(node, source, config)
        self._held_out = FramePlayback(node, source, config, PREFIX)

    def heard(self) -> bool:
        """Return True if both the mapped and the held-out images have subscribers."""
        return self._mapped.heard() and self._held_out.heard()

    def events(self) -> Iterator[Event]:
        """Yield one event per mapped or held-out frame; the payload is its position."""
        return (Event(self._stamps[position], position) for position in self._positions)

    def publish(self, event: Event) -> None:
        playback = self._held_out if event.payload in self._test else self._mapped
        playback.publish(event)
