"""The teachers of images together: what they say of one keyframe, computed once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.config import Config
from semantic_field.geometry import Camera
from semantic_field.teachers.dino import PatchTeacher, make_patch_teacher
from semantic_field.teachers.factory import make_region_proposer
from semantic_field.teachers.feature_store import Arrays, FeatureStore, image_key
from semantic_field.teachers.language import LanguageTeacher
from semantic_field.teachers.regions import RegionProposer, Regions


@dataclass(frozen=True)
class ImageTargets:
    """What the teachers say of one image.

    Attributes:
        embedding: see ``LanguageTeacher.embed_image``.
        regions: of the image at its own size; None without a proposer.
        patches: see ``PatchTeacher.patch_features``; None without such a teacher.
        footprint: see ``LanguageTeacher.footprint``.
    """

    embedding: Float[Tensor, "S h w E"]
    regions: Regions | None = None
    patches: Float[Tensor, "h w K"] | None = None
    footprint: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sight:
    """What the teachers look at.

    Attributes:
        serial: tells keyframes apart; stamp_ns: of its acquisition.
        color: RGB (H, W, 3). depth: (H, W), metres, 0 = no reading. camera: of both.
        labels: ids (H, W), -1 = void, and their names, for teachers that read them.
    """

    serial: int
    stamp_ns: int
    color: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    camera: Camera | None = None
    labels: NDArray[np.int32] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)


class ImageTeachers:
    """Language, regions and patches of an image; only language is always there.

    Args:
        store: folder that keeps regions and patches ("" = none); language teachers keep theirs.
    """

    _scales: int | None = None  # of the first image's embedding

    def __init__(
        self,
        language: LanguageTeacher,
        proposer: RegionProposer | None = None,
        patches: PatchTeacher | None = None,
        store: str = "",
    ) -> None:
        self.language, self.proposer, self.patches = language, proposer, patches
        self._stores = {
            teacher: FeatureStore(store, teacher.fingerprint)
            for teacher in (proposer, patches)
            if store and teacher is not None
        }

    def look(self, sight: Sight) -> ImageTargets:
        """Everything that the teachers say of an image; takes milliseconds to minutes.

        Raises:
            ValueError: where they cannot look at it, or what they say is not of the shape that
                they promise, of as many scales as before, and finite.
        """
        embedding = self.language.embed_image(sight.color, sight.labels, sight.label_names)
        self._check_embedding(embedding)
        footprint = self.language.footprint
        return ImageTargets(embedding, self._regions(sight), self._patches(sight), footprint)

    def forget(self) -> None:
        """A map begins anew: its embeddings may be of another number of scales."""
        self._scales = None

    def _check_embedding(self, embedding: Tensor) -> None:
        """Own features, which come by way of the store, are as their makers took them to be."""
        shape, dim = tuple(embedding.shape), self.language.dim
        scales = "scales" if self._scales is None else self._scales
        fine = embedding.ndim == 4 and embedding.shape[-1] == dim and embedding.numel() > 0
        if not fine or self._scales not in (None, shape[0]):
            raise ValueError(
                f"expected dense embeddings ({scales}, h, w, {dim}), got {shape}: store them with "
                "an axis for the scales (one is fine), as many in every image, and as long as the "
                "embeddings of texts are"
            )
        if not embedding.isfinite().all():
            raise ValueError(
                "expected dense embeddings that are finite, got NaN or Inf: a model that overflows "
                "in float16 has to run with teacher.device cpu"
            )
        self._scales = shape[0]

    def _regions(self, sight: Sight) -> Regions | None:
        proposer = self.proposer
        if proposer is None:
            return None

        def compute() -> Arrays:
            return regions_to_arrays(proposer.propose(sight.color, sight.depth, sight.camera))

        camera = None if sight.camera is None else sight.camera.matrix
        key = image_key(sight.color, sight.depth, camera)
        return regions_from_arrays(self._kept(proposer, key, compute))

    def _patches(self, sight: Sight) -> Float[Tensor, "h w K"] | None:
        teacher = self.patches
        if teacher is None:
            return None

        def compute() -> Arrays:
            return {"patches": teacher.patch_features(sight.color).numpy()}

        features = self._kept(teacher, image_key(sight.color), compute)["patches"]
        shape = features.shape
        if features.ndim != 3 or shape[-1] != teacher.dim or not np.isfinite(features).all():
            raise ValueError(
                f"expected finite patch features (h, w, {teacher.dim}), got {shape}: check the "
                f"model {teacher.name!r}, or remove its features from teacher.store"
            )
        return torch.from_numpy(np.array(features))

    def _kept(self, teacher, key: str, compute) -> Arrays:
        store = self._stores.get(teacher)
        return compute() if store is None else store.get_or_compute(key, compute)


def regions_to_arrays(regions: Regions) -> Arrays:
    """What a feature store keeps of regions."""
    names = ("starts", "stops", "splits", "scores", "ids")
    arrays = {name: getattr(regions, name) for name in names}
    return arrays | {"size": np.array([regions.height, regions.width])}


def regions_from_arrays(arrays: Arrays) -> Regions:
    """The regions of ``regions_to_arrays``; scores have gone through float16."""
    height, width = (int(side) for side in arrays["size"])
    runs = {name: np.array(arrays[name]) for name in ("starts", "stops", "splits", "ids")}
    return Regions(height, width, **runs, scores=np.array(arrays["scores"], np.float32))


def make_image_teachers(config: Config, language: LanguageTeacher | None) -> ImageTeachers | None:
    """The teachers of images that ``config`` names; None where language is not from images.

    Raises:
        ValueError: where files are missing or damaged, with the option and the remedy.
    """
    if language is None or config.language.source != "images":
        return None
    proposer, patches = make_region_proposer(config.teacher), make_patch_teacher(config.teacher)
    return ImageTeachers(language, proposer, patches, config.teacher.store)
