"""Which classes are scored: all of a recording's, some of them, or groups of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray


class ClassSet:
    """Maps class ids (as a source gives them) to rows 0..C-1 of a confusion matrix.

    Ids with the same name share a row. Names in ``ignore``, ``subset`` and ``groups`` that a
    recording does not have are passed over: one protocol serves many recordings.

    Args:
        names: class id to name.
        ignore: names (of classes or groups) that are void in the ground truth.
        subset: names (of classes or groups) that alone are scored; empty = all.
        groups: new name to the names that it joins.
    Raises:
        ValueError: a class in two groups, or nothing left to score.
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
        """Rows of class ids, same shape; -1 for ids that are void, ignored or unknown."""
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
