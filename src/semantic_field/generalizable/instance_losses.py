"""Losses of instances: predicted masks are matched with objects, as in DM-NeRF (Wang et al. 2023).

Objects have no order, so each is given the output that costs least with it (Hungarian method; the
cost is the cross-entropy of the masks plus 1 - soft IoU). Outputs without an object are to be
empty. The last output is for pixels without an object: it is never matched.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

LEAST = 1e-6


class MaskCosts(NamedTuple):
    """Costs of T objects (rows) with N outputs (columns).

    Attributes:
        entropy: float32 (T, N), binary cross-entropy, averaged over the pixels.
        overlap: float32 (T, N), 1 - soft IoU.
    """

    entropy: Float[Tensor, "T N"]
    overlap: Float[Tensor, "T N"]


def instance_losses(
    logits: Float[Tensor, "h w M"], instances: Int[Tensor, "h w"]
) -> dict[str, Tensor]:
    """Return ``instance_entropy``, ``instance_overlap`` and ``instance_invalid``.

    The first two are means over the matched pairs, the third is the mean probability of outputs
    without an object. All are 0 where there is nothing to average.

    Args:
        logits: of N outputs and one for pixels without an object.
        instances: ids of objects, -1 = none.

    Raises:
        ValueError: if there are more objects than outputs.
    """
    probability = logits.flatten(0, 1).softmax(-1)[:, :-1]  # (P, N)
    masks = object_masks(instances)
    if len(masks) > probability.shape[1]:
        raise ValueError(
            f"expected at most {probability.shape[1]} objects in an image, got {len(masks)}: "
            f"build the model with instances: {len(masks)} or more"
        )
    costs = mask_costs(probability, masks)
    rows, columns = matched(costs)
    free = torch.ones(probability.shape[1], dtype=torch.bool, device=logits.device)
    free[columns] = False
    pairs, left = max(len(rows), 1), probability[:, free]
    return {
        "instance_entropy": costs.entropy[rows, columns].sum() / pairs,
        "instance_overlap": costs.overlap[rows, columns].sum() / pairs,
        "instance_invalid": left.sum() / max(left.numel(), 1),
    }


def object_masks(instances: Int[Tensor, "h w"]) -> Float[Tensor, "T P"]:
    """Return the mask of each object, in the order of their ids."""
    ids = instances[instances >= 0].unique()
    return (instances.flatten() == ids[:, None]).float()


def mask_costs(probability: Float[Tensor, "P N"], masks: Float[Tensor, "T P"]) -> MaskCosts:
    """Return what it costs to give each object each of the outputs."""
    likely = probability.clamp(LEAST, 1.0 - LEAST)
    entropy = masks @ likely.log() + (1.0 - masks) @ (1.0 - likely).log()
    common = masks @ probability
    either = masks.sum(1)[:, None] + probability.sum(0) - common
    return MaskCosts(-entropy / len(probability), 1.0 - common / either.clamp_min(LEAST))


def matched(costs: MaskCosts) -> tuple[Int[Tensor, "T"], Int[Tensor, "T"]]:
    """Return objects and their outputs, such that the sum of both costs is least."""
    total = (costs.entropy + costs.overlap).detach().cpu().double().numpy()
    rows, columns = linear_sum_assignment(total)
    device = costs.entropy.device
    return torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)
