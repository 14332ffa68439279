"""Which class ids the map knows, under which names, in which row of the label head."""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.frames import VOID_LABEL, split_void

FIRST_OWN_ID = 60_000  # below 65535, so that they fit into label images, and above all others


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
    """Class ids in the order in which they were met; rows are never reordered.

    Attributes:
        names: class id to name, without void names.
        ids: the class id of each row.
        given: all names that came with ids, void ones too.
        closed: ids whose name is not in the table count as unlabelled.
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
        """A closed table of these names, with the ids that label images give them, or else own."""
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
        """Add names, or correct them; ids named "void" and the like count as unlabelled."""
        named, void = split_void(names)
        self.given |= names
        self._void |= void
        for class_id, name in sorted(named.items()):
            like = self._id_like(name)
            if not self.closed or like != VOID_LABEL:
                self.names[class_id] = name
                self._include(class_id, like)

    def add_texts(self, texts: Iterable[str]) -> None:
        """Add names that come neither from label images nor from people."""
        self._texts |= {self.id_of(text) for text in texts}

    def given_names(self) -> dict[int, str]:
        """The names that came with ids, without those that ``id_of`` gave ids to."""
        return {i: name for i, name in self.given.items() if i < FIRST_OWN_ID}

    def kept_names(self) -> dict[int, str]:
        """The names that label images gave, and those that people made."""
        return self.given | {i: n for i, n in self.names.items() if i not in self._texts}

    def rows_like(self, other: ClassTable) -> NDArray[np.int16]:
        """For each row of another table the row (C,) of that name, or else of that id; -1 = none.

        An id that ``id_of`` made says nothing in another table.
        """
        row_of = {_plain(name): row for row, name in enumerate(self.row_names())}
        rows = []
        for class_id, name in zip(other.ids, other.row_names(), strict=True):
            by_id = self._row_of.get(class_id, -1) if class_id < FIRST_OWN_ID else -1
            rows.append(row_of.get(_plain(name), by_id))
        return np.array(rows, np.int16)

    def row_names(self) -> list[str]:
        """The name of each row; an id without a name is called by its number, "no class" ""."""
        return [self.names.get(i, f"class {i}") if i >= 0 else "" for i in self.ids]

    def rows(self, labels: NDArray[np.int32]) -> NDArray[np.int16]:
        """Rows (H, W) of class ids (H, W), -1 = void; ids not met before get new rows."""
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
        """The row of a class id; one that was not met before gets a new row."""
        return self._include(class_id)

    def none_row(self) -> int:
        """The row that says that a place belongs to no class; its class id is -1."""
        return self._include(VOID_LABEL)

    def id_of(self, name: str) -> int:
        """The id of that class name, letters' size aside; a new name gets an id of its own.

        Raises:
            ValueError: where ``checked_name`` does.
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
        """Start again from a stored table."""
        self.names, self.ids = dict(names), []
        self._row_of, self._texts = {}, set()
        self.given = self.given_names() | {i: n for i, n in names.items() if i < FIRST_OWN_ID}
        for class_id in ids:
            self._include(class_id)

    def _id_like(self, name: str) -> int:
        """The id that ``id_of`` made for that name, in a closed table any id; -1 = none."""
        first = 0 if self.closed else FIRST_OWN_ID
        like = (i for i in self.ids if i >= first and _plain(self.names.get(i, "")) == _plain(name))
        return next(like, VOID_LABEL)

    def _include(self, class_id: int, like: int = VOID_LABEL) -> int:
        if class_id not in self._row_of:
            if like != VOID_LABEL:  # a person named the class before the stream did
                self._row_of[class_id] = self._row_of[like]
            else:
                self._row_of[class_id] = len(self.ids)
                self.ids.append(class_id)
        return self._row_of[class_id]


def _plain(name: str) -> str:
    return name.strip().lower()


def checked_name(name: str) -> str:
    """A class name with single spaces.

    Raises:
        ValueError: where the name is empty or means "no class".
    """
    name = " ".join(name.split())
    if not name or split_void({0: name})[1]:
        raise ValueError(
            f"expected the name of a class, got {name!r}; to take an annotation back, use forget"
        )
    return name
