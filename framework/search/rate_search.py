"""Searches for a learning rate: powers of ten and then finer values, or one sweep from small to large.

A search restores the step. plots/rates.py draws the figure of a result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import HyperparameterError, NonFiniteLossError
from ..engine.snapshot import Snapshot
from ..engine.step import TrainStep, require_step
from ..export.output_paths import PathLike
from ..settings import fraction, positive, real, whole
from ..suggestions import suggests_arguments
from ..training.callbacks import Callback
from ..training.trainer import Trainer, require_pair

DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FINER = (0.5, 2.0, 3.0)
MOST_DECADES = 9
"""Values that the first stage tries at most, where the best one lies at an end of the given ones."""
DIVERGED = 4.0
"""A sweep ends where the smoothed loss is this many times its smallest value."""


@dataclass(frozen=True)
class Trial:
    """One learning rate.

    Attributes: rate; loss – reached with it, infinite where training diverged; stage – "decades", "finer" or "sweep";
        smoothed – in a sweep, the running mean of the loss.
    """

    rate: float
    loss: float
    stage: str
    smoothed: float = math.nan


@dataclass(frozen=True)
class RateSearch:
    """The result of a learning-rate search.

    Attributes: trials – in the order in which they ran; suggestion – the suggested learning rate; rule – text that states how
        it was chosen; measured – text that states what the losses are.

        found = fs.find_learning_rate(step, x, y)
        step.lr = found.suggestion
    """

    trials: tuple[Trial, ...]
    suggestion: float
    rule: str
    measured: str

    def plot(self, path: PathLike | None = None) -> Any:
        """Plots loss against learning rate, with the suggestion.

        Args: path – of a .png, .svg or .pdf file to write, None for none.
        Returns: the matplotlib Figure; it is not shown.
        Raises: OutputPathError for another file extension or if the file cannot be written, MissingDependency without
            matplotlib.
        """
        from ..diagnostics.plots.rates import plot_rates

        return plot_rates(self, path)

    def __str__(self) -> str:
        lines = [f"{'rate':>10}  {'loss':>10}  stage"]
        for trial in self.trials:
            loss = "diverged" if math.isinf(trial.loss) else f"{trial.loss:.4g}"
            lines.append(f"{trial.rate:10.3g}  {loss:>10}  {trial.stage}")
        return "\n".join([*lines, f"suggestion: {self.suggestion:.3g} ({self.rule})"])


@suggests_arguments
def find_learning_rate(
    step: TrainStep,
    x: Any,
    y: Any,
    validation: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
    rates: Sequence[float] = DECADES,
    finer: Sequence[float] = FINER,
    epochs: int = 3,
    batch_size: int | None = 128,
    sample_weight: Any = None,
) -> RateSearch:
    """Trains a few epochs with each of several powers of ten, then with values around the best one.

    Every trial starts from the current state of the step. While the best rate is the smallest or the largest, the next power of
    ten is tried as well. Afterwards parameters, optimiser state, step count and learning rate are restored bit for bit.

    Args: x, y, validation, batch_size, sample_weight – as in Trainer.fit; rates – tried first, default 1e-4 to 1; finer –
        factors for the best of them, default 0.5, 2 and 3, empty for none; epochs – per trial, default 3.
    Returns: a RateSearch with the losses after training, on the validation data if given, otherwise on x and y.
    Raises: HyperparameterError before training; NonFiniteLossError if every rate diverges.
    Source: notes 002, "Tips for initial learning rate"; 003, section 3.3.1.
    """
    require_step(step)
    require_pair(validation, weighted=True)
    first = _rates(rates, "rates", 1)
    factors = _rates(finer, "finer", 0)
    whole(epochs, "epochs")
    held_x, held_y, held_weight = (x, y, sample_weight) if validation is None else (*validation, None)[:3]
    done: dict[float, Trial] = {}
    snapshot = Snapshot(step)

    def run(rate: float, stage: str) -> None:
        rate = float(f"{rate:.6g}")
        if rate in done:
            return
        loss = math.inf
        try:
            step.lr = rate
            Trainer(step).fit(x, y, epochs=epochs, batch_size=batch_size, sample_weight=sample_weight)
            value = step.evaluate(held_x, held_y, sample_weight=held_weight)["loss"]
            loss = value if math.isfinite(value) else math.inf
        except NonFiniteLossError:
            pass  # The loss stays infinite.
        finally:
            snapshot.put_back()
        done[rate] = Trial(rate, loss, stage)

    for rate in first:
        run(rate, "decades")
    while len(done) < MOST_DECADES:
        best = _best(done.values()).rate
        smallest, largest = min(done), max(done)
        if best == smallest or math.isinf(done[best].loss):
            run(smallest / 10.0, "decades")
        elif best == largest:
            run(largest * 10.0, "decades")
        else:
            break
    around = _best(done.values())
    if math.isinf(around.loss):
        raise NonFiniteLossError(
            f"expected one of the rates {', '.join(f'{r:g}' for r in done)} to train; every one diverged; scale the data, or "
            "clip the gradient (clip_norm=1.0)"
        )
    for factor in factors:
        run(around.rate * factor, "finer")
    measured = "loss on the training data" if validation is None else "loss on the validation data"
    rule = f"smallest {measured} after {epochs} epoch{'s' if epochs > 1 else ''}"
    return RateSearch(tuple(done.values()), _best(done.values()).rate, rule, measured)


@suggests_arguments
def sweep_learning_rate(
    step: TrainStep,
    x: Any,
    y: Any,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int | None = 128,
    smoothing: float = 0.8,
    sample_weight: Any = None,
) -> RateSearch:
    """One short training run in which the rate increases from `low` to `high`: the range test.

    In step t = 0, 1, … of n the rate is low (high / low)^(t / (n - 1)); the losses l_t before each update are smoothed, s_t = b
    s_{t-1} + (1 - b) l_t, divided by 1 - b^(t+1). The sweep ends early if that exceeds four times its smallest value, or if a
    loss is not finite. The suggestion is the smaller of two rates: a tenth of the rate with the smallest s, and the rate at
    which s decreases most over a tenth of the sweep, so that single minibatches have little influence. Afterwards parameters,
    optimiser state, step count and learning rate are restored bit for bit.

    Args: x, y, batch_size, sample_weight – as in Trainer.fit; low < high – default 1e-6 and 10; steps – n >= 10, default 100;
        smoothing – b in [0, 1), default 0.8.
    Returns: a RateSearch with a trial for every step.
    Raises: HyperparameterError before training; NonFiniteLossError if the first step fails.
    Source: Smith (2017), section 3.3; the notes ask for such a search (002, 003).
    """
    require_step(step)
    low = positive(low, "low")
    high = real(high, "high", low, ends="(]", advice=f"the sweep goes up from low={low:g}")
    steps = whole(steps, "steps", 10)
    smoothing = fraction(smoothing, "smoothing")
    sweep = _Sweep(smoothing)
    snapshot = Snapshot(step)
    try:
        trainer = Trainer(step, [sweep], schedule=lambda _, t: low * (high / low) ** (t / (steps - 1)))
        trainer.fit(x, y, epochs=None, batch_size=batch_size, max_steps=steps, sample_weight=sample_weight)
    except NonFiniteLossError:
        if not sweep.trials:
            raise
    finally:
        snapshot.put_back()
    rate, rule = _suggestion(sweep.trials)
    return RateSearch(tuple(sweep.trials), rate, rule, "loss of the minibatch")


def _suggestion(trials: Sequence[Trial]) -> tuple[float, str]:
    """The rate of a sweep, and why; rates are even in their logarithm, so differences of the loss are its slopes."""
    smoothed = [trial.smoothed for trial in trials]
    lowest = smoothed.index(min(smoothed))
    reach = max(1, len(trials) // 20)
    inside = range(reach, len(trials) - reach)
    steepest = min(inside, key=lambda k: smoothed[k + reach] - smoothed[k - reach], default=lowest)
    tenth, steep = trials[lowest].rate / 10.0, trials[steepest].rate
    if tenth < steep:
        return float(f"{tenth:.3g}"), f"a tenth of {trials[lowest].rate:.3g}, where the smoothed loss was smallest"
    return float(f"{steep:.3g}"), "where the smoothed loss fell most steeply"


class _Sweep(Callback):
    """Notes the loss of every step, and ends the sweep when it grows."""

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing
        self.trials: list[Trial] = []
        self._sum = 0.0

    def on_step_end(self, trainer: Trainer, done: int, total: int) -> None:
        """Waits for the device: the next rate depends on this loss."""
        del done, total
        loss = float(trainer.last_loss or 0.0)
        self._sum = self.smoothing * self._sum + (1.0 - self.smoothing) * loss
        smoothed = self._sum / (1.0 - self.smoothing ** (len(self.trials) + 1))
        self.trials.append(Trial(trainer.step.lr, loss, "sweep", smoothed))
        if smoothed > DIVERGED * min(trial.smoothed for trial in self.trials):
            trainer.stop("the loss grew", at_once=True)


def _best(trials: Iterable[Trial]) -> Trial:
    return min(trials, key=lambda trial: trial.loss)


def _rates(values: Any, name: str, least: int) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise HyperparameterError(f"expected {name} to be a list of numbers > 0; got {values!r}; write [0.01, 0.1]")
    numbers = tuple(positive(value, f"each of {name}") for value in values)
    if len(numbers) < least:
        raise HyperparameterError(f"expected {name} to hold {least} number at least; got none; leave it out for the default")
    return numbers
