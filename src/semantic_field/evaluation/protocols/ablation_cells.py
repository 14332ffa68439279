"""The maps that an open-vocabulary ablation compares, as lists of settings.

RSR is region semantic ranking, CSE cross-view self-enhancement (OV-NeRF).
"""

from __future__ import annotations

from dataclasses import dataclass

from semantic_field.config import Config
from semantic_field.settings import updated

REGIONS = ("depth", "instances")


@dataclass(frozen=True)
class Cell:
    """One map of an ablation.

    Attributes:
        name: of the table's row.
        rsr: whether regions vote on the teacher's features.
        cse: whether the map generates pseudo-labels for itself.
        regions: "depth" = the proposer without a checkpoint; "instances" = the recording's true
            instances, which no robot has: an upper bound.
        first, every: first step of the pseudo-labels (T) and steps between later ones (N), as
            shares of the step budget.
    """

    name: str
    rsr: bool = False
    cse: bool = False
    regions: str = "depth"
    first: float = 0.4
    every: float = 0.15

    def __post_init__(self) -> None:
        if self.regions not in REGIONS:
            raise ValueError(f"expected ablation.regions of {REGIONS}, got {self.regions!r}")
        if not (0 <= self.first <= 1 and 0 < self.every <= 1):
            raise ValueError(
                f"expected ablation.first in 0..1 and ablation.every above 0 up to 1, got "
                f"{self.first} and {self.every}"
            )

    def config(self, config: Config, steps: int) -> Config:
        """Return ``config`` with the settings of this cell, for a budget of ``steps`` steps."""
        return updated(
            config,
            {
                "language.source": "images",
                "language.rank_teacher": self.rsr,
                "language.self_enhancement": self.cse,
                "language.enhance_from": round(self.first * steps),
                "language.enhance_every": max(1, round(self.every * steps)),
            },
        )
