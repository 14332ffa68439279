"""How relevant every point of a map is to a text.

Two comparisons, and the worse one counts. *Fit*: a point must come close to the best answer
that anything known could give (see ``interpretation``); this is what says "not found". And the
relevancy of LERF (Kerr et al. 2023): a point must be nearer to the text than to every negative
text, ``min_i softmax(10 [fit, cos(negative_i, point)])``.

Cosines with a point's decoded embedding ``V z + m``, made unit length and centred as texts are, are
taken in the latent space, so a point costs D multiplications a text and is never decoded. (Latents
learnt from images say with their direction alone what they mean.)
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
CHUNK = 1 << 17


class LatentIndex:
    """The latents of many points, ready for cosines with centred texts.

    Lengths depend on no text, so they are computed once.

    Args:
        latent: (N, D), any float type; kept as float32 of the dimensions in use.
        space: how latents are read.
        calibration: of the teacher that made the space.
        classes: centred unit embeddings (C, E) of the map's class names, if it has any. Where
            most points stand for one of them, points answer as their class does.
    """

    def __init__(
        self,
        latent: NDArray[np.floating],
        space: LanguageSpace,
        calibration: Calibration,
        classes: Float[Tensor, "C E"] | None = None,
    ) -> None:
        self._basis = space.basis[:, : space.rank].float()
        self._mean, self._center = space.mean.float(), calibration.center.float()
        self.calibration = calibration
        self._units = self._unit_columns(torch.from_numpy(np.ascontiguousarray(latent)))
        self._classes = self._assign(classes) if classes is not None and len(classes) else None

    def __len__(self) -> int:
        return self._units.shape[1]

    def _unit_columns(self, latent: Float[Tensor, "N D"]) -> Float[Tensor, "U N"]:
        """[z / n, 1 / n, 1] / d of every point, with n = |V z + m| and d = |(V z + m) / n - c|.

        [V'q, q.m, -q.c] times it is the cosine with q. Points lie along the rows, in which way a
        few texts at a time are multiplied fastest.
        """
        rank, mean, center = self._basis.shape[1], self._mean, self._center
        units = torch.empty(rank + 2, len(latent))
        of_mean, of_center = self._basis.T @ mean, self._basis.T @ center
        for start in range(0, len(latent), CHUNK):
            part = slice(start, start + CHUNK)
            used = latent[part, :rank].float()
            squared = used.square().sum(1) + 2.0 * (used @ of_mean) + mean.square().sum()
            length = squared.clamp_min(1e-12).rsqrt()
            along = (used @ of_center + mean @ center) * length
            apart = (1.0 - 2.0 * along + center.square().sum()).clamp_min(1e-6).rsqrt()
            apart[squared < 1e-10] = 0.0  # decodes to nothing
            units[:rank, part] = (used * (length * apart)[:, None]).T
            units[rank, part], units[rank + 1, part] = length * apart, apart
        return units

    @torch.inference_mode()
    def _assign(self, classes: Float[Tensor, "C E"]) -> tuple[Tensor, Tensor] | None:
        """The class of each point and how far it is one (N,), or None where they mostly are not."""
        parts = [cosine.max(0) for cosine in self._cosine_chunks(classes)]
        if not parts:
            return None
        cosine = torch.cat([part.values for part in parts])
        share = membership(cosine, self.calibration)
        if (share > 0.5).float().mean() < 0.5:
            return None
        return torch.cat([part.indices for part in parts]).int(), share

    def cosines(self, texts: Float[Tensor, "Q E"]) -> Float[Tensor, "N Q"]:
        """Cosine of every point's decoded embedding with every centred unit text."""
        parts = list(self._cosine_chunks(texts)) or [torch.zeros(len(texts), 0)]
        return torch.cat(parts, dim=1).T

    def _cosine_chunks(self, texts: Float[Tensor, "Q E"]):
        """Cosines (Q, n) with the points of one chunk after the other."""
        offsets = torch.stack([texts @ self._mean, -(texts @ self._center)], dim=1)
        weights = torch.cat([texts @ self._basis, offsets], dim=1)
        for start in range(0, len(self), CHUNK):
            yield weights @ self._units[:, start : start + CHUNK]

    @torch.inference_mode()
    def relevancy(self, questions: list[TextSet]) -> Float[Tensor, "Q N"]:
        """Relevancy 0..1 of every point to every question; one pass over the points."""
        by_class = self._classes is not None
        columns = [_texts_of(question, by_class) for question in questions]
        result = torch.empty(len(questions), len(self))
        start = 0
        for cosine in self._cosine_chunks(torch.cat(columns)):
            part = slice(start, start + cosine.shape[1])
            own = cosine.split([len(texts) for texts in columns])
            for row, (question, cosines) in enumerate(zip(questions, own, strict=True)):
                result[row, part] = self._score(cosines, question, part)
            start += cosine.shape[1]
        return result

    def _score(
        self, cosine: Float[Tensor, "T N"], question: TextSet, part: slice
    ) -> Float[Tensor, " N"]:
        """Relevancy of a part of the points from their cosines with one question's texts."""
        meaning, limits = question.meaning, self.calibration
        anchors = cosine[1 : len(cosine) - len(question.negatives)]
        fit = cosine[0]
        if self._classes is not None:
            index, share = self._classes
            fit = torch.maximum(fit, meaning.class_fits.index_select(0, index[part]) * share[part])
        elif len(anchors):
            meant = membership(anchors, limits) * meaning.fits[:, None]
            fit = torch.maximum(fit, meant.amax(0))
        gap = max(meaning.best, limits.floor) - fit
        score = torch.sigmoid(limits.sharpness * (limits.margin - gap))
        if len(question.negatives):
            worst = cosine[-len(question.negatives) :].amax(0) + NEGATIVE_MARGIN
            score = torch.minimum(score, torch.sigmoid(LERF_TEMPERATURE * (fit - worst)))
        return score


def _texts_of(question: TextSet, by_class: bool) -> Float[Tensor, "T E"]:
    """The text, its anchors where points do not stand for classes, and the negatives."""
    meaning = question.meaning
    anchors = meaning.anchors[:0] if by_class else meaning.anchors
    return torch.cat([meaning.embedding[None], anchors, question.negatives])
