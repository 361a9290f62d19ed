"""Arguments for every formula of the registry and every row kernel, with expected values from NumPy in float64.

Used by tests/cudasim, tests/ptx and tests/gpu, so that a new formula is covered on all targets without being listed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep.kernels.formulas  # noqa: F401 – registers all formulas
from fusedstep.backends.contract import Backend, Random
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.kernels.formula import REGISTRY, Formula
from fusedstep.kernels.rows.lookup import Lookup, lookup_table

MAPS = [f for f in REGISTRY.values() if not f.overwrites]
UPDATES = [f for f in REGISTRY.values() if f.overwrites]
RANDOM = [f for f in MAPS if f.random]

SIGNED = {"x", "y", "z", "a", "b", "dy", "dx", "saved", "logit", "theta", "gradient", "m", "u", "velocity", "bias", "offset"}
"""Arguments that may be negative; all others are drawn from (0.05, 0.95), which every formula accepts."""

TOLERANCE = {"float32": {"rtol": 3e-5, "atol": 3e-5}, "float64": {"rtol": 1e-11, "atol": 1e-12}}
"""What a compiled elementwise or row kernel may differ by from NumPy in float64, for data of size about 1.

Sums may cancel, so there the absolute part grows with the square root of the number of terms.
"""


def tolerance(dtype: str, terms: int = 1) -> dict[str, float]:
    """The tolerance of a result that is a sum of so many terms."""
    base = TOLERANCE[dtype]
    return {"rtol": base["rtol"], "atol": base["atol"] * max(terms, 1) ** 0.5}


STREAM = 5
SEED = 0x0123456789ABCDEF


def state(backend: Backend) -> Any:
    """A random state with all four words in use."""
    return backend.random_state(SEED, step=7, first_row=2)


def _values(name: str, shape: tuple[int, ...], dtype: str, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    drawn = generator.normal(0.0, 2.0, shape) if name in SIGNED else generator.uniform(0.05, 0.95, shape)
    return drawn.astype(dtype)


def arguments(formula: Formula, rows: int, width: int, dtype: str) -> list[Any]:
    """Host arrays and numbers for a map, in the formula's order, without the bits."""
    generator = np.random.default_rng(rows * 1000 + width)
    shapes = {"each": (rows, width), "row": (width,), "column": (rows,)}
    given: list[Any] = []
    for name, kind in zip(formula.parameters, formula.kinds, strict=True):
        if kind == "scalar":
            given.append(float(np.dtype(dtype).type(generator.uniform(0.1, 0.9))))
        elif kind != "bits":
            given.append(_values(name, shapes[kind], dtype, generator))
    return given


def output_shapes(formula: Formula, rows: int, width: int) -> list[tuple[int, ...]]:
    """The shapes of a map's outputs."""
    return [(rows,) if kind == "rowsum" else (rows, width) for kind in formula.outputs]


def expected(formula: Formula, given: list[Any], rows: int, width: int) -> list[np.ndarray[Any, Any]]:
    """The outputs of a map in float64."""
    oracle = NumpyBackend()
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in given]
    outputs = [np.empty(s) for s in output_shapes(formula, rows, width)]
    oracle.map(formula, tuple(outputs), *wide, random=Random(state(oracle), STREAM) if formula.random else None)
    return outputs


def run_map(backend: Backend, formula: Formula, rows: int, width: int, dtype: str, in_place: bool = False) -> None:
    """Runs a map on `backend` and compares it; `in_place`: the first matrix is the first output as well."""
    given = arguments(formula, rows, width, dtype)
    device = [backend.asarray(a) if isinstance(a, np.ndarray) else a for a in given]
    outputs = [backend.empty(s, dtype) for s in output_shapes(formula, rows, width)]
    if in_place:
        kinds = [k for k in formula.kinds if k != "bits"]
        first = kinds.index("each")
        device[first] = backend.asarray(given[first].copy())
        outputs[formula.outputs.index("each")] = device[first]
    random = Random(state(backend), STREAM) if formula.random else None
    backend.map(formula, tuple(outputs), *device, random=random)
    for got, want, kind in zip(outputs, expected(formula, given, rows, width), formula.outputs, strict=True):
        result = backend.to_numpy(got)
        assert result.dtype == dtype
        allowed = tolerance(dtype, width if kind == "rowsum" else 1)
        np.testing.assert_allclose(result, want, **allowed, err_msg=f"{formula} {rows}x{width} {dtype}")


