"""A *simulated teacher*: true CLIP text features, seen through a simulation of CLIP's mistakes.

Where no CLIP checkpoint is at hand, a label image says what each pixel shows, and the class's real
text feature stands for what CLIP would say of it. That is then broken in the ways in which CLIP
over crops breaks:

- **coarse patches**: crops at three scales by OV-NeRF's rule (patch = shorter side // {5, 7, 10}
  of the image made 8 times smaller, stride = patch // 4, each side moved outwards by up to a
  stride); a crop's feature mixes what it shows, and a cell gets the mean over all crops around it;
- **confusion**: in each view a class may look like another one, drawn in proportion to
  ``exp(cosine / temperature)`` of the true text features;
- **bias of a view**: one offset in all features of an image;
- **noise** of each crop.

What is drawn depends on the seed and the image alone. Figures made with it are of a "simulated
teacher": they say how mapping deals with such mistakes, and nothing about CLIP itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.teachers.language import CELL, CLIP_MARGIN, CROP, NO_NAMES
from semantic_field.teachers.precomputed_texts import VocabularyTeacher

# Names of the test recordings that the published list of features lacks, and what stands for them.
STAND_INS = {
    "wall": "building",
    "floor": "doormat",
    "ceiling": "ceiling fan",
    "rug": "carpet",
    "exercise machine": "treadmill",
    "kitchen cabinet": "cupboard",
    "kitchen utensils": "cooking utensil",
    "range hood": "fume hood",
    "seasoning box": "spice rack",
    "security camera": "surveillance camera",
    "night stand": "nightstand",
    "photo frame": "picture frame",
    "picture": "painting",
    "shoe rack": "bookcase",
    "tv cabinet": "cabinetry",
    "wall lamp": "lamp",
}


@dataclass(frozen=True)
class Strength:
    """How strongly the simulated teacher errs. Set once (see docs/open_vocabulary.md).

    Attributes:
        confusion: chance that a class looks like another one in a view.
        temperature: of the choice of that other one; small = only the most similar names.
        blend: share of the other one's feature where a class is confused.
        bias: length of a view's offset, of unit features.
        noise: length of a crop's noise.
        dominance: power of a class's share in a crop; above 1 the largest one wins.
    """

    confusion: float = 0.8
    temperature: float = 0.1
    blend: float = 0.6
    bias: float = 1.0
    noise: float = 8.0
    dominance: float = 1.0


DIVISORS = (10, 7, 5)  # from the smallest surroundings to the largest
NOISE_DIRECTIONS = 64


class SimulatedTeacher(VocabularyTeacher):
    """See the module. Texts are looked up as in ``VocabularyTeacher``; images need labels.

    Args:
        path: features of names, see ``VocabularyTeacher``.
        seed: of everything drawn.
    """

    name = "simulated teacher"
    footprint = tuple(CROP / divisor for divisor in DIVISORS)

    def __init__(self, path: str, seed: int = 0, strength: Strength | None = None) -> None:
        super().__init__(path)
        self.calibration = replace(self.calibration, relative=True, margin=CLIP_MARGIN)
        self.strength, self._seed = strength or Strength(), seed
        for name, stand_in in STAND_INS.items():
            if stand_in in self._index:
                self._index.setdefault(name, self._index[stand_in])
        how = hashlib.sha256(repr((seed, *asdict(self.strength).values())).encode()).hexdigest()
        self.fingerprint = f"simulated:{self.fingerprint}:{how[:8]}"
        random = np.random.default_rng(seed)
        directions = random.standard_normal((NOISE_DIRECTIONS, len(self._features)))
        mixed = directions.astype(np.float32) @ (self._features - self._features.mean(0)).numpy()
        self._directions = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)

    def embed_image(
        self,
        color: NDArray[np.uint8],
        labels: NDArray[np.int32] | None = None,
        label_names: Mapping[int, str] = NO_NAMES,
    ) -> Float[Tensor, "3 h w E"]:
        """What CLIP over crops might say of an image whose pixels show ``labels`` (H, W)."""
        if labels is None:
            raise ValueError(
                "expected a label image for the simulated teacher, got none: use a recording with "
                "labels, or a real checkpoint (teacher.kind open_clip)"
            )
        digest = hashlib.blake2b(np.ascontiguousarray(labels).data, digest_size=8).digest()
        random = np.random.default_rng([self._seed, int.from_bytes(digest, "little")])
        share, vectors = self._shown(labels, label_names)
        seen = self._confused(vectors, random)
        bias = self.strength.bias * _unit(random.standard_normal(NOISE_DIRECTIONS))
        basis = np.concatenate([seen, self._directions])
        scales = [self._scale(share, divisor, bias, random) for divisor in DIVISORS]
        features = torch.from_numpy(np.stack(scales)) @ torch.from_numpy(basis)
        return torch.nn.functional.normalize(features, dim=-1)

    def _shown(
        self, labels: NDArray[np.int32], names: Mapping[int, str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Share of each named class in each cell (h, w, C), and the classes' features (C, E)."""
        present = [i for i in np.unique(labels).tolist() if i in names and self.knows(names[i])]
        h, w = (max(1, side // CELL) for side in labels.shape)
        rows = (np.arange(labels.shape[0]) * h) // labels.shape[0]
        columns = (np.arange(labels.shape[1]) * w) // labels.shape[1]
        cell = rows[:, None] * w + columns
        row = np.full(int(labels.max()) + 2, -1)
        row[present] = np.arange(len(present))
        row = row[labels]
        counted = np.bincount(
            (cell * len(present) + row)[row >= 0], minlength=h * w * len(present)
        ).reshape(h, w, -1)
        share = counted / np.maximum(np.bincount(cell.ravel()).reshape(h, w, 1), 1)
        texts = [names[i] for i in present]
        vectors = self.embed_text(texts).numpy() if texts else np.zeros((0, self.dim), np.float32)
        return share.astype(np.float32), vectors

    def _confused(
        self, vectors: NDArray[np.float32], random: np.random.Generator
    ) -> NDArray[np.float32]:
        """The features of the classes as they look in one view."""
        known, how = self._features.numpy(), self.strength
        seen = vectors.copy()
        for row, vector in enumerate(vectors):
            chance = np.exp((known @ vector - 1.0) / how.temperature).astype(np.float64)
            chance[known @ vector > 0.999] = 0.0  # itself
            other = known[random.choice(len(known), p=chance / chance.sum())]
            if random.random() < how.confusion:
                seen[row] = (1.0 - how.blend) * vector + how.blend * other
        return seen

    def _scale(
        self,
        share: NDArray[np.float32],
        divisor: int,
        bias: NDArray[np.float32],
        random: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Weights (h, w, C + directions) of the features at one scale of crops."""
        h, w, _ = share.shape
        low, high = _crops(h, w, divisor, random)
        shown = _box_sums(share, low, high) ** self.strength.dominance
        shown /= np.maximum(shown.sum(1, keepdims=True), 1e-9)
        noise = _unit(random.standard_normal((len(low), NOISE_DIRECTIONS)))
        crops = np.concatenate([shown, bias + self.strength.noise * noise], axis=1)
        total = _spread(np.concatenate([crops, np.ones((len(low), 1))], 1), low, high, h, w)
        return (total[..., :-1] / np.maximum(total[..., -1:], 1)).astype(np.float32)


def _crops(
    h: int, w: int, divisor: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Corners (N, 2) of overlapping crops: first row and column, and those behind the last."""
    patch = max(1, min(h, w) // divisor)
    stride = max(1, patch // 4)
    starts = [np.unique(np.append(np.arange(0, n - patch + 1, stride), n - patch)) for n in (h, w)]
    low = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 2)
    jitter = random.integers(0, patch // 4 + 1, (2, len(low), 2))
    return np.maximum(low - jitter[0], 0), np.minimum(low + patch + jitter[1], [h, w])


def _box_sums(image: NDArray, low: NDArray, high: NDArray) -> NDArray[np.float64]:
    """Sums (N, C) of an image (h, w, C) over boxes."""
    integral = np.pad(image.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    (top, left), (bottom, right) = low.T, high.T
    return np.maximum(
        integral[bottom, right] - integral[top, right] - integral[bottom, left]
        + integral[top, left], 0.0,
    )  # fmt: skip


def _spread(values: NDArray, low: NDArray, high: NDArray, h: int, w: int) -> NDArray[np.float64]:
    """The sum (h, w, F) of values (N, F) over all boxes that cover a cell."""
    change = np.zeros((h + 1, w + 1, values.shape[1]))
    (top, left), (bottom, right) = low.T, high.T
    np.add.at(change, (top, left), values)
    np.add.at(change, (bottom, right), values)
    np.add.at(change, (top, right), -values)
    np.add.at(change, (bottom, left), -values)
    return change.cumsum(0).cumsum(1)[:h, :w]


def _unit(vectors: NDArray) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
