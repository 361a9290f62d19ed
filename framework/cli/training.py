"""The work of `fusedstep train`, without output: split, preprocess, train, evaluate, compare with a simple baseline.

The command and its tables are in train_command.py and report.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...backends import Backend
from ...backends.threads import single_threaded_blas
from ...errors import HyperparameterError, SampleWeightError
from ..engine.metrics import predicted_by
from ..engine.model import Sequential
from ..engine.step import TrainStep
from ..layers.embedding import embedding_width
from ..layers.number_embedding import WIDTH as EMBEDDED_WIDTH
from ..losses import MSE, BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from ..metrics.predictions import Predictions, mean, predictions
from ..sources.row_source import ArrayRows, RowSource
from ..tables.cells import parse_missing
from ..tables.column_kind import kinds_to_json
from ..tables.own_parts import OwnPart, notes_on_groups, rows_besides, rows_of_files, rows_of_parts, used_parts
from ..tables.preprocessing import Preprocessor
from ..tables.reading import load
from ..tables.several_targets import fit_target
from ..tables.split_keys import numbered
from ..tables.splits import split
from ..tables.table import Dataset, Matrix, Table, Task
from ..tables.target_coding import require_present
from ..tables.target_notes import notes_on_classes, notes_on_constants, notes_on_sizes, require_classes
from ..tables.targets import by_name
from ..tables.task import find_task
from ..tables.validation import require_no_infinity
from ..training.callbacks import Callback
from ..training.checkpoint import Checkpoint
from ..training.checkpoint_files import checkpoints
from ..training.history import History
from ..training.presets import SMALLEST_VALIDATION, columns_to_embed, network
from ..training.stopping import EarlyStopping, StopOnInterrupt
from ..training.trainer import Trainer
from .class_figures import ClassFigures, figures_of_classes
from .data_options import DataOptions, data_options
from .figures_by_target import figures_by_target
from .recipe import (
    AUTO,
    NONE,
    Recipe,
    choices,
    parse_class_weight,
    parse_micro_batch,
    recipe_for,
    require_size,
    require_validation,
)
from .train_options import TrainOptions

if TYPE_CHECKING:
    from ..search.rate_search import RateSearch

FRACTIONS = 0.2, 0.1
"""Fractions of the rows for the test and the validation part."""
SMALL_PRODUCT = 1 << 22
"""Multiplications in a matrix product below which a second BLAS thread does not pay."""
LOOKED_AT = 4096
"""Streamed rows by which columns are embedded."""
SEARCH_EPOCHS = 3
"""Epochs for each learning rate of a search."""
MOST_COLUMNS = 4096
"""Largest number of streamed columns for the linear-regression baseline, whose normal equations have as many rows."""
_DIVIDED = {"group": "groups", "time": "time"}
"""Argument of `split` for each kind of SplitColumn."""


@dataclass(frozen=True, eq=False)
class DataPart:
    """Training, validation or test rows in the form that the network takes."""

    x: NDArray[np.float64] | RowSource
    y: NDArray[Any]
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def first(self, rows: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """The first rows, in memory."""
        count = min(rows, len(self))
        if not isinstance(self.x, RowSource):
            return self.x[:count], self.y[:count]
        x = np.empty((count, *self.x.row_shape))
        self.x.read(slice(0, count), x)
        return x, self.y[:count]

    def in_memory(self, rows: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """All rows if they are in memory, otherwise the first ones."""
        return self.first(rows if isinstance(self.x, RowSource) else len(self))


@dataclass(frozen=True, eq=False)
class PreparedData:
    """A data set, split and preprocessed; empty parts are not in `parts`.

    Args: remark – why there is no validation part, if there is none; notes – what is unusual about target and parts; rows – of
        the data set in each part, without those of weight 0; own – the parts that are its own.
    """

    dataset: Dataset
    task: Task
    preprocessor: Preprocessor
    parts: dict[str, DataPart]
    remark: str = ""
    notes: tuple[str, ...] = ()
    rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    own: dict[str, OwnPart] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What the network predicts: "classes", "labels" (several targets of two values each) or "numbers"."""
        return "numbers" if self.task == "regression" else "labels" if self.preprocessor.several else "classes"

    def embedded(self, how: str) -> tuple[int, ...]:
        """The encoded columns of numbers that are embedded, by the training part, or by the first rows of one that is streamed.

        Args: how – as in Recipe.
        """
        if how == NONE:
            return ()
        if how not in self._embedded:
            x = self.parts["training"].in_memory(LOOKED_AT)[0]
            self._embedded[how] = columns_to_embed(x, self.preprocessor.categories, limited=how == AUTO)
        return self._embedded[how]

    @cached_property
    def _embedded(self) -> dict[str, tuple[int, ...]]:
        return {}


