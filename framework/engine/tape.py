"""The tape: everything that a pass through a network needs in addition to its parameters.

Layers push in the forward pass and pop in the backward pass; buffers are allocated once and reused in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...backends import Backend, Random
from ...kernels.formulas.precision import as_stored
from ..streams import LAYER
from .arena import Arena
from .parameter import Parameter

Array = Any


class Tape:
    """One pass: its backend, mode, buffers, gradients and random numbers.

    Several tapes may run the same layers at once, each on its own rows.

    Args: arena – the parameters; training – whether dropout and noise act; random – the random state, needed if so; gradients –
        a flat array that the backward pass writes to, or one array a parameter; tangents – a flat array, the direction of jvp;
        weights – flat, of 16 bits and with the arena's layout: what `begin` rounds the parameters to and layers see in their
        place; buffers then have that type as well; backend – who carries out the operations, the arena's own unless given;
        allocate – (position, shape, dtype) -> array, who gives the buffers, that backend unless given; first_row – of the
        random state; adds – whether gradients are added to what is there.
    Attributes: place, stage – the current layer and part of the step, for capture and profiling.
    """

    def __init__(
        self,
        arena: Arena,
        training: bool = False,
        random: Array | None = None,
        gradients: Array | Mapping[Parameter, Array] | None = None,
        tangents: Array | None = None,
        weights: Array | None = None,
        backend: Backend | None = None,
        allocate: Callable[[int, tuple[int, ...], str], Array] | None = None,
        first_row: int = 0,
        adds: bool = False,
    ) -> None:
        self.backend: Backend = arena.backend if backend is None else backend
        self.place = self.stage = ""
        self.wide = arena.dtype
        self.dtype = arena.dtype if weights is None else arena.backend.dtype_name(weights)
        self.training = training
        self.saves = gradients is not None
        """Whether a backward pass will follow, so that layers have to keep what it needs."""
        self.rows = 0
        self.batch_rows = 0
        self._master, self._weights = arena.values, weights
        self._values = arena.views if weights is None else arena.views_of(weights)
        self._allocate = allocate or (lambda _, shape, dtype: self.backend.empty(shape, dtype))
        given = {} if gradients is None else gradients
        self._gradients: Mapping[Parameter, Array] = given if isinstance(given, Mapping) else arena.views_of(given)
        self._tangents = {} if tangents is None else arena.views_of(tangents)
        self._random = random
        self._first_row = self._row = first_row
        self._adds = adds
        self._buffers: list[Any] = []
        self._cursor = 0
        self._stack: list[tuple[Any, ...]] = []
        self._random_layers = 0
        self._written: set[Parameter] = set()
        self._tables: dict[tuple[Any, ...], Array] = {}
        self._constants: dict[tuple[float, ...], Array] = {}

    def begin(self, rows: int, batch_rows: int | None = None) -> None:
        """Starts a pass over `rows` rows, which are all or a part of a minibatch of `batch_rows`."""
        self.rows = rows
        self.batch_rows = rows if batch_rows is None else batch_rows
        self._cursor = 0
        self._random_layers = 0
        self._stack.clear()
        self._written.clear()
        if self._weights is not None:
            # In every pass, because the parameters may have been written to since the last one.
            self.place, self.stage = "parameters", "rounding"
            self.backend.map(as_stored, self._weights, self._master)

    def set_step(self, number: int, first: int = 0) -> None:
        """Moves the random numbers to another step, and to a part of its minibatch that begins at row `first`."""
        if self._random is None:
            return
        self.backend.set_step(self._random, number)
        if self._row != self._first_row + first:
            self._row = self._first_row + first
            self.backend.set_first_row(self._random, self._row)

    def advance(self) -> None:
        """Moves the random numbers to the next step, on the backend."""
        if self._random is not None:
            self.backend.advance(self._random)

    def empty(self, shape: Sequence[int], dtype: str | None = None) -> Array:
        """A buffer with arbitrary content, the same one at the same place of every pass of this shape.

        Args: dtype – None for that of this pass; vectors, which hold sums and moments of rows, are then never of 16 bits.
        """
        wanted = (tuple(shape), dtype or (self.dtype if len(shape) > 1 else self.wide))
        position = self._cursor
        self._cursor += 1
        if position < len(self._buffers):
            known, buffer = self._buffers[position]
            if known == wanted:
                return buffer
            del self._buffers[position:]
        buffer = self._allocate(position, *wanted)
        self._buffers.append((wanted, buffer))
        return buffer

    def empty_like(self, array: Array) -> Array:
        """A buffer of the shape and type of an array."""
        return self.empty(array.shape, self.backend.dtype_name(array))

    def constant(self, values: tuple[float, ...]) -> Array:
        """A vector with these values, made once."""
        if values not in self._constants:
            self._constants[values] = self.backend.asarray(list(values), self.wide)
        return self._constants[values]

    def table(self, make: Callable[..., Any], *arguments: Any) -> Array:
        """The whole numbers that `make`, a function that remembers its results, gives on the host; brought over once."""
        key = (make, *arguments)
        if key not in self._tables:
            self._tables[key] = self.backend.asarray(make(*arguments))
        return self._tables[key]

    def parameter(self, parameter: Parameter) -> Array:
        """The values of a parameter."""
        return self._values[parameter]

    def tangent(self, parameter: Parameter) -> Array | None:
        """The direction of a parameter in a forward-mode product, or None where only the input moves."""
        return self._tangents.get(parameter)

    def gradient(self, parameter: Parameter) -> tuple[Array, bool]:
        """Where a parameter's gradient goes, and whether it must be added to what is there."""
        again = self._adds or parameter in self._written
        self._written.add(parameter)
        return self._gradients[parameter], again

    def gradient_sum(self, parameter: Parameter) -> Array:
        """Where a parameter's gradient is to be added; zeroed the first time in a pass, unless the tape adds."""
        target, again = self.gradient(parameter)
        if not again:
            self.backend.fill(target, 0.0)
        return target

    def sum_rows(self, values: Array, parameter: Parameter) -> None:
        """The sum of the rows of a matrix to where a parameter's gradient goes."""
        target, again = self.gradient(parameter)
        self.backend.rows("column_sum", values, target, again)

    def random(self) -> Random:
        """The random numbers of the next random layer of this pass."""
        stream = LAYER + self._random_layers
        self._random_layers += 1
        return Random(self._random, stream)

    @property
    def drawn(self) -> Array | None:
        """The state of the random numbers, if a layer of the last pass asked for some."""
        return self._random if self._random_layers else None

    def push(self, *values: Any) -> None:
        """Keeps what the backward pass of the same layer will pop."""
        self._stack.append(values)

    def pop(self) -> tuple[Any, ...]:
        """What the layer pushed last."""
        return self._stack.pop()

    def top(self) -> tuple[Any, ...]:
        """What was pushed last, left where it is."""
        return self._stack[-1]
