"""The rendering terms of Semantic SRN's loss with known gradients, chunk by chunk of rays.

The loss of a pixel depends on its ray alone. So a chunk of rays goes all the way forwards and back
while its activations are in the cache, and only sums of gradients are kept. Meant for CPUs with
units for bfloat16 products (``kernels.precision``); elsewhere plain torch is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from semantic_field.object_prior.prior_model import CanonicalRays
from semantic_field.object_prior.published.fused_layers import LayerStack
from semantic_field.object_prior.published.fused_march import (
    FusedMarch,
    MarchMemory,
    RayChunk,
    parameters_of,
)
from semantic_field.object_prior.published.hypernetwork import GeneratedLayer
from semantic_field.object_prior.published.ray_marcher import RayMarcher

CACHED = 1 << 19  # numbers of an activation: less is more calls, more leaves the cache


class FusedRendering:
    """The rendering terms for a marcher and a pixel generator; keeps memory between steps.

    Args:
        rows: rays of a chunk; 0 = as many as the cache holds activations of.
    """

    def __init__(self, marcher: RayMarcher, pixel_generator: nn.Sequential, rows: int = 0) -> None:
        self.marcher, self.pixel_generator = marcher, pixel_generator
        self._rows = rows
        self._memory: dict[tuple[int, int], MarchMemory] = {}

    def terms(
        self,
        layers: list[GeneratedLayer],
        rays: CanonicalRays,
        target: Tensor,
        color: float,
        depth: float,
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted means of the channels' and the depths' squared errors.

        The gradient of their sum is right; the second term alone has none.

        Args:
            target: (B, R, 4) channels in -1..1.
            color, depth: weights of the terms.
        """
        parameters = parameters_of(self.marcher, self.pixel_generator)
        flat = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
        total, behind = _Terms.apply(self, rays, target, color, depth, *flat, *parameters)
        return total - behind, behind

    def computed(
        self,
        layers: list[Tensor],
        rays: CanonicalRays,
        target: Tensor,
        color: float,
        depth: float,
    ) -> tuple[float, float, list[Tensor]]:
        """Return both terms and the gradients of layers and of ``parameters_of``.

        Args:
            layers: weight (B, out, in) and bias (B, out) of each, in turns.
        """
        march = FusedMarch(self.marcher, self.pixel_generator)
        count, rays_of_each = target.shape[:2]
        width = layers[0].shape[1]
        start = self.marcher.first_distances(rays)
        per_pixel = color / target.numel(), depth / start.numel()
        sums, gradients = torch.zeros(2, dtype=torch.float64), [torch.zeros_like(t) for t in layers]
        for image in range(count):
            phi = LayerStack([t[image] for t in layers[::2]], [t[image] for t in layers[1::2]])
            for part in _parts(rays_of_each, self._chunk(width)):
                tensors = (rays.origins, rays.directions, rays.cosines, start, target)
                chunk = RayChunk(*(tensor[image, part] for tensor in tensors))
                memory = self._memory_for(march, len(chunk.start), len(layers) // 2)
                sums += torch.tensor(march.run(phi, chunk, memory, *per_pixel))
            weights, biases, _, _ = phi.gradients()
            for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                gradients[2 * layer][image], gradients[2 * layer + 1][image] = weight, bias
        terms = (sums * torch.tensor(per_pixel)).tolist()
        return terms[0], terms[1], [*gradients, *march.gradients()]

    def _chunk(self, width: int) -> int:
        return self._rows or max(64, CACHED // width)

    def _memory_for(self, march: FusedMarch, rows: int, depth: int) -> MarchMemory:
        if (rows, depth) not in self._memory:
            self._memory[rows, depth] = march.memory(rows, depth)
        return self._memory[rows, depth]


def _parts(count: int, most: int) -> list[slice]:
    """Return ranges that cover 0..count, of two sizes at most."""
    size = -(-count // -(-count // most))
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


class _Terms(torch.autograd.Function):
    """Both terms as torch sees them: the sum, and the depths' term without a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        rendering: FusedRendering,
        rays: CanonicalRays,
        target: Tensor,
        color: float,
        depth: float,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        own = len(parameters_of(rendering.marcher, rendering.pixel_generator))
        layers = [tensor.detach() for tensor in tensors[: len(tensors) - own]]
        of_color, of_depth, gradients = rendering.computed(layers, rays, target, color, depth)
        ctx.save_for_backward(*gradients)
        behind = torch.tensor(of_depth)
        ctx.mark_non_differentiable(behind)
        return torch.tensor(of_color + of_depth), behind

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple:
        return (None,) * 5 + tuple(outputs[0] * gradient for gradient in ctx.saved_tensors)
