"""Formulas of a backend: evaluated for every element of matrices, or applied to the arena as an optimiser's update.

The formulas are in kernels/formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ...errors import DtypeError, ShapeError
from ...kernels.formula import Formula
from ...kernels.targets.storage import is_narrow
from .random import Random, RandomNumbers

Array = Any


class Formulas(RandomNumbers):
    """Elementwise operations, operation by operation on arrays of the library."""

    precisions: ClassVar[tuple[str, ...]]

    def map(self, formula: Formula, out: Array | tuple[Array, ...], *arguments: Any, random: Random | None = None) -> None:
        """Evaluates a formula for every element.

        Args: out – one array per output (a vector [rows] for sums over rows); arguments – in the formula's order,
            without the random bits: matrices, vectors and Python numbers; random – where its bits come from.
        """
        outputs = out if isinstance(out, tuple) else (out,)
        self._check(formula, outputs, arguments)
        self._map(formula, outputs, arguments, random)

    def _check(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any]) -> None:
        """Raises MixedBackends or ShapeError unless all arrays are this backend's and fit: compiled loops do not look."""
        arrays, kinds = (*outputs, *arguments), (*formula.outputs, *formula.given)
        if len(arrays) != len(kinds):
            raise ShapeError(f"{formula!r} expected {len(formula.given)} arguments; got {len(arguments)}")
        whole = next(getattr(a, "shape", ()) for a, kind in zip(arrays, kinds, strict=True) if kind == "each")
        for array, kind in zip(arrays, kinds, strict=True):
            if kind == "scalar":
                continue
            if not isinstance(array, self.array_type):
                self.require(array)
            if kind == "each":
                wanted = whole
            elif len(whole) == 2:
                wanted = whole[1:] if kind == "row" else whole[:1]
            else:
                raise ShapeError(f"{formula!r} expected matrices [rows, columns]; got shape {tuple(whole)}")
            if array.shape != wanted:
                raise ShapeError(f"{formula!r} expected shape {tuple(wanted)}; got {tuple(array.shape)}; check the widths")

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        kinds = (*formula.outputs, *formula.given)
        shape = next(a.shape for a, k in zip((*outputs, *arguments), kinds, strict=True) if k == "each")
        given = iter(arguments)
        values = []
        for kind in formula.kinds:
            if kind == "bits":
                assert random is not None
                values.append(self.random_bits(shape[0], shape[1], random))
                continue
            value = next(given)
            if kind != "scalar":
                value = self.wide(value)
            if kind == "row":
                value = self.xp.reshape(value, (1, -1))
            elif kind == "column":
                value = self.xp.reshape(value, (-1, 1))
            elif kind == "scalar":
                value = self.xp.asarray(value, dtype=self.xp.float32 if is_narrow(outputs[0]) else outputs[0].dtype)
            values.append(value)
        results = formula(*values)
        results = results if isinstance(results, tuple) else (results,)
        for target, result, kind in zip(outputs, results, formula.outputs, strict=True):
            target[...] = self._cast(self.xp.sum(result, axis=1) if kind == "rowsum" else result, target)

    def update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None = None
    ) -> None:
        """Applies an update formula to flat arrays in place: one kernel call, whatever the number of parameters.

        Args: arrays – in the formula's order; scalars – [scalars, groups], in its order; segments – from `segments`.
            Where the first scalar is NaN, nothing at all is changed. random – needed where it overwrites arrays of bfloat16
            (at most two, on backends that have that precision): their new values are rounded up or down at random, so that
            they are right on the average. Element i takes its bits from row i // 4, column i % 4 of `random_bits` with four
            columns: the lower 16 of them for the first such array, the upper 16 for the second.
        """
        self._check_update(formula, arrays, scalars, random)
        self._update(formula, arrays, scalars, segments, random)

    def _check_update(self, formula: Formula, arrays: Sequence[Array], scalars: Array, random: Random | None) -> None:
        """Raises MixedBackends, ShapeError or DtypeError where these arrays cannot be updated by it."""
        self.require(*arrays, scalars)
        if any(a.shape != arrays[0].shape for a in arrays) or len(arrays[0].shape) != 1:
            raise ShapeError(f"{formula!r} expected flat arrays of one length; got {[tuple(a.shape) for a in arrays]}")
        narrow = [p for p, a in zip(formula.parameters, arrays, strict=False) if is_narrow(a) and p in formula.overwrites]
        if narrow and ("bfloat16" not in self.precisions or random is None):
            raise DtypeError(
                f"expected {' and '.join(narrow)} in float32 on backend {self.name!r}, or a source of random bits to round "
                f"them with; got {formula!r} with 16 bits; choose another backend, or state_dtype=None"
            )

    def _update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None
    ) -> None:
        del random
        if math.isnan(float(scalars[0, 0])):
            return
        for start, stop, group in segments:
            parts = [a[start:stop] for a in arrays]
            results = formula(*map(self.wide, parts), *(scalars[k, group] for k in range(scalars.shape[0])))
            for name, result in zip(formula.overwrites, results, strict=True):
                part = parts[formula.parameters.index(name)]
                part[...] = self._cast(result, part)

    def segments(self, ranges: Sequence[tuple[int, int, int]]) -> Any:
        """What `update` needs to know which elements belong to which group, prepared once.

        Args: ranges – (start, stop, group); starts are multiples of 64.
        """
        return list(ranges)
