"""The simulated room's chairs, dining tables, mugs and lamps as designs of the generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.objects.lamps import LampDesign, lamp_solids
from semantic_field.data.objects.object_model import ObjectModel, assembled
from semantic_field.data.objects.procedural_objects import PART_NAMES
from semantic_field.data.objects.seats import ChairDesign, chair_solids
from semantic_field.data.objects.tables import TableDesign, table_solids
from semantic_field.data.objects.vessels import MugDesign, mug_solids
from semantic_field.data.room.layout import Piece
from semantic_field.data.room.shapes import Material, Shape, extent, yaw_rotation
from semantic_field.geometry import make_transform

ANY = Material()
CHAIR = ChairDesign(
    width=0.42,
    depth=0.42,
    seat_height=0.43,
    seat_thickness=0.025,
    pad=0.03,
    height=0.90,
    thickness=0.036,
    round_seat=False,
    base="legs",
    back="slats",
    arms="none",
    slats=3,
    slat=0.075,
    clearance=0.105,
    recline=0.0,
    stretchers=True,
    frame=ANY,
    board=ANY,
    cover=ANY,
)
MUG = MugDesign(
    radius=0.042,
    height=0.10,
    taper=1.0,
    foot=0.0,
    handle="box",
    reach=0.032,
    low=0.024,
    high=0.081,
    thickness=0.012,
    drink_height=0.0015,
    glaze=ANY,
    handle_glaze=ANY,
    drink=ANY,
)
FLOOR_LAMP = LampDesign(
    base="disc",
    base_radius=0.15,
    base_height=0.025,
    pole_radius=0.013,
    pole_top=1.375,
    bend=0.0,
    shade="cone",
    shade_radius=0.21,
    shade_height=0.30,
    taper=0.62,
    shade_low=1.34,
    metal=ANY,
    foot=ANY,
    cloth=ANY,
)


def dining_table(length: float) -> TableDesign:
    """Return the design of the room's dining table of a length, metres."""
    return TableDesign(
        length=length,
        depth=0.84,
        height=0.75,
        top=0.04,
        round_top=False,
        base="legs",
        thickness=0.065,
        inset=0.03,
        apron=0.09,
        shelf=0.0,
        drawers=0,
        frame=ANY,
        board=ANY,
        metal=ANY,
    )


def _table_of(shapes: Sequence[Shape]) -> Mapping[str, list[Shape]]:
    low, high = extent(list(shapes))
    return table_solids(dining_table(float(high[0] - low[0])))


# The room's name of a piece: the generator's category, and its solids by part.
ROOM_PIECES: dict[str, tuple[str, Callable[[Sequence[Shape]], Mapping[str, list[Shape]]]]] = {
    "chair": ("chair", lambda shapes: chair_solids(CHAIR)),
    "dining table": ("table", _table_of),
    "mug": ("mug", lambda shapes: mug_solids(MUG)),
    "lamp": ("lamp", lambda shapes: lamp_solids(FLOOR_LAMP)),
}


def model_of_piece(piece: Piece) -> tuple[ObjectModel, NDArray[np.float64]]:
    """Return the object that a piece of the room is, with its parts, and T_world_object (4, 4).

    Raises:
        ValueError: if the generator has no such thing, such as a sofa or a lamp at the ceiling.
    """
    if piece.name not in ROOM_PIECES:
        raise ValueError(f"expected one of {', '.join(ROOM_PIECES)}, got {piece.name!r}")
    turn = yaw_rotation(piece.yaw)
    own = [shape.moved(turn.T, -turn.T @ piece.position) for shape in piece.shapes]
    category, solids = ROOM_PIECES[piece.name]
    parts = parts_of_solids(own, solids(own))
    model = assembled(
        category,
        f"room-{piece.name.replace(' ', '-')}-{piece.instance}",
        PART_NAMES[category],
        {part: [s for s, p in zip(own, parts) if p == part] for part in set(parts)},
    )
    low, high = extent(own)
    shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    T_world_object = make_transform(turn, turn @ shift + piece.position)
    return model, np.asarray(T_world_object, np.float64)


def parts_of_solids(shapes: Sequence[Shape], known: Mapping[str, Sequence[Shape]]) -> list[str]:
    """Return the part of each solid: that of the solid in ``known`` of the same form and place.

    Raises:
        ValueError: if the numbers of solids differ, or a solid is not among the known ones.
    """
    pairs = [(part, shape) for part, members in known.items() for shape in members]
    parts = [part for shape in shapes for part, other in pairs if same_solid(shape, other)]
    if len(parts) != len(shapes) or len(pairs) != len(shapes):
        raise ValueError(
            f"expected the {len(pairs)} solids of a known design, got {len(shapes)}, of which "
            f"{len(parts)} are known: this piece is another kind"
        )
    return parts


def same_solid(first: Shape, second: Shape, tolerance_m: float = 1e-5) -> bool:
    """Return whether two solids have the same form and place, whatever their materials."""
    if first.kind != second.kind or abs(first.top - second.top) > 1e-5:
        return False
    sizes = np.abs(first.half - second.half).max() < tolerance_m
    places = np.abs(first.bounds() - second.bounds()).max() < tolerance_m
    return bool(sizes and places and np.abs(first.rotation - second.rotation).max() < 1e-6)
