"""TrainStep: forward, loss, backward and update of one minibatch, bound to a model, a loss and an optimiser.

It holds no loop over data (that is the Trainer) and no formula (those are in kernels).
"""

from __future__ import annotations

import math
from typing import Any

from ..backends import Backend
from ..backends import backend as find_backend
from ..errors import (
    DtypeError,
    EmptyDataError,
    HyperparameterError,
    NonFiniteLossError,
    ShapeError,
    StateError,
)
from .layers import Sequence, Softmax
from .losses import Loss
from .model import Sequential
from .optimizers import Optimizer
from .tape import Tape

Array = Any

class StepLoss:
    """The loss of one step: a scalar that stays on the device until `float(loss)` asks for it.

    Raises: NonFiniteLossError when it is asked for and was NaN or infinite (on a GPU; on a CPU the step itself raises).
    """

    __slots__ = ("_backend", "_factor", "_number", "_scalar", "_value")

    def __init__(self, scalar: Any, factor: float, backend: Backend, number: int) -> None:
        self._scalar = scalar
        self._factor = factor
        self._backend = backend
        self._number = number
        self._value: float | None = None

    def __float__(self) -> float:
        if self._value is None:
            self._value = self._backend.item(self._scalar) * self._factor
            if not math.isfinite(self._value):
                raise NonFiniteLossError(
                    f"expected a finite loss; got {self._value} in step {self._number}; the parameters of the step before "
                    "are kept; lower the learning rate or clip the gradient (clip_norm=1.0)",
                    self._number,
                )
        return self._value

    def __repr__(self) -> str:
        return f"{float(self):.6g}"

    def __format__(self, specification: str) -> str:
        return format(float(self), specification)


