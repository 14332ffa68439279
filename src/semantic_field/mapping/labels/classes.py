"""Class table: maps class ids to names and to rows of the label head."""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.frames import VOID_LABEL, split_void
from semantic_field.teachers.naming import spoken

FIRST_OWN_ID = 60_000  # ids made by this table: below 65535, as in label images, above given ids


@njit(nogil=True, cache=True)
def _mark_present(labels, present):
    for label in labels:
        if label >= 0:
            present[label] = True


@njit(nogil=True, cache=True)
def _look_up(labels, row_of, rows):
    for n in range(len(labels)):
        rows[n] = row_of[labels[n]] if labels[n] >= 0 else -1


class ClassTable:
    """Class ids in order of first use; rows are never reordered.

    Attributes:
        names: class id to name, without void names.
        ids: class id of each row.
        given: all names received with ids, including void ones.
        closed: if true, no classes are added: ids with unknown names count as unlabelled.
    """

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.ids: list[int] = []
        self.given: dict[int, str] = {}
        self.closed = False
        self._void: frozenset[int] = frozenset()
        self._row_of: dict[int, int] = {}
        self._texts: set[int] = set()

    @classmethod
    def of_texts(cls, texts: Iterable[str], given: dict[int, str]) -> ClassTable:
        """Return a closed table of these names, with the ids of ``given`` or else new ids."""
        table = cls()
        id_of = {_plain(name): i for i, name in sorted(given.items(), reverse=True)}
        for text in split_void(dict(enumerate(texts)))[0].values():
            class_id = id_of.get(_plain(text))
            if class_id is None:
                table.add_texts([text])
            else:
                table.names[class_id] = text
                table._include(class_id)
        table.closed = True
        table.set_names(given)
        return table

    def copy(self) -> ClassTable:
        """The same table, which may be changed without changing this one."""
        twin = ClassTable()
        twin.names, twin.ids, twin.given = dict(self.names), list(self.ids), dict(self.given)
        twin.closed, twin._void = self.closed, self._void
        twin._row_of, twin._texts = dict(self._row_of), set(self._texts)
        return twin

    def __len__(self) -> int:
        return len(self.ids)

    def set_names(self, names: dict[int, str]) -> None:
        """Add or change names; ids with names such as "void" count as unlabelled."""
        named, void = split_void(names)
        self.given |= names
        self._void |= void
        for class_id, name in sorted(named.items()):
            like = self._id_like(name)
            if not self.closed or like != VOID_LABEL:
                self.names[class_id] = name
                self._include(class_id, like)

    def add_texts(self, texts: Iterable[str]) -> None:
        """Add class names that come neither from label images nor from people."""
        self._texts |= {self.id_of(text) for text in texts}

    def given_names(self) -> dict[int, str]:
        """Return the names received with ids, without those with ids made by ``id_of``."""
        return {i: name for i, name in self.given.items() if i < FIRST_OWN_ID}

    def kept_names(self) -> dict[int, str]:
        """Return the names from label images and from people, but not from ``add_texts``."""
        return self.given | {i: n for i, n in self.names.items() if i not in self._texts}

    def rows_like(self, other: ClassTable) -> NDArray[np.int16]:
        """Return for each row of another table the row here (C,) by name, else by id; -1 = none.

        Ids made by ``id_of`` are not compared, as they have no meaning in another table.
        """
        row_of = {_plain(name): row for row, name in enumerate(self.row_names())}
        rows = []
        for class_id, name in zip(other.ids, other.row_names(), strict=True):
            by_id = self._row_of.get(class_id, -1) if class_id < FIRST_OWN_ID else -1
            rows.append(row_of.get(_plain(name), by_id))
        return np.array(rows, np.int16)

    def row_names(self) -> list[str]:
        """Return the name of each row: "class 17" for an id without a name, "" for no class."""
        return [self.names.get(i, f"class {i}") if i >= 0 else "" for i in self.ids]

    def rows(self, labels: NDArray[np.int32]) -> NDArray[np.int16]:
        """Return the rows (H, W) of class ids (H, W), -1 = void; new ids get new rows."""
        flat = labels.reshape(-1)
        present = np.zeros(max(0, int(flat.max(initial=-1)) + 1), np.bool_)
        _mark_present(flat, present)
        row_of = np.full(len(present), -1, np.int16)
        for class_id in np.flatnonzero(present).tolist():
            if class_id in self._void or (self.closed and class_id not in self._row_of):
                continue
            row_of[class_id] = self._include(class_id)
        rows = np.empty(labels.shape, np.int16)
        _look_up(flat, row_of, rows.reshape(-1))
        return rows

    def row(self, class_id: int) -> int:
        """Return the row of a class id; a new id gets a new row."""
        return self._include(class_id)

    def rows_named(self, names: Iterable[str]) -> NDArray[np.int16]:
        """Return the row of each class name (N,), -1 for void names; new names get new rows.

        Names are compared in plain words ("diningtable" is "dining table"). In a closed table
        names that it does not have get -1.
        """
        texts, rows = dict(enumerate(names)), []
        named = split_void(texts)[0]
        row_of = {spoken(name): row for row, name in reversed([*enumerate(self.row_names())])}
        for i in texts:
            row = row_of.get(spoken(named[i]), -1) if i in named else -1
            if i in named and row < 0 and not self.closed:
                row = self.row(self.id_of(named[i]))
            rows.append(row)
        return np.array(rows, np.int16)

    def none_row(self) -> int:
        """Return the row of "no class", whose class id is -1; added if necessary."""
        return self._include(VOID_LABEL)

    def id_of(self, name: str) -> int:
        """Return the id of a class name, ignoring case; a new name gets a new id.

        Raises:
            ValueError: if the name is empty or void, see ``checked_name``.
        """
        name = checked_name(name)
        for class_id, known in self.names.items():
            if _plain(known) == _plain(name):
                return class_id
        class_id = FIRST_OWN_ID
        while class_id in self.names or class_id in self._row_of or class_id in self.given:
            class_id += 1
        self.names[class_id] = name
        self._include(class_id)
        return class_id

    def restore(self, names: dict[int, str], ids: tuple[int, ...]) -> None:
        """Replace names and ids by those of a stored table."""
        self.names, self.ids = dict(names), []
        self._row_of, self._texts = {}, set()
        self.given = self.given_names() | {i: n for i, n in names.items() if i < FIRST_OWN_ID}
        for class_id in ids:
            self._include(class_id)

    def _id_like(self, name: str) -> int:
        """Return the id made by ``id_of`` for this name (any id in a closed table); -1 = none."""
        first = 0 if self.closed else FIRST_OWN_ID
        like = (i for i in self.ids if i >= first and _is_like(self.names.get(i, ""), name))
        return next(like, VOID_LABEL)

    def _include(self, class_id: int, like: int = VOID_LABEL) -> int:
        if class_id not in self._row_of:
            if like != VOID_LABEL:  # a person has used this name before the label stream did
                self._row_of[class_id] = self._row_of[like]
            else:
                self._row_of[class_id] = len(self.ids)
                self.ids.append(class_id)
        return self._row_of[class_id]


def _plain(name: str) -> str:
    return name.strip().lower()


def _is_like(known: str, name: str) -> bool:
    """Return whether two names mean the same class: as they are, or in plain words."""
    return _plain(known) == _plain(name) or spoken(known) == spoken(name)


def checked_name(name: str) -> str:
    """Return a class name with single spaces.

    Raises:
        ValueError: if the name is empty or means "no class".
    """
    name = " ".join(name.split())
    if not name or split_void({0: name})[1]:
        raise ValueError(
            f"expected the name of a class, got {name!r}; to take an annotation back, use forget"
        )
    return name
