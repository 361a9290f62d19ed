"""The two ways into a kernel, with arrays and with words, do the same to the bit; and products by words."""

import numpy as np
import pytest

import fusedstep.kernels.formulas  # noqa: F401 – registers all formulas
from fusedstep.backends import Random, backend, conformance
from fusedstep.backends.numba.walk import walk
from fusedstep.backends.threads import single_threaded_blas
from fusedstep.kernels import formulas as library
from fusedstep.kernels.formula import REGISTRY
from fusedstep.kernels.rows import cpu
from fusedstep.kernels.rows.lookup import Lookup, lookup_table
from fusedstep.kernels.rows.operation import ROWS as ROW_OPERATIONS
from fusedstep.kernels.targets.cpu import bind_map, update_kernel
from fusedstep.kernels.targets.native import address_of, gemm_entry, gemm_words, words_of

OURS = sorted((f for f in REGISTRY.values() if f.function.__module__.startswith(library.__name__)), key=lambda f: f.name)
MAPS, UPDATES = ([f for f in OURS if bool(f.overwrites) == updates] for updates in (False, True))
RANDOM = [f for f in MAPS if f.random and f.name in ("dropout", "gaussian_noise", "bias_relu_dropout", "uniform")]
NAMED = [f for f in MAPS if f.name in ("add", "add_bias", "row_product", "softmax_slope", "scale_columns", "negative_log")]
PLAIN = [f for f in MAPS if not f.random and f not in NAMED]
SAMPLE = [*NAMED, *RANDOM, *PLAIN[:: max(1, len(PLAIN) // 8)], *UPDATES[:: max(1, len(UPDATES) // 4)]]
ROWS, WIDTH = 13, 7


def enter(entry, words):
    """Calls an entry through a program of one call."""
    table = np.array([*words, 0], np.int64)
    calls = np.array([[entry.address, table.ctypes.data]], np.int64)
    tasks, phases = np.array([[0, 1]], np.int64), np.array([0, 1], np.int64)
    marks = np.zeros(3, np.int64)
    job = np.array([*map(address_of, (calls, tasks, phases)), 1, address_of(marks), 0, 1, 0], np.int64)
    walk().part(address_of(job), 0, 1, 0, 0)


def both_ways(kernel, arguments, changes=True):
    """Calls function and entry on copies, and compares every array afterwards, also those that are only read."""
    given = [[a.copy() if isinstance(a, np.ndarray) else a for a in arguments] for _ in range(2)]
    for position, a in enumerate(arguments):  # what is one array stays one
        first = next(p for p, b in enumerate(arguments) if b is a)
        for copies in given:
            copies[position] = copies[first]
    kernel(*given[0])
    enter(kernel.entry, words_of(kernel.parameters, given[1]))
    for name, one, other, before in zip(kernel.parameters, *given, arguments, strict=True):
        if isinstance(one, np.ndarray):
            assert one.tobytes() == other.tobytes(), f"{kernel.name}: {name}"
            if not any(one is w for w in kernel.written(given[0])):
                assert one.tobytes() == before.tobytes()
    written = kernel.written(arguments)
    assert written
    assert not changes or any(a.tobytes() != b.tobytes() for a, b in zip(written, kernel.written(given[0]), strict=True))


def _row_cases(dtype):
    generator = np.random.default_rng(3)

    def real(*shape):
        return generator.standard_normal(shape).astype(dtype)

    matrix, vector, wide = (ROWS, WIDTH), (ROWS,), (ROWS, 3 * WIDTH)
    labels = generator.integers(0, WIDTH, ROWS).astype("i4")
    soft = generator.random(matrix).astype(dtype)
    winner = generator.integers(0, 3, matrix).astype("u1")
    table = generator.integers(-1, WIDTH, (WIDTH, 3)).astype("i4")
    out, losses = np.full(matrix, 9, dtype), np.full(vector, 9, dtype)
    x, gain, scale = real(*matrix), real(WIDTH), np.abs(real(ROWS)) + 0.1
    none = np.empty(0, dtype)
    lookups = lookup_table(WIDTH, (Lookup(0, 6, 3, 0), Lookup(2, 5, 3, 18)))
    coded = x.copy()
    coded[:, 0], coded[:, 2] = generator.integers(-1, 7, ROWS), generator.integers(0, 5, ROWS)
    cases = {
        "softmax": [(x, out), (x, x)],
        "softmax_cross_entropy": [
            (x, labels, none, 1.0, 0.0, 0.25, losses, out),
            (x, labels, np.abs(gain), 0.9, 0.1 / 6, 0.25, losses, out),
        ],
        "softmax_cross_entropy_soft": [(x, soft, 0.25, losses, out)],
        "focal_loss": [(x, labels, none, 2.0, 0.25, losses, out), (x, labels, np.abs(gain), 0.5, 0.25, losses, out)],
        "multi_class_hinge": [(x, labels, 0.25, losses, out)],
        "layer_norm": [(x, gain, real(WIDTH), 1e-5, out, losses, np.full(vector, 9, dtype))],
        "layer_norm_backward": [(real(*matrix), x, gain, real(ROWS), scale, out, real(WIDTH), real(WIDTH))],
        "scale_columns_backward": [(real(*matrix), x, gain, out, real(WIDTH), real(WIDTH))],
        "column_sum": [(x, real(WIDTH)), (real(300, 5), real(5))],
        "settle": [
            (np.array([1.0, 2.0]), np.array([3.0, 4.5]), 2.0, 9.0, np.array([1.0, 0.5], dtype), np.zeros(2)),
            (np.array([1.0, 2.0]), np.array([3.0, 4.5]), 2.0, 7.0, np.array([1.0, 0.5], dtype), np.zeros(2)),
            (np.array([1.0]), np.array([np.inf]), np.inf, 1e308, np.ones(1, dtype), np.zeros(2)),
        ],
        "total": [(losses * real(ROWS), np.zeros(1))],
        "sum_of_squares": [(real(101), np.zeros(1))],
        "add_to": [(real(101), real(101))],
        "copy": [(real(101), real(101))],
        "fill": [(real(101), 0.3)],
        "gather": [(x, generator.integers(0, ROWS, 12), np.array([2]), 4, 1, np.full((3, WIDTH), 9, dtype))],
        "scalars_of_step": [(real(12), np.array([2]), real(4))],
        "end_step": [
            (np.array([1.0, 2.0]), np.array([scale], dtype), np.zeros(6), np.array([1]), np.zeros(1, "i8"))
            for scale in (0.5, np.nan)
        ],
        "next_random": [(np.array([1, 2, 3, 4], "u4"),)],
        "argmax": [(x, np.full(vector, 9, "i8")), (np.where(x > 1.0, np.nan, x).astype(dtype), np.full(vector, 9, "i8"))],
        "row_matmul": [
            (x, real(WIDTH, 5), np.full((ROWS, 5), 9, dtype), 0, 5),
            (real(1, 8), real(8, 33), np.full((1, 33), 9, dtype), 4, 33),
            (real(3, 151), real(151, 20), np.full((3, 20), 9, dtype), 0, 20),
        ],
        "maxout": [(real(*wide), out, np.full(matrix, 9, "u1"))],
        "maxout_spread": [(real(*matrix), winner, np.full(wide, 9, dtype))],
        "maxout_pick": [(real(*wide), winner, out)],
        "take_columns": [(x, table.reshape(-1), np.full((ROWS, 3 * WIDTH), 9, dtype))],
        "sum_columns": [(x, table, out)],
        "largest_columns": [(x, np.abs(table), out, np.full(matrix, 9, "u1"))],
        "largest_columns_spread": [(x, winner, np.where(table < 0, table, 256 * table + 1).astype("i4"), out)],
        "largest_columns_pick": [(x, np.abs(table), winner, out)],
        "grouped_matmul": [
            (real(ROWS, 6), real(6, 4), real(ROWS, 4 * groups), adds) for groups in (1, 2, 3) for adds in (0, 1)
        ],
        "grouped_matmul_input": [(real(ROWS, 4 * groups), real(6, 4), real(ROWS, 6)) for groups in (1, 2, 3)],
        "grouped_matmul_weight": [(real(300, 6), real(300, 8), real(6, 4), adds) for adds in (0, 1)],
        "repeat_labels": [(labels, np.zeros(3 * ROWS, "i4"))],
        "beside": [(x, np.array([3, 0], "i4"), real(ROWS, 4), real(ROWS, 6))],
        "embed": [(coded, x, real(33), lookups, np.full((ROWS, len(lookups)), 9, dtype))],
        "embed_backward": [
            (real(ROWS, len(lookups)), coded, lookups, real(33), *limits) for limits in ((0, 33, 0), (0, 33, 1), (5, 14, 0))
        ],
    }
    weights = np.abs(real(ROWS))
    weighed = [name for name, operation in ROW_OPERATIONS.items() if operation.weighs]
    return {**cases, **{f"weighted_{name}": [(*given, weights) for given in cases[name]] for name in weighed}}


def test_every_row_kernel_has_a_case():
    assert {f.__name__ for f in cpu.KINDS} == set(_row_cases("f4"))


@pytest.mark.parametrize("name", _row_cases("f4"))
def test_row_kernels(name, dtype):
    kernel = cpu.kernel(next(f for f in cpu.KINDS if f.__name__ == name), np.dtype(dtype))
    for arguments in _row_cases(dtype)[name]:
        both_ways(kernel, arguments)


def test_the_sample_is_large_and_has_random_ones():
    assert len(SAMPLE) >= 20
    assert sum(f.random for f in SAMPLE) >= 2
    assert any(f.overwrites for f in SAMPLE)


@pytest.mark.parametrize("formula", SAMPLE, ids=str)
def test_formulas(formula, dtype):
    generator = np.random.default_rng(4)

    def real(*shape):
        return generator.uniform(0.1, 0.9, shape).astype(dtype)

    if formula.overwrites:
        arrays = [real(200) for kind in formula.kinds if kind == "each"]
        scalars = real(sum(kind == "group" for kind in formula.kinds), 2)
        segments = np.array([[0, 64, 0], [64, 150, 1]], np.int64)
        both_ways(update_kernel(formula, np.dtype(dtype)), (*arrays, scalars, segments))
        return
    shapes = {"each": (ROWS, WIDTH), "row": (WIDTH,), "column": (ROWS,)}
    given = [0.375 if kind == "scalar" else real(*shapes[kind]) for kind in formula.given]
    outputs = [np.full((ROWS,) if kind == "rowsum" else (ROWS, WIDTH), 7.0, dtype) for kind in formula.outputs]
    random = Random(backend("numba").random_state(2**40 + 7, 3, 11), 0x2000_0001) if formula.random else None
    both_ways(*bind_map(formula, outputs, given, random))
    first = next((k for k, kind in enumerate(formula.given) if kind == "each"), None)
    if first is not None and formula.outputs[0] == "each":
        both_ways(*bind_map(formula, [given[first], *outputs[1:]], given, random), changes=False)


# Products

EXTENTS = [(1, 1, 1), (1, 1, 9), (1, 8, 1), (7, 1, 1), (1, 6, 5), (6, 1, 5), (5, 6, 1), (3, 4, 5), (33, 17, 65), (64, 64, 64)]


def product(a, b, out, transpose_a, transpose_b, accumulate):
    m, n = out.shape
    k = a.shape[0] if transpose_a else a.shape[1]
    words = gemm_words(
        out.dtype, (address_of(a), a.shape[1], transpose_a), (address_of(b), b.shape[1], transpose_b),
        (address_of(out), n), (m, n, k), accumulate,
    )  # fmt: skip
    with single_threaded_blas:
        enter(gemm_entry(), words)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
def test_products(transpose_a, transpose_b, accumulate, dtype):
    generator = np.random.default_rng(6)
    for m, n, k in EXTENTS:
        a = (generator.standard_normal((k, m) if transpose_a else (m, k)) / np.sqrt(k)).astype(dtype)
        b = generator.standard_normal((n, k) if transpose_b else (k, n)).astype(dtype)
        out = np.full((m, n), np.nan, dtype) if not accumulate else generator.standard_normal((m, n)).astype(dtype)
        a_, b_ = (x.astype("f8").T if t else x.astype("f8") for x, t in ((a, transpose_a), (b, transpose_b)))
        wanted = a_ @ b_ + (out.astype("f8") if accumulate else 0.0)
        saved = a.tobytes(), b.tobytes()
        product(a, b, out, transpose_a, transpose_b, accumulate)
        conformance.close(out, wanted, dtype, "product", f"[{m}, {k}] [{k}, {n}]")
        assert (a.tobytes(), b.tobytes()) == saved


def test_a_piece_of_a_product(dtype):
    """Rows of the result, and rows of a wider array as operands: what a split weight gradient needs."""
    generator = np.random.default_rng(7)
    x, dy = generator.standard_normal((40, 12)).astype(dtype), generator.standard_normal((40, 5)).astype(dtype)
    out = np.full((12, 5), 3.0, dtype)
    size = out.itemsize
    words = gemm_words(
        out.dtype, (address_of(x) + 4 * size, 12, True), (address_of(dy), 5, False), (address_of(out) + 4 * 5 * size, 5),
        (6, 5, 40), False,
    )  # fmt: skip
    with single_threaded_blas:
        enter(gemm_entry(), words)
    scale = 40**0.5
    conformance.close(out[4:10] / scale, (x.astype("f8").T @ dy.astype("f8"))[4:10] / scale, dtype, "product")
    assert (out[:4] == 3.0).all()
    assert (out[10:] == 3.0).all()


def test_a_product_of_nothing_adds_nothing(dtype):
    out = np.full((3, 4), 2.0, dtype)
    product(np.empty((3, 0), dtype), np.empty((0, 4), dtype), out, False, False, True)
    assert (out == 2.0).all()
    product(np.empty((3, 0), dtype), np.empty((0, 4), dtype), out, False, False, False)
    assert (out == 0.0).all()
