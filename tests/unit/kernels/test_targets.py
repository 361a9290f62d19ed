"""The NumPy plan and the compiled CPU loops against plain evaluation, for every formula of the registry.

Registers, blocks, broadcasting, and outputs that are inputs at the same time. What a backend promises beyond that is in
the conformance suite.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fusedstep.kernels.formulas  # noqa: F401 – registers all formulas
from fusedstep.backends import Backend, Random, backend
from fusedstep.kernels import formulas as library
from fusedstep.kernels import vocabulary as v
from fusedstep.kernels.formula import REGISTRY, Formula
from fusedstep.kernels.formulas import elementwise, losses, vectors
from fusedstep.kernels.formulas.activations import prelu, prelu_backward
from fusedstep.kernels.formulas.random import dropout
from fusedstep.kernels.formulas.updates import RULES, update_formula
from fusedstep.kernels.targets.numpy import BLOCK

WITHOUT_FORMULAS = {"mathematics", "reach"}
OURS = [f for f in REGISTRY.values() if f.function.__module__.startswith(library.__name__)]
MAPS = sorted((f for f in OURS if not f.overwrites), key=lambda f: f.name)
UPDATES = sorted((f for f in OURS if f.overwrites), key=lambda f: f.name)

SIGNED = {"x", "y", "z", "a", "b", "dy", "dx", "kept", "logit", "theta", "gradient", "m", "bias", "offset", "velocity"}
"""Arguments that may be negative; the others are probabilities, squares, rates: all from (0.05, 0.95)."""
STREAM, SEED, FIRST_ROW = 0x2000_0003, 2**33 + 7, 3
TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-5}, "float64": {"rtol": 1e-12, "atol": 1e-13}}


def values(name, shape, dtype, seed):
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    drawn = rng.normal(0.0, 1.5, shape) if name in SIGNED else rng.uniform(0.05, 0.95, shape)
    return drawn.astype(dtype)


def arguments(formula: Formula, shape, dtype, seed=0) -> list[Any]:
    """Host arrays and numbers, in the order of the formula, without the bits."""
    extents = {"each": shape, "row": shape[-1:], "column": shape[:1]}
    return [
        float(np.dtype(dtype).type(values(n, (), "float64", seed))) if k == "scalar" else values(n, extents[k], dtype, seed)
        for n, k in zip(formula.parameters, formula.kinds, strict=True)
        if k != "bits"
    ]


def plain(formula: Formula, given, shape):
    """The formula on whole arrays in float64, row sums included."""
    rest, inputs = iter(given), []
    for kind in formula.kinds:
        if kind == "bits":
            host = Backend(np)
            inputs.append(host.random_bits(*shape, Random(host.random_state(SEED, 5, FIRST_ROW), STREAM)))
            continue
        value = np.asarray(next(rest), np.float64)
        inputs.append(value[:, None] if kind == "column" else value)
    results = formula(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    return [
        np.broadcast_to(r, shape).sum(axis=1) if k == "rowsum" else np.array(np.broadcast_to(r, shape))
        for r, k in zip(results, formula.outputs, strict=True)
    ]


def run(name, formula, given, shape, dtype, alias=None):
    """Outputs of a backend; alias – for each output the position of the input whose array it takes, or None."""
    host = backend(name)
    given = [g.copy() if isinstance(g, np.ndarray) else g for g in given]
    outputs = []
    for k, kind in enumerate(formula.outputs):
        if alias is not None and alias[k] is not None:
            outputs.append(given[alias[k]])
        else:
            outputs.append(np.full(shape[:1] if kind == "rowsum" else shape, 7.0, dtype))
    random = Random(host.random_state(SEED, 5, FIRST_ROW), STREAM) if formula.random else None
    host.map(formula, tuple(outputs), *given, random=random)
    return outputs


def require_same(got, expected, dtype, formula, note):
    for k, (g, e) in enumerate(zip(got, expected, strict=True)):
        assert g.dtype == dtype
        allowed = dict(TOLERANCE[dtype])
        if formula.outputs[k] == "rowsum":
            allowed["atol"] *= 20
        np.testing.assert_allclose(g, e, **allowed, err_msg=f"{formula.name}, output {k}, {note}")


def aliases(formula: Formula):
    """Every way in which outputs can be inputs at the same time: each output a different input, or an array of its own."""
    kinds = [k for k in formula.kinds if k != "bits"]
    each = [i for i, k in enumerate(kinds) if k == "each"]
    choices = [[None, *each] if kind == "each" else [None] for kind in formula.outputs]
    for choice in itertools.product(*choices):
        used = [c for c in choice if c is not None]
        if len(set(used)) == len(used):
            yield choice


def block_shapes(formula: Formula):
    """Sizes just below, at and above the blocks of the NumPy target, as one row, one column, and in between."""
    if formula.flat:
        return [(BLOCK - 1,), (BLOCK,), (BLOCK + 1,), (2 * BLOCK + 3,), (3, BLOCK // 2)]
    return [(BLOCK // 8 - 1, 8), (BLOCK // 8 + 1, 8), (BLOCK + 1, 1), (3, BLOCK + 5), (2, BLOCK)]


@pytest.mark.parametrize("formula", MAPS, ids=str)
def test_numpy_plan_with_every_aliasing(formula):
    shape = (6, 11)
    for dtype in TOLERANCE:
        given = arguments(formula, shape, dtype)
        expected = plain(formula, given, shape)
        for alias in aliases(formula):
            require_same(run("numpy", formula, given, shape, dtype, alias), expected, dtype, formula, f"{dtype}, {alias}")


@pytest.mark.parametrize("formula", MAPS, ids=str)
def test_numpy_plan_around_block_borders(formula):
    for seed, shape in enumerate(block_shapes(formula)):
        given = arguments(formula, shape, "float64", seed)
        expected = plain(formula, given, shape)
        require_same(run("numpy", formula, given, shape, "float64"), expected, "float64", formula, shape)
        *_, last = aliases(formula)
        require_same(run("numpy", formula, given, shape, "float64", last), expected, "float64", formula, (shape, last))


def in_place(formula: Formula):
    """Outputs over inputs, the last one over the first, as many as there are."""
    kinds = [k for k in formula.kinds if k != "bits"]
    free = [i for i, k in enumerate(kinds) if k == "each"]
    alias: list[int | None] = []
    for kind in reversed(formula.outputs):
        alias.insert(0, free.pop(0) if kind == "each" and free else None)
    return tuple(alias)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("formula", MAPS, ids=str)
def test_cpu_target_against_numpy(formula, dtype):
    """In float64 it is compared by the conformance suite."""
    for shape in ((5, 13), (1, 1), (1, BLOCK + 1)):
        given = arguments(formula, shape, dtype)
        wide = [np.asarray(g, np.float64) if isinstance(g, np.ndarray) else g for g in given]
        expected = run("numpy", formula, wide, shape, "float64")
        for alias in (None, in_place(formula)):
            require_same(run("numba", formula, given, shape, dtype, alias), expected, dtype, formula, (shape, alias))


def update_inputs(formula: Formula, size, dtype):
    names = [n for n, k in zip(formula.parameters, formula.kinds, strict=True) if k == "each"]
    groups = [n for n, k in zip(formula.parameters, formula.kinds, strict=True) if k == "group"]
    arrays = [values(n, (size,), dtype, 1) for n in names]
    return arrays, np.array([values(n, (2,), dtype, 2) for n in groups])


RANGES = [(0, 100, 0), (128, BLOCK + 133, 1), (BLOCK + 192, 2 * BLOCK + 5 * 64 + 1, 0)]
SIZE = 2 * BLOCK + 6 * 64


@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize("formula", UPDATES, ids=str)
def test_updates_against_plain_evaluation(formula, name):
    """Over three segments of two groups that cross the borders of blocks; what lies between is not touched."""
    host = backend(name)
    for dtype in TOLERANCE:
        arrays, scalars = update_inputs(formula, SIZE, dtype)
        expected = [a.astype(np.float64) for a in arrays]
        names = formula.parameters[: len(arrays)]
        for start, stop, group in RANGES:
            results = formula(*(a[start:stop].astype(np.float64) for a in arrays), *scalars[:, group].astype(np.float64))
            for target, result in zip(formula.overwrites, results, strict=True):
                expected[names.index(target)][start:stop] = result
        host.update(formula, arrays, scalars, host.segments(RANGES))
        for parameter, got, want in zip(names, arrays, expected, strict=True):
            np.testing.assert_allclose(got, want, **TOLERANCE[dtype], err_msg=f"{formula.name} {parameter}")


def test_every_update_overwrites_what_it_returns():
    for formula in UPDATES:
        assert len(formula.overwrites) == len(formula.outputs)
        assert set(formula.overwrites) <= set(formula.parameters)


def _swap(a, b):
    return b, a


def _same_twice(a, b):
    total = a + b
    return total, total


def _one_through(a, b):
    return a * b, a


def _uniform(a, b, s):
    return s * 2.0, a + s


def _bound(a, b):
    return v.select(a > b, float("inf"), 0.0), v.select(a > b, 0.0, a)


PROBES = [
    Formula("probe_swap", _swap, ("a", "b"), ("each", "each"), ("each", "each")),
    Formula("probe_twice", _same_twice, ("a", "b"), ("each", "each"), ("each", "each")),
    Formula("probe_through", _one_through, ("a", "b"), ("each", "each"), ("each", "each")),
    Formula("probe_uniform", _uniform, ("a", "b", "s"), ("each", "each", "scalar"), ("each", "each")),
    Formula("probe_bound", _bound, ("a", "b"), ("each", "each"), ("each", "each")),
]


@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize("formula", PROBES, ids=str)
def test_formulas_that_are_hard_on_a_register_plan(formula, name):
    """Outputs that are inputs, the same value, the same for all elements, or infinite: a formula to come may be so."""
    for shape in ((4, 9), (2, BLOCK)):
        given = arguments(formula, shape, "float64")
        expected = plain(formula, given, shape)
        for alias in aliases(formula):
            got = run(name, formula, given, shape, "float64", alias)
            require_same(got, expected, "float64", formula, (shape, alias))


HOSTS = {"base": lambda: Backend(np), "numpy": lambda: backend("numpy"), "numba": lambda: backend("numba")}
SAMPLE = {
    "flat": vectors.combination, "row": elementwise.add_bias, "column": elementwise.softmax_derivative,
    "row sum": elementwise.row_product, "row sum and gradient": losses.squared_error, "two outputs": prelu_backward,
    "prelu": prelu, "bits": dropout,
}  # fmt: skip
SHAPES = st.tuples(st.sampled_from([0, 1, 2, 3, 17, BLOCK // 4 + 1]), st.sampled_from([0, 1, 2, 3, 4, 5, 8, 31, 64, 65]))


def as_host(host, formula, given, shape):
    outputs = [host.zeros(shape[:1] if k == "rowsum" else shape, "float64") for k in formula.outputs]
    random = Random(host.random_state(SEED, 5, FIRST_ROW), STREAM) if formula.random else None
    host.map(formula, tuple(outputs), *given, random=random)
    return outputs


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(SAMPLE)), st.sampled_from(list(HOSTS)), SHAPES, st.integers(0, 9))
def test_any_shape(kind, name, shape, seed):
    """Also without rows and without columns."""
    formula = SAMPLE[kind]
    given = arguments(formula, shape, "float64", seed)
    got = as_host(HOSTS[name](), formula, given, shape)
    require_same(got, plain(formula, given, shape), "float64", formula, (name, shape))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(SAMPLE)), st.sampled_from(list(HOSTS)), SHAPES)
def test_read_only_inputs(kind, name, shape):
    """Data from a memory-mapped file or from JAX cannot be written; nothing tries to."""
    formula = SAMPLE[kind]
    given = arguments(formula, shape, "float64")
    for g in given:
        if isinstance(g, np.ndarray):
            g.flags.writeable = False
    got = as_host(HOSTS[name](), formula, given, shape)
    require_same(got, plain(formula, given, shape), "float64", formula, (name, shape))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(SAMPLE)), st.sampled_from(list(HOSTS)), SHAPES, st.sampled_from(["transposed", "strided", "reversed"])
)
def test_inputs_that_are_not_contiguous_become_so(kind, name, shape, how):
    """`asarray` is the door through which foreign arrays come; behind it everything is row-major."""
    formula, host = SAMPLE[kind], HOSTS[name]()
    given = arguments(formula, shape, "float64")

    def spread(a):
        if how == "transposed":
            return np.asfortranarray(a)
        if how == "reversed":
            return a[..., ::-1].copy()[..., ::-1]
        wide = np.full((*a.shape[:-1], 3 * a.shape[-1]), np.nan)
        wide[..., ::3] = a
        return wide[..., ::3]

    foreign = [host.asarray(spread(g)) if isinstance(g, np.ndarray) else g for g in given]
    got = as_host(host, formula, foreign, shape)
    require_same(got, plain(formula, given, shape), "float64", formula, (name, shape))


@pytest.mark.parametrize("gap", ["between columns", "between rows"])
@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize("kind", SAMPLE)
def test_output_that_is_not_contiguous_is_never_lost_in_silence(kind, name, gap):
    """Outputs are row-major by contract; one that is not has to be written, with all its neighbours left, or refused."""
    formula, shape = SAMPLE[kind], (5, 6)
    given = arguments(formula, shape, "float64")
    host = HOSTS[name]()
    columns = slice(None, None, 2) if gap == "between columns" else slice(0, shape[1])
    wide = [np.full((2 * shape[0],) if k == "rowsum" else (shape[0], 2 * shape[1]), 7.0) for k in formula.outputs]
    outputs = [w[::2] if k == "rowsum" else w[:, columns] for w, k in zip(wide, formula.outputs, strict=True)]
    random = Random(host.random_state(SEED, 5, FIRST_ROW), STREAM) if formula.random else None
    try:
        host.map(formula, tuple(outputs), *given, random=random)
    except (TypeError, ValueError):
        assert all((w == 7.0).all() for w in wide)
        return
    require_same(outputs, plain(formula, given, shape), "float64", formula, name)
    assert all((w == 7.0).sum() == w.size // 2 for w in wide)


@pytest.mark.parametrize("name", HOSTS)
def test_nan_as_first_scalar_closes_the_gate(name):
    host = HOSTS[name]()
    for rule in ("sgd", "adam_outside", "nesterov_look_ahead"):
        formula = update_formula(RULES[rule])
        arrays, scalars = update_inputs(formula, 256, "float64")
        before = [a.copy() for a in arrays]
        scalars[0, :] = np.nan
        host.update(formula, arrays, scalars, host.segments([(0, 70, 0), (128, 256, 1)]))
        for a, b in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(a, b)


def test_importing_the_package_of_formulas_registers_all_of_them():
    folder = Path(library.__file__).parent
    assert {path.stem for path in folder.glob("[a-z]*.py")} == {*library.__all__, *WITHOUT_FORMULAS}
