"""The network that smooths a cost volume: scores of planes of depth, and features of the volume."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from semantic_field.generalizable.convolutions import block, up_block


class VolumeNet(nn.Module):
    """A 3D U-Net with sums as skips: scores of the planes, and features of the volume."""

    def __init__(self, inputs: int, widths: tuple[int, ...], features: int, norm: str) -> None:
        super().__init__()
        first = widths[0]
        self.first = block(inputs, first, norm=norm, dimensions=3)
        self.down = nn.ModuleList(
            nn.Sequential(
                block(a, b, stride=2, norm=norm, dimensions=3), block(b, b, norm=norm, dimensions=3)
            )
            for a, b in pairwise(widths)
        )
        self.up = nn.ModuleList(up_block(b, a, norm, 3) for a, b in pairwise(widths))
        self.before_scores = block(first, first, norm=norm, dimensions=3)
        self.scores = nn.Conv3d(first, 1, 3, padding=1)
        self.features = block(first, features, norm=norm, dimensions=3) if features else None

    def forward(
        self, volume: Float[Tensor, "B G D h w"]
    ) -> tuple[Float[Tensor, "B D h w"], Tensor | None]:
        """Return scores (B, D, h, w) and features (B, F, D, h, w), None if there are none."""
        D, h, w = volume.shape[-3:]
        multiple = 2 ** len(self.down)
        x = pad(volume, (0, -w % multiple, 0, -h % multiple, 0, -D % multiple))
        maps = [self.first(x)]
        for down in self.down:
            maps.append(down(maps[-1]))
        x = maps[-1]
        for up, skip in zip(self.up[::-1], maps[-2::-1], strict=True):
            x = skip + up(x)
        features = None if self.features is None else self.features(x)[..., :D, :h, :w]
        return self.scores(self.before_scores(x))[:, 0, :D, :h, :w], features
