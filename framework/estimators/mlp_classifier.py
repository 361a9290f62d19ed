"""`MLPClassifier`: labels and probabilities with scikit-learn's interface. Training is in mlp_estimator.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ExportError, HyperparameterError, LabelError, ShapeError
from ..export.coded_network import Answer, Classes, Flags
from ..losses import BALANCED, BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from ..sample_weights import balanced
from ..settings import not_negative
from ..sources.names import listed
from ..suggestions import ESTIMATOR, PREDICTION, suggests_arguments
from ..tables.columns import as_column, is_text
from .chosen_settings import ChosenSettings
from .mlp_estimator import MLPEstimator
from .scikit_learn import ClassifierMixin, multiclass, validation


@suggests_arguments(use=ESTIMATOR)
class MLPClassifier(ClassifierMixin, MLPEstimator):  # type: ignore[misc]
    """A multi-layer perceptron that predicts classes, with the interface of scikit-learn.

    The loss is the cross-entropy of a softmax; of y [N, k] with several labels a row, the sum of k binary ones.

    Args: hidden_layer_sizes – widths of the hidden layers; activation – "relu", "identity", "logistic", "tanh", or another of
        `fs.mlp`; the others by their names: preset – where settings are "auto": "tabular", a network and a training for the
        number of rows, see `settings_` and docs/presets.md, or "scikit-learn", the defaults of its estimators; optimizer –
        name, such as "adam", "sgd" or "adamw", with learning_rate_init and alpha, or an fs.Optimizer with settings of its own;
        alpha – of the penalty alpha / 2 ||W||^2, divided by the rows (or the sum of the sample weights) of a minibatch, in
        place of the weight decay of the preset; batch_size – rows, None for all, where rows of weight 2 equal two rows;
        learning_rate_init; schedule – of the learning rate, as in fs.Trainer; max_iter – epochs at most; shuffle – in each
        epoch; random_state – an int, which is the seed, a RandomState, or None; tol, n_iter_no_change – training ends when the
        loss was not smaller by more than tol for so many epochs; verbose – whether to show a progress bar; warm_start – whether
        fit goes on from the parameters of the last fit; early_stopping – whether the loss of validation_fraction of the rows,
        which are not trained on, decides instead, and the parameters of the best epoch are restored; dropout – fraction of the
        hidden units to drop; n_ensemble – number of networks that share most weights, are trained together, and predict the
        mean of their probabilities (of the regressor: of their numbers), as in fs.mlp; number_embedding – "periodic" for an
        fs.PeriodicEmbedding of the columns of more than two numbers, or None; label_smoothing – epsilon: the targets are 1 -
        epsilon + epsilon / K and epsilon / K, of one label a row; backend – name, or None for the one in use; precision –
        "auto": float32 in minibatches; float64 where fit has all rows in one batch, and in predictions, which then do not
        depend on the rows beside them; or that of both, as in fs.TrainStep; class_weight – {label: weight}, "balanced" for n /
        (k n_label), or None; callbacks – of fs.Trainer; encoder – "auto": numbers are scaled, tables with text, dates or
        missing values are encoded by fs.TableEncoder; a transformer such as fs.TableEncoder(); or None for X as it is;
        device_batches – where minibatches come from, which changes no result: True for a copy of all encoded rows on the
        backend's device, which is made once and gathered from there; False for the host, from which each minibatch is copied
        while the one before is trained on; None for data="auto" of fs.Trainer.fit; parallel – "mpi" or "nccl": all processes
        that mpiexec or srun started fit together, each on its rows of every minibatch, and have the same result; as in
        fs.TrainStep.
    Attributes, once fitted: classes_ – sorted labels; model_ – the fs.Sequential, of encoded features; encoder_; settings_ –
        the values that were used, {name: value}; history_ – the fs.History of the last fit; loss_curve_ – the loss of each
        epoch; best_loss_; n_iter_ – epochs; n_outputs_ – of the network; n_features_in_, feature_names_in_ – of X.

        clf = fs.MLPClassifier(random_state=0).fit(frame, labels, sample_weight=w)
    Differs from: scikit-learn's MLPClassifier, which has other defaults, neither scales X nor takes text and missing values,
        knows no dropout and class_weight, stops early by accuracy, and calls the optimiser `solver`.
    """

    _task = "classification"

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
        label_smoothing: Any = "auto",
        class_weight: Any = None,
        callbacks: Any = None,
        encoder: Any = "auto",
        device_batches: Any = None,
        parallel: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes, activation, preset=preset, optimizer=optimizer, alpha=alpha,
            batch_size=batch_size, learning_rate_init=learning_rate_init, schedule=schedule, max_iter=max_iter,
            shuffle=shuffle, random_state=random_state, tol=tol, verbose=verbose, warm_start=warm_start,
            early_stopping=early_stopping, validation_fraction=validation_fraction, n_iter_no_change=n_iter_no_change,
            dropout=dropout, n_ensemble=n_ensemble, number_embedding=number_embedding, backend=backend, precision=precision,
            callbacks=callbacks, encoder=encoder, device_batches=device_batches, parallel=parallel,
        )  # fmt: skip
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight

    @suggests_arguments(use=ESTIMATOR)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> MLPClassifier:
        """One more epoch over these rows, with the state of the optimiser of the previous call.

        Args: X, y, sample_weight – as for fit; the first call determines the encoder; classes – all labels that will occur, in
            the first call.
        Returns: itself. Raises: as `fit`; HyperparameterError for a first call without classes, for early_stopping and for
            class_weight="balanced".
        """
        if isinstance(self.class_weight, str):
            raise HyperparameterError(
                f"expected class_weight as {{label: weight}} with partial_fit, which does not see all rows; got "
                f"{self.class_weight!r}; compute the weights beforehand"
            )
        if not hasattr(self, "model_") and classes is None:
            raise HyperparameterError(
                "expected classes, all labels that will occur, in the first call of partial_fit; got none; "
                "write partial_fit(x, y, classes=np.unique(all_labels))"
            )
        self._partial_fit(X, y, sample_weight, classes)
        return self

    @suggests_arguments(use=PREDICTION)
    def predict(self, X: Any) -> NDArray[Any]:
        """The labels [N], of the type of y; for several labels a row 0 or 1, [N, k].

        Raises: NotFittedError of scikit-learn before `fit`; as `fit` for X.
        """
        x = self._inputs(X)
        found = self._on_host(self.model_.predict(x))
        return found.astype(self._label_type) if self._multilabel else self.classes_[found]

    @suggests_arguments(use=PREDICTION)
    def predict_proba(self, X: Any) -> NDArray[Any]:
        """The probabilities [N, K] of `classes_`; for several labels a row [N, k], that of each. Raises: as `predict`."""
        x = self._inputs(X)
        return self._on_host(self.model_.predict_proba(x))

    @suggests_arguments(use=PREDICTION)
    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """The logarithms of `predict_proba`, without underflow. Raises: as `predict`."""
        from scipy.special import log_expit, log_softmax

        x = self._inputs(X)
        logits = self._on_host(self.model_(x))
        found: NDArray[Any] = log_expit(logits) if self._multilabel else log_softmax(logits, axis=1)
        return found

    def _checked_targets(self, y: Any) -> NDArray[Any]:
        labels: NDArray[Any] = validation.check_array(
            _without_extension(y), ensure_2d=False, dtype=None, input_name="y", estimator=self
        )
        absent = [row for row, label in enumerate(labels.tolist()) if label is None] if labels.dtype == object else []
        if absent:
            raise LabelError(
                f"y: expected a label in every row; got {len(absent)} missing, the first in row {absent[0] + 1} (counted from "
                "1); drop these rows"
            )
        multiclass.check_classification_targets(labels)
        kind = multiclass.type_of_target(labels, input_name="y")
        if kind == "multiclass-multioutput":
            raise ShapeError(
                "y: expected one label a row, or a matrix of 0 and 1; got several columns of labels; fit a classifier for each"
            )
        if kind == "multilabel-indicator":
            return labels
        column: NDArray[Any] = validation.column_or_1d(labels, warn=True)
        return column

    def _fit_targets(self, y: NDArray[Any], weights: NDArray[np.float64] | None, classes: Any) -> None:  # noqa: ARG002
        self._multilabel, self._label_type = y.ndim == 2, y.dtype
        if self._multilabel:
            self.classes_ = np.arange(y.shape[1])
        else:
            self.classes_ = np.unique(y if classes is None else np.asarray(classes))
        if len(self.classes_) < 2:
            raise LabelError(
                f"y: expected at least 2 classes; got 1 class, {self.classes_.tolist()[0]!r}; check the labels, or which rows "
                "have a weight above 0"
            )
        self.n_outputs_ = len(self.classes_)

    def _coded_targets(self, y: NDArray[Any]) -> NDArray[Any]:
        if (y.ndim == 2) != self._multilabel or (self._multilabel and y.shape[1] != self.n_outputs_):
            shape = f"[rows, {self.n_outputs_}]" if self._multilabel else "[rows]"
            raise ShapeError(f"y: expected shape {shape}, as in the first fit; got {y.shape}; use a new estimator")
        if self._multilabel:
            return y
        known = np.isin(y, self.classes_)
        if not known.all():
            row = int(np.argmin(known))
            raise LabelError(
                f"y: expected labels of classes_; got {y.tolist()[row]!r} in row {row + 1} (counted from 1); give all labels "
                "as classes in the first partial_fit, or fit with warm_start=False"
            )
        return np.searchsorted(self.classes_, y).astype(np.int32)

    def _answer(self) -> Answer:
        if self._multilabel:
            return Flags(np.asarray(as_column(np.zeros(1, self._label_type), "y")).dtype.name)
        labels = as_column(self.classes_, "y")
        if is_text(labels) and self.classes_.dtype.kind == "u":
            raise ExportError(f"y: expected labels below 2^63, which ONNX can represent; got {self.classes_.max()}; use text")
        return Classes(np.asarray(labels))

    def _loss(self, chosen: ChosenSettings) -> Loss:
        return BinaryCrossEntropy() if self._multilabel else SoftmaxCrossEntropy(chosen.label_smoothing, "uniform")

    def _class_factors(self, coded: NDArray[Any], weights: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        if self.class_weight is None:
            return None
        if self._multilabel:
            raise HyperparameterError("expected class_weight=None for several labels a row; got others; use sample_weight")
        if isinstance(self.class_weight, str) and self.class_weight == BALANCED:
            factors = np.array(balanced(np.bincount(coded, weights, minlength=len(self.classes_))))
        elif isinstance(self.class_weight, Mapping):
            factors = self._factors_of(self.class_weight)
        else:
            raise HyperparameterError(
                f'expected class_weight to be {{label: weight}}, "balanced" or None; got {self.class_weight!r}; write '
                "{label: 2.0}, where others are 1"
            )
        of_rows: NDArray[np.float64] = factors[coded]
        return of_rows

    def _factors_of(self, given: Mapping[Any, float]) -> NDArray[np.float64]:
        """The weight of each class, from {label: weight}."""
        checked = {label: not_negative(weight, f"class_weight of {label!r}") for label, weight in given.items()}
        labels = self.classes_.tolist()
        unknown = [label for label in checked if label not in labels]
        if unknown and any(label not in checked for label in labels):
            raise LabelError(
                f"class_weight: expected labels of y ({listed([repr(label) for label in labels])}); got {unknown[0]!r}; give "
                "them as they are in y"
            )
        return np.array([checked.get(label, 1.0) for label in labels])

    def _strata(self, coded: NDArray[Any]) -> NDArray[Any]:
        return coded

    def __sklearn_tags__(self) -> Any:
        """For scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _without_extension(y: Any) -> Any:
    """Whole numbers and booleans in types of pandas as those of NumPy if none is missing; scikit-learn has floats for them."""
    plain = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    return y.to_numpy(dtype=plain) if isinstance(plain, np.dtype) and not y.isna().any() else y
