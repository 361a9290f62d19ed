"""Saturated and dead units: their definition, and a report of their number on a data set.

Which activations saturate, and where, is read from the table in kernels/formulas/activations.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...backends import Array, Backend
from ...errors import EmptyDataError
from ...kernels.formulas.activations import Activation
from ..engine.model import Sequential, require_model
from ..engine.tape import Tape
from ..layers import Layer
from ..settings import real, whole
from ..suggestions import suggests_arguments
from .watched import named_layers, watched

THRESHOLD = 0.02
"""An output within this fraction of the range of a sigmoid or tanh from either limit counts as saturated."""


def limits(layer: Layer) -> tuple[float | None, float | None]:
    """(lower, upper) limits of a layer's outputs: (0, 1) for Sigmoid, (-1, 1) for Tanh, (0, None) for ReLU, else None."""
    activation = getattr(layer, "activation", None)
    return activation.bounds if isinstance(activation, Activation) else (None, None)


def saturates(layer: Layer) -> bool:
    """Whether the outputs of a layer have two limits."""
    return None not in limits(layer)


def can_die(layer: Layer) -> bool:
    """Whether the outputs of a layer have only a lower limit, as for ReLU, whose derivative is 0 there."""
    low, high = limits(layer)
    return low is not None and high is None


def saturated(backend: Backend, layer: Layer, y: Array, threshold: float) -> Array:
    """The number of elements of y within threshold times the range from a limit, as a float64 scalar on the device."""
    low, high = limits(layer)
    assert low is not None
    assert high is not None
    margin = threshold * (high - low)
    y = backend.wide(y)
    near = (y < low + margin) | (y > high - margin)
    return backend.xp.sum(backend.xp.astype(near, backend.xp.float64))


def active(backend: Backend, layer: Layer, y: Array) -> Array:
    """Whether each unit (column) is above its lower limit for at least one row."""
    return backend.xp.any(backend.wide(y) > limits(layer)[0], axis=0)


def check_threshold(threshold: float) -> float:
    """The threshold, checked to be in (0, 0.5)."""
    return real(threshold, "threshold", 0.0, 0.5, "()", "0.02 counts outputs in the outermost 2 % of the range at each limit")


@dataclass(frozen=True)
class UnitReport:
    """Fractions of saturated and dead units by layer.

    Attributes: rows – of the data; saturated – Sigmoid and Tanh layers: fraction of outputs near a limit; dead – ReLU layers:
        fraction of units that were not active for any row; dead_units – indices of these units.
    """

    rows: int
    threshold: float
    saturated: dict[str, float] = field(default_factory=dict)
    dead: dict[str, float] = field(default_factory=dict)
    dead_units: dict[str, list[int]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.rows:,} rows"]
        width = max(map(len, (*self.saturated, *self.dead)), default=0)
        lines += [f"{name:<{width}}  {fraction:7.1%} of the outputs saturated" for name, fraction in self.saturated.items()]
        lines += [f"{name:<{width}}  {fraction:7.1%} of the units dead" for name, fraction in self.dead.items()]
        return "\n".join(lines if width else [*lines, "no layer that saturates or dies (Sigmoid, Tanh, ReLU)"])


class _Counts:
    """A Watcher that sums counts over several batches, on the device."""

    def __init__(self, backend: Backend, layers: list[tuple[str, Layer]], threshold: float) -> None:
        self.backend = backend
        self.layers = layers
        self.threshold = threshold
        self.near: dict[str, Array] = {}
        self.outputs: dict[str, int] = {}
        self.ever: dict[str, Array] = {}

    def forward(self, place: int, y: Array) -> None:
        """See Watcher."""
        name, layer = self.layers[place]
        if saturates(layer):
            near = saturated(self.backend, layer, y, self.threshold)
            self.near[name] = near + self.near[name] if name in self.near else near
            self.outputs[name] = self.outputs.get(name, 0) + int(y.shape[0]) * int(y.shape[1])
        elif can_die(layer):
            now = active(self.backend, layer, y)
            self.ever[name] = now | self.ever[name] if name in self.ever else now

    def backward(self, place: int, dy: Array) -> None:
        """Not called, because there is no backward pass."""


@suggests_arguments
def unit_report(model: Sequential, x: Any, threshold: float = THRESHOLD, batch_rows: int = 4096) -> UnitReport:
    """Saturated and dead units of a model on a data set, in evaluation mode.

    An output y of Sigmoid or Tanh is saturated if min(y - low, high - y) < threshold (high - low), with the limits low and
    high: by default below 0.02 or above 0.98 for Sigmoid, |y| > 0.96 for Tanh, where the derivative is less than 8 % of its
    maximum. A ReLU unit is dead if y = 0 for every row of x: no gradient reaches its weights.

    Args: model – initialised; x [N, d]; threshold – in (0, 0.5); batch_rows – rows per pass.
    Returns: fractions by layer, including nested layers, named as in model.parameters().
    Raises: the errors of the model for x, HyperparameterError for the threshold.
    Source: notes 002, in which a sigmoid neuron is saturated at 0 or 1.

        print(fs.unit_report(model, x))
    """
    require_model(model)
    check_threshold(threshold)
    size = whole(batch_rows, "batch_rows")
    inputs = model.convert_input(x)
    rows = int(inputs.shape[0])
    if rows == 0:
        raise EmptyDataError("expected at least one row of x; got none")
    backend = model.backend
    counts = _Counts(backend, list(named_layers(model)), threshold)
    chain, tape = watched(model, counts), Tape(model.arena)
    for start in range(0, rows, size):
        part = inputs[start : min(rows, start + size), ...]
        tape.begin(int(part.shape[0]))
        with backend.quiet():
            chain.forward(part, tape)
    near = {name: backend.item(value) / counts.outputs[name] for name, value in counts.near.items()}
    ever = {name: backend.to_numpy(value).tolist() for name, value in counts.ever.items()}
    units = {name: [k for k, alive in enumerate(values) if not alive] for name, values in ever.items()}
    return UnitReport(rows, threshold, near, {name: len(units[name]) / len(ever[name]) for name in ever}, units)
