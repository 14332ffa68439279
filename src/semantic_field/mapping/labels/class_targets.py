"""Training targets of a class table: rows of the label head, and latents of the class names."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.config import LanguageConfig
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.language.basis import LanguageBasis
from semantic_field.mapping.training.step import Trainer


def embedded(
    classes: ClassTable, language: LanguageBasis | None, from_images: bool, config: LanguageConfig
) -> Float[Tensor, "C D"] | None:
    """Return the latents of the class names of a table; None if the map has no language.

    If language is learnt from images, latents are normalised to unit length, and a row is appended
    for the text of unlabelled pixels (``config.unlabelled``) if there is one.

    Args:
        from_images: whether language is learnt from images.
    Raises:
        Exception: whatever the teacher raises; the basis has not changed then.
    """
    if language is None:
        return None
    names = classes.row_names()
    if not from_images:
        return language.latents_of(names)
    further = [config.unlabelled] if names and config.unlabelled else []
    return language.directions_of([*names, *further])


def follow_classes(
    trainer: Trainer,
    classes: ClassTable,
    language: LanguageBasis | None,
    latents: Float[Tensor, "C D"] | None,
    temperature: float,
) -> None:
    """Adapt the label head and the language targets of a trainer to a class table.

    If language is learnt from images, the rows of the label head are the latents of the class
    names, divided by ``temperature``; otherwise the label head is enlarged.

    Args:
        latents: latents of the table's names, see ``embedded``.
        temperature: temperature of the label head if language is learnt from images; 0 = 1.
    """
    count = len(classes)
    if latents is None or language is None:
        trainer.grow_classes(count)
        return
    known, rows = trainer.class_latents, latents[:count]
    trainer.class_latents, trainer.rank = rows, language.rank
    if trainer.language is None or torch.equal(known, rows):
        trainer.grow_classes(count)
        return
    trainer.set_label_rows(rows / (temperature or 1.0))
    trainer.language.set_vocabulary(latents)
