"""TrainStep: forward, loss, backward and update of one minibatch, bound to a model, a loss and an optimiser.

It contains no loop over data (see Trainer) and no formulas (see kernels). Conversion of data is in minibatches.py, error
reports for values that are not finite in diagnosis.py, memory and time of a step in anatomy.py.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from ...backends import Backend
from ...backends import backend as find_backend
from ...backends.communicators import communicator, division_of
from ...backends.defaults.evaluator import Evaluator
from ...backends.executors.passes import Minibatch
from ...backends.profiling import Part
from ...errors import DtypeError, EmptyDataError, HyperparameterError, MixedBackends, NonFiniteLossError, StateError
from ...kernels.interrupts import uninterrupted
from ..losses import Loss
from ..optimizers import Optimizer, refuse_full_batch
from ..sample_weights import checked_weights, scaled
from ..settings import choice, fraction, positive, whole
from ..suggestions import SuggestsAttributes, suggests_arguments
from .anatomy import Memory, memory_of, profile_of
from .averaging import EMA
from .diagnosis import failure_of
from .evaluation import Evaluation, with_losses
from .frozen import captured_settings, is_capturable
from .micro_batches import MicroBatches
from .minibatches import MicroBatchSource, given_micro_batches, no_micro_batches, prepared, ready_micro_batches, require_targets
from .model import Sequential, require_seed
from .parameter import Parameter
from .precision import LossScale, precision_of
from .snapshot import Snapshot
from .step_loss import OVERFLOW, StepLoss, broken
from .tape import Tape
from .training_chain import chain_with_loss, evaluation_chain, training_chain, training_loss

if TYPE_CHECKING:
    from ..metrics.named import GivenMetrics

Array = Any


ON_NONFINITE = ("raise", "skip")
UPDATED = f"{OVERFLOW} makes"

_FOR_GOOD = ("model", "loss", "optimizer", "average")
"""Attributes of a step that captured plans depend on."""


class StepSettings(TypedDict, total=False):
    """The arguments of TrainStep after model, loss and optimizer, for functions that hand them on."""

    seed: int
    backend: str | Backend | None
    precision: str | None
    deterministic: bool
    micro_batch: int | str | None
    on_nonfinite: str
    average: EMA | None
    parallel: str | None


@suggests_arguments
class TrainStep(SuggestsAttributes):
    """One training step: call it with a minibatch.

    Args: model – a Sequential, initialised here if necessary; loss; optimizer; seed – of the initial weights (if initialised
        here), of dropout and of noise; backend – name, or None for that of the model, otherwise the one in use; precision –
        "float32"; "float64" for checks; "tf32" (on `cuda`), in which matrix products round float32 inputs to 11 bits;
        "bfloat16" or "float16" (on `cuda` and, as its reference, on `numpy`), in which activations and the copy of the weights
        for matrix products have 16 bits, while parameters, sums, weight gradients and losses stay in float32; None for that of
        the model; deterministic – the same bits for any number of threads (on `numba`), and in every run on one device (on
        `cuda`, where products use the first suitable algorithm of the library instead of the fastest one by measurement, and
        bias gradients have separate kernels); somewhat slower; micro_batch – rows processed at a time: a larger minibatch is
        split into parts whose gradients are accumulated before the single update, with the same result up to the rounding of
        sums; None (default) never splits; "auto" splits when memory runs out: it halves the size until the parts fit, keeps
        that size, and logs each change once; on_nonfinite – what happens to a step whose loss, gradient or update is not
            finite, and which therefore changes neither parameters nor optimiser state: "raise" (default) raises
            NonFiniteLossError, "skip" leaves the step out, counts it, and goes on; its loss is returned as it is, maybe NaN;
        average – fs.EMA(0.999) also averages the parameters, in the same kernel: `evaluate` and a Trainer evaluate, save and
        return the average, see `show_average`; None (default): no average.
    Attributes: steps – number of steps, including those skipped in float16 and with on_nonfinite="skip"; skipped – number of
        the latter; lr, momentum – may be set between steps; gradient – flat array of the last step, in float16 multiplied by
        the loss scale; loss_scale – that scale, 1 in other precisions; micro – the size of micro-batches, see MicroBatches;
        class_weights – those that the last fit computed for a loss with class_weights="balanced", otherwise None.
    Raises: HyperparameterError for settings, and for a loss that does not fit the last layer; DtypeError for a precision that
        the backend or the model does not support; MixedBackends for a model on another backend; UnknownBackend,
        BackendUnavailable.

    In float16 the loss is multiplied by an adaptive scale: if the gradient overflows, the step changes nothing and the scale is
    halved; this is an error only if the scale is already 1. After 2000 finite steps in a row it is doubled.

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
        on_nonfinite: str = "raise",
        average: EMA | None = None,
        parallel: str | None = None,
    ) -> None:
        refuse_full_batch(optimizer)
        for value, kind, example in (
            (model, Sequential, "fs.mlp([8, 32, 2])"), (loss, Loss, "fs.MSE()"), (optimizer, Optimizer, "fs.Adam(1e-3)")
        ):  # fmt: skip
            if not isinstance(value, kind):
                from ...synonyms import name_of

                advice = "did you forget ()?" if isinstance(value, type) else name_of(value) if isinstance(value, str) else ""
                raise HyperparameterError(
                    f"expected {'an' if kind is Optimizer else 'a'} {kind.__name__} such as {example}; got {value!r}"
                    + ("; " if advice else "") + advice
                )
        require_seed(seed)
        self.communicator = communicator(parallel)
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
        self.training_loss = training_loss(model, loss)
        self._gradient = model.arena.new()
        self.state = optimizer.bind(model.arena)
        if average is not None:
            if not isinstance(average, EMA):
                raise HyperparameterError(f"expected an EMA or None as average; got {average!r}; write average=fs.EMA(0.999)")
            self.state.keep_average(average)
        self.average = average
        self.on_nonfinite = choice(on_nonfinite, "on_nonfinite", ON_NONFINITE)
        self._skipped = 0
        # Codes of categories are never rounded to 16 bits.
        self.inputs_in = model.dtype if model.coded_columns else self.precision.stored
        self._inputs_dtype = chosen.dtype(self.inputs_in)
        self.weights = chosen.zeros((model.arena.size,), self.precision.stored) if self.precision.narrow else None
        if self.precision.scaled:
            self.state.loss_scale = LossScale(chosen)
        if self.on_nonfinite == "skip" and (self.precision.scaled or not chosen.on_host):
            self.state.skips = chosen.zeros((1,), model.dtype)
        self.chain_with_loss = chain_with_loss(self.chain, self.training_loss, self.state.loss_scale)
        self.seed = seed
        self.deterministic = bool(deterministic)
        self.division = division_of(self.communicator, self.deterministic)
        captured = (loss, *self.chain.walk()) if self.recordable else ()
        self._own_settings = captured_settings((optimizer, *captured))
        self.executor = chosen.executor(self)
        self._evaluators: dict[bool, Evaluator] = {}
        self.class_weights: tuple[float, ...] | None = None
        self.micro = MicroBatches(micro_batch, chosen, self._forget)
        if self.communicator is not None:
            from .agreement import require_same_step

            require_same_step(self)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FOR_GOOD and name in self.__dict__:
            raise StateError(f"expected a TrainStep to keep its {name}; got {value!r}; make a new TrainStep")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """The state from which the same step, with all its values, is restored."""
        settings = {name: getattr(self, name) for name in ("model", "loss", "optimizer", "seed", "deterministic")}
        to_host, shows = self.backend.to_numpy, self.state.arena.behind is not None
        with self.state.arena.between_steps(), self.state.arena.trained():
            states = {name: to_host(array) for name, array in self.state.states.items()}
            micro = {"micro_batch": self.micro.setting, "largest_piece": self.micro.largest}
            time = {"t": self.steps, "lr": self.lr, "momentum": self.state.momentum}
            settings["precision"] = self.precision.name
            settings["on_nonfinite"], settings["skipped"] = self.on_nonfinite, self.skipped
            settings["average"], settings["shows_average"] = self.average, shows
            settings["class_weights"] = self.class_weights
            settings["parallel"] = None if self.communicator is None else self.communicator.name
            if self.state.loss_scale is not None:
                settings["loss_scale"] = self.state.loss_scale.numbers
            arrays: dict[str, Any] = {"states": states, "gradient": to_host(self.gradient)}
            if self.model.initialized and self.model.arena is self.state.arena:
                # The model is copied later, maybe after further steps of another thread.
                arrays["parameters"] = to_host(self.state.arena.values)
        return {**settings, **micro, **time, **arrays}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(  # type: ignore[misc]
            saved["model"], saved["loss"], saved["optimizer"], saved["seed"], None, saved["precision"], saved["deterministic"],
            saved["micro_batch"], saved.get("on_nonfinite", "raise"), saved.get("average"), saved.get("parallel"),
        )  # fmt: skip
        self.skipped = saved.get("skipped", 0)
        self.class_weights = saved.get("class_weights")
        if self.state.loss_scale is not None:
            self.state.loss_scale.numbers = saved["loss_scale"]
        self.micro.largest = saved["largest_piece"]
        self.state.t, self.state.lr, self.state.momentum = saved["t"], saved["lr"], saved["momentum"]
        for name, values in saved["states"].items():
            self.backend.copy(values, self.state.states[name])
        self.backend.copy(saved["gradient"], self.gradient)
        if "parameters" in saved:  # not in pickles of version 0.2.0 and older
            self.backend.copy(saved["parameters"], self.model.arena.values)
            self.model.arena.hold()
        if saved.get("shows_average"):
            self.show_average()

    @property
    def gradient(self) -> Array:
        """Flat array of the last step, in the layout of `ranges`; in float16 multiplied by the loss scale."""
        self.executor.complete_gradient()
        return self._gradient

    @property
    def ranges(self) -> Mapping[Parameter, tuple[int, int]]:
        """The range of each parameter's gradient in `gradient`."""
        return self.state.arena.ranges

    @cached_property
    def recordable(self) -> bool:
        """Whether layers and loss compute only through their tape and its backend, so that a pass can be captured."""
        return is_capturable(self.loss) and all(map(is_capturable, self.chain.walk()))

    @property
    def in_parts(self) -> bool:
        """Whether a minibatch may be cut, into micro-batches or among processes."""
        return self.micro.setting is not None or self.communicator is not None

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return self.state.t

    @property
    def skipped(self) -> int:
        """Number of steps that on_nonfinite="skip" left out; waits for the device."""
        counted = self.state.skips
        return self._skipped + (0 if counted is None else int(self.backend.to_numpy(counted)[0]))

    @skipped.setter
    def skipped(self, value: int) -> None:
        self._skipped = value
        if self.state.skips is not None:
            self.backend.fill(self.state.skips, 0.0)

    @property
    def lr(self) -> float:
        """The learning rate; assign to change it from the next step on."""
        return self.state.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.state.lr = positive(value, "lr")

    @property
    def momentum(self) -> float | None:
        """The momentum of Momentum and Nesterov, None for other optimisers; assign to change it from the next step on."""
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
        self.state.momentum = fraction(value, "momentum")

    @property
    def loss_scale(self) -> float:
        """Factor by which the loss of the next step is multiplied before its gradient is rounded; waits for the device."""
        scale = self.state.loss_scale
        return 1.0 if scale is None else scale.numbers[0]

    def __call__(self, x: Any, y: Any, sample_weight: Any = None) -> StepLoss:
        """Runs one step on the minibatch x [B, d], y [B] or [B, e].

        Args: x, y – NumPy, CuPy, any DLPack array, or arrays of this step's backend; with micro_batch, arrays on the host are
            copied to the device one part at a time; sample_weight – [B], numbers w >= 0: the loss is sum w l / sum w, or
            sum w l for a loss with reduction "sum". A row of weight 0 counts as left out, one of weight 2 as given twice.
        Returns: the loss before the update, still on the device.
        Raises: ShapeError, DtypeError, LabelError, SampleWeightError, EmptyDataError before anything is changed;
            NonFiniteLossError, with parameters and optimiser state as before the step; StateError while another thread runs a
            step on the same parameters.
        """
        cut = self.in_parts
        given = x
        if cut:
            x = self.model.in_order(x)
            x = self.backend.with_rows(x, "x")
            self.model.check_input_shape(x.shape)
        else:
            x = self.stored(self.model.convert_input(x))
        rows = int(x.shape[0])
        if rows == 0:
            raise EmptyDataError("expected a minibatch of at least one row; got none")
        if cut:
            require_targets(y, rows)
            targets = self.backend.with_rows(y, "y")
        else:
            targets = self.prepare_targets(y, rows)
        weights = () if sample_weight is None else (self.prepare_weights(sample_weight, rows),)
        if cut:
            loss = self.take(rows, given_micro_batches(self, x, targets, rows, weights))
        else:
            loss = self.run(x, targets, *weights)
        self.model.remember_columns(given)
        self.model.remember_targets(y)
        if not self.backend.on_host:
            # The loss keeps the minibatch until it is read, so that an error can name the layer.
            number, size, again = self.state.t, self.micro.rows(rows), given_micro_batches(self, x, targets, rows, weights)
            loss._error = lambda what: self.failure(again(size), rows, number, what)
        return loss

    def prepare(self, x: Any, y: Any, name: str = "x") -> tuple[Array, Array]:
        """x and y as checked arrays of the backend, for `run`; unlike a call, also rejects NaN and infinity."""
        return prepared(self, x, y, name)

    def prepare_targets(self, y: Any, rows: int) -> Array:
        """Checked targets on the backend, for `run`."""
        require_targets(y, rows)
        width = self.model.outputs
        if width is None:
            width = self.model.output_width(int(self.model.inputs or 0))
        try:
            return self.loss.prepare(y, width, self.backend, self.model.dtype)
        except (DtypeError, MixedBackends) as error:
            raise type(error)(f"y: {error}") from error

    def prepare_weights(self, sample_weight: Any, rows: int) -> Array:
        """Checked weights of the rows of a minibatch on the backend, for `run`; for a mean loss their mean is scaled to 1."""
        weights = checked_weights(sample_weight, rows, self.backend)
        weights = scaled(weights, self.loss.reduction == "mean", lambda _: f"all {rows} rows")
        return self.backend.asarray(weights, self.model.dtype)

    def balance(self, class_weights: tuple[float, ...] | None) -> None:
        """Sets the weights of classes of a loss that balances them; plans, which contain the previous ones, are dropped."""
        if class_weights != self.class_weights:
            self.class_weights = class_weights
            self._forget()

    def stored(self, inputs: Array) -> Array:
        """Inputs in the data type of the activations, or of the parameters if some of them are codes."""
        return self.backend.asarray(inputs, self.inputs_in) if self.precision.narrow else inputs

    def new_tape(
        self,
        gradients: Array | Mapping[Parameter, Array],
        first_row: int = 0,
        backend: Backend | None = None,
        allocate: Callable[..., Array] | None = None,
        adds: bool = False,
    ) -> Tape:
        """A training tape for rows from `first_row` on; other arguments as in Tape."""
        random = self.backend.random_state(self.seed, 0, first_row)
        tape = Tape(self.state.arena, True, random, gradients, None, self.weights, backend, allocate, first_row, adds)
        tape.class_weights = self.class_weights
        return tape

    def evaluator(self, answers: bool = True) -> Evaluator:
        """What runs the layers in evaluation mode, with losses, in the precision of the step.

        Args: answers – whether it gives the labels that classes are predicted by, or the outputs.
        """
        self._require_own_parameters()
        if answers not in self._evaluators:
            arena, loss = self.state.arena, self.loss
            ending = with_losses(loss, self.class_weights, answers)
            chain = evaluation_chain(self.model, loss)
            work = Evaluation(chain, arena, ending, None, self.weights, (loss,), self.deterministic)
            self._evaluators[answers] = self.backend.evaluator(work)
        return self._evaluators[answers]

    def run(self, inputs: Array, targets: Array, *weights: Array) -> StepLoss:
        """One step on arrays that are already converted and checked; weights – from `prepare_weights`, if rows have some."""
        rows, minibatch = int(inputs.shape[0]), (inputs, targets, *weights)
        if self.micro.setting is not None or not self._at_once(rows, rows):
            return self.take(rows, ready_micro_batches(minibatch, rows, self.division))
        if self.communicator is not None:
            first, stop = self.division.own(rows)
            minibatch = tuple(array[first:stop] for array in minibatch)
        return self.state.arena.users.run(self._take, rows, no_micro_batches, rows, minibatch)

    def take(self, rows: int, micro_batches: MicroBatchSource) -> StepLoss:
        """One step on a minibatch that is passed in parts, with as many rows at a time as `micro` gives.

        Args: rows – of the minibatch, of all processes; micro_batches – function of the largest number of rows of a part;
            yields the converted and checked inputs, targets and, if any, weights of consecutive rows, those of this process. It
            may be called again with a smaller number.
        """
        with self.state.arena.training:
            return self.micro.attempt(rows, partial(self._take, rows, micro_batches))

    def _take(
        self, rows: int, micro_batches: MicroBatchSource, size: int, whole: Minibatch | None = None
    ) -> StepLoss:  # fmt: skip
        """One step on parts of `size` rows; a single part for the whole minibatch may be passed as `whole`."""
        backend, state = self.backend, self.state
        self._require_own_parameters()
        for own in self._own_settings:
            own.require_same()
        if whole is None and self._at_once(rows, size):
            whole = next(micro_batches(size))
        if whole is not None:
            self._require_dtype(whole)
        number, before = state.t + 1, None
        try:
            state.begin()
            if not state.proven:
                before = Snapshot(self)
            with self.products():
                if whole is not None and self.communicator is None:
                    total, squares = self.executor.run(whole, number)
                elif whole is not None:
                    total, squares = self.executor.run_own(whole, rows, number)
                else:
                    checked = map(self._require_dtype, micro_batches(size))
                    total, squares = self.executor.run_micro_batches(checked, rows, number)
        except BaseException as error:
            if state.t < number:
                state.undo()
            elif isinstance(error, MemoryError):
                raise StateError(
                    f"expected enough memory for the update of the parameters; it ran out during step {number}, which "
                    "cannot be repeated; restart from the last checkpoint with a smaller micro_batch"
                ) from error
            raise
        for own in self._own_settings:
            own.remember()
        # In float16, an overflow of the scaled gradient is not an error: the update was skipped and the scale reduced.
        squares = state.verdict(squares)
        if backend.on_host or before is not None:
            value, norm = backend.item(total), backend.item(squares)
            if before is not None or not (math.isfinite(value) and norm <= state.most):
                most = state.most if backend.on_host else self._most_read
                what = self._refused(broken(value, norm, most), squares, before)
                if what:
                    state.undo()
                    state.t = number
                    if self.on_nonfinite == "raise":
                        state.t -= 1
                        failed = self.failure((whole,) if whole is not None else micro_batches(size), rows, number, what)
                        together = self.communicator if backend.on_host else None
                        if together is None:
                            raise failed
                        from .agreement import joint_failure

                        raise joint_failure(together, failed)
                    self._skipped += state.skips is None or what.startswith(UPDATED)
        failure = partial(self.failure, (), rows, number) if self.on_nonfinite == "raise" else None
        return StepLoss(total, squares, self.loss.factor(rows), backend.item, failure, most=self._most_read)

    def _at_once(self, rows: int, size: int) -> bool:
        """Whether this process, and every other one, takes its rows of a minibatch in one part of at most `size` rows."""
        if self.communicator is None:
            return size >= rows
        return not self.division.fixed and rows >= self.communicator.size and size * self.communicator.size >= rows

    @property
    def _most_read(self) -> float:
        """The largest sum of squares that is no error when a loss is read; on a host all have been judged before."""
        if self.backend.on_host:
            return sys.float_info.max
        # A device compares in the type of the parameters, to which it has rounded the sum.
        return min(self.state.most * (1.0 + 0.5 * float(np.finfo(self.model.dtype).eps)), sys.float_info.max)

    def _refused(self, what: str, squares: Any, before: Snapshot | None) -> str:
        """What is not finite in the last step, "" if its update was applied after all.

        Args: what – the same, before the update was looked at; squares – of the gradient; before – the state before the step if
            the update may have overflowed.
        """
        if what.startswith(OVERFLOW) and self.backend.on_host and self.state.loss_scale is None:
            return self._update_anyway(squares)
        return self._look_at_update(before) if before is not None and not what else what

    def _update_anyway(self, squares: Any) -> str:
        """Applies the gradient of the last step, which was refused because its update can overflow, and looks at the result.

        Returns: what overflowed, after everything was restored; otherwise "".
        """
        state = self.state
        state.undo()
        state.t -= 1
        before, most = Snapshot(self), state.most
        state.most = sys.float_info.max
        try:
            state.begin()
            with self.backend.quiet():
                state.apply(self.gradient, squares)
        finally:
            state.most = most
        return self._look_at_update(before)

    def _look_at_update(self, before: Snapshot) -> str:
        """What is not finite after an update; everything is then restored."""
        name = self.state.headroom.measure()
        if name:
            before.put_back()
        return f"{UPDATED} {name} infinite" if name else ""

    def run_several(
        self, several: Any, indices: Array, prepare: Callable[[int], object] | None, taken: Callable[[list[StepLoss]], object]
    ) -> bool:
        """Several steps in one launch, with the same results as single steps.

        On a CPU, a launch ends before a step whose loss or gradient is not finite; if that is its first one, no step was taken.

        Args: several – created by the executor for whole arrays, see several.py of the backend; indices – the row indices of
            the minibatches that are left in the epoch, on the backend; prepare – called with 0, 1, … before the launch, to set
            learning rate and momentum of that step, None if they do not change; taken – called with the losses, still on the
            device, before an interrupt can come between.
        Returns: whether steps were taken; otherwise a single step must be run instead.
        """
        state, rows = self.state, several.rows
        self._require_own_parameters()
        for own in self._own_settings:
            own.require_same()
        with state.arena.training, self.products():
            state.make_ready()
            count = several.next(min(len(indices) // rows, state.headroom.at_once)) if several.ready() else 0
            if not count:
                return False
            rates, scalars = self._ahead(several, count, prepare)
            if not state.proven:
                return False
            first = state.t + 1
            with uninterrupted():
                results = several.run(indices[: len(rates) * rows], first, scalars)
                state.lr, state.momentum = rates[max(results.done, 1) - 1]
                for own in self._own_settings:
                    own.remember()
                factor, most, raises = self.loss.factor(rows), self._most_read, self.on_nonfinite == "raise"
                errors = (partial(self.failure, (), rows, first + k) if raises else None for k in range(results.done))
                taken([
                    StepLoss((k, 0), (k, 1), factor, results.item, error, value, most)
                    for k, (value, error) in enumerate(zip(results.losses(factor), errors, strict=True))
                ])  # fmt: skip
        return bool(results.done)

    def _ahead(self, several: Any, count: int, prepare: Callable[[int], object] | None) -> tuple[list[Any], Any]:
        """(learning rate, momentum) and the scalars of each of the next steps, or of those before `prepare` fails."""
        state = self.state
        before, rates = (state.lr, state.momentum), []
        try:
            if prepare is None:
                rates = [before] * count
            while len(rates) < count:
                assert prepare is not None
                try:
                    prepare(len(rates))
                except Exception:
                    if not several.next(len(rates)):
                        raise
                    break
                rates.append((state.lr, state.momentum))
            return rates, state.scalars_for_steps(rates)
        finally:
            state.lr, state.momentum = before

    def _forget(self) -> None:
        """Releases all buffers; they are made again when they are needed."""
        self.executor.forget()
        self._evaluators = {}

    def products(self) -> AbstractContextManager[Any]:
        """Context in which the backend computes matrix products in the mode of this step."""
        return self.backend.products(self.precision.name, self.deterministic)

    def _require_own_parameters(self) -> None:
        self.model.require_arena(self.state.arena, "TrainStep")

    def _require_dtype(self, micro_batch: Minibatch) -> Minibatch:
        if micro_batch[0].dtype != self._inputs_dtype:
            raise DtypeError(
                f"expected arrays from step.prepare, in {self.inputs_in}; got inputs of {micro_batch[0].dtype}"
            )
        return micro_batch

    def failure(self, micro_batches: Iterable[Minibatch], rows: int, number: int, what: str) -> NonFiniteLossError:
        """The error for step `number`, whose parameters were not changed.

        Args: micro_batches – parts of its minibatch, to find the layer; empty if they are no longer available; rows – of the
            minibatch; what – the values that are not finite.
        """
        return failure_of(self, micro_batches, rows, number, what)

    def memory(self, rows: int) -> Memory:
        """Computed memory of this step in bytes for minibatches of that many rows; see Memory."""
        return memory_of(self, whole(rows, "rows"))

    def profile(self, x: Any, y: Any, repeats: int = 20) -> list[Part]:
        """Time of one step on this minibatch by layer, stage and kernel.

        Parameters, optimiser state and step count are restored afterwards.

        Args: repeats – the times are medians over them.
        """
        self._require_own_parameters()
        inputs, targets = self.prepare(x, y)
        with self.state.arena.training:
            return profile_of(self, inputs, targets, whole(repeats, "repeats"))

    @suggests_arguments
    def evaluate(
        self, x: Any, y: Any, batch_rows: int = 4096, sample_weight: Any = None, metrics: GivenMetrics = None
    ) -> dict[str, float]:
        """Loss, and accuracy and error or R² and MAE depending on the loss, of x and y in evaluation mode; changes nothing.

        With an `average`, it is the averaged parameters that are evaluated.

        Args: x, y – arrays or RowSources; batch_rows – rows per pass; sample_weight – [N], as in a step: all of these figures
            are then weighted means; metrics – further ones, as in Trainer, such as ["roc_auc", "f1_macro"]: the outputs for all
            rows are collected on the host for them.
        """
        from ..metrics.named import measures
        from ..sources.feeds import feed_for
        from .metrics import evaluate, require_metrics

        rows = whole(batch_rows, "batch_rows")
        further = require_metrics(self, measures(metrics), sample_weight is not None)
        feed = feed_for(self, x, y, rows, sample_weight=sample_weight)
        shows = self.state.arena.behind is not None
        with closing(feed):
            self.show_average()
            try:
                return self.micro.attempt(rows, partial(evaluate, self, feed, rows, metrics=further))
            finally:
                if not shows and self.state.arena.behind is not None:
                    with self.state.arena.between_steps():
                        self.state.arena.show_trained()

    def show_average(self) -> None:
        """The model has the averages of its parameters until the next step, for whoever evaluates, predicts or saves.

        The next step goes on with the parameters that are trained, bit for bit. Trainer does this after each epoch, so that
        validation, early stopping, callbacks, and the model after `fit` have the averages. Without `average`, nothing changes.
        """
        if self.state.shown_from:
            with self.state.arena.between_steps():
                self.state.show_average()


def require_step(step: Any) -> None:
    """Raises HyperparameterError for anything but a step, such as a model."""
    if not isinstance(step, TrainStep):
        raise HyperparameterError(f"expected a TrainStep; got {step!r}; create one with fs.TrainStep(model, loss, optimizer)")
