"""Passes in evaluation mode, as the evaluator of a backend runs them: the layers, and what follows the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...backends import Backend
from ...kernels.formulas.activations import ACTIVATIONS
from ...kernels.formulas.losses import rate
from ..losses import Loss
from .arena import Arena
from .frozen import Frozen, captured_settings, is_capturable
from .tape import Tape

Array = Any
Total = Callable[[Array], None]
Ending = Callable[..., Array]
"""(outputs, tape, total, *further inputs) -> result: what follows the last layer."""


def outputs(y: Array, tape: Tape, total: Total) -> Array:
    """The outputs themselves; the sum is theirs, so it is not finite if one of them is not."""
    total(tape.backend.xp.reshape(y, (-1,)))
    return y


def labels(y: Array, tape: Tape, total: Total) -> Array:
    """The column of the largest output; the sum as in `outputs`."""
    return tape.backend.argmax(outputs(y, tape, total))


def softmax(y: Array, tape: Tape, total: Total) -> Array:
    """Softmax of the outputs; the sum as in `outputs`."""
    out = tape.empty(y.shape)
    tape.backend.rows("softmax", outputs(y, tape, total), out)
    return out


def sigmoid(y: Array, tape: Tape, total: Total) -> Array:
    """Sigmoid of the outputs; the sum as in `outputs`."""
    out = tape.empty(y.shape)
    tape.backend.map(ACTIVATIONS["sigmoid"].forward, out, outputs(y, tape, total))
    return out


def rates(y: Array, tape: Tape, total: Total) -> Array:
    """e^y, which can overflow: the sum is that of the results."""
    return outputs(_rates(y, tape), tape, total)


def _rates(y: Array, tape: Tape) -> Array:
    out = tape.empty(y.shape, tape.wide)
    tape.backend.map(rate, out, y)
    return out


def with_losses(loss: Loss, class_weights: tuple[float, ...] | None = None, answers: bool = True) -> Ending:
    """The losses of the rows, whose sum is wanted, times the weights of the rows if there are some.

    The result is what `predict` returns; the outputs, if those are scores, or if answers are not wanted.
    """

    def ending(y: Array, tape: Tape, total: Total, targets: Array, weights: Array | None = None) -> Array:
        tape.row_weights, tape.class_weights = weights, class_weights
        losses, _ = loss.weighted_loss(y, targets, tape)
        total(losses)
        if loss.head == "classes" and answers:
            return tape.backend.argmax(y)
        return _rates(y, tape) if loss.head == "log_rates" else y

    return ending


class Evaluation:
    """A pass in evaluation mode: layers and an ending; see EvaluationWork in backends/defaults/evaluator.py.

    Args: chain – a Sequence; arena – its parameters; ending – see Ending; rows – largest number of rows of one pass of the
        layers' own code, None for all; weights – as in Tape; further – what else the pass runs, such as a loss; deterministic –
        as in TrainStep.
    """

    def __init__(
        self, chain: Any, arena: Arena, ending: Ending, rows: int | None = None, weights: Array | None = None,
        further: Iterable[Frozen] = (), deterministic: bool = False,
    ) -> None:  # fmt: skip
        parts = [*chain.walk(), *further]
        self.rows = rows
        self.deterministic = deterministic
        self.recordable = all(map(is_capturable, parts))
        self._chain = chain
        self._arena = arena
        self._ending = ending
        self._weights = weights
        self._settings = captured_settings(parts)

    def new_tape(self, backend: Backend | None = None) -> Tape:
        """See EvaluationWork."""
        return Tape(self._arena, weights=self._weights, backend=backend)

    def forward(self, tape: Tape, inputs: tuple[Array, ...], total: Total) -> Array:
        """See EvaluationWork."""
        x, *others = inputs
        return self._ending(self._chain.forward(x, tape), tape, total, *others)

    def remember(self) -> None:
        """See EvaluationWork."""
        for own in self._settings:
            own.remember()

    def changed(self) -> bool:
        """See EvaluationWork."""
        return bool(self._settings) and any(own.change() is not None for own in self._settings)
