"""Surfaces of codes against spheres, whose points, normals and areas are known."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semantic_field.data.objects.object_views import CategoryFrame
from semantic_field.field.surface.mesh import Mesh
from semantic_field.field.surface.surface_files import write_mesh
from semantic_field.object_prior.code_surface import (
    codes_between,
    evenly_spread,
    surface_mesh,
    surface_points,
)
from semantic_field.object_prior.signed_distance.distance_network import DistanceSizes
from semantic_field.object_prior.signed_distance_prior import (
    SignedDistanceConfig,
    SignedDistancePrior,
)
from semantic_field.object_prior.trainable_prior import PriorSubject

UNIT_M, HEIGHT_M = 0.5, 0.4
SUBJECT = PriorSubject("ball", ("low", "high"), CategoryFrame(UNIT_M, (0, 0, HEIGHT_M)), ("a", "b"))


class Ball(nn.Module):
    """A ball of the code's first number as radius; red, and blue above the middle."""

    def instance_layers(self, codes: Tensor) -> Tensor:
        return codes[:, None, :1]

    def hidden(self, layers: Tensor, points: Tensor) -> Tensor:
        return torch.cat([points, layers.expand(-1, points.shape[1], -1)], dim=-1)

    def levels(self, layers: Tensor, points: Tensor) -> list[Tensor]:
        return [self.hidden(layers, points)]

    def distance(self, hidden: Tensor) -> Tensor:
        return hidden[..., :3].norm(dim=-1) - hidden[..., 3]

    def color(self, layers: Tensor, hidden: Tensor) -> Tensor:
        blue = (hidden[..., 2:3] > 0).to(hidden.dtype)
        return torch.cat([1 - blue, torch.zeros_like(blue), blue], dim=-1)


@pytest.fixture
def prior() -> SignedDistancePrior:
    prior = SignedDistancePrior(SignedDistanceConfig(sizes=DistanceSizes(width=8)), SUBJECT)
    prior.network = Ball()
    prior.label_layer = nn.Linear(4, 3)
    with torch.no_grad():
        prior.label_layer.weight.zero_()
        prior.label_layer.bias.zero_()
        prior.label_layer.weight[2, 2] = 1.0  # "high" where z > 0
    return prior


def test_points_lie_on_the_sphere_in_metres(prior: SignedDistancePrior) -> None:
    found = surface_points(prior, torch.tensor([0.6]), 500)
    beyond = found.points - [0, 0, HEIGHT_M]
    assert found.points.shape == (500, 3)
    assert np.linalg.norm(beyond, axis=1) == pytest.approx(0.6 * UNIT_M, abs=1e-4)
    assert np.allclose(found.normals, beyond / (0.6 * UNIT_M), atol=1e-3)
    high = beyond[:, 2] > 0
    assert (found.parts == high).all()
    assert (found.colors[:, 2] == 255 * high).all()
    assert (found.colors[:, 0] == 255 * ~high).all()
    assert abs(high.mean() - 0.5) < 0.03  # evenly spread
    distances = np.linalg.norm(beyond[:, None] - beyond[None], axis=2) + 9 * np.eye(500)
    area = 4 * math.pi * (0.6 * UNIT_M) ** 2 / 500  # of one point; random points lie much closer
    assert distances.min(axis=1).min() > 0.5 * math.sqrt(area)


def test_a_code_without_surface_is_an_error(prior: SignedDistancePrior) -> None:
    with pytest.raises(ValueError, match="expected a code with a surface"):
        surface_points(prior, torch.tensor([-1.0]), 10)


def test_the_mesh_is_closed_and_encloses_the_ball(prior: SignedDistancePrior) -> None:
    mesh = surface_mesh(prior, torch.tensor([0.6]), spacing=0.05)
    edges = Counter()
    for triangle in mesh.triangles.tolist():
        for side in range(3):
            edges[triangle[side], triangle[(side + 1) % 3]] += 1
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)
    assert volume_of(mesh) == pytest.approx(4 / 3 * math.pi * (0.6 * UNIT_M) ** 3, rel=0.01)
    beyond = mesh.vertices.xyz - [0, 0, HEIGHT_M]
    assert np.linalg.norm(beyond, axis=1) == pytest.approx(0.6 * UNIT_M, abs=1e-3)
    assert (mesh.vertices.label == 1 + (beyond[:, 2] > 0)).all()


def volume_of(mesh: Mesh) -> float:
    """Positive if the triangles are counter-clockwise seen from outside."""
    corners = mesh.vertices.xyz.astype(np.float64)[mesh.triangles]
    return float(
        np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    )


@pytest.mark.parametrize("suffix", [".ply", ".glb"])
def test_the_mesh_is_written_with_colours(
    prior: SignedDistancePrior, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"ball{suffix}"
    mesh = surface_mesh(prior, torch.tensor([0.5]), spacing=0.1)
    write_mesh(path, mesh)
    data = path.read_bytes()
    assert data.startswith(b"ply" if suffix == ".ply" else b"glTF")
    if suffix == ".ply":
        assert f"element vertex {len(mesh.vertices)}".encode() in data
        assert b"property uchar red" in data
    else:
        assert b"COLOR_0" in data


def test_codes_between_are_on_the_line() -> None:
    found = codes_between(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]), 5)
    assert found.tolist() == [[0, 2], [0.25, 1.5], [0.5, 1], [0.75, 0.5], [1, 0]]
    with pytest.raises(ValueError, match="2 codes or more"):
        codes_between(torch.zeros(2), torch.zeros(2), 1)


def test_spread_points_are_the_farthest_from_those_before() -> None:
    line = np.array([[0.0], [0.1], [1.0], [0.9], [0.45]])
    assert evenly_spread(line, 3).tolist() == [0, 2, 4]
    assert evenly_spread(line, 9).tolist() == [0, 1, 2, 3, 4]
