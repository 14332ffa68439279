"""Another label head for a field that is being trained; its optimiser keeps what it has learnt."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.field.model import SemanticField
from semantic_field.mapping.training.adam import Adam, padded


def grown(field: SemanticField, optimizer: Adam, classes: int) -> Adam:
    """Give the field a label head of at least ``classes`` rows.

    Returns the optimiser of its networks from now on: moments of rows that were there stay, new
    ones begin at zero. It is ``optimizer`` itself where there are enough rows already.
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
    """Give the field a label head with these rows that learns nothing more.

    Returns the optimiser of its networks from now on.
    """
    weight = weight.to(field.table.device)
    head = torch.nn.Linear(weight.shape[1], max(1, len(weight)), device=weight.device)
    head.out_features = len(weight)
    head.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    head.bias = torch.nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False)
    field.label_head = head
    return _follower(field, optimizer)


def _follower(field: SemanticField, optimizer: Adam) -> Adam:
    """An optimiser of the field's networks that knows what ``optimizer`` does of them."""
    following = Adam(field.network_parameters(), optimizer.betas, optimizer.eps)
    state = optimizer.state
    following.state.update({p: state[p] for p in following.parameters if p in state})
    return following
