"""Embeddings of categories: Embedding and ColumnEmbeddings look up rows of learned matrices by integer codes.

The tables of what is looked up where are in kernels/rows/lookup.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from ...backends import Backend, Random
from ...errors import HyperparameterError
from ...kernels.rows.lookup import Lookup, Lookups, copied_places, lookup_table
from ..engine.initializers import Initializer, Normal, initializer
from ..engine.parameter import Parameter
from ..engine.tape import Tape
from ..settings import whole
from .base import Array, Layer, require_width, zeros

MOST_CODES = 2**24
"""Whole numbers up to this one are exact in float32, the type of the inputs."""
MOST_ELEMENTS = 2**31 - 1
"""Elements of all matrices of a layer, because tables count them in int32."""
MOST_COLUMNS = 2**16
"""Columns of codes that share a matrix."""


def embedding_width(codes: int) -> int:
    """min(50, ceil(1.6 codes^0.56)): the width of an embedding if none is given. Source: fastai (2018)."""
    return min(50, math.ceil(1.6 * math.pow(codes, 0.56)))


class _Lookup(Layer, public=False):
    """Base class: the rows of the codes stand behind the columns without codes, which are copied.

    Attributes: inputs – columns of x; lookups – see Lookups; weight – the Parameter, of whose elements, in row-major order,
        `lookups` speaks.
    """

    inputs: int
    lookups: Lookups
    weight: Parameter

    @property
    def coded_columns(self) -> Mapping[int, int]:
        """See Layer."""
        return {lookup.column: lookup.codes for lookup in self.lookups}

    def output_width(self, width: int) -> int:
        """The copied columns and the widths of the rows."""
        require_width(self, self.inputs, width)
        return width - len(self.lookups) + sum(lookup.width for lookup in self.lookups)

    def _looked_up(self, x: Array, dense: Array, weight: Array, tape: Tape) -> Array:
        table = tape.table(lookup_table, self.inputs, self.lookups)
        y = tape.empty((x.shape[0], table.shape[0]))
        tape.backend.rows("embed", x, dense, tape.backend.xp.reshape(weight, (-1,)), table, y)
        return y

    def forward(self, x: Array, tape: Tape) -> Array:
        """The copied columns and the rows of the codes; NaN for a code that has no row."""
        tape.push(x)
        return self._looked_up(x, x, tape.parameter(self.weight), tape)

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """dW[k] = the sum of the parts of dY that were looked up in row k; dX is 0 for codes."""
        (x,) = tape.pop()
        backend = tape.backend
        gradient, again = tape.gradient(self.weight)
        table = tape.table(lookup_table, self.inputs, self.lookups)
        backend.rows("embed_backward", dy, x, table, backend.xp.reshape(gradient, (-1,)), again)
        if not needs_input:
            return None
        dx = tape.empty(x.shape)
        backend.rows("take_columns", dy, tape.table(copied_places, self.inputs, self.lookups), dx)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dY: the copied columns of dX, and the rows of dW."""
        y = self.forward(x, tape)
        moved = tape.tangent(self.weight)
        weight = zeros(tape, self.weight.shape) if moved is None else moved
        return y, self._looked_up(x, zeros(tape, x.shape) if dx is None else dx, weight, tape)


class Embedding(_Lookup):
    """Each code is replaced by a row of a learned matrix: y = W[x], equal to one_hot(x) W.

    dW[k] = sum of the rows of dY whose code is k, in a fixed order.

    Args: categories – number of codes, which are 0 to categories - 1; at most 2^24, up to which float32 is exact; width –
        columns of W; columns – of x, all of which look up rows of the same W, default 1; weight_init – default "lecun_normal":
        N(0, 1 / width), so that rows have a norm of about 1, like one-hot rows.
    Parameters: weight [categories, width]; x [B, columns] gives y [B, columns width].
    Raises: HyperparameterError. Codes that are not whole numbers from 0 to categories - 1 make their rows NaN; training and
        predictions then raise CategoryError.
    Differs from: torch.nn.Embedding, whose rows start as N(0, 1), and whose y has a further axis.
    """

    setting_names = ("categories", "width", "columns")

    def __init__(
        self, categories: int, width: int, columns: int = 1, weight_init: str | float | Initializer = "lecun_normal"
    ) -> None:
        self.categories = whole(categories, "categories of Embedding", 1, MOST_CODES)
        self.width = whole(width, "width of Embedding")
        self.inputs = self.columns = whole(columns, "columns of Embedding", 1, MOST_COLUMNS)
        self.lookups = tuple(Lookup(column, self.categories, self.width, 0) for column in range(self.columns))
        shape = (self.categories, self.width)
        _require_room(self, self.categories * self.width)
        self.weight = Parameter("weight", shape, initializer(weight_init), self.width, self.width, gathered=True)


