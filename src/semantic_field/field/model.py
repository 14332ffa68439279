"""The semantic field: hash grid, small MLPs, linear label head.

    point --grid--> features --trunk--> signed distance, geometry code
    code --> colour                      code --> latent --> label scores (linear)

Codes are composited along a ray and the heads see the composite: they run once per ray. Labels
and language are linear in the latent, so applying them after compositing is exact.
"""

from __future__ import annotations

import math
from copy import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from semantic_field.config import FieldConfig, GridConfig
from semantic_field.kernels import GridKernels, GridShape, grid_shape, make_kernels, make_reader
from semantic_field.kernels.interface import reserve_zeros
from semantic_field.kernels.table_lines import copy_used
from semantic_field.kernels.threads import run_chunks, run_parallel, split


def shape_of(grid: GridConfig) -> GridShape:
    """Return the layout of the hash grid for these settings."""
    return grid_shape(
        grid.levels,
        grid.features,
        grid.log2_table_size,
        grid.coarsest_cell_m,
        grid.finest_cell_m,
        grid.tcnn_extent_m if grid.kernels == "tcnn" else math.inf,
    )


class SemanticField(nn.Module):
    """Signed distance, colour, latent and labels of any point of the map frame.

    Args:
        config: sizes; the grid needs no bounds.
        classes: initial number of classes of the label head; ``grow_classes`` adds more.
        kernels: the grid kernels; by default chosen by ``config.grid.kernels``. Their shape
            may use less of the levels' tables than is reserved, see ``GridShape``.
        device: of all parameters.
    """

    def __init__(
        self,
        config: FieldConfig,
        classes: int = 0,
        kernels: GridKernels | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.config = config
        self.kernels = kernels or make_kernels(config.grid.kernels, shape_of(config.grid))
        shape = self.kernels.shape
        hidden, code, latent = config.hidden_dim, config.geometry_dim, config.latent_dim
        self.table = nn.Parameter(reserve_zeros(shape.table_shape, device), requires_grad=False)
        self.trunk_in = nn.Linear(shape.encoding_dim, hidden)
        self.trunk_out = nn.Linear(hidden, 1 + code)
        self.color_head = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, 3))
        self.latent_head = nn.Sequential(
            nn.Linear(code, latent), nn.ReLU(), nn.Linear(latent, latent)
        )
        self.label_head = _label_head(latent, classes)
        self._init_trunk()
        self.to(device)

    def _init_trunk(self) -> None:
        """Make unseen space free: the table is zero there, so the biases alone set the distance.

        Zeros also leave the memory of cells that are never seen unallocated.
        """
        nn.init.kaiming_uniform_(self.trunk_in.weight, nonlinearity="relu")
        nn.init.uniform_(self.trunk_in.bias, 0.0, 0.5)
        with torch.no_grad():
            at_rest = self.trunk_out.weight[0] @ relu(self.trunk_in.bias)
            self.trunk_out.bias[0] = 1.0 - at_rest

    @property
    def classes(self) -> int:
        return self.label_head.out_features

    def grow_classes(self, classes: int) -> None:
        """Grow the label head to ``classes`` classes; scores of the old classes stay the same.

        A new class starts with the mean weights of the others, so that it never has the highest
        score before it is trained. Does nothing if there are that many classes already.
        """
        old = self.label_head
        if classes <= old.out_features:
            return
        grown = _label_head(old.in_features, classes).to(old.weight.device)
        with torch.no_grad():
            grown.weight[: old.out_features] = old.weight
            grown.bias[: old.out_features] = old.bias
            if old.out_features:
                grown.weight[old.out_features :] = old.weight.mean(0)
                grown.bias[old.out_features :] = old.bias.mean()
        self.label_head = grown

    def frozen_copy(self, device: torch.device | str = "cpu") -> SemanticField:
        """Return a copy on ``device`` for readers: in evaluation mode, without gradients."""
        kernels = self.kernels
        if torch.device(device).type != self.table.device.type:
            kernels = make_reader(kernels.name, kernels.shape, device, kernels.threads)
        twin = SemanticField(self.config, self.classes, kernels, device)
        twin.assign(self)
        return twin.eval().requires_grad_(False)

    def assign(self, source: SemanticField) -> None:
        """Copy the parameters of another field of the same shape."""
        copy_used(source.table, self.table, source.kernels.shape)
        for mine, theirs in zip(self.network_parameters(), source.network_parameters()):
            mine.data.copy_(theirs.data)

    def on_one_thread(self) -> SemanticField:
        """Return a field with the same parameters whose kernels run on the calling thread only.

        For callers that split the points over threads themselves.
        """
        twin = copy(self)
        twin.kernels = self.kernels.with_threads(1)
        return twin

    def network_parameters(self) -> list[nn.Parameter]:
        """Return all parameters except the grid's table."""
        return [p for name, p in self.named_parameters() if name != "table"]

    @torch.no_grad()
    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return signed distances in metres, positive in free space; valid up to the truncation."""
        if points.device.type != "cpu":
            return self._scaled_distance(self._hidden(points)) * self.config.truncation_m
        out = torch.empty(len(points))
        single = self.on_one_thread()

        @torch.no_grad()
        def work(start: int, stop: int) -> None:
            out[start:stop] = single._scaled_distance(single._hidden(points[start:stop]))

        run_chunks(work, len(points), self.kernels.threads)
        return out.mul_(self.config.truncation_m)

    @torch.no_grad()
    def geometry(
        self, points: Float[Tensor, "N 3"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "N G"]]:
        """Return signed distances (N,) in metres and geometry codes (N, G)."""
        out = affine(self.trunk_out, self._hidden(points), threads=self.kernels.threads)
        return out[0] * self.config.truncation_m, out[1:].T

    @torch.no_grad()
    def distance_and_gradient(
        self, points: Float[Tensor, "N 3"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "N 3"]]:
        """Return signed distances (N,) in metres and their gradients (N, 3), pointing outwards."""
        hidden = self._hidden(points)
        distance = self._scaled_distance(hidden) * self.config.truncation_m
        return distance, self._gradient(points, hidden)

    @torch.no_grad()
    def distance_code_gradient(
        self, points: Float[Tensor, "N 3"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "G N"], Float[Tensor, "N 3"]]:
        """Return signed distances (N,) in metres, geometry codes (G, N) and gradients (N, 3)."""
        hidden = self._hidden(points)
        out = affine(self.trunk_out, hidden, threads=self.kernels.threads)
        return out[0] * self.config.truncation_m, out[1:], self._gradient(points, hidden)

    def _scaled_distance(self, hidden: Float[Tensor, "H N"]) -> Float[Tensor, " N"]:
        """Return signed distances in units of the truncation distance."""
        return self.trunk_out.weight[0].detach() @ hidden + self.trunk_out.bias[0].detach()

    def _gradient(
        self, points: Float[Tensor, "N 3"], hidden: Float[Tensor, "H N"]
    ) -> Float[Tensor, "N 3"]:
        grad_hidden = (hidden > 0) * self.trunk_out.weight[0][:, None]
        grad_features = self.trunk_in.weight.T @ grad_hidden
        gradient = self.kernels.backward_points(points, self.table, grad_features)
        return gradient * self.config.truncation_m

    def color(self, code: Float[Tensor, "N G"]) -> Float[Tensor, "N 3"]:
        """Return RGB in 0..1 from geometry codes."""
        return torch.sigmoid(self.color_head(code))

    def latent(self, code: Float[Tensor, "N G"]) -> Float[Tensor, "N D"]:
        """Return semantic latents from geometry codes; see ``LanguageSpace`` for their meaning."""
        return self.latent_head(code)

    def label_scores(self, latent: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
        """Return unnormalised log probabilities (logits) of the classes; linear in the latent."""
        return self.label_head(latent)

    def _hidden(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "H N"]:
        features = self.kernels.encode(points, self.table)
        return affine(self.trunk_in, features, rectified=True, threads=self.kernels.threads)


def affine(
    layer: nn.Linear, columns: Float[Tensor, "I N"], rectified: bool = False, threads: int = 2
) -> Float[Tensor, "O N"]:
    """Apply a linear layer (and a ReLU if ``rectified``) to feature-major columns, no gradients.

    On the CPU the columns are split over the kernels' threads: torch's own thread pool would
    busy-wait beside them and take processor time from the other threads.
    """
    weight, bias = layer.weight.detach(), layer.bias.detach()[:, None]
    if columns.device.type != "cpu":
        whole = torch.addmm(bias, weight, columns)
        return whole.relu_() if rectified else whole
    out = torch.empty(weight.shape[0], columns.shape[1])

    def work(start: int, stop: int) -> None:
        part = out[:, start:stop]
        torch.addmm(bias, weight, columns[:, start:stop], out=part)
        if rectified:
            part.relu_()

    run_parallel(work, split(columns.shape[1], threads))
    return out


def two_layers(
    head: nn.Sequential, columns: Float[Tensor, "I N"], threads: int = 2
) -> Float[Tensor, "O N"]:
    """Apply a head (linear, ReLU, linear) to feature-major columns, without gradients."""
    first, second = head[0], head[2]
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    return affine(second, affine(first, columns, True, threads), False, threads)


def _label_head(latent_dim: int, classes: int) -> nn.Linear:
    """Return a linear layer, possibly with no rows (torch warns about initialising none)."""
    head = nn.Linear(latent_dim, max(classes, 1))
    if not classes:
        head.out_features = 0
        head.weight = nn.Parameter(torch.zeros(0, latent_dim))
        head.bias = nn.Parameter(torch.zeros(0))
    return head
