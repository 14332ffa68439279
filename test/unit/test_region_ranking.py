"""Region semantic ranking, by hand."""

import numpy as np

from semantic_field.mapping.region_ranking import (
    PRIOR_PIXELS,
    mended_ranking,
    pixels_of,
    released_ranking,
)
from semantic_field.teachers.regions import Regions

LABELS = np.array(
    [
        [1, 1, 2, 2],
        [1, 0, 2, 3],
        [0, 0, 3, 3],
        [0, 0, 0, 5],
    ]
)


def regions(*pictures):
    masks = [np.array([[c == "x" for c in row] for row in p.split()]) for p in pictures]
    return Regions.from_masks(masks, LABELS.shape)


LEFT_TOP = "xx.. xx.. .... ...."
RIGHT = "..xx ..xx ..xx ...."
TIE = ".... ...x ..x. ...x"  # 3 3 5: no tie; see below
ZEROS = ".... .... xx.. xx.."


def test_released_rule_with_order_skips_and_uncovered_pixels():
    ranked = released_ranking(LABELS, regions(LEFT_TOP, RIGHT, ZEROS))
    # left top: 1 1 1 (the 0 does not vote, and is overwritten). Right: 2 2 2 against 3 3 3: a tie,
    # the smaller label wins. Zeros: nothing votes, skipped. The last row's 5 is in no region.
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [0, 0, 2, 2], [0, 0, 0, 0]]
    assert ranked.tolist() == expected


def test_the_last_region_overwrites_whatever_its_size():
    whole = "xxxx xxxx xxxx xxxx"
    assert (released_ranking(LABELS, regions(LEFT_TOP, whole)) == 1).all()
    small_last = released_ranking(LABELS, regions(whole, TIE))
    assert small_last[3, 3] == 3 and small_last[0, 0] == 1
    # A later region of zeros alone is skipped: what was written before stays.
    assert (released_ranking(LABELS, regions(whole, ZEROS)) == 1).all()


def test_without_regions_everything_is_unlabelled():
    assert not released_ranking(LABELS, regions()).any()
    rows, sure = mended_ranking(np.ones((4, 4, 2), np.float32), regions())
    assert (rows == -1).all() and not sure.any()


def test_mended_rule_counts_probabilities_and_leaves_the_rest_alone():
    probability = np.zeros((4, 4, 3), np.float32)
    probability[..., 0] = 0.6
    probability[..., 1] = 0.4
    probability[0, 0] = [0.0, 1.0, 0.0]  # 3 * .6 = 1.8 against 1 + 3 * .4 = 2.2
    rows, sure = mended_ranking(probability, regions(LEFT_TOP))
    assert (rows[:2, :2] == 1).all()
    np.testing.assert_allclose(sure[:2, :2], 0.4 / (4 + PRIOR_PIXELS), rtol=1e-5)
    assert (rows == -1).sum() == 12 and (sure == 0).sum() == 12


def test_where_regions_overlap_the_surest_one_counts():
    probability = np.zeros((4, 4, 2), np.float32)
    probability[..., 0], probability[..., 1] = 0.55, 0.45
    probability[:2, :2] = [0.0, 1.0]
    whole = "xxxx xxxx xxxx xxxx"
    # whole: 12 * .55 = 6.6 against 12 * .45 + 4 = 9.4; left top: 0 against 4: surer.
    for order in ((whole, LEFT_TOP), (LEFT_TOP, whole)):
        rows, sure = mended_ranking(probability, regions(*order))
        assert (rows == 1).all()
        assert sure[0, 0] == np.float32(4 / (4 + PRIOR_PIXELS))
        np.testing.assert_allclose(sure[3, 3], 2.8 / (16 + PRIOR_PIXELS), rtol=1e-5)


def test_a_region_over_nothing_has_no_label():
    rows, _ = mended_ranking(np.zeros((2, 2, 3), np.float32), regions(LEFT_TOP))
    assert (rows == -1).all()


def test_pixels_of_masks():
    pixels, owner = pixels_of(regions(LEFT_TOP, "x..x .... .... x..."))
    assert pixels.tolist() == [0, 1, 4, 5, 0, 3, 12]
    assert owner.tolist() == [0, 0, 0, 0, 1, 1, 1]
