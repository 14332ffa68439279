"""Traces rays to the surface of one field with the Triton kernel, a whole view in one launch."""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false
from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.field.device_voxels import DeviceVoxels
from semantic_field.field.model import SemanticField
from semantic_field.field.traversal import NEVER, NUDGE

MAX_WAVES = 60
STEP_SHARE = 0.8  # distances are learnt along rays: the nearest surface may be nearer
EXTRA_STEP_M = 0.004
LONGEST_BRACKET_M = 0.08
LEAST_WIDTH = 16  # of the operands of a matrix product


class RayTracer:
    """See ``DeviceMap.trace``, which does the same in torch, wave by wave.

    Args:
        field: on one device, with the kernels "cuda"; its trunk must not change any more.
    """

    def __init__(self, field: SemanticField) -> None:
        from semantic_field.kernels.triton_trace import column_order

        self._field, shape = field, field.kernels.shape
        device, padded = field.table.device, _room(shape.features, 1)
        levels = _room(shape.levels, max(1, LEAST_WIDTH // padded))
        width = _room(field.config.hidden_dim, LEAST_WIDTH)
        columns = [
            column_order(level, feature, levels)
            for level in range(shape.levels)
            for feature in range(shape.features)
        ]
        first, out = field.trunk_in, field.trunk_out
        hidden = len(first.bias)
        self._first = torch.zeros(padded * levels, width, device=device)
        self._first[columns, :hidden] = first.weight.detach().T
        self._bias, self._second = torch.zeros(2, width, device=device)
        self._bias[:hidden], self._second[:hidden] = first.bias.detach(), out.weight[0].detach()
        self._last_bias = float(out.bias[0])
        self._grid = (shape.inverse_cells(device), shape.block_masks(device))
        self._sizes = {
            "levels": shape.levels, "level_room": levels, "size": shape.table_size,
            "features": shape.features, "padded": padded, "hidden": width,
        }  # fmt: skip

    def trace(
        self,
        origin: Float[Tensor, " 3"],
        directions: Float[Tensor, "N 3"],
        reach: DeviceVoxels,
        near: float,
        far: float,
    ) -> Float[Tensor, " N"]:
        """Ray parameter of the first surface along ``origin + t * directions``; inf = none."""
        from semantic_field.kernels.triton_trace import BLOCK, WARPS, trace

        hit = torch.empty(len(directions), device=directions.device)
        network = (self._first, self._bias, self._second)
        with torch.cuda.device_of(hit):
            trace[(-(-len(hit) // BLOCK),)](
                origin.contiguous(), directions.contiguous(), *reach.arrays,
                self._field.table, *self._grid, *network, hit, len(hit), near, far,
                1.0 / reach.voxel_m, self._field.config.truncation_m, self._last_bias,
                **self._sizes, waves=MAX_WAVES, share=STEP_SHARE, extra=EXTRA_STEP_M,
                bracket=LONGEST_BRACKET_M, nudge=NUDGE, never=NEVER, block=BLOCK,
                num_warps=WARPS,
            )  # fmt: skip
        return hit


def _room(n: int, least: int) -> int:
    """The least power of two that is neither less than ``n`` nor than ``least``."""
    return 1 << (max(n, least) - 1).bit_length()
