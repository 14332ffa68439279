"""``LanguageTeacher``: interface of frozen models that embed texts and images in one space."""

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
    """Parameters for interpreting cosine similarities of a teacher.

    Attributes:
        center: float32 (E,), subtracted from every embedding before cosines are computed; needed
            for spaces in which all embeddings are similar (CLIP).
        distinct: largest cosine of two names with different meanings.
        same: smallest cosine of two names with the same meaning.
        floor: lower bound of the best fit of a text.
        margin: a point answers a text if its fit is less than this below the best fit of anything,
            in the map or not.
        sharpness: steepness of the score around that margin.
        relative: for teachers whose image embeddings are similar to no text: only the ranking of
            the map's names at a point counts, not the absolute cosine.
    """

    center: Float[Tensor, " E"]
    distinct: float
    same: float
    floor: float
    margin: float
    sharpness: float
    relative: bool = False


class LanguageTeacher(Protocol):
    """A frozen model with a text encoder and, for some, an image encoder.

    Attributes:
        name: short, for messages.
        dim: length E of an embedding.
        fingerprint: equal if two teachers give equal embeddings; stored with every map.
        calibration: parameters for interpreting similarities.
        things: common objects that a query text is compared with, in the map or not.
        footprint: for each scale the edge of the crops that a cell's embedding is computed from,
            as a share of the image's shorter side; empty if it depends on the cell only.
    """

    name: str
    dim: int
    fingerprint: str
    things: tuple[Thing, ...]
    footprint: tuple[float, ...]

    @property
    def calibration(self) -> Calibration: ...

    def knows(self, text: str) -> bool:
        """Return whether ``embed_text`` accepts this text."""
        ...

    def embed_text(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """Return one L2-normalised float32 embedding for each text or class name.

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
        """Return dense embeddings of an RGB image (H, W, 3), on a grid of h x w cells, at S scales.

        The cells tile the image evenly: cell (i, j) is the box of rows [i H / h, (i + 1) H / h)
        and columns [j W / w, (j + 1) W / w); ``cells_of`` maps pixels to cells. Scales are ordered
        from the smallest context of a cell to the largest; S is 1 for most teachers.

        Returns:
            float16 or float32, unit length for each cell and scale, or zeros where the teacher
            has no output.
        Args:
            labels, label_names: class ids (H, W), -1 = void, and names, for teachers that embed
                labels.
        Raises:
            ValueError: if the teacher needs labels and there are none.
        """
        ...


@runtime_checkable
class Doubter(Protocol):
    """A language teacher that can detect texts that it may not understand."""

    def doubt(self, text: str) -> str:
        """Return why the teacher may not understand a text, "" if it does."""
        ...


@runtime_checkable
class ImageRecogniser(Protocol):
    """A language teacher that can classify a whole image among texts."""

    def recognise(self, color: NDArray[np.uint8], texts: list[str]) -> Float[Tensor, " Q"]:
        """Return the probability that an RGB image (H, W, 3) shows each of these texts; sum 1."""
        ...


def cells_of(
    pixels: NDArray[np.integer], image_size: tuple[int, int] | NDArray, grid_size: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the cell (row, column) (..., 2) that contains each pixel (row, column) (..., 2).

    Args:
        image_size: H, W of the image, or (..., 2) for each pixel.
        grid_size: h, w of its dense embeddings.
    """
    size, grid = np.asarray(image_size), np.asarray(grid_size)
    return np.asarray(((2 * pixels + 1) * grid) // (2 * size), np.int64)


# With CLIP ViT-B/32, 67 % of 42 pairs of LVIS synonyms have a centred cosine above 1 - 0.55, and
# 5 % of the pairs of a name and the most similar of 30 other names.
CLIP_MARGIN = 0.55
CELL = 8
CROP = 1.25  # mean edge of a crop after its sides are moved outwards by up to a quarter of it


def embed_label_image(
    teacher: LanguageTeacher, labels: NDArray[np.int32] | None, label_names: Mapping[int, str]
) -> Float[Tensor, "1 h w E"]:
    """Return the embedding of the class name at the centre of each cell of about ``CELL`` pixels.

    Void pixels and ids without a name give zeros.

    Raises:
        ValueError: without labels.
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
    """Return the centre pixels of the cells along one side of an image."""
    cells = max(1, round(pixels / CELL))
    return (2 * np.arange(cells) + 1) * pixels // (2 * cells)
