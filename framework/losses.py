"""Losses and their gradients; the table LOSSES lists them by name.

The formulas are in kernels/formulas/losses.py and kernels/rows; targets are checked and converted here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from ..backends import Array, Backend
from ..errors import DtypeError, HyperparameterError, LabelError, ShapeError, StateError
from ..kernels.formulas import losses as formulas
from ..kernels.rows.reference import ROWS
from .engine.frozen import Frozen
from .engine.tape import Tape
from .layers import Layer
from .layers.activations import ReLU, Sigmoid
from .layers.softmax import Softmax
from .sample_weights import balanced
from .settings import choice, fraction, not_negative, positive, real, whole

BALANCED = "balanced"
ClassWeights = Sequence[float] | Mapping[int, float] | str


class Loss(Frozen, frozen=False):
    """A loss: compares outputs Y [B, e] with targets.

    Args: reduction – "mean" (over the rows, default) or "sum" (as in the notes).
    """

    head = "values"
    """How predictions interpret the outputs; see framework/engine/model.py."""
    softmax_inside = False
    """Whether the loss takes logits, so that a final Softmax layer is skipped in training."""
    needs_simplex = False
    """Whether the outputs must be distributions, so the model must end in Softmax."""
    curved = True
    """Whether its second derivative with respect to the outputs is useful; for piecewise linear losses it is 0."""
    convex = True
    """Whether it is convex in the outputs, so that Gauss-Newton matrices are positive semi-definite."""
    mixes_targets = True
    """Whether a mixture of two prepared targets is a valid target, with labels as distributions."""

    setting_names: ClassVar[tuple[str, ...]] = ("reduction",)
    """The arguments of `__init__` that are attributes of the same name."""
    outputs_per_target = 1
    """How many outputs predict each column of the targets."""
    is_one_operation = False
    """Whether `evaluate` consists of the one row operation that `operation` returns. A step may then call that operation
    itself, with the arguments `sums`, `accumulate` and `scale` of kernels/rows/reference.py, which scale the gradient and sum
    its rows. A subclass that overrides `evaluate` does not inherit this."""

    weighs_rows = False
    """Whether `evaluate` (and the row operation, with `row_weights` as its last argument) multiplies losses and gradient by
    `weights_for(tape)`. Otherwise that is one more pass. A subclass that overrides `evaluate` does not inherit this."""

    _instead = "make a new loss and a new TrainStep"

    def __init_subclass__(cls, frozen: bool | None = None) -> None:
        super().__init_subclass__(frozen)
        for name in ("is_one_operation", "weighs_rows"):
            owner: Any = next(base for base in cls.__mro__ if name in vars(base))
            if cls.evaluate is not owner.evaluate:
                setattr(cls, name, False)

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = choice(reduction, "reduction", ("mean", "sum"))

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that recreate this loss, without those that have their default values."""
        known = signature(type(self)).parameters
        given = {name: getattr(self, name) for name in self.setting_names if name in known}
        return {name: value for name, value in given.items() if value != known[name].default}

    @property
    def predicts_numbers(self) -> bool:
        """Whether predictions are numbers, not classes."""
        return self.head in ("values", "log_rates")

    def require_end(self, last: Layer) -> None:
        """Raises HyperparameterError if the outputs of a model's last layer do not fit this loss."""
        if self.needs_simplex and not isinstance(last, Softmax):
            raise HyperparameterError(
                f"{self!r} compares distributions, so it expected a model that ends in fs.Softmax(); got {last!r}; "
                "append the Softmax, or use SoftmaxCrossEntropy, which takes logits and distributions"
            )
        if self.head in ("binary", "signs") and isinstance(last, Sigmoid | Softmax | ReLU):
            raise HyperparameterError(
                f"{self!r} predicts by the sign of the output, so it expected a last layer with outputs of both signs; "
                f"got {last!r}; leave out that layer: this loss needs none"
            )

    @property
    def balances(self) -> bool:
        """Whether it needs the weights of classes that the training data give, in `class_weights` of the tape."""
        return False

    def balanced_by(self, labels: Any, classes: int) -> Loss:
        """This loss with class weights as numbers, where they are to be balanced; otherwise itself.

        Args: labels [N] – prepared targets of all rows, on the host, by which they are; classes – number of them.
        """
        return self.balanced_with(balanced(np.bincount(labels, minlength=classes))) if self.balances else self

    def balanced_with(self, class_weights: tuple[float, ...]) -> Loss:  # noqa: ARG002
        """As `balanced_by`, with the class weights that `TrainStep.class_weights` tells."""
        return self

    def factor(self, rows: int) -> float:
        """Factor for the sum over that many rows."""
        return 1.0 / rows if self.reduction == "mean" else 1.0

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        """Checked targets as an array of the backend; raises LabelError, ShapeError, DtypeError."""
        return real_targets(targets, width, backend, dtype)

    def example(self, rows: int, width: int, backend: Backend, dtype: str) -> Array:
        """Dummy prepared targets, to find out which buffers a pass needs."""
        return backend.zeros((rows, width), dtype)

    def evaluate(self, y: Array, targets: Array, tape: Tape) -> tuple[Array, Array]:
        """(losses by row [B], gradient [B, e] times the factor) for prepared targets."""
        raise NotImplementedError(f"{type(self).__name__} must define evaluate")

    def weights_for(self, tape: Tape) -> Array | None:
        """The weights [B] by which `evaluate` multiplies losses and gradient of the rows, or None."""
        return tape.row_weights if self.weighs_rows else None

    def weighted_loss(self, y: Array, targets: Array, tape: Tape) -> tuple[Array, Array]:
        """As `evaluate`, both times the weights of the rows if the tape has some: what steps and evaluations call."""
        losses, gradient = self.evaluate(y, targets, tape)
        weights = tape.row_weights
        if weights is None or self.weighs_rows:
            return losses, gradient
        weighted = tape.empty_like(losses), tape.empty_like(gradient)
        for values, out in zip((losses, gradient), weighted, strict=True):
            tape.backend.map(formulas.weighted_rows, *(as_columns(tape, a) for a in (out, values)), weights)
        return weighted

    def operation(self, y: Array, targets: Array, tape: Tape) -> tuple[Any, ...]:
        """Name and input arguments of the row operation of `evaluate`; for losses with `is_one_operation`."""
        raise NotImplementedError(f"{type(self).__name__} must define operation")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