class TrainStep:
    """One training step, ready to be called with minibatches.

    Args: model – a Sequential, initialised here if it was not; loss; optimizer; seed – of the initial weights (where drawn
        here), of dropout and of noise; backend – name, or None for the model's own or the one in use; precision –
        "float32", or "float64" for checks; None for the model's own.
    Attributes: steps – how many were taken; lr – the learning rate, may be set; gradient – flat, of the last step.

        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=0)
        loss = step(x, y)
    """

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        optimizer: Optimizer,
        seed: int = 0,
        backend: str | Backend | None = None,
        precision: str | None = None,
    ) -> None:
        for value, kind in ((model, Sequential), (loss, Loss), (optimizer, Optimizer)):
            if not isinstance(value, kind):
                raise HyperparameterError(f"expected a {kind.__name__}; got {value!r}; did you forget ()?")
        chosen = model.backend if backend is None and model.initialized else find_backend(backend)
        if precision is not None and precision not in chosen.precisions:
            raise DtypeError(
                f"expected a precision that backend {chosen.name!r} has ({', '.join(chosen.precisions)}); got {precision!r}"
            )
        if not model.initialized:
            model.initialize(seed, chosen, precision or "float32")
        model.require_backend(chosen)
        if precision is not None and precision != model.dtype:
            raise DtypeError(
                f"expected a model in {precision}; got one in {model.dtype}; use model.to(backend, dtype)"
            )
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.backend = chosen
        if model.head is None:
            model.head = loss.head
        self.chain = _training_chain(model, loss)
        self.gradient = model.arena.new()
        self.state = optimizer.bind(model.arena)
        self.seed = seed
        self.executor = chosen.executor(self.chain, loss, self._new_tape, self.gradient)

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self.state.t

    @property
    def lr(self) -> float:
        """The learning rate; assign to change it from the next step on."""
        return self.state.lr

    @lr.setter
    def lr(self, value: float) -> None:
        if not 0.0 < value < float("inf"):
            raise HyperparameterError(f"expected lr in (0, inf); got {value!r}")
        self.state.lr = float(value)

    def __call__(self, x: Any, y: Any) -> StepLoss:
        """Takes one step on the minibatch x [B, d], y [B] or [B, e].

        Args: x, y – NumPy, CuPy, any DLPack array, or arrays of this step's backend.
        Returns: the loss before the update, still on the device.
        Raises: ShapeError, DtypeError, LabelError, EmptyDataError before anything has changed; NonFiniteLossError with the
            parameters as they were before the step.
        """
        inputs = self.model.convert_input(x)
        rows = int(inputs.shape[0])
        if rows == 0:
            raise EmptyDataError("expected a minibatch of at least one row; got none")
        targets = self.prepare_targets(y, rows)
        return self.run(inputs, targets)

    def prepare_targets(self, y: Any, rows: int) -> Array:
        """Checked targets on the backend, for `run`."""
        count = y.shape[0] if getattr(y, "shape", None) else len(y) if hasattr(y, "__len__") else None
        if count != rows:
            raise ShapeError(f"expected one target for each of the {rows} rows of x; got {count}")
        width = self.model.outputs
        if width is None:
            width = self.model.output_width(int(self.model.inputs or 0))
        return self.loss.prepare(y, width, self.backend, self.model.dtype)

    def _new_tape(self, gradient: Array, first_row: int = 0) -> Tape:
        """A training tape for rows from `first_row` on, whose gradients go to `gradient`."""
        random = self.backend.random_state(self.seed, 0, first_row)
        return Tape(self.model.arena, training=True, random=random, gradients=gradient)

    def run(self, inputs: Array, targets: Array) -> StepLoss:
        """One step on arrays that are already converted and checked."""
        backend, state = self.backend, self.state
        if self.model.arena is not state.arena:
            raise StateError(
                "expected the parameters that this step was made for; the model was initialised again or moved since; "
                "make a new TrainStep after model.initialize() and model.to()"
            )
        number = state.t + 1
        state.before_gradient()
        total, squares = self.executor.run(inputs, targets, number, self._usable)
        if squares is None:
            self._give_up(inputs, targets, f"a loss of {backend.item(total)}")
        if not self._usable(squares):
            self._give_up(inputs, targets, "a gradient with NaN or infinity")
        with backend.quiet():
            state.apply(self.gradient, squares)
        return StepLoss(total, self.loss.factor(int(inputs.shape[0])), backend, number)

    def _usable(self, scalar: Any) -> bool:
        """Whether a scalar is finite; on a GPU, where asking would wait for the device, the update kernel asks instead."""
        return self.backend.device != "cpu" or math.isfinite(self.backend.item(scalar))

    def _give_up(self, inputs: Array, targets: Array, what: str) -> None:
        """Raises NonFiniteLossError, with the parameters as they were before this step."""
        number = self.state.t + 1
        with self.backend.quiet():
            layer = self._first_not_finite(inputs, targets)
        self.state.undo()
        raise NonFiniteLossError(
            f"expected a finite loss; got {what} in step {number}, first in {layer}; the parameters of step {number - 1} "
            "are kept; lower the learning rate, clip the gradient (clip_norm=1.0), or check and scale the data",
            number,
            layer,
        )

    def _first_not_finite(self, inputs: Array, targets: Array) -> str:
        """Where a number that is not finite first appears, by running the layers one by one again."""
        backend, xp = self.backend, self.backend.xp

        def broken(array: Array) -> bool:
            return not math.isfinite(backend.item(backend.sum_of_squares(xp.reshape(array, (-1,)))))

        if broken(inputs):
            return "the input data"
        if backend.dtype_name(targets).startswith("float") and broken(targets):
            return "the targets"
        names = {parameter: name for name, parameter in self.model.declared()}
        tape = self._new_tape(self.gradient)
        tape.begin(int(inputs.shape[0]))
        tape.set_step(self.state.t + 1)
        x = inputs
        for index, layer in enumerate(self.chain.layers):
            for _, parameter in layer.declared():
                if parameter in names and broken(self.model.arena.views[parameter]):
                    return f"parameter {names[parameter]}"
            x = layer.forward(x, tape)
            if broken(x):
                return f"the output of layer {index} ({layer!r})"
        row_losses, gradient = self.loss.evaluate(x, targets, tape)
        if broken(row_losses) or broken(gradient):
            return f"the loss {self.loss!r}"
        return "the backward pass"

    def evaluate(self, x: Any, y: Any, batch_rows: int = 4096) -> dict[str, float]:
        """Loss, and accuracy or R² by the kind of loss, of x and y in evaluation mode; changes nothing."""
        from .metrics import evaluate

        return evaluate(self, x, y, batch_rows)


def _training_chain(model: Sequential, loss: Loss) -> Sequence:
    """The layers that training runs: without the final Softmax where the loss contains it."""
    if loss.softmax_inside and len(model.layers) > 1 and isinstance(model.layers[-1], Softmax):
        return Sequence(*model.layers[:-1])
    return model


