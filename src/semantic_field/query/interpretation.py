"""Query interpretation: which known objects and class names a text asks for.

A text is compared with the names and uses of common objects ("things") and with the map's class
names. "Somewhere to sit" is closest to a use of chairs and sofas, so a class that is one of these
things fits the text as well as that use does. The best fit over everything known tells how good an
answer could be, whether or not the object is in the map. If the map's latents do not represent
classes, the best fitting names become the text's *anchors*: a point is as relevant as the anchors
that it is similar to.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semantic_field.teachers.language import (
    Calibration,
    Doubter,
    ImageRecogniser,
    LanguageTeacher,
)

log = logging.getLogger(__name__)
REACH = 0.35
NEAREST = 0.05
ACCEPTED = 0.92
MAX_ANCHORS = 24
NOT_CLASSES = frozenset({"background", "other", "others", "misc"})


@dataclass(frozen=True)
class Interpretation:
    """The meaning of a query text.

    Attributes:
        text: the query text.
        embedding: centred unit embedding of the text (1, E); (0, E) for an image query, because
            image embeddings are similar to each other and not to texts.
        anchors: centred unit embeddings (A, E) of the best fitting names.
        fits: (A,), how well each anchor answers the text, up to 1.
        class_fits: (C,), how well each class of the map answers the text.
        best: the best fit of all things and classes.
        best_name: the name with this fit.
        doubt: why the teacher may not understand the text; empty if it does.
    """

    text: str
    embedding: Float[Tensor, "T E"]
    anchors: Float[Tensor, "A E"]
    fits: Float[Tensor, " A"]
    class_fits: Float[Tensor, " C"]
    best: float
    best_name: str
    doubt: str = ""


@dataclass(frozen=True)
class TextSet:
    """One query: its interpretation, and the centred unit embeddings (M, E) of its negatives."""

    meaning: Interpretation
    negatives: Float[Tensor, "M E"]


def membership(cosine: Tensor, calibration: Calibration) -> Tensor:
    """Map the cosine of two names to a degree of synonymy in 0..1, linearly between the limits."""
    width = calibration.same - calibration.distinct
    return ((cosine - calibration.distinct) / width).clamp(0.0, 1.0)


class Interpreter:
    """Interprets query texts with a teacher; the things' embeddings are computed once."""

    def __init__(self, teacher: LanguageTeacher) -> None:
        self._teacher, things = teacher, teacher.things
        self._names = [name for thing in things for name in thing.names]
        self._thing_of_name = _owners([thing.names for thing in things])
        self._thing_of_use = _owners([thing.uses for thing in things])
        uses = [use for thing in things for use in thing.uses]
        first = {thing.names[0]: i for i, thing in enumerate(things)}
        self._accepts = [
            (i, first[name]) for i, thing in enumerate(things) for name in thing.accepts
        ]
        self._name_vectors = self.embed(self._names)
        self._use_vectors = self.embed(uses)
        self._doubted = False

    def embed(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """Return the centred unit embeddings of texts, on the CPU.

        Raises:
            ValueError: on a text that is unknown to the teacher.
        """
        center = self._teacher.calibration.center
        if not texts:
            return torch.zeros(0, self._teacher.dim)
        return functional.normalize(self._teacher.embed_text(texts).cpu() - center, dim=-1)

    def interpret(self, text: str, class_names: list[str]) -> Interpretation:
        """Interpret a text, given the class names of a map.

        Raises:
            ValueError: on an empty text, or one that is unknown to the teacher.
        """
        embedding = self.embed([text])
        classes = self.embed_classes(class_names)
        things = self._thing_fits(embedding[0])
        class_fits = self._class_fits((classes @ embedding[0]).numpy(), classes, things)
        meaning = self._meaning(text, embedding, things, class_fits, class_names, classes)
        return replace(meaning, doubt=self._doubt(text, meaning.best))

    def _doubt(self, text: str, best: float) -> str:
        """Return why the teacher may not understand a text that fits nothing well, or "".

        The first time the reason is also logged."""
        if best >= self._teacher.calibration.distinct or not isinstance(self._teacher, Doubter):
            return ""
        doubt = self._teacher.doubt(text)
        if doubt and not self._doubted:
            self._doubted = True
            log.warning("%r: %s (said once)", text, doubt)
        return doubt

    def _meaning(
        self,
        text: str,
        embedding: Float[Tensor, "T E"],
        things: NDArray[np.float32],
        class_fits: NDArray[np.float32],
        class_names: list[str],
        classes: Float[Tensor, "C E"],
    ) -> Interpretation:
        """Build the interpretation from the fits of all things and classes."""
        fits = np.concatenate([things[self._thing_of_name], class_fits])
        order = np.argsort(-fits, kind="stable")[:MAX_ANCHORS]
        best = float(fits[order[0]]) if len(order) else 0.0
        keep = order[fits[order] >= best - REACH]
        return Interpretation(
            text=text,
            embedding=embedding,
            anchors=torch.cat([self._name_vectors, classes])[keep],
            fits=torch.from_numpy(fits[keep]).float(),
            class_fits=torch.from_numpy(class_fits).float(),
            best=best,
            best_name=[*self._names, *class_names][order[0]] if len(order) else text,
        )

    def embed_classes(self, class_names: list[str]) -> Float[Tensor, "C E"]:
        """Return centred unit embeddings (C, E) of class names.

        Zeros for names such as "background" and for names unknown to the teacher.
        """
        result = torch.zeros(len(class_names), self._teacher.dim)
        usable = [
            i
            for i, name in enumerate(class_names)
            if name.strip().lower() not in NOT_CLASSES and self._teacher.knows(name)
        ]
        result[usable] = self.embed([class_names[i] for i in usable])
        return result

    def question(
        self,
        text: str,
        negatives: tuple[str, ...],
        usual_negatives: tuple[str, ...],
        class_names: list[str],
    ) -> TextSet:
        """Interpret a text and embed its negatives.

        Args:
            negatives: texts that a relevant point must match less well.
            usual_negatives: used if ``negatives`` is empty; unknown ones are left out.
            class_names: of the map.
        Raises:
            ValueError: on a text or negative that is empty or unknown to the teacher.
        """
        return TextSet(self.interpret(text, class_names), self._beaten(negatives, usual_negatives))

    def question_of_image(
        self,
        color: NDArray[np.uint8],
        negatives: tuple[str, ...],
        usual_negatives: tuple[str, ...],
        class_names: list[str],
    ) -> TextSet:
        """Interpret an image, uint8 RGB (H, W, 3), instead of a text; see ``question``.

        The image is classified by the teacher among all things and class names.

        Raises:
            ValueError: on another shape or dtype, or if the teacher cannot embed images.
        """
        if color.ndim != 3 or color.shape[2] != 3 or color.dtype != np.uint8 or not color.size:
            raise ValueError(
                f"expected an RGB image (H, W, 3) of bytes, got {color.shape} of {color.dtype}"
            )
        if not isinstance(self._teacher, ImageRecogniser):
            raise ValueError(
                f"expected a teacher that sees images, got {self._teacher.name!r}: ask with a "
                "text, or set teacher.kind to open_clip for mapping and query"
            )
        classes = self.embed_classes(class_names)
        named = np.flatnonzero(classes.any(1).numpy())
        texts = [*self._names, *(class_names[i] for i in named.tolist())]
        chance = self._teacher.recognise(color, texts).numpy()
        chance = chance / chance.max(initial=1e-9)
        things = np.zeros(len(self._teacher.things), np.float32)
        np.maximum.at(things, self._thing_of_name, chance[: len(self._names)])
        own = np.zeros(len(class_names), np.float32)
        own[named] = chance[len(self._names) :]
        class_fits = self._class_fits(own, classes, things)
        nothing = torch.zeros(0, self._teacher.dim)
        meaning = self._meaning("the image", nothing, things, class_fits, class_names, classes)
        return TextSet(meaning, self._beaten(negatives, usual_negatives))

    def _beaten(
        self, negatives: tuple[str, ...], usual_negatives: tuple[str, ...]
    ) -> Float[Tensor, "M E"]:
        """Embed ``negatives``, or if there are none the usual ones that the teacher knows."""
        return self.embed(list(negatives or filter(self._teacher.knows, usual_negatives)))

    def _thing_fits(self, embedding: Float[Tensor, " E"]) -> NDArray[np.float32]:
        """Return how well each thing answers: by its closest name or use, or as a substitute."""
        fits = np.zeros(len(self._teacher.things), np.float32)
        np.maximum.at(fits, self._thing_of_name, (self._name_vectors @ embedding).numpy())
        np.maximum.at(fits, self._thing_of_use, (self._use_vectors @ embedding).numpy())
        accepted = fits.copy()
        for wanted, replacement in self._accepts:
            accepted[replacement] = max(accepted[replacement], ACCEPTED * fits[wanted])
        return accepted

    def _class_fits(
        self,
        own: NDArray[np.float32],
        classes: Float[Tensor, "C E"],
        things: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return how well each class answers: by its name (``own``), or as the thing that it is.

        A class is only identified with the things whose names are most similar to its own: a
        dining table is not a dining chair.
        """
        if not len(self._names) or not len(classes):
            return own
        cosine = classes @ self._name_vectors.T
        nearest = cosine >= cosine.amax(1, keepdim=True) - NEAREST
        same = (membership(cosine, self._teacher.calibration) * nearest).numpy()
        return np.maximum(own, (same * things[self._thing_of_name]).max(1))


def _owners(groups: list[tuple[str, ...]]) -> NDArray[np.int64]:
    """Return for every item of the concatenated groups the number of its group."""
    return np.repeat(np.arange(len(groups)), [len(group) for group in groups])
