"""`MLPRegressor`: numbers with scikit-learn's interface. Training is in mlp_estimator.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ShapeError
from ..export.coded_network import Answer, Numbers
from ..losses import MSE, Loss
from ..suggestions import ESTIMATOR, PREDICTION, suggests_arguments
from ..tables.moments import weighted_moments
from .chosen_settings import ChosenSettings
from .mlp_estimator import MLPEstimator
from .scikit_learn import RegressorMixin, validation


@suggests_arguments(use=ESTIMATOR)
class MLPRegressor(RegressorMixin, MLPEstimator):  # type: ignore[misc]
    """A multi-layer perceptron that predicts numbers, with the interface of scikit-learn.

    The loss is the squared error of (y - mean) / standard deviation of each target, summed over the targets.

    Args: as for fs.MLPClassifier, without class_weight and label_smoothing.
    Attributes, once fitted: as of fs.MLPClassifier, without classes_; losses are of standardised targets.

        reg = fs.MLPRegressor(random_state=0).fit(frame, prices)
    Differs from: scikit-learn's MLPRegressor, which has other defaults, standardises neither X nor y, takes neither text nor
        missing values, halves the squared error and takes its mean over the targets, stops early by R², and calls the
        optimiser `solver`.
    """

    _task = "regression"

    @suggests_arguments(use=ESTIMATOR)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One more epoch over these rows, with the state of the optimiser of the previous call.

        Args: as for fit; the first call determines the encoder, and mean and scale of y.
        Returns: itself. Raises: as `fit`; HyperparameterError for early_stopping.
        """
        self._partial_fit(X, y, sample_weight)
        return self

    @suggests_arguments(use=PREDICTION)
    def predict(self, X: Any) -> NDArray[Any]:
        """The numbers, in the shape of y, [N] or [N, k]: float32 for y in float32, otherwise float64.

        Raises: NotFittedError of scikit-learn before `fit`; as `fit` for X.
        """
        x = self._inputs(X)
        found = self._on_host(self.model_.predict(x)).astype(np.float64) * self._scale + self._mean
        found = found.astype(np.float32 if self._target_type == np.float32 else np.float64, copy=False)
        return found[:, 0] if self._target_ndim == 1 else found

    def _checked_targets(self, y: Any) -> NDArray[Any]:
        targets: NDArray[Any] = validation.check_array(
            y, ensure_2d=False, dtype="numeric", input_name="y", estimator=self, ensure_min_samples=0
        )
        if targets.ndim not in (1, 2):
            raise ShapeError(f"y: expected shape [rows] or [rows, targets]; got {targets.shape}; reshape it")
        return targets

    def _fit_targets(self, y: NDArray[Any], weights: NDArray[np.float64] | None, classes: Any) -> None:  # noqa: ARG002
        columns = y.reshape(len(y), -1)
        self._target_ndim, self._target_type, self.n_outputs_ = y.ndim, y.dtype, columns.shape[1]
        self._mean, self._scale = weighted_moments(columns, weights, [f"y, column {k}" for k in range(columns.shape[1])])

    def _coded_targets(self, y: NDArray[Any]) -> NDArray[Any]:
        columns = y.reshape(len(y), -1)
        if columns.shape[1] != self.n_outputs_:
            raise ShapeError(
                f"y: expected {self.n_outputs_} targets, as in the first fit; got {columns.shape[1]}; use a new estimator"
            )
        coded: NDArray[Any] = (columns - self._mean) / self._scale
        return coded

    def _answer(self) -> Answer:
        dtype = "float32" if self._target_type == np.float32 else "float64"
        if self._target_ndim == 2:
            return Numbers(self._mean, self._scale, None, dtype)
        return Numbers(float(self._mean[0]), float(self._scale[0]), 0, dtype)

    def _loss(self, chosen: ChosenSettings) -> Loss:  # noqa: ARG002
        return MSE()

    def __sklearn_tags__(self) -> Any:
        """For scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
