"""Completes objects of the map: which category they are, what is known of them, and the whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import moved
from semantic_field.object_prior.completer import Completer
from semantic_field.object_prior.completion import (
    Completion,
    NoPriorError,
    ObservedObject,
    ObservedView,
)
from semantic_field.query.axes import ground_axes
from semantic_field.query.categories import category_of
from semantic_field.query.map_objects import MapObject

LEVEL = 0.85  # least upward part of the normal of a surface that something stands on
SLACK_M = 0.03  # what an object stands on may be so much above its lowest points
REACHES_M = (0.05, 0.3)  # around its box
BAND_M = 0.02
LEAST_SUPPORT = 12  # points of the map
SUPPORT_SHARE = 0.2


@dataclass(frozen=True)
class CompletedObject:
    """An object of the map and the whole that it was completed to.

    Attributes:
        thing: what the map has of it. completion: the whole, in the frame of the map.
        view_count: images that were used; 0 = its points alone.
    """

    thing: MapObject
    completion: Completion
    view_count: int


def complete_object(
    thing: MapObject,
    completer: Completer,
    views: tuple[ObservedView, ...] = (),
    category: str = "",
    up: str = "+z",
) -> CompletedObject:
    """Complete an object of the map.

    Args:
        views: crops that show it, in map coordinates (from the map's origin on).
        category: what it is; empty = what its label says, or without a label what fits best.
        up: the axis of the map that points up.
    Raises:
        NoPriorError: if there is no prior for what it is.
        ValueError: if it cannot be completed from what is known of it.
    """
    wanted = category_for(thing.label, category, completer.part_names)
    completion = completer(observed_object(thing, views, up), wanted)
    return CompletedObject(thing, _in_world(completion, thing.state.origin), len(views))


def category_for(label: str, category: str, known: Collection[str]) -> str | None:
    """Return the category of an object; None = unknown.

    Args:
        label: its class name in the map, may be empty. category: what a person says; empty =
            nothing. known: the categories that there are priors for.
    Raises:
        NoPriorError: if what it is called is none of these.
    """
    if not known:
        raise NoPriorError(
            "expected priors of objects, got none: set completion.priors to a folder with some"
        )
    name = category.strip() or label
    if not name:
        return None
    found = category_of(name, known)
    if found is None:
        remedy = "" if category.strip() else "; if it is one of them, name it (category)"
        names = ", ".join(sorted(known))
        raise NoPriorError(f"no prior for '{name}': there are priors for {names}{remedy}")
    return found


def observed_object(
    thing: MapObject, views: tuple[ObservedView, ...], up: str = "+z"
) -> ObservedObject:
    """Return what is known of an object, in map coordinates (from the map's origin on)."""
    own, upward = thing.own, ground_axes(up)[2]
    return ObservedObject(
        points=own.xyz.astype(np.float64),
        normals=own.normals.astype(np.float64),
        colors=own.color,
        views=views,
        up=upward,
        ground_m=support_height(thing, upward),
    )


def support_height(thing: MapObject, upward: NDArray[np.float64]) -> float | None:
    """Return the height of what an object stands on, map coordinates along ``upward``, metres.

    That is the highest level surface of other labels below its lowest points, under its box or
    beside it; None if the map shows none.
    """
    own, points = thing.own.xyz @ upward, thing.points
    others = ~np.isin(points.label, np.unique(points.label[thing.indices]))
    others[thing.indices] = False
    height = points.xyz @ upward
    level = others & (points.normals @ upward > LEVEL) & (height < np.quantile(own, 0.02) + SLACK_M)
    across = points.xyz - height[:, None] * upward
    low, high = across[thing.indices].min(0), across[thing.indices].max(0)
    for reach in REACHES_M:
        near = level & ((across >= low - reach) & (across <= high + reach)).all(1)
        if near.sum() >= LEAST_SUPPORT:
            return _highest_plane(height[near])
    return None


def _highest_plane(heights: NDArray[np.floating]) -> float | None:
    """Return the median of the highest band of heights with a fair share of them."""
    bands = np.floor(heights / BAND_M).astype(np.int64)
    for band in np.unique(bands)[::-1]:
        inside = np.abs(bands - band) <= 1
        if inside.sum() >= max(LEAST_SUPPORT, SUPPORT_SHARE * len(heights)):
            return float(np.median(heights[inside]))
    return None


def _in_world(completion: Completion, origin: NDArray[np.float64]) -> Completion:
    """Return a completion in the frame of the map instead of map coordinates."""
    return replace(
        completion,
        points=completion.points + origin,
        T_world_object=moved(completion.T_world_object, origin),
        boxes=tuple(
            replace(box, T_world_part=moved(box.T_world_part, origin)) for box in completion.boxes
        ),
    )


def sentence(completed: CompletedObject) -> str:
    """Return what was completed, in one sentence."""
    found, thing = completed.completion, completed.thing
    what = f"hit {thing.hit_id}" if thing.hit_id else "the box"
    label = f" ({thing.label})" if thing.label else ""
    guessed = [box.name for box in found.boxes if box.observed < 0.5]
    parts = f"{len(found.boxes)} parts"
    if guessed:
        parts += f", predicted for the most part: {', '.join(dict.fromkeys(guessed))}"
    source = f"{completed.view_count} images" if completed.view_count else "its points alone"
    return (
        f"{what}{label} as a whole: {found.category}, confidence {found.confidence:.2f}; {parts}; "
        f"from {source}"
    )
