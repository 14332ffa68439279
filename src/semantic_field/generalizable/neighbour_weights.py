"""Averages over the neighbours of each pixel, with weights that a network chooses."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from semantic_field.generalizable.fast_products import convolved, hidden_type

WINDOW = 5  # rows and columns of neighbours that a pixel may take
CENTRE = WINDOW**2 // 2
CENTRE_START = 4.0  # logarithm of the centre's weight for labels when training starts
LEAST = 0.1  # neighbours with less total weight are not divided by it


class NeighbourWeights(nn.Module):
    """Chooses for each pixel the weights of its neighbours, for colours and for labels."""

    def __init__(self, in_dim: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_dim, width, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
        )
        self.color, self.label = (nn.Conv2d(width, WINDOW**2, 1) for _ in range(2))
        for last in (self.color, self.label):
            nn.init.zeros_(last.weight)
        start = torch.zeros(WINDOW**2)
        self.color.bias = nn.Parameter(start.clone())
        start[CENTRE] = CENTRE_START
        self.label.bias = nn.Parameter(start)

    def forward(
        self, guide: Float[Tensor, "h w C"]
    ) -> tuple[Float[Tensor, "K h w"], Float[Tensor, "K h w"]]:
        """Return weights of the neighbours: of any sign for colours, above 0 for labels; sum 1."""
        image = guide.permute(2, 0, 1)[None]
        hidden = image.to(hidden_type(image))
        for layer in self.layers:
            hidden = convolved(layer, hidden) if isinstance(layer, nn.Conv2d) else layer(hidden)
        hidden = hidden.to(image.dtype)
        color = self.color(hidden)[0]
        centre = torch.zeros_like(color)
        centre[CENTRE] = 1.0
        return centre + color - color.mean(0, keepdim=True), self.label(hidden)[0].softmax(0)


def filtered(
    image: Float[Tensor, "h w C"],
    known: Bool[Tensor, "h w"],
    kernel: Float[Tensor, "K h w"],
    step: int,
) -> Float[Tensor, "h w C"]:
    """Return each pixel as the weighted sum of its K neighbours, ``step`` pixels apart.

    Beyond the border, the pixel at the border counts. Unknown neighbours do not count.
    """
    reach = step * (WINDOW // 2)
    h, w, _ = image.shape
    padded = pad(image.permute(2, 0, 1)[None], (reach,) * 4, mode="replicate")[0]
    use = pad(known[None, None].float(), (reach,) * 4, mode="replicate")[0, 0]
    total, share = torch.zeros_like(padded[:, :h, :w]), torch.zeros_like(use[:h, :w])
    for number in range(WINDOW**2):
        row, column = number // WINDOW * step, number % WINDOW * step
        part = kernel[number] * use[row : row + h, column : column + w]
        total = total + part * padded[:, row : row + h, column : column + w]
        share = share + part
    safe = torch.where(share.abs() > LEAST, share, 1.0)
    return (total / safe).permute(1, 2, 0)
