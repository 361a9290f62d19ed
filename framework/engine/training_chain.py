"""Which layers of a model training runs."""

from __future__ import annotations

from ..layers.sequence import Sequence
from ..layers.softmax import Softmax
from ..losses import Loss
from .model import Sequential


def training_chain(model: Sequential, loss: Loss) -> Sequence:
    """The layers of a model without the final Softmax, where the loss contains that."""
    if loss.softmax_inside and len(model.layers) > 1 and isinstance(model.layers[-1], Softmax):
        return Sequence(*model.layers[:-1])
    return model
