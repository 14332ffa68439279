"""The network of signed distances and colours whose layers a code makes.

A code has two parts. The geometry part makes, by a small network, the scales and offsets of all
layers of φ (feature-wise modulation: Perez et al. 2018); they are multiplied into the weights, so
that a point costs no more than in a plain network. The colour part holds what is put into a few
slots; where which slot applies is a function of φ's features alone. So the geometry can be fitted
without any colour, and the slots become pieces of a common look, which parts are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from semantic_field.settings import Settings, option


@dataclass(frozen=True)
class DistanceSizes(Settings):
    """Sizes of the network."""

    geometry_dim: int = option(64, "numbers of a code that describe the shape", 1, 1024)
    color_dim: int = option(32, "numbers of a code that describe the colours", 1, 1024)
    width: int = option(128, "features of each layer of φ", 8, 1024)
    layers: int = option(4, "layers of φ", 1, 16)
    octaves: int = option(4, "frequencies of the positions, each twice the one before", 0, 12)
    modulation_width: int = option(128, "width of the layer between code and modulation", 1, 1024)
    slots: int = option(8, "pieces of a common look", 1, 64)
    slot_dim: int = option(16, "numbers that describe the look of a slot", 1, 256)
    label_levels: int = option(2, "first layers of φ whose features labels are read from", 1, 16)
    color_width: int = option(64, "width of the layer before the colour", 1, 1024)


@dataclass(frozen=True)
class InstanceLayers:
    """φ and the slots of B codes.

    Attributes:
        weights: of each layer, (B, in, out).
        offsets: of each layer, (B, 1, out).
        looks: what the slots hold, (B, K, E).
    """

    weights: tuple[Tensor, ...]
    offsets: tuple[Tensor, ...]
    looks: Tensor


class DistanceNetwork(nn.Module):
    """Signed distances and colours of points, canonical coordinates.

    Args:
        sizes: of the network.
    """

    frequencies: Tensor

    def __init__(self, sizes: DistanceSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, hidden = sizes.width, sizes.modulation_width
        inputs = [3 + 6 * sizes.octaves, *[width] * (sizes.layers - 1)]
        self.layers = nn.ModuleList(nn.Linear(count, width) for count in inputs)
        self.modulation = nn.Sequential(
            nn.Linear(sizes.geometry_dim, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * width * sizes.layers),
        )
        self.distance_layer = nn.Linear(width, 1)
        self.slot_layer = nn.Linear(width, sizes.slots)
        self.look_layer = nn.Linear(sizes.color_dim, sizes.slots * sizes.slot_dim)
        self.color_layers = nn.Sequential(
            nn.Linear(width + sizes.slot_dim, sizes.color_width),
            nn.ReLU(),
            nn.Linear(sizes.color_width, 3),
        )
        nn.init.normal_(self.distance_layer.weight, std=0.01)
        nn.init.constant_(self.distance_layer.bias, 0.1)
        octaves = 2.0 ** torch.arange(sizes.octaves) * (math.pi / 2)
        self.register_buffer("frequencies", octaves, persistent=False)

    def instance_layers(self, codes: Float[Tensor, "B D"]) -> InstanceLayers:
        """Return φ of each code."""
        sizes, count = self.sizes, len(codes)
        geometry, color = codes.split([sizes.geometry_dim, sizes.color_dim], dim=1)
        modulation = self.modulation(geometry).view(count, sizes.layers, 2, 1, sizes.width)
        weights, offsets = [], []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            scale = 1.0 + modulation[:, index, 0]
            weights.append(layer.weight.t() * scale)
            offsets.append(layer.bias * scale + modulation[:, index, 1])
        looks = self.look_layer(color).view(count, sizes.slots, sizes.slot_dim)
        return InstanceLayers(tuple(weights), tuple(offsets), looks)

    def levels(self, layers: InstanceLayers, points: Float[Tensor, "B N 3"]) -> list[Tensor]:
        """Return the features (B, N, W) of each layer of φ at points."""
        turned = (points.unsqueeze(-1) * self.frequencies).flatten(-2)
        features = torch.cat([points, turned.sin(), turned.cos()], dim=-1)
        found = []
        for weight, offset in zip(layers.weights, layers.offsets, strict=True):
            features = silu(torch.baddbmm(offset, features, weight))
            found.append(features)
        return found

    def hidden(self, layers: InstanceLayers, points: Float[Tensor, "B N 3"]) -> Tensor:
        """Return φ's last features (B, N, W) at points."""
        return self.levels(layers, points)[-1]

    def distance(self, hidden: Float[Tensor, "B N W"]) -> Float[Tensor, "B N"]:
        """Return signed distances, canonical units, negative inside, of φ's features."""
        return self.distance_layer(hidden).squeeze(-1)

    def slot_shares(self, hidden: Float[Tensor, "B N W"]) -> Float[Tensor, "B N K"]:
        """Return how much of each slot applies, summing to 1."""
        return self.slot_layer(hidden).softmax(dim=-1)

    def color(self, layers: InstanceLayers, hidden: Float[Tensor, "B N W"]) -> Tensor:
        """Return colours (B, N, 3), sRGB 0..1, of φ's features."""
        look = self.slot_shares(hidden) @ layers.looks
        return self.color_layers(torch.cat([hidden, look], dim=-1)).sigmoid()