def update_arguments(formula: Formula, size: int, groups: int, dtype: str) -> tuple[list[Any], np.ndarray[Any, Any]]:
    """(host arrays, scalars [scalars, groups]) for an update."""
    generator = np.random.default_rng(size)
    names = [n for n, k in zip(formula.parameters, formula.kinds, strict=True) if k == "each"]
    count = sum(k == "group" for k in formula.kinds)
    arrays = [_values(name if name != "u" else "positive", (size,), dtype, generator) for name in names]
    return arrays, generator.uniform(0.1, 0.9, (count, groups)).astype(dtype)


def run_update(
    backend: Backend, formula: Formula, ranges: list[tuple[int, int, int]], size: int, dtype: str, gate: bool = False
) -> None:
    """Applies an update on `backend` and compares it; with `gate`, the first scalar is NaN and nothing may change."""
    arrays, scalars = update_arguments(formula, size, 1 + max(g for _, _, g in ranges), dtype)
    if gate:
        scalars[0, 0] = np.nan
    device = [backend.asarray(a.copy()) for a in arrays]
    backend.update(formula, device, backend.asarray(scalars), backend.segments(ranges))
    wide = [a.astype(np.float64) for a in arrays]
    oracle = NumpyBackend()
    oracle.update(formula, wide, scalars.astype(np.float64), oracle.segments(ranges))
    for name, got, before, want in zip(formula.parameters, device, arrays, wide, strict=False):
        result = backend.to_numpy(got)
        if gate or name not in formula.overwrites:
            np.testing.assert_array_equal(result, before)
        else:
            np.testing.assert_allclose(result, want, **TOLERANCE[dtype], err_msg=f"{formula} {name}")
            inside = np.zeros(size, bool)
            for start, stop, _ in ranges:
                inside[start:stop] = True
            np.testing.assert_array_equal(result[~inside], before[~inside])


def lookups(generator: np.random.Generator, x: np.ndarray[Any, Any]) -> tuple[Any, np.ndarray[Any, Any], int]:
    """(x with codes in every second column, table of `embed`, size of its weights); a code in 8 is none."""
    coded, chosen, first = x.copy(), [], 0
    for column in range(0, min(x.shape[1], 40), 2):
        codes, width = 3 + 2 * column, 1 + column % 7
        chosen.append(Lookup(column, codes, width, first))
        first += codes * width
        wrong = generator.choice([-1.0, codes, 0.5, np.nan], len(x))
        coded[:, column] = np.where(generator.random(len(x)) < 0.125, wrong, generator.integers(0, codes, len(x)))
    return coded, lookup_table(x.shape[1], tuple(chosen)), first


