"""Labelled pixels, votes on noise, clicks that spread, and views that cover."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from semantic_field.config import Config
from semantic_field.data.sources import open_source
from semantic_field.data.view_selection import choose_views, greedy_cover
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping import Mapper
from semantic_field.mapping.keyframes.labelled_pixels import PER_CLASS, LabelledPixels
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.click_spreading import spread_clicks
from semantic_field.mapping.labels.noise_vote import agreement, voted, without_noise
from semantic_field.settings import updated

CAMERA = Camera(40.0, 40.0, 19.5, 14.5, 40, 30)


def test_labelled_pixels_are_drawn_by_class() -> None:
    noted, random = LabelledPixels(), np.random.default_rng(0)
    assert len(noted.draw(100, 0.5, random)[0]) == 0
    rows = np.full(1000, -1, np.int16)
    rows[:900], rows[990] = 0, 2
    noted.note(4, rows)
    assert noted.totals.tolist() == [900, 0, 1]
    slots, pixels = noted.draw(4000, 0.0, random)
    assert set(slots) == {4} and set(pixels) <= {*range(900), 990}
    assert (pixels == 990).mean() < 0.01
    pixels = noted.draw(4000, 0.5, random)[1]
    assert (pixels == 990).mean() == pytest.approx(1 / 31, abs=0.01)  # sqrt: 1 of 30 + 1
    pixels = noted.draw(4000, 1.0, random)[1]
    assert (pixels == 990).mean() == pytest.approx(0.5, abs=0.03)
    assert len(noted.draw(0, 0.5, random)[0]) == 0


def test_labelled_pixels_follow_their_keyframes() -> None:
    noted, random = LabelledPixels(), np.random.default_rng(0)
    for slot, row in ((0, 0), (1, 1), (2, 1)):
        noted.note(slot, np.full(50, row, np.int16))
    noted.move(2, 0)  # slot 0 is given up, the last one moves there
    assert noted.totals.tolist() == [0, 100]
    assert set(noted.draw(200, 0.5, random)[0]) == {0, 1}
    noted.note(1, np.full(50, -1, np.int16))
    assert set(noted.draw(200, 0.5, random)[0]) == {0}
    noted.forget(0)
    assert len(noted.draw(200, 0.5, random)[0]) == 0


def test_labelled_pixels_are_bounded_and_no_keyframe_is_favoured() -> None:
    noted, random = LabelledPixels(), np.random.default_rng(0)
    for slot in range(200):  # 1024 pixels each: three times what is kept
        noted.note(slot, np.zeros(5000, np.int16))
    assert noted.noted(0).shape[1] <= PER_CLASS
    slots = noted.draw(20000, 0.0, random)[0]
    early, late = (slots < 100).mean(), (slots >= 100).mean()
    assert early == pytest.approx(late, abs=0.05)


def test_a_share_of_the_rays_goes_to_clicked_pixels() -> None:
    store = KeyframeStore(40, 30, 1, (0.1, 10.0))
    for x in range(3):
        rows = np.full((30, 40), -1, np.int16)
        rows[10, 20] = x
        store.add(flat_frame(float(x)), rows)
    slots, pixels = store.choose_labelled(64, 0.5, np.random.default_rng(0))
    assert set(pixels) == {10 * 40 + 20} and set(slots) == {0, 1, 2}
    assert store.visits.sum() == 64
    rows = store.images.labels[slots, pixels]
    np.testing.assert_array_equal(rows, slots)


def flat_frame(x: float, color: np.ndarray | None = None, depth: float = 2.0) -> Frame:
    """A wall before a camera at x that looks along z."""
    image = np.full((30, 40, 3), 128, np.uint8) if color is None else color
    T = make_transform(np.eye(3), [x, 0, 0])
    return Frame(0, image, np.full((30, 40), depth, np.float32), CAMERA, T)


def test_noise_is_told_and_voted_away() -> None:
    random = np.random.default_rng(0)
    clean = np.zeros((60, 80), np.int16)
    clean[:, 40:] = 1
    clean[0, :20] = -1
    color = np.where((clean == 1)[..., None], np.uint8(200), np.uint8(60)).repeat(3, -1)
    assert agreement(clean) > 0.98
    assert without_noise(clean, color) is clean
    noisy = np.where(random.random(clean.shape) < 0.5, random.integers(-1, 9, clean.shape), clean)
    noisy = noisy.astype(np.int16)
    assert agreement(noisy) < 0.5
    found = voted(noisy, color)
    assert (found == clean)[clean >= 0].mean() > 0.99
    np.testing.assert_array_equal(without_noise(noisy, color), found)
    sparse = np.full_like(clean, -1)
    sparse[::8, ::8] = clean[::8, ::8]
    assert without_noise(sparse, color) is sparse  # no neighbours, no noise


def test_clicks_spread_over_the_surface_of_their_colour() -> None:
    """Two halves of a wall; each was clicked in one of three views only."""
    store = KeyframeStore(40, 30, 1, (0.1, 10.0))
    for slot, x in enumerate((0.0, 0.3, 0.6)):
        at = (np.arange(40) - CAMERA.cx) / CAMERA.fx + x  # metres along the wall
        right = np.broadcast_to(at > 0.4, (30, 40))
        color = np.where(right[..., None], np.uint8(210), np.uint8(40)).repeat(3, -1)
        rows = np.full((30, 40), -1, np.int16)
        if slot == 0:
            rows[15, 3] = 0
        elif slot == 2:
            rows[4, 38] = 1
        store.add(flat_frame(x, color, 1.0), rows)
    assert spread_clicks(store) < 0.005
    for slot, x in enumerate((0.0, 0.3, 0.6)):
        found = store.images.labels[slot].reshape(30, 40)
        at = np.broadcast_to((np.arange(40) - CAMERA.cx) / CAMERA.fx + x, (30, 40))
        known = (found >= 0) & (np.abs(at - 0.4) > 0.1)
        assert known.sum() > 50
        assert ((found == 1) == (at > 0.4))[known].mean() > 0.95
    assert store.labelled.totals.min() > 30
    before = store.images.labels.copy()
    assert spread_clicks(store) > 0.005  # dense labels stay as they are
    np.testing.assert_array_equal(store.images.labels, before)


def test_a_mapper_learns_from_spread_clicks() -> None:
    source = open_source("room:seed=2,frames=3,width=80,height=60")
    values = {"field.grid.log2_table_size": 12, "field.grid.levels": 4, "mapping.seed": 1}
    mapper = Mapper(updated(Config(), values))
    mapper.set_label_names(source.label_names)
    for i in range(3):
        frame = source[i]
        labels = np.full_like(frame.labels, -1)
        labels[30, 40] = frame.labels[30, 40]
        mapper.add_frame(dataclasses.replace(frame, labels=labels))
    assert 0 < mapper.spread_clicks() < 0.005
    mapper.train_steps(3)
    assert mapper.status().losses["label"] > 0


def test_greedy_cover_takes_what_adds_most() -> None:
    sets = [np.array(s) for s in ([1, 2, 3], [3, 4, 5, 6], [1, 2, 7], [6])]
    assert greedy_cover(sets, 1) == [1]
    assert greedy_cover(sets, 9) == [1, 2]  # then 1, 2, 7 are new; all others add nothing
    assert greedy_cover([], 2) == []


def test_chosen_views_show_different_places() -> None:
    frames = [flat_frame(x) for x in (0.0, 0.1, 0.2, 5.0, 5.1)]
    chosen = choose_views(frames, 2)
    assert len(chosen) == 2 and chosen[0] < 3 <= chosen[1]