def as_columns(tape: Tape, array: Array) -> Array:
    """A vector [B] as a matrix [B, 1]; a matrix as it is."""
    return array if len(array.shape) == 2 else tape.backend.xp.reshape(array, (-1, 1))


def real_targets(targets: Any, width: int, backend: Backend, dtype: str) -> Array:
    """Targets [B, width] in the model's dtype; a vector [B] counts as one column."""
    array = backend.asarray(targets, dtype)
    if len(array.shape) == 1 and width == 1:
        array = backend.xp.reshape(array, (-1, 1))
    if len(array.shape) != 2 or array.shape[1] != width:
        hint = (
            "; SoftmaxCrossEntropy takes labels, other losses want one column for each output" if len(array.shape) == 1 else ""
        )
        raise ShapeError(f"expected targets [rows, {width}], as wide as the last layer; got {tuple(array.shape)}{hint}")
    return array


def class_labels(targets: Any, classes: int, backend: Backend) -> Array:
    """Labels [B] or [B, 1] as int32 [B]; raises LabelError for fractions, negative or too large labels, and names the first."""
    array = backend.asarray(targets)
    if len(array.shape) == 2 and array.shape[1] == 1:
        array = backend.xp.reshape(array, (-1,))
    if len(array.shape) != 1:
        raise ShapeError(
            f"expected labels [rows] or [rows, 1], one integer per row; got shape {tuple(array.shape)}; flatten labels "
            "with y.ravel(), turn one-hot rows into labels with y.argmax(axis=1); BinaryCrossEntropy takes several labels a row"
        )
    if array.shape[0] == 0:
        return backend.asarray(array, "int32")
    xp = backend.xp
    kind = backend.dtype_name(array)
    if kind.startswith("float"):
        if not bool(xp.all((array == xp.floor(array)) & xp.isfinite(array))):
            raise LabelError(
                f"expected whole numbers 0 to {classes - 1} as labels; got fractions, NaN or infinity; round or encode them"
            )
    elif not kind.startswith(("int", "uint", "bool")):
        raise DtypeError(f"expected labels of an integer type; got {kind}")
    if kind == "bool":
        array = backend.asarray(array, "int32")
    if not backend.all_below(array, classes):
        lowest, highest = int(xp.min(array)), int(xp.max(array))
        wrong = lowest if lowest < 0 else highest
        row = int(xp.argmax(xp.astype(array == wrong, backend.dtype("int32"))))
        if lowest < 0:
            hint = "labels start at 0"
        elif lowest == 1 and highest == classes:
            hint = "labels start at 0, and these at 1: take y - 1"
        else:
            hint = "widen the last layer or check the labels"
        raise LabelError(
            f"expected labels 0 to {classes - 1}, as the last layer has {classes} outputs; got {wrong} in row {row + 1} "
            f"(counted from 1); {hint}"
        )
    return array if kind == "int32" else backend.asarray(array, "int32")


