"""How relevant every point of a map is to a text.

Two comparisons, and the worse one counts. *Fit*: a point must come close to the best answer
that anything known could give (see ``interpretation``); this is what says "not found". Where a
point may be one of several things, what each of them is worth as an answer counts as far as the
point is likely to be it; a text that none of the map's names means is one more thing that it may
be. And the relevancy of LERF (Kerr et al. 2023): a point must be nearer to the text than to every
negative text, ``min_i softmax(10 [fit, cos(negative_i, point)])``.

Cosines with a point's decoded embedding ``V z + m``, made unit length and centred as texts are, are
taken in the latent space, so a point costs D multiplications a text and is never decoded. (Latents
learnt from images say with their direction alone what they mean.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.map_state import LanguageSpace
from semantic_field.kernels.host_memory import to_host
from semantic_field.kernels.precision import product_type
from semantic_field.query.interpretation import Interpretation, TextSet, membership
from semantic_field.teachers.language import Calibration

LERF_TEMPERATURE = 10.0
NEGATIVE_MARGIN = 0.05
TOLD_APART = 0.05  # differences of centred cosines that tell two names apart
ASKED = 3.0  # the odds that a point is a thing, times this: who asks for it has a reason to
CHUNK = 1 << 17  # points at once: their scores stay in a processor's cache
GPU_CHUNK = 1 << 20  # what keeps a GPU busy
Cosines = tuple[Float[Tensor, "T n"], ...]  # of each question's texts
# Of a part of the points, for each question: how well they fit, and how likely they answer.
Scores = Callable[[Cosines, slice], Iterable[tuple[Tensor, Tensor]]]


class LatentIndex:
    """The latents of many points, ready for cosines with centred texts.

    Lengths depend on no text, so they are computed once.

    Args:
        latent: (N, D), any float type; only the dimensions in use are kept, in the type in which
            this machine multiplies faster (``kernels.precision``; float16 on a GPU).
        space: how latents are read.
        calibration: of the teacher that made the space.
        classes: centred unit embeddings (C, E) of the map's class names, if it has any. Where
            most points stand for one of them, points answer as their class does; with a relative
            calibration as far as they are likely to be each (2 C bytes a point).
        device: where the products are taken; a GPU where torch can use one. Results come back.
    """

    def __init__(
        self,
        latent: NDArray[np.floating],
        space: LanguageSpace,
        calibration: Calibration,
        classes: Float[Tensor, "C E"] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_cpu = self.device.type == "cpu"
        self._dtype = dtype or (product_type() if on_cpu else torch.float16)
        self._chunk = CHUNK if on_cpu else GPU_CHUNK
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
        """[z / n - V'c, 1 / n, 1] / d of every point: n = |V z + m|, d = |(V z + m) / n - c|.

        [V'q, q.m, -q.(c - V V'c)] times it is the cosine with q, without large terms that cancel
        each other (half floats would not stand that). Points lie along the rows, in which way a
        few texts at a time are multiplied fastest.
        """
        rank, mean = self._basis.shape[1], self._mean
        units = torch.empty(rank + 2, len(latent), dtype=self._dtype, device=self.device)
        of_mean, inside = self._basis.T @ mean, self._basis.T @ self._center
        for start in range(0, len(latent), CHUNK):
            part = slice(start, start + CHUNK)
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
        return units

    @torch.inference_mode()
    def _assign(self, classes: Float[Tensor, "C E"]) -> tuple[Tensor, Tensor] | None:
        """The class of each point and how far it is one (N,), or None where they mostly are not."""
        parts = [cosine.max(0) for _, cosine in self._cosine_chunks(classes)]
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
        """How likely each point is each of the names, and the logarithm of what that is out of."""
        chance = torch.empty(len(classes), len(self), dtype=torch.float16, device=self.device)
        total = torch.empty(len(self), device=self.device)
        uncentred = self._uncentred(classes)
        held = (uncentred @ self._basis).norm(dim=1, keepdim=True)  # 1 where the columns suffice
        for part, cosine in self._cosine_chunks(classes):
            logits = self._logits(cosine, uncentred, part)
            if self._learnt:
                logits /= held.clamp_min(1e-3)  # the map has learnt directions within its columns
            total[part] = logits.logsumexp(0)
            chance[:, part] = (logits - total[part]).exp()
        return chance, total

    def _uncentred(self, texts: Float[Tensor, "Q E"]) -> Float[Tensor, "Q E"]:
        """Centred unit texts as they were before: q |t - c| + c of unit length."""
        texts, center = texts.to(self.device), self._center
        along = (texts @ center)[:, None]
        return texts * ((along.square() + 1.0 - center.square().sum()).sqrt() - along) + center

    def _logits(
        self, cosine: Float[Tensor, "Q N"], texts: Float[Tensor, "Q E"], part: slice
    ) -> Float[Tensor, "Q N"]:
        """Of texts (uncentred) at a part of the points, as the map has learnt them where it has.

        That is by cosines before both sides are centred, from those after it (n.q):
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
        """Cosine of every point's decoded embedding with every centred unit text."""
        parts = [cosine for _, cosine in self._cosine_chunks(texts)]
        parts = parts or [torch.zeros(len(texts), 0)]
        return torch.cat(parts, dim=1).T.cpu()

    def _cosine_chunks(self, texts: Float[Tensor, "Q E"]):
        """One chunk of the points after the other, and the cosines (Q, n) with them."""
        texts = texts.to(self.device)
        outside = self._center - self._basis @ (self._basis.T @ self._center)
        offsets = torch.stack([texts @ self._mean, -(texts @ outside)], dim=1)
        weights = torch.cat([texts @ self._basis, offsets], dim=1).to(self._dtype)
        for start in range(0, len(self), self._chunk):
            part = slice(start, start + self._chunk)
            yield part, (weights @ self._units[:, part]).float()

    @torch.inference_mode()
    def relevancy(self, questions: list[TextSet]) -> Float[Tensor, "Q N"]:
        """Relevancy 0..1 of every point to every question; one pass over the points."""
        meanings = [question.meaning for question in questions]
        columns = [self._texts_of(meaning) for meaning in meanings]
        worst = [self._worst_of(question.negatives) for question in questions]
        score = self._by_chance(meanings) if self._chance is not None else self._by_fit(meanings)
        result = torch.empty(len(questions), len(self), device=self.device)
        for part, cosine in self._cosine_chunks(torch.cat(columns)):
            own = cosine.split([len(texts) for texts in columns])
            for row, (fit, likely) in enumerate(score(own, part)):
                if len(questions[row].negatives):
                    ahead = fit - worst[row][part]
                    likely = torch.minimum(likely, torch.sigmoid(LERF_TEMPERATURE * ahead))
                result[row, part] = likely
        return to_host(result)[0]

    def _texts_of(self, meaning: Interpretation) -> Float[Tensor, "T E"]:
        """What points are compared with: the text and its anchors, as far as these count."""
        if self._chance is not None:
            return meaning.embedding if self._stands_alone(meaning) else meaning.anchors[:0]
        if self._classes is not None:
            return meaning.embedding
        return torch.cat([meaning.embedding, meaning.anchors])

    def _stands_alone(self, meaning: Interpretation) -> bool:
        """Whether a text is something that none of the map's names means."""
        return float(meaning.class_fits.max()) < self.calibration.same

    def _worst_of(self, negatives: Float[Tensor, "M E"]) -> Float[Tensor, " N"]:
        """What each point has to beat. Questions mostly share it, so the last one is kept."""
        kept, worst = self._worst
        if len(negatives) and not torch.equal(kept, negatives):
            worst = torch.empty(len(self), device=self.device)
            for part, cosine in self._cosine_chunks(negatives):
                worst[part] = cosine.amax(0) + NEGATIVE_MARGIN
            self._worst = negatives, worst
        return worst  # not read again: another thread may have asked with others

    def _by_fit(self, meanings: list[Interpretation]) -> Scores:
        """Points answer by their cosines with a text and its anchors, or as their class does."""
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
        """Points answer as far as they are likely to be what answers."""
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
                if len(cosine):  # the text itself is one more thing that a point may be
                    logits = self._logits(cosine, texts[row], part)[0]
                    itself = torch.sigmoid(logits - self._total[part])
                    fit[row] += itself * (1.0 - fit[row])
                    likely[row] = torch.maximum(likely[row], _asked(itself))
            return zip(fit, likely, strict=True)

        return score


def _asked(likely: Tensor) -> Tensor:
    """Chances once the odds are counted ``ASKED`` times."""
    return ASKED * likely / (1.0 + (ASKED - 1.0) * likely)


def _answers(meaning: Interpretation, fit: Tensor, limits: Calibration) -> Tensor:
    """How likely what fits so well is an answer, 0..1: beside the best that anything could."""
    gap = max(meaning.best, limits.floor) - fit
    return torch.sigmoid(limits.sharpness * (limits.margin - gap))
