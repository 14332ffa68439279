"""Chunks of rays marched, coloured and scored, and all gradients on the way back.

The result is that of the ray marcher and the pixel generator in plain torch, but for the rounding
of products to bfloat16; the marcher's state, layer norms and positions are float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semantic_field.object_prior.published.fused_layers import Kept, LayerStack, Scratch, bits
from semantic_field.object_prior.published.march_kernels import cell_backward, cell_forward
from semantic_field.object_prior.published.ray_marcher import HIDDEN_GRADIENT, RayMarcher


@dataclass(frozen=True)
class RayChunk:
    """N rays of one instance.

    Attributes:
        origins, directions: (N, 3) canonical.
        cosines: (N,), between ray and optical axis.
        start: (N,) distances at which they begin.
        target: (N, 4) channels in -1..1.
    """

    origins: Tensor
    directions: Tensor
    cosines: Tensor
    start: Tensor
    target: Tensor


class MarchMemory:
    """What is kept of N rays of S steps on the way forwards, and scratch memory.

    Args:
        rows: N.
        width, depth, pixel_depth: of phi, and layers of the pixel generator.
    """

    def __init__(
        self, rows: int, width: int, depth: int, pixel_depth: int, steps: int, states: int
    ) -> None:
        self.phi = [Kept(depth, rows, width) for _ in range(steps + 1)]
        self.pixels = Kept(pixel_depth, rows, width)
        self.scratch = Scratch(rows, width)
        self.features = torch.empty(rows, width, dtype=torch.bfloat16)
        self.product = torch.empty(rows, 4 * states, dtype=torch.bfloat16)
        self.product_bits = bits(self.product)
        self.points = torch.empty(steps + 1, rows, 3)
        self.distances = np.empty((steps + 1, rows), np.float32)
        self.hidden, self.cell = np.zeros((2, steps + 1, rows, states), np.float32)
        self.bent = np.empty((steps, rows, states), np.float32)
        self.gates = np.empty((steps, rows, 4 * states), np.float32)


class FusedMarch:
    """The ray marcher's and the pixel generator's weights, and the sums of their gradients."""

    def __init__(self, marcher: RayMarcher, pixel_generator: nn.Sequential) -> None:
        cell, length = marcher.cell, marcher.step_length
        linears = [m for m in pixel_generator if isinstance(m, nn.Linear)]
        norms = [m for m in pixel_generator if isinstance(m, nn.LayerNorm)]
        self.steps, self.last = marcher.steps, linears[-1]
        self.pixels = LayerStack(
            [linear.weight.detach() for linear in linears[:-1]],
            [linear.bias.detach() for linear in linears[:-1]],
            [norm.weight.detach() for norm in norms],
            [norm.bias.detach() for norm in norms],
        )
        self.last_sums = torch.zeros_like(self.last.weight), torch.zeros_like(self.last.bias)
        self.input_weight = cell.weight_ih.detach().bfloat16()
        self.bias = (cell.bias_ih + cell.bias_hh).detach().numpy()
        self.recurrent = np.ascontiguousarray(cell.weight_hh.detach().numpy().T)
        self.step_weight = length.weight.detach().numpy()[0]
        self.step_bias = np.float32(length.bias.item())
        self.input_sums = torch.zeros_like(cell.weight_ih)
        self.recurrent_sums = np.zeros_like(self.recurrent)
        self.bias_sums = np.zeros_like(self.bias)
        self.step_sums = np.zeros(len(self.step_weight) + 1, np.float32)

    def memory(self, rows: int, depth: int) -> MarchMemory:
        """Return memory for chunks of up to so many rays, for a phi of ``depth`` layers."""
        width, states = self.input_weight.shape[1], len(self.step_weight)
        pixel_depth = len(self.pixels.products)
        return MarchMemory(rows, width, depth, pixel_depth, self.steps, states)

    def run(
        self, phi: LayerStack, rays: RayChunk, memory: MarchMemory, color: float, depth: float
    ) -> tuple[float, float]:
        """Return the sums of a chunk's squared errors, and add the gradients to all sums.

        Args:
            phi: of the rays' instance.
            color, depth: weights of the sums of squared errors of channels, and of depths
                behind the camera, in the loss whose gradients are wanted.
        """
        self._forward(phi, rays, memory)
        along = np.zeros(len(rays.start), np.float32)
        color_sum = self._color(rays, memory, color)
        depth_sum = self._depth(rays, memory, depth, along)
        self._backward(phi, rays, memory, along)
        return color_sum, depth_sum

    def _forward(self, phi: LayerStack, rays: RayChunk, memory: MarchMemory) -> None:
        distances, hidden, cell = memory.distances, memory.hidden, memory.cell
        distances[0] = rays.start.numpy()
        for step in range(self.steps + 1):
            along = torch.from_numpy(distances[step])[:, None]
            points = torch.addcmul(rays.origins, rays.directions, along, out=memory.points[step])
            features = phi.forward(points, memory.phi[step], memory.scratch)
            if step == self.steps:
                memory.features.copy_(features)
                return
            torch.mm(features, self.input_weight.T, out=memory.product)
            cell_forward(
                memory.product_bits, self.bias, self.recurrent, self.step_weight, self.step_bias,
                hidden[step], cell[step], memory.gates[step], memory.bent[step], hidden[step + 1],
                cell[step + 1], distances[step], distances[step + 1],
            )  # fmt: skip

    def _color(self, rays: RayChunk, memory: MarchMemory, weight: float) -> float:
        """Return the sum of squared errors; leave the gradient at the features in the scratch."""
        features, scratch = memory.features, memory.scratch
        made = self.pixels.forward(features, memory.pixels, scratch).float()
        matrix = self.last.weight.detach()
        error = torch.addmm(self.last.bias.detach(), made, matrix.T) - rays.target
        at_channels = error * (2 * weight)
        self.last_sums[0].addmm_(at_channels.T, made)
        self.last_sums[1].add_(at_channels.sum(0))
        scratch.gradient.copy_(at_channels @ matrix)
        product = self.pixels.backward(memory.pixels, scratch)
        self.pixels.backward_to_inputs(product, features, scratch.gradient)
        return float(error.square().sum())

    def _depth(
        self, rays: RayChunk, memory: MarchMemory, weight: float, along: NDArray[np.float32]
    ) -> float:
        """Return the sum of squared depths behind the camera, and add its gradient to ``along``."""
        cosines = rays.cosines.numpy()
        behind = np.minimum(memory.distances[self.steps] * cosines, 0)
        along += 2 * weight * behind * cosines
        return float(np.square(behind).sum())

    def _backward(
        self, phi: LayerStack, rays: RayChunk, memory: MarchMemory, along: NDArray[np.float32]
    ) -> None:
        scratch, product, hidden = memory.scratch, memory.product, memory.hidden
        at_hidden, at_cell = np.zeros((2, *hidden.shape[1:]), np.float32)
        for step in range(self.steps, -1, -1):
            if step < self.steps:
                cell_backward(
                    along, memory.gates[step], memory.bent[step], hidden[step], memory.cell[step],
                    hidden[step + 1], self.recurrent, self.step_weight,
                    np.float32(HIDDEN_GRADIENT), at_hidden, at_cell, memory.product_bits,
                    self.recurrent_sums, self.bias_sums, self.step_sums,
                )  # fmt: skip
                torch.mm(product, self.input_weight, out=scratch.gradient)
            made = phi.backward(memory.phi[step], scratch, memory.features)
            if step < self.steps:
                self.input_sums += product.T @ memory.features
            phi.backward_to_distances(made, memory.points[step], rays.directions, along)

    def gradients(self) -> list[Tensor]:
        """Return the gradients in the order of ``parameters_of``."""
        weights, biases, gains, shifts = self.pixels.gradients()
        bias = torch.from_numpy(self.bias_sums)
        length = torch.from_numpy(self.step_sums)
        found = [self.input_sums, torch.from_numpy(self.recurrent_sums.T), bias, bias]
        found += [length[None, :-1], length[-1:]]
        for layer in zip(weights, biases, gains, shifts, strict=True):
            found += layer
        return [*found, *self.last_sums]


def parameters_of(marcher: RayMarcher, pixel_generator: nn.Sequential) -> list[nn.Parameter]:
    """Return the parameters that a ``FusedMarch`` has gradients of."""
    cell = marcher.cell
    own = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    return [*own, *marcher.step_length.parameters(), *pixel_generator.parameters()]
