"""Immutable map snapshot (``MapState``), which the mapper hands to its readers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.annotations import AnnotationSet
from semantic_field.field.model import SemanticField
from semantic_field.field.surface.cache import SurfaceCache
from semantic_field.field.surface.voted_labels import VotedLabels
from semantic_field.field.voxels.voxel_grid import VoxelGrid


@dataclass(frozen=True)
class LanguageSpace:
    """Linear map from latents to text embeddings: the embedding of latent z is ``V z + mean``.

    Attributes:
        basis: V, float32 (E, D); the first ``rank`` columns are orthonormal, the rest are zero.
        mean: float32 (E,).
        rank: number of columns in use.
        fingerprint: of the teacher that made the embeddings; texts must be embedded by the same
            teacher.
        temperature: positive if latents were trained with a softmax over the map's class names:
            the probability of a name is softmax(cosine / temperature). 0 if latents were trained
            to equal the names' embeddings.
        text_rank: number of columns used by names; None in maps of earlier releases.
    """

    basis: Float[Tensor, "E D"]
    mean: Float[Tensor, " E"]
    rank: int
    fingerprint: str
    temperature: float = 0.0
    text_rank: int | None = None

    def similarity(
        self, latent: Float[Tensor, "N D"], text: Float[Tensor, "Q E"]
    ) -> Float[Tensor, "N Q"]:
        """Return the cosine similarity (N, Q) of every decoded latent with every text embedding.

        Latents are never decoded, so a point costs O(D), not O(E). This is exact, as
        q.(Vz + m) = (V'q).z + q.m and |Vz + m|^2 = |z_rank|^2 + 2 (V'm).z + |m|^2.
        A latent that decodes to the zero vector has similarity 0.
        """
        latent = latent.float()
        text = torch.nn.functional.normalize(text.float(), dim=-1)
        product = latent @ (self.basis.T @ text.T) + text @ self.mean
        used = latent[:, : self.rank]
        squared = used.square().sum(-1) + 2.0 * (latent @ (self.basis.T @ self.mean))
        norm = (squared + self.mean.square().sum()).clamp_min(0.0).sqrt()
        return product / norm.clamp_min(1e-6)[:, None]


@dataclass(frozen=True)
class MapState:
    """A snapshot of the map with everything a reader needs. Never modified after creation.

    Attributes:
        field: the trained field, in evaluation mode, without gradients, on the CPU.
        frame_id: frame of all coordinates, metres.
        bounds: float64 (2, 3), lowest and highest corner of the observed surface, metres; both
            rows are zero while nothing has been observed.
        voxels: how often a surface was observed in each voxel.
        reach: the voxels in which rendering looks for a surface: around depth readings, and
            around depths that were filled in for holes of the depth images. Filled-in depths
            are used to render views and are never part of the extracted surface.
        label_names: class id (as in the input labels) to name; may name classes never seen.
        class_ids: the class id of each row of the field's label head.
        language: None where the map was built without a language teacher.
        version: increases with every snapshot of one mapper.
        steps: number of training steps done so far.
        stamp_ns: acquisition time of the newest frame in the map, nanoseconds.
        origin: float64 (3,), position of the map's own coordinate origin in ``frame_id``, metres.
            Bounds, voxels, annotations and the points of the field are in the map's own
            coordinates, so that float32 stays precise far from the origin of ``frame_id``; poses
            that readers pass and receive are in ``frame_id``.
        annotations: labels given by people.
        training: state to resume training (optimiser moments, keyframes); empty in a snapshot
            that is only read.
        surfaces: cache of the extracted surface, shared by all snapshots of one map.
        votes: labels of the surface by the keyframes that see it; None where no keyframe has
            labels, and in map files of earlier releases. Surface labels are then the field's.
    """

    field: SemanticField
    frame_id: str
    bounds: NDArray[np.float64]
    voxels: VoxelGrid
    reach: VoxelGrid
    label_names: dict[int, str]
    class_ids: tuple[int, ...]
    language: LanguageSpace | None
    version: int
    steps: int
    stamp_ns: int = 0
    origin: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(3))
    annotations: AnnotationSet = dataclasses.field(default_factory=AnnotationSet)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    surfaces: SurfaceCache = dataclasses.field(
        default_factory=SurfaceCache, repr=False, compare=False
    )
    votes: VotedLabels | None = dataclasses.field(default=None, repr=False, compare=False)

    def in_own_frame(self) -> MapState:
        """Return the same map with a zero origin, for callers that use its own coordinates."""
        return dataclasses.replace(self, origin=np.zeros(3))

    @property
    def teacher_fingerprint(self) -> str:
        """Fingerprint of the language teacher, "" without one."""
        return self.language.fingerprint if self.language else ""
