"""The loss of k members of an ensemble that are trained together: the mean of their losses for the same targets.

Which models have members is decided in training_chain.py.
"""

from __future__ import annotations

from typing import Any

from ...backends import Array, Backend
from ...errors import HyperparameterError
from ...kernels.formulas.ensembles import spread
from ...kernels.rows import repeats
from ..losses import Loss
from .tape import Tape


class MemberLoss(Loss):
    """The mean over members of a loss of each: outputs [B, k e] count as k rows of a row, each of weight 1 / k.

    Args: loss – of one member; members – k.
    """

    weighs_rows = True

    def __init__(self, loss: Loss, members: int) -> None:
        super().__init__(loss.reduction)
        self.loss = loss
        self.members = members
        self.head = loss.head
        self.curved, self.convex = loss.curved, loss.convex

    @property
    def settings(self) -> dict[str, Any]:
        """See Loss."""
        return {"loss": self.loss, "members": self.members}

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        """Targets for the outputs [B, k e] of all members: those of one."""
        return self.loss.prepare(targets, width // self.members, backend, dtype)

    def example(self, rows: int, width: int, backend: Backend, dtype: str) -> Array:
        """As `prepare`."""
        return self.loss.example(rows, width // self.members, backend, dtype)

    def evaluate(self, y: Array, targets: Array, tape: Tape) -> tuple[Array, Array]:
        """(losses by row and member [B k], each divided by k; gradient [B, k e])."""
        given, rows = tape.row_weights, y.shape[0] * self.members
        reshape = tape.backend.xp.reshape
        repeated = self._repeated(targets, tape)
        tape.row_weights = self._weights(given, y.shape[0], tape)
        losses, gradient = self.loss.weighted_loss(reshape(y, (rows, -1)), repeated, tape)
        tape.row_weights = given
        return losses, reshape(gradient, y.shape)

    def _weights(self, given: Array | None, rows: int, tape: Tape) -> Array:
        """The weights of the rows, divided by k, for each member."""
        if given is None:
            weights = tape.empty((rows * self.members,))
            tape.backend.fill(weights, 1.0 / self.members)
            return weights
        weights = tape.empty((rows, self.members), tape.wide)
        tape.backend.map(spread, weights, given, 1.0 / self.members)
        return tape.backend.xp.reshape(weights, (-1,))

    def _repeated(self, targets: Array, tape: Tape) -> Array:
        """Each row of the targets once for each member."""
        backend, count = tape.backend, int(targets.shape[0])
        if len(targets.shape) == 2 and backend.dtype_name(targets) == tape.wide:
            width = int(targets.shape[1])
            out = tape.empty((count, self.members * width), tape.wide)
            backend.rows("take_columns", targets, tape.table(repeats.tiled, width, self.members), out)
            return backend.xp.reshape(out, (-1, width))
        if len(targets.shape) == 1 and backend.dtype_name(targets) == "int32":
            labels = tape.empty((count * self.members,), "int32")
            backend.rows("repeat_labels", targets, labels)
            return labels
        raise HyperparameterError(
            f"expected a loss whose prepared targets are labels, int32 [B], or numbers [B, e], for members of an ensemble; got "
            f"{backend.dtype_name(targets)} {tuple(targets.shape)} from {self.loss!r}; train without n_ensemble"
        )