def run_rows(backend: Backend, rows: int, width: int, dtype: str) -> None:
    """Runs every row kernel of the contract on `backend` and compares with the reference in float64."""
    generator = np.random.default_rng(rows * 7919 + width)
    oracle = Backend(np)

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return generator.normal(0.0, 1.5, shape).astype(dtype)

    x, dy = normal(rows, width), normal(rows, width)
    gain, offset = normal(width), normal(width)
    labels = generator.integers(0, width, rows).astype(np.int32)
    weights = generator.uniform(0.5, 2.0, width).astype(dtype)
    soft = generator.uniform(0.0, 1.0, (rows, width))
    soft = (soft / soft.sum(axis=1, keepdims=True)).astype(dtype)

    def both(name: str, outputs: dict[str, np.ndarray[Any, Any]], *given: Any) -> None:
        """Runs the operation on both backends; names among the arguments are outputs, host arrays are inputs."""
        device = {k: backend.asarray(v.copy()) for k, v in outputs.items()}
        host = {k: v.astype(np.float64) if v.dtype.kind == "f" else v.copy() for k, v in outputs.items()}
        for where, arrays, wide in ((backend, device, False), (oracle, host, True)):
            arguments = []
            for a in given:
                if isinstance(a, str):
                    arguments.append(arrays[a])
                elif isinstance(a, np.ndarray):
                    values = a.astype(np.float64) if wide and a.dtype.kind == "f" else a
                    arguments.append(where.asarray(values))
                else:
                    arguments.append(a)
            where.rows(name, *arguments)
        for key, want in host.items():
            allowed = tolerance(dtype, max(rows, width))
            message = f"{name}: {key} of {rows}x{width} in {dtype}"
            np.testing.assert_allclose(backend.to_numpy(device[key]), want, **allowed, err_msg=message)

    matrix, vector = np.zeros((rows, width), dtype), np.zeros(rows, dtype)
    both("softmax", {"out": matrix}, x, "out")
    both("softmax", {"out": x}, "out", "out")
    losses = {"losses": vector, "gradient": matrix}
    for given, on, off in ((None, 1.0, 0.0), (weights, 0.9, 0.1 / max(width, 1))):
        both("softmax_cross_entropy", losses, x, labels, given, on, off, 0.25, "losses", "gradient")
    both(
        "softmax_cross_entropy", {"losses": vector, "gradient": x}, "gradient", labels, weights, 0.9, 0.05, 0.25,
        "losses", "gradient",
    )  # fmt: skip
    both("softmax_cross_entropy_soft", losses, x, soft, 0.25, "losses", "gradient")
    for given, gamma in ((None, 2.0), (weights, 0.5)):
        both("focal_loss", losses, x, labels, given, gamma, 0.25, "losses", "gradient")
    both("focal_loss", {"losses": vector, "gradient": x}, "gradient", labels, weights, 2.0, 0.25, "losses", "gradient")
    by_row, unsummed = generator.uniform(0.0, 2.0, rows).astype(dtype), (None, False, None)
    for given in (None, weights):
        both("softmax_cross_entropy", losses, x, labels, given, 0.9, 0.05, 0.25, "losses", "gradient", *unsummed, by_row)
    both("softmax_cross_entropy_soft", losses, x, soft, 0.25, "losses", "gradient", *unsummed, by_row)
    both("focal_loss", losses, x, labels, weights, 2.0, 0.25, "losses", "gradient", *unsummed, by_row)
    if width > 1:
        both("multi_class_hinge", losses, x, labels, 0.25, "losses", "gradient")
        both("multi_class_hinge", losses, x, labels, 0.25, "losses", "gradient", by_row)
        ties = np.round(x)
        both("multi_class_hinge", losses, ties, labels, 0.25, "losses", "gradient")
    moments = {"out": matrix, "mean": vector, "scale": vector}
    both("layer_norm", moments, x, gain, offset, 1e-3, "out", "mean", "scale")
    mean = x.astype(np.float64).mean(axis=1)
    scale = 1.0 / np.sqrt(x.astype(np.float64).var(axis=1) + 1e-3)
    derivatives = {"dx": matrix, "dgain": normal(width), "doffset": normal(width)}
    both(
        "layer_norm_backward", derivatives, dy, x, gain, mean.astype(dtype), scale.astype(dtype), "dx", "dgain", "doffset"
    )
    both(
        "layer_norm_backward", derivatives, dy, x, gain, mean.astype(dtype), scale.astype(dtype), "dx", "dgain", "doffset",
        False,
    )
    scaled = {"dx": matrix, "dfactor": normal(width), "doffset": normal(width)}
    for accumulate in (True, False):
        both("scale_columns_backward", scaled, dy, x, gain, "dx", "dfactor", "doffset", accumulate)
    both("column_sum", {"out": normal(width)}, x, "out")
    both("column_sum", {"out": normal(width)}, x, "out", False)
    for pieces in (1, 2, 3) if rows else ():  # the reference cannot reshape a matrix without rows
        z = normal(rows, pieces * width)
        winners = {"out": matrix, "winner": np.zeros((rows, width), np.uint8)}
        both("maxout", winners, z, "out", "winner")
        winner = generator.integers(0, pieces, (rows, width)).astype(np.uint8)
        both("maxout_spread", {"dz": np.ones((rows, pieces * width), dtype)}, dy, winner, "dz")
        both("maxout_pick", {"out": matrix}, z, winner, "out")
    if rows:
        table = generator.integers(-1, width, 2 * width).astype(np.int32)
        both("take_columns", {"out": np.ones((rows, 2 * width), dtype)}, x, table, "out")
        both("sum_columns", {"out": np.ones((rows, width), dtype)}, x, table.reshape(width, 2), "out")
        windows = generator.integers(0, width, (width, 2)).astype(np.int32)
        both("largest_columns", {"out": matrix, "winner": np.zeros((rows, width), np.uint8)}, x, windows, "out", "winner")
        winner = generator.integers(0, 2, (rows, width)).astype(np.uint8)
        both("largest_columns_pick", {"out": matrix}, x, windows, winner, "out")
        codes = np.where(table < 0, -1, 256 * table + generator.integers(0, 2, table.shape)).astype(np.int32)
        both("largest_columns_spread", {"dx": matrix}, dy, winner, codes.reshape(width, 2), "dx")
        for groups, size, wide in ((1, 3, 2), (width, 2, 3), (2, width, 1)):
            features, weight = normal(rows, groups * size), normal(groups * size, wide)
            derivative = normal(rows, groups * wide)
            for accumulate in (False, True):
                both("grouped_matmul", {"out": derivative}, features, weight, "out", accumulate)
                both("grouped_matmul_weight", {"out": weight}, features, derivative, "out", accumulate)
            both("grouped_matmul_input", {"out": features}, derivative, weight, "out")
            both("repeat_labels", {"out": np.zeros(3 * rows, np.int32)}, labels, "out")
            both("beside", {"out": normal(rows, 2 + derivative.shape[1])}, x, np.array([width - 1, 0], "i4"), derivative, "out")
        coded, table, size = lookups(generator, x)
        lookup = {"out": np.ones((rows, len(table)), dtype)}
        both("embed", lookup, coded, x, normal(size), table, "out")
        for accumulate in (True, False):
            both("embed_backward", {"out": normal(size)}, normal(rows, len(table)), coded, table, "out", accumulate)


