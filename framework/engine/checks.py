"""The gradient check: compares analytic gradients with central differences in float64, for any layer, loss or model.

It works on a copy of the parameters; the model is not changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...backends import Array, Backend, Random
from ...backends import backend as find_backend
from ...errors import HyperparameterError, ShapeError
from ...kernels.formulas.random import normal
from ..layers import Layer
from ..losses import Loss
from ..settings import whole
from ..streams import CHECK
from ..suggestions import suggests_arguments
from .arena import Arena
from .model import Sequential
from .tape import Tape
from .training_chain import training_chain, training_loss

SPACING = 1e-4
"""h in the difference formula, whose error is of the order of h^4."""


@dataclass(frozen=True)
class GradientReport:
    """The difference between analytic and numeric gradients.

    Attributes: errors – name of each parameter (and "input") -> ||a - n|| / (||a|| + ||n||) over the checked elements;
        checked – number of checked elements; tolerance.
    """

    errors: dict[str, float]
    checked: dict[str, int]
    tolerance: float

    @property
    def worst(self) -> float:
        """The largest error; NaN if any is."""
        values = self.errors.values()
        return math.nan if any(map(math.isnan, values)) else max(values)

    @property
    def passed(self) -> bool:
        """Whether every error is below the tolerance."""
        return self.worst < self.tolerance

    def __str__(self) -> str:
        width = max(map(len, self.errors))
        lines = [
            f"{name:<{width}}  {error:9.2e}  {'ok' if error < self.tolerance else 'WRONG'}  ({self.checked[name]} elements)"
            for name, error in self.errors.items()
        ]
        return "\n".join([f"{'parameter':<{width}}  rel. error (tolerance {self.tolerance:g})", *lines])


@suggests_arguments
def gradient_check(
    model: Layer | Loss,
    loss: Loss | None = None,
    x: Any = None,
    y: Any = None,
    *,
    training: bool = False,
    samples: int = 40,
    tolerance: float = 1e-7,
    seed: int = 0,
    backend: str | Backend = "numpy",
) -> GradientReport:
    """Compares the backward pass with (8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12h, in float64.

    Args: model – a layer, a model (with its parameters if it is initialised), or a Loss alone, whose gradient with respect to
        its outputs x is checked for targets y; loss – None checks a random projection of the outputs; x, y – data; training –
        whether to apply dropout and noise, with fixed masks; samples – number of elements checked per array; tolerance –
        default 1e-7; near the kink of a ReLU central differences are meaningless, so use data in general position; seed – of
        initial parameters and of the selection of elements; backend – for the computation, default "numpy", independent of the
        backend of the model.
    Returns: a report per parameter and for the input, without columns that hold codes of categories, which have no derivative.
    Raises: HyperparameterError for anything but a layer, model or loss; ShapeError, DtypeError, LabelError for x and y.
    """
    run = find_backend(backend)
    whole(samples, "samples")
    if isinstance(model, Loss):
        return _check_loss(model, x, y, run, samples, tolerance, seed)
    if not isinstance(model, Layer):
        raise HyperparameterError(f"expected a layer, a model or a loss; got {model!r}")
    chain = model if isinstance(model, Sequential) else Sequential(model)
    arena = double_arena(chain, run, seed)
    inputs = run.asarray(x, "float64") * 1.0  # a copy, because central differences overwrite elements
    if len(inputs.shape) != 2:
        raise ShapeError(f"expected x [rows, columns]; got shape {tuple(inputs.shape)}")
    gradients = arena.new()
    tape = Tape(arena, training, run.random_state(seed, 1), gradients)
    layers = training_chain(chain, loss) if loss is not None else chain
    width = layers.output_width(int(inputs.shape[1]))
    targets = None
    if loss is not None:
        given, loss = loss, training_loss(chain, loss)
        targets = loss.prepare(y, width, run, "float64")
        if given.balances:
            classes = chain.output_width(int(inputs.shape[1]))
            loss = training_loss(chain, given.balanced_by(run.to_numpy(targets), classes))
    rows = int(inputs.shape[0])
    direction = run.empty((rows, width), "float64")
    run.map(normal, direction, 0.0, 1.0, random=Random(run.random_state(seed), CHECK))

    def value(with_gradient: bool = False) -> tuple[float, Array]:
        tape.begin(rows)
        outputs = layers.forward(inputs, tape)
        if loss is None:
            total, derivative = float(run.item(run.xp.sum(outputs * direction))), direction * 1.0
        else:
            row_losses, derivative = loss.evaluate(outputs, targets, tape)
            total = run.item(run.total(row_losses)) * loss.factor(tape.batch_rows)
        return total, layers.backward(derivative, tape) if with_gradient else None

    _, input_gradient = value(with_gradient=True)
    arrays = {name: (arena.views[p], arena.views_of(gradients)[p]) for p, name in arena.names.items()}
    columns = int(inputs.shape[1])
    if len(chain.coded_columns) < columns:
        arrays["input"] = (inputs, input_gradient)
    analytic = {name: run.to_numpy(run.xp.reshape(g, (-1,))) for name, (_, g) in arrays.items()}
    fixed = [row * columns + column for column in chain.coded_columns for row in range(rows)]
    values = {n: v for n, (v, _) in arrays.items()}
    return _compare(values, analytic, lambda: value()[0], run, samples, tolerance, seed, frozenset(fixed))


def double_arena(model: Sequential, backend: Backend, seed: int, copied: bool = True) -> Arena:
    """The parameters of a model in float64 on a backend, copied if the model is initialised, otherwise drawn at random.

    Args: copied – False draws them even if the model is initialised.
    """
    arena = Arena(model.declared(), backend, "float64")
    arena.initialize(seed)
    if copied and model.initialized:
        for parameter, values in model.arena.views.items():
            backend.copy(backend.asarray(model.backend.to_numpy(values), "float64"), arena.views[parameter])
    return arena


def _check_loss(
    loss: Loss, outputs: Any, y: Any, run: Backend, samples: int, tolerance: float, seed: int
) -> GradientReport:
    inputs = run.asarray(outputs, "float64") * 1.0
    targets = loss.prepare(y, int(inputs.shape[1]), run, "float64")
    loss = loss.balanced_by(run.to_numpy(targets), int(inputs.shape[1]))
    tape = Tape(Arena([], run, "float64"), training=True)

    def evaluate() -> tuple[float, Array]:
        tape.begin(int(inputs.shape[0]))
        row_losses, gradient = loss.evaluate(inputs, targets, tape)
        return run.item(run.total(row_losses)) * loss.factor(tape.batch_rows), gradient

    analytic = run.to_numpy(run.xp.reshape(evaluate()[1], (-1,)))
    return _compare({"input": inputs}, {"input": analytic}, lambda: evaluate()[0], run, samples, tolerance, seed)


def _compare(
    arrays: dict[str, Array], analytic: dict[str, Any], value: Any, run: Backend, samples: int, tolerance: float, seed: int,
    fixed: frozenset[int] = frozenset(),
) -> GradientReport:  # fmt: skip
    """Compares numeric derivatives of `value()` with respect to some elements of each array with the analytic ones.

    Args: fixed – elements of "input" that are left out.
    """
    errors, checked = {}, {}
    host = find_backend("numpy")
    for position, (name, array) in enumerate(arrays.items()):
        flat = run.xp.reshape(array, (-1,))
        count = int(flat.shape[0])
        order = host.permutation(count, Random(host.random_state(seed, position), CHECK + 1)).tolist()
        order = [element for element in order if name != "input" or element not in fixed][:samples]
        difference = size_a = size_n = 0.0
        for element in order:
            start = float(flat[element])
            points = []
            for offset in (1.0, -1.0, 2.0, -2.0):
                flat[element] = start + offset * SPACING
                points.append(value())
            flat[element] = start
            numeric = (8.0 * (points[0] - points[1]) - (points[2] - points[3])) / (12.0 * SPACING)
            exact = float(analytic[name][element])
            difference += (exact - numeric) ** 2
            size_a += exact**2
            size_n += numeric**2
        # A lower bound, so that rounding errors around a gradient of 0 do not count as errors.
        scale = max(math.sqrt(size_a) + math.sqrt(size_n), 1e-5)
        errors[name] = math.sqrt(difference) / scale
        checked[name] = len(order)
    return GradientReport(errors, checked, tolerance)