@dataclass(eq=False)
class Trained:
    """A trained model and its results.

    Attributes: lr – the learning rate at the beginning; figures – part -> {"loss", "accuracy"} or {"loss", "r2", "rmse",
        "mae"}, the last two in the units of the target; by_target – of several targets, part -> target -> figures, see
        `figures_by_target`; judged – of one target, the predictions of one part, see `judged_part`; of_classes – figures of
        these, if they are classes; baseline – the test result of linear regression (R²) or of always predicting the most
        frequent class (accuracy), or None without a test part; interrupted – whether training was ended from the keyboard;
        class_weight – as of `loss_of`; processes – that trained together.
    """

    model: Sequential
    recipe: Recipe
    history: History
    seconds: float
    best_epoch: int
    lr: float
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    by_target: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    judged: Predictions | None = None
    of_classes: ClassFigures | None = None
    baseline: float | None = None
    interrupted: bool = False
    class_weight: str | None = None
    processes: int = 1


def read(options: DataOptions) -> Dataset:
    """The data set that the options of a command describe."""
    given = data_options(options)
    given.update({name: given[name] or () for name in ("text", "number", "drop")}, missing=parse_missing(options.missing))
    return load(**given, stream=getattr(options, "stream", False))


def prepare(dataset: Dataset, task: str | None, fractions: tuple[float | None, float | None], seed: int) -> PreparedData:
    """Split and preprocess; statistics come from the training part only.

    Args: dataset – as read; task – overrides the task inferred from source and target; fractions – (test, validation) of the
        rows that are in no part of its own; None: its own part, or FRACTIONS if it has none; seed.
    Raises: NonFiniteDataError with the row in the file; LabelError if nothing can be learned; what `split` and
        `Preprocessor.fit` raise.
    """
    target = dataset.target
    with rows_of_files(rows_of_parts(dataset.own)):
        if isinstance(dataset.features, Table | Matrix):
            require_no_infinity(dataset.features)
        for name, column in by_name(target, dataset.target_name).items():
            require_present(column, f"target {name!r}")
    found = find_task(target, task or dataset.task)
    remark = ""
    own = used_parts(dataset.own, fractions)
    counting = np.ones(len(dataset), dtype=bool) if dataset.weights is None else dataset.weights.values > 0.0
    left = rows_besides(len(dataset), dataset.own)
    left = left[counting[left]]
    for name, of in (("training", counting[left]), *((name, counting[one.start : one.stop]) for name, one in own.items())):
        if dataset.weights is not None and not of.any():
            raise SampleWeightError(
                f"--weight {dataset.weights.name}: expected a weight > 0 in the {name} part; got only 0; check the column"
            )
    test, validation = (
        0.0 if part in own else default if fraction is None else fraction
        for part, fraction, default in zip(("test", "validation"), fractions, FRACTIONS, strict=True)
    )
    if 0.0 < validation < 1.0 and round(len(left) * validation) < SMALLEST_VALIDATION:
        remark = (
            f"{len(left):,} rows are too few for a validation part (at least {SMALLEST_VALIDATION} rows), so all but "
            "the test rows are used for training, for a fixed number of epochs"
        )
        validation = 0.0
    if found == "classification" and not isinstance(target, dict):
        require_classes(dataset.target_name, target)
    divided = {} if dataset.split_by is None else {_DIVIDED[dataset.split_by.by]: dataset.split_by.values[left]}
    strata: Any = None
    if found == "classification" and "time" not in divided:
        strata = fit_target(target, found).transform(target) if isinstance(target, dict) else numbered(target)
    chosen = split(len(left), (test, validation), seed, None if strata is None else strata[left], **divided)
    rows = {name: left[of] for name, of in zip(("training", "validation", "test"), chosen, strict=True)}
    rows.update({name: one.start + np.flatnonzero(counting[one.start : one.stop]) for name, one in own.items()})
    rows = {name: of for name, of in rows.items() if len(of)}
    coding = fit_target(target, found)
    encoded = coding.transform(target)
    training = dataset.take(rows["training"])
    preprocessor = Preprocessor().fit(training.features, training.target, found, target)
    preprocessor.first_index = dataset.first_index
    preprocessor.kinds = kinds_to_json(dataset.kinds, dataset.missing) if dataset.kinds else None
    parts = {}
    streamed = None if isinstance(dataset.features, Table | Matrix) else preprocessor.transform(dataset.features)
    for name in rows:
        part = dataset.take(rows[name])
        x = preprocessor.transform(part.features) if streamed is None else streamed.take(rows[name])
        weights = None if part.weights is None else part.weights.values
        parts[name] = DataPart(x, preprocessor.transform_target(part.target), weights)
    if found == "classification" and not isinstance(target, dict):
        notes = notes_on_classes(dataset.target_name, coding.classes, encoded, rows)
    else:
        what = "R² is undefined" if found == "regression" else "nothing can be learned about it"
        notes = notes_on_constants(dataset.target_names, encoded, rows, what)
    if dataset.split_by is not None:
        notes += notes_on_sizes(dataset.split_by.by, rows, {"validation": validation, "test": test})
    if dataset.split_by is not None and dataset.split_by.by == "group":
        notes += notes_on_groups(dataset.split_by.values, rows, own)
    if not counting.all():
        notes += (f"{int(np.count_nonzero(~counting)):,} rows of weight 0 are left out",)
    notes += tuple(
        f"{one.stop - one.start:,} rows of {one.origin} are not used, because --{name}-share was given"
        for name, one in dataset.own.items()
        if name not in own
    )
    return PreparedData(dataset, found, preprocessor, parts, remark, notes, rows, own)


