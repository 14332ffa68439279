"""The rules of Semantic-NeRF's label tasks, by hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.evaluation.protocols import corruptors


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_evenly_spaced_frames() -> None:
    # 10 = 3 * 3 + 1: the first distance is one longer
    assert corruptors.evenly(10, 3) == [0, 4, 7]
    assert corruptors.evenly(4, 4) == [0, 1, 2, 3]


def test_sparse_views_drop_evenly_up_to_a_half_and_keep_evenly_beyond() -> None:
    assert corruptors.sparse_views(10, 0.0) == list(range(10))
    assert corruptors.sparse_views(10, 0.3) == [1, 2, 3, 5, 6, 8, 9]  # without 0, 4, 7
    assert corruptors.sparse_views(10, 0.5) == [1, 3, 5, 7, 9]
    assert corruptors.sparse_views(10, 0.79) == [0, 4, 7]  # int(7.9) = 7 are lost
    assert corruptors.sparse_views(10, 1.0) == []


def test_pixel_noise_changes_its_share_of_pixels_to_classes_and_void() -> None:
    labels = np.full((100, 100), 99, np.int32)  # no class: every noisy pixel is seen
    noisy = corruptors.pixel_noise(labels, 0.3, [1, 2, 3], random())
    changed = noisy != 99
    assert changed.sum() == 3000
    values, counts = np.unique(noisy[changed], return_counts=True)
    assert values.tolist() == [-1, 1, 2, 3]
    np.testing.assert_allclose(counts / 3000, 0.25, atol=0.03)
    assert (labels == 99).all()
    np.testing.assert_array_equal(noisy, corruptors.pixel_noise(labels, 0.3, [1, 2, 3], random()))
    assert (noisy != corruptors.pixel_noise(labels, 0.3, [1, 2, 3], random(1))).any()


def test_region_noise_takes_the_smallest_or_every_second_frame() -> None:
    areas = {7: {0: 50, 1: 10, 2: 40, 3: 20, 4: 30}}  # by area: frames 1, 3, 4, 2, 0
    flips = corruptors.region_noise(areas, 0.5, False, [4, 5], random())
    assert sorted(flips) == [(1, 7), (3, 7)]  # int(2.5) = 2 frames
    assert set(flips.values()) <= {-1, 4, 5}
    even = corruptors.region_noise(areas, 0.5, True, [4, 5], random())
    assert sorted(even) == [(1, 7), (2, 7)]  # places 0 and 3 of 5
    more = corruptors.region_noise(areas, 0.8, True, [4, 5], random())
    assert sorted(more) == [(0, 7), (2, 7), (3, 7), (4, 7)]  # only the smallest one is kept


def test_super_resolution() -> None:
    labels = np.arange(16, dtype=np.int32).reshape(4, 4)
    sparse = corruptors.super_resolution(labels, 2, dense=False)
    assert sparse.tolist() == [[0, -1, 2, -1], [-1] * 4, [8, -1, 10, -1], [-1] * 4]
    dense = corruptors.super_resolution(labels, 2, dense=True)
    assert dense.tolist() == [[0, 0, 2, 2], [0, 0, 2, 2], [8, 8, 10, 10], [8, 8, 10, 10]]


def two_areas() -> np.ndarray:
    labels = np.full((20, 40), -1, np.int32)
    labels[:, :10], labels[:, 10:30], labels[:4, 36:] = 3, 5, 3
    return labels


def test_one_click_for_each_class() -> None:
    labels = two_areas()
    clicked = corruptors.clicks(labels, 0.0, random())
    for class_id in (3, 5):
        assert (clicked == class_id).sum() == 1
        assert labels[clicked == class_id] == class_id
    assert (clicked >= 0).sum() == 2


@pytest.mark.parametrize("share", [0.05, 0.6, 1.0])
def test_clicks_grow_inside_their_class(share: float) -> None:
    labels = two_areas()
    clicked = corruptors.clicks(labels, share, random())
    assert (labels[clicked >= 0] == clicked[clicked >= 0]).all()
    for class_id in (3, 5):
        area, marked = (labels == class_id).sum(), (clicked == class_id).sum()
        assert marked >= int(share * area)
        if share < 0.5:  # the last dilation adds no more than a ring
            assert marked <= share * area + 40
    if share == 1.0:  # both pieces of class 3: a new seed where growing is stuck
        np.testing.assert_array_equal(clicked, labels)
