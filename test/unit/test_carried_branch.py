"""Blending by statistics: what is never believed, what is carried exactly, and gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.generalizable.carried_losses import CarriedLossSettings, carried_losses
from semantic_field.generalizable.episodes import (
    Episode,
    EpisodeMaker,
    EpisodeSettings,
    Scene,
    make_episode,
)
from semantic_field.generalizable.frame_pool import FramePool
from semantic_field.generalizable.gathering import gather
from semantic_field.generalizable.generalizable_model import Prediction, Truth
from semantic_field.generalizable.gsnerf import GSNeRF
from semantic_field.generalizable.gsnerf_config import gsnerf_config
from semantic_field.generalizable.neighbour_weights import CENTRE, WINDOW, filtered
from semantic_field.generalizable.predictor import Predictor, ViewSettings
from semantic_field.generalizable.view_statistics import hand_weights, meaning_statistics
from semantic_field.geometry import moved

SIZE = 64, 48


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    room = SimulatedRoom(seed=2, n_frames=80, size=SIZE, noise=False)
    return [room[i] for i in range(20)]


def small_model(**values) -> GSNeRF:
    torch.manual_seed(0)
    return GSNeRF(gsnerf_config({"depth": "readings"} | values))


@pytest.fixture(scope="module")
def episode(frames: list[Frame]) -> Episode:
    chosen = [frames[i] for i in (6, 8, 10, 4)]
    return make_episode(frames[7], chosen, chosen)


def predicted(model: GSNeRF, episode: Episode) -> Prediction:
    with torch.no_grad():
        return model.eval()(episode.sources, episode.rays)


def test_an_untrained_model_blends_by_hand_set_weights(episode: Episode) -> None:
    found = predicted(small_model(), episode)
    known = found.confidence > 0
    assert known.float().mean() > 0.9
    error = (found.color - episode.truth.color)[known].square().mean()
    assert 10 * torch.log10(1 / error) > 24
    assert found.scores is not None
    right = found.scores.argmax(-1) == episode.truth.labels
    assert right[known & (episode.truth.labels >= 0)].float().mean() > 0.93
    assert (found.depth - episode.truth.depth)[known].abs().median() < 0.01


def test_votes_are_a_distribution_with_a_rest(episode: Episode) -> None:
    found = predicted(small_model(), episode)
    assert found.scores is not None
    total = found.scores.sum(-1)
    assert (total <= 1 + 1e-5).all() and (found.scores >= 0).all()
    known = found.depth > 0
    torch.testing.assert_close(found.confidence[known], found.scores.amax(-1)[known])
    assert (found.confidence[~known] == 0).all()


def test_classes_are_carried_whatever_their_number(episode: Episode) -> None:
    """Renumbered classes give the same view: the model has never seen a vocabulary."""
    model, sources = small_model(), episode.sources
    assert sources.labels is not None
    order = torch.randperm(sources.n_classes, generator=torch.Generator().manual_seed(1))
    table = torch.cat([order, torch.tensor([-1])])
    renamed = replace(sources, labels=table[sources.labels])
    first, second = predicted(model, episode), predicted(model, replace(episode, sources=renamed))
    assert first.scores is not None and second.scores is not None
    torch.testing.assert_close(first.scores, second.scores[..., order])
    torch.testing.assert_close(first.color, second.color)


def test_the_order_of_the_sources_does_not_matter(episode: Episode) -> None:
    model, sources = small_model(), episode.sources
    turned = {
        name: value.flip(0) for name, value in vars(sources).items() if torch.is_tensor(value)
    }
    swapped = replace(episode, sources=replace(sources, **turned))
    torch.testing.assert_close(
        predicted(model, episode).color, predicted(model, swapped).color, atol=1e-4, rtol=1e-3
    )


def test_a_source_that_looks_away_has_no_influence(episode: Episode) -> None:
    model, sources = small_model(), episode.sources
    away = torch.eye(4)
    away[:3, 3] = 100.0
    poses = torch.cat([sources.poses, away[None]])
    extra = {
        name: torch.cat([value, value[:1]])
        for name, value in vars(sources).items()
        if torch.is_tensor(value) and name != "poses"
    }
    more = replace(sources, poses=poses, **extra)
    assert not gather(more, episode.rays, episode.rays.depth[..., None]).inside[..., -1].any()
    first, second = predicted(model, episode), predicted(model, replace(episode, sources=more))
    torch.testing.assert_close(first.color, second.color, atol=2e-3, rtol=0.02)


def test_nothing_is_read_through_a_wall(frames: list[Frame], episode: Episode) -> None:
    """A source whose own depth says that a wall hides the surface weighs next to nothing."""
    sources = episode.sources
    assert sources.depths is not None
    wall = sources.depths.clone()
    wall[0] = 0.3
    gathered = gather(replace(sources, depths=wall), episode.rays, episode.rays.depth[..., None])
    weights = hand_weights(gathered)
    inside = gathered.inside[..., 0] & (gathered.reading[..., 0] > 0)
    assert inside.any()
    assert weights.colors[..., 0][inside].max() < 1e-6
    assert weights.labels[..., 0][inside].max() < 1e-6


def test_latents_are_averaged_with_the_weights_of_the_labels(episode: Episode) -> None:
    """One-hot latents of the labels give the votes back."""
    model, sources = small_model(), episode.sources
    assert sources.labels is not None
    one_hot = torch.nn.functional.one_hot(sources.labels.clamp(min=0), sources.n_classes)
    one_hot = one_hot.float() * (sources.labels >= 0)[..., None]
    carrying = replace(sources, latents=one_hot.permute(0, 3, 1, 2).contiguous())
    found = predicted(model, replace(episode, sources=carrying))
    assert found.scores is not None and found.latent is not None
    agree = found.latent.argmax(-1) == found.scores.argmax(-1)
    assert agree[found.confidence > 0.4].float().mean() > 0.97


def test_filtered_is_a_weighted_sum_of_neighbours() -> None:
    random = torch.Generator().manual_seed(0)
    image, kernel = torch.rand(6, 7, 2, generator=random), torch.rand(25, 6, 7, generator=random)
    known = torch.ones(6, 7, dtype=torch.bool)
    known[2, 3] = False
    found = filtered(image, known, kernel, 2)
    total, share = torch.zeros(2), 0.0
    for number in range(WINDOW**2):
        row = min(max(3 + (number // WINDOW - 2) * 2, 0), 5)
        column = min(max(2 + (number % WINDOW - 2) * 2, 0), 6)
        if known[row, column]:
            total, share = (
                total + kernel[number, 3, 2] * image[row, column],
                share + float(kernel[number, 3, 2]),
            )
    torch.testing.assert_close(found[3, 2], total / share)
    only = torch.zeros(25, 6, 7)
    only[CENTRE] = 1.0
    torch.testing.assert_close(filtered(image, known, only, 1)[known], image[known])


def test_meaning_counts_the_others_that_say_the_same() -> None:
    labels = torch.tensor([[[[3, 3, 5, -1]]]])
    weights = torch.tensor([[[[1.0, 0.5, 0.5, 1.0]]]])
    agreement = torch.zeros(1, 1, 1, 4, 2)
    found = meaning_statistics(labels, weights, agreement)[0, 0, 0]
    assert found[:, 0].tolist() == [1, 1, 1, 0]
    expected = [(0.5 + 0.005) / (1.0 + 0.01), (1 + 0.005) / (1.5 + 0.01), 0.005 / (1.5 + 0.01), 0]
    np.testing.assert_allclose(found[:, 1].numpy(), expected, rtol=1e-5)


def test_the_loss_calls_not_known_right_where_no_source_has_the_class() -> None:
    votes = torch.tensor([[[0.7, 0.2, 0.0], [0.7, 0.2, 0.0]]])
    flat = torch.zeros(1, 2)
    prediction = Prediction(
        color=torch.zeros(1, 2, 3), depth=flat, confidence=flat, scores=votes,
        extra={"color": torch.zeros(1, 2, 3), "known": flat >= 0, "votes": votes},
    )  # fmt: skip
    truth = Truth(torch.zeros(1, 2, 3), flat, torch.tensor([[0, 2]]))
    settings = CarriedLossSettings(label=1.0, unfiltered=0.0)
    loss = carried_losses(settings, prediction, truth)["label"]
    expected = -(np.log(0.7 + 1e-4) + np.log(0.1 + 1e-4)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_a_few_steps_lower_the_loss(frames: list[Frame]) -> None:
    room = SimulatedRoom(seed=2, n_frames=2, size=SIZE)
    settings = EpisodeSettings(views=(4, 4), strides=(2, 2), crop=(32, 32))
    maker = EpisodeMaker(Scene(frames, room.label_names), settings)
    model, random = small_model(), np.random.default_rng(0)
    episodes = [maker(random) for _ in range(4)]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)

    def total() -> torch.Tensor:
        model.train()
        losses = [
            sum(model.losses(model(e.sources, e.rays), e.truth, e.sources).values())
            for e in episodes
        ]
        return torch.stack([torch.as_tensor(loss) for loss in losses]).mean()

    first = total()
    for _ in range(14):
        optimizer.zero_grad()
        total().backward()
        optimizer.step()
    assert total() < 0.9 * first.detach()


def test_the_same_random_numbers_make_the_same_episode(frames: list[Frame]) -> None:
    maker = EpisodeMaker(
        Scene(frames, {i: str(i) for i in range(40)}), EpisodeSettings(crop=(24, 24))
    )
    first, second = (maker(np.random.default_rng(3)) for _ in range(2))
    torch.testing.assert_close(first.sources.colors, second.sources.colors)
    torch.testing.assert_close(first.rays.pixels, second.rays.pixels)
    assert (maker(np.random.default_rng(4)).rays.pixels != first.rays.pixels).any()


def predictor_of(frames: list[Frame], views: int = 4) -> Predictor:
    predictor = Predictor(small_model(), FramePool(16, SIZE[0]), ViewSettings(views=views))
    for frame in frames:
        predictor.add(frame)
    return predictor


def psnr(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(-10 * np.log10(np.mean((first / 255.0 - second / 255.0) ** 2)))


def test_a_predictor_answers_at_a_pose_that_no_camera_took(frames: list[Frame]) -> None:
    goal = frames[7]
    predictor = predictor_of([frames[i] for i in (2, 4, 6, 8, 10, 12)])
    view = predictor.render(goal.camera, goal.T_world_camera)
    assert psnr(view.color, goal.color) > 22
    assert goal.labels is not None
    named = view.label != VOID_LABEL
    assert (view.label == goal.labels)[named].mean() > 0.9
    seen = view.depth > 0
    assert np.median(np.abs(view.depth - goal.depth)[seen]) < 0.02
    facing = np.einsum("hwc,hwc->hw", view.normal, _rays(goal))
    assert np.mean(facing[seen] < 0) > 0.95  # normals look at the camera


def _rays(frame: Frame) -> NDArray[np.float64]:
    return frame.camera.rays() @ frame.T_world_camera[:3, :3].T


def test_unseen_areas_are_void_and_have_no_depth(frames: list[Frame]) -> None:
    predictor = predictor_of(frames[:4])
    back = frames[0].T_world_camera.copy()
    back[:3, :2] *= -1  # half a turn about the viewing axis...
    back[:3, [0, 2]] *= -1  # ...and one about the vertical: it looks the other way
    view = predictor.render(frames[0].camera, back)
    unseen = view.confidence == 0
    assert (view.depth[unseen] == 0).all()
    assert (view.label[unseen] == VOID_LABEL).all()
    assert unseen.mean() > 0.3


def test_before_enough_frames_the_answer_says_how_many_are_missing(frames: list[Frame]) -> None:
    predictor = predictor_of(frames[:3])
    assert predictor.missing == 1
    with pytest.raises(ValueError, match="1 are missing"):
        predictor.render(frames[0].camera, frames[0].T_world_camera)


def test_late_labels_are_carried(frames: list[Frame]) -> None:
    bare = [replace(frames[i], labels=None) for i in (4, 6, 8, 10)]
    predictor, goal = predictor_of(bare), frames[7]
    assert (predictor.render(goal.camera, goal.T_world_camera).label == VOID_LABEL).all()
    labels = frames[6].labels
    assert labels is not None and predictor.relabel(frames[6].stamp_ns, labels)
    view = predictor.render(goal.camera, goal.T_world_camera)
    named = view.confidence > 0.2
    assert named.mean() > 0.5
    assert (view.label == goal.labels)[named].mean() > 0.9


def test_depth_of_a_map_fills_frames_without_depth(frames: list[Frame]) -> None:
    blind = [replace(frames[i], depth=np.zeros_like(frames[i].depth)) for i in (4, 6, 8, 10)]
    goal, by_pose = frames[7], {f.T_world_camera.tobytes(): f.depth for f in frames}
    predictor = Predictor(
        small_model(), FramePool(16, SIZE[0]), ViewSettings(views=4, depth="map"),
        map_depth=lambda camera, pose: by_pose[pose.tobytes()],
    )  # fmt: skip
    for frame in blind:
        predictor.add(frame)
    view = predictor.render(goal.camera, goal.T_world_camera)
    assert np.median(np.abs(view.depth - goal.depth)[view.depth > 0]) < 0.02


def test_a_far_world_gives_the_same_view(frames: list[Frame]) -> None:
    """In coordinates as of a map projection, float32 would be off by centimetres."""
    chosen, goal = [frames[i] for i in (4, 6, 8, 10)], frames[7]
    offset = np.array([500_000.0, 4_000_000.0, 100.0])

    def away(frame: Frame) -> Frame:
        return replace(frame, T_world_camera=moved(frame.T_world_camera, offset))

    near = predictor_of(chosen).render(goal.camera, goal.T_world_camera)
    far = predictor_of([away(f) for f in chosen]).render(goal.camera, away(goal).T_world_camera)
    np.testing.assert_allclose(far.depth, near.depth, atol=1e-3)
    assert np.abs(far.color.astype(int) - near.color).mean() < 0.5


def test_frames_of_one_stamp_are_one_frame_of_an_episode(frames: list[Frame]) -> None:
    """Else the numbers of the pool's frames would not be those of the scene's."""
    twins = [frames[0], *frames]
    maker = EpisodeMaker(Scene(twins, {i: str(i) for i in range(40)}), EpisodeSettings())
    alone = EpisodeMaker(Scene(frames, {i: str(i) for i in range(40)}), EpisodeSettings())
    first, second = (make(np.random.default_rng(5)) for make in (maker, alone))
    torch.testing.assert_close(first.sources.colors, second.sources.colors)
