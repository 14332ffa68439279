"""What a user would otherwise run, written as commonly done: the yardsticks of training speed.

Both are plain PyTorch with autograd and colour alone: easier tasks than ours, which also learns
distances, labels and normals on every ray.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

PRIMES = (1, 2654435761, 805459861)


class HashGridNerf(nn.Module):
    """Instant-NGP's field in torch indexing: 16 levels x 2 features x 2^19, two small MLPs
    (Mueller et al. 2022), 64 uniform samples a ray, dense Adam over the whole table.
    """

    def __init__(
        self, low: Tensor, high: Tensor, samples: int = 64, log2_table_size: int = 19
    ) -> None:
        super().__init__()
        self.low, self.size, self.samples = low, high - low, samples
        self.levels = [int(16 * (2048 / 16) ** (level / 15)) for level in range(16)]
        self.mask = (1 << log2_table_size) - 1
        self.table = nn.Parameter(torch.empty(16, self.mask + 1, 2).uniform_(-1e-4, 1e-4))
        self.density = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16))
        self.color = nn.Sequential(
            nn.Linear(18, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
        )
        self.optimizer = torch.optim.Adam(self.parameters(), 1e-2, (0.9, 0.99), 1e-15)

    def encode(self, points: Tensor) -> Tensor:
        """(N, 3) in 0..1 to (N, 32)."""
        features = []
        corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)])
        for level, resolution in enumerate(self.levels):
            place = points * resolution
            base = place.floor().long()
            vertex = base[:, None] + corners  # (N, 8, 3)
            index = vertex[..., 0] * PRIMES[0] ^ vertex[..., 1] * PRIMES[1]
            index = (index ^ vertex[..., 2] * PRIMES[2]) & self.mask
            share = (place - base)[:, None]
            weight = torch.where(corners.bool(), share, 1 - share).prod(-1, keepdim=True)
            features.append((self.table[level][index] * weight).sum(1))
        return torch.cat(features, -1)

    def step(self, origins: Tensor, directions: Tensor, target: Tensor) -> None:
        """One optimisation step on R rays."""
        z, points = uniform(origins, directions, self.samples)
        places = ((points - self.low) / self.size).clamp(0, 1)
        code = self.density(self.encode(places.reshape(-1, 3)))
        along = directions[:, None].expand(points.shape).reshape(-1, 3)
        color = self.color(torch.cat([code[:, 1:], along], -1)).sigmoid()
        sigma = code[:, 0].clamp(max=15).exp().reshape(z.shape)
        rendered = composite(sigma, color.reshape(*z.shape, 3), z)
        self.optimizer.zero_grad()
        (rendered - target).square().mean().backward()
        self.optimizer.step()


class VanillaNerf(nn.Module):
    """Mildenhall et al. 2020: two 8 x 256 networks, 64 coarse and 128 more fine samples."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList(VanillaNetwork() for _ in range(2))
        self.optimizer = torch.optim.Adam(self.parameters(), 5e-4)

    def step(self, origins: Tensor, directions: Tensor, target: Tensor) -> None:
        """One optimisation step on R rays."""
        z, points = uniform(origins, directions, 64)
        coarse, weights = self.nets[0].render(points, directions, z)
        with torch.no_grad():
            chosen = torch.multinomial(weights + 1e-5, 128, replacement=True)
            more = z.gather(1, chosen) + 0.1 * torch.rand(len(z), 128)
            z_fine = torch.cat([z, more], 1).sort(1).values
        points = origins[:, None] + z_fine[..., None] * directions[:, None]
        fine, _ = self.nets[1].render(points, directions, z_fine)
        self.optimizer.zero_grad()
        ((coarse - target).square().mean() + (fine - target).square().mean()).backward()
        self.optimizer.step()


class VanillaNetwork(nn.Module):
    """Eight layers of 256 with a skip into the fifth; positions at 10, directions at 4 octaves."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [63, 256, 256, 256, 256 + 63, 256, 256, 256]
        self.trunk = nn.ModuleList(nn.Linear(size, 256) for size in sizes)
        self.sigma, self.code = nn.Linear(256, 1), nn.Linear(256, 256)
        self.color = nn.Sequential(nn.Linear(256 + 27, 128), nn.ReLU(), nn.Linear(128, 3))

    def render(self, points: Tensor, directions: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (R, 3) and weights (R, S) of rays with samples (R, S, 3)."""
        encoded = hidden = octaves(points / 10, 10)
        for number, layer in enumerate(self.trunk):
            hidden = torch.cat([encoded, hidden], -1) if number == 4 else hidden
            hidden = relu(layer(hidden))
        along = octaves(directions, 4)[:, None].expand(*z.shape, 27)
        color = self.color(torch.cat([self.code(hidden), along], -1)).sigmoid()
        sigma = relu(self.sigma(hidden)[..., 0])
        weights = ray_weights(sigma, z)
        return (weights[..., None] * color).sum(1), weights.detach()


def uniform(
    origins: Tensor, directions: Tensor, samples: int, near: float = 0.1, far: float = 10.0
) -> tuple[Tensor, Tensor]:
    """Stratified positions (R, S) between two depths, and the points there (R, S, 3)."""
    z = near + (far - near) * (torch.arange(samples) + torch.rand(len(origins), samples)) / samples
    return z, origins[:, None] + z[..., None] * directions[:, None]


def octaves(x: Tensor, count: int) -> Tensor:
    """x with its sines and cosines at ``count`` octaves."""
    scaled = x[..., None, :] * (2.0 ** torch.arange(count))[:, None]
    return torch.cat([x, scaled.sin().flatten(-2), scaled.cos().flatten(-2)], -1)


def ray_weights(sigma: Tensor, z: Tensor) -> Tensor:
    """Weights of volume rendering, (R, S)."""
    step = torch.cat([z.diff(dim=1), torch.full_like(z[:, :1], 1e10)], 1)
    alpha = 1 - torch.exp(-sigma * step)
    passed = torch.cumprod(1 - alpha + 1e-10, 1)
    return alpha * torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], 1)


def composite(sigma: Tensor, color: Tensor, z: Tensor) -> Tensor:
    """Colours of the rays, (R, 3)."""
    return (ray_weights(sigma, z)[..., None] * color).sum(1)
