"""GP-NeRF as a whole, on a wall two metres away that sources see from several places."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_field.generalizable.generalizable_model import Prediction, Truth
from semantic_field.generalizable.gp_nerf import GPNeRF, GPNeRFConfig
from semantic_field.generalizable.label_segments import segments_of
from semantic_field.generalizable.source_images import SourceImages, TargetRays, target_rays

SIZE = (32, 40)
INTRINSICS = torch.tensor([26.0, 26.0, 19.5, 15.5])
CLASSES = ("wall", "door", "window")
SMALL = GPNeRFConfig(stem=8, widths=(8, 8, 8), stages=(1, 1, 1), radiance=8, width=8, semantic=8)
CLOSED = replace(SMALL, class_names=CLASSES)
WALL_M = 2.0


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(5)


def pose_at(x: float) -> Tensor:
    pose = torch.eye(4)
    pose[0, 3] = x
    return pose


def wall_pattern(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Colour and class of the wall at its points, metres."""
    labels = (torch.floor(x / 0.7) + torch.floor(y / 0.7)).long() % 3
    colors = torch.stack([(3 * x).sin(), (4 * y).cos(), labels - 1.0]) * 0.4 + 0.5
    return colors, labels


def view_of_wall(x: float) -> tuple[Tensor, Tensor]:
    rays = target_rays(INTRINSICS, pose_at(x), torch.zeros(SIZE), torch.zeros(SIZE))
    points = rays.points(torch.full((*SIZE, 1), WALL_M))[..., 0, :]
    return wall_pattern(points[..., 0], points[..., 1])


def segments_in(labels: Tensor) -> Tensor:
    return torch.from_numpy(segments_of(labels.numpy())).long()


def sources_at(*places: float) -> SourceImages:
    images = [view_of_wall(x) for x in places]
    return SourceImages(
        colors=torch.stack([colors for colors, _ in images]),
        intrinsics=INTRINSICS.expand(len(places), 4),
        poses=torch.stack([pose_at(x) for x in places]),
        depths=torch.full((len(places), *SIZE), WALL_M),
        labels=torch.stack([labels for _, labels in images]),
        segments=torch.stack([segments_in(labels) for _, labels in images]),
        n_classes=3,
    )


def with_features(model: GPNeRF, sources: SourceImages) -> SourceImages:
    return replace(sources, features=model.extract(sources.colors))


def rays_at(x: float = 0.0, depth: float = WALL_M) -> TargetRays:
    return target_rays(INTRINSICS, pose_at(x), torch.full(SIZE, depth), torch.zeros(SIZE))


def truth_at(x: float = 0.0) -> Truth:
    colors, labels = view_of_wall(x)
    return Truth(
        colors.permute(1, 2, 0), torch.full(SIZE, WALL_M), labels, instances=labels.clamp_min(1) - 2
    )


@torch.no_grad()
def predicted(model: GPNeRF, sources: SourceImages, rays: TargetRays | None = None) -> Prediction:
    return model.eval()(with_features(model, sources), rays or rays_at())


def assert_same(one: Prediction, other: Prediction, tolerance: float = 1e-5) -> None:
    for name in ("color", "depth", "confidence", "scores"):
        torch.testing.assert_close(
            getattr(one, name), getattr(other, name), atol=tolerance, rtol=tolerance
        )


PAPER = {"sampling": "coarse_fine", "position": "world", "color": "regressed", "evidence": False}
MODELS = [SMALL, CLOSED, replace(CLOSED, head="fpn", empty_samples=True, **PAPER)]


@pytest.mark.parametrize("config", MODELS, ids=["carried", "closed", "paper"])
def test_the_order_of_the_views_changes_nothing(config):
    model, sources = GPNeRF(config), sources_at(-0.4, 0.1, 0.6)
    order = torch.tensor([2, 0, 1])
    changed = {
        name: getattr(sources, name)[order]
        for name in ("colors", "intrinsics", "poses", "depths", "labels", "segments")
    }
    assert_same(predicted(model, sources), predicted(model, replace(sources, **changed)))


