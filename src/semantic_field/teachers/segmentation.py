"""Label images made by networks with a fixed list of classes: result, interface, class names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semantic_field.teachers.feature_store import Arrays
from semantic_field.teachers.naming import spoken

NO_LABEL = -1
_UNNAMED = re.compile(r"label[_ ]?\d+", re.IGNORECASE)
_PARTS = re.compile(r"[\s\-_]+(other|merged|stuff)\b")  # of names in COCO: "wall-other-merged"


@dataclass(frozen=True)
class Segmentation:
    """The labels of one image.

    Attributes:
        labels: int16 (H, W), class ids of the network, ``NO_LABEL`` = none.
        doubts: uint8 (H, W), doubt in each label: 0 = certain, 255 = no idea; it is
            255 (1 - confidence), and the weight of a label is 1 - doubt / 255.
        instances: int16 (H, W), number of the thing that a pixel shows, -1 = none; None if the
            network does not tell things of a class apart.
    """

    labels: NDArray[np.int16]
    doubts: NDArray[np.uint8]
    instances: NDArray[np.int16] | None = None

    def arrays(self) -> Arrays:
        """Return the images by name, for a feature store."""
        found = {"labels": self.labels, "doubts": self.doubts}
        return found if self.instances is None else found | {"instances": self.instances}

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> Segmentation:
        """Rebuild what ``arrays`` returned."""
        images = {name: np.array(array) for name, array in arrays.items()}
        return cls(images["labels"], images["doubts"], images.get("instances"))


class Segmenter(Protocol):
    """A frozen network that labels images.

    Attributes:
        name: short, for messages.
        names: name of each class id, in plain words.
        fingerprint: equal if two segmenters give equal labels.
    """

    name: str
    names: dict[int, str]
    fingerprint: str

    def segment(self, color: NDArray[np.uint8]) -> Segmentation:
        """Return the labels of an RGB image (H, W, 3), at its own size."""
        ...


def doubts_of(confidence: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the doubts (H, W) for confidences (H, W) in 0..1."""
    return np.rint(255.0 * (1.0 - np.clip(confidence, 0.0, 1.0))).astype(np.uint8)


def names_in_words(names: Mapping[int, str], where: str) -> dict[int, str]:
    """Return the class names of a network in plain words.

    The first of several alternatives is taken ("screen door, screen"), and additions that only
    data sets know are left out ("wall-other-merged").

    Args:
        names: as its configuration has them. where: the file of the names, for the error.
    Raises:
        ValueError: if there are no names, or only numbers.
    """
    if not names or all(_UNNAMED.fullmatch(name.strip()) for name in names.values()):
        got = ", ".join(list(names.values())[:3]) or "none"
        raise ValueError(
            f"expected names of the classes in {where}, got {got}: write them there, one for each "
            "class of the network"
        )
    return {i: spoken(_PARTS.sub("", name.split(",")[0].strip())) for i, name in names.items()}