def loss_of(data: PreparedData, class_weight: str | None = None, label_smoothing: float = 0.0) -> Loss:
    """The loss for the task.

    Args: data; class_weight – "balanced", or None; label_smoothing – of classes.
    Raises: HyperparameterError for "balanced" unless the target is one column of classes.
    """
    if class_weight is not None and data.kind != "classes":
        what = "numbers" if data.kind == "numbers" else "several targets"
        raise HyperparameterError(f"--class-weight: expected a target of classes; this training predicts {what}; leave it out")
    classes = SoftmaxCrossEntropy(label_smoothing, "uniform", class_weight)
    losses: dict[str, Loss] = {"classes": classes, "labels": BinaryCrossEntropy(), "numbers": MSE()}
    return losses[data.kind]


def new_step(
    data: PreparedData, recipe: Recipe, seed: int, backend: Backend, precision: str, micro_batch: int | str | None = None,
    class_weight: str | None = None, parallel: str | None = None,
) -> TrainStep:  # fmt: skip
    """A step on a new network built by the recipe; rejects a network that is too large."""
    coded = data.preprocessor.categories
    embedded = sum(codes * embedding_width(codes) for codes in coded.values())
    sizes = layer_widths(data, recipe.hidden, recipe.number_embedding)
    require_size(sizes, embedded + (recipe.ensemble - 1) * sizes[-2] * sizes[-1])
    widths = [data.preprocessor.width, *recipe.hidden, data.preprocessor.outputs]
    numbers = data.embedded(recipe.number_embedding)
    model = network(widths, recipe.activation, recipe.dropout, coded, numbers, n_ensemble=recipe.ensemble)
    loss = loss_of(data, class_weight, recipe.label_smoothing)
    return TrainStep(
        model, loss, recipe.make_optimizer(), seed, backend, precision, micro_batch=micro_batch, parallel=parallel
    )


def layer_widths(data: PreparedData, hidden: Sequence[int], number_embedding: str = NONE) -> list[int]:
    """The columns that the first layer multiplies, with embedded rows in place of codes and features in place of embedded
    numbers; the hidden layers; the outputs.
    """
    codes = data.preprocessor.categories.values()
    inputs = data.preprocessor.width - len(codes) + sum(map(embedding_width, codes))
    inputs += (EMBEDDED_WIDTH - 1) * len(data.embedded(number_embedding))
    return [inputs, *hidden, data.preprocessor.outputs]


