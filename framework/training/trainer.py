"""The Trainer: epochs, minibatches, validation, callbacks. It contains no formulas."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Unpack

from ...backends.communicators.communicator import NOTHING
from ...backends.entries import describe
from ...backends.executors.passes import Minibatch
from ...errors import DtypeError, HyperparameterError, LabelError, NonFiniteLossError, SampleWeightError, ShapeError
from ...kernels.interrupts import uninterrupted
from ..engine.metrics import evaluate, require_metrics
from ..engine.model import Sequential
from ..engine.step import StepSettings, TrainStep, require_step
from ..engine.step_loss import StepLoss
from ..losses import Loss
from ..metrics.named import GivenMetrics, measures
from ..optimizers import Optimizer
from ..sample_weights import balanced
from ..settings import whole
from ..sources.feeds import Feed, ResidentFeed, feed_for
from ..sources.fingerprint import fingerprint
from ..suggestions import PREDICTION, SuggestsAttributes, suggests_arguments
from .augmentation import Augmentations
from .callbacks import Callback, ProgressBar
from .checkpoint import Checkpoint
from .checkpoint_run import CheckpointRun
from .history import History
from .launches import Launches
from .schedules import RateSchedule, Schedule, ScheduleRunner, UserSchedule

Array = Any

EVALUATION_ROWS = 4096
"""Rows per pass of the validation."""
SHUFFLES = ("each_epoch", "once", "never")


@suggests_arguments(further=StepSettings.__annotations__)
class Trainer(SuggestsAttributes):
    """Trains a model: runs a TrainStep over the minibatches of a data set.

    `fs.Trainer(model, loss, optimizer, seed=0)` is short for `fs.Trainer(fs.TrainStep(model, loss, optimizer, seed=0))`.

    Args: step – a TrainStep, or a model, with which loss and optimizer are given; loss – or, after a TrainStep, the callbacks;
        optimizer; callbacks; shuffle – "each_epoch" (default), "once" (the same shuffled batches in every epoch, as notes 000
        suggest), or "never"; progress – whether to show a progress bar on the terminal; schedule – for the learning rate: a
        schedule such as fs.StepDecay(), its text ("step:every=5"), or a function (epoch, step) -> lr of the finished epochs and
        steps, called before each step; momentum – schedule for the momentum: fs.MomentumRamp() or a function as for the
        learning rate; steps_per_launch – number of steps that are launched together on `numba`, and on `cuda` if the data are
        on the GPU; None (default): as many as take about 0.05 seconds on `numba`, 16 on `cuda`; 1 for single steps. Steps are
        launched one by one if the host has to act between them: a callback with on_step_end, an augmentation, micro_batch,
        streamed rows. Results are bit-identical; schedules are evaluated for all steps of a launch in advance, and an interrupt
        (Ctrl-C) takes effect after the launch; evaluate_training – whether to evaluate the training data after each epoch, in
        evaluation mode, for accuracy or R² (column "accuracy" or "r2" of the history; costs about a third of the epoch);
        augment – augmentations applied in this order to each minibatch (or micro-batch) before its step: InputNoise,
        FeatureMasking, Mixup, or custom Augmentations; metrics – further figures of the validation data (and of the training
        data with evaluate_training) after each epoch: a list of names of scikit-learn's scorers and functions, such as
        ["roc_auc", "f1_macro"], or a dictionary of the names that they get, such as {"auc": "roc_auc"}, which is the column
        "val_auc" of the history. A function is called as f(targets, predictions), see fs.Metric. For them, the outputs for all
        validation rows are collected on the host, also if rows are streamed or split into micro-batches. Sample weights count;
        settings – of the TrainStep that is made of a model: seed, backend, precision and others.
    Attributes: step; epochs_done, steps_done – totals over all fits; last_loss – of the last step, still on its device;
        minibatch – (inputs, targets) of the step that has just finished (its last micro-batch, if it was split), on the
        backend, for callbacks; the next step may overwrite them; history – of the last fit; columns – names of its columns.

        trainer = fs.Trainer(step, schedule=fs.StepDecay(), callbacks=[fs.EarlyStopping(patience=5)])
        history = trainer.fit(x, y, validation=(xv, yv), epochs=20, batch_size=128)
    """

    def __init__(
        self,
        step: TrainStep | Sequential,
        loss: Loss | Sequence[Callback] | None = None,
        optimizer: Optimizer | None = None,
        callbacks: Sequence[Callback] = (),
        shuffle: str = "each_epoch",
        progress: bool = False,
        schedule: RateSchedule | UserSchedule | str | None = None,
        momentum: Schedule | UserSchedule | None = None,
        evaluate_training: bool = False,
        augment: Sequence[Any] = (),
        steps_per_launch: int | None = None,
        metrics: GivenMetrics = None,
        **settings: Unpack[StepSettings],
    ) -> None:
        if isinstance(step, Sequential) and loss is not None:
            step = TrainStep(step, loss, optimizer, **settings)  # type: ignore[arg-type]
        else:
            require_step(step)
            callbacks = _callbacks_after(step, loss, optimizer, callbacks, settings)
        if shuffle not in SHUFFLES:
            raise HyperparameterError(f"expected shuffle to be one of {', '.join(SHUFFLES)}; got {shuffle!r}")
        if isinstance(callbacks, Callback):
            raise HyperparameterError(f"expected a list of callbacks; got {callbacks!r}; write callbacks=[...]")
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise HyperparameterError(f"expected Callbacks; got {callback!r}; did you forget ()?")
        self.step: TrainStep = step  # type: ignore[assignment]  # require_step has looked
        self.callbacks = _of_this_process(self.step, [*callbacks, *([ProgressBar()] if progress else [])])
        self.augment = Augmentations(augment, self.step)
        self.shuffle = shuffle
        self.schedule_runner = ScheduleRunner(self.step, schedule, momentum)
        self.evaluate_training = bool(evaluate_training)
        self.metrics = measures(metrics)
        self._further = require_metrics(self.step, self.metrics, weighted=False)
        self.steps_per_launch = None if steps_per_launch is None else whole(steps_per_launch, "steps_per_launch")
        self.minibatch: tuple[Array, Array] | None = None
        self.epochs = 0
        self.epochs_done = 0
        self.steps_done = 0
        self.columns: tuple[str, ...] = ()
        self.history = History()
        self.last_loss: StepLoss | None = None
        self._stop = ""
        self._at_once = False
        self._launches: Launches | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to a running fit."""
        return {**self.__dict__, "_launches": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a pickle; in those of version 0.1.0 the schedule runner has another name, older ones have no metrics."""
        state.setdefault("schedule_runner", state.pop("course", None))
        state.setdefault("metrics", {})
        state.setdefault("_further", {})
        self.__dict__.update(state)

    def stop(self, reason: str, at_once: bool = False) -> None:
        """Ends training after the current epoch; to be called by callbacks.

        Args: reason – text for the history; at_once – end after the current step instead.
        """
        self._stop, self._at_once = reason, at_once

    def state(self) -> dict[str, Any]:
        """The progress of training, as plain values for JSON; together with the step, all that is needed to resume."""
        return {"epochs_done": self.epochs_done, "steps_done": self.steps_done, **self.schedule_runner.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resumes from a `state`: the next fit continues as it would have in the Trainer that returned it.

        Args: state – of a Trainer with the same kinds of schedules.
        """
        self.epochs_done, self.steps_done = state["epochs_done"], state["steps_done"]
        self.schedule_runner.restore(state)

    @suggests_arguments(use=PREDICTION)
    def predict(self, x: Any) -> Array:
        """The predictions of the model; short for `trainer.step.model.predict(x)`.

        Args: x [N, d]. Returns: labels or numbers, on the backend, see Sequential.predict. Raises: as it does.
        """
        return self.step.model.predict(x)

    @suggests_arguments
    def fit(
        self,
        x: Any,
        y: Any,
        validation: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
        epochs: int | None = 10,
        batch_size: int | None = 128,
        max_steps: int | None = None,
        data: str = "auto",
        checkpoint: Checkpoint | None = None,
        resume: str | os.PathLike[str] | None = None,
        sample_weight: Any = None,
    ) -> History:
        """Trains for a number of epochs; a second call continues where the first ended.

        Args: x [N, d], y [N] or [N, e] – NumPy, CuPy, any DLPack array, a data frame of numbers, whose columns are then found
            by name, or a RowSource such as fs.memory_map returns, of which only some rows are in memory at a time; validation –
            (x, y) or (x, y, sample_weight) of the same kinds, evaluated after every epoch; epochs – >= 1, or None if only
            max_steps ends training;
            batch_size – rows per minibatch, 1 for single samples, None for the full batch; the last minibatch of an epoch may
            be smaller; max_steps – largest number of steps of this call; training may then end within an epoch (whose row of
            the history covers the part that was trained); data – "device": all data are copied to the backend once; "stream": a
            thread reads, checks and copies the next minibatch while a step runs; "auto" (default): on a CPU, arrays are used in
            place and sources are streamed; on a device, data that take at most half of its free memory are copied there, and
            other data are streamed. The minibatches are the same in each case; checkpoint – when and where to save the whole
            state, see Checkpoint; resume – "auto": goes on from the newest checkpoint in the folder of `checkpoint`, or starts
            if there is none; a folder: goes on from the newest one there; None (default): starts, in a folder without
            checkpoints. With resume, epochs and max_steps count from the beginning of the training, and the history begins
            there too; sample_weight – [N], numbers w >= 0, or a source of them: the loss of a minibatch is sum w l / sum w over
            its rows, and so are the losses and metrics in the history; see TrainStep. Weights are kept in memory.
        Returns: the history of this call.
        Raises: the errors of TrainStep; SampleWeightError also for a minibatch whose weights are all 0, before its epoch or, if
            rows are streamed, before its step; HyperparameterError for weights with an augmentation that mixes rows;
            NonFiniteDataError for NaN or infinity in x or y, before anything is changed, or, if rows are streamed, before the
            step that would use such a row; DataFileError if reading failed; NonFiniteLossError if the loss becomes NaN or
            infinite (the parameters of the last valid step are kept); CheckpointError for checkpoints of other data, model or
            settings, if all are damaged, and for a folder that has some, without `resume`; StateError if another training
            writes to the folder; SystemExit with status 143 after SIGTERM or SIGUSR1, with `checkpoint`.
        """
        if max_steps is not None:
            max_steps = whole(max_steps, "max_steps")
        elif epochs is None:
            raise HyperparameterError("expected epochs or max_steps; got neither; write epochs=10, for instance")
        epochs = None if epochs is None else whole(epochs, "epochs")
        step = self.step
        require_pair(validation, weighted=True)
        self._require_metrics(validation, sample_weight is not None)
        if sample_weight is not None or step.communicator is not None:
            self.augment.require_separate_rows()
        size = None if batch_size is None else whole(batch_size, "batch_size")
        with ExitStack() as feeds:
            feed = feed_for(step, x, y, size, data, sample_weight=sample_weight)
            feeds.callback(feed.close)
            if step.loss.balances:
                classes = step.model.output_width(int(step.model.inputs or 0))
                step.balance(balanced(feed.counts_of_labels(classes, step.backend.to_numpy)))
            step.model.remember_columns(x)
            step.model.remember_targets(y)
            held_out = trained = None
            if validation is not None:
                with of_validation():
                    held_out = feed_for(step, *validation[:2], EVALUATION_ROWS, data, "validation x", *validation[2:])
                feeds.callback(held_out.close)
            if self.evaluate_training:
                again = partial(feed_for, step, x, y, EVALUATION_ROWS, data, sample_weight=sample_weight)
                trained = feed if isinstance(feed, ResidentFeed) else again()
                feeds.callback(trained.close)
            size = feed.rows if size is None else min(feed.rows, size)
            if step.communicator is not None:
                from .agreement import require_same_training

                require_same_training(self, feed, held_out, {"epochs": epochs, "max_steps": max_steps}, size)
            per_epoch = -(-feed.rows // size)
            steps = min(n for n in (max_steps, None if epochs is None else epochs * per_epoch) if n is not None)
            ending = f"{max_steps} steps were taken" if steps == max_steps else ""
            added = (column for callback in self.callbacks for column in callback.columns)
            self.columns = (*self._columns(held_out is not None), *added)
            prints = partial(_fingerprints, feed, held_out)
            with CheckpointRun(self, checkpoint, resume, size, prints) as run:
                return self._fit(feed, trained, held_out, steps, per_epoch, size, ending, run)

    def _fit(
        self, feed: Feed, trained: Feed | None, held_out: Feed | None, steps: int, per_epoch: int, size: int, reason: str,
        run: CheckpointRun,
    ) -> History:  # fmt: skip
        """So many steps, in epochs; `trained`, `held_out` – what is evaluated; `reason` – why training ends with the last."""
        step = self.step
        self.epochs = epochs = -(-steps // per_epoch)
        self.history = History(per_epoch, self.directions)
        self._stop, self._at_once = "", False
        if step.communicator is not None:
            step.communicator.own_wish = step.communicator.wish = NOTHING
        step.state.headroom.forget()
        shuffled = False
        position = run.begin()
        history = self.history
        last_step = position.first[1] + steps
        losses: list[Any] = list(position.losses)
        before = position.seconds
        with ExitStack() as ending:
            for callback in self.callbacks:
                callback.on_fit_begin(self)
                ending.callback(callback.on_fit_end, self)
            ending.callback(setattr, self, "minibatch", None)
            ending.callback(setattr, self, "_launches", None)
            self._launches = Launches(self, feed, size, self.steps_per_launch)
            own = self._columns(held_out is not None)
            self.schedule_runner.begin(self.epochs_done, self.steps_done, last_step, per_epoch, own, self.directions)
            run.restore_callbacks()
            begun = bool(losses)
            for epoch in range(len(history) + 1, 0 if position.stopped else epochs + 1):
                for callback in () if begun else self.callbacks:
                    callback.on_epoch_begin(self, epoch)
                if self.shuffle == "each_epoch" or (self.shuffle == "once" and not shuffled):
                    feed.shuffle(step.seed, 0 if self.shuffle == "once" else self.epochs_done)
                    shuffled = True
                started = time.perf_counter() - before
                loss, seen = self._epoch(feed, size, last_step - self.steps_done + len(losses), losses, started, run)
                step.backend.synchronize()
                seconds = time.perf_counter() - started
                step.show_average()
                losses, before, begun = [], 0.0, False
                self.epochs_done += 1
                row = {"epoch": float(len(history) + 1), "loss": loss}
                if trained is not None:
                    found = self._evaluate(trained)
                    row.update({name: found[name] for name in (self._metric, *self._further)})
                if held_out is not None:
                    row.update({f"val_{name}": value for name, value in self._evaluate(held_out).items() if name != "error"})
                row["lr"] = step.lr
                if self.schedule_runner.moves_momentum:
                    row["momentum"] = float(step.momentum or 0.0)
                row.update(seconds=seconds, samples_per_second=seen / max(seconds, 1e-9))
                history.rows.append(row)
                self.schedule_runner.observe(row)
                for callback in self.callbacks:
                    callback.on_epoch_end(self, row)
                self._agree_to_stop()
                run.after_epoch(row, "" if self._at_once else self._stop)
                if self._stop:
                    history.stopped_because = self._stop
                    break
            else:
                history.stopped_because = position.stopped or reason
            step.show_average()
            run.end()
        return history

    def _ends_here(self) -> bool:
        """Whether training ends after this step; where several processes train together, with the step in which all know it."""
        together = self.step.communicator
        if together is None:
            return self._at_once
        together.own_wish = together.own_wish._replace(stop=self._at_once)
        return together.wish.stop

    def _agree_to_stop(self) -> None:
        """At the end of an epoch: what any process asked for holds for all that train together."""
        together = self.step.communicator
        if together is not None:
            wishes = together.gather((self._stop, self._at_once))
            self._stop, self._at_once = next((wish for wish in wishes if wish[0]), wishes[0])

    def _columns(self, validated: bool) -> tuple[str, ...]:
        """The columns that the history will have, without those that callbacks add."""
        own = (self._metric, "mae") if self.step.loss.predicts_numbers else (self._metric,)
        held_out = tuple(f"val_{name}" for name in ("loss", *own, *self._further)) if validated else ()
        trained = (self._metric, *self._further) if self.evaluate_training else ()
        momentum = ("momentum",) if self.schedule_runner.moves_momentum else ()
        return ("epoch", "loss", *trained, *held_out, "lr", *momentum, "seconds", "samples_per_second")

    @property
    def directions(self) -> dict[str, bool | None]:
        """Name of each of the metrics -> whether larger values are better; None if that is not known."""
        return {name: metric.greater_is_better for name, metric in self.metrics.items()}

    def _require_metrics(self, validation: Any, weighted: bool) -> None:
        """Refuses metrics that could not be computed in a fit, before it."""
        if self.metrics and validation is None and not self.evaluate_training:
            raise HyperparameterError(
                f"expected validation=(x, y) for the metrics {', '.join(self.metrics)}; got none; pass rows that are not "
                "trained on, or evaluate_training=True to the Trainer"
            )
        weighs = (validation is not None and len(validation) == 3) or (self.evaluate_training and weighted)
        if self.metrics and weighs:
            require_metrics(self.step, self.metrics, weighted=True)

    @property
    def _metric(self) -> str:
        return "r2" if self.step.loss.predicts_numbers else "accuracy"

    def _epoch(
        self, feed: Feed, size: int, most: int, losses: list[Any], started: float, run: CheckpointRun
    ) -> tuple[float, int]:
        """One pass over the data, of `most` steps at most.

        Args: losses – of the steps that were taken before training was resumed, as numbers; those of further steps are
            appended; started – time at which the pass began.
        Returns: the mean loss of its minibatches, weighted by their rows or the weights of these, and the number of rows.
        """
        rows = min(feed.rows, most * size)
        total = -(-rows // size)

        def taken(those: list[StepLoss]) -> None:
            losses.extend(those)
            self.last_loss = losses[-1] if losses else self.last_loss
            self.steps_done += len(those)

        def values(first: int = 0) -> list[float]:
            places = range(first * size, len(losses) * size, size)
            return [self._value(feed, loss, at, min(rows, at + size)) for at, loss in zip(places, losses[first:], strict=True)]

        try:
            while len(losses) < total:
                start = len(losses) * size
                if self._launches is None or not self._launches.take(start, rows, taken):
                    self.schedule_runner.set(self.epochs_done, self.steps_done)
                    self._step(feed, start, min(rows, start + size), taken)
                for callback in self.callbacks:
                    callback.on_step_end(self, len(losses), total)
                    callback.on_launch_end(self, len(losses), total)
                if self._ends_here():
                    break
                run.after_launch(values, lambda: time.perf_counter() - started)
        except BaseException:
            with suppress(NonFiniteLossError):
                self.history.step_losses.extend(map(float, losses))
            raise
        if len(losses) < -(-feed.rows // size):
            run.before_last_row(values, time.perf_counter() - started)
        rows = min(rows, len(losses) * size)
        feed.close()  # if the epoch was not finished, so that nothing else reads while the loader is running
        found = self.history.step_losses
        before = len(found)
        try:
            found.extend(map(float, losses))
        except NonFiniteLossError:
            values(len(found) - before)
            raise
        steps, counts, means = list(found[before:]), feed.counts(size, rows), self.step.loss.reduction == "mean"
        whole, mean = sum(counts), 0.0
        for value, count in zip(steps, counts, strict=True):
            mean += value * (count / whole if means else 1.0)
        return mean if math.isfinite(mean) else _mean_of_finite(steps, counts, means), rows

    def _value(self, feed: Feed, loss: Any, start: int, stop: int) -> float:
        """The loss of the step on the minibatch from place start to stop of the epoch's order."""
        try:
            return float(loss)
        except NonFiniteLossError as error:
            # On a device this comes after the step; the minibatch is gathered again to name the place.
            again = self._micro_batches(feed, start, stop, self.step.micro.rows(stop - start), error.step)
            raise self.step.failure(again, stop - start, error.step, error.what) from error

    def _step(self, feed: Feed, start: int, stop: int, taken: Callable[[list[StepLoss]], object]) -> None:
        """A step on the minibatch from place start to stop of the epoch's order; `taken` is called with its loss."""
        rows, step = stop - start, self.step
        if not step.in_parts:
            minibatch = next(self._micro_batches(feed, start, stop, rows, step.steps + 1))
            self.minibatch = minibatch[:2]
            with uninterrupted():  # else a step could be counted whose loss nobody has
                taken([step.run(*minibatch)])
            return

        def micro_batches(size: int) -> Iterator[Minibatch]:
            for micro_batch in self._micro_batches(feed, start, stop, size, step.steps + 1):
                self.minibatch = micro_batch[:2]
                yield micro_batch

        taken([step.take(rows, micro_batches)])

    def _micro_batches(self, feed: Feed, start: int, stop: int, size: int, number: int) -> Iterator[Minibatch]:
        """The minibatch of step `number`, in micro-batches of at most `size` rows, augmented."""
        first, _ = self.step.division.own(stop - start)
        for inputs, targets, *weights in feed.micro_batches(start, stop, size):
            yield *self.augment.apply(inputs, targets, number, first), *weights
            first += int(inputs.shape[0])

    def _evaluate(self, feed: Feed) -> dict[str, float]:
        run = partial(evaluate, self.step, feed, EVALUATION_ROWS, metrics=self._further)
        return self.step.micro.attempt(EVALUATION_ROWS, run)


def _of_this_process(step: TrainStep, callbacks: list[Callback]) -> list[Callback]:
    """The callbacks that this process has, of those that train together."""
    first = step.communicator is None or step.communicator.first
    return [callback for callback in callbacks if first or not callback.first_process_only]


def _callbacks_after(step: Any, second: Any, optimizer: Any, callbacks: Any, settings: Mapping[str, Any]) -> Any:
    """The callbacks where the first argument of a Trainer is a step, so that the second may be they."""
    if isinstance(second, Loss) or optimizer is not None or settings:
        came = ", ".join([repr(part) for part in (second, optimizer) if part is not None] + [f"{name}=" for name in settings])
        raise HyperparameterError(
            f"expected a TrainStep with its own loss, optimiser and settings; got {came} beside {step!r:.60}; give them to "
            "fs.TrainStep, or write fs.Trainer(model, loss, optimizer)"
        )
    if second is None:
        return callbacks
    if callbacks:
        raise HyperparameterError(f"expected callbacks once; got {second!r} and {callbacks!r}; write callbacks=[...]")
    return second


def _mean_of_finite(losses: list[float], counts: list[float], means: bool) -> float:
    """The mean, or the sum, over minibatches without those whose steps were left out; NaN if all were."""
    finite = [(value, count) for value, count in zip(losses, counts, strict=True) if math.isfinite(value)]
    total = sum(count for _, count in finite)
    return sum(value * (count / total if means else 1.0) for value, count in finite) if finite else math.nan


def require_pair(validation: Any, weighted: bool = False) -> None:
    """Raises HyperparameterError unless validation data are x and y, with sample weights if `weighted`, or None."""
    if validation is None or (isinstance(validation, tuple | list) and len(validation) in ((2, 3) if weighted else (2,))):
        return
    came = describe(validation) + (f" of {len(validation)}" if isinstance(validation, tuple | list) else "")
    raise HyperparameterError(
        f"expected validation=(x, y), rows that are not trained on; got a {came}; split them off beforehand"
    )


def _fingerprints(training: Feed, validation: Feed | None) -> dict[str, Any]:
    return {"training": fingerprint(training), "validation": None if validation is None else fingerprint(validation)}


@contextmanager
def of_validation() -> Iterator[None]:
    """Says in the errors of shapes, types, labels and weights that it is the validation data that has them."""
    try:
        yield
    except (ShapeError, DtypeError, LabelError, SampleWeightError) as error:
        raise type(error)(f"validation: {error}") from error