class ColumnEmbeddings(_Lookup):
    """Some columns of x hold codes, and each of them is replaced by a row of its own learned matrix.

    y = (the other columns of x in their order, W_1[x_1], W_2[x_2], ...), the matrices in the order of their columns. One
    operation looks up all rows, and one adds up the gradients of all matrices.

    Args: inputs – columns of x; categories – {column: number of codes}, or a list of such pairs; codes are 0 to the number of
        codes - 1, as whole numbers in the type of x; at most 2^24, up to which float32 is exact; widths – of the matrices: a
        number, one for each in the order of the columns, or None (default) for min(50, ceil(1.6 codes^0.56)).
    Parameters: weight, flat: all matrices in turn, which `matrices` takes apart; they start as N(0, 1 / width).
    Raises: HyperparameterError. Codes that are not whole numbers in range make their rows NaN; training and predictions then
        raise CategoryError. What has not been seen in training needs a code of its own, such as the 0 of TableEncoder.
    Source: Guo and Berkhahn (2016), "Entity embeddings of categorical variables".
    """

    def __init__(
        self,
        inputs: int,
        categories: Mapping[int, int] | Iterable[Sequence[int]],
        widths: int | Sequence[int] | None = None,
    ) -> None:
        self.inputs = whole(inputs, "inputs of ColumnEmbeddings")
        codes = _codes_by_column(categories, self.inputs)
        if widths is None:
            chosen = [embedding_width(count) for count in codes.values()]
        else:
            chosen = list(widths) if isinstance(widths, Sequence) and not isinstance(widths, str) else [widths] * len(codes)
        if len(chosen) != len(codes):
            raise HyperparameterError(
                f"expected one width for each of the {len(codes)} columns of codes; got {widths!r}; leave widths out, or pass "
                "one number for all"
            )
        self.widths = [whole(width, "a width of ColumnEmbeddings") for width in chosen]
        sizes = [count * width for count, width in zip(codes.values(), self.widths, strict=True)]
        firsts = accumulate(sizes[:-1], initial=0)
        self.lookups = tuple(Lookup(*each) for each in zip(codes, codes.values(), self.widths, firsts, strict=True))
        _require_room(self, sum(sizes))
        self.weight = Parameter("weight", (sum(sizes),), _RowNormal(self.lookups), 1, 1, gathered=True)

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer."""
        codes = [[lookup.column, lookup.codes] for lookup in self.lookups]
        return {"inputs": self.inputs, "categories": codes, "widths": list(self.widths)}

    def matrices(self, weight: Array) -> dict[int, Array]:
        """The matrix [codes, width] of each column of codes, as views of the parameter `weight`, such as
        model.parameters()["0.ColumnEmbeddings.weight"].
        """
        return {
            column: weight[first : first + codes * width].reshape(codes, width) for column, codes, width, first in self.lookups
        }


class _RowNormal(Initializer):
    """N(0, 1 / width) for the elements of each matrix."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups

    def fill(self, host: Backend, shape: tuple[int, int], fan_in: int, fan_out: int, random: Random) -> Any:
        """See Initializer."""
        out = Normal(1.0).fill(host, shape, fan_in, fan_out, random)
        for _, codes, width, first in self._lookups:
            out[:, first : first + codes * width] *= width**-0.5
        return out


def _codes_by_column(categories: Any, inputs: int) -> dict[int, int]:
    """{column: number of codes}, in the order of the columns."""
    pairs = list(categories.items() if isinstance(categories, Mapping) else categories)
    if not pairs or any(isinstance(pair, str) or len(pair) != 2 for pair in pairs):
        raise HyperparameterError(
            f"expected categories as {{column: number of codes}}, at least one; got {categories!r}; write them as in "
            "categories={0: 12, 3: 1000}, or leave them out if no column holds codes"
        )
    codes = {
        whole(column, "a column of categories", 0, inputs - 1): whole(count, "a number of codes", 1, MOST_CODES)
        for column, count in pairs
    }
    if len(codes) < len(pairs):
        raise HyperparameterError(f"expected each column of categories once; got {categories!r}")
    return dict(sorted(codes.items()))


def _require_room(layer: Layer, elements: int) -> None:
    if elements > MOST_ELEMENTS:
        raise HyperparameterError(
            f"expected at most {MOST_ELEMENTS:,} elements in the matrices of {layer!r}; got {elements:,}; use smaller widths"
        )
