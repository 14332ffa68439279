"""The language space of a map: a basis that grows with the class names met."""

from __future__ import annotations

import logging
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from semantic_field.field.map_state import LanguageSpace

log = logging.getLogger(__name__)
SPANNED = 1e-3
TEXT_SHARE = 0.75  # of the columns, where dense features are learnt: the rest is for these
DENSE_SHARE = 1e-3  # of the features' squared lengths that is worth a column


class TextTeacher(Protocol):
    """What the mapper needs of a language teacher."""

    dim: int
    fingerprint: str

    def knows(self, text: str) -> bool: ...

    def embed_text(self, texts: list[str]) -> Float[Tensor, "Q E"]: ...


class LanguageBasis:
    """Orthonormal columns spanning the embeddings of the class names, grown by Gram-Schmidt.

    Earlier columns never change, so latents learnt before keep their meaning. When all D columns
    are in use, further names are represented by their projection.

    Args:
        text_share: of the columns, that names may take.
    Attributes:
        basis: float32 (E, D). mean: float32 (E,), that embeddings are taken relative to.
        rank: columns in use. text_rank: those of them that names took.
    """

    def __init__(self, teacher: TextTeacher, latent_dim: int, text_share: float = 1.0) -> None:
        self._teacher = teacher
        self._text_columns = int(text_share * latent_dim)  # columns that names may take
        self.basis = torch.zeros(teacher.dim, latent_dim)
        self.mean = torch.zeros(teacher.dim)
        self.rank = self.text_rank = 0
        self._unknown: set[str] = set()  # names, of which a warning has told

    def latents_of(self, names: list[str]) -> Float[Tensor, "C D"]:
        """V'(e - mean) of each name's embedding, growing the basis where a name needs it.

        An empty name, or one that the teacher does not know (a warning says so once), means
        nothing: zeros, which no text is similar to.
        """
        latents = torch.zeros(len(names), self.basis.shape[1])
        named = [row for row, name in enumerate(names) if name and self._knows(name)]
        if named:
            embedded = self._teacher.embed_text([names[row] for row in named]).float().cpu()
            for vector in embedded - self.mean:
                if self._text_room:
                    self.text_rank += self._include(vector)
            latents[named] = (embedded - self.mean) @ self.basis
        return latents

    @property
    def _text_room(self) -> int:
        """Columns that names may take still."""
        return max(0, self._text_columns - self.text_rank)

    def _knows(self, name: str) -> bool:
        known = self._teacher.knows(name)
        if not known and name not in self._unknown:
            self._unknown.add(name)
            log.warning("the language teacher does not know %r: no question finds that", name)
        return known

    def directions_of(self, names: list[str]) -> Float[Tensor, "C D"]:
        """``latents_of`` made unit, for latents that say with their direction alone what they mean.

        A text that is longer than its part in the columns would otherwise lose to all others.
        """
        return functional.normalize(self.latents_of(names), dim=1, eps=SPANNED)

    def _include(self, vector: Float[Tensor, " E"]) -> bool:
        """Add a column for what no column holds of a vector; whether that was anything."""
        if self.rank == self.basis.shape[1]:
            return False
        rest = vector.double()
        basis = self.basis.double()
        for _ in range(2):  # twice is enough to stay orthogonal in floating point
            rest = rest - basis @ (basis.T @ rest)
        if rest.norm() <= SPANNED:
            return False
        self.basis[:, self.rank] = (rest / rest.norm()).float()
        self.rank += 1
        return True

    def include_dense(self, features: Float[Tensor, "N E"], most: int) -> None:
        """Add up to ``most`` columns for what dense features have beside the present ones.

        These are the principal directions of the rest that no column holds. An eighth of the
        columns is left for names that come later, as far as names may take them.
        """
        columns = self.basis.shape[1]
        room = columns - min(columns // 8, self._text_room) - self.rank
        if room <= 0 or not len(features):
            return
        rest = features.float() - features.float() @ self.basis @ self.basis.T
        _, strength, directions = torch.linalg.svd(rest, full_matrices=False)
        for size, direction in zip(strength, directions[: min(most, room)], strict=False):
            if size.square() > DENSE_SHARE * features.square().sum():
                self._include(direction)

    def space(self, temperature: float = 0.0) -> LanguageSpace:
        """What a reader of the map needs; ``temperature`` as in ``LanguageSpace``."""
        fingerprint = self._teacher.fingerprint
        basis, mean = self.basis.clone(), self.mean.clone()
        return LanguageSpace(basis, mean, self.rank, fingerprint, temperature, self.text_rank)

    def restore(self, space: LanguageSpace) -> None:
        """Continue from a stored language space.

        Where it does not say which columns names took (older maps), all in use count as theirs:
        what is reserved for images stays reserved.

        Raises:
            ValueError: where it was made by another teacher or with another latent size.
        """
        if space.fingerprint != self._teacher.fingerprint:
            raise ValueError(
                f"expected a map made with the teacher {self._teacher.fingerprint!r}, got one of "
                f"{space.fingerprint!r}; set teacher.kind as it was when the map was made"
            )
        if space.basis.shape != self.basis.shape:
            raise ValueError(
                f"expected a language basis of shape {tuple(self.basis.shape)}, "
                f"got {tuple(space.basis.shape)}; set field.latent_dim as in the map"
            )
        self.basis, self.mean = space.basis.clone(), space.mean.clone()
        self.rank = space.rank
        self.text_rank = space.rank if space.text_rank is None else space.text_rank
