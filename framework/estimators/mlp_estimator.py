"""What `fs.MLPClassifier` and `fs.MLPRegressor` have in common: settings, training, and the features of predictions.

Targets are coded by the two classes, features by input_coding.py. There are no formulas and no loop here: see Trainer.
"""

from __future__ import annotations

import copy
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends import Backend
from ...backends import backend as find_backend
from ...errors import HyperparameterError, LabelError, SampleWeightError, StateError
from ..engine.model import Sequential, mlp
from ..engine.step import TrainStep
from ..export.coded_network import Answer, CodedNetwork, Exportable
from ..layers.activations import ACTIVATION_LAYERS
from ..losses import Loss
from ..optimizers import OPTIMIZERS, Optimizer, find_optimizer
from ..sample_weights import checked_weights
from ..settings import choice, flag, not_negative, positive, real, whole
from ..tables.encoder import TableEncoder
from ..tables.frames import is_frame
from ..tables.splits import split
from ..training.history import History
from ..training.stopping import EarlyStopping
from ..training.trainer import Trainer
from .input_coding import (
    Standardizer,
    are_few_and_finite,
    as_objects,
    coded_inputs,
    fit_encoder,
    has_columns,
    is_transformer,
    numbers_of,
)
from .scikit_learn import BaseEstimator, utils, validation

Weights = NDArray[np.float64] | None
LARGEST_BATCH = 200
"""Rows of a minibatch with batch_size="auto", as in scikit-learn."""


