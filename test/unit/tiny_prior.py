"""A tiny published prior, its subject and rays, for the tests of object priors."""

from __future__ import annotations

import math

import torch

from semantic_field.data.objects.object_views import CategoryFrame
from semantic_field.object_prior.prior_model import CanonicalRays
from semantic_field.object_prior.published.semantic_srn import SemanticSRN, SemanticSRNConfig
from semantic_field.object_prior.trainable_prior import PriorSubject

SUBJECT = PriorSubject("chair", ("seat", "leg"), CategoryFrame(0.5, (0.0, 0.0, 0.4)), ("a", "b"))
SIZES = {
    "code_dim": 5, "hyper_width": 6, "width": 8, "depth": 3, "march_steps": 3, "march_hidden": 4,
    "pixel_layers": 2, "code_spread": 1.0, "products": "float32",
}  # fmt: skip


def tiny_prior(seed: int = 0, **settings) -> SemanticSRN:
    """A prior of two chairs with small layers and codes that differ."""
    torch.manual_seed(seed)
    return SemanticSRN(SemanticSRNConfig(**{**SIZES, **settings}), SUBJECT)


def some_rays(images: int, count: int, seed: int = 1) -> CanonicalRays:
    """Rays from about 3 units away towards the middle."""
    random = torch.Generator().manual_seed(seed)
    directions = torch.randn(images, count, 3, generator=random) * 0.1
    directions[..., 1] += 1
    directions = directions / directions.norm(dim=-1, keepdim=True)
    origins = torch.tensor([0.1, -3.0, 0.2]).expand(images, count, 3)
    cosines = torch.full((images, count), math.cos(0.2))
    return CanonicalRays(origins, directions, cosines)


def in_float64(rays: CanonicalRays) -> CanonicalRays:
    """The same rays in float64."""
    return CanonicalRays(rays.origins.double(), rays.directions.double(), rays.cosines.double())
