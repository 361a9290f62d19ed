"""Embeddings of numbers: PeriodicEmbedding and PiecewiseLinearEmbedding turn a column into features, which a matrix of its own
and a ReLU map to some columns.

Source of both: Gorishniy, Rubachev and Babenko (2022), "On Embeddings for Numerical Features in Tabular Deep Learning".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from ...errors import HyperparameterError, NonFiniteDataError, ShapeError
from ...kernels.formulas.activations import ACTIVATIONS, dense_backward, dense_forward
from ...kernels.formulas.elementwise import add, add_bias
from ...kernels.formulas.embeddings import (
    periodic,
    periodic_backward,
    periodic_tangent,
    piecewise_linear,
    piecewise_linear_backward,
)
from ...kernels.rows import repeats
from ..engine.initializers import Normal, initializer
from ..engine.parameter import Parameter
from ..engine.tape import Tape
from ..settings import LARGEST, finite, positive, real, whole
from .base import Array, Layer, require_width, zeros
from .dense import make_bias

Features = tuple[Array, ...]
"""Matrices [B, columns m]."""
MOST_INPUTS = 2**20
WIDTH = 8
"""Columns of the embedding of a column, by default."""
_FORWARD = dense_forward(ACTIVATIONS["relu"], bias=True, dropout=False)
_BACKWARD = dense_backward(ACTIVATIONS["relu"], dropout=False)


class _NumberEmbedding(Layer, public=False):
    """Base class: y = (the other columns of x, ReLU(features(x_c) W_c + b_c) for each embedded column c).

    A subclass computes features, in one or two matrices [B, columns m] whose columns of one input column are side by side.

    Attributes: inputs; columns – the embedded ones; width – of W_c; m – features of a column in each matrix.
    """

    parts = 1
    """Matrices of features."""

    def _declare(self, inputs: Any, columns: Any, width: Any, m: int) -> None:
        name = type(self).__name__
        self.inputs = whole(inputs, f"inputs of {name}", 1, MOST_INPUTS)
        chosen = range(self.inputs) if columns is None else columns
        self.columns = tuple(whole(column, f"a column of {name}", 0, self.inputs - 1) for column in chosen)
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise HyperparameterError(f"expected columns of {name} to name at least one column, each once; got {columns!r}")
        self.width = whole(width, f"width of {name}")
        self.m = m
        fan_in, count = self.parts * m, len(self.columns)
        shape = (fan_in * count, self.width)
        self.weight = Parameter("weight", shape, initializer("he_normal"), fan_in, self.width)
        self.bias = make_bias(count * self.width, 0.0, fan_in)

    def output_width(self, width: int) -> int:
        """The other columns, and `width` for each embedded one."""
        require_width(self, self.inputs, width)
        return width + len(self.columns) * (self.width - 1)

    def _features(self, x: Array, tape: Tape) -> Features:
        """The matrices of features for x [B, columns m], in which each column is repeated m times."""
        raise NotImplementedError

    def _features_backward(self, derivatives: Features, features: Features, x: Array, tape: Tape) -> Array:
        """dx for the gradients of the features; writes the gradients of parameters."""
        raise NotImplementedError

    def _features_jvp(self, x: Array, dx: Array, features: Features, tape: Tape) -> Features:
        """The directional derivatives of the features."""
        raise NotImplementedError

    def _repeated(self, x: Array, tape: Tape) -> Array:
        table = tape.table(repeats.repeated, self.columns, self.m)
        out = tape.empty((x.shape[0], table.shape[0]))
        tape.backend.rows("take_columns", x, table, out)
        return out

    def _part(self, weight: Array, number: int) -> Array:
        size = len(self.columns) * self.m
        return weight[number * size : (number + 1) * size, ...]

    def _beside(self, x: Array, y: Array, tape: Tape) -> Array:
        if len(self.columns) == self.inputs:
            return y
        table = tape.table(repeats.others, self.inputs, self.columns)
        out = tape.empty((x.shape[0], table.shape[0] + y.shape[1]))
        tape.backend.rows("beside", x, table, y, out)
        return out

    def forward(self, x: Array, tape: Tape) -> Array:
        """The other columns and the embedded ones; saves the features."""
        each = self._repeated(x, tape)
        features = self._features(each, tape)
        y = tape.empty((x.shape[0], len(self.columns) * self.width))
        weight = tape.parameter(self.weight)
        for number, feature in enumerate(features):
            tape.backend.rows("grouped_matmul", feature, self._part(weight, number), y, number > 0)
        tape.backend.map(_FORWARD, y, y, tape.parameter(self.bias))
        tape.push(each, features, y)
        return self._beside(x, y, tape)

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """Writes the gradients of all parameters to the tape; returns dx."""
        each, features, y = tape.pop()
        backend, own = tape.backend, dy
        if len(self.columns) < self.inputs:
            own = tape.empty(y.shape)
            backend.rows("take_columns", dy, tape.table(repeats.last, dy.shape[1], y.shape[1]), own)
        dz = tape.empty(y.shape)
        backend.map(_BACKWARD, dz, own, y)
        tape.sum_rows(dz, self.bias)
        gradient, again = tape.gradient(self.weight)
        weight, derivatives = tape.parameter(self.weight), []
        for number, feature in enumerate(features):
            backend.rows("grouped_matmul_weight", feature, dz, self._part(gradient, number), again)
            derivatives.append(tape.empty(feature.shape))
            backend.rows("grouped_matmul_input", dz, self._part(weight, number), derivatives[-1])
        deach = self._features_backward(tuple(derivatives), features, each, tape)
        if not needs_input:
            return None
        dx = tape.empty((dy.shape[0], self.inputs))
        backend.rows("sum_columns", deach, tape.table(repeats.repeated_transposed, self.inputs, self.columns, self.m), dx)
        if own is not dy:
            copied = tape.empty(dx.shape)
            backend.rows("take_columns", dy, tape.table(repeats.others_transposed, self.inputs, self.columns), copied)
            backend.map(add, dx, dx, copied)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dy = (the other columns of dx, (dfeatures W + features dW + db) where y > 0)."""
        out = self.forward(x, tape)
        each, features, y = tape.top()
        backend = tape.backend
        dx = zeros(tape, x.shape) if dx is None else dx
        moved = self._features_jvp(each, self._repeated(dx, tape), features, tape)
        dz = zeros(tape, y.shape)
        weight, direction = tape.parameter(self.weight), tape.tangent(self.weight)
        for number, (feature, change) in enumerate(zip(features, moved, strict=True)):
            backend.rows("grouped_matmul", change, self._part(weight, number), dz, True)
            if direction is not None:
                backend.rows("grouped_matmul", feature, self._part(direction, number), dz, True)
        shift = tape.tangent(self.bias)
        if shift is not None:
            backend.map(add_bias, dz, dz, shift)
        dy = tape.empty(y.shape)
        backend.map(_BACKWARD, dy, dz, y)
        return out, self._beside(dx, dy, tape)


