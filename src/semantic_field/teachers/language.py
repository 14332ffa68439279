"""What a language teacher is: the frozen model that puts texts and images into one space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.teachers.household import Thing

NO_NAMES: Mapping[int, str] = MappingProxyType({})


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
        relative: embeddings of images come near to no text: what counts is to which of the map's
            names a point is nearest, not how near.
    """

    center: Float[Tensor, " E"]
    distinct: float
    same: float
    floor: float
    margin: float
    sharpness: float
    relative: bool = False


class LanguageTeacher(Protocol):
    """A frozen model with a text side and, for some, an image side.

    Attributes:
        name: short, for messages.
        dim: length E of an embedding.
        fingerprint: equal where two teachers give equal embeddings; stored with every map.
        calibration: how similarities are read.
        things: common things to hold a text against, in the map or not.
        footprint: edge of the crops through which a cell of each scale is seen, as a share of the
            image's shorter side; empty where a cell is seen by itself.
    """

    name: str
    dim: int
    fingerprint: str
    things: tuple[Thing, ...]
    footprint: tuple[float, ...]

    @property
    def calibration(self) -> Calibration: ...

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
        color: NDArray[np.uint8],
        labels: NDArray[np.int32] | None = None,
        label_names: Mapping[int, str] = NO_NAMES,
    ) -> Float[Tensor, "S h w E"]:
        """Dense embeddings of an RGB image (H, W, 3), on a grid of h x w cells, at S scales.

        The cells tile the image evenly: cell (i, j) is the box of rows [i H / h, (i + 1) H / h)
        and columns [j W / w, (j + 1) W / w); ``cells_of`` maps pixels to cells. Scales go from
        the smallest surroundings of a cell to the largest; S is 1 for most teachers.

        Returns:
            float16 or float32, each cell of each scale of unit length, or all zeros where the
            teacher has nothing to say.
        Args:
            labels: class ids (H, W), -1 = void, for teachers that read them off.
        """
        ...


@runtime_checkable
class Doubter(Protocol):
    """A language teacher that can tell that it hardly understands a text."""

    def doubt(self, text: str) -> str:
        """Why the teacher hardly understands a text; empty where nothing speaks for that."""
        ...


@runtime_checkable
class ImageRecogniser(Protocol):
    """A language teacher that says what an image as a whole shows."""

    def recognise(self, color: NDArray[np.uint8], texts: list[str]) -> Float[Tensor, " Q"]:
        """How likely an RGB image (H, W, 3) shows each of these texts, and no other; sum 1."""
        ...


def cells_of(
    pixels: NDArray[np.integer], image_size: tuple[int, int] | NDArray, grid_size: tuple[int, int]
) -> NDArray[np.int64]:
    """The cell (..., 2) = row, column that holds each pixel (..., 2) = row, column.

    Args:
        image_size: H, W of the image, or (..., 2) of each pixel's own one.
        grid_size: h, w of its dense embeddings.
    """
    size, grid = np.asarray(image_size), np.asarray(grid_size)
    return np.asarray(((2 * pixels + 1) * grid) // (2 * size), np.int64)


# Of 42 pairs of LVIS synonyms in the text space of CLIP ViT-B/32, .67 have a centred cosine above
# 1 - 0.55; of a name and the nearest of 30 others, .05 do.
CLIP_MARGIN = 0.55
CELL = 8
CROP = 1.25  # mean edge of a crop whose sides are moved outwards by up to a quarter of it


def embed_label_image(
    teacher: LanguageTeacher, labels: NDArray[np.int32] | None, label_names: Mapping[int, str]
) -> Float[Tensor, "1 h w E"]:
    """The embedding of the class name at the middle of each cell of about ``CELL`` pixels.

    Void pixels and ids without a name give zeros.

    Raises:
        ValueError: where there are no labels.
    """
    if labels is None:
        raise ValueError(
            f"expected a label image for the teacher {teacher.name!r}, got none: publish "
            "labels/image with labels/label_info, or set teacher.kind to none"
        )
    rows, columns = (_middles(side) for side in labels.shape)
    cells = labels[np.ix_(rows, columns)]
    ids, index = np.unique(cells, return_inverse=True)
    table = torch.zeros(len(ids), teacher.dim)
    named = [i for i, class_id in enumerate(ids.tolist()) if class_id in label_names]
    if named:
        table[named] = teacher.embed_text([label_names[int(ids[i])] for i in named])
    return table[torch.from_numpy(index.reshape(cells.shape))][None]


def _middles(pixels: int) -> NDArray[np.int64]:
    """The pixel in the middle of each of the cells that one side of an image is tiled with."""
    cells = max(1, round(pixels / CELL))
    return (2 * np.arange(cells) + 1) * pixels // (2 * cells)
