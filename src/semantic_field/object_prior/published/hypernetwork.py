"""A hypernetwork: from a code to the weights of a small network, and that network's evaluation.

Sitzmann et al., Scene Representation Networks (NeurIPS 2019): each layer of phi has a network of
its own that generates it. Generated layers are applied as batched matrix products, one for each
layer and not one for each instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from semantic_field.object_prior.published.factored_adam import factored_linear

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
    for number, (before, after) in enumerate(pairwise(sizes)):
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

    def last_weights(self) -> list[nn.Parameter]:
        """Return the weights of the generators' last layers: nearly all there are."""
        return [generator[-1].weight for generator in self.generators]  # type: ignore[index]

    def forward(self, codes: Float[Tensor, "B D"], factored: bool = False) -> list[GeneratedLayer]:
        """Return phi's layers for codes; weights come first in what is generated, then biases.

        Args:
            factored: leave the gradients of ``last_weights`` as factors, see ``factored_adam``.
        """
        layers = []
        for generator, (out, into) in zip(self.generators, self.shapes, strict=True):
            if factored:  # (B, out * into + out)
                made = factored_linear(generator[-1], generator[:-1](codes))  # type: ignore[index]
            else:
                made = generator(codes)
            weight, bias = made.split([out * into, out], dim=1)
            layers.append(GeneratedLayer(weight.unflatten(1, (out, into)), bias))
        return layers


def phi(layers: list[GeneratedLayer], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N F"]:
    """Return the features at points: layers with layer norm and ReLU after every one."""
    value = points
    for layer in layers:
        value = torch.baddbmm(layer.bias[:, None], value, layer.weight.transpose(1, 2))
        value = functional.layer_norm(value, value.shape[-1:], eps=EPSILON)
        value = functional.relu(value)
    return value