class PeriodicEmbedding(_NumberEmbedding):
    """Each number x becomes ReLU(f(x) W + b), f(x) = (sin(2 pi c_1 x), ..., sin(2 pi c_k x), cos(2 pi c_1 x), ...).

    Each column has its own learned frequencies c, W [2 k, width] and b; columns that are not embedded are copied to the front.
    x [B, inputs] gives y [B, others + columns width].

    Args: inputs – columns of x, which should have a variance of about 1; width – of the embedding of a column, default 8;
        frequencies – k, default 16; deviation – sigma of the initial frequencies N(0, sigma^2), default 0.1, the most important
        setting: larger for functions that change faster; columns – those that are embedded, by default all.
    Parameters: frequency [columns k], without weight decay; weight [2 columns k, width], the rows of the sines, then those of
        the cosines; bias [columns width].
    Source: Gorishniy, Rubachev and Babenko (2022), section 3.3, "PLR".
    """

    setting_names = ("inputs", "width", "frequencies", "deviation", "columns")
    parts = 2

    def __init__(
        self, inputs: int, width: int = WIDTH, frequencies: int = 16, deviation: float = 0.1,
        columns: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self.frequencies = whole(frequencies, "frequencies of PeriodicEmbedding")
        self.deviation = positive(deviation, "deviation of PeriodicEmbedding")
        self._declare(inputs, columns, width, self.frequencies)
        size = len(self.columns) * self.frequencies
        self.frequency = Parameter("frequency", (size,), Normal(self.deviation), 1, 1, decays=False)

    def _features(self, x: Array, tape: Tape) -> Features:
        sine, cosine = tape.empty(x.shape), tape.empty(x.shape)
        tape.backend.map(periodic, (sine, cosine), x, tape.parameter(self.frequency))
        return sine, cosine

    def _features_backward(self, derivatives: Features, features: Features, x: Array, tape: Tape) -> Array:
        dx, summed = tape.empty(x.shape), tape.empty(x.shape)
        tape.backend.map(periodic_backward, (dx, summed), *derivatives, *features, x, tape.parameter(self.frequency))
        tape.sum_rows(summed, self.frequency)
        return dx

    def _features_jvp(self, x: Array, dx: Array, features: Features, tape: Tape) -> Features:
        direction = tape.tangent(self.frequency)
        if direction is None:
            direction = zeros(tape, self.frequency.shape)
        moved = tape.empty(x.shape), tape.empty(x.shape)
        tape.backend.map(periodic_tangent, moved, dx, x, *features, tape.parameter(self.frequency), direction)
        return moved


class PiecewiseLinearEmbedding(_NumberEmbedding):
    """Each number x becomes ReLU(f(x) W + b), with f_t(x) = the fraction of bin t that x fills.

    f_t(x) = (x - e_t) / (e_(t+1) - e_t), at least 0 except in the first bin and at most 1 except in the last one, for the edges
    e_0 < e_1 < ... < e_T of the column. Each column has its own edges, W [T, width] and b; the columns that are not embedded
    are copied to the front. x [B, inputs] gives y [B, others + columns width].

    Args: inputs – columns of x; bins – the edges of each embedded column, ascending; `from_data` takes quantiles; width – of
        the embedding of a column, default 8; columns – those that are embedded, by default all.
    Parameters: weight [columns T, width] with the largest T, so a column of fewer bins has rows without effect; bias
        [columns width].
    Differs from: the paper, which leaves out the ReLU in some variants.
    Source: Gorishniy, Rubachev and Babenko (2022), section 3.2, "PLE" and "LR".
    """

    def __init__(
        self, inputs: int, bins: Sequence[Sequence[float]], width: int = WIDTH, columns: Sequence[int] | None = None
    ) -> None:
        self.bins = [_edges(column) for column in bins]
        self._declare(inputs, columns, width, max((len(edges) - 1 for edges in self.bins), default=1))
        if len(self.bins) != len(self.columns):
            raise HyperparameterError(
                f"expected edges of bins for each of the {len(self.columns)} embedded columns; got {len(self.bins)} lists"
            )

    @cached_property
    def formula_rows(self) -> tuple[tuple[float, ...], ...]:
        """The arguments of `piecewise_linear` after x; not made before parameters of this size exist."""
        first, scale, least, most = (np.zeros((len(self.bins), self.m)) for _ in range(4))
        for row, edges in enumerate(self.bins):
            count = len(edges) - 1
            first[row, :count] = edges[:-1]
            scale[row, :count] = 1.0 / np.diff(edges)
            most[row, :count] = 1.0
            least[row, 0], most[row, count - 1] = -np.inf, np.inf
        return tuple(tuple(rows.reshape(-1).tolist()) for rows in (first, scale, least, most))

    @classmethod
    def from_data(
        cls, x: Any, bins: int = 16, width: int = WIDTH, columns: Sequence[int] | None = None
    ) -> PiecewiseLinearEmbedding:  # fmt: skip
        """With the quantiles of each column as edges, equal ones only once.

        Args: x – [N, inputs], the data of the training; bins – of a column, at most; a column with a single value gets one
            bin, which begins there; width, columns – as in the constructor.
        Raises: ShapeError, NonFiniteDataError, HyperparameterError.
        """
        values = np.asarray(x)
        if values.ndim != 2 or not values.shape[0]:
            raise ShapeError(f"expected x [rows, columns] with at least one row; got shape {values.shape}")
        fractions = np.linspace(0.0, 1.0, whole(bins, "bins of PiecewiseLinearEmbedding") + 1)
        edges = []
        for column in range(values.shape[1]) if columns is None else columns:
            found = values[:, whole(column, "a column", 0, values.shape[1] - 1)].astype(np.float64)
            if not np.isfinite(found).all():
                raise NonFiniteDataError(f"expected finite numbers; got NaN or infinity in column {column} (counted from 0)")
            quantiles = np.unique(np.quantile(found, fractions))
            edges.append(quantiles.tolist() if quantiles.size > 1 else [quantiles[0], quantiles[0] + 1.0])
        return cls(values.shape[1], edges, width, columns)

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer."""
        return {
            "inputs": self.inputs, "bins": [list(edges) for edges in self.bins], "width": self.width,
            "columns": list(self.columns),
        }  # fmt: skip

    def _constants(self, tape: Tape) -> list[Array]:
        return [tape.constant(row) for row in self.formula_rows]

    def _features(self, x: Array, tape: Tape) -> Features:
        out = tape.empty(x.shape)
        tape.backend.map(piecewise_linear, out, x, *self._constants(tape))
        return (out,)

    def _features_backward(self, derivatives: Features, features: Features, x: Array, tape: Tape) -> Array:
        del features
        dx = tape.empty(x.shape)
        tape.backend.map(piecewise_linear_backward, dx, *derivatives, x, *self._constants(tape))
        return dx

    def _features_jvp(self, x: Array, dx: Array, features: Features, tape: Tape) -> Features:
        return (self._features_backward((dx,), features, x, tape),)

    def __repr__(self) -> str:
        counts = [len(edges) - 1 for edges in self.bins]
        return f"PiecewiseLinearEmbedding(inputs={self.inputs}, bins of {counts}, width={self.width}, columns={self.columns})"


def _edges(given: Any) -> list[float]:
    """Edges of bins, checked."""
    edges = [finite(edge, "an edge of PiecewiseLinearEmbedding") for edge in given]
    if len(edges) < 2:
        raise HyperparameterError(f"expected at least two edges of bins for each column; got {given!r}")
    for low, high in pairwise(edges):
        real(high - low, "the width of a bin", 1.0 / LARGEST, advice="pass the edges in ascending order, each once")
    return edges
