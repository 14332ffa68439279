"""Parts of GSNeRF's renderer: attention over views, the network along a ray, rules of blending."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import conv1d, conv_transpose1d, elu, layer_norm, max_pool1d

from semantic_field.generalizable.gathering import Gathered
from semantic_field.generalizable.guided_samples import GuidedSamples
from semantic_field.generalizable.masked_softmax import masked_softmax
from semantic_field.generalizable.radiance_branch import RadianceBranch, angle_encoding
from semantic_field.generalizable.semantic_branch import (
    CarriedSemantics,
    ClosedSemantics,
    semantic_patches,
)
from semantic_field.generalizable.view_attention import (
    AttentionLayer,
    RayAutoencoder,
    mean_and_variance,
)
from semantic_field.generalizable.view_blending import (
    at_sample,
    believable,
    label_agreement,
    semantic_sample,
    weights_of_densities,
)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def gathered(inside: torch.Tensor, gap: torch.Tensor) -> Gathered:
    """What is gathered of samples 2 m away, with readings that give the gaps."""
    shape, far = inside.shape, torch.full(inside.shape, 2.0)
    return Gathered(
        pixels=torch.zeros(*shape, 2),
        inside=inside,
        far=far,
        reading=far + gap,
        colors=torch.rand(*shape, 3) * inside[..., None],
        turn=torch.rand(*shape, 4),
        detail=torch.ones(shape),
    )


def test_a_masked_softmax_by_hand():
    scores = torch.tensor([[0.0, math.log(3.0), 50.0], [1.0, 2.0, 3.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    weights = masked_softmax(scores, mask)
    assert weights.tolist() == [pytest.approx([0.25, 0.75, 0.0]), [0.0, 0.0, 0.0]]
    (weights**2).sum().backward()
    assert scores.grad.isfinite().all() and scores.grad[0, 2] == 0


def test_attention_against_loops():
    layer = AttentionLayer(8, 2)
    tokens, mask = torch.randn(3, 4, 8), torch.rand(3, 4) > 0.4
    mask[:, -1] = True
    q, k, v = layer.query(tokens), layer.key(tokens), layer.value(tokens)
    found = torch.zeros(3, 4, 8)
    for n in range(3):
        for head in (slice(0, 4), slice(4, 8)):
            for i in range(4):
                power = torch.stack([(q[n, i, head] @ k[n, j, head] / 2).exp() for j in range(4)])
                power = power * mask[n]
                found[n, i, head] = (power[:, None] * v[n, :, head]).sum(0) / power.sum()
    first = layer_norm(
        tokens + layer.joined(found), (8,), layer.first_norm.weight, layer.first_norm.bias, 1e-6
    )
    inner = layer.outer(layer.inner(first).clamp(min=0))
    right = layer_norm(first + inner, (8,), eps=1e-6)
    torch.testing.assert_close(layer(tokens, mask), right, atol=1e-5, rtol=1e-4)


def test_tokens_that_are_masked_change_nothing():
    layer = AttentionLayer(8, 4)
    tokens, mask = torch.randn(1, 3, 8), torch.tensor([[True, False, True]])
    other = tokens.clone()
    other[0, 1] = 9.0
    assert torch.equal(layer(tokens, mask)[:, [0, 2]], layer(other, mask)[:, [0, 2]])
    seen = torch.ones(1, 3, dtype=torch.bool)
    assert not torch.allclose(layer(tokens, seen)[:, 0], layer(other, seen)[:, 0])


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="3 heads of 8: set heads to a divisor"):
        AttentionLayer(8, 3)


@pytest.mark.parametrize("norm", ["ray", "channels"])
def test_the_network_along_a_ray_is_the_published_one_for_multiples_of_eight(norm):
    net = RayAutoencoder(4, norm)
    x = torch.randn(2, 4, 16)

    def active(y):
        normed = (
            layer_norm(y, y.shape[-1:]) if norm == "ray" else layer_norm(y.mT, y.mT.shape[-1:]).mT
        )
        return elu(normed)

    def down(y, i):
        return max_pool1d(active(conv1d(y, net.down[i].weight, net.down[i].bias, padding=1)), 2)

    def up(y, i):
        layer = net.up[i]
        return active(conv_transpose1d(y, layer.weight, layer.bias, stride=2, padding=1))

    half = down(x, 0)
    quarter = down(half, 1)
    back = up(down(quarter, 2), 0)
    back = up(torch.cat([back, quarter], 1), 1)
    back = up(torch.cat([back, half], 1), 2)
    right = active(conv1d(torch.cat([back, x], 1), net.out.weight, net.out.bias, padding=1))
    torch.testing.assert_close(net(x), right)


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5, 7, 11, 128])
def test_the_network_along_a_ray_takes_any_number_of_samples(samples):
    net = RayAutoencoder(8, "channels")
    x = torch.randn(3, 8, samples, requires_grad=True)
    y = net(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert (x.grad.abs().sum((1, 2)) > 0).all()


def test_norms_along_the_ray_leave_nothing_of_a_single_sample():
    """Why the default norms the channels: the published form cannot tell single samples apart."""
    x = torch.randn(5, 8, 1)
    assert RayAutoencoder(8, "ray")(x).abs().max() == 0
    assert RayAutoencoder(8, "channels")(x).std(0).min() > 1e-3


def test_mean_and_variance_of_the_views_that_count():
    features, mask = torch.randn(6, 5, 3), torch.rand(6, 5) > 0.4
    mask[0] = False
    got = mean_and_variance(features, mask).numpy()
    for row, keep, values in zip(got, mask.numpy(), features.numpy(), strict=True):
        chosen = values[keep]
        right = [chosen.var(0), chosen.mean(0)] if len(chosen) else [np.zeros(3), np.zeros(3)]
        np.testing.assert_allclose(row, np.concatenate(right), atol=1e-6)
    every = mean_and_variance(features)
    torch.testing.assert_close(every, mean_and_variance(features, torch.ones_like(mask)))


def test_weights_of_densities_against_a_loop_and_finite_differences():
    density = torch.rand(7, 5, dtype=torch.double) * 3
    density[0] = 0
    right = torch.zeros_like(density)
    for ray in range(7):
        left = 1.0
        for s in range(5):
            alpha = 1 - math.exp(-density[ray, s])
            right[ray, s] = left * alpha
            left *= 1 - alpha
    torch.testing.assert_close(weights_of_densities(density), right)
    assert torch.autograd.gradcheck(weights_of_densities, density.requires_grad_())


def test_angles_by_hand():
    """60 degrees: the sine is .8660; times 1, 2, 4, 8 its sines and cosines."""
    sine = math.sqrt(0.75)
    right = [sine]
    right += [math.sin(sine * 2**i) for i in range(4)] + [math.cos(sine * 2**i) for i in range(4)]
    assert angle_encoding(torch.tensor(0.5)).tolist() == pytest.approx(right, abs=1e-6)
    cosine = torch.tensor([1.0, 1.0 + 1e-7], requires_grad=True)
    angle_encoding(cosine).sum().backward()
    assert cosine.grad.isfinite().all()


def test_who_may_be_believed():
    inside = torch.tensor([[[[1, 1, 0]], [[1, 1, 0]], [[0, 0, 0]]]]).bool()  # (1, 3, 1, 3)
    gap = torch.tensor([[[[-0.5, -0.05, -0.05]], [[-0.5, -0.2, 0.0]], [[0.0, 0.0, 0.0]]]])
    got = believable(gathered(inside, gap), hidden_m=0.1)[0, :, 0]
    assert got.tolist() == [
        [False, True, False],  # the first is behind a wall, the third out of the image
        [True, True, False],  # all are hidden: those in the image
        [True, True, True],  # in no image: all, whose values are 0
    ]


def test_agreement_of_labels_against_loops():
    rng = np.random.default_rng(0)
    labels, counts = rng.integers(-1, 3, (50, 6)), rng.random((50, 6)) > 0.3
    got = label_agreement(torch.tensor(labels), torch.tensor(counts)).numpy()
    for row, own, use in zip(got, labels, counts, strict=True):
        for v in range(6):
            others = [own[k] for k in range(6) if k != v and use[k] and own[k] >= 0]
            right = np.mean([o == own[v] for o in others]) if others else 0.0
            assert row[v] == pytest.approx(right if use[v] and own[v] >= 0 else 0.0)


def test_agreement_does_not_know_the_classes():
    """Other numbers for the same classes change nothing: no vocabulary can be learnt from it."""
    labels, counts = torch.randint(0, 5, (40, 6)), torch.rand(40, 6) > 0.2
    renamed = torch.tensor([7, 3, 9, 0, 4])[labels]
    assert torch.equal(label_agreement(labels, counts), label_agreement(renamed, counts))


def test_meaning_is_read_at_the_target_depth_or_else_at_the_heaviest_sample():
    exact = torch.tensor([[[False, True, False], [False, False, False]]])
    samples = GuidedSamples(torch.rand(1, 2, 3), exact)
    number = semantic_sample(samples, torch.tensor([[[0.7, 0.1, 0.2], [0.2, 0.3, 0.5]]]))
    assert number[0, :, 0].tolist() == [1, 2]
    values = torch.arange(12.0).reshape(1, 2, 3, 2)
    assert at_sample(values, number)[0].tolist() == [[2.0, 3.0], [10.0, 11.0]]


def test_patches_are_nine_pixels_row_by_row():
    feature = torch.arange(48.0).reshape(1, 1, 6, 8)
    pixels = torch.tensor([[[[3.0, 2.0]], [[4.0, 3.0]]]])  # (1, 2, 1, 2)
    inside = torch.tensor([[[True], [False]]])
    got = semantic_patches(feature, pixels, inside, (6, 8))
    rows = [[8 * r + c for c in (2, 3, 4)] for r in (1, 2, 3)]
    assert got[0, 0, 0].tolist() == pytest.approx([float(n) for row in rows for n in row], abs=1e-4)
    assert got[0, 1].abs().max() == 0


def radiance(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    branch = RadianceBranch(4, 3, 8, 2, 2, "channels")
    found = gathered(torch.ones_like(mask), torch.zeros(mask.shape))
    return branch(found, torch.randn(*mask.shape, 4), torch.randn(*mask.shape, 3), mask)


@pytest.mark.parametrize("samples", [1, 4, 9])
def test_weights_of_colours_are_of_the_believed_views_only(samples):
    mask = torch.rand(2, 3, samples, 5) > 0.5
    mask[..., 0] = True
    colors, weights = radiance(mask)
    assert (colors[~mask] == 0).all()
    torch.testing.assert_close(colors.sum(-1), torch.ones(2, 3, samples))
    assert weights.shape == (2, 3, samples)
    assert (weights >= 0).all() and (weights.sum(-1) <= 1 + 1e-5).all()
    assert weights.sum() > 0  # densities begin above 0


def test_carried_semantics_weigh_believed_views_and_say_nothing_where_there_are_none():
    branch = CarriedSemantics(4, 8, 2, 2)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    weights, confidence = branch(torch.randn(2, 3, 4), torch.randn(2, 3, 8), mask)
    assert weights[0].sum().item() == pytest.approx(1.0, abs=1e-6) and weights[0, 1] == 0
    assert weights[1].tolist() == [0, 0, 0] and confidence[1] == 0
    assert 0 < confidence[0] < 1


def test_carried_semantics_do_not_see_what_is_not_believed():
    branch = CarriedSemantics(4, 8, 2, 2)
    features, besides = torch.randn(1, 3, 4), torch.randn(1, 3, 8)
    mask = torch.tensor([[True, False, True]])
    other = features.clone()
    other[0, 1] = 5.0
    for a, b in zip(branch(features, besides, mask), branch(other, besides, mask), strict=True):
        torch.testing.assert_close(a, b)


def test_closed_semantics_take_fewer_views_but_not_more():
    branch = ClosedSemantics(3, 4, 8, 2, 2, rectified=True)
    seen = torch.ones(5, 2, dtype=torch.bool)
    logits = branch(torch.randn(5, 2, 27), seen, seen)
    assert logits.shape == (5, 3) and (logits >= 0).all()
    more = torch.ones(5, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match="at most 4 source views, got 6"):
        branch(torch.randn(5, 6, 27), more, more)
