"""What the mapper hands to its readers: one immutable state of the map."""

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
from semantic_field.field.voxels.voxel_grid import VoxelGrid


@dataclass(frozen=True)
class LanguageSpace:
    """How latents are read as text embeddings: the embedding of latent z is ``V z + mean``.

    Attributes:
        basis: V, float32 (E, D); the first ``rank`` columns are orthonormal, the rest are zero.
        mean: float32 (E,).
        rank: how many columns are in use.
        fingerprint: that of the teacher whose embeddings these are; texts must be embedded by
            the same teacher.
        temperature: where latents have learnt to tell the map's names apart, the probability of
            a name is softmax(cosine / temperature); 0 where they are embeddings of names.
        text_rank: how many of the columns names have taken; None in maps of earlier releases.
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
        """Cosine of every decoded latent with every text; costs D, not E, per point.

        Exact: q.(Vz + m) = (V'q).z + q.m and |Vz + m|^2 = |z_rank|^2 + 2 (V'm).z + |m|^2.
        A latent that decodes to nothing has similarity 0.
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
    """Everything a reader of the map needs, never changed after it was handed out.

    Attributes:
        field: the trained field, in evaluation mode, without gradients, on the CPU.
        frame_id: frame of all coordinates, metres.
        bounds: float64 (2, 3), lowest and highest corner of the observed surface, metres; both
            rows are zero while nothing has been observed.
        voxels: how often each voxel of space was seen as a surface.
        reach: the voxels in which a viewing ray looks for a surface: around the readings, and
            around guesses that fill holes of the depth images (those are good enough to colour
            a view, and never part of the extracted surface).
        label_names: class id (as the source gives it) to name; may name classes never seen.
        class_ids: the class id of each row of the field's label head.
        language: None where the map was built without a language teacher.
        version: grows with every snapshot of one mapper.
        steps: training steps behind this state.
        stamp_ns: acquisition time of the newest frame in the map.
        origin: float64 (3,), where in ``frame_id`` the map's own coordinates begin, metres. Bounds,
            voxels, annotations and the points of the field are in the map's own coordinates, so
            that float32 is precise in a far world; poses that readers give and get are in
            ``frame_id``.
        annotations: what people have said about the map.
        training: what resuming needs (optimiser moments, keyframes); empty in a snapshot that
            is only to be read.
        surfaces: what readers found out about the surface; snapshots of one map share it.
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

    def in_own_frame(self) -> MapState:
        """The same map for those who speak of it in its own coordinates."""
        return dataclasses.replace(self, origin=np.zeros(3))

    @property
    def teacher_fingerprint(self) -> str:
        """The fingerprint of the language teacher, "" without one."""
        return self.language.fingerprint if self.language else ""
