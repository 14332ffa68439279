"""Which teacher the settings name; what it needs is imported with it."""

from __future__ import annotations

from semantic_field.config import TeacherConfig
from semantic_field.teachers.language import LanguageTeacher
from semantic_field.teachers.regions import RegionProposer


def make_language_teacher(config: TeacherConfig) -> LanguageTeacher | None:
    """The teacher that ``config.kind`` names; None where that is "none".

    Raises:
        ValueError: where its files are missing or damaged, with the option and the remedy.
    """
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
    """The proposer that ``config.regions`` names; None where that is "none".

    Raises:
        ValueError: where its files are missing or damaged, with the option and the remedy.
    """
    if config.regions == "depth":
        from semantic_field.teachers.depth_regions import DepthRegions

        return DepthRegions()
    if config.regions == "sam":
        from semantic_field.teachers.sam import SamRegions

        return SamRegions(config.regions_path, config.device)
    return None
