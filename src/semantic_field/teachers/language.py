"""What a language teacher is: the frozen model that puts texts and images into one space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.config import TeacherConfig
from semantic_field.teachers.household import Thing


@dataclass(frozen=True)
class Calibration:
    """How similarities of a teacher's space are read.

    Attributes:
        center: float32 (E,), subtracted from every embedding before cosines are taken; spaces
            in which everything is similar to everything (CLIP) need it.
        distinct: up to this cosine two names mean different things.
        same: from this cosine on two names mean the same thing.
        floor: how well a text must fit something to mean anything.
        margin: a point answers a text where its fit is less than this below the best fit that
            anything, in the map or not, could have.
        sharpness: steepness of the score around that margin.
    """

    center: Float[Tensor, " E"]
    distinct: float
    same: float
    floor: float
    margin: float
    sharpness: float


class LanguageTeacher(Protocol):
    """A frozen model with a text side and, for some, an image side.

    Attributes:
        name: short, for messages.
        dim: length E of an embedding.
        fingerprint: equal where two teachers give equal embeddings; stored with every map.
        calibration: how similarities are read.
        things: common things to hold a text against, in the map or not.
    """

    name: str
    dim: int
    fingerprint: str
    calibration: Calibration
    things: tuple[Thing, ...]

    def knows(self, text: str) -> bool:
        """Whether ``embed_text`` takes this text."""
        ...

    def embed_text(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """One L2-normalised float32 embedding for each text or class name.

        Raises:
            ValueError: on an empty text, or one that the teacher does not know.
        """
        ...

    def embed_image(
        self,
        image: NDArray[np.uint8],
        labels: NDArray[np.int32] | None,
        label_names: dict[int, str],
    ) -> Float[Tensor, "h w E"]:
        """Embeddings of an RGB image (H, W, 3), on a grid of cells of ``CELL`` pixels.

        ``labels`` (H, W) are class ids, -1 = void. A cell without a meaning is all zeros.
        """
        ...


CELL = 8


def embed_label_image(
    teacher: LanguageTeacher, labels: NDArray[np.int32] | None, label_names: dict[int, str]
) -> Float[Tensor, "h w E"]:
    """The embedding of the class name at the middle of each cell of ``CELL`` pixels.

    Void pixels and ids without a name give zeros.

    Raises:
        ValueError: where there are no labels.
    """
    if labels is None:
        raise ValueError(
            f"expected a label image for the teacher {teacher.name!r}, got none: publish "
            "labels/image with labels/label_info, or set teacher.kind to none"
        )
    cells = labels[CELL // 2 :: CELL, CELL // 2 :: CELL]
    ids, index = np.unique(cells, return_inverse=True)
    table = torch.zeros(len(ids), teacher.dim)
    named = [i for i, class_id in enumerate(ids.tolist()) if class_id in label_names]
    if named:
        table[named] = teacher.embed_text([label_names[int(ids[i])] for i in named])
    return table[torch.from_numpy(index.reshape(cells.shape))]


def make_language_teacher(config: TeacherConfig) -> LanguageTeacher | None:
    """The teacher that ``config.kind`` names; None where that is "none".

    Raises:
        ValueError: where its files are missing or damaged, with the option and the remedy.
    """
    if config.kind == "label_text":
        from semantic_field.teachers.label_text import LabelTextTeacher

        return LabelTextTeacher(config.path)
    if config.kind == "vocabulary":
        from semantic_field.teachers.vocabulary import VocabularyTeacher

        return VocabularyTeacher(config.path)
    return None
