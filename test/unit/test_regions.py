"""Regions: masks kept as runs, and features pooled under them."""

import numpy as np
import pytest
import torch

from semantic_field.teachers.regions import Regions, pool_features


def test_masks_come_back_as_they_were():
    random = np.random.default_rng(0)
    masks = random.random((7, 5, 9)) < 0.5
    masks[2], masks[3] = False, True  # nothing, and everything
    regions = Regions.from_masks(masks, (5, 9), scores=np.linspace(0, 1, 7))
    assert np.array_equal(regions.masks, masks) and len(regions) == 7
    assert regions.areas.tolist() == masks.sum((1, 2)).tolist()
    assert np.array_equal(list(regions), masks)
    assert regions.scores[-1] == 1 and regions.ids.tolist() == list(range(7))


def test_last_mask_wins_in_the_label_image():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, :, :2], masks[1, :, 1] = True, True
    image = Regions.from_masks(masks, (2, 3)).label_image()
    assert image.tolist() == [[0, 1, -1], [0, 1, -1]]


def test_regions_of_a_label_image_largest_first():
    labels = np.array([[7, 7, 3], [7, -1, 3]])
    regions = Regions.from_label_image(labels)
    assert regions.ids.tolist() == [7, 3]
    assert np.array_equal(regions.masks, [labels == 7, labels == 3])
    assert len(Regions.from_label_image(np.full((2, 2), -1))) == 0


def test_misfits_are_refused():
    with pytest.raises(ValueError, match="masks bool"):
        Regions.from_masks([np.zeros((2, 3), bool)], (3, 2))
    with pytest.raises(ValueError, match="scores"):
        Regions.from_masks([np.zeros((2, 3), bool)], (2, 3), scores=np.zeros(2))


def test_pooling_weighs_cells_by_what_a_mask_covers():
    """Two cells of 2x2 pixels; a mask over all of the first and half of the second."""
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # (1, 2, 2)
    mask = np.array([[True, True, True, False], [True, True, True, False]])
    pooled = pool_features(features, Regions.from_masks([mask, ~mask & False], (2, 4)))
    assert torch.allclose(pooled[0], torch.tensor([2.0, 1.0]) / 5**0.5)
    assert not pooled[1].any()
    assert pool_features(features, Regions.from_masks([], (2, 4))).shape == (0, 2)
