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
from semantic_field.field.rays.sampling import RaySamples
from semantic_field.kernels import make_kernels
from semantic_field.kernels.interface import GridShape
from semantic_field.mapping import Mapper
from semantic_field.mapping.live_map import LiveMap
from semantic_field.mapping.training.losses import color_loss, label_loss, language_loss
from semantic_field.mapping.training.step import Trainer

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


class FrequencyTrainer(Trainer):
    """Training step of a ``FrequencyField``, by autograd."""

    field: FrequencyField

    def find_gradients(self, rays: RaySamples) -> None:  # type: ignore[override]
        """Compute all losses of ``Trainer`` on the rays; gradients are left in ``.grad``."""
        with torch.enable_grad():
            hidden = self.field.hidden_of(torch.from_numpy(rays.points))
            near = rays.near_z.size
            out = self.field.trunk_out(hidden[:near])
            free = hidden[near:] @ self.field.trunk_out.weight[0] + self.field.trunk_out.bias[0]
            losses = self._geometry(rays, out, free) | self._of_heads(rays, out)
            torch.stack(list(losses.values())).sum().backward()
        self.losses = {name: float(loss.detach()) for name, loss in losses.items()}

    def _weights(self, rays: RaySamples, s: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
        """As ``compositing``: bell-shaped weights around the surface, zero far behind the first."""
        field, z = self.field.config, torch.from_numpy(rays.near_z)
        scaled = s * (field.truncation_m / field.sharpness_m)
        first = torch.where(s < 0, z, torch.inf).amin(1, keepdim=True)
        visible = z <= first + 2 * field.truncation_m
        weights = torch.sigmoid(scaled) * torch.sigmoid(-scaled) * visible
        return weights / weights.sum(1, keepdim=True).clamp_min(1e-12)

    def _geometry(self, rays: RaySamples, out: Tensor, free: Tensor) -> dict[str, Tensor]:
        config, truncation = self.config, self.field.config.truncation_m
        depth, stretch, trust = (
            torch.from_numpy(a)[:, None] for a in (rays.depth, rays.stretch, rays.trust)
        )
        z = torch.from_numpy(rays.near_z)
        s, per_metre = out[:, 0].view(z.shape), stretch / truncation
        target = ((depth - z) * per_metre).clamp(-1, 1)
        missing = (free.view(len(z), -1) - 1).clamp_max(0)
        rendered = (self._weights(rays, s) * z).sum(1, keepdim=True)
        error = functional.smooth_l1_loss(rendered * per_metre, depth * per_metre, reduction="none")
        return {
            "distance": config.distance_weight * (trust * (s - target) ** 2).mean(),
            "free_space": config.free_space_weight * (trust * missing**2).mean(),
            "depth": config.depth_weight * (trust * error).mean(),
        }

    def _of_heads(self, rays: RaySamples, out: Tensor) -> dict[str, Tensor]:
        config, field = self.config, self.field
        weights = self._weights(rays, out[:, 0].view(rays.near_z.shape))
        code = (out[:, 1:].view(*rays.near_z.shape, -1) * weights[..., None]).sum(1)
        label, latent = torch.from_numpy(rays.label), field.latent(code)
        weight = torch.from_numpy(rays.color_weight)
        color = color_loss(field.color(code), torch.from_numpy(rays.color), weight)
        language = language_loss(latent, label, self.class_latents, self.rank)
        return {
            "color": config.color_weight * color,
            "label": config.label_weight * label_loss(field.label_scores(latent), label),
            "language": config.language_weight * language,
        }

    def _update(self, learning_rate: float) -> None:
        """Apply Adam at NeRF's learning rate, with the grid's decay schedule."""
        share = learning_rate / self.config.learning_rate
        self.optimizer.rate.fill_(LEARNING_RATE * share)
        torch.nn.utils.clip_grad_norm_(self.field.network_parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


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
        from semantic_field.config import updated

        grid = {f"field.grid.{k}": v for k, v in vars(NO_GRID).items()}
        given = grid | {"mapping.device": "cpu", "mapping.refine_poses": False}
        # Rendering evaluates distances at half a voxel: minutes for this network at 4 cm.
        given["field.voxel_m"] = 2 * config.field.voxel_m
        super().__init__(updated(config, given))
