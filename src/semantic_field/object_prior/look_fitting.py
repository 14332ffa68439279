"""The colours of an aligned object: the part of the code that the shape does not depend on."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.object_prior.alignment import Alignment, CategoryShapes
from semantic_field.object_prior.signed_distance_prior import SignedDistancePrior

STEPS = 40
POINTS = 400
RATE = 0.15
EXPECTED_SHARE = 0.01  # weight of the code's surprise


def with_fitted_colors(
    shapes: CategoryShapes,
    found: Alignment,
    points: Float[NDArray, "N 3"],
    colors: UInt8[NDArray, "N 3"],
    seed: int = 0,
) -> Float[Tensor, "D"]:
    """Return the code with its colours fitted to observed ones; its shape stays exactly as it is.

    Args:
        points: observed points in the object's own frame, metres.
    """
    prior, distribution = shapes.prior, shapes.distribution
    assert isinstance(prior, SignedDistancePrior)
    chosen = np.random.default_rng(seed).permutation(len(points))[:POINTS]
    places = torch.from_numpy(prior.frame.to_canonical(points[chosen])).float()[None]
    target = torch.from_numpy(colors[chosen].astype(np.float32) / 255)
    whitened = found.place.whitened.clone()
    look = whitened[:, distribution.shape_axes :].zero_().requires_grad_()
    shape = whitened[:, : distribution.shape_axes].detach()
    layers = prior.network.instance_layers(found.code[None])
    with torch.no_grad():
        hidden = prior.network.hidden(layers, places)
    optimizer = torch.optim.Adam([look], lr=RATE)
    for _ in range(STEPS):
        code = distribution.codes(torch.cat([shape, look], dim=1))
        now = prior.network.instance_layers(code)
        off = (prior.network.color(now, hidden)[0] - target).abs().mean()
        loss = off + EXPECTED_SHARE * look.square().mean()
        (look.grad,) = torch.autograd.grad(loss, [look])
        optimizer.step()
    code = found.code.clone()
    fitted = distribution.codes(torch.cat([shape, look.detach()], dim=1))[0]
    code[prior.geometry_dim :] = fitted[prior.geometry_dim :]
    return code
