"""The tape: everything that a pass through a network needs in addition to the parameters.

Layers push what they save in the forward pass, and pop it in the backward pass. Buffers are allocated once and reused in every
pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...backends import Array, Backend, Random
from ...kernels.formulas.precision import as_stored
from ..streams import LAYER
from .arena import Arena
from .parameter import Parameter


class Tape:
    """The backend, mode, buffers, gradients and random numbers of a pass.

    Several tapes may run the same layers concurrently, each on its own rows.

    Args: arena – the parameters; training – whether dropout and noise are active; random – the random state, needed for these;
        gradients – output of the backward pass: a flat array, or parameter -> array; tangents – flat array, the direction of
        jvp; weights – flat 16-bit array with the layout of the arena: `begin` rounds the parameters to it, layers read it
        instead of them, and buffers have its type; backend – runs the operations, by default that of the arena; allocate –
        (position, shape, dtype) -> buffer, by default `empty` of the backend; first_row – of the random state; adds – whether
        to add gradients to existing values.
    Attributes: rows, batch_rows – see `begin`; dtype – of matrices; wide – of the parameters and of vectors; place, stage – the
        current layer and part of the step, for capture and profiling.
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
        """Whether a backward pass follows, for which layers have to save arrays."""
        self.rows = 0
        self.batch_rows = 0
        self.row_weights: Array | None = None
        """Weights [B] of the rows of this pass, by which their losses are multiplied; None for 1."""
        self.class_weights: tuple[float, ...] | None = None
        """Those that the training data give, for a loss that balances classes by them."""
        self._master, self._weights = arena.values, weights
        self._values = arena.views if weights is None else arena.views_of(weights)
        own = self.backend  # so that what is stored does not refer to the tape, which is then freed at once
        self._allocate = allocate or (lambda _, shape, dtype: own.empty(shape, dtype))
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
        """Starts a pass over `rows` rows of a minibatch that has `batch_rows` rows in total, by default `rows`."""
        self.rows = rows
        self.batch_rows = rows if batch_rows is None else batch_rows
        self._cursor = 0
        self._random_layers = 0
        self._stack.clear()
        self._written.clear()
        if self._weights is not None:
            # In every pass, because the parameters may have changed since the last one.
            self.place, self.stage = "parameters", "rounding"
            self.backend.map(as_stored, self._weights, self._master)

    def set_step(self, number: int, first: int = 0) -> None:
        """Sets the random numbers to those of step `number`, for rows of its minibatch from `first` on."""
        if self._random is None:
            return
        self.backend.set_step(self._random, number)
        if self._row != self._first_row + first:
            self._row = self._first_row + first
            self.backend.set_first_row(self._random, self._row)

    def advance(self) -> None:
        """Advances the random numbers to the next step; runs on the backend, so that a graph can replay it."""
        if self._random is not None:
            self.backend.advance(self._random)

    def empty(self, shape: Sequence[int], dtype: str | None = None) -> Array:
        """A buffer with arbitrary content; the n-th call of a pass returns the same buffer in every pass of this shape.

        Args: dtype – None for the type of this pass; for vectors, which contain sums and moments of rows, never a 16-bit type.
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
        """A vector with these values, created once."""
        if values not in self._constants:
            self._constants[values] = self.backend.asarray(list(values), self.wide)
        return self._constants[values]

    def table(self, make: Callable[..., Any], *arguments: Any) -> Array:
        """The table of integers make(*arguments), computed on the host and copied to the backend once."""
        key = (make, *arguments)
        if key not in self._tables:
            self._tables[key] = self.backend.asarray(make(*arguments))
        return self._tables[key]

    def parameter(self, parameter: Parameter) -> Array:
        """The values of a parameter."""
        return self._values[parameter]

    def tangent(self, parameter: Parameter) -> Array | None:
        """The direction of a parameter in a forward-mode product; None if only the input has one."""
        return self._tangents.get(parameter)

    def gradient(self, parameter: Parameter) -> tuple[Array, bool]:
        """(array for the gradient of a parameter, whether to add to it: True after its first use in a pass, or with `adds`)."""
        again = self._adds or parameter in self._written
        self._written.add(parameter)
        return self._gradients[parameter], again

    def gradient_sum(self, parameter: Parameter) -> Array:
        """The array to which to add the gradient of a parameter; set to 0 before its first use in a pass, unless `adds`."""
        target, again = self.gradient(parameter)
        if not again:
            self.backend.fill(target, 0.0)
        return target

    def sum_rows(self, values: Array, parameter: Parameter) -> None:
        """Writes or adds the sum of the rows of a matrix to the gradient of a parameter."""
        target, again = self.gradient(parameter)
        self.backend.rows("column_sum", values, target, again)

    def random(self) -> Random:
        """The source of random bits for the next layer of this pass that needs one."""
        stream = LAYER + self._random_layers
        self._random_layers += 1
        return Random(self._random, stream)

    @property
    def drawn(self) -> Array | None:
        """The random state if any layer of the last pass used random bits, otherwise None."""
        return self._random if self._random_layers else None

    def push(self, *values: Any) -> None:
        """Saves values for the backward pass of the same layer."""
        self._stack.append(values)

    def pop(self) -> tuple[Any, ...]:
        """Removes and returns the values that were pushed last."""
        return self._stack.pop()

    def top(self) -> tuple[Any, ...]:
        """Returns the values that were pushed last, without removing them."""
        return self._stack[-1]
