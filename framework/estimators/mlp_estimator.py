"""What `fs.MLPClassifier` and `fs.MLPRegressor` have in common: settings, training, and the features of predictions.

Targets are coded by the two classes, features by input_coding.py; chosen_settings.py says what "auto" stands for. There are no
formulas and no loop here: see Trainer.
"""

from __future__ import annotations

import copy
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends import Backend
from ...backends import backend as find_backend
from ...backends.communicators import communicator
from ...errors import HyperparameterError, LabelError, SampleWeightError, StateError
from ..engine.model import Sequential
from ..engine.step import TrainStep
from ..export.coded_network import Answer, CodedNetwork, Exportable
from ..losses import Loss
from ..sample_weights import checked_weights
from ..settings import flag
from ..suggestions import ESTIMATOR, SuggestsAttributes, suggests_arguments
from ..tables.encoder import TableEncoder
from ..tables.frames import is_frame
from ..tables.splits import split
from ..tables.table import Task
from ..training.history import History
from ..training.presets import columns_to_embed, network
from ..training.stopping import EarlyStopping
from ..training.trainer import Trainer
from .chosen_settings import AUTO, PARTIAL_FIT_ROWS, ChosenSettings
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


class MLPEstimator(Exportable, SuggestsAttributes, BaseEstimator):  # type: ignore[misc]
    """The settings of both estimators, `fit` and `partial_fit`; see fs.MLPClassifier."""

    _task: Task

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: str = "auto",
        *,
        preset: str = "tabular",
        optimizer: Any = "auto",
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate_init: Any = "auto",
        schedule: Any = "auto",
        max_iter: Any = "auto",
        shuffle: bool = True,
        random_state: Any = None,
        tol: Any = "auto",
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: Any = "auto",
        validation_fraction: Any = "auto",
        n_iter_no_change: Any = "auto",
        dropout: Any = "auto",
        n_ensemble: int = 1,
        number_embedding: Any = "auto",
        backend: Any = None,
        precision: str = "auto",
        callbacks: Any = None,
        encoder: Any = "auto",
        device_batches: Any = None,
        parallel: Any = None,
    ) -> None:
        self.preset = preset
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
        self.number_embedding = number_embedding
        self.backend = backend
        self.precision = precision
        self.callbacks = callbacks
        self.encoder = encoder
        self.device_batches = device_batches
        self.parallel = parallel

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

    def _loss(self, chosen: ChosenSettings) -> Loss:
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

    @suggests_arguments(use=ESTIMATOR)
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
        chosen = self._chosen(len(targets), not keeps)
        dtype = self._dtype(chosen.rows_of_a_batch(len(targets)) == len(targets))
        x, coded, weights = self._coded_data(features, targets, weights, dtype, not keeps, chosen)
        seed = self._seed()
        held_out, rows = None, slice(None)
        stopping: dict[str, Any] = {"monitor": "loss", "restore_best": False}
        if chosen.early_stopping:
            rows, out, _ = split(len(x), (0.0, chosen.validation_fraction), seed, self._strata(coded))  # type: ignore[assignment]
            held_out = (x[out], coded[out], *(() if weights is None else (weights[out],)))
            stopping = {"monitor": "val_loss"}
        stop = EarlyStopping(chosen.n_iter_no_change, smallest_change=chosen.tol, **stopping)
        x, coded, weights = x[rows], coded[rows], None if weights is None else weights[rows]
        size = chosen.rows_of_a_batch(len(x))
        trainer = self._trainer(self._step(x.shape[1], size, weights, seed, dtype, keeps, chosen), (stop,), chosen.schedule)
        self.history_ = trainer.fit(x, coded, held_out, chosen.max_iter, size, data=chosen.placement, sample_weight=weights)
        self._trained = None
        self.loss_curve_ = self.history_["loss"]
        self.n_iter_ = self.history_.epochs
        return self._finish(trainer)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Any:
        """See `partial_fit` of the two classes."""
        first, dtype = not hasattr(self, "model_"), self._dtype(False)
        features, targets, weights = self._checked_data(X, y, sample_weight, first)
        chosen = self._chosen(max(len(targets), PARTIAL_FIT_ROWS), first, in_parts=True)
        if chosen.early_stopping:
            raise HyperparameterError(
                "expected early_stopping=False with partial_fit, which cannot tell the last pass; got True; use fit, or "
                "validate between the calls"
            )
        x, coded, weights = self._coded_data(features, targets, weights, dtype, first, chosen, classes)
        if first:
            self.loss_curve_, self.n_iter_, self._trained = [], 0, None
        size = chosen.rows_of_a_batch(len(x))
        if self._trained is None:
            step = self._step(x.shape[1], size, weights, self._seed(), dtype, not first, chosen)
            self._trained = self._trainer(step, (), chosen.schedule)
        self.history_ = self._trained.fit(x, coded, None, 1, size, data=chosen.placement, sample_weight=weights)
        self.loss_curve_ = [*self.loss_curve_, *self.history_["loss"]]
        self.n_iter_ += 1
        return self._finish(self._trained)

    def _chosen(self, rows: int, reset: bool, in_parts: bool = False) -> ChosenSettings:
        """The settings of a fit; a network that is trained further has those of the rows of its first fit."""
        if reset or not hasattr(self, "_preset_rows"):
            self._preset_rows = rows
        return ChosenSettings.of(vars(self), self._preset_rows, self._task, in_parts)

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
        self, features: Any, targets: NDArray[Any], weights: Weights, dtype: str, reset: bool, chosen: ChosenSettings,
        classes: Any = None,
    ) -> tuple[NDArray[Any], NDArray[Any], Weights]:  # fmt: skip
        """(x, y, weights) as the network and its loss take them; reset – whether the rows determine codings and embeddings."""
        if reset:
            self._fit_targets(targets, weights, classes)
        coded = self._coded_targets(targets)
        factors = self._class_factors(coded, weights)
        if factors is not None:
            combined = factors if weights is None else factors * weights
            features, coded, weights = _weighted_rows(features, coded, combined, "class_weight")
        if reset:
            self.encoder_ = fit_encoder(self.encoder, features, weights, dtype, chosen.scaling)
        x = self._encoded(features)
        if reset:
            self._embedded = self._columns_to_embed(x, chosen)
        return x, coded, weights

    def _columns_to_embed(self, x: NDArray[Any], chosen: ChosenSettings) -> tuple[int, ...]:
        """Columns of x, which have a variance of about 1 if an encoder of this package has scaled them."""
        scaled = isinstance(self.encoder_, TableEncoder | Standardizer)
        automatic = isinstance(self.number_embedding, str) and self.number_embedding == AUTO
        if chosen.number_embedding is None or (automatic and not scaled):
            return ()
        return columns_to_embed(x, self._categories() or (), limited=automatic)

    def _categories(self) -> dict[int, int] | None:
        """Column of the encoded features -> number of its codes."""
        return self.encoder_.categories_ if isinstance(self.encoder_, TableEncoder) else None

    def _step(
        self, inputs: int, size: int, weights: Weights, seed: int, dtype: str, keeps: bool, chosen: ChosenSettings
    ) -> TrainStep:
        """A step for a new model, or for a copy of the one that is there, with parameters of that dtype."""
        model = self._new_model(inputs, chosen)
        if keeps:
            if repr(model) != repr(self.model_):
                raise StateError(
                    f"expected the settings of the network with which {self.model_!r} was trained; got those of {model!r}; "
                    "restore them, or fit with warm_start=False"
                )
            model = copy.deepcopy(self.model_).to(self._backend(), dtype)
        # As in scikit-learn, alpha / 2 ||W||^2 is divided by the rows, or their weights, of a minibatch.
        optimizer = chosen.make_optimizer(size * (1.0 if weights is None else float(weights.mean())))
        self.settings_ = chosen.shown(optimizer)
        precision = dtype if self.precision == "auto" else self.precision
        return TrainStep(
            model, self._loss(chosen), optimizer, seed, self._backend(), precision, parallel=self.parallel
        )

    def _new_model(self, inputs: int, chosen: ChosenSettings) -> Sequential:
        widths = [inputs, *chosen.hidden_layer_sizes, self.n_outputs_]
        init = None if chosen.preset is not None else "glorot_uniform"  # as in scikit-learn
        made = network(
            widths, chosen.activation, chosen.dropout, self._categories(), self._embedded, init, chosen.n_ensemble
        )  # fmt: skip
        made.head = self._loss(chosen).head
        return made

    def _trainer(self, step: TrainStep, stopping: tuple[EarlyStopping, ...], schedule: Any) -> Trainer:
        order = "each_epoch" if flag(self.shuffle, "shuffle") else "never"
        given = () if self.callbacks is None else self.callbacks
        own = given if isinstance(given, list | tuple) else (given,)
        callbacks, progress = [*own, *stopping], bool(self.verbose)
        return Trainer(step, callbacks=callbacks, shuffle=order, progress=progress, schedule=schedule)

    def _seed(self) -> int:
        """An int of random_state as it is; otherwise a number that the generator draws."""
        given = self.random_state
        if isinstance(given, Integral) and not isinstance(given, bool):
            return int(given)
        drawn = int(utils.check_random_state(given).randint(2**31 - 1))
        together = communicator(self.parallel)
        return drawn if together is None else int(together.broadcast(drawn))

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
    settings_: dict[str, Any]
    n_outputs_: int
    loss_curve_: list[float]
    best_loss_: float
    n_iter_: int
    _trained: Trainer | None
    _preset_rows: int
    _embedded: tuple[int, ...] = ()


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
