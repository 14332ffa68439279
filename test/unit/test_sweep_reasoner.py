"""The plane sweep as a whole: what it returns, what it learns from, and its episodes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.frames import Frame
from semantic_field.generalizable.episodes import Episode, EpisodeSettings, Scene
from semantic_field.generalizable.frame_pool import FramePool
from semantic_field.generalizable.gsnerf import GSNeRF
from semantic_field.generalizable.gsnerf_config import gsnerf_config
from semantic_field.generalizable.pool_depths import PoolDepths
from semantic_field.generalizable.predictor import Predictor, ViewSettings
from semantic_field.generalizable.stereo_episodes import StereoEpisodeMaker
from semantic_field.generalizable.sweep_losses import (
    SweepLossSettings,
    plane_loss,
    slope_loss,
    smaller,
    sweep_losses,
)
from semantic_field.generalizable.sweep_nets import upsampled
from semantic_field.generalizable.sweep_reasoner import (
    Pair,
    SweepReasoner,
    SweepSettings,
    about_best,
)
from semantic_field.generalizable.sweep_volume import whole_range
from semantic_field.generalizable.training.weight_files import (
    ModelCard,
    begin_with,
    load_model,
    save_model,
)
from semantic_field.geometry import invert_transform, transform_points

SMALL = SweepSettings(
    planes=16, finer_planes=5, widths=(8, 8, 8), compared=(8, 8), coarse_widths=(8, 8),
    fine_widths=(8, 8), neighbours=2,
)  # fmt: skip
SMALL_VALUES = {name: getattr(SMALL, name) for name in ("planes", "finer_planes", "widths")} | {
    "compared": (8, 8), "coarse_widths": (8, 8), "fine_widths": (8, 8), "neighbours": 2
}  # fmt: skip


@lru_cache(maxsize=1)
def room() -> tuple[list[Frame], dict[int, str]]:
    walk = SimulatedRoom(n_frames=60, size=(96, 64))
    return [replace(walk[i], instances=None) for i in range(0, 12, 2)], walk.label_names


def scene() -> Scene:
    frames, names = room()
    return Scene(frames, names)


def reasoner() -> SweepReasoner:
    torch.manual_seed(0)
    return SweepReasoner(SMALL).eval()


def model(**values) -> GSNeRF:
    torch.manual_seed(0)
    return GSNeRF(gsnerf_config({"depth": "either", "sweep": SMALL_VALUES} | values))


def episode(seed: int = 0) -> Episode:
    settings = EpisodeSettings(stereo=True, views=(3, 3), strides=(1, 2))
    return StereoEpisodeMaker(scene(), settings)(np.random.default_rng(seed))


def found_of(net: SweepReasoner, one: Episode, others: list[int]):
    sources = one.sources
    matched = net.match(sources.colors)
    return net.find(matched, Pair(0, others), sources.intrinsics, sources.poses)


def test_depth_is_within_the_planes_and_does_not_depend_on_the_order():
    net, one = reasoner(), episode()
    with torch.no_grad():
        for part in net.parameters():  # what is added to the agreement is 0 at first
            part.add_(0.02 * torch.randn(part.shape))
        a, b = found_of(net, one, [1, 2]), found_of(net, one, [2, 1])
        alone = found_of(net, one, [1])
    assert a.depth.shape == a.confidence.shape == (64, 96)
    assert a.depth.min() > 0.9 * SMALL.near_m and a.depth.max() < 1.1 * SMALL.far_m
    torch.testing.assert_close(a.depth, b.depth)
    assert (a.depth - alone.depth).abs().max() > 1e-4
    with pytest.raises(ValueError, match="at least 1 neighbour"):
        found_of(net, one, [])


def test_sizes_need_not_be_multiples():
    frames = [
        replace(
            frame,
            color=frame.color[:60, :90],
            depth=frame.depth[:60, :90],
            labels=None,
            camera=replace(frame.camera, width=90, height=60),
        )
        for frame in room()[0]
    ]
    found = PoolDepths(reasoner()).find(frames, [0, 2])
    assert found.shape == (2, 60, 90)


def test_the_best_plane_is_refined_by_those_beside_it():
    scores = torch.zeros(9, 1, 1)
    scores[6], scores[5], scores[7] = 5.0, 4.0, 4.0
    scores[0] = 4.9  # another surface: not averaged in
    e = np.exp
    weights = np.array([1, e(4), e(5), e(4), 1])
    expected = (weights * [4, 5, 6, 7, 8]).sum() / weights.sum()
    assert float(about_best(scores, 2)) == pytest.approx(expected, abs=1e-5)


def test_finer_pixels_are_means_of_coarse_ones():
    image = torch.arange(12.0).reshape(3, 4)
    scores = torch.full((4, 9, 3, 4), -50.0)
    for corner, neighbour in enumerate((4, 5, 1, 8)):  # itself, right, above, below right
        scores[corner, neighbour] = 50.0
    fine = upsampled(image, scores.reshape(36, 3, 4))
    assert fine.shape == (6, 8)
    assert fine[2, 2] == image[1, 1] and fine[2, 3] == image[1, 2]
    assert fine[3, 2] == image[0, 1] and fine[3, 3] == image[2, 2]
    assert fine[5, 7] == image[2, 3]  # beyond the border lies its last pixel


def test_losses_by_hand():
    planes = whole_range(1.0, 16.0, 5, (1, 2), torch.device("cpu"))  # 16, 8, 4, 2, 1 m
    scores = torch.zeros(5, 1, 2)
    scores[1], scores[2] = 1.0, 2.0
    value = -torch.tensor([[6.0, 20.0]]).log()  # the second is beyond the planes
    share = np.log(8 / 6) / np.log(2)
    likely = scores[:, 0, 0].log_softmax(0)
    expected = -(float(likely[1]) * (1 - share) + float(likely[2]) * share)
    known = torch.ones(1, 2, dtype=torch.bool)
    assert float(plane_loss(scores, planes, value, known)) == pytest.approx(expected, abs=1e-5)
    off = torch.zeros(8, 8)
    assert float(slope_loss(off + 0.3, torch.ones(8, 8, dtype=torch.bool))) == 0
    off[:, 4:] = 0.1  # one of seven, of three and of one differences across
    both = 0.1 * (1 / 7 + 1 / 3 + 1)
    assert float(slope_loss(off, torch.ones(8, 8, dtype=torch.bool))) == pytest.approx(both)
    block = torch.tensor([[1.0, 1.0, 5.0, 5.0], [1.0, 9.0, 5.0, 1.0]])
    small, there = smaller(block, block < 6, 2)
    assert small.tolist() == [[1.0, 5.0]] and there.tolist() == [[True, True]]


def test_training_lowers_the_loss_and_leaves_the_rest_alone():
    net = model(learns="sweep").train()
    trained = {name for name, part in net.named_parameters() if part.requires_grad}
    assert trained and all(name.startswith("geometry.") for name in trained)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 3e-3)
    one, sums = episode(), []
    for _ in range(12):
        sources = replace(one.sources, features=net.extract(one.sources.colors))
        terms = net.losses(net(sources, one.rays), one.truth, sources)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sums.append(float(loss.detach()))
    assert set(terms) == set(SweepLossSettings.__dataclass_fields__)
    assert sums[-1] < 0.8 * sums[0]
    parts = [part for part in net.parameters() if part.requires_grad]
    assert all(part.grad is not None and part.grad.isfinite().all() for part in parts)


def test_true_depth_of_each_reference_counts():
    net, one = reasoner(), episode()
    found, depth = found_of(net, one, [1, 2]), one.truth.source_depths[:1]
    terms = sweep_losses(SweepLossSettings(), [found, found], torch.cat([depth, 2 * depth]))
    each = [sweep_losses(SweepLossSettings(), [found], d) for d in (depth, 2 * depth)]
    for name, term in terms.items():
        torch.testing.assert_close(term, (each[0][name] + each[1][name]) / 2)
    assert float(terms["depth"].detach()) > 0
    nothing = sweep_losses(SweepLossSettings(depth=0.0), [found], depth)
    assert float(nothing["depth"]) == 0


@pytest.mark.parametrize("seed", range(4))  # some are mirrored
def test_episodes_are_consistent(seed: int):
    """The reference's depth lies, in each neighbour, on that one's own depth."""
    one = episode(seed)
    depths = one.truth.source_depths.numpy()
    fx, fy, cx, cy = one.sources.intrinsics[0].double().numpy()
    poses = one.sources.poses.double().numpy()
    v, u = np.mgrid[:64, :96]
    z = depths[0]
    points = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], -1).reshape(-1, 3)
    world = transform_points(poses[0], points)
    for i in (1, 2):
        x, y, far = transform_points(invert_transform(poses[i]), world).T
        p, q = np.rint(x / far * fx + cx).astype(int), np.rint(y / far * fy + cy).astype(int)
        inside = (far > 0) & (p >= 0) & (q >= 0) & (p < 96) & (q < 64)
        assert inside.mean() > 0.2
        gap = np.abs(depths[i][q[inside], p[inside]] - far[inside])
        assert (gap < 0.08).mean() > 0.6
    assert one.sources.colors.min() >= 0 and one.sources.colors.max() <= 1


def test_features_and_depths_are_kept_while_their_frames_are(monkeypatch):
    frames, _ = room()
    net = reasoner()
    depths, calls = PoolDepths(net), {"match": 0, "find": 0}
    for name in calls:
        whole = getattr(net, name)

        def counted(*given, name=name, whole=whole):
            calls[name] += 1
            return whole(*given)

        monkeypatch.setattr(net, name, counted)
    first = depths.find(frames, [0, 1])
    before = dict(calls)
    assert before["find"] == 2 and 2 <= before["match"] <= len(frames)
    again = depths.find(frames, [0, 1])
    assert calls == before and np.array_equal(first, again)
    neighbour = frames[1].stamp_ns
    depths.find(frames, [0], exclude_ns=neighbour)
    assert calls["find"] == 3, "without that frame it has other neighbours"
    depths.find(frames[3:], [0])
    depths.find(frames, [0, 1])
    assert calls["find"] == 6, "what belonged to missing frames was forgotten"
    with pytest.raises(ValueError, match="move the camera sideways"):
        depths.find(frames[:1], [0])


def test_a_pool_without_any_depth_gives_views():
    """Recordings of colour alone: the depth of its frames is found, and none of them is read."""
    frames, _ = room()
    blind = [replace(frame, depth=np.zeros_like(frame.depth)) for frame in frames]
    net, target = model().eval(), frames[2]
    views = []
    cases = (blind, "sensor"), (blind, "volume"), (frames, "volume")
    for given, depth in cases:
        settings = ViewSettings(views=3, rule="nearest", depth=depth)
        predictor = Predictor(net, FramePool(most=8, width=96), settings)
        for frame in given:
            predictor.add(frame)
        views.append(predictor.render(target.camera, target.T_world_camera, target.stamp_ns))
    assert (views[0].depth > 0).mean() > 0.5
    for view in views[1:]:
        assert np.array_equal(view.depth, views[0].depth)
        assert np.array_equal(view.color, views[0].color)
    predictor = Predictor(net, FramePool(most=4, width=96), ViewSettings(views=3))
    for frame in blind:  # by coverage, which knows no surface here; and some have to go
        predictor.add(frame)
    assert (predictor.render(target.camera, target.T_world_camera).depth > 0).mean() > 0.5


def test_weights_without_a_sweep_are_begun_with(tmp_path):
    plain = model(depth="readings")
    save_model(plain, tmp_path / "plain.safetensors", ModelCard())
    net = model(learns="sweep")
    with torch.no_grad():
        for part in net.parameters():
            part.zero_()
        net.geometry.coarse_scale.fill_(1.0 + 2.0**-14)
    begin_with(net, tmp_path / "plain.safetensors")
    own = dict(net.named_parameters())
    for name, part in plain.named_parameters():
        assert torch.equal(own[name], part)
    assert not any(own[n].any() for n in own if n.startswith("geometry.") and "scale" not in n)
    save_model(net, tmp_path / "whole.safetensors", ModelCard())
    save_model(net, tmp_path / "both.safetensors", ModelCard(), half=True)
    assert (tmp_path / "both.safetensors").stat().st_size < (
        tmp_path / "whole.safetensors"
    ).stat().st_size
    loaded = load_model(tmp_path / "both.safetensors")
    assert loaded.sweep is not None and loaded.config.sweep == net.config.sweep
    assert loaded.sweep.coarse_scale.dtype == torch.float32
    assert float(loaded.sweep.coarse_scale) == 1.0, "16 bits have 10 of them after the point"
    rest = {name: part for name, part in plain.named_parameters()}
    assert all(torch.equal(dict(loaded.named_parameters())[n], rest[n]) for n in rest)
    with pytest.raises(ValueError, match="extra"):
        begin_with(plain, tmp_path / "both.safetensors")


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="reasoner to sweep"):
        gsnerf_config({"learns": "sweep", "depth": "readings"})
    with pytest.raises(ValueError, match="reasoner to cascade"):
        gsnerf_config({"depth": "either", "geometry.volume_channels": 4})
    with pytest.raises(ValueError, match="two numbers of compared channels"):
        SweepSettings(compared=(8,))
