"""Losses of the language latent, computed in the latent space (D instead of E dimensions).

With zero mean and orthonormal columns V, dot products of decoded embeddings equal dot products of
latents, and dot products with a text q equal those with V'q.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit
from torch import Tensor
from torch.nn import functional

from semantic_field.mapping.training.known_gradients import with_gradients

_jit = njit(nogil=True, cache=True, error_model="numpy", fastmath=True)


@_jit
def _features(latent, target, selection, share, to_latent, to_selection):
    scales, dim = target.shape[1:]
    wanted = np.empty(dim, np.float32)
    total = 0.0
    for r in range(len(latent)):
        own = other = product = np.float32(0)
        for d in range(dim):
            wanted[d] = 0
            for s in range(scales):
                wanted[d] += selection[r, s] * target[r, s, d]
            own += latent[r, d] * latent[r, d]
            other += wanted[d] * wanted[d]
            product += latent[r, d] * wanted[d]
        own = 1 / max(np.sqrt(own), np.float32(1e-8))
        other = 1 / max(np.sqrt(other), np.float32(1e-8))
        cosine = product * own * other
        total += share[r] * (1 - cosine)
        for d in range(dim):
            a, b = latent[r, d] * own, wanted[d] * other
            to_latent[r, d] = (cosine * a - b) * share[r] * own
            wanted[d] = (cosine * b - a) * share[r] * other
        for s in range(scales):
            to_selection[r, s] = np.float32(0)
            for d in range(dim):
                to_selection[r, s] += target[r, s, d] * wanted[d]
    return total


def feature_loss(
    latent: Float[Tensor, "R D"],
    target: Float[Tensor, "R S D"],
    selection: Float[Tensor, "R S"],
    weight: Float[Tensor, " R"],
) -> Float[Tensor, ""]:
    """Return ``1 - cos(F, normalise(sum_s S_s F_s))``, averaged over rays with weights.

    Gradients flow into the latent F and the selection of scales S. On the CPU one compiled loop
    computes loss and gradients.
    """
    share = weight / max(len(latent), 1)
    if latent.device.type == "cpu":
        gradients = torch.empty(latent.shape), torch.empty(selection.shape)
        arrays = (latent, target, selection, share, *gradients)
        loss = _features(*[array.detach().contiguous().numpy() for array in arrays])
        return with_gradients(torch.tensor(loss), [latent, selection], gradients)
    return feature_loss_in_torch(latent, target, selection, share)


def feature_loss_in_torch(
    latent: Float[Tensor, "R D"],
    target: Float[Tensor, "R S D"],
    selection: Float[Tensor, "R S"],
    share: Float[Tensor, " R"],
) -> Float[Tensor, ""]:
    """``feature_loss`` for any device; ``share`` are the weights over the number of rays."""
    wanted = (selection[..., None] * target).sum(1)
    return (share * (1.0 - functional.cosine_similarity(latent, wanted, dim=-1))).sum()


def relevancy_loss(
    latent: Float[Tensor, "R D"],
    texts: Float[Tensor, "C D"],
    chance: Float[Tensor, "R C"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Return the cross-entropy over the current vocabulary, averaged over rays.

    Args:
        texts: V'q of the vocabulary's texts.
        chance: target probability of each text for each ray; its sum is the ray's weight.
        temperature: of the cosines; 0 = dot products with the unnormalised latent, as in OV-NeRF's
            released code.
    """
    if temperature > 0:
        logits = functional.normalize(latent, dim=-1) @ texts.T / temperature
    else:
        logits = latent @ texts.T
    return -(chance * logits.log_softmax(-1)).sum() / max(len(latent), 1)


def chances(
    row: Int[Tensor, " R"], weight: Float[Tensor, " R"], count: int
) -> Float[Tensor, "R C"]:
    """Return one-hot targets (R, C) times the rays' weights; zeros where the row is -1."""
    there = row >= 0
    chance = torch.zeros(len(row), count)
    chance[there, row[there]] = weight[there]
    return chance


def fda_loss(
    latent: Float[Tensor, "P D"],
    texts: Float[Tensor, "C D"],
    patch: Float[Tensor, "P K"],
    positive_weight: float,
    negative_weight: float,
) -> Float[Tensor, ""]:
    """Return OV-NeRF's DINO regularisation: similar patches should have similar class scores.

    With ``f = cos(dino_i, dino_j) - 0.7`` and the Jensen-Shannon divergence of the two rays'
    softmax(cos / 0.2): ``w+ sum(max(f, 0) JS) / #(f > 0) + w- sum(min(f, 0) JS) / #(f < 0)``,
    over all pairs of the P rays of one patch.
    """
    unit = functional.normalize(patch, dim=-1)
    likeness = unit @ unit.T - 0.7
    log_p = (functional.normalize(latent, dim=-1) @ texts.T / 0.2).log_softmax(-1)
    divergence = jensen_shannon(log_p)
    parts = ((likeness.clamp_min(0.0), positive_weight), (likeness.clamp_max(0.0), negative_weight))
    total = latent.new_zeros(())
    for part, weight in parts:
        total = total + weight * (part * divergence).sum() / part.count_nonzero().clamp_min(1)
    return total


def jensen_shannon(log_p: Float[Tensor, "P C"]) -> Float[Tensor, "P P"]:
    """Return the Jensen-Shannon divergence of all pairs: H((p + q) / 2) - (H(p) + H(q)) / 2.

    With the natural logarithm.
    """
    p = log_p.exp()
    entropy = -(p * log_p).sum(-1)
    mixed = 0.5 * (p[:, None] + p[None])
    of_mixed = -(mixed * torch.log(mixed.clamp_min(1e-12))).sum(-1)
    return of_mixed - 0.5 * (entropy[:, None] + entropy[None])