def run_narrow_rows(backend: Backend, rows: int, width: int, dtype: str) -> None:
    """Runs the row kernels on matrices of 16 bits and compares with the reference in float64 within the table."""
    from fusedstep.backends.conformance.tolerances import tolerance as table

    generator = np.random.default_rng(rows * 31 + width)
    oracle = Backend(np)

    def narrow(*shape: int) -> np.ndarray[Any, Any]:
        return generator.normal(0.0, 1.5, shape).astype("f").astype(np.dtype(dtype))

    x, dy, gain, offset = narrow(rows, width), narrow(rows, width), narrow(width), narrow(width)
    labels = generator.integers(0, width, rows).astype(np.int32)
    soft = generator.dirichlet(np.ones(width), rows).astype(np.float32)
    wide = x.astype(np.float64)
    mean, scale = wide.mean(axis=1).astype("f"), (1.0 / np.sqrt(wide.var(axis=1) + 1e-3)).astype("f")
    matrix, vector, sums = np.zeros_like(x), np.zeros(rows, "f"), np.ones(width, "f")
    z = narrow(rows, 2 * width)
    winner = generator.integers(0, 2, (rows, width)).astype(np.uint8)
    by_row = generator.uniform(0.0, 2.0, rows).astype("f")
    calls: list[tuple[Any, ...]] = [
        ("softmax", {"out": matrix}, x, "out"),
        ("softmax_cross_entropy", {"l": vector, "g": matrix}, x, labels, None, 0.9, 0.05, 0.25, "l", "g"),
        ("softmax_cross_entropy_soft", {"l": vector, "g": matrix}, x, soft, 0.25, "l", "g"),
        ("focal_loss", {"l": vector, "g": matrix}, x, labels, None, 2.0, 0.25, "l", "g"),
        ("multi_class_hinge", {"l": vector, "g": matrix}, x, labels, 0.25, "l", "g"),
        ("softmax_cross_entropy_soft", {"l": vector, "g": matrix}, x, soft, 0.25, "l", "g", None, False, None, by_row),
        (
            "softmax_cross_entropy", {"l": vector, "g": matrix}, x, labels, None, 0.9, 0.05, 0.25, "l", "g", None, False, None,
            by_row,
        ),
        ("focal_loss", {"l": vector, "g": matrix}, x, labels, None, 2.0, 0.25, "l", "g", None, False, None, by_row),
        ("multi_class_hinge", {"l": vector, "g": matrix}, x, labels, 0.25, "l", "g", by_row),
        ("layer_norm", {"y": matrix, "m": vector, "s": vector}, x, gain, offset, 1e-3, "y", "m", "s"),
        ("layer_norm_backward", {"d": matrix, "a": sums, "b": sums}, dy, x, gain, mean, scale, "d", "a", "b"),
        ("scale_columns_backward", {"d": matrix, "a": sums, "b": sums}, dy, x, gain, "d", "a", "b"),
        ("column_sum", {"out": sums}, x, "out"),
        ("maxout", {"out": matrix, "w": winner}, z, "out", "w"),
        ("maxout_spread", {"z": z}, dy, winner, "z"),
        ("maxout_pick", {"out": matrix}, z, winner, "out"),
    ]
    features, weight, derivative = narrow(rows, 2 * width), narrow(2 * width, 3), narrow(rows, 3 * width)
    calls += [
        ("grouped_matmul", {"out": np.zeros_like(derivative)}, features, weight, "out"),
        ("grouped_matmul_input", {"out": np.zeros_like(features)}, derivative, weight, "out"),
        ("grouped_matmul_weight", {"out": np.ones(weight.shape, "f")}, features, derivative, "out"),
        ("beside", {"out": narrow(rows, 1 + 3 * width)}, x, np.array([width - 1], "i4"), derivative, "out"),
    ]
    coded, chosen, size = lookups(generator, wide.astype("f"))
    looked_up, weight = narrow(rows, len(chosen)), narrow(size)
    calls.append(("embed", {"out": np.zeros_like(looked_up)}, coded, coded, weight, chosen, "out"))
    calls.append(("embed_backward", {"out": np.ones(size, "f")}, looked_up, coded, chosen, "out"))
    for name, outputs, *given in calls:
        device = {k: backend.asarray(v.copy()) for k, v in outputs.items()}
        host = {k: v.copy() if v.dtype == np.uint8 else v.astype(np.float64) for k, v in outputs.items()}
        backend.rows(
            name, *(device[a] if isinstance(a, str) else backend.asarray(a) if isinstance(a, np.ndarray) else a for a in given)
        )
        exact = [host[a] if isinstance(a, str) else a for a in given]
        exact = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind not in "iu" else a for a in exact]
        oracle.rows(name, *[host[g] if isinstance(g, str) else e for g, e in zip(given, exact, strict=True)])
        for key, want in host.items():
            got = backend.to_numpy(device[key])
            assert got.dtype == outputs[key].dtype
            # Sums over rows are kept in float32, and are as exact as sums of float32 numbers.
            kind = (dtype, "row") if str(got.dtype) == dtype else ("float32", "sum")
            ok = table(*kind).allows(got, want)
            assert ok.all(), f"{name}: {key} of {rows}x{width} in {dtype}: {got[~ok]} for {want[~ok]}"


