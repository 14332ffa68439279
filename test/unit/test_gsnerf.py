"""GSNeRF as a whole: whom it takes colours and labels from, its depth, its parts and its sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from semantic_field.generalizable.generalizable_model import Prediction, Truth
from semantic_field.generalizable.gsnerf import GSNeRF, chunks
from semantic_field.generalizable.gsnerf_config import (
    GSNeRFConfig,
    gsnerf_config,
    load_gsnerf_config,
)
from semantic_field.generalizable.source_images import SourceImages, TargetRays, target_rays
from semantic_field.generalizable.target_depth import with_target_depth

H, W, FOCAL = 32, 48, 40.0
WALL_M, BOX_M = 3.0, 1.5
INTRINSICS = torch.tensor([FOCAL, FOCAL, (W - 1) / 2, (H - 1) / 2])
GREEN, RED, BLUE = torch.eye(3)[[1, 0, 2]]
WALL, BOX, ELSEWHERE = 0, 1, 2  # rows of labels


def at(x: float, z: float = 0.0, turned: bool = False) -> torch.Tensor:
    """The pose of a camera that looks along z, or back along -z."""
    pose = torch.eye(4)
    if turned:
        pose[0, 0] = pose[2, 2] = -1
    pose[0, 3], pose[2, 3] = x, z
    return pose


def source(pose: torch.Tensor, color: torch.Tensor, depth: float, label: int) -> SourceImages:
    """A source of one colour, depth and label."""
    return SourceImages(
        colors=color.view(1, 3, 1, 1).expand(1, 3, H, W),
        intrinsics=INTRINSICS[None],
        poses=pose[None],
        depths=torch.full((1, H, W), depth),
        labels=torch.full((1, H, W), label),
        n_classes=3,
        latents=color.view(1, 3, 1, 1).expand(1, 3, H // 2, W // 2),
    )


def together(*sources: SourceImages) -> SourceImages:
    tensors = ("colors", "intrinsics", "poses", "depths", "labels", "latents")
    joined = {name: torch.cat([getattr(s, name) for s in sources]) for name in tensors}
    return SourceImages(**joined, n_classes=3)


def target(depth: float = WALL_M) -> TargetRays:
    known = torch.full((H, W), depth)
    return target_rays(INTRINSICS, at(0.05), known, torch.zeros(H, W))


SEES = source(at(0.0), GREEN, WALL_M, WALL)
THROUGH_A_BOX = source(at(0.1), RED, BOX_M, BOX)  # a box is before the wall in its image
LOOKS_AWAY = source(at(0.0, turned=True), BLUE, WALL_M, ELSEWHERE)
STANDS_BEFORE = source(at(0.0, 5.0), BLUE, WALL_M, ELSEWHERE)  # the wall is behind it


def model(**values) -> GSNeRF:
    torch.manual_seed(0)
    settings = {"branch": "attention", "samples": 1, "depth": "readings"} | values
    return GSNeRF(gsnerf_config(settings)).eval()


def predict(net: GSNeRF, sources: SourceImages, rays: TargetRays) -> Prediction:
    with torch.no_grad():
        return net(sources, rays)


@pytest.mark.parametrize("other", [THROUGH_A_BOX, LOOKS_AWAY, STANDS_BEFORE])
@pytest.mark.parametrize("first", [True, False])
def test_nothing_comes_through_a_wall_or_from_behind_a_camera(other, first):
    """Untrained: whom to believe is decided by geometry before anything is learnt."""
    sources = together(SEES, other) if first else together(other, SEES)
    got = predict(model(), sources, target())
    middle = (slice(4, -4), slice(6, -6))  # all of it in the image of the one that sees it
    assert got.color[middle][..., 1].min() > 0.05
    assert got.color[middle][..., [0, 2]].abs().max() == 0
    assert got.scores[middle].argmax(-1).unique().tolist() == [WALL]
    torch.testing.assert_close(got.scores[middle][..., WALL], torch.ones(H - 8, W - 12))
    torch.testing.assert_close(got.latent[middle], GREEN.expand(H - 8, W - 12, 3))


def test_a_view_that_is_hidden_speaks_where_no_other_sees_the_point():
    got = predict(model(), together(THROUGH_A_BOX, LOOKS_AWAY), target())
    middle = (slice(4, -4), slice(6, -6))
    assert got.scores[middle].argmax(-1).unique().tolist() == [BOX]
    assert got.color[middle][..., 2].max() == 0


def test_where_no_source_sees_the_ray_nothing_is_known():
    got = predict(model(), together(LOOKS_AWAY, STANDS_BEFORE), target())
    assert got.confidence.abs().max() == 0 and got.depth.abs().max() == 0
    assert got.scores.abs().max() == 0


def test_the_box_is_believed_where_the_target_sees_the_box():
    got = predict(model(), together(SEES, THROUGH_A_BOX), target(BOX_M))
    middle = (slice(4, -4), slice(6, -6))
    shown = got.scores[middle]  # both see it: the wall's reading is behind the sample
    assert (shown[..., BOX] > 0).all() and (shown[..., WALL] > 0).all()


@pytest.mark.parametrize("branch", ["attention", "statistics"])
def test_what_is_carried_can_be_anything(branch):
    """Other numbers for the classes: the same votes, elsewhere. Latents are linear."""
    torch.manual_seed(1)
    sources = replace(
        together(SEES, SEES, THROUGH_A_BOX), labels=torch.randint(-1, 3, (3, H, W)), n_classes=3
    )
    sources = replace(sources, segments=(sources.labels + 1).clone())
    net, rays = model(branch=branch, samples=4), target()
    got = predict(net, sources, rays)
    renamed = torch.tensor([4, 0, 2])
    other = replace(
        sources,
        labels=torch.where(sources.labels < 0, -1, renamed[sources.labels]),
        n_classes=5,
        latents=3.0 * sources.latents,
    )
    moved = predict(net, other, rays)
    torch.testing.assert_close(moved.scores[..., renamed], got.scores)
    torch.testing.assert_close(moved.latent, 3.0 * got.latent)
    torch.testing.assert_close(moved.color, got.color)


@pytest.mark.parametrize("samples", [1, 4, 16])
@pytest.mark.parametrize("classes", [(), ("wall", "box", "chair")])
def test_chunks_change_nothing(samples, classes):
    sources = together(SEES, THROUGH_A_BOX, LOOKS_AWAY)
    whole = model(samples=samples, class_names=classes)
    parts = model(samples=samples, class_names=classes, rays_at_once=37)
    rays = target().part(slice(0, 10), slice(0, 16))
    a, b = (predict(net, sources, rays) for net in (whole, parts))
    for name in ("color", "depth", "confidence", "scores"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name))
    assert (a.latent is None) == bool(classes)


def test_chunks_cover_all_rays_once_and_are_bounded():
    rays = target()
    for most in (1, 10, 48, 100, 5000):
        found = list(chunks(rays, most))
        assert max(part.depth.numel() for row in found for part in row) <= most
        joined = torch.cat([torch.cat([part.pixels for part in row], 1) for row in found], 0)
        assert torch.equal(joined, rays.pixels)


def test_a_closed_set_has_probabilities_and_does_not_need_labels():
    sources = replace(together(SEES, THROUGH_A_BOX), labels=None, n_classes=0, latents=None)
    for branch in ("attention", "statistics"):
        got = predict(model(branch=branch, class_names=["a", "b"]), sources, target())
        seen = got.depth > 0
        assert seen.float().mean() > 0.8
        assert (got.scores[seen].sum(-1) <= 1 + 1e-5).all() and (got.scores >= 0).all()
        assert torch.equal(got.confidence[seen], got.scores[seen].amax(-1))


VOLUME = {
    "reasoner": "cascade",
    "branch": "attention",
    "samples": 4,
    "geometry.planes": [8, 4],
    "geometry.near_m": 1.0,
    "geometry.far_m": 6.0,
}


def textured(seed: int = 0) -> SourceImages:
    """Three sources with colours of noise, with depth and labels."""
    torch.manual_seed(seed)
    sources = together(SEES, SEES, SEES)
    poses = torch.stack([at(-0.1), at(0.0), at(0.2)])
    return replace(sources, colors=torch.rand(3, 3, H, W), poses=poses)


def test_three_sources_of_depth():
    sources, torn = textured(), textured()
    torn = replace(torn, depths=torn.depths.clone())
    torn.depths[:, :5] = 0
    blind = replace(sources, depths=None)
    nets = {name: model(**VOLUME, depth=name) for name in ("either", "completed", "volume")}
    assert torch.equal(nets["either"].source_depths(torn), torn.depths)
    found = nets["completed"].source_depths(torn)
    assert (found[:, :5] > 0.9).all() and torch.equal(found[:, 5:], torn.depths[:, 5:])
    assert torch.equal(nets["completed"].source_depths(blind)[:, :5], found[:, :5])
    assert not torch.equal(nets["volume"].source_depths(sources), sources.depths)
    for net in nets.values():
        alone = net.source_depths(blind)
        assert alone.shape == (3, H, W) and (alone > 0.9).all() and not alone.requires_grad
    zeros = replace(sources, depths=torch.zeros(3, H, W))  # a depth camera that saw nothing
    torch.testing.assert_close(nets["either"].source_depths(zeros), alone)


def test_without_depth_and_without_a_volume_it_is_said():
    with pytest.raises(ValueError, match="depth camera, or weights that find it"):
        model().source_depths(replace(textured(), depths=None))
    with pytest.raises(ValueError, match="at least 2 sources"):
        model(**VOLUME, depth="either").source_depths(replace(SEES, depths=None))


def test_without_depth_the_volume_guides_the_samples():
    """The target depth of rays that have none is splatted from what the volume found."""
    sources = replace(textured(), depths=None)
    net = model(**VOLUME, depth="either")
    rays = replace(target(), depth=torch.zeros(H, W))
    found = replace(sources, depths=net.source_depths(sources))
    guided = with_target_depth(rays, found)
    assert (guided.depth > 0.9).float().mean() > 0.9
    a = predict(net, sources, rays)
    b = predict(net, found, guided)
    torch.testing.assert_close(a.color, b.color)
    part = with_target_depth(rays.part(slice(5, 9), slice(0, 20)), found)
    assert part.depth.shape == (4, 20)


def test_features_are_computed_once():
    net, sources = model(), textured()
    with torch.no_grad():
        kept = replace(sources, features=net.extract(sources.colors))
    rays = target().part(slice(0, 10), slice(0, 16))
    a, b = predict(net, sources, rays), predict(net, kept, rays)
    assert torch.equal(a.color, b.color)
    blank = replace(kept, features=tuple(torch.zeros_like(f) for f in kept.features))
    assert not torch.equal(predict(net, blank, rays).color, a.color)


def truth_of(sources: SourceImages) -> Truth:
    torch.manual_seed(2)
    return Truth(
        color=torch.rand(8, 12, 3),
        depth=torch.full((8, 12), WALL_M),
        labels=torch.randint(-1, 3, (8, 12)),
        source_labels=torch.randint(-1, 3, sources.colors[:, 0].shape),
        source_depths=torch.full(sources.colors[:, 0].shape, WALL_M),
    )


@pytest.mark.parametrize(
    ("values", "terms"),
    [
        ({}, {"color", "label", "depth"}),
        ({"branch": "attention"}, {"color", "rendered", "confidence", "ray_depth"}),
        ({"class_names": ["a", "b", "c"]}, {"color", "label", "source", "depth"}),
        (
            {**VOLUME, "depth": "volume", "geometry.volume_channels": 4, "branch": "attention"},
            {"color", "rendered", "confidence", "ray_depth", "levels"},
        ),
        (
            {**VOLUME, "branch": "statistics", "depth": "volume"},
            {"color", "label", "depth", "levels"},
        ),
        (
            {**VOLUME, "depth": "volume", "losses.supervision": "self"},
            {"color", "rendered", "confidence", "guided", "consistency", "photometric"},
        ),
    ],
)
def test_a_few_steps_lower_the_loss(values, terms):
    torch.manual_seed(0)
    net, sources = GSNeRF(gsnerf_config({"geometry.trained_share": 0.0} | values)), textured()
    truth, rays = truth_of(sources), target().part(slice(10, 18), slice(20, 32))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    sums = []
    for _ in range(6):
        torch.manual_seed(3)  # the same samples each time
        losses = net.losses(net(sources, rays), truth, sources)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sums.append(loss.item())
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        assert all(grad.isfinite().all() for grad in grads)
    assert set(losses) == terms
    assert sums[-1] < sums[0]


@pytest.mark.parametrize("branch", ["attention", "statistics"])
def test_depth_is_learnt_beside_readings_in_a_share_of_the_steps(branch):
    sources, rays = textured(), target().part(slice(10, 18), slice(20, 32))
    truth, found = truth_of(sources), []
    torch.manual_seed(4)
    for share in (0.0, 0.5, 1.0):
        net = GSNeRF(gsnerf_config(VOLUME | {"branch": branch, "geometry.trained_share": share}))
        steps = [net(sources, rays) for _ in range(16)]
        found.append(sum("level_0" in step.extra for step in steps))
    assert found[0] == 0 and 0 < found[1] < 16 and found[2] == 16
    seen = [(step.extra["level_0"] > 0).flatten(1).all(1).nonzero().tolist() for step in steps]
    assert {str(one) for one in seen} == {"[[0]]", "[[1]]", "[[2]]"}
    net.losses(steps[0], truth, sources)["levels"].backward()
    assert net.geometry.nets[0].scores.weight.grad.abs().max() > 0
    assert "level_0" not in net.eval()(sources, rays).extra


def test_uniform_sampling_is_an_option():
    """Without guidance the target depth makes no difference."""

    def color(guided: bool, depth: float) -> torch.Tensor:
        rays = target(depth).part(slice(0, 8), slice(0, 12))
        return predict(model(guided=guided, samples=8), textured(), rays).color

    assert torch.equal(color(False, WALL_M), color(False, 2.0))
    assert not torch.equal(color(True, WALL_M), color(True, 2.0))


def test_unknown_names_and_values_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected one of the settings"):
        gsnerf_config({"geometry": {"plane": [8]}})
    with pytest.raises(ValueError, match="read_levels of 0 to 1, got 2"):
        model(read_levels=[2])
    with pytest.raises(ValueError, match=r"GSNeRFConfig\.samples"):
        GSNeRFConfig(samples=129)
    path = tmp_path / "other.yaml"
    path.write_text("model: {system: gp_nerf}\n")
    with pytest.raises(ValueError, match="'system: gsnerf'"):
        load_gsnerf_config(path)
    path.write_text("model: {system: gsnerf, sample: 4}\n")
    with pytest.raises(ValueError, match="got 'sample'"):
        load_gsnerf_config(path)


def test_settings_are_documented():
    from semantic_field.settings import walk

    for name, item, _ in walk(GSNeRFConfig()):
        assert name == "class_names" or len(item.metadata["doc"]) > 10, name


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"branch": "attention"},
        {"branch": "attention", "class_names": ["a", "b", "c"]},
        {**VOLUME, "depth": "volume", "geometry.volume_channels": 4},
        {**VOLUME, "depth": "volume", "losses.supervision": "self"},
    ],
)
def test_a_step_of_mixed_precision_has_finite_gradients(values):
    torch.manual_seed(0)
    net, sources = GSNeRF(gsnerf_config(values)), textured()
    rays = target().part(slice(10, 18), slice(20, 32))
    with torch.autocast("cpu", torch.bfloat16):
        prediction = net(sources, rays)
        terms = net.losses(prediction, truth_of(sources), sources)
    torch.stack([term.float() for term in terms.values()]).sum().backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(grads) > 10 and all(grad.isfinite().all() for grad in grads)
    assert prediction.color.dtype == prediction.depth.dtype == torch.float32
