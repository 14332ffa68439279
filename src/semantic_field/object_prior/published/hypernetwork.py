"""A hypernetwork: from a code to the weights of a small network, and that network's evaluation.

Sitzmann et al., Scene Representation Networks (NeurIPS 2019): each layer of phi has a network of
its own that generates it. Generated layers are applied as batched matrix products, one for each
layer and not one for each instance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-5  # of the layer norm
LAST_GAIN = 0.1  # of the hypernetworks' last layers: phi's first weights hardly depend on the code


@dataclass(frozen=True)
class GeneratedLayer:
    """A linear layer of each of B instances.

    Attributes:
        weight: (B, out, in) float32.
        bias: (B, out) float32.
    """

    weight: Float[Tensor, "B out in"]
    bias: Float[Tensor, "B out"]


def fully_connected(sizes: list[int], last_is_linear: bool = True) -> nn.Sequential:
    """Return linear layers, each with layer norm and ReLU, but a last one that is only linear.

    Weights begin with He's normal distribution, biases with torch's.
    """
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False)):
        linear = nn.Linear(before, after)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers.append(linear)
        if number < len(sizes) - 2 or not last_is_linear:
            layers += [nn.LayerNorm(after), nn.ReLU()]
    return nn.Sequential(*layers)


class HyperNetwork(nn.Module):
    """Generates phi: 3 -> width -> ... -> width, for each code.

    Args:
        code_dim, hidden: sizes of each generating network: code -> hidden -> hidden -> weights.
        width, depth: of phi's layers, and their number.
    """

    def __init__(self, code_dim: int, hidden: int, width: int, depth: int) -> None:
        super().__init__()
        self.shapes = [(width, 3 if layer == 0 else width) for layer in range(depth)]
        self.generators = nn.ModuleList(
            fully_connected([code_dim, hidden, hidden, out * (into + 1)])
            for out, into in self.shapes
        )
        for generator in self.generators:
            with torch.no_grad():
                generator[-1].weight.mul_(LAST_GAIN)  # type: ignore[index]

    def forward(self, codes: Float[Tensor, "B D"]) -> list[GeneratedLayer]:
        """Return phi's layers for codes; weights come first in what is generated, then biases."""
        layers = []
        for generator, (out, into) in zip(self.generators, self.shapes, strict=True):
            made = generator(codes)  # (B, out * into + out)
            weight, bias = made.split([out * into, out], dim=1)
            layers.append(GeneratedLayer(weight.unflatten(1, (out, into)), bias))
        return layers


def phi(
    layers: list[GeneratedLayer],
    points: Float[Tensor, "B N 3"],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "B N F"]:
    """Return the features at points: layers with layer norm and ReLU after every one.

    Args:
        dtype: of the products but the first, whose inputs are positions, and of the features.
    """
    value = points
    for number, layer in enumerate(layers):
        kind = torch.float32 if number == 0 else dtype
        value = torch.baddbmm(
            layer.bias.to(kind)[:, None], value.to(kind), layer.weight.to(kind).transpose(1, 2)
        )
        value = F.relu(F.layer_norm(value, value.shape[-1:], eps=EPSILON))
    return value.to(dtype)
