"""Factories of teachers; each imports the libraries that its teacher needs only when used."""

from __future__ import annotations

import re
from pathlib import Path

from semantic_field.config import TeacherConfig
from semantic_field.teachers.choice import settled_teacher
from semantic_field.teachers.language import LanguageTeacher
from semantic_field.teachers.regions import RegionProposer
from semantic_field.teachers.segmentation import Segmenter
from semantic_field.weights.local_weights import local_path, weights_here


def make_language_teacher(config: TeacherConfig) -> LanguageTeacher | None:
    """Return the language teacher ``config.kind``; None for "none".

    For "auto" and names of weights, see ``choice``.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    config = settled_teacher(config)
    if config.kind == "label_text":
        from semantic_field.teachers.label_text import LabelTextTeacher

        return LabelTextTeacher(config.path)
    if config.kind == "vocabulary":
        from semantic_field.teachers.precomputed_texts import VocabularyTeacher

        return VocabularyTeacher(config.path)
    if config.kind == "open_clip":
        from semantic_field.teachers.clip_teacher import OpenClipTeacher

        return OpenClipTeacher(config)
    if config.kind == "simulated":
        from semantic_field.teachers.simulated import SimulatedTeacher

        return SimulatedTeacher(config.path)
    return None


def make_region_proposer(config: TeacherConfig) -> RegionProposer | None:
    """Return the region proposer ``config.regions``; None for "none".

    Raises:
        ValueError: if its files are missing or damaged.
    """
    if config.regions == "depth":
        from semantic_field.teachers.depth_regions import DepthRegions

        return DepthRegions()
    if config.regions == "sam":
        from semantic_field.teachers.sam import SamRegions

        return SamRegions(config.regions_path, config.device)
    return None


def make_segmenter(config: TeacherConfig) -> Segmenter | None:
    """Return the segmenter ``config.segmenter``; None for "", and for "auto" without weights.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    given = config.segmenter if config.segmenter != "auto" else weights_here("segmenter")
    if not given:
        return None
    path = hub_folder(local_path(given, "teacher.segmenter"))
    from semantic_field.teachers.tflite_segmenter import TfliteSegmenter, tflite_file

    if tflite_file(path) is not None:
        return TfliteSegmenter(path, config.threads)
    from semantic_field.teachers.segmenter import TransformersSegmenter

    return TransformersSegmenter(path, config.device)


def hub_folder(path: str) -> str:
    """Return the folder of a model that the hub's own cache has by the name OWNER/NAME.

    Everything else is returned as it is; a model is never downloaded.

    Raises:
        ValueError: with the command, if it looks like such a name and is not in the cache.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", path) or Path(path).exists():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return snapshot_download(path, local_files_only=True)
    except LocalEntryNotFoundError as error:
        raise ValueError(
            f"expected a folder, or a model that was downloaded from the hub, got {path!r}; "
            f"download it with: hf download {path}"
        ) from error