class MLPEstimator(Exportable, BaseEstimator):  # type: ignore[misc]
    """The settings of both estimators, `fit` and `partial_fit`; see fs.MLPClassifier."""

    def __init__(
        self,
        *,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        optimizer: Any = "adam",
        alpha: float = 1e-4,
        batch_size: Any = "auto",
        learning_rate_init: float = 1e-3,
        schedule: Any = None,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        dropout: float = 0.0,
        n_ensemble: int = 1,
        backend: Any = None,
        precision: str = "auto",
        callbacks: Any = None,
        encoder: Any = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.schedule = schedule
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.dropout = dropout
        self.n_ensemble = n_ensemble
        self.backend = backend
        self.precision = precision
        self.callbacks = callbacks
        self.encoder = encoder

    # What the two classes define

    def _checked_targets(self, y: Any) -> NDArray[Any]:
        """y [N] or [N, k] as an array of its own type, without missing values."""
        raise NotImplementedError(f"{type(self).__name__} must define _checked_targets")

    def _fit_targets(self, y: NDArray[Any], weights: Weights, classes: Any) -> None:
        """Determines the coding of the targets, of which `classes` are announced, or None; sets n_outputs_."""
        raise NotImplementedError(f"{type(self).__name__} must define _fit_targets")

    def _coded_targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """y as the loss takes it."""
        raise NotImplementedError(f"{type(self).__name__} must define _coded_targets")

    def _loss(self) -> Loss:
        raise NotImplementedError(f"{type(self).__name__} must define _loss")

    def _answer(self) -> Answer:
        """What the outputs of the network stand for."""
        raise NotImplementedError(f"{type(self).__name__} must define _answer")

    def _class_factors(self, coded: NDArray[Any], weights: Weights) -> Weights:  # noqa: ARG002
        """Factors [N] of the sample weights for the classes of the rows; None for 1."""
        return None

    def _strata(self, coded: NDArray[Any]) -> NDArray[Any] | None:  # noqa: ARG002
        """What the validation rows of early stopping are stratified by."""
        return None

    # Training

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Trains the network.

        Args: X [N, d] – an array, or a data frame with text, dates and missing values; y [N] or [N, k]; sample_weight – [N],
            numbers w >= 0: a row of weight 0 counts as left out, one of weight 2 as given twice.
        Returns: itself.
        Raises: HyperparameterError for settings; ValueError, or a TypeError for types, for what scikit-learn refuses as well;
            SampleWeightError; the errors of TableEncoder.fit; NonFiniteLossError if training diverges.
        """
        keeps = flag(self.warm_start, "warm_start") and hasattr(self, "model_")
        features, targets, weights = self._checked_data(X, y, sample_weight, not keeps)
        dtype = self._dtype(self._rows_of_a_batch(len(targets)) == len(targets))
        x, coded, weights = self._coded_data(features, targets, weights, dtype, not keeps)
        seed = self._seed()
        held_out, rows = None, slice(None)
        stopping: dict[str, Any] = {"monitor": "loss", "restore_best": False}
        if flag(self.early_stopping, "early_stopping"):
            advice = "pass a fraction of the rows such as 0.1"
            fraction = real(self.validation_fraction, "validation_fraction", 0.0, 1.0, "()", advice)
            rows, out, _ = split(len(x), (0.0, fraction), seed, self._strata(coded))  # type: ignore[assignment]
            held_out = (x[out], coded[out], *(() if weights is None else (weights[out],)))
            stopping = {"monitor": "val_loss"}
        patience = whole(self.n_iter_no_change, "n_iter_no_change")
        stop = EarlyStopping(patience, smallest_change=not_negative(self.tol, "tol"), **stopping)
        x, coded, weights = x[rows], coded[rows], None if weights is None else weights[rows]
        size = self._rows_of_a_batch(len(x))
        trainer = self._trainer(self._step(x.shape[1], size, weights, seed, dtype, keeps), (stop,))
        epochs = whole(self.max_iter, "max_iter")
        self.history_ = trainer.fit(x, coded, held_out, epochs, size, sample_weight=weights)
        self._trained = None
        self.loss_curve_ = self.history_["loss"]
        self.n_iter_ = self.history_.epochs
        return self._finish(trainer)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Any:
        """See `partial_fit` of the two classes."""
        if flag(self.early_stopping, "early_stopping"):
            raise HyperparameterError(
                "expected early_stopping=False with partial_fit, which cannot tell the last pass; got True; use fit, or "
                "validate between the calls"
            )
        first, dtype = not hasattr(self, "model_"), self._dtype(False)
        features, targets, weights = self._checked_data(X, y, sample_weight, first)
        x, coded, weights = self._coded_data(features, targets, weights, dtype, first, classes)
        if first:
            self.loss_curve_, self.n_iter_, self._trained = [], 0, None
        size = self._rows_of_a_batch(len(x))
        if self._trained is None:
            self._trained = self._trainer(self._step(x.shape[1], size, weights, self._seed(), dtype, not first), ())
        self.history_ = self._trained.fit(x, coded, None, 1, size, sample_weight=weights)
        self.loss_curve_ = [*self.loss_curve_, *self.history_["loss"]]
        self.n_iter_ += 1
        return self._finish(self._trained)

    def _finish(self, trainer: Trainer) -> Any:
        """Sets the attributes that follow from a training; predictions have their own model, see `precision`."""
        self.best_loss_ = min(self.loss_curve_)
        model = trainer.step.model
        if self.precision == "auto" and model.dtype != "float64":
            backend = model.backend
            model = copy.deepcopy(model).to(backend, "float64")
        elif self._trained is not None:
            model = copy.deepcopy(model)
        self.model_ = model
        return self

    def _checked_data(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Any, NDArray[Any], Any]:
        """(features, targets, weights) of the rows whose weight is not 0."""
        if y is None:
            raise LabelError(f"expected y; {type(self).__name__} requires y to be passed, but the target y is None; pass it")
        features = self._checked_features(X, reset)
        targets = self._checked_targets(y)
        validation.check_consistent_length(features, targets)
        if sample_weight is None:
            return features, targets, None
        weights = checked_weights(np.asarray(sample_weight), len(targets), self._backend())
        return _weighted_rows(features, targets, weights, "sample_weight")

    def _coded_data(
        self, features: Any, targets: NDArray[Any], weights: Weights, dtype: str, reset: bool, classes: Any = None
    ) -> tuple[NDArray[Any], NDArray[Any], Weights]:
        """(x, y, weights) as the network and its loss take them; reset – whether the rows determine both codings."""
        if reset:
            self._fit_targets(targets, weights, classes)
        coded = self._coded_targets(targets)
        factors = self._class_factors(coded, weights)
        if factors is not None:
            combined = factors if weights is None else factors * weights
            features, coded, weights = _weighted_rows(features, coded, combined, "class_weight")
        if reset:
            self.encoder_ = fit_encoder(self.encoder, features, weights, dtype)
        return self._encoded(features), coded, weights

    def _rows_of_a_batch(self, rows: int) -> int:
        if self.batch_size is None:
            return rows
        automatic = isinstance(self.batch_size, str) and self.batch_size == "auto"
        advice = 'pass a number of rows, "auto", or None for all'
        return min(rows, LARGEST_BATCH if automatic else whole(self.batch_size, "batch_size", advice=advice))

    def _step(
        self, inputs: int, size: int, weights: Weights, seed: int, dtype: str, keeps: bool
    ) -> TrainStep:
        """A step for a new model, or for a copy of the one that is there, with parameters of that dtype."""
        model = self._new_model(inputs)
        if keeps:
            if repr(model) != repr(self.model_):
                raise StateError(
                    f"expected the settings of the network with which {self.model_!r} was trained; got those of {model!r}; "
                    "restore them, or fit with warm_start=False"
                )
            model = copy.deepcopy(self.model_).to(self._backend(), dtype)
        # As in scikit-learn, alpha / 2 ||W||^2 is divided by the rows, or their weights, of a minibatch.
        counted = size * (1.0 if weights is None else float(weights.mean()))
        precision = dtype if self.precision == "auto" else self.precision
        return TrainStep(model, self._loss(), self._optimizer(counted), seed, self._backend(), precision)

    def _new_model(self, inputs: int) -> Sequential:
        activation = {"logistic": "sigmoid"}.get(self.activation, self.activation)
        choice(activation, "activation", ACTIVATION_LAYERS)
        given: Any = self.hidden_layer_sizes
        if isinstance(given, str) or not (isinstance(given, Integral) or hasattr(given, "__iter__")):
            raise HyperparameterError(
                f"expected hidden_layer_sizes to be widths, one for each hidden layer; got {given!r}; write (256, 128), say"
            )
        given = [given] if isinstance(given, Integral) else given
        widths = [whole(width, "hidden_layer_sizes") for width in given]
        dropout = real(self.dropout, "dropout", 0.0, 1.0, "[)", "pass the fraction of the units to drop, such as 0.1")
        categories = self.encoder_.categories_ if isinstance(self.encoder_, TableEncoder) else None
        widths = [inputs, *widths, self.n_outputs_]
        init = "glorot_uniform"  # as in scikit-learn
        made = mlp(widths, activation, dropout, weight_init=init, categories=categories, n_ensemble=self.n_ensemble)
        made.head = self._loss().head
        return made

    def _optimizer(self, counted: float) -> Optimizer:
        """The optimiser of a name, or the given one; counted – rows or weights of a minibatch."""
        if not isinstance(self.optimizer, str):
            made: Optimizer = self.optimizer
            return made
        rate = positive(self.learning_rate_init, "learning_rate_init")
        penalty = not_negative(self.alpha, "alpha") / counted
        return OPTIMIZERS[find_optimizer(self.optimizer, "optimizer")](lr=rate, l2=penalty)

    def _trainer(self, step: TrainStep, stopping: tuple[EarlyStopping, ...]) -> Trainer:
        order = "each_epoch" if flag(self.shuffle, "shuffle") else "never"
        given = () if self.callbacks is None else self.callbacks
        own = given if isinstance(given, list | tuple) else (given,)
        callbacks, progress = [*own, *stopping], bool(self.verbose)
        return Trainer(step, callbacks=callbacks, shuffle=order, progress=progress, schedule=self.schedule)

    def _seed(self) -> int:
        """An int of random_state as it is; otherwise a number that the generator draws."""
        given = self.random_state
        if isinstance(given, Integral) and not isinstance(given, bool):
            return int(given)
        return int(utils.check_random_state(given).randint(2**31 - 1))

    def _backend(self) -> Backend:
        return find_backend(self.backend)

    def _dtype(self, full_batch: bool) -> str:
        """The type of the parameters in training, and of encoded features; see `precision`."""
        if self.precision == "auto":
            return "float64" if full_batch else "float32"
        return "float64" if self.precision == "float64" else "float32"

    # Features

    def _checked_features(self, X: Any, reset: bool) -> Any:
        """X as an array of numbers, or as a table for the encoder; reset – whether it determines columns and names."""
        encoder = self.encoder if reset else self.encoder_
        only_numbers = encoder is None or isinstance(encoder, Standardizer)
        by_name = is_transformer(encoder) and not only_numbers and (reset or hasattr(encoder, "feature_names_in_"))
        same = not reset and has_columns(X, self.n_features_in_, getattr(self, "feature_names_in_", None))
        found = X
        if not (by_name and is_frame(X)):
            numbers = numbers_of(X)
            if same and are_few_and_finite(numbers):
                return numbers
            if numbers is not None or only_numbers:  # scikit-learn names what is no number
                finite = True if encoder is None else "allow-nan"
                given = X if numbers is None else numbers
                found = validation.check_array(given, ensure_all_finite=finite, estimator=self, input_name="X")
            elif not (reset and is_frame(X)):
                found = as_objects(X)
        if not same:
            validation.validate_data(self, X if is_frame(X) else found, reset=reset, skip_check_array=True)
        return found

    def _encoded(self, features: Any) -> NDArray[Any]:
        """Checked features as the network takes them."""
        matrix = features if self.encoder_ is None else self.encoder_.transform(features)
        if hasattr(matrix, "toarray"):
            matrix = matrix.toarray()
        return np.ascontiguousarray(matrix)

    def _inputs(self, X: Any) -> NDArray[Any]:
        """The features of a prediction as the network takes them."""
        validation.check_is_fitted(self, "model_")
        return self._encoded(self._checked_features(X, reset=False))

    def coded_network(self) -> CodedNetwork:
        """See Exportable."""
        validation.check_is_fitted(self, "model_")
        inputs = coded_inputs(self.encoder_, self.n_features_in_, getattr(self, "feature_names_in_", None))
        return CodedNetwork(self.model_, inputs, {"": self._answer()})

    def _on_host(self, array: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.model_.backend.to_numpy(array)
        return found

    def __sklearn_tags__(self) -> Any:
        """For scikit-learn: what X may be depends on the encoder."""
        tags = super().__sklearn_tags__()
        if isinstance(self.encoder, str):
            tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        elif is_transformer(self.encoder):
            tags.input_tags = copy.copy(utils.get_tags(self.encoder).input_tags)
            tags.input_tags.sparse = False
        return tags

    history_: History
    model_: Sequential
    encoder_: Any
    n_outputs_: int
    loss_curve_: list[float]
    best_loss_: float
    n_iter_: int
    _trained: Trainer | None


def _weighted_rows(
    features: Any, targets: NDArray[Any], weights: NDArray[np.float64], name: str
) -> tuple[Any, NDArray[Any], NDArray[np.float64]]:
    """The rows whose weight is not 0; name – of the setting, for the error if there are none."""
    rows = np.flatnonzero(weights)
    if not rows.size:
        raise SampleWeightError(f"{name}: expected a weight above zero for at least one row; got only zero weights; drop them")
    if rows.size == len(weights):
        return features, targets, weights
    return utils._safe_indexing(features, rows), targets[rows], weights[rows]
