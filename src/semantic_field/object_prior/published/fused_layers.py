"""Stacks of linear layers with layer norm and ReLU on chunks of rows, with known gradients.

Products are bfloat16, everything between them float32 (``bf16_kernels``). Chunks are small enough
for a core's second-level cache, and their memory is used again: fresh memory for every activation
would cost more time than the products.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.object_prior.published.bf16_kernels import (
    first_layer_backward,
    first_layer_forward,
    norm_backward,
    norm_forward,
)


def bits(values: Tensor) -> NDArray[np.uint16]:
    """Return a bfloat16 tensor's memory as uint16."""
    return values.view(torch.int16).numpy().view(np.uint16)


class Kept:
    """What the way back needs of L layer norms of N rows.

    Attributes:
        normed: (L, N, F) bfloat16 as bits; scale: (L, N), one over the standard deviations.
    """

    def __init__(self, layers: int, rows: int, width: int) -> None:
        self.normed = bits(torch.empty(layers, rows, width, dtype=torch.bfloat16))
        self.scale = np.empty((layers, rows), np.float32)


class Scratch:
    """Memory that every layer of N rows of width F uses anew, as tensors and as their bits."""

    def __init__(self, rows: int, width: int) -> None:
        self.active, self.gradient, *products = (
            torch.empty(rows, width, dtype=torch.bfloat16) for _ in range(4)
        )
        self.products = products
        self.active_bits, self.gradient_bits = bits(self.active), bits(self.gradient)
        self.product_bits = [bits(product) for product in products]


class LayerStack:
    """Layers F -> F with norm and ReLU; the first may be 3 -> F on float32 positions.

    Args:
        weights: (out, in) of each layer, float32.
        biases, gains, shifts: (F,) of each layer; without gains and shifts the norm has none.

    Attributes:
        weight_sums: gradients of the weights so far, float32, as the weights.
        sums: (L, 3, F) gradients of gains, shifts and biases so far.
    """

    def __init__(
        self,
        weights: list[Tensor],
        biases: list[Tensor],
        gains: list[Tensor] | None = None,
        shifts: list[Tensor] | None = None,
    ) -> None:
        width = weights[0].shape[0]
        self.has_points = weights[0].shape[1] == 3 != width
        self.first_weight = np.ascontiguousarray(weights[0].numpy().T)
        self.products = [weight.bfloat16().contiguous() for weight in weights]
        self.transposed = [product.T for product in self.products]
        self.biases = [bias.numpy() for bias in biases]
        self.affine = gains is not None
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        self.gains = [gain.numpy() for gain in gains] if gains else [ones] * len(weights)
        self.shifts = [shift.numpy() for shift in shifts] if shifts else [zeros] * len(weights)
        self.weight_sums = [torch.zeros(weight.shape) for weight in weights]
        self.weight_part = torch.empty(width, width, dtype=torch.bfloat16)
        self.first_sums = np.zeros_like(self.first_weight)
        self.sums = np.zeros((len(weights), 3, width), np.float32)

    def forward(self, inputs: Tensor, kept: Kept, scratch: Scratch) -> Tensor:
        """Return the features (N, F) bfloat16, in the scratch, and keep what the way back needs.

        Args:
            inputs: positions (N, 3) float32, or features (N, F) bfloat16.
        """
        product, active = scratch.products[0], scratch.active
        value = inputs
        for layer, weight in enumerate(self.transposed):
            out = kept.normed[layer], scratch.active_bits, kept.scale[layer]
            if layer == 0 and self.has_points:
                first_layer_forward(inputs.numpy(), self.first_weight, self.biases[0], *out)
            else:
                torch.mm(value, weight, out=product)
                norm_forward(
                    scratch.product_bits[0], self.biases[layer], self.gains[layer],
                    self.shifts[layer], self.affine, *out,
                )  # fmt: skip
            value = active
        return active

    def backward(self, kept: Kept, scratch: Scratch, features: Tensor | None = None) -> Tensor:
        """Add the gradients of all weights but the first's; return that at the first product.

        The gradient at the features is read from, and overwritten in, the scratch.

        Args:
            features: where the features are copied to that the last layer made, if wanted.
        """
        last = len(self.products) - 1
        for layer in range(last, -1, -1):
            here, after = layer % 2, (layer + 1) % 2
            norm_backward(
                scratch.gradient_bits, kept.normed[layer], kept.scale[layer], self.gains[layer],
                self.shifts[layer], self.affine, scratch.product_bits[here], scratch.active_bits,
                self.sums[layer],
            )  # fmt: skip
            if layer < last:
                self._add_to(layer + 1, scratch.products[after], scratch.active)
            elif features is not None:
                features.copy_(scratch.active)
            if layer:
                torch.mm(scratch.products[here], self.products[layer], out=scratch.gradient)
        return scratch.products[0]

    def _add_to(self, layer: int, product: Tensor, inputs: Tensor) -> None:
        """Add a layer's gradient from that at its product and its inputs."""
        torch.mm(product.T, inputs, out=self.weight_part)
        self.weight_sums[layer] += self.weight_part

    def backward_to_inputs(self, product: Tensor, inputs: Tensor, out: Tensor) -> None:
        """Add the first weight's gradient, and write that at the inputs (N, F) to ``out``.

        Args:
            product: what ``backward`` returned.
        """
        self._add_to(0, product, inputs)
        torch.mm(product, self.products[0], out=out)

    def backward_to_distances(
        self, product: Tensor, points: Tensor, directions: Tensor, along: NDArray[np.float32]
    ) -> None:
        """Add the first weight's gradient, and to ``along`` (N,) that of distances along rays.

        Args:
            product: what ``backward`` returned.
            points, directions: (N, 3) of the rays, float32.
        """
        first_layer_backward(
            bits(product), points.numpy(), self.first_weight, directions.numpy(),
            self.first_sums, along,
        )  # fmt: skip

    def gradients(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return the gradients of weights, biases, gains and shifts."""
        weights = list(self.weight_sums)
        if self.has_points:
            weights[0] = torch.from_numpy(self.first_sums.T)
        gains, shifts, biases = torch.from_numpy(self.sums).unbind(1)
        return weights, list(biases), list(gains), list(shifts)
