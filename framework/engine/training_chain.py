"""The computation of a step: the layers of a model that training needs, followed by the loss.

When a step is created, this file decides whether the loss is computed together with the last Linear layer, and whether it is
that of each member of an ensemble.
"""

from __future__ import annotations

from ...backends import Array
from ...kernels.formulas.precision import as_stored, times
from ..layers.ensemble import EnsembleMean
from ..layers.fused import DenseRun, Nodes
from ..layers.sequence import Sequence
from ..layers.softmax import Softmax
from ..losses import Loss
from .member_loss import MemberLoss
from .model import Sequential
from .precision import LossScale
from .tape import Tape


def evaluation_chain(model: Sequential, loss: Loss) -> Sequence:
    """The layers of a model, without the final Softmax if the loss includes it."""
    if loss.softmax_inside and len(model.layers) > 1 and isinstance(model.layers[-1], Softmax):
        return Sequence(*model.layers[:-1])
    return model


def training_chain(model: Sequential, loss: Loss) -> Sequence:
    """As `evaluation_chain`, without the EnsembleMean that is then the last layer: each member has a loss of its own."""
    chain = evaluation_chain(model, loss)
    return Sequence(*chain.layers[:-1]) if len(chain.layers) > 1 and isinstance(chain.layers[-1], EnsembleMean) else chain


def training_loss(model: Sequential, loss: Loss) -> Loss:
    """The loss of the outputs of `training_chain`: the mean of those of all members, if the model averages them at the end."""
    layers = evaluation_chain(model, loss).layers
    return MemberLoss(loss, layers[-1].members) if len(layers) > 1 and isinstance(layers[-1], EnsembleMean) else loss


class ChainWithLoss:
    """The layers, followed by the loss.

    Args: chain – see training_chain; loss; scale – factor of the gradient of the loss in float16, None for 1.
    """

    def __init__(self, chain: Sequence, loss: Loss, scale: LossScale | None = None) -> None:
        self._chain = chain
        self._loss = loss
        self._scale = None if scale is None else scale.scale
        self._place = repr(loss)

    def forward(self, x: Array, targets: Array, tape: Tape) -> Array:
        """The losses of the rows."""
        y = self._chain.forward(x, tape)
        tape.place, tape.stage = self._place, "loss"
        rows, gradient = self.evaluate(y, targets, tape)
        tape.push(gradient)
        return rows

    def evaluate(self, y: Array, targets: Array, tape: Tape) -> tuple[Array, Array]:
        """(losses of the rows, gradient with respect to y) for outputs y; with a scale, y is converted to float32 first."""
        if self._scale is None:
            return self._loss.weighted_loss(y, targets, tape)
        wide = tape.empty(y.shape, "float32")
        tape.backend.map(as_stored, wide, y)
        rows, gradient = self._loss.weighted_loss(wide, targets, tape)
        scaled, reshape = tape.empty(y.shape), tape.backend.xp.reshape
        tape.backend.map(times, reshape(scaled, (-1, 1)), reshape(gradient, (-1, 1)), self._scale)
        return rows, scaled

    def backward(self, tape: Tape) -> None:
        """Writes the gradients of all parameters to the tape."""
        (gradient,) = tape.pop()
        self._chain.backward(gradient, tape, needs_input=False)


class _LossInOneOperation(ChainWithLoss):
    """For a loss that consists of one row operation, which also scales its gradient.

    If the last layer is Linear, that operation may also compute the column sums of the gradient, which are its bias gradient.
    """

    def __init__(self, chain: Sequence, loss: Loss, scale: LossScale | None = None) -> None:
        super().__init__(chain, loss, scale)
        nodes, cls = chain.fused.nodes, type(chain)
        last = nodes[-1][1]
        runs_nodes = (cls.forward, cls.backward) == (Sequence.forward, Sequence.backward)
        self._below = Nodes(nodes[:-1])
        self._run = last if runs_nodes and isinstance(last, DenseRun) and last.ends_in_linear else None

    def evaluate(self, y: Array, targets: Array, tape: Tape) -> tuple[Array, Array]:
        """See ChainWithLoss; also pushes the bias gradient that is still to be computed, or None."""
        bias = None if self._run is None else self._run.bias_gradient(tape)
        if tape.row_weights is not None and not self._loss.weighs_rows:
            tape.push(bias)
            return super().evaluate(y, targets, tape)
        rows, gradient = tape.empty((y.shape[0],)), tape.empty_like(y)
        sums, adds = bias or (None, False)
        operation = self._loss.operation(y, targets, tape)
        weights = () if tape.row_weights is None else (tape.row_weights,)
        summed = tape.backend.rows(*operation, rows, gradient, sums, adds, self._scale, *weights)
        tape.push(None if summed else bias)
        return rows, gradient

    def backward(self, tape: Tape) -> None:
        """See ChainWithLoss."""
        (gradient,), (bias,) = tape.pop(), tape.pop()
        if self._run is None:
            self._chain.backward(gradient, tape, needs_input=False)
            return
        tape.stage = "backward"
        gradient = self._run.back(gradient, tape, bool(self._below.nodes), bias)
        self._below.backward(gradient, tape, needs_input=False)


def chain_with_loss(chain: Sequence, loss: Loss, scale: LossScale | None = None) -> ChainWithLoss:
    """The ChainWithLoss for a chain and a loss."""
    return (_LossInOneOperation if loss.is_one_operation else ChainWithLoss)(chain, loss, scale)
