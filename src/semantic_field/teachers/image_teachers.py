"""Combines all image teachers: labels, embeddings, regions and patch features of a keyframe."""

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
from semantic_field.teachers.factory import make_region_proposer, make_segmenter
from semantic_field.teachers.feature_store import Arrays, FeatureStore, image_key
from semantic_field.teachers.language import LanguageTeacher
from semantic_field.teachers.regions import RegionProposer, Regions
from semantic_field.teachers.segmentation import Segmentation, Segmenter


@dataclass(frozen=True)
class ImageTargets:
    """Output of the teachers for one image.

    Attributes:
        embedding: see ``LanguageTeacher.embed_image``; None if language is not learnt from images.
        regions: of the image at its own size; None without a proposer.
        patches: see ``PatchTeacher.patch_features``; None without such a teacher.
        footprint: see ``LanguageTeacher.footprint``.
        segmentation: labels made by a segmenter; None without one, or if it was not asked.
        class_names: names of their class ids.
    """

    embedding: Float[Tensor, "S h w E"] | None = None
    regions: Regions | None = None
    patches: Float[Tensor, "h w K"] | None = None
    footprint: tuple[float, ...] = ()
    segmentation: Segmentation | None = None
    class_names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TeacherInput:
    """Input of the teachers: one keyframe.

    Attributes:
        serial: identifies the keyframe.
        stamp_ns: acquisition time, nanoseconds.
        color: RGB (H, W, 3).
        depth: (H, W), metres, 0 = no reading.
        camera: of both images.
        labels, label_names: ids (H, W), -1 = void, and their names, for teachers that use them.
    """

    serial: int
    stamp_ns: int
    color: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    camera: Camera | None = None
    labels: NDArray[np.int32] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)


class ImageTeachers:
    """The image teachers of a map.

    Args:
        language: gives dense embeddings; None if language is not learnt from images.
        proposer: gives regions. patches: gives patch features.
        store: folder for stored results ("" = none); language teachers have their own.
        segmenter: gives labels.
        stands_in: whether the segmenter is only asked as long as no keyframe has come with labels.
    """

    _scales: int | None = None  # of the first image's embedding

    def __init__(
        self,
        language: LanguageTeacher | None,
        proposer: RegionProposer | None = None,
        patches: PatchTeacher | None = None,
        store: str = "",
        segmenter: Segmenter | None = None,
        stands_in: bool = False,
    ) -> None:
        self.language, self.proposer, self.patches = language, proposer, patches
        self.segmenter, self._stands_in, self._replaced = segmenter, stands_in, False
        self._stores = {
            teacher: FeatureStore(store, teacher.fingerprint)
            for teacher in (proposer, patches, segmenter)
            if store and teacher is not None
        }

    def look(self, image: TeacherInput) -> ImageTargets:
        """Run all teachers on a keyframe; takes milliseconds to minutes.

        Raises:
            ValueError: if a teacher fails, or an output has a wrong shape, another number of
                scales than before, or is not finite.
        """
        segmentation = self._segmentation(image)
        names = self.segmenter.names if self.segmenter is not None else {}
        if self.language is None:
            return ImageTargets(segmentation=segmentation, class_names=names)
        embedding = self.language.embed_image(image.color, image.labels, image.label_names)
        self._check_embedding(embedding, self.language.dim)
        return ImageTargets(
            embedding,
            self._regions(image),
            self._patches(image),
            self.language.footprint,
            segmentation,
            names,
        )

    def forget(self) -> None:
        """Reset for a new map, whose embeddings may have another number of scales."""
        self._scales = None

    def _segmentation(self, image: TeacherInput) -> Segmentation | None:
        segmenter = self.segmenter
        if segmenter is None:
            return None
        has_labels = image.labels is not None and bool((image.labels >= 0).any())
        self._replaced |= self._stands_in and has_labels
        if self._replaced:
            return None

        def compute() -> Arrays:
            return segmenter.segment(image.color).arrays()

        found = Segmentation.of_arrays(self._kept(segmenter, image_key(image.color), compute))
        if found.labels.shape != image.color.shape[:2]:
            raise ValueError(
                f"expected labels {image.color.shape[:2]} of {segmenter.name}, got "
                f"{found.labels.shape}: remove them from teacher.store"
            )
        return found

    def _check_embedding(self, embedding: Tensor, dim: int) -> None:
        """Check shape and values of an embedding; stored features may come from other tools."""
        shape = tuple(embedding.shape)
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

    def _regions(self, image: TeacherInput) -> Regions | None:
        proposer = self.proposer
        if proposer is None:
            return None

        def compute() -> Arrays:
            return regions_to_arrays(proposer.propose(image.color, image.depth, image.camera))

        camera = None if image.camera is None else image.camera.matrix
        key = image_key(image.color, image.depth, camera)
        return regions_from_arrays(self._kept(proposer, key, compute))

    def _patches(self, image: TeacherInput) -> Float[Tensor, "h w K"] | None:
        teacher = self.patches
        if teacher is None:
            return None

        def compute() -> Arrays:
            return {"patches": teacher.patch_features(image.color).numpy()}

        features = self._kept(teacher, image_key(image.color), compute)["patches"]
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
    """Convert regions to arrays for a feature store."""
    names = ("starts", "stops", "splits", "scores", "ids")
    arrays = {name: getattr(regions, name) for name in names}
    return arrays | {"size": np.array([regions.height, regions.width])}


def regions_from_arrays(arrays: Arrays) -> Regions:
    """Rebuild the regions of ``regions_to_arrays``; scores are rounded to float16."""
    height, width = (int(side) for side in arrays["size"])
    runs = {name: np.array(arrays[name]) for name in ("starts", "stops", "splits", "ids")}
    return Regions(height, width, **runs, scores=np.array(arrays["scores"], np.float32))


def make_image_teachers(
    config: Config, language: LanguageTeacher | None, stands_in: bool = False
) -> ImageTeachers | None:
    """Return the image teachers of ``config``; None if nothing is learnt from images.

    Args:
        stands_in: see ``ImageTeachers``.
    Raises:
        ValueError: if files are missing or damaged.
    """
    segmenter, store = make_segmenter(config.teacher), config.teacher.store
    if language is None or config.language.source != "images":
        if segmenter is None:
            return None
        return ImageTeachers(None, store=store, segmenter=segmenter, stands_in=stands_in)
    proposer, patches = make_region_proposer(config.teacher), make_patch_teacher(config.teacher)
    return ImageTeachers(language, proposer, patches, store, segmenter, stands_in)
