"""What every object prior offers: rendering of a code, features and labels of points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from semantic_field.data.objects.object_views import CategoryFrame, ObjectView


@dataclass(frozen=True)
class CanonicalRays:
    """Rays of B images in canonical coordinates.

    Attributes:
        origins: (B, R, 3) float32.
        directions: (B, R, 3) float32, of unit length.
        cosines: (B, R) float32, between ray and optical axis: depth along z = distance * cosine.
    """

    origins: Tensor
    directions: Tensor
    cosines: Tensor


@dataclass(frozen=True)
class PriorPixels:
    """What a prior says of rays; every tensor can be differentiated by the codes.

    Attributes:
        color: (B, R, 3), 0..1; white where no object is.
        distance: (B, R), along the ray, canonical units; meaningless where no object is.
        opacity: (B, R), 0..1: how surely the ray meets the object.
        points: (B, R, 3), where the ray ends, canonical.
        features: (B, R, F), the representation's features at ``points``, for labels.
    """

    color: Tensor
    distance: Tensor
    opacity: Tensor
    points: Tensor
    features: Tensor


class ObjectPrior(nn.Module, ABC):
    """The learnt shapes, colours and parts of one category.

    Attributes:
        category: such as "chair".
        part_names: of the parts, without background; class 0 of all labels is the background.
        frame: the category's canonical coordinates.
        codes: embedding (N, D) of the training instances.
        label_layer: linear layer F -> C + 1 on the features; fitted after the training, with the
            rest frozen.
    """

    category: str
    part_names: tuple[str, ...]
    frame: CategoryFrame
    codes: nn.Embedding
    label_layer: nn.Linear

    @property
    def code_dim(self) -> int:
        """Length D of a code."""
        return self.codes.embedding_dim

    @abstractmethod
    def render(self, codes: Tensor, rays: CanonicalRays) -> PriorPixels:
        """Return what rays see of the objects of codes (B, D)."""

    @abstractmethod
    def features(self, codes: Tensor, points: Tensor) -> Tensor:
        """Return the features (B, N, F) at canonical points (B, N, 3)."""

    def label_logits(self, pixels: PriorPixels) -> Tensor:
        """Return the class scores (B, R, C + 1) of rendered rays; 0 = background."""
        return self.label_layer(pixels.features)


def canonical_rays(views: list[ObjectView], frame: CategoryFrame) -> CanonicalRays:
    """Return the rays of all pixels of views of one size, row by row (B = views, R = H * W)."""
    origins, directions, cosines = [], [], []
    for view in views:
        rays = view.camera.rays().reshape(-1, 3)  # z = 1
        lengths = np.linalg.norm(rays, axis=1)
        turned = (rays / lengths[:, None]) @ view.T_object_camera[:3, :3].T
        origin = frame.to_canonical(np.asarray(view.T_object_camera[:3, 3], np.float64))
        origins.append(np.broadcast_to(origin, turned.shape))
        directions.append(turned)
        cosines.append(1.0 / lengths)
    stacked = [np.stack(part).astype(np.float32) for part in (origins, directions, cosines)]
    return CanonicalRays(*(torch.from_numpy(part) for part in stacked))
