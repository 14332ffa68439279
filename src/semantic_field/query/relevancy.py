"""Relevancy of every map point to a text.

The relevancy is the minimum of two scores:

- *Fit*: a point's fit to the text must be close to the best fit of anything known (see
  ``interpretation``); this is what allows the answer "not found". With a relative calibration a
  point has a probability for each class name: its score is the sum of the classes' scores weighted
  by these. A text that matches none of the map's names is treated as one more class.
- The relevancy of LERF (Kerr et al. 2023): a point must be more similar to the text than to every
  negative text, ``min_i softmax(10 [fit, cos(negative_i, point)])``.

Cosines with a point's embedding ``V z + m``, normalised and centred like texts, are computed in the
latent space: a point costs D multiplications per text and is never decoded. (Of latents learnt from
images only the direction has a meaning.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.map_state import LanguageSpace
from semantic_field.kernels.device_memory import Halving
from semantic_field.kernels.host_memory import to_host
from semantic_field.kernels.precision import product_type
from semantic_field.query.interpretation import Interpretation, TextSet, membership
from semantic_field.teachers.language import Calibration

T = TypeVar("T")
LERF_TEMPERATURE = 10.0
NEGATIVE_MARGIN = 0.05
TOLD_APART = 0.05  # softmax temperature of centred cosines, if the map has not learnt one
ASKED = 3.0  # factor on the odds of an asked class: a query is evidence that it is present
CHUNK = 1 << 17  # points processed at once: their scores stay in a processor's cache
GPU_CHUNK = 1 << 20  # enough points to keep a GPU busy
LEAST_CHUNK = 1 << 12
MEMORY_REMEDY = "end what else uses the device"
Cosines = tuple[Float[Tensor, "T n"], ...]  # with each question's texts
# For a chunk of the points, for each question: fit, and probability to be an answer.
Scores = Callable[[Cosines, slice], Iterable[tuple[Tensor, Tensor]]]


class PreparedLatents:
    """Latents of many points on one device, preprocessed for cosines with centred texts.

    Norms do not depend on the text and are computed once. Where the device has not enough memory
    for a chunk of the points, chunks become smaller.

    Args:
        device: for the products. For all others see ``LatentIndex``.
    Raises:
        DeviceMemoryError, torch.OutOfMemoryError: if the device has not enough memory, also by
            ``cosines`` and ``relevancy``.
    """

    def __init__(
        self,
        latent: NDArray[np.floating],
        space: LanguageSpace,
        calibration: Calibration,
        classes: Float[Tensor, "C E"] | None,
        dtype: torch.dtype | None,
        device: torch.device,
    ) -> None:
        self.device = device
        on_cpu = self.device.type == "cpu"
        self._dtype = dtype or (product_type() if on_cpu else torch.float16)
        self._at_once = _chunks_of(CHUNK if on_cpu else GPU_CHUNK)
        self._basis = space.basis[:, : space.rank].float().to(self.device)
        self._mean = space.mean.float().to(self.device)
        self._center = calibration.center.float().to(self.device)
        self.calibration = calibration
        self._units = self._unit_columns(torch.from_numpy(np.ascontiguousarray(latent)))
        if classes is not None and not len(classes):
            classes = None
        self._classes = self._chance = None
        self._temperature = space.temperature or TOLD_APART
        self._learnt = bool(space.temperature)
        self._worst = torch.zeros(0), torch.zeros(0)
        if classes is not None and calibration.relative:
            self._chance, self._total = self._tell_apart(classes)
        elif classes is not None:
            self._classes = self._assign(classes)

    def __len__(self) -> int:
        return self._units.shape[1]

    def _unit_columns(self, latent: Float[Tensor, "N D"]) -> Float[Tensor, "U N"]:
        """Return [z / n - V'c, 1 / n, 1] / d of every point.

        Here n = |V z + m| and d = |(V z + m) / n - c|. The product with
        [V'q, q.m, -q.(c - V V'c)] is the cosine with q. This form has no large terms that cancel,
        which float16 could not represent. Points are columns, which is the fastest layout for
        products with a few texts.
        """
        rank, mean = self._basis.shape[1], self._mean
        units = torch.empty(rank + 2, len(latent), dtype=self._dtype, device=self.device)
        of_mean, inside = self._basis.T @ mean, self._basis.T @ self._center

        def fill(part: slice) -> None:
            used = latent[part, :rank].to(self.device).float()
            used = torch.where(used.isfinite().all(1, keepdim=True), used, 0.0)
            squared = used.square().sum(1) + 2.0 * (used @ of_mean) + mean.square().sum()
            length = squared.clamp_min(1e-9).rsqrt()  # float16 ends at 65504
            along = (used @ inside + mean @ self._center) * length
            apart = 1.0 - 2.0 * along + self._center.square().sum()
            apart = apart.clamp_min(1e-6).rsqrt()
            apart[squared < 1e-10] = 0.0  # decodes to nothing
            units[:rank, part] = ((used * length[:, None] - inside) * apart[:, None]).T
            units[rank, part], units[rank + 1, part] = length * apart, apart

        _chunks_of(CHUNK).parts(fill, len(latent))
        return units

    @torch.inference_mode()
    def _assign(self, classes: Float[Tensor, "C E"]) -> tuple[Tensor, Tensor] | None:
        """Return class (N,) and membership (N,) of points; None if most belong to no class."""
        parts = self._in_chunks(classes, lambda part, cosine: cosine.max(0))
        if not parts:
            return None
        cosine = torch.cat([part.values for part in parts])
        share = membership(cosine, self.calibration)
        if (share > 0.5).float().mean() < 0.5:
            return None
        return torch.cat([part.indices for part in parts]).int(), share

    @torch.inference_mode()
    def _tell_apart(
        self, classes: Float[Tensor, "C E"]
    ) -> tuple[Float[Tensor, "C N"], Float[Tensor, " N"]]:
        """Return each point's class probabilities (C, N), and the log of the softmax sum (N,)."""
        chance = torch.empty(len(classes), len(self), dtype=torch.float16, device=self.device)
        total = torch.empty(len(self), device=self.device)
        uncentred = self._uncentred(classes)
        held = (uncentred @ self._basis).norm(dim=1, keepdim=True)  # 1: the text is in the span

        def fill(part: slice, cosine: Float[Tensor, "C n"]) -> None:
            logits = self._logits(cosine, uncentred, part)
            if self._learnt:
                logits /= held.clamp_min(1e-3)  # the map learnt texts projected onto its basis
            total[part] = logits.logsumexp(0)
            chance[:, part] = (logits - total[part]).exp()

        self._in_chunks(classes, fill)
        return chance, total

    def _uncentred(self, texts: Float[Tensor, "Q E"]) -> Float[Tensor, "Q E"]:
        """Undo the centring of unit texts q: return t = q |t - c| + c, of unit length."""
        texts, center = texts.to(self.device), self._center
        along = (texts @ center)[:, None]
        return texts * ((along.square() + 1.0 - center.square().sum()).sqrt() - along) + center

    def _logits(
        self, cosine: Float[Tensor, "Q N"], texts: Float[Tensor, "Q E"], part: slice
    ) -> Float[Tensor, "Q N"]:
        """Return the logits of (uncentred) texts for a chunk of the points: cosine / temperature.

        If the map was trained with a softmax over names, cosines must be uncentred as in training.
        They follow from the centred ones (n.q):
        p.t = |p - c| |t - c| n.q + p.c + t.c - c.c, and 2 p.c = 1 + c.c - |p - c|^2.
        """
        if self._learnt:
            inverse, center = self._units[-1, part].float(), self._center
            apart = torch.where(inverse > 0, 1.0 / inverse, 0.0)  # 0: decodes to nothing
            length = (texts - center).norm(dim=1)[:, None]
            of_point = 0.5 * (1.0 - center.square().sum() - apart.square())
            cosine = length * apart * cosine + of_point + (texts @ center)[:, None]
        return cosine / self._temperature

    def cosines(self, texts: Float[Tensor, "Q E"]) -> Float[Tensor, "N Q"]:
        """Return the cosine (N, Q) of every point's centred embedding with every centred text."""
        parts = self._in_chunks(texts, lambda part, cosine: cosine)
        parts = parts or [torch.zeros(len(texts), 0)]
        return torch.cat(parts, dim=1).T.cpu()

    def _in_chunks(
        self, texts: Float[Tensor, "Q E"], work: Callable[[slice, Float[Tensor, "Q n"]], T]
    ) -> list[T]:
        """Return ``work(chunk, cosines)`` for each chunk of the points.

        It is called again with a part of a chunk for which memory has run out.
        """
        texts = texts.to(self.device)
        outside = self._center - self._basis @ (self._basis.T @ self._center)
        offsets = torch.stack([texts @ self._mean, -(texts @ outside)], dim=1)
        weights = torch.cat([texts @ self._basis, offsets], dim=1).to(self._dtype)

        def work_on(part: slice) -> T:
            return work(part, (weights @ self._units[:, part]).float())

        return self._at_once.parts(work_on, len(self))

    @torch.inference_mode()
    def relevancy(self, questions: list[TextSet]) -> Float[Tensor, "Q N"]:
        """Return the relevancy, 0..1, of every point to every question in one pass; on the CPU."""
        meanings = [question.meaning for question in questions]
        columns = [self._texts_of(meaning) for meaning in meanings]
        worst = [self._worst_of(question.negatives) for question in questions]
        score = self._by_chance(meanings) if self._chance is not None else self._by_fit(meanings)
        result = torch.empty(len(questions), len(self), device=self.device)

        def fill(part: slice, cosine: Float[Tensor, "T n"]) -> None:
            own = cosine.split([len(texts) for texts in columns])
            for row, (fit, likely) in enumerate(score(own, part)):
                if len(questions[row].negatives):
                    ahead = fit - worst[row][part]
                    likely = torch.minimum(likely, torch.sigmoid(LERF_TEMPERATURE * ahead))
                result[row, part] = likely

        self._in_chunks(torch.cat(columns), fill)
        return to_host(result)[0]

    def _texts_of(self, meaning: Interpretation) -> Float[Tensor, "T E"]:
        """Return the texts that points are compared with: the text and its anchors, if used."""
        if self._chance is not None:
            return meaning.embedding if self._stands_alone(meaning) else meaning.anchors[:0]
        if self._classes is not None:
            return meaning.embedding
        return torch.cat([meaning.embedding, meaning.anchors])

    def _stands_alone(self, meaning: Interpretation) -> bool:
        """Return whether a text matches none of the map's class names."""
        return float(meaning.class_fits.max()) < self.calibration.same

    def _worst_of(self, negatives: Float[Tensor, "M E"]) -> Float[Tensor, " N"]:
        """Return each point's highest cosine with the negatives plus a margin; caches the last."""
        kept, worst = self._worst
        if len(negatives) and not torch.equal(kept, negatives):
            parts = self._in_chunks(negatives, lambda part, cosine: cosine.amax(0))
            worst = torch.cat(parts) + NEGATIVE_MARGIN if parts else torch.zeros(0)
            self._worst = negatives, worst
        return worst  # not ``self._worst``, which another thread may have replaced

    def _by_fit(self, meanings: list[Interpretation]) -> Scores:
        """Score points by their cosines with a text and its anchors, or by their class."""
        limits = self.calibration

        def score(own: Cosines, part: slice):
            for cosine, meaning in zip(own, meanings, strict=True):
                texts = len(meaning.embedding)
                fit, anchors = cosine[:texts].sum(0), cosine[texts:]  # one row, or none
                if self._classes is not None:
                    index, share = self._classes
                    fits = meaning.class_fits.to(self.device).index_select(0, index[part])
                    fit = torch.maximum(fit, fits * share[part])
                elif len(anchors):
                    meant = membership(anchors, limits) * meaning.fits.to(self.device)[:, None]
                    fit = torch.maximum(fit, meant.amax(0))
                yield fit, _answers(meaning, fit, limits)

        return score

    def _by_chance(self, meanings: list[Interpretation]) -> Scores:
        """Score points by their class probabilities."""
        assert self._chance is not None
        chance, limits = self._chance, self.calibration
        fits = torch.stack([m.class_fits for m in meanings]).to(self.device).clamp_min(0.0)
        worth = torch.stack([_answers(m, f, limits) for m, f in zip(meanings, fits, strict=True)])
        worth = worth * fits / fits.amax(1, keepdim=True).clamp_min(1e-6)
        best = worth.amax(1, keepdim=True).clamp_min(1e-6)
        names = torch.cat([fits, worth / best])
        texts = [self._uncentred(meaning.embedding) for meaning in meanings]

        def score(own: Cosines, part: slice):
            fit, likely = (names @ chance[:, part].float()).view(2, len(meanings), -1)
            likely = best * _asked(likely)
            for row, cosine in enumerate(own):
                if len(cosine):  # the text itself is one more class
                    logits = self._logits(cosine, texts[row], part)[0]
                    itself = torch.sigmoid(logits - self._total[part])
                    fit[row] += itself * (1.0 - fit[row])
                    likely[row] = torch.maximum(likely[row], _asked(itself))
            return zip(fit, likely, strict=True)

        return score


def _chunks_of(points: int) -> Halving:
    return Halving(points, LEAST_CHUNK, "points of the map", MEMORY_REMEDY)


def _asked(likely: Tensor) -> Tensor:
    """Multiply the odds of probabilities by ``ASKED``."""
    return ASKED * likely / (1.0 + (ASKED - 1.0) * likely)


def _answers(meaning: Interpretation, fit: Tensor, limits: Calibration) -> Tensor:
    """Return the probability that a fit is an answer, by its gap to the best possible fit."""
    gap = max(meaning.best, limits.floor) - fit
    return torch.sigmoid(limits.sharpness * (limits.margin - gap))
