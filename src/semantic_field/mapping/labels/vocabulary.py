"""Vocabulary of a map: chosen texts, names of label images, or common household objects."""

from __future__ import annotations

from semantic_field.frames import split_void
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.language.basis import TextTeacher
from semantic_field.teachers.household import COMMON_THINGS


class Vocabulary:
    """Selects the class names of a map and builds class tables.

    Args:
        teacher: embeds the texts; None if language is not learnt from images: then only the names
            of label images are used.
        texts: chosen by the user; [] = the names of label images, or as long as there are none
            common objects.
    Raises:
        ValueError: on a text that the teacher does not know.
    """

    def __init__(self, teacher: TextTeacher | None, texts: list[str]) -> None:
        self._teacher = teacher
        self._texts: list[str] = []
        self._makes_do = False
        if teacher is not None:
            self.choose(texts)

    @property
    def texts(self) -> list[str]:
        """The chosen texts."""
        return list(self._texts)

    def table(self, given: dict[int, str]) -> ClassTable:
        """Return a new class table; ``given`` are the names of label images by id."""
        unnamed = not self._texts and not split_void(given)[0]
        self._makes_do = unnamed and self._teacher is not None
        if self._texts:
            return ClassTable.of_texts(self._texts, given)
        classes = ClassTable()
        classes.set_names(given)
        return classes

    def choose(self, names: list[str]) -> None:
        """Replace the chosen texts, from the next table on.

        Raises:
            ValueError: if language is not learnt from images, or the teacher does not know a text.
        """
        if self._teacher is None:
            raise ValueError(
                "expected language learnt from images for a vocabulary, got one learnt from "
                "labels: set language.source to 'images'"
            )
        texts = list(split_void(dict(enumerate(names)))[0].values())
        unknown = [text for text in texts if not self._teacher.knows(text)]
        if unknown:
            raise ValueError(
                f"expected texts that the language teacher knows, got {unknown}: leave them "
                "out, or set teacher.kind to one that takes any text"
            )
        self._texts = texts

    def needs_new_table(self, names: dict[int, str]) -> bool:
        """Return whether new names of label images require a new table instead of adding to it.

        True with chosen texts, and when the names replace common objects.
        """
        return bool(self._texts) or (self._makes_do and bool(split_void(names)[0]))

    def make_do(self, classes: ClassTable) -> bool:
        """Add common objects if there are no other names; returns whether any is new."""
        if not self._makes_do or self._teacher is None:
            return False
        known = [text for text in COMMON_THINGS if self._teacher.knows(text)]
        new = bool(set(known) - set(classes.names.values()))
        if new:
            classes.add_texts(known)
        return new

    def keep(self, classes: ClassTable) -> None:
        """Continue with the names of a loaded map."""
        self._makes_do = False
        if self._texts:
            self._texts = [name for name in classes.row_names() if name]