def few_threads(
    data: PreparedData, widths: Sequence[int], batch_size: int | None, backend: Backend
) -> AbstractContextManager[Any]:
    """Limits BLAS to one thread while all matrix products on the CPU are small; widths – of `layer_widths`."""
    rows = len(data.parts["training"])
    largest_product = min(batch_size or rows, rows) * max(a * b for a, b in pairwise(widths))
    return single_threaded_blas if backend.on_host and largest_product <= SMALL_PRODUCT else nullcontext()


def search_rate(
    step: TrainStep, data: PreparedData, recipe: Recipe, epochs: int = SEARCH_EPOCHS, sweep: bool = False
) -> RateSearch:
    """A learning rate for this network and data; restores the step.

    Args: epochs – for each rate; sweep – one sweep instead of powers of ten.
    """
    from ..search.rate_search import find_learning_rate, sweep_learning_rate

    part, validation = data.parts["training"], data.parts.get("validation")
    if sweep:
        return sweep_learning_rate(step, part.x, part.y, batch_size=recipe.batch_size, sample_weight=part.weights)
    held_out = None if validation is None else (validation.x, validation.y, validation.weights)
    return find_learning_rate(
        step, part.x, part.y, held_out, epochs=epochs, batch_size=recipe.batch_size, sample_weight=part.weights
    )


def recipe_of(data: PreparedData, options: Any) -> Recipe:
    """The recipe for these data.

    Raises: HyperparameterError for options that need a validation part, if there is none.
    """
    given = choices(options)
    if "validation" not in data.parts:
        require_validation(given, data.remark or "it was not requested")
    rows = sum(len(data.parts[name]) for name in ("training", "validation") if name in data.parts)
    return recipe_for(rows, data.task, **given)


def train_model(
    data: PreparedData, options: TrainOptions, backend: Backend, progress: bool = False, watching: Sequence[Callback] = ()
) -> Trained:
    """Train by the recipe for these data.

    Args: data; options – those of the command; backend; progress – whether to show a progress bar; watching – callbacks; if
        there are any, the accuracy or R² of the training part is also computed after each epoch.
    """
    part, validation = data.parts["training"], data.parts.get("validation")
    recipe = recipe_of(data, options)
    started = time.perf_counter()
    micro_batch, class_weight = parse_micro_batch(options.micro_batch), parse_class_weight(options.class_weight)
    step = new_step(data, recipe, options.seed, backend, options.precision, micro_batch, class_weight, options.parallel)
    keyboard = StopOnInterrupt()
    callbacks: list[Callback] = [*watching, keyboard]
    stopping = EarlyStopping(recipe.patience) if validation is not None and recipe.patience else None
    if stopping is not None:
        callbacks.append(stopping)
    with few_threads(data, layer_widths(data, recipe.hidden, recipe.number_embedding), recipe.batch_size, backend):
        checkpoint = None if options.checkpoint is None else Checkpoint(options.checkpoint, options.checkpoint_every)
        resumed = checkpoint is not None and options.resume and bool(checkpoints(checkpoint.folder))
        if options.find_lr and not resumed:
            step.lr = search_rate(step, data, recipe).suggestion
        lr = step.lr
        trainer = Trainer(
            step, callbacks, progress=progress, schedule=recipe.schedule, evaluate_training=bool(watching)
        )
        history = trainer.fit(
            part.x,
            part.y,
            None if validation is None else (validation.x, validation.y, validation.weights),
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            max_steps=recipe.max_steps,
            checkpoint=checkpoint,
            resume="auto" if options.resume else None,
            sample_weight=part.weights,
        )
        if options.find_lr and resumed:
            lr = history[0]["lr"]
        seconds = time.perf_counter() - started
        best = history.epochs if stopping is None else stopping.best_epoch
        result = Trained(
            step.model, recipe, history, seconds, best, lr, interrupted=keyboard.interrupted, class_weight=class_weight,
            processes=1 if step.communicator is None else step.communicator.size,
        )
        for name, held in data.parts.items():
            result.figures[name] = _figures(step, held, data.preprocessor)
            if data.preprocessor.several:
                outputs = backend.to_numpy(step.model(held.x))
                result.by_target[name] = figures_by_target(outputs, held.y, data.preprocessor.targets, held.weights)
        if not data.preprocessor.several:
            held = data.parts[judged_part(data)]
            outputs = backend.to_numpy(step.model(held.x))
            result.judged = predictions(predicted_by(step), outputs, held.y, held.weights)
            if data.kind == "classes":
                result.of_classes = figures_of_classes(result.judged)
    if "test" in data.parts:
        result.baseline = _baseline(data)
    return result


