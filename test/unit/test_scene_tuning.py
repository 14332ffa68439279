"""Fine-tuning on a scene: what is trained, what is left out, and that it never gets worse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.generalizable.episodes import EpisodeMaker, EpisodeSettings, Scene
from semantic_field.generalizable.sensor_noise import EXACT
from semantic_field.generalizable.training.fine_tuning import FineTuning, average, fine_tuned
from semantic_field.generalizable.training.held_out_figures import held_out_figures
from semantic_field.generalizable.training.scene_tuning import (
    TuningEpisodes,
    gain,
    left_out,
    tuned_on_scene,
    tuning_settings,
)
from semantic_field.generalizable.training.weight_files import build_model, same_weights

SMALL = {"system": "gsnerf", "branch": "statistics", "depth": "readings"}


@pytest.fixture(scope="module")
def scene() -> Scene:
    room = SimulatedRoom(seed=2, n_frames=80, size=(64, 48), noise=False)
    return Scene([room[i] for i in range(7)], dict(room.label_names))


def small_model():
    torch.manual_seed(0)
    return build_model(SMALL).eval()


def test_a_sixth_of_the_frames_is_left_out() -> None:
    assert left_out(18) == [3, 9, 15] and left_out(4) == [2] and left_out(6) == [3]


def test_short_recordings_are_trained_on_until_there_is_no_target_left() -> None:
    assert tuning_settings(30).strides == (1, 2) and tuning_settings(4).strides == (1, 1)
    assert tuning_settings(30).noises == (EXACT,)  # its faults are in it already
    with pytest.raises(ValueError, match=r"at least 4 frames.*got 3: record for longer"):
        tuning_settings(3)


def test_left_out_frames_are_never_targets_of_training(scene: Scene) -> None:
    maker = EpisodeMaker(scene, EpisodeSettings(strides=(1, 1), noises=(EXACT,)), [1, 4])
    shown = {
        tuple(maker(np.random.default_rng(i)).truth.color.mean((0, 1)).tolist()) for i in range(9)
    }
    frames = [scene.frames[i].color.reshape(-1, 3).mean(0) / 255 for i in (1, 4)]
    for color in shown:
        assert min(np.abs(color - frame).max() for frame in frames) < 1e-5
    assert len(shown) == 2


def test_episodes_are_the_same_in_every_run(scene: Scene) -> None:
    one, other = (TuningEpisodes(scene, small_model(), 5) for _ in range(2))
    assert torch.equal(one(3).truth.color, other(3).truth.color)
    assert not torch.equal(one(3).truth.color, one(4).truth.color)
    assert len(one.left_out) == len(left_out(7)) == 1


def test_gain_by_hand() -> None:
    before = {"psnr": 30.0, "miou": 0.8}
    assert gain(before, {"psnr": 31.0, "miou": 0.81}) == pytest.approx(1.5)
    assert gain(before, {"psnr": 29.9, "miou": 0.9}) == -np.inf
    assert gain(before, {"psnr": 33.0, "miou": 0.79}) == -np.inf
    assert gain({"psnr": 30.0}, {"psnr": 30.5}) == pytest.approx(0.5)


def test_averages_by_hand() -> None:
    mean, model = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for part, value in ((mean, 0.0), (model, 1.0)):
        torch.nn.init.constant_(part.weight, value)
    average(mean, model, 0.9, step=1)  # 1 / 10 is kept
    assert mean.weight.item() == pytest.approx(0.9)
    torch.nn.init.constant_(mean.weight, 0.0)
    average(mean, model, 0.9, step=1000)
    assert mean.weight.item() == pytest.approx(0.1)
    average(mean, model, 0.0, step=1000)
    assert mean.weight.item() == 1.0


def test_weights_that_score_worse_are_not_returned(scene: Scene) -> None:
    model, episodes = small_model(), TuningEpisodes(scene, small_model(), 0)
    settings = FineTuning(steps=2, checks=2)
    asked: list[int] = []

    def falling(candidate) -> float:
        asked.append(1)
        return -float(len(asked))

    same, _ = fine_tuned(model, episodes, settings, score=falling)
    assert len(asked) == 3  # as it was given, and twice
    assert same_weights(same, model)
    changed, _ = fine_tuned(model, episodes, settings, score=lambda candidate: float(len(asked)))
    assert same_weights(changed, model)
    rising = iter(range(9))
    changed, _ = fine_tuned(model, episodes, settings, score=lambda candidate: next(rising))
    names = [
        name
        for (name, new), old in zip(changed.named_parameters(), model.parameters(), strict=True)
        if not torch.equal(new, old)
    ]
    assert not same_weights(changed, model)
    assert names and not any(name.startswith("extractor") for name in names)
    assert all(parameter.requires_grad for parameter in changed.parameters())


def test_left_out_frames_are_never_worse(scene: Scene) -> None:
    """Also at a learning rate that ruins the model."""
    model, episodes = small_model(), TuningEpisodes(scene, small_model(), 0)
    before = held_out_figures(model, episodes.left_out)
    for rate in (1e-3, 10.0):
        settings = FineTuning(steps=6, learning_rate=rate, checks=3)
        tuned, steps = tuned_on_scene(model, scene, settings)
        after = held_out_figures(tuned, episodes.left_out)
        assert steps == 6 and gain(before, after) >= 0
