"""TrainStep: forward, loss, backward and update of one minibatch, bound to a model, a loss and an optimiser.

It holds no loop over data (that is the Trainer) and no formula (those are in kernels). How data become ready for it is in
minibatches.py, what it says of numbers that are not finite in diagnosis.py, what it costs in anatomy.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing
from functools import cached_property, partial
from typing import Any

from ...backends import Backend
from ...backends import backend as find_backend
from ...backends.profiling import Part
from ...errors import DtypeError, EmptyDataError, HyperparameterError, NonFiniteLossError, StateError
from ..losses import Loss
from ..optimizers import Optimizer, refuse_full_batch
from ..settings import positive, share, whole
from .anatomy import Memory, memory_of, profile_of
from .diagnosis import failure_of
from .frozen import captured_settings, is_recordable
from .micro_batches import MicroBatches
from .minibatches import Pieces, given_pieces, no_pieces, prepared, ready_pieces, require_targets
from .model import Sequential, require_seed
from .parameter import Parameter
from .precision import LossScale, precision_of
from .step_loss import BROKEN_GRADIENT, StepLoss
from .tape import Tape
from .training_chain import chain_with_loss, training_chain

Array = Any


_FOR_GOOD = ("model", "loss", "optimizer")
"""Attributes of a step that what it captures is made of."""


class TrainStep:
    """One training step, ready to be called with minibatches.

    Args: model – a Sequential, initialised here if it was not; loss; optimizer; seed – of the initial weights (where drawn
        here), of dropout and of noise; backend – name, or None for the model's own or the one in use; precision –
        "float32"; "float64" for checks; "tf32" (on `cuda`), whose products of float32 matrices round their factors to 11
        bits; "bfloat16" or "float16" (on `cuda` and, as the reference for it, on `numpy`), in which activations and the
        copy of the weights that products read have 16 bits, while parameters, sums, weight gradients and losses stay in
        float32; None for the model's own; deterministic – the same bits for any number of threads (on `numba`), and in
        every run on one device (on `cuda`, where products then take algorithms in the library's order, whatever the clock
        says, and bias gradients have kernels of their own); it costs some speed; micro_batch – rows that are worked on at a
        time: a larger minibatch is cut into pieces whose gradients
        are added up before the one update, with the same result up to the rounding of sums; None (default) never cuts;
        "auto" cuts when the memory does not suffice: it halves until it does, keeps that size, and says so once each time.
    Attributes: steps – how many were taken, those that float16 skipped among them; lr, momentum – may be set between steps;
        gradient – flat, of the last step; in float16 times the loss scale; loss_scale – that scale, 1 in other precisions;
        micro – the size of the pieces, see MicroBatches.
    Raises: HyperparameterError for settings, and for a loss that cannot mean what the last layer gives; DtypeError for a
        precision that the backend or the model does not have; MixedBackends for a model that lives on another backend;
        UnknownBackend, BackendUnavailable.

    In float16 the loss is multiplied by a scale that adapts itself: where the gradient overflows, the step changes nothing
    and the scale is halved; that is no error unless the scale is 1 already. 2000 good steps in a row double it.

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
        deterministic: bool = False,
        micro_batch: int | str | None = None,
    ) -> None:
        refuse_full_batch(optimizer)
        for value, kind, example in (
            (model, Sequential, "fs.mlp([8, 32, 2])"), (loss, Loss, "fs.MSE()"), (optimizer, Optimizer, "fs.Adam(1e-3)")
        ):  # fmt: skip
            if not isinstance(value, kind):
                hint = "; did you forget ()?" if isinstance(value, type) else ""
                raise HyperparameterError(f"expected a {kind.__name__} such as {example}; got {value!r}{hint}")
        require_seed(seed)
        loss.require_end(model.layers[-1])
        chosen = model.backend if backend is None and model.initialized else find_backend(backend)
        wanted = None if precision is None else precision_of(precision, chosen)
        if not model.initialized:
            model.initialize(seed, chosen, wanted.master if wanted else "float32")
        model.require_backend(chosen)
        self.precision = wanted or precision_of(model.dtype, chosen)
        if self.precision.master != model.dtype:
            raise DtypeError(
                f"expected a model in {self.precision.master}; got one in {model.dtype}; use model.to(backend, dtype)"
            )
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.backend = chosen
        if not model.head_is_given:
            model.head = loss.head
        self.chain = training_chain(model, loss)
        self.gradient = model.arena.new()
        self.state = optimizer.bind(model.arena)
        self._inputs_in = chosen.dtype(self.precision.stored)
        self.weights = chosen.zeros((model.arena.size,), self.precision.stored) if self.precision.narrow else None
        if self.precision.scaled:
            self.state.loss_scale = LossScale(chosen)
        self.chain_with_loss = chain_with_loss(self.chain, loss, self.state.loss_scale)
        self.seed = seed
        self.deterministic = bool(deterministic)
        captured = (loss, *self.chain.walk()) if self.recordable else ()
        self._own_settings = captured_settings((optimizer, *captured))
        self.executor = chosen.executor(self)
        self.micro = MicroBatches(micro_batch, chosen, self.executor.forget)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FOR_GOOD and name in self.__dict__:
            raise StateError(f"expected a TrainStep to keep its {name}; got {value!r}; make a new TrainStep")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """What makes the same step again, with everything that it has learned and remembers."""
        settings = {name: getattr(self, name) for name in ("model", "loss", "optimizer", "seed", "deterministic")}
        to_host = self.backend.to_numpy
        states = {name: to_host(array) for name, array in self.state.states.items()}
        micro = {"micro_batch": self.micro.setting, "largest_piece": self.micro.largest}
        time = {"t": self.steps, "lr": self.lr, "momentum": self.state.momentum}
        settings["precision"] = self.precision.name
        if self.state.loss_scale is not None:
            settings["loss_scale"] = self.state.loss_scale.numbers
        return {**settings, **micro, **time, "states": states, "gradient": to_host(self.gradient)}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.__init__(  # type: ignore[misc]
            kept["model"], kept["loss"], kept["optimizer"], kept["seed"], None, kept["precision"], kept["deterministic"],
            kept["micro_batch"],
        )  # fmt: skip
        if self.state.loss_scale is not None:
            self.state.loss_scale.numbers = kept["loss_scale"]
        self.micro.largest = kept["largest_piece"]
        self.state.t, self.state.lr, self.state.momentum = kept["t"], kept["lr"], kept["momentum"]
        for name, values in kept["states"].items():
            self.backend.copy(values, self.state.states[name])
        self.backend.copy(kept["gradient"], self.gradient)

    @property
    def ranges(self) -> Mapping[Parameter, tuple[int, int]]:
        """Where each parameter's gradient lies in `gradient`."""
        return self.state.arena.ranges

    @cached_property
    def recordable(self) -> bool:
        """Whether layers and loss do nothing but call their tape and its backend, so that a pass can be captured."""
        return is_recordable(self.loss) and all(map(is_recordable, self.chain.walk()))

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
        self.state.lr = positive(value, "lr")

    @property
    def momentum(self) -> float | None:
        """The momentum of Momentum and Nesterov, None for the others; assign to change it from the next step on."""
        if not self.optimizer.momentum_scalars(0.0):
            return None
        own: float = self.optimizer.momentum  # type: ignore[attr-defined]
        return own if self.state.momentum is None else self.state.momentum

    @momentum.setter
    def momentum(self, value: float) -> None:
        if self.momentum is None:
            raise HyperparameterError(
                f"expected an optimiser with a momentum; got {self.optimizer!r}; use fs.Momentum or fs.Nesterov"
            )
        self.state.momentum = share(value, "momentum")

    @property
    def loss_scale(self) -> float:
        """What the loss of the next step is multiplied by before its gradient is rounded; waits for the device."""
        scale = self.state.loss_scale
        return 1.0 if scale is None else scale.numbers[0]

    def __call__(self, x: Any, y: Any) -> StepLoss:
        """Takes one step on the minibatch x [B, d], y [B] or [B, e].

        Args: x, y – NumPy, CuPy, any DLPack array, or arrays of this step's backend; of arrays on the host, a step with
            micro_batch brings one piece at a time to its device.
        Returns: the loss before the update, still on the device.
        Raises: ShapeError, DtypeError, LabelError, EmptyDataError before anything has changed; NonFiniteLossError with the
            parameters as they were before the step; StateError while another thread is in a step on the same parameters.
        """
        cut = self.micro.setting is not None
        if not (cut and hasattr(x, "__len__")):
            x = self.stored(self.model.convert_input(x))
        rows = len(x) if isinstance(x, list | tuple) else int(x.shape[0])
        if rows == 0:
            raise EmptyDataError("expected a minibatch of at least one row; got none")
        if cut:
            require_targets(y, rows)
            loss = self.take(rows, given_pieces(self, x, y, rows))
        else:
            y = self.prepare_targets(y, rows)
            loss = self.run(x, y)
        if not self.backend.on_host:
            # Until the loss is asked for, it keeps the minibatch, to name the layer if something went wrong.
            number, size, again = self.state.t, self.micro.rows(rows), given_pieces(self, x, y, rows)
            loss._error = lambda what: self.failure(again(size), rows, number, what)
        return loss

    def prepare(self, x: Any, y: Any, name: str = "x") -> tuple[Array, Array]:
        """x and y as checked arrays of the backend, for `run`; besides what a call refuses, also NaN and infinity in them."""
        return prepared(self, x, y, name)

    def prepare_targets(self, y: Any, rows: int) -> Array:
        """Checked targets on the backend, for `run`."""
        require_targets(y, rows)
        width = self.model.outputs
        if width is None:
            width = self.model.output_width(int(self.model.inputs or 0))
        return self.loss.prepare(y, width, self.backend, self.model.dtype)

    def stored(self, inputs: Array) -> Array:
        """Inputs in the type of the activations."""
        return self.backend.asarray(inputs, self.precision.stored) if self.precision.narrow else inputs

    def new_tape(
        self,
        gradients: Array | Mapping[Parameter, Array],
        first_row: int = 0,
        backend: Backend | None = None,
        allocate: Callable[..., Array] | None = None,
        adds: bool = False,
    ) -> Tape:
        """A training tape for rows from `first_row` on; the other arguments as in Tape."""
        random = self.backend.random_state(self.seed, 0, first_row)
        return Tape(self.state.arena, True, random, gradients, None, self.weights, backend, allocate, first_row, adds)

    def evaluation_tape(self) -> Tape:
        """A tape for evaluation mode, in the precision of the step."""
        self._require_own_parameters()
        return Tape(self.state.arena, weights=self.weights)

    def run(self, inputs: Array, targets: Array) -> StepLoss:
        """One step on arrays that are already converted and checked."""
        rows = int(inputs.shape[0])
        if self.micro.setting is not None:
            return self.take(rows, ready_pieces(inputs, targets, rows))
        with self.state.arena.training:
            return self._take(rows, no_pieces, rows, (inputs, targets))

    def take(self, rows: int, pieces: Pieces) -> StepLoss:
        """One step on a minibatch that is handed over in pieces, as many rows at a time as `micro` says.

        Args: rows – of the minibatch; pieces – called with the largest number of rows of a piece; gives the inputs and targets
            of consecutive rows, already converted and checked. It may be called again with a smaller number.
        """
        with self.state.arena.training:
            return self.micro.attempt(rows, partial(self._take, rows, pieces))

    def _take(self, rows: int, pieces: Pieces, size: int, whole: tuple[Array, Array] | None = None) -> StepLoss:
        """One step, on pieces of `size` rows; where one piece is the whole minibatch, it may be given as that."""
        backend, state = self.backend, self.state
        self._require_own_parameters()
        for own in self._own_settings:
            own.require_same()
        if whole is None and size >= rows:
            whole = next(pieces(rows))
        if whole is not None:
            self._require_dtype(whole)
        number = state.t + 1
        try:
            state.begin()
            with self.products():
                if whole is not None:
                    total, squares = self.executor.run(*whole, number)
                else:
                    total, squares = self.executor.run_pieces(map(self._require_dtype, pieces(size)), rows, number)
        except BaseException as error:
            if state.t < number:
                state.undo()
            elif isinstance(error, MemoryError):
                raise StateError(
                    f"expected room for the update of the parameters; memory was gone in the middle of step {number}, which "
                    "cannot be taken again; start from the last checkpoint, with a smaller micro_batch"
                ) from error
            raise
        for own in self._own_settings:
            own.remember()
        if state.loss_scale is not None:
            # A gradient that overflowed is no failure: the update was skipped, and the scale is smaller now.
            squares = state.loss_scale.take_verdict()
        if backend.on_host:
            value, norm = backend.item(total), backend.item(squares)
            if not (math.isfinite(value) and math.isfinite(norm)):
                state.t -= 1
                state.undo()
                what = BROKEN_GRADIENT if math.isfinite(value) else f"a loss of {value}"
                raise self.failure((whole,) if whole is not None else pieces(size), rows, number, what)
        error_of = partial(self.failure, (), rows, number)
        return StepLoss(total, squares, self.loss.factor(rows), backend.item, error_of)

    def run_several(self, several: Any, places: Array, prepare: Callable[[int], object]) -> list[StepLoss]:
        """Several steps in one launch, with the results of as many single ones.

        Args: several – what the executor made for whole arrays, see backends/cuda/several.py; places – on the backend, the
            numbers of their rows, minibatch after minibatch; prepare – called with 0, 1, … before the launch, to set
            learning rate and momentum of that step.
        Returns: their losses, still on the device; none where a single step has to be taken instead.
        """
        state, rows = self.state, several.rows
        self._require_own_parameters()
        for own in self._own_settings:
            own.require_same()
        with state.arena.training, self.products():
            if not several.ready():
                return []
            first, scalars = state.t + 1, []
            for ahead in range(several.count):
                prepare(ahead)
                scalars.append(state.scalars_for_step(ahead))
            results = several.run(places, first, scalars)
        return [
            StepLoss((k, 0), (k, 1), self.loss.factor(rows), results.item, partial(self.failure, (), rows, first + k))
            for k in range(several.count)
        ]

    def products(self) -> AbstractContextManager[Any]:
        """Within it the backend computes matrix products as this step wants them."""
        return self.backend.products(self.precision.name, self.deterministic)

    def _require_own_parameters(self) -> None:
        self.model.require_arena(self.state.arena, "TrainStep")

    def _require_dtype(self, piece: tuple[Array, Array]) -> tuple[Array, Array]:
        if piece[0].dtype != self._inputs_in:
            raise DtypeError(f"expected arrays from step.prepare, in {self.precision.stored}; got inputs of {piece[0].dtype}")
        return piece

    def failure(self, pieces: Iterable[tuple[Array, Array]], rows: int, number: int, what: str) -> NonFiniteLossError:
        """The error for step `number`, whose parameters were not changed.

        Args: pieces – of its minibatch, to name the place; none where it is not known any more; rows – of the minibatch; what –
            came instead of finite numbers.
        """
        return failure_of(self, pieces, rows, number, what)

    def memory(self, rows: int) -> Memory:
        """Bytes that this step holds for minibatches of that many rows, by formula; see Memory."""
        return memory_of(self, whole(rows, "rows"))

    def profile(self, x: Any, y: Any, repeats: int = 20) -> list[Part]:
        """Where the time of one step on this minibatch goes, by layer, stage and kernel.

        Parameters, optimiser state and step count are afterwards as they were.

        Args: repeats – of which the median is taken.
        """
        self._require_own_parameters()
        inputs, targets = self.prepare(x, y)
        with self.state.arena.training:
            return profile_of(self, inputs, targets, whole(repeats, "repeats"))

    def evaluate(self, x: Any, y: Any, batch_rows: int = 4096) -> dict[str, float]:
        """Loss, and accuracy or R² by the kind of loss, of x and y in evaluation mode; changes nothing.

        Args: x, y – arrays or RowSources; batch_rows – rows per pass.
        """
        from ..sources.feeds import feed_for
        from .metrics import evaluate

        rows = whole(batch_rows, "batch_rows")
        feed = feed_for(self, x, y, rows)
        with closing(feed):
            return self.micro.attempt(rows, partial(evaluate, self, feed, rows))


def require_step(step: Any) -> None:
    """Raises HyperparameterError for what is no step, such as the model that it trains."""
    if not isinstance(step, TrainStep):
        raise HyperparameterError(f"expected a TrainStep, as fs.TrainStep(model, loss, optimizer) makes one; got {step!r}")
