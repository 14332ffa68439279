"""The published baseline for labels from few images: a U-Net on colour images.

Kohli et al. (3DV 2020), table 1: trained on the same labelled images, given the true colour of the
view that is to be labelled, or a rendering of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from semantic_field.object_prior.published.part_unet import PartUNet


@dataclass(frozen=True)
class UNetPlan:
    """How the U-Net is trained.

    Attributes:
        steps, batch, rate: of Adam.
        first, downs, most: channels at full resolution, halvings, and most channels.
    """

    steps: int = 300
    batch: int = 6
    rate: float = 1e-3
    first: int = 16
    downs: int = 4
    most: int = 64
    seed: int = 0


class UNetLabels:
    """Labels of images, learnt from a few labelled ones."""

    def __init__(
        self,
        colors: Sequence[NDArray[np.uint8]],
        parts: Sequence[NDArray[np.uint8]],
        classes: int,
        plan: UNetPlan = UNetPlan(),
    ) -> None:
        """Train on images (H, W, 3) and their labels (H, W), 0 = background.

        Args:
            classes: with background.
        Raises:
            ValueError: if the numbers of images and labels differ.
        """
        if len(colors) != len(parts) or not colors:
            raise ValueError(f"expected labels of {len(colors)} images, got {len(parts)}")
        with torch.random.fork_rng():
            torch.manual_seed(plan.seed)
            self._network = PartUNet(3, classes, plan.first, plan.downs, plan.most)
        self._train(_as_input(colors), torch.from_numpy(np.stack(parts)).long(), plan)

    def _train(self, images: Tensor, labels: Tensor, plan: UNetPlan) -> None:
        optimizer = torch.optim.Adam(self._network.parameters(), plan.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.steps)
        random = np.random.default_rng(plan.seed)
        self._network.train()
        for _ in range(plan.steps):
            chosen = random.choice(len(images), min(plan.batch, len(images)), replace=False)
            scores = self._network(images[chosen])
            loss = cross_entropy(scores, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self._network.eval()

    @torch.no_grad()
    def __call__(self, colors: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Return the labels (H, W) of images (H, W, 3)."""
        return [
            self._network(_as_input([color]))[0].argmax(0).to(torch.uint8).numpy()
            for color in colors
        ]


def _as_input(colors: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return images as the network takes them: (B, 3, H, W), -1..1."""
    stacked = torch.from_numpy(np.stack(colors)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return stacked.contiguous(memory_format=torch.channels_last)  # much faster on a CPU
