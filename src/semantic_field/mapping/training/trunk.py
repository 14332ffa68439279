"""The field's trunk for many points, differentiable: from features to signed distances and codes.

``trunk`` is plain torch and runs on any device. ``trunk_shared`` computes the same on the
processor, with the points split over the kernels' threads. In free space only the signed distance
is needed, so codes are computed only for the first ``coded`` points.
"""

# pyright: basic
from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_field.field.model import affine
from semantic_field.kernels.threads import run_parallel, split

Layers = tuple[nn.Linear, nn.Linear]
"""The layers from features to the hidden layer, and from there to a signed distance and a code."""


class TrunkOutput(NamedTuple):
    """Output of the trunk.

    Attributes:
        distance: signed distances of the first N points, in truncations.
        code: geometry codes of these points.
        free_distance: signed distances of the other M points, in truncations.
    """

    distance: Float[Tensor, " N"]
    code: Float[Tensor, "G N"]
    free_distance: Float[Tensor, " M"]


def trunk(layers: Layers, features: Float[Tensor, "LF P"], coded: int) -> TrunkOutput:
    """Return the trunk's output for P points, with codes for the first ``coded`` of them."""
    first, second = layers
    hidden = torch.addmm(first.bias[:, None], first.weight, features).relu()
    out = torch.addmm(second.bias[:, None], second.weight, hidden[:, :coded])
    free_distance = second.weight[0] @ hidden[:, coded:] + second.bias[0]
    return TrunkOutput(out[0], out[1:], free_distance)


def trunk_shared(
    layers: Layers, features: Float[Tensor, "LF P"], coded: int, threads: int = 2
) -> TrunkOutput:
    """Return the same as ``trunk``, computed on the processor with ``threads`` threads."""
    first, second = layers
    parameters = (first.weight, first.bias, second.weight, second.bias)
    return TrunkOutput(*_Shared.apply(features, *parameters, layers, coded, threads))


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, w1, b1, w2, b2, layers, coded, threads):
        first, second = layers
        features = features.detach()  # else autograd would record the work of worker threads
        hidden = affine(first, features, True, threads)
        out = affine(second, hidden[:, :coded], False, threads)
        free_distance = w2[0] @ hidden[:, coded:] + b2[0]
        ctx.layers, ctx.threads, ctx.features, ctx.hidden = layers, threads, features, hidden
        return out[0], out[1:], free_distance

    @staticmethod
    def backward(ctx, distance_grad, code_grad, free_grad):
        coded = len(distance_grad)
        blocks = [(0, (distance_grad[None], code_grad)), (coded, (free_grad[None],))]
        grads = _backward(ctx.layers, ctx.features, ctx.hidden, blocks, ctx.threads)
        return *grads, None, None, None


@torch.no_grad()
def _backward(
    layers: Layers,
    features: Float[Tensor, "LF P"],
    hidden: Float[Tensor, "H P"],
    blocks: list[tuple[int, tuple[Tensor, ...]]],
    threads: int,
) -> list[Tensor]:
    """Return gradients of the features, and of the weights and biases of both layers.

    Args:
        hidden: output of the first layer after its ReLU.
        blocks: first column of each block, and gradients (rows, n) with respect to consecutive
            rows of the second layer's output, from row 0. Blocks cover every column once.
    """
    first, second = layers
    into_first, into_second = first.weight.detach().T, second.weight.detach().T
    feature_grad = torch.empty_like(features)
    sums: dict[int, tuple[Tensor, ...]] = {}

    @torch.no_grad()
    def work(first_column: int, rows: tuple[Tensor, ...], start: int, stop: int) -> None:
        parts = [row[:, start:stop] for row in rows]
        grad = torch.cat(parts) if len(parts) > 1 else parts[0]
        columns, count = slice(first_column + start, first_column + stop), len(grad)
        h = hidden[:, columns]
        hidden_grad = into_second[:, :count] @ grad
        hidden_grad.mul_(h.sign())  # ten times as fast as a mask
        torch.mm(into_first, hidden_grad, out=feature_grad[:, columns])
        of_first = hidden_grad @ features[:, columns].T, hidden_grad.sum(1)
        of_second = torch.zeros_like(second.weight), torch.zeros_like(second.bias)
        torch.mm(grad, h.T, out=of_second[0][:count])
        torch.sum(grad, 1, out=of_second[1][:count])
        sums[columns.start] = (*of_first, *of_second)

    for first_column, rows in blocks:
        if columns := rows[0].shape[1]:
            run_parallel(work, [(first_column, rows, *part) for part in split(columns, threads)])
    in_order = (sums[start] for start in sorted(sums))  # fixed order: reproducible sums
    return [feature_grad, *(torch.stack(parts).sum(0) for parts in zip(*in_order, strict=True))]
