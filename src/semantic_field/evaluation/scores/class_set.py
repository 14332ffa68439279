"""Selection and grouping of the scored classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray


class ClassSet:
    """Maps class ids (as in the recording) to rows 0..C-1 of a confusion matrix.

    Ids with the same name share a row. Names in ``ignore``, ``subset`` and ``groups`` that a
    recording does not have are skipped, so that one protocol fits many recordings.

    Args:
        names: class id to name.
        ignore: names (of classes or groups) that become void.
        subset: names (of classes or groups) that are scored; empty = all.
        groups: new name to the names that it merges.
    Raises:
        ValueError: if a class is in two groups, or no class is left.
    """

    def __init__(
        self,
        names: Mapping[int, str],
        ignore: Collection[str] = (),
        subset: Collection[str] = (),
        groups: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        group_of = _group_of(groups or {})

        def scored(name: str) -> bool:
            both = {name, group_of.get(name, name)}
            return not both & set(ignore) and (not subset or bool(both & set(subset)))

        final = {i: group_of.get(n, n) for i, n in sorted(names.items()) if scored(n)}
        if names and not final:
            raise ValueError(
                f"expected classes of {sorted(set(names.values()))} to score, got ignore "
                f"{sorted(ignore)} and subset {sorted(subset)}, which leave none"
            )
        self.names: tuple[str, ...] = tuple(dict.fromkeys(final.values()))
        self._low = min(names, default=0)
        self._rows = np.full(max(names, default=0) - self._low + 1, -1, np.int32)
        for i, name in final.items():
            self._rows[i - self._low] = self.names.index(name)

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, ids: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the rows of class ids, same shape; -1 for void, ignored and unknown ids."""
        shifted = ids.astype(np.int64) - self._low
        inside = (shifted >= 0) & (shifted < len(self._rows))
        return np.where(inside, self._rows[np.where(inside, shifted, 0)], -1).astype(np.int32)


def _group_of(groups: Mapping[str, Collection[str]]) -> dict[str, str]:
    result: dict[str, str] = {}
    for group, members in groups.items():
        for member in members:
            if member in result:
                raise ValueError(
                    f"expected each class in one group, {member!r} is in {result[member]!r} "
                    f"and in {group!r}"
                )
            result[member] = group
    return result
