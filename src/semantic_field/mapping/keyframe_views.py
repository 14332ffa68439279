"""The keyframes of a map as source views: chosen and copied for one rendered view at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from semantic_field.field.map_state import MapState
from semantic_field.field.views.source_views import SourceViews, Target
from semantic_field.mapping.checkpoint import stored_keyframes
from semantic_field.mapping.keyframes.store import KeyframeStore


class KeyframeViews:
    """Chooses keyframes for views. Thread-safe, while training changes the keyframes.

    Args:
        keyframes: returns the store; None before the first keyframe.
        class_ids: returns the class id of each label row.
        guard: context manager in which keyframes do not change.
        newest_ns: keyframes with later stamps are left out; None = use all.
    """

    def __init__(
        self,
        keyframes: Callable[[], KeyframeStore | None],
        class_ids: Callable[[], list[int]],
        guard: Callable[[], AbstractContextManager[None]] = nullcontext,
        newest_ns: int | None = None,
    ) -> None:
        self._keyframes, self._class_ids, self._guard = keyframes, class_ids, guard
        self._newest_ns = newest_ns

    @classmethod
    def of(cls, state: MapState) -> KeyframeViews | None:
        """Return the keyframes in a state read from a file; None if it has none.

        Raises:
            ValueError: if they are damaged.
        """
        store = stored_keyframes(state)
        return None if store is None else cls(lambda: store, lambda: list(state.class_ids))

    def until(self, stamp_ns: int) -> KeyframeViews:
        """Return the same without keyframes that are newer than a stamp."""
        return KeyframeViews(self._keyframes, self._class_ids, self._guard, stamp_ns)

    def all(self) -> SourceViews | None:
        """Return all keyframes, not copied: for maps that do not change. None if there are none."""
        store = self._keyframes()
        return _views(store, self._class_ids()) if store is not None and store.count else None

    def __call__(self, target: Target) -> SourceViews | None:
        """Return copies of the keyframes that show a view best; None if no keyframe sees it."""
        with self._guard():
            store = self._keyframes()
            if store is None or not store.count:
                return None
            views = _views(store, self._class_ids())
            if self._newest_ns is not None:
                views = views.taken(np.flatnonzero(views.stamps_ns <= self._newest_ns))
            chosen = views.choose(target)
            return views.taken(chosen) if len(chosen) else None


def _views(store: KeyframeStore, class_ids: list[int]) -> SourceViews:
    used = slice(store.count)
    return SourceViews(
        images=store.images.at(used),
        cameras=store.cameras.at(used),
        exposures=store.learnt["exposure"][used],
        stamps_ns=store.stamps_ns[used],
        class_ids=np.array(class_ids, np.int32),
    )
