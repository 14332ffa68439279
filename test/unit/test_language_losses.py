"""Losses of language from images, against brute force."""

import math

import pytest
import torch
from torch.nn import functional

from semantic_field.mapping.language.language_losses import (
    chances,
    fda_loss,
    feature_loss,
    jensen_shannon,
    relevancy_loss,
)


@pytest.fixture
def random():
    return torch.Generator().manual_seed(3)


def test_feature_loss_by_hand():
    target = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    selection = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    latent = torch.tensor([[2.0, 0.0], [3.0, 0.0]])  # its length does not count
    # cosines 1 and cos 45; the mean is over all rays, the second one weighs half
    loss = feature_loss(latent, target, selection, torch.tensor([1.0, 0.5]))
    assert float(loss) == pytest.approx(0.5 * (1 - math.sqrt(0.5)) / 2)


def test_feature_loss_has_the_gradients_of_its_formula(random):
    latent, target = (torch.randn(*n, generator=random) for n in ((6, 4), (6, 3, 4)))
    selection, weight = (torch.rand(*n, generator=random) for n in ((6, 3), (6,)))
    target[2] = 0.0  # nobody said anything there
    mixed = [part.requires_grad_() for part in (latent, selection)]
    wanted = (selection[..., None] * target).sum(1)
    cosine = functional.cosine_similarity(latent, wanted, dim=-1)
    expected = (weight * (1.0 - cosine)).sum() / 6
    loss = feature_loss(latent, target, selection, weight)
    torch.testing.assert_close(loss, expected)
    both = (torch.autograd.grad(3.0 * x, mixed) for x in (loss, expected))
    for found, other in zip(*both, strict=True):
        rows = [0, 1, 3, 4, 5]
        torch.testing.assert_close(found[rows], other[rows])
        assert found[2].abs().max() < 1e-6


def test_selection_learns_the_scale_that_agrees(random):
    """Targets of the second scale are right everywhere, those of the others noise."""
    truth = functional.normalize(torch.randn(200, 8, generator=random), dim=-1)
    noise = functional.normalize(torch.randn(2, 200, 8, generator=random), dim=-1)
    target = torch.stack([noise[0], truth, noise[1]], 1)
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(100):
        selection = logits.softmax(-1).expand(200, 3)
        feature_loss(truth, target, selection, torch.ones(200)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert logits.softmax(-1)[1] > 0.9


def test_relevancy_loss_cosines_and_plain_products(random):
    latent, texts = torch.randn(5, 4, generator=random), torch.randn(3, 4, generator=random)
    texts = functional.normalize(texts, dim=-1)
    row, weight = torch.tensor([0, 2, -1, 1, 1]), torch.tensor([1.0, 1.0, 1.0, 0.5, 0.0])
    for temperature in (0.0, 0.1):
        total = 0.0
        for i in (0, 1, 3):
            scale = 1.0 if temperature == 0 else 1 / (temperature * latent[i].norm())
            logits = [float(latent[i] @ text * scale) for text in texts]
            log_sum = math.log(sum(math.exp(v) for v in logits))
            total += float(weight[i]) * (log_sum - logits[int(row[i])])
        loss = relevancy_loss(latent, texts, chances(row, weight, 3), temperature)
        assert float(loss) == pytest.approx(total / 5, rel=1e-5)


def test_relevancy_loss_is_least_where_the_chances_are_met(random):
    texts = torch.eye(3)
    chance = torch.tensor([[0.7, 0.2, 0.1]])
    latent = torch.randn(1, 3, generator=random, requires_grad=True)
    optimizer = torch.optim.Adam([latent], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        relevancy_loss(latent, texts, chance, 0.2).backward()
        optimizer.step()
    found = (functional.normalize(latent, dim=-1) @ texts.T / 0.2).softmax(-1)
    torch.testing.assert_close(found.detach(), chance, atol=1e-3, rtol=0)


def test_jensen_shannon_against_its_definition(random):
    log_p = torch.randn(6, 4, generator=random).log_softmax(-1)
    found = jensen_shannon(log_p)
    for i in range(6):
        for j in range(6):
            p, q = log_p[i].exp(), log_p[j].exp()
            m = 0.5 * (p + q)
            expected = 0.5 * ((p * (p / m).log()).sum() + (q * (q / m).log()).sum())
            assert float(found[i, j]) == pytest.approx(float(expected), abs=1e-6)


def test_fda_loss_against_brute_force(random):
    latent, texts = torch.randn(5, 4, generator=random), torch.randn(3, 4, generator=random)
    texts, patch = functional.normalize(texts, dim=-1), torch.rand(5, 6, generator=random)
    log_p = (functional.normalize(latent, dim=-1) @ texts.T / 0.2).log_softmax(-1)
    js = jensen_shannon(log_p)
    positive, negative = [], []
    for i in range(5):
        for j in range(5):
            f = float(functional.cosine_similarity(patch[i], patch[j], dim=0)) - 0.7
            (positive if f > 0 else negative).append(f * float(js[i, j]))
    assert positive and negative
    expected = 200 * sum(positive) / len(positive) + 0.2 * sum(negative) / len(negative)
    assert float(fda_loss(latent, texts, patch, 200.0, 0.2)) == pytest.approx(expected, rel=1e-4)


def test_fda_pulls_alike_rays_together(random):
    """Two rays of the same look, with other answers: a step of the loss brings them closer."""
    latent = torch.tensor([[1.0, 0.1], [0.1, 1.0]], requires_grad=True)
    texts, patch = torch.eye(2), torch.ones(2, 3)
    before = fda_loss(latent, texts, patch, 200.0, 0.2)
    before.backward()
    with torch.no_grad():
        moved = latent - 1e-3 * latent.grad
    assert fda_loss(moved, texts, patch, 200.0, 0.2) < before.detach()
