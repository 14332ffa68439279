"""Region semantic ranking, by hand."""

import numpy as np
import torch

from semantic_field.mapping.language.region_features import unit_features, units_of
from semantic_field.mapping.language.region_ranking import (
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


def test_a_pixel_belongs_to_its_smallest_region():
    whole, speck = "xxxx xxxx xxxx ....", "x... .... .... ...."
    units = units_of(regions(speck, whole, LEFT_TOP), most=9)
    assert units.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [-1] * 4]
    assert units_of(regions(speck, whole, LEFT_TOP), most=2)[0].tolist() == [-1, 1, 0, 0]
    assert (units_of(regions(), most=9) == -1).all()


def through_crops(features, edge):
    """Each cell the mean over all squares around it of what they show; (h, w, D), by hand."""
    h, w, _ = features.shape
    half = edge // 2

    def blurred(image):
        around = [
            [image[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].mean((0, 1))
             for x in range(w)] for y in range(h)
        ]  # fmt: skip
        return np.array(around)

    return blurred(blurred(features))


def test_what_a_small_region_shows_is_told_from_its_surroundings():
    units = np.zeros((24, 32), np.int16)
    units[8:13, 10:16], units[:, 28:] = 1, -1
    shows = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)  # the last: in no unit
    blurry = [through_crops(shows[units], edge) for edge in (5, 9)]
    seen = torch.from_numpy(np.stack(blurry).astype(np.float32))
    found, known = (part.numpy() for part in unit_features(seen, units, (5 / 24, 9 / 24)))
    assert 0.5 < known[1] < known[0] <= 1.0  # there are 30 cells of it, and 640 of the wall
    found /= known[:, None]
    plain = seen[:, units == 1].mean((0, 1)).numpy()
    assert plain.argmax() == 0  # mostly the wall around it
    assert found.shape == (2, 3) and found[1].argmax() == 1 and found[1, 1] > 0.8
    np.testing.assert_allclose(found[0], shows[0], atol=0.05)


def test_cells_seen_by_themselves_are_averaged():
    units = np.repeat(np.int16([[0, 0, 0, 1]]), 3, axis=0)
    seen = torch.zeros(1, 3, 4, 2)
    seen[0, :, :3, 0], seen[0, :, 3, 1] = 1.0, 1.0
    found, known = unit_features(seen, units, ())
    # Ridge regression: 9 and 3 cells of their own against 3 of the image's mean, which is left out.
    torch.testing.assert_close(known, torch.tensor([9 / 12, 3 / 6]))
    torch.testing.assert_close(found, known[:, None] * torch.eye(2))
    assert [len(part) for part in unit_features(seen, np.full((3, 4), -1, np.int16), ())] == [0, 0]


def test_cells_of_which_nothing_is_said_are_no_evidence():
    units = np.repeat(np.int16([[0, 0, 1, 1]]), 4, axis=0)
    seen = torch.zeros(2, 4, 4, 3)
    seen[:, :, :2, 0] = 1.0
    found, known = unit_features(seen, units, ())
    torch.testing.assert_close(known, torch.tensor([16 / 19, 0.0]))
    torch.testing.assert_close(found, known[:, None] * torch.tensor([1.0, 0.0, 0.0]))
    found, known = unit_features(seen, units, (2 / 4, 3 / 4))  # through crops that reach over
    assert found[1, 0] >= 0.0 and 0.0 < known[1] < 0.5 < known[0]
    assert not torch.cat([part.flatten() for part in unit_features(0.0 * seen, units, ())]).any()
