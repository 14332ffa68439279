"""Labels from a few masks: a linear layer on the features of a frozen prior.

Kohli et al. (3DV 2020): after the representation is trained without labels, multinomial logistic
regression on the features at the rays' ends, over all pixels of 30 labelled images, background
included. The published optimiser is Adam; as the problem is convex, L-BFGS comes to its optimum in
a few hundred passes over the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from semantic_field.data.objects.object_views import ObjectCollection, ObjectView
from semantic_field.generalizable.training.training_loop import moved
from semantic_field.object_prior.prior_model import ObjectPrior, PriorPixels, canonical_rays
from semantic_field.object_prior.published.hypernetwork import fully_connected

DECAY = 1e-4  # weight of half the squared weights: without it separable classes have no optimum
HIDDEN_LAYERS = 4  # of the MLP variant: one from the features, and three


@dataclass(frozen=True)
class LabelledPixels:
    """All pixels of V labelled images of one size.

    Attributes:
        features: of the frozen prior, where the pixels' rays end.
        labels: 0 = background, i + 1 = the i-th part.
    """

    features: Float[Tensor, "V R F"]
    labels: Int[Tensor, "V R"]


@torch.no_grad()
def labelled_pixels(
    prior: ObjectPrior, codes: Float[Tensor, "V D"], views: Sequence[ObjectView]
) -> LabelledPixels:
    """Return the pixels of labelled views with the prior's features.

    Args:
        codes: of the object of each view.
    Raises:
        ValueError: if a view is not labelled.
    """
    if any(view.parts is None for view in views):
        raise ValueError(
            "expected labelled views, got one without parts; give objects with part masks (seg/)"
        )
    rendered = [rendered_view(prior, code, view) for code, view in zip(codes, views, strict=True)]
    parts = np.stack([view.parts for view in views if view.parts is not None])
    return LabelledPixels(
        features=torch.cat([pixels.features for pixels in rendered]).cpu(),
        labels=torch.from_numpy(parts.reshape(len(views), -1)).long(),
    )


def rendered_view(prior: ObjectPrior, code: Float[Tensor, "D"], view: ObjectView) -> PriorPixels:
    """Return what a prior says of all pixels of one view of a code's object."""
    rays = moved(canonical_rays([view], prior.frame), code.device)
    return prior.render(code[None], rays)


def labelled_views(
    objects: ObjectCollection, instances: int, views: int
) -> list[tuple[int, ObjectView]]:
    """Return the first views of fixed instances, evenly spread, with the rows of their codes."""
    count = len(objects.names)
    rows = np.linspace(0, count - 1, min(instances, count)).round().astype(int)
    return [(int(row), objects.view(int(row), number)) for row in rows for number in range(views)]


def logistic_loss(
    weight: Float[Tensor, "C F"],
    bias: Float[Tensor, "C"],
    features: Float[Tensor, "P F"],
    labels: Int[Tensor, "P"],
    decay: float,
) -> Tensor:
    """Return the mean cross-entropy and ``decay`` / 2 of the sum of squared weights."""
    scores = torch.addmm(bias, features, weight.T)
    return functional.cross_entropy(scores, labels) + 0.5 * decay * weight.square().sum()


def fit_to_optimum(
    pixels: LabelledPixels, classes: int, decay: float = DECAY, passes: int = 300
) -> nn.Linear:
    """Return the layer at the minimum of ``logistic_loss``, found by L-BFGS.

    Args:
        passes: iterations at most; it ends before when the gradient is below 1e-6.
    """
    features, labels = pixels.features.flatten(0, 1), pixels.labels.flatten()
    weight = torch.zeros(classes, features.shape[1], dtype=features.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=features.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=passes,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = logistic_loss(weight, bias, features, labels, decay)
        loss.backward()
        return loss

    optimizer.step(closure)
    return _linear(weight, bias)


@dataclass(frozen=True)
class AdamFit:
    """The published optimisation: batches of whole images."""

    steps: int = 5000
    batch: int = 4
    learning_rate: float = 4e-4
    seed: int = 0


def fit_by_adam(layer: nn.Module, pixels: LabelledPixels, fit: AdamFit) -> None:
    """Train a layer, or the MLP variant, on the features; the mean cross-entropy of each batch."""
    optimizer = torch.optim.Adam(layer.parameters(), fit.learning_rate)
    random = np.random.default_rng(fit.seed)
    order: list[int] = []
    for _ in range(fit.steps):
        while len(order) < fit.batch:
            order += random.permutation(len(pixels.labels)).tolist()
        chosen, order = order[: fit.batch], order[fit.batch :]
        scores = layer(pixels.features[chosen].flatten(0, 1))
        loss = functional.cross_entropy(scores, pixels.labels[chosen].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def mlp_layers(features: int, classes: int, hidden: int = 256) -> nn.Sequential:
    """Return the MLP variant for ``fit_by_adam``: four layers with norm and ReLU, one linear."""
    return fully_connected([features, *[hidden] * HIDDEN_LAYERS, classes])


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


@torch.no_grad()
def image_miou(row: Int[Tensor, "R"], truth: Int[Tensor, "R"]) -> float:
    """Return an image's mean IoU over the classes in truth or prediction, background included.

    The published figures are means of this over all images of all instances.
    """
    found = []
    for label in torch.cat([row, truth]).unique():
        said, true = row == label, truth == label
        found.append(float((said & true).sum()) / float((said | true).sum()))
    return float(np.mean(found))
