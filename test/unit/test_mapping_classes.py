"""Class ids and the rows of the label head."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.mapping.labels.classes import ClassTable


@pytest.mark.parametrize("shape", [(6, 5), (1, 1), (0, 0)])
def test_rows_are_those_of_a_loop(shape: tuple[int, int]) -> None:
    table = ClassTable()
    table.set_names({40: "chair", 7: "void", 65_000: "lamp"})
    labels = np.random.default_rng(0).choice([-7, -1, 0, 7, 40, 65_000], shape).astype(np.int32)
    rows = table.rows(labels)
    wanted = [[-1 if i < 0 or i == 7 else table.row(i) for i in line] for line in labels.tolist()]
    np.testing.assert_array_equal(rows, np.array(wanted, np.int16).reshape(shape))
    assert rows.dtype == np.int16
    assert 7 not in table.ids


def test_nothing_but_void_meets_no_class() -> None:
    table = ClassTable()
    assert (table.rows(np.full((3, 4), -1, np.int32)) == -1).all()
    assert len(table) == 0


def test_rows_of_met_ids_never_change() -> None:
    table = ClassTable()
    first = table.rows(np.array([[9, 3]], np.int32))
    table.rows(np.array([[1, 200]], np.int32))
    np.testing.assert_array_equal(table.rows(np.array([[9, 3]], np.int32)), first)
