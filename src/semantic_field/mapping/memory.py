"""How the memory budget is shared out, and when the grid's table may grow."""

from __future__ import annotations

from semantic_field.config import MappingConfig
from semantic_field.kernels.interface import VERTICES_PER_LINE
from semantic_field.kernels.table_lines import count_used
from semantic_field.mapping.trainer import Trainer

GRID_SHARE = 0.4  # of the budget; keyframes have the rest, less what voxels and results need
KEYFRAME_SHARE = 0.55
TABLES = 4  # table, gradient and two moments, float32
CHECK_EVERY_STEPS = 200
MEBIBYTE = 1 << 20


def keyframe_budget_mb(config: MappingConfig) -> int:
    """MiB of the whole budget that the keyframes may take."""
    return max(1, int(config.memory_budget_mb * KEYFRAME_SHARE))


class TableGrowth:
    """Doubles the table of a grid that has grown crowded, within the grid's share of the budget.

    A larger site touches more cells; where too many share an entry, fine detail is lost. Only
    lines in use cost memory, so the table is measured by them. Checked now and then: counting
    takes about as long as a training step.
    """

    def __init__(self, config: MappingConfig) -> None:
        self._crowded_at = config.crowded_at
        self._budget_bytes = config.memory_budget_mb * MEBIBYTE * GRID_SHARE
        self.used_bytes = 0

    def check(self, trainer: Trainer) -> None:
        """Count the lines in use, and grow the table where that pays and fits."""
        if trainer.steps % CHECK_EVERY_STEPS:
            return
        shape = trainer.field.kernels.shape
        used = count_used(trainer.moments.second, trainer.config.threads)
        self.used_bytes = used * VERTICES_PER_LINE * shape.features * 4 * TABLES
        lines = shape.levels * shape.table_size // VERTICES_PER_LINE
        if used > self._crowded_at * lines and 2 * self.used_bytes <= self._budget_bytes:
            trainer.grow_table()
            self.used_bytes *= 2
