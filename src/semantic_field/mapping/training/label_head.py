"""Replacement of the label head of a field in training; optimiser moments are kept."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.field.model import SemanticField
from semantic_field.mapping.training.adam import Adam, padded


def grown(field: SemanticField, optimizer: Adam, classes: int) -> Adam:
    """Enlarge the label head of a field to at least ``classes`` rows.

    Returns the optimiser to use from now on. It keeps all moments; those of new rows are zero. If
    there are enough rows already, it is ``optimizer`` itself.
    """
    old_head = field.label_head
    if classes <= old_head.out_features:
        return optimizer
    field.grow_classes(classes)
    new_head, following = field.label_head, _follower(field, optimizer)
    for old, new in ((old_head.weight, new_head.weight), (old_head.bias, new_head.bias)):
        if old in optimizer.state:
            following.state[new] = padded(optimizer.state[old], new, old_head.out_features)
    return following


def fixed(field: SemanticField, optimizer: Adam, weight: Float[Tensor, "C D"]) -> Adam:
    """Replace the label head of a field by one with constant weights (C, D) and zero bias.

    Returns the optimiser to use from now on; it keeps the moments of the other networks.
    """
    weight = weight.to(field.table.device)
    head = torch.nn.Linear(weight.shape[1], max(1, len(weight)), device=weight.device)
    head.out_features = len(weight)
    head.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    head.bias = torch.nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False)
    field.label_head = head
    return _follower(field, optimizer)


def _follower(field: SemanticField, optimizer: Adam) -> Adam:
    """Return an optimiser of the field's networks with the moments of ``optimizer``."""
    following = Adam(field.network_parameters(), optimizer.betas, optimizer.eps)
    state = optimizer.state
    following.state.update({p: state[p] for p in following.parameters if p in state})
    return following