class _ElementwiseLoss(Loss):
    """A loss that is a sum of terms, one per output."""

    formula = formulas.squared_error
    weighs_rows = True

    def evaluate(self, y: Array, targets: Array, tape: Tape) -> tuple[Array, Array]:
        """One pass over the outputs."""
        rows, gradient = tape.empty((y.shape[0],)), tape.empty_like(y)
        weights = self.weights_for(tape)
        given = y, targets, *self.further(y, tape), self.factor(tape.batch_rows)
        if weights is None:
            tape.backend.map(self.formula, (rows, gradient), *given)
        else:
            tape.backend.map(formulas.weighted(self.formula), (rows, gradient), *given, weights)
        return rows, gradient

    def further(self, y: Array, tape: Tape) -> tuple[Any, ...]:  # noqa: ARG002
        """The arguments of the formula between targets and factor."""
        return ()


class MSE(_ElementwiseLoss):
    """Squared error: sum over the outputs of (y - t)^2, mean over the rows (or sum, as in the notes).

    Differs from: torch.nn.MSELoss, which also divides by the number of outputs.
    Source: notes 000, 004.
    """


class MAE(_ElementwiseLoss):
    """Absolute error: sum over the outputs of |y - t|, mean over the rows (or sum). The subgradient at y = t is 0.

    Differs from: torch.nn.L1Loss, which also divides by the number of outputs.
    """

    curved = False
    formula = formulas.absolute_error


