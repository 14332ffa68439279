"""Which names a map learnt from images tells apart: chosen texts, label names, or common things."""

from __future__ import annotations

from semantic_field.frames import split_void
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.language.basis import TextTeacher
from semantic_field.teachers.household import COMMON_THINGS


class Vocabulary:
    """The choice of names, from which class tables are made.

    Args:
        teacher: embeds the texts; None where language is not learnt from images: then names are
            those of label images.
        texts: chosen by the user; none = the names of label images, and while there are none
            common things.
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
        """A new table, where label images have the names ``given``."""
        unnamed = not self._texts and not split_void(given)[0]
        self._makes_do = unnamed and self._teacher is not None
        if self._texts:
            return ClassTable.of_texts(self._texts, given)
        classes = ClassTable()
        classes.set_names(given)
        return classes

    def choose(self, names: list[str]) -> None:
        """Other texts from the next table on.

        Raises:
            ValueError: where language is not learnt from images, or the teacher does not know a
                text.
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
        """Whether label images' names change more than they add: texts or common things."""
        return bool(self._texts) or (self._makes_do and bool(split_void(names)[0]))

    def make_do(self, classes: ClassTable) -> bool:
        """Add common things where there is nothing else to tell apart; whether any is new."""
        if not self._makes_do or self._teacher is None:
            return False
        known = [text for text in COMMON_THINGS if self._teacher.knows(text)]
        new = bool(set(known) - set(classes.names.values()))
        if new:
            classes.add_texts(known)
        return new

    def keep(self, classes: ClassTable) -> None:
        """Go on with a loaded map's names."""
        self._makes_do = False
        if self._texts:
            self._texts = [name for name in classes.row_names() if name]