def judged_part(data: PreparedData) -> str:
    """The part whose predictions are looked at one by one: test, or validation or training without it."""
    return next(part for part in ("test", "validation", "training") if part in data.parts)


def _figures(step: TrainStep, part: DataPart, preprocessor: Preprocessor) -> dict[str, float]:
    figures = step.evaluate(part.x, part.y, sample_weight=part.weights)
    figures.pop("error", None)
    mae = figures.pop("mae", None)
    if mae is not None and not preprocessor.several:
        scale = preprocessor.targets["target"].scale
        figures.update(rmse=math.sqrt(figures["loss"]) * scale, mae=mae * scale)
    return figures


def _baseline(data: PreparedData) -> float | None:
    training, test = data.parts["training"], data.parts["test"]
    if data.kind == "classes":
        return mean(test.y == np.bincount(training.y, training.weights).argmax(), test.weights)
    if data.kind == "labels":
        answers = np.average(training.y, axis=0, weights=training.weights) > 0.5
        return mean((test.y == answers).mean(axis=1), test.weights)
    if data.preprocessor.categories or (isinstance(training.x, RowSource) and training.x.shape[1] > MOST_COLUMNS):
        return None  # codes are no numbers
    return linear_r2(training, test)


def linear_r2(training: DataPart, test: DataPart) -> float:
    """R² on the test part of least squares with an intercept, fitted on the training part; NaN for a constant target."""
    if isinstance(training.x, RowSource) or isinstance(test.x, RowSource):
        return streamed_linear_r2(training, test)
    with_one = [np.column_stack([x, np.ones(len(x))]) for x in (training.x, test.x)]
    roots = np.sqrt(_weights(training))
    coefficients = np.linalg.lstsq(with_one[0] * roots, training.y * roots, rcond=None)[0]
    residuals = test.y - with_one[1] @ coefficients
    return _r2(float(np.sum(_weights(test) * residuals**2)), test)


def streamed_linear_r2(training: DataPart, test: DataPart) -> float:
    """As `linear_r2`, with normal equations accumulated in one pass over the standardised training part."""
    width = training.x.shape[1] + 1
    products, moments = np.zeros((width, width)), np.zeros((width, training.y.shape[1]))
    for rows, block in _blocks(training):
        weighted = block * _weights(training)[rows]
        products += weighted.T @ block
        moments += weighted.T @ training.y[rows]
    coefficients = np.linalg.lstsq(products, moments, rcond=None)[0]
    weights = _weights(test)
    squares = sum(float(np.sum(weights[rows] * (test.y[rows] - block @ coefficients) ** 2)) for rows, block in _blocks(test))
    return _r2(squares, test)


def _weights(part: DataPart) -> NDArray[np.float64]:
    """[N, 1]: the weights of the rows; 1 without."""
    return np.ones((len(part), 1)) if part.weights is None else part.weights[:, None]


def _blocks(part: DataPart) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """The rows of a part with a column of ones appended, block by block."""
    source = part.x if isinstance(part.x, RowSource) else ArrayRows(part.x)
    for rows, block in source.blocks(np.float64):
        yield rows, np.column_stack([block, np.ones(len(block))])


def _r2(squares: float, test: DataPart) -> float:
    """R² from the sum of the squared residuals."""
    weights = _weights(test)
    centre = (weights * test.y).sum(axis=0) / weights.sum()
    spread = float(np.sum(weights * (test.y - centre) ** 2))
    return 1.0 - squares / spread if spread > 0.0 else float("nan")
