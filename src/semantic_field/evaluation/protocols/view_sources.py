"""What a generalizable model gets of a recording: the frames of its pool, and with which faults."""

from __future__ import annotations

from dataclasses import dataclass

GUIDES = {
    "sensor": "sensor depth",
    "volume": "depth from the volume",
    "map": "depth from a map",
    "none": "no depth guidance",
}
RULES = ("coverage", "nearest")
FAULTS = ("exact", "noisy")


@dataclass(frozen=True)
class SourceFrames:
    """How views are predicted from source frames, without training on the scene.

    Attributes:
        views: source frames of each target (K).
        samples: samples of each ray (N).
        rule: how sources are chosen of the pool (the split's train frames): "coverage" as for the
            views of a map, or "nearest" cameras, in world coordinates, as in the papers. The
            target itself is never chosen.
        depth: which depth guides the samples: of the "sensor", of the model's own cost "volume"
            (the sources then have no depth), rendered from a "map" trained on the pool, or "none".
        faults: "exact" = frames as recorded; "noisy" = noisy depth that misses edges and areas,
            and wrong classes for whole segments (``generalizable.sensor_noise``).
        draws: how often all targets are predicted, each time from frames with newly drawn faults.
        seed: of the faults.
        arriving: whether a target is predicted from earlier frames only, as on a robot.
    Raises:
        ValueError: on an unknown name, or a number out of range.
    """

    views: int = 8
    samples: int = 4
    rule: str = "coverage"
    depth: str = "sensor"
    faults: str = "exact"
    draws: int = 1
    seed: int = 0
    arriving: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("rule", RULES), ("depth", tuple(GUIDES)), ("faults", FAULTS)):
            if getattr(self, name) not in choices:
                got = getattr(self, name)
                raise ValueError(f"expected sources.{name} of {choices}, got {got!r}")
        if self.views < 1 or not 1 <= self.samples <= 128 or self.draws < 1:
            raise ValueError(
                "expected sources.views and sources.draws from 1 on and sources.samples in "
                f"1..128, got {self.views}, {self.draws} and {self.samples}"
            )
        if self.faults == "exact" and self.draws > 1:
            raise ValueError(f"expected sources.draws 1 of exact frames, got {self.draws}")

    def describe(self) -> str:
        """Return the settings in words."""
        draws = f", {self.draws} draws" if self.draws > 1 else ""
        return (
            f"K = {self.views} by {self.rule}, N = {self.samples}, {GUIDES[self.depth]}, "
            f"{self.faults} {'earlier ' * self.arriving}frames{draws}; no training on the scene"
        )
