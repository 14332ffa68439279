"""The simulated room's own things are among what the generator makes."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from semantic_field.data.objects import lamps, room_pieces, seats, tables, vessels
from semantic_field.data.objects.room_pieces import (
    CHAIR,
    FLOOR_LAMP,
    MUG,
    ROOM_PIECES,
    dining_table,
    model_of_piece,
    parts_of_solids,
)
from semantic_field.data.room import furniture, kitchen
from semantic_field.data.room.layout import make_layout
from semantic_field.data.room.shapes import Material
from semantic_field.geometry import transform_points

WOOD = furniture.WOOD_COLORS[0]


@pytest.mark.parametrize(
    ("solids", "known"),
    [
        (furniture.chair(np.random.default_rng(0), WOOD), seats.chair_solids(CHAIR)),
        (
            furniture.dining_table(np.random.default_rng(0), WOOD, 1.3),
            tables.table_solids(dining_table(1.3)),
        ),
        (kitchen.mug(np.random.default_rng(0)), vessels.mug_solids(MUG)),
        (furniture.floor_lamp(np.random.default_rng(0)), lamps.lamp_solids(FLOOR_LAMP)),
    ],
    ids=["chair", "dining table", "mug", "lamp"],
)
def test_the_rooms_things_are_designs_of_the_generator(solids, known) -> None:
    """Every solid of the room's thing is one of the design's, and the other way round."""
    parts = parts_of_solids(solids, known)
    assert len(parts) == len(solids)
    assert {part: parts.count(part) for part in parts} == {
        part: len(own) for part, own in known.items() if own
    }


@pytest.mark.parametrize(
    ("design", "draw"),
    [
        (CHAIR, seats.random_chair),
        (dining_table(1.5), tables.random_table),
        (MUG, vessels.random_mug),
        (FLOOR_LAMP, lamps.random_lamp),
    ],
    ids=["chair", "dining table", "mug", "lamp"],
)
def test_their_sizes_and_forms_are_within_what_is_drawn(design, draw) -> None:
    """Each number lies in the range of 2000 random designs, each form occurs among them."""
    drawn = [asdict(draw(np.random.default_rng(seed))) for seed in range(2000)]
    for name, value in asdict(design).items():
        values = [other[name] for other in drawn]
        if isinstance(value, (str, bool)):
            assert value in values, f"{name} = {value}"
        elif isinstance(value, (int, float)):
            assert min(values) <= value <= max(values), f"{name} = {value}"


def test_pieces_of_a_room_become_objects_in_its_frame() -> None:
    layout = make_layout(3)
    pieces = [piece for piece in layout.pieces if piece.name in ("chair", "mug", "dining table")]
    assert len(pieces) >= 3
    for piece in pieces:
        model, T_world_object = model_of_piece(piece)
        assert model.category == ROOM_PIECES[piece.name][0]
        assert len(model.shapes) == len(piece.shapes)
        centres = np.stack([shape.centre for shape in model.shapes])
        moved = transform_points(T_world_object, centres)
        wanted = np.stack([shape.centre for shape in piece.shapes])
        apart = np.linalg.norm(moved[:, None] - wanted[None], axis=2)
        assert apart.min(axis=0).max() < 1e-9 and apart.min(axis=1).max() < 1e-9
        assert model.bounds()[0, 2] == pytest.approx(0)


def test_a_piece_that_the_generator_does_not_know_is_refused() -> None:
    layout = make_layout(3)
    sofa = next(piece for piece in layout.pieces if piece.name == "sofa")
    with pytest.raises(ValueError, match="expected one of chair, dining table, mug, lamp"):
        model_of_piece(sofa)
    other = [furniture.box((0, 0, 0), (1, 1, 1), Material())]
    with pytest.raises(ValueError, match="this piece is another kind"):
        parts_of_solids(other, seats.chair_solids(room_pieces.CHAIR))