SUMMED = ("softmax_cross_entropy", "softmax_cross_entropy_soft", "focal_loss")
"""The row operations that may sum the rows of their gradient."""


def run_summed(backend: Backend, rows: int, width: int, dtype: str, name: str) -> int | None:
    """Compares one of SUMMED with the column sums of its gradient in the same pass, also where that is scaled and added.

    Loss and gradient are the bits of the call without sums, the sums those of the gradient before it is rounded to 16 bits, the
    same ones in every call. A scale of 4 multiplies gradient and sums.

    Returns: how many launches it took, None where the sums were not written.
    """
    from fusedstep.backends.conformance.tolerances import tolerance as table

    generator = np.random.default_rng(rows * 131 + width)
    x = generator.normal(0.0, 1.5, (rows, width)).astype("f" if dtype != "float64" else dtype).astype(np.dtype(dtype))
    real = "float64" if dtype == "float64" else "float32"
    if name == "softmax_cross_entropy_soft":
        given: list[Any] = [generator.dirichlet(np.ones(width), rows).astype(real), 0.25]
    else:
        weights = generator.uniform(0.5, 2.0, width).astype(real)
        labels = generator.integers(0, width, rows).astype(np.int32)
        given = [labels, weights, *((2.0,) if name == "focal_loss" else (0.9, 0.05)), 0.25]
    losses, derivative = np.empty(rows), np.empty((rows, width))
    exact = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in given]
    Backend(np).rows(name, x.astype(np.float64), *exact, losses, derivative)
    given = [backend.asarray(a) if isinstance(a, np.ndarray) else a for a in given]
    counters, found = getattr(backend, "counters", None), []
    four = backend.asarray(np.array([4.0], real))
    for further in ((), (False,), (False,), (True,), (False, four)):
        logits, row_losses = backend.asarray(x.copy()), backend.empty((rows,), real)
        sums = backend.asarray(np.full(width, 7.0, real))
        before = getattr(backend, "launches", 0)
        written = backend.rows(name, logits, *given, row_losses, logits, *((sums, *further) if further else ()))
        launches = getattr(backend, "launches", 0) - before
        found.append((written, *(backend.to_numpy(a) for a in (row_losses, logits, sums))))
        assert counters is None or not backend.to_numpy(counters()).any()
    plain, once, twice, added, larger = found
    for a, b in ((plain, once), (once, twice), (once, added)):
        assert [v.tobytes() for v in a[1:3]] == [v.tobytes() for v in b[1:3]]
    assert larger[1].tobytes() == once[1].tobytes()
    below_normal = 2.0**-22 if dtype == "float16" else 0.0  # numbers that float16 holds with fewer digits
    np.testing.assert_allclose(larger[2].astype(real), 4.0 * once[2].astype(real), rtol=0.0, atol=below_normal)
    assert not plain[0]
    if not once[0]:
        assert all((f[3] == 7.0).all() for f in found), "written, but it says that it was not"
        return None
    assert once[3].tobytes() == twice[3].tobytes()
    np.testing.assert_array_equal(added[3], once[3] + np.asarray(7.0, real))
    np.testing.assert_array_equal(larger[3], 4.0 * once[3])
    # The terms are below 0.5; they may cancel.
    allowed = table(real, "sum")
    close_enough = np.abs(once[3] - derivative.sum(axis=0)) <= max(rows, 1) ** 0.5 * (allowed.atol + allowed.rtol)
    assert close_enough.all(), f"{name}: column sums of {rows}x{width} in {dtype}"
    return int(launches)


