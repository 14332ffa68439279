"""Baseline "frequency_mlp": the field with NeRF's positional encoding and large MLP, no grid.

Rays, samples, compositing, heads and losses are those of the field; only encoding and trunk
differ, and gradients come from autograd.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from semantic_field.config import Config, FieldConfig, GridConfig
from semantic_field.field.model import SemanticField
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels import make_kernels
from semantic_field.kernels.interface import GridShape
from semantic_field.mapping import Mapper
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.live_map import LiveMap
from semantic_field.mapping.training.operations import TorchOperations
from semantic_field.mapping.training.step import Trainer
from semantic_field.mapping.training.trunk import Layers, TrunkOutput

FREQUENCIES = 10
WIDTH, LAYERS, SKIP = 256, 8, 4
SCALE_M = 10.0  # Semantic-NeRF divides positions by ten before it encodes them
LEARNING_RATE = 5e-4
NO_GRID = GridConfig(levels=1, features=1, log2_table_size=8)


class FrequencyField(SemanticField):
    """A ``SemanticField`` with a positional encoding in place of the grid.

    Ten octaves of sine and cosine of the position / 10 m (Mildenhall et al. 2020, eq. 4), eight
    layers of 256 with the encoding again before the fifth.
    """

    def __init__(self, config: FieldConfig, classes: int = 0, threads: int = 2) -> None:
        shape = GridShape((1.0,), 256, 1)  # of a grid that is never read
        super().__init__(config, classes, make_kernels("auto", shape, "cpu", threads))
        self.trunk_in = nn.Linear(1, 1)
        encoded = 3 + 6 * FREQUENCIES
        inputs = [encoded] + [WIDTH + (encoded if i == SKIP else 0) for i in range(1, LAYERS)]
        self.layers = nn.ModuleList([nn.Linear(n, WIDTH) for n in inputs])
        self.trunk_out = nn.Linear(WIDTH, 1 + config.geometry_dim)
        nn.init.constant_(self.trunk_out.bias[:1], 1.0)  # space starts as free

    def hidden_of(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N W"]:
        """Return the last hidden layer at points (metres), with gradients."""
        octaves = 2.0 ** torch.arange(FREQUENCIES) * torch.pi
        angles = (points / SCALE_M)[:, None] * octaves[:, None]
        parts = [points / SCALE_M, angles.sin().flatten(1), angles.cos().flatten(1)]
        encoded = value = torch.cat(parts, 1)
        for i, layer in enumerate(self.layers):
            value = functional.relu(layer(torch.cat([encoded, value], 1) if i == SKIP else value))
        return value

    def _hidden(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "W N"]:
        with torch.no_grad():
            return self.hidden_of(points).T.contiguous()

    def _gradient(
        self, points: Float[Tensor, "N 3"], hidden: Float[Tensor, "W N"]
    ) -> Float[Tensor, "N 3"]:
        with torch.enable_grad():
            where = points.detach().requires_grad_()
            distance = self.hidden_of(where) @ self.trunk_out.weight[0]
            (gradient,) = torch.autograd.grad(distance.sum(), where)
        return gradient * self.config.truncation_m

    def frozen_copy(self, device: torch.device | str = "cpu") -> SemanticField:
        twin = FrequencyField(self.config, self.classes, self.kernels.threads)
        twin.load_state_dict(self.state_dict())
        return twin.eval().requires_grad_(False)


class FrequencyOperations(TorchOperations):
    """The parts of a step, with the network of a ``FrequencyField`` in place of the trunk."""

    def __init__(self, field: FrequencyField) -> None:
        self._field = field

    def trunk(self, layers: Layers, features: Float[Tensor, "3 P"], coded: int) -> TrunkOutput:
        """See ``TorchOperations.trunk``; the features are the points themselves."""
        hidden, last = self._field.hidden_of(features.T), layers[1]
        out = last(hidden[:coded]).T
        return TrunkOutput(out[0], out[1:], hidden[coded:] @ last.weight[0] + last.bias[0])


class FrequencyTrainer(Trainer):
    """Training step of a ``FrequencyField``, by autograd."""

    field: FrequencyField

    def step(
        self,
        keyframes: KeyframeStore,
        reach: VoxelGrid,
        voxels: VoxelGrid | None = None,
        corrections: Corrections | None = None,
    ) -> None:
        """See ``Trainer.step``; the baseline's confidence is that of observations alone."""
        super().step(keyframes, reach, None, corrections)

    def _make_operations(self) -> TorchOperations:
        return FrequencyOperations(self.field)

    def _encode(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "3 N"]:
        return points.T.clone().requires_grad_()

    def _backward_grid(self, points: Float[Tensor, "N 3"], grad: Float[Tensor, "3 N"]) -> None:
        """There is no grid."""

    def set_rates(self, learning_rate: float) -> None:
        """Use NeRF's learning rate, with the decay schedule of the grid."""
        self.optimizer.rate.fill_(LEARNING_RATE * learning_rate / self.config.learning_rate)

    def update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.field.network_parameters(), 1.0)
        self.optimizer.step()


class FrequencyLiveMap(LiveMap):
    """A ``LiveMap`` with a ``FrequencyField``."""

    def make_field(self, classes: int = 0, shape: GridShape | None = None) -> SemanticField:
        return FrequencyField(self.config.field, classes, self.config.mapping.threads)

    def make_trainer(self) -> Trainer:
        return FrequencyTrainer(self.field, self.config.mapping)


class FrequencyMapper(Mapper):
    """A ``Mapper`` that trains a ``FrequencyField`` on the CPU."""

    live_map_type = FrequencyLiveMap

    def __init__(self, config: Config) -> None:
        from semantic_field.settings import updated

        grid = {f"field.grid.{k}": v for k, v in vars(NO_GRID).items()}
        given = grid | {"mapping.device": "cpu", "mapping.refine_poses": "off"}
        # Rendering evaluates distances at half a voxel: minutes for this network at 4 cm.
        given["field.voxel_m"] = 2 * config.field.voxel_m
        super().__init__(updated(config, given))
