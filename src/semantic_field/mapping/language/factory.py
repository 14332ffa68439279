"""Creation of the language basis and of the language training of a map, by its settings."""

from __future__ import annotations

from collections.abc import Callable

from semantic_field.config import Config
from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField
from semantic_field.mapping.language.basis import TEXT_SHARE, LanguageBasis, TextTeacher
from semantic_field.mapping.language.image_language import ImageLanguage
from semantic_field.mapping.language.weak_calls import weak
from semantic_field.mapping.memory import surface_bytes
from semantic_field.teachers.regions import RegionProposer


def make_basis(config: Config, teacher: TextTeacher | None) -> LanguageBasis | None:
    """Return an empty basis for the teacher's embeddings; None without a teacher."""
    if teacher is None:
        return None
    share = TEXT_SHARE if config.language.source == "images" else 1.0
    return LanguageBasis(teacher, config.field.latent_dim, share)


def make_image_language(
    config: Config,
    basis: LanguageBasis | None,
    field: SemanticField,
    snapshot: Callable[[], MapState],
    proposer: RegionProposer | None,
    is_live: Callable[[], bool],
) -> ImageLanguage | None:
    """Return an ``ImageLanguage``; None unless ``language.source`` is "images".

    Args:
        snapshot: bound method that returns the current map; its object is not kept alive.
        proposer, is_live: see ``LiveMap``.
    Raises:
        ValueError: if language is to be learnt from images and there is no language teacher.
    """
    if config.language.source != "images":
        return None
    if basis is None:
        raise ValueError(
            "expected a language teacher for language.source 'images', got none: set "
            "teacher.kind, or language.source to 'labels'"
        )
    seed, up, room = config.mapping.seed, config.query.up, surface_bytes(config.mapping)
    return ImageLanguage(
        config.language, basis, field, weak(snapshot), proposer, seed, up, room, is_live
    )