@pytest.mark.parametrize("config", MODELS, ids=["carried", "closed", "paper"])
def test_chunks_change_nothing(config):
    model = GPNeRF(config)
    whole = predicted(model, sources_at(-0.4, 0.1))
    samples = 2 * (config.samples if config.sampling == "guided" else 64)
    for rays in (10, 40):  # parts of rows, bands of one row
        model.rays.config = replace(config, chunk=rays * samples)
        assert_same(whole, predicted(model, sources_at(-0.4, 0.1)))


@pytest.mark.parametrize("config", MODELS, ids=["carried", "closed", "paper"])
def test_rays_that_no_source_sees_are_void(config):
    model, sources = GPNeRF(replace(config, samples=1)), sources_at(-0.4, 0.1)
    away = rays_at(x=1.5)
    found = predicted(model, sources, away)
    unseen = torch.zeros(SIZE, dtype=torch.bool)
    if config.sampling == "guided":  # the right edge of the farthest source's image
        columns = (WALL_M * (away.pixels[..., 0] - 19.5) / 26.0) + 1.5
        unseen = columns > 0.1 + WALL_M * 21.0 / 26.0
        assert unseen.any() and not unseen.all()
        assert (found.confidence[unseen] == 0).all() and (found.depth[unseen] == 0).all()
        assert found.scores is not None and (found.scores[unseen] == 0).all()
        assert (found.confidence[~unseen & found.extra["seen"]] > 0).any()
    behind = rays_at(x=60.0)
    nothing = predicted(model, sources, behind)
    assert (nothing.confidence == 0).all() and (nothing.depth == 0).all()
    assert nothing.color.isfinite().all()


def test_a_source_that_looks_away_changes_nothing():
    model, sources = GPNeRF(SMALL), sources_at(-0.4, 0.1, 0.3)
    turned = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    away = replace(sources, poses=torch.cat([sources.poses[:2], turned[None]]))
    fewer = predicted(model, sources_at(-0.4, 0.1))
    with_it = predicted(model, away)
    assert_same(with_it, fewer, 0.0)
    noise = replace(away, colors=torch.cat([away.colors[:2], torch.rand(1, 3, *SIZE)]))
    assert_same(with_it, predicted(model, noise), 0.0)


def test_a_source_that_sees_nothing_of_a_ray_gets_no_gradient():
    model, sources = GPNeRF(SMALL), sources_at(-0.4, 30.0)
    features = tuple(part.detach().requires_grad_() for part in model.extract(sources.colors))
    colors = sources.colors.clone().requires_grad_()
    found = model(replace(sources, features=features, colors=colors), rays_at())
    (found.color.square().sum() + found.confidence.sum()).backward()
    assert features[0].grad is not None and colors.grad is not None
    assert (features[0].grad[1] == 0).all() and (colors.grad[1] == 0).all()
    assert (features[0].grad[0] != 0).any() and (colors.grad[0] != 0).any()


def test_carried_weights_sum_to_at_most_one_and_name_only_what_is_carried():
    model = GPNeRF(replace(SMALL, samples=1)).train()
    torch.nn.init.normal_(model.head.neighbours.label.weight)
    sources = sources_at(-0.4, 0.1, 0.5)
    only = replace(sources, labels=torch.full((3, *SIZE), 2))
    for given in (sources, only):
        found = model(with_features(model, given), rays_at(1.8))
        assert found.scores is not None
        assert (found.scores >= 0).all() and (found.scores.sum(-1) <= 1).all()
        assert torch.equal(found.confidence, found.scores.amax(-1))
    assert (found.scores[..., :2] == 0).all()
    seen = found.extra["seen"]
    assert (found.scores[..., 2][seen] > 0).all() and not seen.all()
    none = model(
        with_features(model, replace(only, labels=-torch.ones_like(only.labels))), rays_at()
    )
    assert none.scores is not None and (none.scores == 0).all()


