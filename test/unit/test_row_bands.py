"""Bands of rows: they cover an image once, look as far as they must, and change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.generalizable import fast_products, row_bands
from semantic_field.generalizable.episodes import Episode, make_episode
from semantic_field.generalizable.generalizable_model import Prediction
from semantic_field.generalizable.row_bands import bands, predicted_in_bands, run_on_threads
from semantic_field.generalizable.training.weight_files import load_model, without_tiny


@pytest.fixture(scope="module")
def episode() -> Episode:
    room = SimulatedRoom(seed=2, n_frames=80, size=(64, 48), noise=False)
    chosen = [room[i] for i in (6, 8, 10, 4)]
    return make_episode(room[7], chosen, chosen)


def predicted(episode: Episode) -> Prediction:
    model = load_model("gsnerf")
    with torch.inference_mode():
        features = model.extract(episode.sources.colors)
        return model(replace(episode.sources, features=features), episode.rays)


def test_bands_by_hand() -> None:
    found = bands(10, 2, 3)
    assert [band.given for band in found] == [slice(0, 8), slice(2, 10)]
    assert [band.kept for band in found] == [slice(0, 5), slice(3, 8)]
    assert len(bands(10, 8, 3)) == 3  # none is smaller than what it looks at beside itself
    assert bands(2, 4, 6) == [(slice(0, 2), slice(0, 2))]


def test_a_view_in_bands_is_the_view_at_once(episode: Episode, monkeypatch) -> None:
    """Also across the bands' edges, where neighbours are averaged."""
    monkeypatch.setattr(fast_products, "has_tiles", lambda: False)  # the same type for all
    whole = predicted(episode)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    in_bands = predicted(episode)
    for name in ("color", "depth", "confidence", "scores"):
        one, other = getattr(whole, name), getattr(in_bands, name)
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_bands_that_look_too_little_would_be_noticed(episode: Episode, monkeypatch) -> None:
    monkeypatch.setattr(fast_products, "has_tiles", lambda: False)
    whole = predicted(episode)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    blind = lambda rows, count, reach: bands(rows, count, 1)  # noqa: E731
    monkeypatch.setattr(row_bands, "bands", blind)
    off = (predicted(episode).color - whole.color).abs().amax((1, 2))
    assert (off > 1e-3).any() and (off[:8] < 1e-5).all()


def test_threads_have_the_mode_of_their_caller_and_the_caller_its_threads() -> None:
    before = torch.get_num_threads()
    found: dict[int, tuple[int, bool]] = {}

    def work(number: int) -> None:
        found[number] = torch.get_num_threads(), torch.is_inference_mode_enabled()

    with torch.inference_mode():
        run_on_threads(work, 3)
    assert found == {number: (1, True) for number in range(3)}
    assert torch.get_num_threads() == before


def test_an_error_in_a_band_is_raised() -> None:
    def predict(rays, depths):
        raise ValueError("no such band")

    rays = make_rays()
    with pytest.raises(ValueError, match="no such band"):
        predicted_in_bands(predict, rays, torch.ones(48, 64, 1), 2, 2)


def make_rays():
    room = SimulatedRoom(seed=2, n_frames=4, size=(64, 48), noise=False)
    return make_episode(room[0], [room[1]], [room[1]]).rays


def test_products_in_bfloat16_change_next_to_nothing(episode: Episode, monkeypatch) -> None:
    """What a view loses by them: less than a hundredth of the error that it has anyway."""
    monkeypatch.setattr(fast_products, "has_tiles", lambda: False)
    exact = predicted(episode)
    monkeypatch.setattr(fast_products, "has_tiles", lambda: True)  # slower elsewhere, but the same
    coarse = predicted(episode)
    off = (exact.color - coarse.color).square().mean()
    own = (exact.color - episode.truth.color).square().mean()
    assert 0 < off < 0.01 * own
    assert exact.scores is not None and coarse.scores is not None
    same = exact.scores.argmax(-1) == coarse.scores.argmax(-1)
    assert same.float().mean() > 0.998
    assert (exact.confidence - coarse.confidence).abs().max() < 0.05


def test_gradients_are_never_computed_in_bfloat16(monkeypatch) -> None:
    monkeypatch.setattr(fast_products, "has_tiles", lambda: True)
    x = torch.zeros(1)
    assert fast_products.hidden_type(x) == torch.float32
    with torch.no_grad():
        assert fast_products.hidden_type(x) == torch.bfloat16


def test_weights_that_are_hardly_numbers_become_zero() -> None:
    found = without_tiny(torch.tensor([1e-30, -1e-40, 1e-10, 2.0, 0.0]))
    assert found.tolist() == [0.0, 0.0, pytest.approx(1e-10), 2.0, 0.0]
    for value in load_model("gsnerf").state_dict().values():
        small = value.abs()
        assert not ((small > 0) & (small < np.finfo(np.float32).tiny)).any()