def run_sums(backend: Backend, size: int, dtype: str) -> None:
    """Compares the sums over whole arrays, and that non-finite elements show."""
    x = np.random.default_rng(size).normal(0.0, 1.0, size).astype(dtype)
    device = backend.asarray(x)
    wide = x.astype(np.float64)
    bound = 1e-6 if dtype == "float32" else 1e-13
    assert abs(backend.item(backend.total(device)) - wide.sum()) <= bound * (np.abs(wide).sum() + 1.0)
    assert abs(backend.item(backend.sum_of_squares(device)) - wide @ wide) <= bound * (wide @ wide + 1.0)
    for bad in (np.nan, np.inf, -np.inf):
        for place in {0, size // 2, size - 1}:
            spoilt = x.copy()
            spoilt[place] = bad
            assert not np.isfinite(backend.item(backend.sum_of_squares(backend.asarray(spoilt))))
            np.testing.assert_equal(backend.item(backend.total(backend.asarray(spoilt))), bad)


def run_limit(backend: Backend, dtype: str) -> None:
    """Compares clipping by global norm, with a norm below, above and at the limit, of 0, and not finite."""
    for square, factor in ((0.25, 1.0), (16.0, 0.25), (1.0, 1.0), (0.0, 1.0), (np.inf, np.nan), (np.nan, np.nan)):
        scales = backend.asarray(np.array([1.0, 0.5, 2.0]).astype(dtype))
        squares = backend.asarray(np.array([square]).astype(dtype)).reshape(())
        backend.limit_norm(scales, squares, 1.0)
        np.testing.assert_allclose(backend.to_numpy(scales), factor * np.array([1.0, 0.5, 2.0]), rtol=1e-6)
