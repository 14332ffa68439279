"""Which class ids the map knows, under which names, in which row of the label head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.frames import split_void


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
            self._include(class_id)

    def row_names(self) -> list[str]:
        """The name of each row; an id without a name is called by its number."""
        return [self.names.get(i, f"class {i}") for i in self.ids]

    def rows(self, labels: NDArray[np.int32]) -> NDArray[np.int16]:
        """Rows (H, W) of class ids (H, W), -1 = void; ids not met before get new rows."""
        shifted = np.maximum(labels, -1) + 1
        present = np.flatnonzero(np.bincount(shifted.reshape(-1)))
        lookup = np.full(int(present[-1]) + 1, -1, np.int16)
        for class_id in (present[present > 0] - 1).tolist():
            if class_id not in self._void:
                lookup[class_id + 1] = self._include(class_id)
        return lookup[shifted]

    def restore(self, names: dict[int, str], ids: tuple[int, ...]) -> None:
        """Start again from a stored table."""
        self.names, self.ids = dict(names), []
        self._row_of = {}
        for class_id in ids:
            self._include(class_id)

    def _include(self, class_id: int) -> int:
        if class_id not in self._row_of:
            self._row_of[class_id] = len(self.ids)
            self.ids.append(class_id)
        return self._row_of[class_id]
