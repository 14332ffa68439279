"""Scores of held-out views at poses and exposures of their moments, beside those as recorded.

A map that corrects its keyframes is sharper than the recorded poses allow, and of another
brightness than some photographs. A view at a recorded pose is moved as the keyframes around it
were; a view at a recorded moment as those just before and after it, and it gets their exposure.
Both are true of the same map, so both are scored, each under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames, quality_of_views
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame

SHARED = " and the pose corrections of the keyframes nearest in space"
LEARNT = {"refine_poses": "poses", "adapt_exposure": "exposures"}


def score_refined(
    render: Callable[[Frame], tuple[RenderedView, float]],
    frames: HeldOutFrames,
    label_names: dict[int, str],
    protocol: Protocol,
) -> dict[str, Any]:
    """Return ``views``, ``geometry`` and ``semantics`` as in a report's ``quality``.

    Args:
        render: returns a view with the pose and exposure of a frame's moment, and its seconds.
        frames: the held-out views.
    """
    quality = quality_of_views(render, frames, label_names, protocol)
    return {name: quality[name] for name in ("views", "semantics", "geometry")}


def learnt(switches: Mapping[str, str]) -> list[str]:
    """Return what a map has learnt about its keyframes: "poses", "exposures", both or neither.

    Args:
        switches: see ``MapperStatus``.
    """
    return [word for name, word in LEARNT.items() if switches.get(name, "off").startswith("on")]


def how_taken(switches: Mapping[str, str]) -> list[str]:
    """Return sentences on how the poses and exposures of the scored views were taken.

    The list is empty if the map has learnt neither, so that everything is as recorded.
    """
    subject = " and ".join(learnt(switches))
    if not subject:
        return []
    chosen = [
        f"mapping.{name} was switched on by the keyframes: {state.removeprefix('on: ')}"
        for name, state in switches.items()
        if state.startswith("on") and state != "on: as set"
    ]
    return [
        *chosen,
        f'Rows "as refined" score views with {subject} as refined around each view (those of the '
        f"keyframes just before and after it, interpolated); all other rows, and the pictures, "
        f"with {subject} as recorded{SHARED if 'poses' in subject else ''}",
    ]
