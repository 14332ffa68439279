"""Which class ids the map knows, under which names, in which row of the label head."""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

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
    """

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.ids: list[int] = []
        self._void: frozenset[int] = frozenset()
        self._row_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def set_names(self, names: dict[int, str]) -> None:
        """Add names, or correct them; ids named "void" and the like count as unlabelled."""
        named, void = split_void(names)
        self._void |= void
        self.names |= named
        for class_id in sorted(named):
            self._include(class_id, like=self._own_id(named[class_id]))

    def given_names(self) -> dict[int, str]:
        """The names that came with ids, without those that ``id_of`` gave ids to."""
        return {i: name for i, name in self.names.items() if i < FIRST_OWN_ID}

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
            if class_id not in self._void:
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
            if known.strip().lower() == name.lower():
                return class_id
        class_id = FIRST_OWN_ID
        while class_id in self.names or class_id in self._row_of or class_id in self._void:
            class_id += 1
        self.names[class_id] = name
        self._include(class_id)
        return class_id

    def restore(self, names: dict[int, str], ids: tuple[int, ...]) -> None:
        """Start again from a stored table."""
        self.names, self.ids = dict(names), []
        self._row_of = {}
        for class_id in ids:
            self._include(class_id)

    def _own_id(self, name: str) -> int:
        """The id that ``id_of`` made for that name; -1 where it made none."""
        own = (i for i in self.ids if i >= FIRST_OWN_ID and self.names[i].lower() == name.lower())
        return next(own, VOID_LABEL)

    def _include(self, class_id: int, like: int = VOID_LABEL) -> int:
        if class_id not in self._row_of:
            if like != VOID_LABEL:  # a person named the class before the stream did
                self._row_of[class_id] = self._row_of[like]
            else:
                self._row_of[class_id] = len(self.ids)
                self.ids.append(class_id)
        return self._row_of[class_id]


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
