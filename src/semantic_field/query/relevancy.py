"""How relevant every point of a map is to a text.

Two comparisons, and the worse one counts. *Fit*: a point must come close to the best answer
that anything known could give (see ``interpretation``); this is what says "not found". And the
relevancy of LERF (Kerr et al. 2023): a point must be nearer to the text than to every negative
text, ``min_i softmax(10 [fit, cos(negative_i, point)])``.

Cosines with a point's decoded embedding ``V z + m`` are taken in the latent space, so a point
costs D multiplications a text and is never decoded.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.map_state import LanguageSpace
from semantic_field.query.interpretation import TextSet, membership
from semantic_field.teachers.language import Calibration

LERF_TEMPERATURE = 10.0
NEGATIVE_MARGIN = 0.05
CHUNK = 1 << 15


class LatentIndex:
    """The latents of many points, ready for cosines with centred texts.

    ``|V z + m - c|`` depends on no text, so it is computed once.

    Args:
        latent: (N, D), any float type; kept, not copied.
        space: how latents are read.
        calibration: of the teacher that made the space.
    """

    def __init__(
        self, latent: NDArray[np.floating], space: LanguageSpace, calibration: Calibration
    ) -> None:
        self._latent = torch.from_numpy(np.ascontiguousarray(latent))
        self._basis = space.basis[:, : space.rank].float()
        self._mean = space.mean.float() - calibration.center
        self.calibration = calibration
        self._inverse_norm = torch.empty(len(latent))
        projected = self._basis.T @ self._mean
        offset = self._mean.square().sum()
        for part, used in self._chunks():
            squared = used.square().sum(1) + 2.0 * (used @ projected) + offset
            self._inverse_norm[part] = squared.clamp_min(1e-12).rsqrt()
        self._inverse_norm[self._inverse_norm > 1e5] = 0.0  # decodes to nothing

    def __len__(self) -> int:
        return len(self._latent)

    def _chunks(self):
        for start in range(0, len(self._latent), CHUNK):
            part = slice(start, start + CHUNK)
            yield part, self._latent[part, : self._basis.shape[1]].float()

    def cosines(self, texts: Float[Tensor, "Q E"]) -> Float[Tensor, "N Q"]:
        """Cosine of every point's decoded embedding with every centred unit text."""
        return torch.cat(list(self._cosine_chunks(texts)) or [torch.zeros(0, len(texts))])

    def _cosine_chunks(self, texts: Float[Tensor, "Q E"]):
        weights, offset = self._basis.T @ texts.T, texts @ self._mean
        for part, used in self._chunks():
            yield torch.addmm(offset, used, weights).mul_(self._inverse_norm[part, None])

    @torch.inference_mode()
    def relevancy(self, questions: list[TextSet]) -> Float[Tensor, "Q N"]:
        """Relevancy 0..1 of every point to every question; one pass over the points."""
        texts = torch.cat([_texts_of(question) for question in questions])
        result = torch.empty(len(questions), len(self))
        start = 0
        for cosine in self._cosine_chunks(texts):
            end, column = start + len(cosine), 0
            for row, question in enumerate(questions):
                width = len(_texts_of(question))
                result[row, start:end] = _score(
                    cosine[:, column : column + width], question, self.calibration
                )
                column += width
            start = end
        return result


def _texts_of(question: TextSet) -> Float[Tensor, "T E"]:
    meaning = question.meaning
    return torch.cat([meaning.embedding[None], meaning.anchors, question.negatives])


def _score(
    cosine: Float[Tensor, "N T"], question: TextSet, calibration: Calibration
) -> Float[Tensor, " N"]:
    """Relevancy of points from their cosines with the texts of one question."""
    count = len(question.meaning.fits)
    fit = cosine[:, 0]
    if count:
        anchored = membership(cosine[:, 1 : 1 + count], calibration) * question.meaning.fits
        fit = torch.maximum(fit, anchored.amax(1))
    goal = max(question.meaning.best, calibration.floor)
    score = torch.sigmoid(calibration.sharpness * (fit - goal + calibration.margin))
    if cosine.shape[1] > 1 + count:
        worst = cosine[:, 1 + count :].amax(1) + NEGATIVE_MARGIN
        score = torch.minimum(score, torch.sigmoid(LERF_TEMPERATURE * (fit - worst)))
    return score
