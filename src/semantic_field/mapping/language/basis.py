"""Basis of the language latent: an orthonormal subspace that grows with the class names."""

from __future__ import annotations

import logging
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from semantic_field.field.map_state import LanguageSpace

log = logging.getLogger(__name__)
SPANNED = 1e-3  # residuals up to this length count as represented by the basis
TEXT_SHARE = 0.75  # of the columns for names if dense features are learnt; the rest is for these
DENSE_SHARE = 1e-3  # least share of the features' energy that gets a column


class TextTeacher(Protocol):
    """The part of ``LanguageTeacher`` that the mapper uses."""

    dim: int
    fingerprint: str

    def knows(self, text: str) -> bool: ...

    def embed_text(self, texts: list[str]) -> Float[Tensor, "Q E"]: ...


class LanguageBasis:
    """Orthonormal columns that span the embeddings of the class names, grown by Gram-Schmidt.

    Existing columns never change, so that trained latents keep their meaning. When all columns
    for names are in use, additional names are projected onto the existing basis.

    Args:
        text_share: share of the columns that names may use.

    Attributes:
        basis: float32 (E, D); the first ``rank`` columns are in use, the others are zero.
        mean: float32 (E,), subtracted from embeddings.
        text_rank: number of columns used by names.
    """

    def __init__(self, teacher: TextTeacher, latent_dim: int, text_share: float = 1.0) -> None:
        self._teacher = teacher
        self._text_columns = int(text_share * latent_dim)  # columns that names may take
        self.basis = torch.zeros(teacher.dim, latent_dim)
        self.mean = torch.zeros(teacher.dim)
        self.rank = self.text_rank = 0
        self._unknown: set[str] = set()  # names that were already warned about

    def latents_of(self, names: list[str]) -> Float[Tensor, "C D"]:
        """Return V'(e - mean) (C, D) of each name's embedding e; adds columns as needed.

        Zeros, which are similar to no text, for empty names and for names that the teacher does
        not know (with one warning per name).
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
        """Return ``latents_of`` normalised (C, D), for latents of which only the direction matters.

        Otherwise a text with a part outside of the basis would be at a disadvantage.
        """
        return functional.normalize(self.latents_of(names), dim=1, eps=SPANNED)

    def _include(self, vector: Float[Tensor, " E"]) -> bool:
        """Add a column for the residual of a vector; returns False if it is negligible."""
        if self.rank == self.basis.shape[1]:
            return False
        rest = vector.double()
        basis = self.basis.double()
        for _ in range(2):  # repeated once, for orthogonality in floating point
            rest = rest - basis @ (basis.T @ rest)
        if rest.norm() <= SPANNED:
            return False
        self.basis[:, self.rank] = (rest / rest.norm()).float()
        self.rank += 1
        return True

    def include_dense(self, features: Float[Tensor, "N E"], most: int) -> None:
        """Add up to ``most`` columns: the principal directions of the features' residuals.

        An eighth of the columns is left for later names, as far as names may use them.
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
        """Return a copy for readers of the map; ``temperature`` as in ``LanguageSpace``."""
        fingerprint = self._teacher.fingerprint
        basis, mean = self.basis.clone(), self.mean.clone()
        return LanguageSpace(basis, mean, self.rank, fingerprint, temperature, self.text_rank)

    def restore(self, space: LanguageSpace) -> None:
        """Continue from a stored language space.

        Where it does not say which columns names took (older maps), all in use count as theirs:
        what is reserved for images stays reserved.

        Raises:
            ValueError: if it was made with another teacher or another latent size.
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
