"""Gradients of a field's trunk, by hand: two layers over the features of many points."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_field.kernels.threads import run_parallel, split


@torch.no_grad()
def trunk_backward(
    layers: tuple[nn.Linear, nn.Linear],
    features: Float[Tensor, "LF N"],
    hidden: Float[Tensor, "H N"],
    blocks: list[tuple[int, Float[Tensor, "O n"]]],
    threads: int,
) -> Float[Tensor, "LF N"]:
    """The gradient of the features; those of the layers' parameters are left in ``.grad``.

    Args:
        layers: the first, from features to ``hidden``, and the second, from there to the output.
        features: of all points, float32, a column each.
        hidden: what is between the layers, after its ReLU.
        blocks: first columns and gradients with respect to the first rows of the second layer's
            output: in free space only the distance has one. Together they cover every column;
            one without columns is passed over.
    """
    first, second = layers
    into_first, into_second = first.weight.detach().T, second.weight.detach().T
    feature_grad = torch.empty_like(features)
    sums: dict[int, tuple[Tensor, ...]] = {}

    @torch.no_grad()
    def work(first_column: int, grad: Tensor, start: int, stop: int) -> None:
        rows = grad.shape[0]
        grad = grad[:, start:stop]
        columns = slice(first_column + start, first_column + stop)
        h = hidden[:, columns]
        hidden_grad = into_second[:, :rows] @ grad
        hidden_grad.mul_(h > 0)
        torch.mm(into_first, hidden_grad, out=feature_grad[:, columns])
        of_first = hidden_grad @ features[:, columns].T, hidden_grad.sum(1)
        of_second = torch.zeros_like(second.weight), torch.zeros_like(second.bias)
        torch.mm(grad, h.T, out=of_second[0][:rows])
        torch.sum(grad, 1, out=of_second[1][:rows])
        sums[first_column + start] = (*of_first, *of_second)

    for first_column, grad in blocks:
        if grad.shape[1]:
            parts = split(grad.shape[1], threads)
            run_parallel(work, [(first_column, grad, *part) for part in parts])
    parameters = (first.weight, first.bias, second.weight, second.bias)
    for parameter, shares in zip(
        parameters, zip(*(sums[k] for k in sorted(sums)), strict=True), strict=True
    ):
        parameter.grad = torch.stack(shares).sum(0)
    return feature_grad


@torch.no_grad()
def at_features(
    layers: tuple[nn.Linear, nn.Linear],
    code_grad: Float[Tensor, "G N"],
    hidden: Float[Tensor, "H N"],
) -> Float[Tensor, "LF N"]:
    """A gradient with respect to the points' codes as one of their features.

    Codes are the second layer's output but for its first row, the distance; ``layers`` and
    ``hidden`` as in ``trunk_backward``.
    """
    first, second = layers
    hidden_grad = second.weight[1:].T @ code_grad
    return first.weight.T @ hidden_grad.mul_(hidden > 0)
