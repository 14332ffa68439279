"""Observations of the simulated room's pieces from a walk that ends halfway: from one side."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.room.layout import Piece
from semantic_field.data.room.shapes import extent, yaw_rotation
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.frames import Frame
from semantic_field.geometry import make_transform
from semantic_field.object_prior.one_sided_scans import (
    OneSidedScan,
    cropped,
    observation,
    solid_object,
)

LEAST_PIXELS = 250  # with a depth reading, of the object in a view


def room_scans(
    room: SimulatedRoom, names: Collection[str], views: int = 3, walked: float = 0.5
) -> Iterator[tuple[str, OneSidedScan]]:
    """Yield name and observation of each piece that the first part of the walk shows well.

    Args:
        names: labels of the pieces.
        views: most views of a piece: those that show most of it.
        walked: share of the walk.
    """
    frames = [room[index] for index in range(max(1, round(walked * len(room))))]
    for piece in room.layout.pieces:
        if piece.name in names:
            seen = piece_scan(piece, frames, views)
            if seen is not None:
                yield piece.name, seen


def piece_scan(piece: Piece, frames: Collection[Frame], views: int) -> OneSidedScan | None:
    """Return the observation of a piece in frames with instance ids; None if none shows it well."""
    found = []
    for frame in frames:
        assert frame.instances is not None, "the room knows its instances"
        mask = frame.instances == piece.instance
        count = int((mask & (frame.depth > 0)).sum())
        if count >= LEAST_PIXELS:
            found.append((count, len(found), frame, mask))
    best = sorted(found, reverse=True, key=lambda entry: entry[:2])[:views]
    if not best:
        return None
    crops = tuple(
        cropped(frame.color, frame.depth, mask, frame.camera, frame.T_world_camera)
        for _, _, frame, mask in best
    )
    observed = observation(crops)
    if len(observed.points) < LEAST_PIXELS:
        return None
    return OneSidedScan(observed, *_own_frame(piece))


def _own_frame(piece: Piece) -> tuple[NDArray[np.float64], ObjectModel]:
    """Return T_world_object (4, 4) and the piece as an object in its own frame."""
    back = yaw_rotation(-piece.yaw)
    shapes = [shape.moved(back, -back @ piece.position) for shape in piece.shapes]
    low, high = extent(shapes)
    offset = np.append((low + high)[:2] / 2, low[2])
    turned = yaw_rotation(piece.yaw)
    pose = np.asarray(make_transform(turned, piece.position + turned @ offset), np.float64)
    return pose, solid_object(piece.name, shapes)
