"""Traces rays to the zero of a field's signed distance on a GPU (or any torch device).

To the next voxel in which a surface was seen, then a step of the distance, until it is negative.
With Triton a whole view is one launch; elsewhere rays go wave by wave.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false
from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.field.model import SemanticField
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.traversal import NEVER, NUDGE
from semantic_field.kernels.interface import power_of_two

MAX_WAVES = 60
STEP_SHARE = 0.8  # distances are learnt along rays: the nearest surface may be nearer
EXTRA_STEP_M = 0.004
LONGEST_BRACKET_M = 0.08
LEAST_WIDTH = 16  # of the operands of a matrix product


def ray_tracer(field: SemanticField) -> WaveTracer:
    """The fastest way to trace rays to a field that nobody trains any more."""
    return (TritonTracer if field.kernels.name == "cuda" else WaveTracer)(field)


class WaveTracer:
    """In torch: each wave moves all rays that have not arrived."""

    def __init__(self, field: SemanticField) -> None:
        self._field = field

    def trace(
        self,
        origin: Float[Tensor, " 3"],
        directions: Float[Tensor, "N 3"],
        reach: DeviceVoxels,
        near: float,
        far: float,
    ) -> Float[Tensor, " N"]:
        """Ray parameter of the first surface along ``origin + t * directions``; inf = none."""
        t = torch.full((len(directions),), near, device=directions.device)
        hit = torch.full_like(t, float("inf"))
        last_t, last_s = t.clone(), hit.clone()
        stretch = directions.norm(dim=1)
        rays = torch.arange(len(t), device=directions.device)
        for _ in range(MAX_WAVES):
            reach.advance(origin, directions, t, far, rays)
            rays = rays[t[rays].isfinite()]
            if not len(rays):
                break
            here, long = t[rays], stretch[rays]
            s = self._field.distance(origin + here[:, None] * directions[rays])
            inside = s < 0
            crossing = _crossing(last_t[rays], last_s[rays], here, s, long)
            hit[rays] = torch.where(inside, crossing, float("inf"))
            last_t[rays], last_s[rays] = here, s
            t[rays] = here + (STEP_SHARE * s + EXTRA_STEP_M) / long
            rays = rays[~inside]
        return hit


class TritonTracer(WaveTracer):
    """In one launch, for a field with the kernels "cuda"."""

    def __init__(self, field: SemanticField) -> None:
        from semantic_field.kernels.triton_trace import column_order

        super().__init__(field)
        shape, device = field.kernels.shape, field.table.device
        padded = power_of_two(shape.features)
        levels = power_of_two(max(shape.levels, LEAST_WIDTH // padded))
        width = power_of_two(max(field.config.hidden_dim, LEAST_WIDTH))
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


def _crossing(
    last_t: Float[Tensor, " N"],
    last_s: Float[Tensor, " N"],
    t: Float[Tensor, " N"],
    s: Float[Tensor, " N"],
    stretch: Float[Tensor, " N"],
) -> Float[Tensor, " N"]:
    """The zero between two samples of a ray, or near the only one (by its own distance)."""
    bracketed = last_s.isfinite() & ((t - last_t) * stretch < LONGEST_BRACKET_M)
    between = last_t + (t - last_t) * last_s / (last_s - s)
    return torch.where(bracketed, between, t + s / stretch)
