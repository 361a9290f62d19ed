"""Checks of every elementwise formula of the library, through `Backend.map`.

Formulas are taken from the registry, so new ones are covered automatically.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels import formulas as library
from ...kernels.formula import REGISTRY, Formula
from ...kernels.formulas import elementwise
from ...kernels.formulas import random as random_formulas
from ...kernels.formulas.activations import ACTIVATIONS
from ..contract import Backend, Random
from .comparison import Host, between, close, exactly, expect, generator, host, normal
from .random import plain_bits
from .suite import REALS, Sizes, check

SEED, STEP, FIRST_ROW, STREAM = 2**40 + 3, 6, 2, 0x2000_0001

SCALARS = {
    "low": -0.5, "high": 1.5, "mean": 0.25, "deviation": 1.25, "fraction": 0.25, "scale": 1.3125, "slope": 0.125,
    "a": 0.75, "factor": 0.375, "offset": -0.5, "gamma": 0.875,
}  # fmt: skip
"""Values for the scalars of formulas, all exact in float32; others get DEFAULT_SCALAR."""
DEFAULT_SCALAR = 0.625

POSITIVE = frozenset({"p", "q", "coefficient", "theta_squares", "direction_squares"})
"""Arguments that are probabilities or squares."""
SIGNS = {("hinge", "target"), ("weighted_hinge", "target")}
"""Arguments that are -1 or 1."""


def own_formulas() -> list[Formula]:
    """The formulas of this package, sorted by name, without those registered by other code."""
    home = library.__name__ + "."
    return sorted((f for f in REGISTRY.values() if f.function.__module__.startswith(home)), key=lambda f: f.name)


ELEMENTWISE = [formula for formula in own_formulas() if "group" not in formula.kinds]


def inputs(formula: Formula, dtype: str, shape: tuple[int, ...]) -> list[Any]:
    """Host values for all arguments except the random bits."""
    made: list[Any] = []
    for name, kind in zip(formula.parameters, formula.kinds, strict=True):
        if kind == "scalar":
            made.append(SCALARS.get(name, DEFAULT_SCALAR))
        elif kind != "bits":
            extent = shape if kind == "each" else shape[-1:] if kind == "row" else shape[:1]
            if (formula.name, name) in SIGNS:
                made.append(np.where(generator(shape).random(extent) < 0.5, -1.0, 1.0).astype(dtype))
            elif name in POSITIVE or formula.name.removeprefix("weighted_") == "negative_log":
                made.append(between(dtype, extent, 0.05, 1.0, name))
            else:
                made.append(normal(dtype, extent, name) * np.asarray(2.0, dtype))
    return made


def plain(formula: Formula, given: list[Any], shape: tuple[int, ...]) -> list[Host]:
    """The outputs of the formula in float64, evaluated on whole arrays."""
    values, rest = [], iter(given)
    for kind in formula.kinds:
        if kind == "bits":
            values.append(plain_bits(shape[0], shape[1], SEED, STEP, FIRST_ROW, STREAM))
            continue
        value = np.asarray(next(rest), np.float64)
        values.append(value[:, None] if kind == "column" else value)
    results = formula(*values)
    results = results if isinstance(results, tuple) else (results,)
    return [
        np.sum(np.broadcast_to(r, shape), axis=1) if kind == "rowsum" else np.broadcast_to(r, shape)
        for r, kind in zip(results, formula.outputs, strict=True)
    ]


def evaluate(
    backend: Backend, formula: Formula, dtype: str, shape: tuple[int, ...], given: list[Any], over: bool
) -> list[Host]:
    """The outputs of the backend; with `over`, outputs are written over inputs, the last output over the first input."""
    arguments = [backend.asarray(g.copy()) if isinstance(g, np.ndarray) else g for g in given]
    each = [a for a, k in zip(arguments, (k for k in formula.kinds if k != "bits"), strict=True) if k == "each"]
    outputs: list[Any] = []
    for kind in reversed(formula.outputs):
        if over and kind == "each" and each:
            outputs.insert(0, each.pop(0))
        else:
            outputs.insert(0, backend.empty(shape[:1] if kind == "rowsum" else shape, dtype))
    random = Random(backend.random_state(SEED, STEP, FIRST_ROW), STREAM) if formula.random else None
    backend.map(formula, outputs[0] if len(outputs) == 1 else tuple(outputs), *arguments, random=random)
    wanted = [shape[:1] if kind == "rowsum" else shape for kind in formula.outputs]
    return [host(backend, o, w, dtype, f"{formula.name} {shape}") for o, w in zip(outputs, wanted, strict=True)]


def shapes_of(formula: Formula, sizes: Sizes) -> list[tuple[int, ...]]:
    """Shapes of matrices, and for flat formulas of vectors as well."""
    return [*sizes.matrices, *((length,) for length in sizes.lengths if formula.flat)]


@check("formulas", formula=ELEMENTWISE, dtype=REALS)
def values(backend: Backend, sizes: Sizes, formula: Formula, dtype: str) -> None:
    """Agrees with the formula in float64 at every size; repeated calls give the same bits."""
    for shape in shapes_of(formula, sizes):
        given = inputs(formula, dtype, shape)
        results = evaluate(backend, formula, dtype, shape, given, over=False)
        for k, (result, reference) in enumerate(zip(results, plain(formula, given, shape), strict=True)):
            kind = "sum" if formula.outputs[k] == "rowsum" else "elementwise"
            close(result, reference, dtype, kind, f"output {k} at {shape}")
        again = evaluate(backend, formula, dtype, shape, given, over=False)
        for k, (second, first) in enumerate(zip(again, results, strict=True)):
            exactly(second, first, f"output {k} at {shape}, a second time")


@check("formulas", formula=ELEMENTWISE)
def in_place(backend: Backend, sizes: Sizes, formula: Formula) -> None:
    """The same with outputs written over inputs; only in float64, because compiling both would take long."""
    for shape in shapes_of(formula, sizes):
        given = inputs(formula, "float64", shape)
        results = evaluate(backend, formula, "float64", shape, given, over=True)
        for k, (result, reference) in enumerate(zip(results, plain(formula, given, shape), strict=True)):
            kind = "sum" if formula.outputs[k] == "rowsum" else "elementwise"
            close(result, reference, "float64", kind, f"output {k} at {shape}")


@check("formulas", formula=[a.forward for a in ACTIVATIONS.values()], dtype=REALS)
def nan_goes_through(backend: Backend, sizes: Sizes, formula: Formula, dtype: str) -> None:  # noqa: ARG001
    """NaN in the input of an activation gives NaN in that element of the output, and in no other."""
    shape = (3, 5)
    given = inputs(formula, dtype, shape)
    given[0][1, 2] = np.nan
    (result,) = evaluate(backend, formula, dtype, shape, given, over=False)
    broken = np.isnan(result)
    expect(bool(broken[1, 2]) and int(broken.sum()) == 1, f"expected NaN at (1, 2) only; got {np.argwhere(broken).tolist()}")


@check("formulas", dtype=REALS)
def large_arguments(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """Bounded activations reach their limits for |x| >= 50, without NaN."""
    x = np.array([[-1e4, -80.0, -50.0, 50.0, 80.0, 1e4]], dtype)
    for activation in ACTIVATIONS.values():
        if activation.bounds[0] is None or activation.bounds[1] is None:
            continue
        (result,) = evaluate(backend, activation.forward, dtype, x.shape, [x], over=False)
        close(
            result, np.array([[activation.bounds[0]] * 3 + [activation.bounds[1]] * 3]), dtype, "elementwise", activation.name
        )


@check("formulas", dtype=REALS)
def dropout_masks(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """Masks have the bits of the reference, and are the same in both precisions."""
    for shape in sizes.matrices:
        given = [np.ones(shape, dtype), 0.3, 1.0]
        (result,) = evaluate(backend, random_formulas.dropout, dtype, shape, given, over=False)
        bits = plain_bits(shape[0], shape[1], SEED, STEP, FIRST_ROW, STREAM)
        exactly(result, ((bits >> 8) * 2.0**-24 >= 0.3).astype(dtype), f"mask {shape}")


@check("formulas", dtype=REALS)
def read_only_arguments(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """Arguments from read-only memory, and some rows of a larger array as output."""
    a, b = normal(dtype, (4, 6), "a"), normal(dtype, (6,), "b")
    a.flags.writeable = b.flags.writeable = False
    out = backend.zeros((6, 6), dtype)
    backend.map(elementwise.add_bias, out[1:5, ...], backend.asarray(a), backend.asarray(b))
    wanted = np.zeros((6, 6))
    wanted[1:5] = a.astype("f8") + b
    close(backend.to_numpy(out), wanted, dtype, "elementwise")
