"""Options that a map switches on by itself once its keyframes show that they are needed."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from semantic_field.config import MappingConfig
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.robustness.evidence import Evidence, ExposureEvidence, PoseEvidence
from semantic_field.mapping.robustness.reduced_view import ReducedView
from semantic_field.mapping.robustness.view_comparison import compare

log = logging.getLogger(__name__)
WIDE = 0.7  # largest distance of two compared views, metres and radians together
CACHED_VIEWS = 8
AS_SET = "as set"
EVIDENCE: dict[str, Callable[[], Evidence]] = {
    "refine_poses": PoseEvidence,
    "adapt_exposure": ExposureEvidence,
}
"""Options of ``MappingConfig`` that may be "auto", and what decides them."""
STORED_AS = {"refine_poses": ("pose", 0.0), "adapt_exposure": ("exposure", (1.0, 0.0))}
"""What training stores in ``KeyframeStore.learnt`` for each option, and its value without it."""


class Switches:
    """The state of each option in ``EVIDENCE``: as set, or decided by the keyframes.

    An option that is "auto" is off until there is evidence for it, and stays on from then on: what
    has been learnt with it explains the images, so that switching it off would be a jump.
    """

    def __init__(self, config: MappingConfig) -> None:
        self._states: dict[str, str] = {}
        self._open: dict[str, Evidence] = {}  # of the options that are not decided
        for name, make in EVIDENCE.items():
            setting = getattr(config, name)
            self._states[name] = f"{'on' if setting == 'on' else 'off'}: {AS_SET}"
            if setting == "auto":
                self._open[name] = make()
        self._views: dict[int, ReducedView] = {}  # by the keyframe's serial, oldest first
        self._decide()

    def is_on(self, name: str) -> bool:
        """Return whether an option of ``EVIDENCE`` is on now."""
        return self._states[name].startswith("on")

    def states(self) -> dict[str, str]:
        """Return "on" or "off" with the reason in words, for each option; from any thread."""
        return self._states

    def look(self, store: KeyframeStore, slot: int) -> None:
        """Compare a new keyframe with two others, and decide what can be decided."""
        if not self._open:
            return
        view = self._reduced(store, slot)
        for other in neighbours(store, slot):
            seen = compare(view, self._reduced(store, other))
            if seen is not None:
                for evidence in self._open.values():
                    evidence.add(seen)
        self._decide()

    def _decide(self) -> None:
        for name, evidence in list(self._open.items()):
            finding = evidence.finding()
            self._tell(name, bool(finding.needed), finding.reason)

    def _tell(self, name: str, on: bool, reason: str) -> None:
        # A new dictionary each time: other threads read the old one.
        self._states = self._states | {name: f"{'on' if on else 'off'}: {reason}"}
        if on:
            del self._open[name]
            log.info("mapping.%s is on from now on: %s", name, reason)

    def adopt(self, store: KeyframeStore) -> None:
        """Decide by the keyframes of a stored map, and by what was learnt with them."""
        for name, (learnt, untouched) in STORED_AS.items():
            if name in self._open and (store.learnt[learnt][: store.count] != untouched).any():
                self._tell(name, True, "it was when the map was saved")
        for slot in range(store.count):
            self.look(store, slot)

    def _reduced(self, store: KeyframeStore, slot: int) -> ReducedView:
        serial = int(store.serials[slot])
        view = self._views.pop(serial, None)
        self._views[serial] = view = ReducedView.of(store, slot) if view is None else view
        while len(self._views) > CACHED_VIEWS:
            del self._views[next(iter(self._views))]
        return view


def neighbours(store: KeyframeStore, slot: int) -> list[int]:
    """Return the keyframes to compare one with: the most similar view, and the oldest nearby.

    The second is a wider comparison, in which slow changes and the drift of a camera that has come
    back are seen; it is left out if no other view is within ``WIDE``.
    """
    apart = store.apart(store.learnt["given_pose"][slot])
    apart[slot] = np.inf
    nearest = int(np.argmin(apart))
    if not np.isfinite(apart[nearest]):
        return []
    apart[nearest] = np.inf
    near = np.flatnonzero(apart < WIDE)
    oldest = near[np.argmin(store.stamps_ns[near])] if len(near) else None
    return [nearest] if oldest is None else [nearest, int(oldest)]
