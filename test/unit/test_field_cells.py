"""Numbers of cells: unique up to the limit, in steps to neighbours, looked up among others."""

import numpy as np

from semantic_field.field.cells import (
    FARTHEST,
    HALF_AROUND,
    cell_numbers,
    find_cells,
    numbers_of,
    step_number,
)


def test_numbers_rise_with_x_then_y_then_z_up_to_the_limit():
    last = FARTHEST - 1
    cells = [
        [-FARTHEST] * 3,
        [-1, last, last],
        [0, -FARTHEST, last],
        [0, 0, -1],
        [0, 0, 0],
        [last] * 3,
    ]
    numbers = numbers_of(np.array(cells, np.int32))
    assert (np.diff(numbers) > 0).all()
    assert numbers[0] == 0 and numbers[-1] == (1 << 63) - 1


def test_points_of_a_cell_have_its_number():
    points = np.array([[-0.01, 0.0, 0.19], [-0.09, 0.05, 0.11]])
    np.testing.assert_array_equal(cell_numbers(points, 0.1), numbers_of(np.array([[-1, 0, 1]] * 2)))


def test_a_step_leads_to_the_neighbour():
    here = np.array([[5, 0, -7]])
    for step in np.concatenate([HALF_AROUND, -HALF_AROUND]):
        assert numbers_of(here)[0] + step_number(step) == numbers_of(here + step)[0]
    assert len(np.unique(np.concatenate([HALF_AROUND, -HALF_AROUND]), axis=0)) == 26


def test_cells_are_found_where_they_are():
    place, there = find_cells(np.array([3, 5, 9]), np.array([9, 4, 3, 10]))
    np.testing.assert_array_equal(there, [True, False, True, False])
    np.testing.assert_array_equal(place[there], [2, 0])


def test_among_no_cells_none_is_found():
    _, there = find_cells(np.zeros(0, np.int64), np.array([3, 4]))
    np.testing.assert_array_equal(there, [False, False])