def test_one_hot_latents_are_carried_as_labels_are():
    """Carrying is linear: with the labels as latents of ones and zeros, both are the same."""
    model, sources = GPNeRF(replace(SMALL, samples=1)), sources_at(0.0)
    hot = torch.nn.functional.one_hot(sources.labels, 3).permute(0, 3, 1, 2).float()
    found = predicted(model, replace(sources, latents=hot))
    assert found.latent is not None and found.scores is not None
    torch.testing.assert_close(found.latent, found.scores, atol=1e-4, rtol=1e-3)


def test_names_of_classes_mean_nothing_where_meaning_is_carried():
    model, sources = GPNeRF(SMALL), sources_at(-0.4, 0.1)
    renamed = replace(sources, labels=torch.tensor([4, 0, 2])[sources.labels], n_classes=6)
    one, other = predicted(model, sources), predicted(model, renamed)
    assert one.scores is not None and other.scores is not None
    torch.testing.assert_close(one.scores, other.scores[..., [4, 0, 2]])


def test_depth_of_a_single_sample_is_the_target_depth():
    found = predicted(GPNeRF(replace(SMALL, samples=1)), sources_at(0.0))
    torch.testing.assert_close(found.depth, torch.full(SIZE, WALL_M))
    assert (found.color - view_of_wall(0.0)[0].permute(1, 2, 0)).abs().max() < 1e-4


def test_features_are_computed_where_there_are_none_and_depth_is_not():
    model, sources = GPNeRF(SMALL), sources_at(0.0)
    torch.testing.assert_close(
        model(sources, rays_at()).color, model(with_features(model, sources), rays_at()).color
    )
    with pytest.raises(ValueError, match="coarse_fine"):
        model.source_depths(replace(sources, depths=None))
    assert torch.equal(model.source_depths(sources), torch.full((1, *SIZE), WALL_M))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 18}, "width: 16"),
        ({"widths": (8, 8)}, "three numbers"),
        ({"instances": 3}, "class_names"),
        ({"class_names": ("a",), "semantic": 3}, "semantic: 16"),
        ({"samples": 0}, "from 1 to 128"),
    ],
)
def test_wrong_options_are_refused_with_a_remedy(change, message):
    with pytest.raises(ValueError, match=message):
        GPNeRFConfig(**change)


def test_the_sources_semantics_are_taught_only_by_the_targets_own_image():
    """The gradient block: neither rendering nor distillation reaches the semantic pyramid."""
    model = GPNeRF(replace(CLOSED, instances=3)).train()
    sources = with_features(model, sources_at(-0.4, 0.1))
    terms = model.losses(model(sources, rays_at()), truth_at(), sources)
    assert {"classes", "teacher", "distillation", "depth_guided", "instance_entropy"} <= set(terms)
    pyramid = list(model.extractor.semantic.parameters())
    for name, term in terms.items():
        found = torch.autograd.grad(term, pyramid, retain_graph=True, allow_unused=True)
        reached = any(part is not None and (part != 0).any() for part in found)
        assert reached == (name == "teacher"), name


def test_tiny_images_cannot_teach():
    model = GPNeRF(CLOSED).train()
    sources = with_features(model, sources_at(-0.4, 0.1))
    part = (slice(0, 8), slice(0, 40))
    truth = truth_at()
    cut = Truth(truth.color[part], truth.depth[part], truth.labels[part])
    with pytest.raises(ValueError, match="crops"):
        model.losses(model(sources, rays_at().part(*part)), cut, sources)


@pytest.mark.parametrize("config", [SMALL, replace(CLOSED, depth_weight=1.0)])
def test_training_learns(config):
    """A few steps on one view, half of whose sources' labels are wrong, lower the whole loss."""
    model = GPNeRF(config).train()
    sources, truth = sources_at(-0.4, 0.1, 0.5), truth_at()
    wrong = sources.labels.clone()
    wrong[1] = (wrong[1] + 1) % 3
    sources = replace(sources, labels=wrong)
    descent = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(25):
        full = with_features(model, sources)
        terms = model.losses(model(full, rays_at()), truth, full)
        losses.append(sum(terms.values()))
        descent.zero_grad()
        losses[-1].backward()
        descent.step()
    assert losses[-1] < 0.75 * losses[0]
