"""Parts of GP-NeRF against plain loops, hand-worked numbers, brute force and finite differences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from semantic_field.generalizable import ray_transformer
from semantic_field.generalizable.gp_nerf_losses import (
    at_surface,
    class_loss,
    color_loss,
    depth_guided_loss,
    depth_loss,
    distillation_loss,
    vote_loss,
)
from semantic_field.generalizable.instance_losses import (
    instance_losses,
    mask_costs,
    matched,
    object_masks,
)
from semantic_field.generalizable.inverse_depth_samples import (
    importance_samples,
    inverse_depth_samples,
)
from semantic_field.generalizable.perception_head import (
    CarriedHead,
    FPNHead,
    UNetHead,
)
from semantic_field.generalizable.ray_transformer import RayTransformer, along_rays, ray_weights
from semantic_field.generalizable.resnet_extractor import ResNetExtractor
from semantic_field.generalizable.view_statistics import label_agreement
from semantic_field.generalizable.view_transformer import ViewAttention, ViewTransformer, spoken

NAN = float("nan")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def views_of(points: int = 5, views: int = 3, width: int = 8, relation: int = 4):
    """Random inputs of a view block; view 1 does not see point 2, and nobody sees point 4."""
    seen = torch.ones(views, points, dtype=torch.bool)
    seen[1, 2] = False
    seen[:, 4] = False
    return (
        torch.randn(points, width),
        torch.randn(views, width, points),
        torch.randn(views, relation, points),
        seen,
    )


def attended_plainly(layer: ViewAttention, points, views, relation, seen):
    """Subtraction attention of one point, view and channel after the other."""
    result = []
    for p, point in enumerate(points):
        logits, values = [], []
        for v in range(len(views)):
            key, place = layer.key(views[v, :, p]), layer.place(relation[v, :, p])
            logits.append(layer.logit(key - layer.query(point) + place))
            values.append(layer.value(views[v, :, p]) + place)
        total = torch.zeros_like(point)
        for c in range(len(point)):
            powers = [math.exp(logits[v][c]) * bool(seen[v, p]) for v in range(len(views))]
            for v, power in enumerate(powers):
                total[c] += power / max(sum(powers), 1e-30) * values[v][c]
        result.append(layer.out(total))
    return torch.stack(result)


def test_view_attention_is_that_of_a_plain_loop():
    layer = ViewAttention(8, 4)
    inputs = views_of()
    with torch.no_grad():
        said, attention = layer(*inputs)
        torch.testing.assert_close(said, attended_plainly(layer, *inputs))
    sums = attention.sum(0)
    torch.testing.assert_close(sums[:, :4], torch.ones(8, 4))
    assert (sums[:, 4] == 0).all() and (attention[1, :, 2] == 0).all()


def test_a_view_that_does_not_see_has_no_influence_and_gets_no_gradient():
    block = ViewTransformer(8, 4)
    points, views, relation, seen = views_of()
    views.requires_grad_()
    relation.requires_grad_()
    before = block(points, views, relation, seen)
    before.points.square().sum().backward()
    assert views.grad is not None and relation.grad is not None
    assert (views.grad[1, :, 2] == 0).all() and (relation.grad[1, :, 2] == 0).all()
    assert (views.grad[1, :, 1] != 0).any()
    with torch.no_grad():
        views[1, :, 2] = 1e6
        relation[1, :, 2] = -50.0
        after = block(points, views, relation, seen)
    assert torch.equal(before.points, after.points)
    assert torch.equal(before.attention, after.attention)


def test_gradients_of_a_block_are_finite_differences():
    block = ViewTransformer(8, 4).double()
    points, views, relation, seen = views_of()
    arguments = tuple(x.double().requires_grad_() for x in (points, views, relation))
    assert torch.autograd.gradcheck(lambda *x: block(*x, seen).points, arguments)


def test_semantics_are_summed_over_views_by_groups_of_channels():
    attention, meaning = torch.rand(3, 2, 4), torch.randn(3, 6, 4)
    expected = torch.zeros(4, 6)
    for v, p, d in itertools.product(range(3), range(4), range(6)):
        expected[p, d] += attention[v, d // 3, p] * meaning[v, d, p]
    torch.testing.assert_close(spoken(attention, meaning), expected)


def test_ray_attention_is_that_of_torch():
    block = RayTransformer(8, heads=2)
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": block.inputs.weight,
            "in_proj_bias": torch.zeros(24),
            "out_proj.weight": block.out.weight,
            "out_proj.bias": block.out.bias,
        }
    )
    samples, there = torch.randn(5, 4, 8), torch.rand(5, 4) > 0.3
    there[:, 0] = True
    with torch.no_grad():
        found = block(samples, there)
        normed = block.norm(samples)
        said, weights = reference(
            normed, normed, normed, key_padding_mask=~there, average_attn_weights=False
        )
    torch.testing.assert_close(found.attention, weights)
    torch.testing.assert_close(found.samples, block.feed(samples + said))
    torch.testing.assert_close(ray_weights(found.attention), weights[:, :, 0].mean(1))
    assert (ray_weights(found.attention)[~there] == 0).all()


def test_few_samples_are_attended_to_as_many_are(monkeypatch):
    block, samples = RayTransformer(8, heads=2), torch.randn(5, 4, 8, requires_grad=True)
    there, prior = torch.rand(5, 4) > 0.3, torch.randn(5, 4)
    found = []
    for few in (8, 0):
        monkeypatch.setattr(ray_transformer, "FEW", few)
        block_of = block(samples, there, prior)
        (gradient,) = torch.autograd.grad(block_of.samples.square().sum(), samples)
        found.append((*block_of, gradient))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_ray_without_samples_has_no_weights():
    found = RayTransformer(8, heads=2)(torch.randn(2, 4, 8), torch.zeros(2, 4, dtype=torch.bool))
    assert (found.attention == 0).all() and found.samples.isfinite().all()


def test_semantics_along_rays_are_averaged_by_heads():
    attention, meaning = torch.rand(2, 2, 3, 3), torch.randn(2, 3, 4)
    expected = torch.zeros(2, 3, 4)
    for r, s, t, d in itertools.product(range(2), range(3), range(3), range(4)):
        expected[r, s, d] += attention[r, d // 2, s, t] * meaning[r, t, d]
    torch.testing.assert_close(along_rays(attention, meaning), expected)


def test_agreement_counts_the_other_views():
    labels = torch.tensor([[3], [3], [1], [-1]])
    sees = torch.tensor([[1.0], [0.5], [0.25], [1.0]])
    has, share = label_agreement(labels, sees, dim=0)
    assert has[:, 0].tolist() == [1, 1, 1, 0]
    expected = [0.505 / 0.76, 1.005 / 1.26, 0.005 / 1.51, 0.0]
    assert share[:, 0].tolist() == pytest.approx(expected)
    assert label_agreement(labels[:1], sees[:1], dim=0)[1].item() == pytest.approx(0.5)
    renamed = torch.tensor([[7], [7], [0], [-1]])
    assert torch.equal(label_agreement(renamed, sees, dim=0)[1], share)


def test_priors_are_what_the_attention_begins_with():
    """With logits of 0 and a prior of logarithms, views count by the prior, group by group."""
    layer = ViewAttention(8, 4)
    torch.nn.init.zeros_(layer.logit.last.weight)
    torch.nn.init.zeros_(layer.logit.last.bias)
    points, views, relation, seen = views_of()
    shares = torch.tensor([[1.0, 1.0], [2.0, 3.0], [3.0, 0.0]])
    prior = (shares + 1e-9).log()[..., None].expand(3, 2, 5)
    _, attention = layer(points, views, relation, seen, prior)
    assert attention[:, 0, 0].tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert attention[:, 7, 0].tolist() == pytest.approx([1 / 4, 3 / 4, 0.0], abs=1e-6)
    assert attention[:, 7, 2].tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    block = RayTransformer(8, heads=2)
    torch.nn.init.zeros_(block.inputs.weight)
    along = block(torch.randn(1, 3, 8), None, torch.tensor([[1.0, 2.0, 5.0]]).log()).attention
    assert ray_weights(along)[0].tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8])


def test_coarse_samples_are_even_in_inverse_depth():
    depths = inverse_depth_samples((1, 2), 4, (1.0, 5.0))
    inverse = [0.9, 0.7, 0.5, 0.3]
    torch.testing.assert_close(depths[0, 1], 1.0 / torch.tensor(inverse))
    moved = inverse_depth_samples((1, 500), 4, (1.0, 5.0), jitter=True)
    bins = ((1.0 - 1.0 / moved) / 0.2).floor()
    assert torch.equal(bins, torch.arange(4.0).expand(1, 500, 4))


def test_importance_samples_lie_where_the_weights_are():
    depths = 1.0 / torch.tensor([[[1.0, 0.8, 0.6, 0.4]]])
    weights = torch.tensor([[[0.0, 1.0, 0.0, 0.0]]])
    drawn = importance_samples(depths, weights, 4)
    # the cell of the second sample: inverse depths from .9 to .7, quantiles 1/8, 3/8, ...
    expected = [0.875, 0.825, 0.775, 0.725]
    assert (1.0 / drawn[0, 0]).tolist() == pytest.approx(expected, abs=1e-4)


def test_importance_samples_follow_the_weights_in_number():
    depths = (1.0 / torch.tensor([1.0, 0.8, 0.6, 0.4])).expand(1, 1, 4)
    weights = torch.tensor([[[0.1, 0.2, 0.3, 0.4]]])
    drawn = 1.0 / importance_samples(depths, weights, 4000, jitter=True)
    counts = torch.histc(drawn, 6, 0.4, 1.0).flip(0) / 4000  # six bins of .1 in inverse depth
    assert counts.tolist() == pytest.approx([0.1, 0.1, 0.1, 0.15, 0.15, 0.4], abs=0.03)
    nothing = importance_samples(depths, torch.zeros(1, 1, 4), 6)
    assert (1.0 / nothing).min() == pytest.approx(0.4 + 0.1 / 3, abs=1e-3)


def test_features_have_the_resolutions_of_the_paper_for_any_size():
    extractor = ResNetExtractor(8, (8, 8, 8), (1, 1, 1), radiance=6, semantic=5)
    for height, width in ((48, 64), (45, 50)):
        radiance, semantic = extractor(torch.rand(2, 3, height, width))
        assert radiance.shape == (2, 6, -(-height // 4), -(-width // 4))
        assert semantic.shape == (2, 20, -(-height // 2), -(-width // 2))


def test_radiance_features_do_not_teach_the_deepest_stage():
    extractor = ResNetExtractor(8, (8, 8, 8), (1, 1, 1), radiance=6, semantic=5)
    extractor(torch.rand(1, 3, 32, 32))[0].square().sum().backward()
    assert all(weight.grad is None for weight in extractor.stages[2].parameters())
    assert all(weight.grad is not None for weight in extractor.stages[1].parameters())


@pytest.mark.parametrize("head", [UNetHead, FPNHead])
@pytest.mark.parametrize("size", [(1, 7), (1, 1), (13, 10)])
def test_heads_take_any_image_of_rays(head, size):
    logits = head(8, 8, 3)(torch.randn(2, 8, *size))
    assert logits.shape == (2, 3, *size) and logits.isfinite().all()


def test_the_carried_head_begins_with_nearly_the_ray_itself():
    of_colors, of_meaning, belief = CarriedHead(6, 8)(torch.randn(5, 7, 6))
    assert of_colors.shape == of_meaning.shape == (25, 5, 7)
    assert of_meaning[12].min() > 0.6 and of_colors[12].min() == 1.0
    torch.testing.assert_close(belief, torch.full((5, 7), 1 / (1 + math.exp(-3))))


def test_colour_and_depth_losses_are_means_over_what_is_seen():
    true = torch.zeros(1, 3, 3)
    predicted = torch.tensor([[[0.1, 0.2, 0.2], [0.0, 0.0, 0.3], [NAN] * 3]])
    seen = torch.tensor([[True, True, False]])
    assert float(color_loss(predicted, true, seen)) == pytest.approx((0.09 + 0.09) / 2)
    depth = torch.tensor([[1.5, 2.02, 3.0]])
    truth = torch.tensor([[1.0, 2.0, 0.0]])
    expected = ((0.5 - 0.05) + 0.02**2 / 0.2) / 2
    assert float(depth_loss(depth, truth, torch.ones(1, 3) > 0)) == pytest.approx(expected, 1e-4)
    assert float(depth_loss(depth, torch.zeros(1, 3), seen)) == 0.0


def test_class_loss_leaves_unknown_labels_out():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [1.0, 1.0, 1.0]]]))
    labels = torch.tensor([[1, 1, -1]])
    assert float(class_loss(logits, labels)) == pytest.approx(-math.log(0.25 * 0.8) / 2)
    assert float(class_loss(logits, -torch.ones(1, 3).long())) == 0.0


def test_votes_are_scored_with_void_as_the_answer_where_nobody_names_the_class():
    scores = torch.tensor([[[0.6, 0.2, 0.0], [0.6, 0.2, 0.0], [0.0, 0.9, 0.0]]])
    labels = torch.tensor([[1, 2, -1]])
    expected = -(math.log(0.2) + math.log(0.2)) / 2  # the second: void has 1 - .8
    assert float(vote_loss(scores, scores, labels)) == pytest.approx(expected, 1e-5)


def test_the_vote_loss_is_least_at_the_true_probabilities():
    """A proper score: of ten rays, 5 are of class 0, 3 of class 1, and 2 of one nobody names."""
    labels = torch.tensor([[0] * 5 + [1] * 3 + [2] * 2])
    logits = torch.zeros(3, requires_grad=True)
    votes = torch.tensor([0.5, 0.5, 0.0]).expand(1, 10, 3)
    descent = torch.optim.Adam([logits], 0.1)
    for _ in range(120):
        descent.zero_grad()
        shares = logits.softmax(0)
        scores = torch.stack([shares[0], shares[1], shares[2] * 0.0])
        vote_loss(scores.expand(1, 10, 3), votes, labels).backward()
        descent.step()
    assert logits.softmax(0).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=2e-3)


def test_distillation_is_one_minus_the_cosine_and_does_not_teach_the_teacher():
    rendered = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]], requires_grad=True)
    teacher = torch.tensor([[[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]], requires_grad=True)
    seen = torch.tensor([[True, True, False]])
    loss = distillation_loss(rendered, teacher, seen)
    loss.backward()
    assert loss.item() == pytest.approx((1.0 - math.sqrt(0.5)) / 2, 1e-5)
    assert teacher.grad is None and rendered.grad is not None
    assert (rendered.grad[0, 2] == 0).all() and (rendered.grad[0, 1] != 0).any()


def test_depth_guided_distillation_pushes_samples_away_from_the_surface_apart():
    """Sample 0 is the surface; the released code has no term for the two others."""
    angles = torch.tensor([60.0, 60.0, 120.0]).deg2rad()
    samples = torch.stack([angles.cos(), angles.sin()], -1)[None, None].requires_grad_()
    weights = torch.tensor([[[0.7, 0.2, 0.1]]])
    teacher = torch.tensor([[[3.0, 0.0]]], requires_grad=True)
    seen = torch.ones(1, 1) > 0
    loss = depth_guided_loss(samples, weights, teacher, seen, window=0)
    assert loss.item() == pytest.approx(((1 - 0.5) + 0.5 + 0.0) / 3, 1e-5)
    (gradient,) = torch.autograd.grad(loss, samples)
    along = gradient[0, 0] @ torch.tensor([1.0, 0.0])
    assert along[0] < 0 < along[1] and along[2] == 0
    reference = nn.functional.cosine_embedding_loss(
        samples[0, 0], teacher[0].expand(3, 2), torch.tensor([1.0, -1.0, -1.0]), margin=0.2
    )
    found = depth_guided_loss(samples, weights, teacher, seen, window=0, margin=0.2)
    assert found.item() == pytest.approx(reference.item(), 1e-5)


@pytest.mark.parametrize(
    ("best", "inside"),
    [(0, [0, 1, 2]), (1, [0, 1, 2]), (3, [2, 3, 4]), (5, [3, 4, 5])],
)
def test_the_window_is_moved_at_the_ends_of_the_ray(best, inside):
    weights = torch.zeros(1, 1, 6)
    weights[..., best] = 1.0
    assert at_surface(weights, 1)[0, 0].nonzero()[:, 0].tolist() == inside
    assert at_surface(weights, 9).all()


def test_mask_costs_are_hand_worked():
    probability = torch.tensor([[0.8, 0.1], [0.5, 0.1]])  # (pixels, outputs)
    costs = mask_costs(probability, torch.tensor([[1.0, 0.0]]))
    assert costs.entropy[0].tolist() == pytest.approx(
        [-(math.log(0.8) + math.log(0.5)) / 2, -(math.log(0.1) + math.log(0.9)) / 2], 1e-5
    )
    assert costs.overlap[0].tolist() == pytest.approx([1 - 0.8 / 1.5, 1 - 0.1 / 1.1], 1e-5)


def test_the_matching_is_the_best_of_all_permutations():
    for seed in range(20):
        torch.manual_seed(seed)
        instances = torch.randint(-1, 4, (6, 6))
        probability = torch.randn(36, 5).mul(2).softmax(-1)
        costs = mask_costs(probability, object_masks(instances))
        total = costs.entropy + costs.overlap
        count = len(total)
        best = min(
            sum(float(total[row, column]) for row, column in enumerate(order))
            for order in itertools.permutations(range(5), count)
        )
        assert float(total[matched(costs)].sum()) == pytest.approx(best, 1e-5)


def test_right_instances_cost_nothing_whatever_their_order():
    instances = torch.tensor([[7, 7, 2], [-1, 5, 2]])
    logits = torch.full((2, 3, 6), -20.0)
    for name, output in ((7, 3), (2, 0), (5, 4), (-1, 5)):
        logits[instances == name] = logits[instances == name].index_fill(
            -1, torch.tensor(output), 20.0
        )
    assert all(float(term) < 1e-4 for term in instance_losses(logits, instances).values())
    logits[1, 0, 2] = 40.0  # a pixel without an object, now of an output without one
    wrong = instance_losses(logits, instances)
    assert float(wrong["instance_invalid"]) == pytest.approx(1 / (6 * 2), 1e-3)
    assert float(wrong["instance_overlap"]) < 1e-4


def test_more_objects_than_outputs_are_refused():
    with pytest.raises(ValueError, match="instances: 3"):
        instance_losses(torch.zeros(1, 3, 3), torch.tensor([[0, 1, 2]]))


def test_images_without_objects_want_empty_outputs():
    terms = instance_losses(torch.zeros(2, 2, 3), -torch.ones(2, 2).long())
    assert float(terms["instance_invalid"]) == pytest.approx(1 / 3)
    assert float(terms["instance_entropy"]) == float(terms["instance_overlap"]) == 0.0
