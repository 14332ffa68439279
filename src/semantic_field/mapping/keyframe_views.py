"""The keyframes of a map as source views: chosen and copied for one rendered view at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.map_state import MapState
from semantic_field.field.views.device_rendering import VIEW_REMEDY
from semantic_field.field.views.device_sources import DeviceSources, DeviceTarget
from semantic_field.field.views.rendering import RenderedView
from semantic_field.field.views.source_views import SourceViews, Target
from semantic_field.kernels.device_memory import memory_for
from semantic_field.mapping.checkpoint import stored_keyframes
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.keyframes.store import KeyframeStore

NO_LATENTS = np.zeros((0, 0), np.float16)
Answer = TypeVar("Answer")


class KeyframeViews:
    """Chooses keyframes for views. Thread-safe, while training changes the keyframes.

    Args:
        keyframes: returns the store; None before the first keyframe.
        class_ids: returns the class id of each label row.
        class_latents: returns the latent of each label row's name (C, D); (0, D) if the latents
            of the map are learnt from images.
        guard: context manager in which keyframes do not change.
        newest_ns: keyframes with later stamps are left out; None = use all.
        copy: returns the copy of the store's images on the device of views, where training keeps
            one and it is complete.
    """

    def __init__(
        self,
        keyframes: Callable[[], KeyframeStore | None],
        class_ids: Callable[[], list[int]],
        class_latents: Callable[[], NDArray[np.float16]] = lambda: NO_LATENTS,
        guard: Callable[[], AbstractContextManager[None]] = nullcontext,
        newest_ns: int | None = None,
        copy: Callable[[KeyframeStore], DeviceKeyframes | None] = lambda store: None,
    ) -> None:
        self._keyframes, self._class_ids, self._guard = keyframes, class_ids, guard
        self._class_latents, self._newest_ns, self._copy = class_latents, newest_ns, copy

    @classmethod
    def of(cls, state: MapState) -> KeyframeViews | None:
        """Return the keyframes in a state read from a file; None if it has none.

        Raises:
            ValueError: if they are damaged.
        """
        store = stored_keyframes(state)
        if store is None:
            return None
        latents = NO_LATENTS if state.votes is None else state.votes.latents
        return cls(lambda: store, lambda: list(state.class_ids), lambda: latents)

    def until(self, stamp_ns: int) -> KeyframeViews:
        """Return the same without keyframes that are newer than a stamp."""
        parts = self._keyframes, self._class_ids, self._class_latents, self._guard
        return KeyframeViews(*parts, stamp_ns, self._copy)

    def named(self, view: RenderedView) -> RenderedView:
        """Return the view with the latents of the names that keyframes or people gave its pixels.

        The view itself if it has no latents, or if latents are learnt from images.
        """
        if view.latent is None:
            return view
        with self._guard():
            ids, latents = np.array(self._class_ids(), np.int32), self._class_latents()
        if not len(latents):
            return view
        order = np.argsort(ids)
        place = np.searchsorted(ids[order], view.label).clip(max=len(ids) - 1)
        row = order[place]
        known = (ids[row] == view.label) & (row < len(latents)) & (view.depth > 0)
        latent = view.latent.copy()
        latent[known] = latents[row[known]]
        return replace(view, latent=latent)

    def all(self) -> SourceViews | None:
        """Return all keyframes, not copied: for maps that do not change. None if there are none."""
        store = self._keyframes()
        return _views(store, self._class_ids()) if store is not None and store.count else None

    def ask(self, question: Callable[[SourceViews], Answer]) -> Answer | None:
        """Return what a function of all keyframes returns; None if there are none.

        They do not change while it is called, and it must not keep them: they are not copied.
        """
        with self._guard():
            views = self.all()
            return None if views is None else question(views)

    def __call__(self, target: Target) -> SourceViews | None:
        """Return copies of the keyframes that show a view best; None if no keyframe sees it."""
        with self._guard():
            store = self._keyframes()
            if store is None or not store.count:
                return None
            views = _views(store, self._class_ids())
            chosen = views.choose(target, newest_ns=self._newest_ns)
            return views.taken(chosen) if len(chosen) else None

    @torch.no_grad()
    def on_device(self, target: DeviceTarget) -> DeviceSources | None:
        """Return the same for a view on a device, there.

        Where training keeps the keyframes on the device, they are chosen and copied there. Else
        they are chosen on the host, and the chosen ones are uploaded.

        Raises:
            DeviceMemoryError: if the device has not enough memory.
        """
        with memory_for("the keyframes of a view", VIEW_REMEDY):
            with self._guard():
                store = self._keyframes()
                copy = None if store is None else self._copy(store)
                if store is not None and copy is not None:
                    return self._taken_from(copy, store, target)
            sources = self(target.on_host())
            return None if sources is None else DeviceSources.of(sources, target.depth.device)

    def _taken_from(
        self, copy: DeviceKeyframes, store: KeyframeStore, target: DeviceTarget
    ) -> DeviceSources | None:
        stamps_ns = store.stamps_ns[: store.count]
        is_used = np.ones(store.count, bool)
        if self._newest_ns is not None:
            is_used = stamps_ns <= self._newest_ns
        slots = np.flatnonzero(is_used)
        copy.wait()
        sources = DeviceSources(
            images=copy.images,
            slots=slots,
            cameras=store.cameras.at(slots),
            exposures=store.learnt["exposure"][slots],
            stamps_ns=stamps_ns[slots],
            class_ids=np.array(self._class_ids(), np.int32),
        )
        chosen = sources.choose(target)
        if not len(chosen):
            return None
        taken = sources.taken(chosen)
        if sources.device.type == "cuda":  # training may overwrite the images when the guard ends
            torch.cuda.current_stream(sources.device).synchronize()
        return taken


def _views(store: KeyframeStore, class_ids: list[int]) -> SourceViews:
    used = slice(store.count)
    return SourceViews(
        images=store.images.at(used),
        cameras=store.cameras.at(used),
        exposures=store.learnt["exposure"][used],
        stamps_ns=store.stamps_ns[used],
        class_ids=np.array(class_ids, np.int32),
    )
