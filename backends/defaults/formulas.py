"""Evaluates formulas operation by operation on arrays of the library, after checking arguments; see contract.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ...errors import DtypeError, ShapeError
from ...kernels.formula import Formula
from ...kernels.targets.storage import is_narrow
from ..arrays import Array


def check_map(backend: Any, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any]) -> None:
    """Raises MixedBackends or ShapeError unless all arrays belong to the backend and fit; compiled loops do not check this."""
    arrays = (*outputs, *arguments)
    own = backend.array_type
    wrong = misfit(formula, tuple([a.shape if isinstance(a, own) else None for a in arrays]))
    if wrong is not None:
        kinds = (*formula.outputs, *formula.given)
        backend.require(*(a for a, kind in zip(arrays, kinds, strict=False) if kind != "scalar"))
        raise ShapeError(wrong)


@lru_cache(maxsize=1024)
def misfit(formula: Formula, shapes: tuple[tuple[int, ...] | None, ...]) -> str | None:
    """The error message for outputs and arguments of these shapes (None for a number); None if they fit."""
    kinds = (*formula.outputs, *formula.given)
    if len(shapes) != len(kinds):
        return f"{formula!r} expected {len(formula.given)} arguments; got {len(shapes) - len(formula.outputs)}"
    whole = next(shape for shape, kind in zip(shapes, kinds, strict=True) if kind == "each") or ()
    for shape, kind in zip(shapes, kinds, strict=True):
        if kind == "scalar":
            continue
        if kind != "each" and len(whole) != 2:
            return f"{formula!r} expected matrices [rows, columns]; got shape {tuple(whole)}"
        wanted = whole if kind == "each" else whole[1:] if kind == "row" else whole[:1]
        if shape != wanted:
            got = shape if shape is None else tuple(shape)
            return f"{formula!r} expected shape {tuple(wanted)}; got {got}; check the widths"
    return None


def run_map(backend: Any, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Any) -> None:
    """See Backend.map."""
    xp, kinds = backend.xp, (*formula.outputs, *formula.given)
    shape = next(a.shape for a, k in zip((*outputs, *arguments), kinds, strict=True) if k == "each")
    given = iter(arguments)
    values = []
    for kind in formula.kinds:
        if kind == "bits":
            assert random is not None
            values.append(backend.random_bits(shape[0], shape[1], random))
            continue
        value = next(given)
        if kind != "scalar":
            value = backend.wide(value)
        if kind == "row":
            value = xp.reshape(value, (1, -1))
        elif kind == "column":
            value = xp.reshape(value, (-1, 1))
        elif kind == "scalar":
            value = xp.asarray(value, dtype=xp.float32 if is_narrow(outputs[0]) else outputs[0].dtype)
        values.append(value)
    results = formula(*values)
    results = results if isinstance(results, tuple) else (results,)
    for target, result, kind in zip(outputs, results, formula.outputs, strict=True):
        put(xp, xp.sum(result, axis=1) if kind == "rowsum" else result, target)


def check_update(backend: Any, formula: Formula, arrays: Sequence[Array], scalars: Array, random: Any) -> None:
    """Raises MixedBackends, ShapeError or DtypeError if the formula cannot update these arrays."""
    backend.require(*arrays, scalars)
    shapes = [a.shape for a in arrays]
    if len(shapes[0]) != 1 or shapes.count(shapes[0]) != len(shapes):
        raise ShapeError(f"{formula!r} expected flat arrays of one length; got {[tuple(shape) for shape in shapes]}")
    narrow = [formula.parameters[k] for k in formula.overwritten if is_narrow(arrays[k])]
    if narrow and ("bfloat16" not in backend.precisions or random is None):
        raise DtypeError(
            f"expected {' and '.join(narrow)} in float32 on backend {backend.name!r}, or a source of random bits to round "
            f"them with; got {formula!r} with 16 bits; choose another backend, or state_dtype=None"
        )


def run_update(backend: Any, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any) -> None:
    """See Backend.update."""
    if math.isnan(float(scalars[0, 0])):
        return
    for start, stop, group in segments:
        parts = [a[start:stop] for a in arrays]
        results = formula(*map(backend.wide, parts), *(scalars[k, group] for k in range(scalars.shape[0])))
        for k, result in zip(formula.overwritten, results, strict=True):
            put(backend.xp, result, parts[k])


def put(xp: Any, values: Array, out: Array) -> None:
    """Overwrites `out`, in its own type."""
    out[...] = values if values.dtype == out.dtype else xp.astype(values, out.dtype)
