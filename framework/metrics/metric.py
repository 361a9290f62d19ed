"""`Metric`: a function of the caller as a metric, and what a metric is for those that compute it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

from ...errors import HyperparameterError
from ..settings import choice
from ..suggestions import suggests_arguments
from .predictions import Predicted, Predictions

RESPONSES = ("predict", "predict_proba", "decision_function")


class Measure(Protocol):
    """A metric, wherever its formula is from."""

    @property
    def greater_is_better(self) -> bool | None:
        """Whether larger values are better; None if that is not known."""
        raise NotImplementedError

    def require(self, of: Predicted, weighted: bool) -> None:
        """Raises HyperparameterError, before anything is trained, if it does not apply to such predictions."""
        raise NotImplementedError

    @property
    def value(self) -> Callable[[Predictions], float]:
        """Computes it from the predictions of all rows."""
        raise NotImplementedError


@suggests_arguments
class Metric:
    """A function as a metric: function(targets, predictions), with sample_weight=w if the rows have weights.

    Args: function – takes targets and predictions of all N rows as NumPy arrays, and returns a number; response_method – what
        the predictions are: "predict" (default): labels 0 … K - 1 [N], 0 and 1 [N, e] of several questions, or numbers [N] or
        [N, e]; "predict_proba": probabilities [N, K], or [N] of the second of two classes; "decision_function": scores [N] that
        increase with the probability of the second class, [N, K] of more classes, or [N, e]; greater_is_better – whether larger
        values are better; None (default) if it is never monitored, or what monitors it has a mode.
    Raises: HyperparameterError.
    Differs from: sklearn.metrics.make_scorer, whose greater_is_better=False changes the sign; here the value is as computed.

        fs.Trainer(step, metrics={"cost": fs.Metric(cost, greater_is_better=False)})
    """

    def __init__(
        self, function: Callable[..., float], response_method: str = "predict", greater_is_better: bool | None = None
    ) -> None:
        if not callable(function):
            raise HyperparameterError(f"expected a function (targets, predictions) -> number; got {function!r}")
        if greater_is_better is not None and not isinstance(greater_is_better, bool):
            raise HyperparameterError(f"expected greater_is_better to be True, False or None; got {greater_is_better!r}")
        self.function = function
        self.response_method = choice(response_method, "response_method", RESPONSES)
        self.greater_is_better = greater_is_better

    @property
    def name(self) -> str:
        """The name of the function."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def require(self, of: Predicted, weighted: bool) -> None:
        """See Measure."""
        if self.response_method != "predict" and (of.kind == "numbers" or (of.form == "scores" and self._wants_probabilities)):
            raise HyperparameterError(
                f"metric {self.name!r}: expected a model that gives {self.response_method}; this one predicts {of.in_words}"
                f"{'' if of.kind == 'numbers' else ' by scores'}; pass another response_method"
            )
        if weighted and not _takes_weights(self.function):
            raise HyperparameterError(
                f"metric {self.name!r}: expected a function that takes sample_weight, as the rows have weights; got one that "
                "does not; add the argument, or leave out the metric"
            )

    @property
    def value(self) -> Callable[[Predictions], float]:
        """See Measure."""
        return self._value

    def _value(self, p: Predictions) -> float:
        responses = {"predict": p.answers, "predict_proba": p.probabilities, "decision_function": p.ranks}
        given: Any = responses[self.response_method]
        if self._wants_probabilities and p.of.kind == "classes" and p.of.count == 2:
            given = given[:, 1]
        found = self.function(p.targets, given, **({} if p.weights is None else {"sample_weight": p.weights}))
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            raise HyperparameterError(
                f"metric {self.name!r}: expected a function that returns a number; got {found!r}; return one number "
                "for all rows"
            ) from error

    @property
    def _wants_probabilities(self) -> bool:
        return self.response_method == "predict_proba"

    def __repr__(self) -> str:
        return f"Metric({self.name}, {self.response_method!r}, greater_is_better={self.greater_is_better})"


def _takes_weights(function: Callable[..., float]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a compiled function without a signature
        return True
    return any(one.name == "sample_weight" or one.kind is one.VAR_KEYWORD for one in parameters)