class Huber(_ElementwiseLoss):
    """(y - t)^2 / 2 where |y - t| <= delta, elsewhere delta (|y - t| - delta / 2); summed over the outputs.

    Squared error near the target, absolute error far from it, where outliers weigh less.

    Args: delta – > 0, default 1; reduction. Raises: HyperparameterError.
    Differs from: torch.nn.HuberLoss, which also divides by the number of outputs.
    Source: Huber (1964), Robust estimation of a location parameter.
    """

    setting_names = ("delta", "reduction")
    formula = formulas.huber

    def __init__(self, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.delta = positive(delta, "delta")

    def further(self, y: Array, tape: Tape) -> tuple[Any, ...]:  # noqa: ARG002
        """See _ElementwiseLoss."""
        return (self.delta,)


class Quantile(_ElementwiseLoss):
    """The pinball loss max(q (t - y), (1 - q) (y - t)) for each level q, whose minimum is the q-quantile of t; summed.

    Each target has one output for each level, side by side: with two targets and three levels the model has six outputs,
    the first three for the first target. `predict` returns them all. Nothing keeps the quantiles of a row in order. The
    subgradient at y = t is 0. R² and the mean absolute error of `evaluate` are over all outputs, so they suit only the level
    0.5; judge other levels by the loss.

    Args: levels – one or several numbers in (0, 1), default 0.5: the median; reduction.
    Targets: [B, targets], or [B] for one; or one target for each output.
    Raises: HyperparameterError; ShapeError for a number of outputs that is no multiple of the number of levels.
    Source: Koenker and Bassett (1978), Regression quantiles.
    """

    setting_names = ("levels", "reduction")
    curved = False
    formula = formulas.pinball

    def __init__(self, levels: float | Sequence[float] = 0.5, reduction: str = "mean") -> None:
        super().__init__(reduction)
        given = levels.tolist() if hasattr(levels, "tolist") else levels
        several = tuple(given) if isinstance(given, list | tuple) else (given,)
        advice = "pass levels such as 0.5 or [0.1, 0.5, 0.9]"
        if not several:
            raise HyperparameterError(f"expected at least one level; got none; {advice}")
        checked = tuple(real(q, "levels of Quantile", 0.0, 1.0, "()", advice) for q in several)
        self.levels: float | tuple[float, ...] = checked if isinstance(given, list | tuple) else checked[0]
        self.outputs_per_target = len(checked)

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        """Each target once for each level."""
        count = self.outputs_per_target
        if width % count:
            raise ShapeError(
                f"expected a last layer with a multiple of {count} outputs, one for each level of each target; got {width}"
            )
        if not hasattr(targets, "shape"):
            targets = backend.asarray(targets, dtype)
        if len(targets.shape) == 2 and targets.shape[1] == width:
            return real_targets(targets, width, backend, dtype)
        array = real_targets(targets, width // count, backend, dtype)
        columns = backend.asarray([column for column in range(width // count) for _ in range(count)])
        return backend.asarray(backend.xp.take(array, columns, axis=1))

    def further(self, y: Array, tape: Tape) -> tuple[Any, ...]:
        """See _ElementwiseLoss."""
        levels = self.levels if isinstance(self.levels, tuple) else (self.levels,)
        return (tape.constant(levels * (y.shape[1] // len(levels))),)


class Poisson(_ElementwiseLoss):
    """e^z - t z for the output z = ln of the rate and the count t: regression of counts. `predict` returns the rates e^z.

    Without the term ln t!, which does not depend on z. Several outputs are independent counts, whose losses are summed.

    Args: reduction. Targets: >= 0; LabelError for others.
    Same as: torch.nn.PoissonNLLLoss with its defaults and the sum over the outputs, not their mean.
    """

    head = "log_rates"
    formula = formulas.poisson

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        """Targets >= 0."""
        array = real_targets(targets, width, backend, dtype)
        if array.shape[0] and not float(backend.xp.min(array)) >= 0.0:
            raise LabelError(
                f"expected counts >= 0; got {float(backend.xp.min(array))}; use MSE, MAE or Huber for numbers below 0"
            )
        return array


class BinaryCrossEntropy(_ElementwiseLoss):
    """-t ln s - (1 - t) ln(1 - s) with s = sigmoid(y), computed from the logit y without overflow; t in [0, 1].

    Several outputs are independent binary targets, whose losses are summed. The model must not end in Sigmoid.
    Same as: torch.nn.BCEWithLogitsLoss with the sum over the outputs, not their mean.
    Source: the likelihood of the sigmoid output of notes 003.
    """

    head = "binary"
    formula = formulas.binary_cross_entropy

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        """Targets in [0, 1]."""
        array = real_targets(targets, width, backend, dtype)
        xp = backend.xp
        if array.shape[0] and (not float(xp.min(array)) >= 0.0 or not float(xp.max(array)) <= 1.0):
            raise LabelError(
                f"expected targets between 0 and 1; got values from {float(xp.min(array))} to {float(xp.max(array))}; "
                "use 1 for the positive and 0 for the negative class"
            )
        return array


class Hinge(_ElementwiseLoss):
    """max(0, 1 - t y), t = -1 or 1; labels 0 and 1 are converted to -1 and 1. Source: notes 000."""

    head = "signs"
    curved = False
    formula = formulas.hinge
    mixes_targets = False

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        """Targets -1 and 1."""
        array = real_targets(targets, width, backend, dtype)
        xp = backend.xp
        if bool(xp.any((array != 1.0) & (array != -1.0) & (array != 0.0))):
            raise LabelError("expected targets -1 and 1 (or 0 and 1); got other values; encode the two classes first")
        if bool(xp.any(array == 0.0)):
            if bool(xp.any(array == -1.0)):
                raise LabelError("expected targets -1 and 1, or 0 and 1; got all three of -1, 0 and 1")
            array = array * 2.0 - 1.0
        return array


class _LabelLoss(Loss):
    """A loss of labels that consists of the row operation which `operation` names."""

    head = "classes"
    weighs_rows = True
    class_weights: tuple[float, ...] | dict[int, float] | str | None = None
    for_one_output = "BinaryCrossEntropy"
    """The loss to use for one output."""

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:  # noqa: ARG002
        """int32 labels [B]."""
        if width < 2:
            raise ShapeError(
                f"{type(self).__name__} expected at least two outputs; got {width}; use {self.for_one_output} for one"
            )
        given = self.class_weights
        if isinstance(given, tuple) and len(given) != width:
            raise ShapeError(f"expected {width} class weights, one per output; got {len(given)}")
        if isinstance(given, dict) and max(given) >= width:
            raise LabelError(
                f"expected class weights of labels 0 to {width - 1}, as the last layer has {width} outputs; got one of label "
                f"{max(given)}; widen the last layer or check the labels"
            )
        return class_labels(targets, width, backend)

    @property
    def balances(self) -> bool:
        """See Loss."""
        return self.class_weights == BALANCED

    def balanced_with(self, class_weights: tuple[float, ...]) -> Loss:
        """See Loss."""
        if not self.balances:
            return self
        made = copy.copy(self)
        vars(made)["class_weights"] = class_weights
        return made

    def weights_of_classes(self, classes: int, tape: Tape) -> Array | None:
        """The weights [K] of the classes, or None."""
        given = self.class_weights
        if isinstance(given, dict):
            given = tuple(given.get(label, 1.0) for label in range(classes))
        elif isinstance(given, str):
            given = tape.class_weights
            if given is None:
                raise StateError(
                    f"expected the training data before {self!r} is computed, because they say what {BALANCED!r} is; train "
                    "with fs.Trainer(step).fit(x, y), or give class_weights as numbers"
                )
        return None if given is None else tape.constant(given)

    def example(self, rows: int, width: int, backend: Backend, dtype: str) -> Array:  # noqa: ARG002
        """Labels 0."""
        return backend.zeros((rows,), "int32")

    def evaluate(self, y: Array, targets: Array, tape: Tape) -> tuple[Array, Array]:
        """One pass over the outputs."""
        rows, gradient = tape.empty((y.shape[0],)), tape.empty_like(y)
        weights, operation = self.weights_for(tape), self.operation(y, targets, tape)
        if weights is None:
            tape.backend.rows(*operation, rows, gradient)
        else:
            arguments = ROWS[operation[0]].in_order(*operation[1:], rows, gradient, row_weights=weights)
            tape.backend.rows(operation[0], *arguments)
        return rows, gradient


class SoftmaxCrossEntropy(_LabelLoss):
    """-sum_k q_k ln p_k with p = softmax(y), from the logits y, without overflow.

    Args: label_smoothing – eps in [0, 1): the target is 1 - eps for the label and eps / (K - 1) for each other class;
        smoothing – "notes" for this form (default), "uniform" for 1 - eps + eps / K and eps / K as in PyTorch; class_weights –
        factors >= 0 that multiply the loss of rows with a label: K numbers, or {label: number} where all others are 1, or
        "balanced" for n / (k n_label), computed by Trainer.fit from its training data, in which k classes occur; counts are
        sums of sample weights, if there are some; reduction.
    Targets: labels [B], or distributions [B, K] (without smoothing and class weights).
    Raises: HyperparameterError; for targets LabelError, ShapeError, DtypeError; StateError for "balanced" before a fit.
    Differs from: PyTorch, which divides the weighted sum by the sum of the weights; here it is divided by B, or by the sum of
        the sample weights, which are multiplied by those of the classes.
    Source: notes 000, 001, 002.
    """

    setting_names = ("label_smoothing", "smoothing", "class_weights", "reduction")
    softmax_inside = True
    is_one_operation = True

    def __init__(
        self,
        label_smoothing: float = 0.0,
        smoothing: str = "notes",
        class_weights: ClassWeights | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.label_smoothing = fraction(label_smoothing, "label_smoothing")
        self.smoothing = choice(smoothing, "smoothing", ("notes", "uniform"))
        self.class_weights = None if class_weights is None else _class_weights(class_weights)
        self.mixes_targets = not self.label_smoothing and self.class_weights is None

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        """int32 labels [B], or distributions [B, K]."""
        if not hasattr(targets, "shape"):
            targets = backend.asarray(targets)
        if width > 1 and len(targets.shape) == 2 and targets.shape[1] != 1:
            return self._distributions(targets, width, backend, dtype)
        return super().prepare(targets, width, backend, dtype)

    def _distributions(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        checked = distributions(targets, width, backend, dtype)
        if self.label_smoothing or self.class_weights is not None:
            raise HyperparameterError(
                "expected labels with label_smoothing or class_weights; got distributions; apply them to the targets before"
            )
        return checked

    def operation(self, y: Array, targets: Array, tape: Tape) -> tuple[Any, ...]:
        """See Loss."""
        factor = self.factor(tape.batch_rows)
        if len(targets.shape) == 2:
            return "softmax_cross_entropy_soft", y, targets, factor
        classes = int(y.shape[1])
        weights = self.weights_of_classes(classes, tape)
        eps = self.label_smoothing
        if self.smoothing == "notes":
            on, off = 1.0 - eps, eps / (classes - 1)
        else:
            on, off = 1.0 - eps + eps / classes, eps / classes
        return "softmax_cross_entropy", y, targets, weights, on, off, factor


def _class_weights(given: Any) -> tuple[float, ...] | dict[int, float] | str:
    """The checked weights of the classes, as floats, or BALANCED."""
    if isinstance(given, str) and given == BALANCED:
        return given
    values = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(values, Mapping) and values:
        by_label = {whole(label, "a label of class_weights", 0): weight for label, weight in values.items()}
        return {label: not_negative(by_label[label], f"class weights (class {label})") for label in sorted(by_label)}
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise HyperparameterError(
            f"expected class weights in a list, one number >= 0 for each class; got {given!r}; "
            'write class_weights=[1.0, 2.0] in the order of the labels, {label: weight}, or "balanced"'
        )
    weights = tuple(not_negative(w, f"class weights (class {k})") for k, w in enumerate(values))
    if not any(weights):
        raise HyperparameterError(
            f"expected at least one class weight > 0; got {given!r}; otherwise the loss is 0 for every row"
        )
    return weights


class Focal(_LabelLoss):
    """-(1 - p)^gamma ln p for the probability p = softmax(y)_label of the label: rows that are right already weigh less.

    Computed from the logits y, without overflow. With gamma = 0 it is SoftmaxCrossEntropy. It is not convex in y, so its
    Gauss-Newton matrix can have negative eigenvalues.

    Args: gamma – >= 0, default 2; class_weights – factors >= 0 that multiply the loss of rows with a label (the alpha of the
        source), as in SoftmaxCrossEntropy; default 1; reduction.
    Targets: labels [B]. Raises: HyperparameterError; for targets LabelError, ShapeError, DtypeError.
    Source: Lin, Goyal, Girshick, He and Dollar (2017), Focal loss for dense object detection, equation 5, with a softmax.
    """

    setting_names = ("gamma", "class_weights", "reduction")
    softmax_inside = True
    is_one_operation = True
    convex = False
    mixes_targets = False
    for_one_output = "BinaryFocal"

    def __init__(
        self, gamma: float = 2.0, class_weights: ClassWeights | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.gamma = not_negative(gamma, "gamma")
        self.class_weights = None if class_weights is None else _class_weights(class_weights)

    def operation(self, y: Array, targets: Array, tape: Tape) -> tuple[Any, ...]:
        """See Loss."""
        weights = self.weights_of_classes(int(y.shape[1]), tape)
        return "focal_loss", y, targets, weights, self.gamma, self.factor(tape.batch_rows)


class BinaryFocal(BinaryCrossEntropy):
    """-(1 - p)^gamma ln p for the probability p of the target 0 or 1, which is sigmoid(y) for 1: rows that are right already
    weigh less.

    Several outputs are independent binary targets, whose losses are summed. The model must not end in Sigmoid. It is not
    convex in y, so its Gauss-Newton matrix can have negative eigenvalues.

    Args: gamma – >= 0, default 2; class_weights – the factors of the targets 0 and 1 (1 - alpha and alpha in the source),
        default 1; reduction.
    Raises: HyperparameterError; LabelError for other targets. Differs from: torchvision.ops.sigmoid_focal_loss, whose default
        alpha is 0.25.
    Source: Lin, Goyal, Girshick, He and Dollar (2017), Focal loss for dense object detection, equations 4 and 5.
    """

    setting_names = ("gamma", "class_weights", "reduction")
    convex = False
    mixes_targets = False
    formula = formulas.binary_focal

    def __init__(
        self, gamma: float = 2.0, class_weights: Sequence[float] | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.gamma = not_negative(gamma, "gamma")
        self.class_weights = None if class_weights is None else _class_weights(class_weights)
        if self.class_weights is not None and not (isinstance(self.class_weights, tuple) and len(self.class_weights) == 2):
            raise HyperparameterError(
                f"expected two class weights, of the targets 0 and 1; got {class_weights!r}; use Focal for several classes"
            )

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        """Targets 0 and 1."""
        array = super().prepare(targets, width, backend, dtype)
        if bool(backend.xp.any((array != 0.0) & (array != 1.0))):
            raise LabelError("expected targets 0 and 1; got numbers between them; use BinaryCrossEntropy for probabilities")
        return array

    def further(self, y: Array, tape: Tape) -> tuple[Any, ...]:  # noqa: ARG002
        """See _ElementwiseLoss."""
        return (self.gamma, *(self.class_weights or (1.0, 1.0)))


class MultiClassHinge(_LabelLoss):
    """max(0, 1 + max over k != label of y_k - y_label). Source: Crammer and Singer (2001)."""

    curved = False
    mixes_targets = False
    for_one_output = "Hinge"

    def operation(self, y: Array, targets: Array, tape: Tape) -> tuple[Any, ...]:
        """See Loss."""
        return "multi_class_hinge", y, targets, self.factor(tape.batch_rows)


def distributions(targets: Any, width: int, backend: Backend, dtype: str) -> Array:
    """Rows that are >= 0 and sum to 1, within rounding."""
    array = real_targets(targets, width, backend, dtype)
    xp = backend.xp
    if array.shape[0]:
        sums = xp.sum(array, axis=1)
        worst = float(xp.max(xp.abs(sums - 1.0)))
        lowest, highest = float(xp.min(array)), float(xp.max(array))
        if not lowest >= 0.0 or not worst <= 1e-3:
            raise LabelError(
                f"expected rows of probabilities (>= 0, sum 1); got a minimum of {lowest} and a sum that is off by "
                f"{worst:.3g}; {_of_wrong_sums(lowest, highest, bool(xp.all((array == 0.0) | (array == 1.0))))}"
            )
    return array


def _of_wrong_sums(lowest: float, highest: float, binary: bool) -> str:
    """What to do with targets whose rows are not distributions; `binary` – whether they are all 0 or 1."""
    if binary:
        return "for several labels a row use BinaryCrossEntropy (without Softmax); for shares divide each row by its sum"
    if lowest >= 0.0 and highest <= 1.0:
        return "divide each row by its sum, or use BinaryCrossEntropy (without Softmax) if the outputs are independent labels"
    return "divide each row by its sum" if lowest >= 0.0 else "give probabilities, or use MSE for other numbers"


class _Divergence(_ElementwiseLoss):
    """A distance between output and target distributions; the network must end in Softmax."""

    head = "classes"
    needs_simplex = True

    def prepare(self, targets: Any, width: int, backend: Backend, dtype: str) -> Array:
        """Distributions [B, K]."""
        return distributions(targets, width, backend, dtype)


class KLDivergence(_Divergence):
    """KL(p || q) = sum_k p_k ln(p_k / q_k) for targets p and outputs q, both distributions.

    Differs from: torch.nn.KLDivLoss, which takes ln q. Source: notes 000.
    """

    formula = formulas.kl_divergence


class SymmetricKL(_Divergence):
    """KL(p || q) + KL(q || p) = sum_k (p_k - q_k) ln(p_k / q_k). Source: notes 000."""

    formula = formulas.symmetric_kl


class Bhattacharyya(_Divergence):
    """The Bhattacharyya distance -ln sum_k sqrt(p_k q_k) of targets p and outputs q. Source: notes 000."""

    weighs_rows = True

    def evaluate(self, y: Array, targets: Array, tape: Tape) -> tuple[Array, Array]:
        """The coefficient first, then its logarithm and gradient."""
        backend = tape.backend
        coefficient, rows, gradient = tape.empty((y.shape[0],)), tape.empty((y.shape[0],)), tape.empty_like(y)
        backend.map(formulas.bhattacharyya_coefficient, coefficient, y, targets)
        given, weights = (gradient, y, targets, coefficient, self.factor(tape.batch_rows)), self.weights_for(tape)
        if weights is None:
            backend.map(formulas.negative_log, rows, coefficient)
            backend.map(formulas.bhattacharyya_gradient, *given)
        else:
            columns = as_columns(tape, rows), as_columns(tape, coefficient)
            backend.map(formulas.weighted(formulas.negative_log), *columns, weights)
            backend.map(formulas.weighted(formulas.bhattacharyya_gradient), *given, weights)
        return rows, gradient


LOSSES: dict[str, type[Loss]] = {
    cls.__name__: cls
    for cls in (
        MSE, MAE, Huber, Quantile, Poisson, BinaryCrossEntropy, Hinge, SoftmaxCrossEntropy, Focal, BinaryFocal,
        MultiClassHinge, KLDivergence, SymmetricKL, Bhattacharyya,
    )
}  # fmt: skip
"""All losses by name, for tests and commands."""
