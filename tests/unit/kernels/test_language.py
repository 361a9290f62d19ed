"""The kernel language: compiled code does what Python does with the same source; what is not of the language is refused."""

from __future__ import annotations

import inspect
import math
import textwrap

import numpy as np
import pytest

from fusedstep.kernels.targets.cpu import CpuKernel
from fusedstep.kernels.targets.llvm import memory
from fusedstep.kernels.targets.llvm.compiler import KernelError, Module
from fusedstep.kernels.targets.llvm.kinds import F32, F64, I64, U32, ArrayOf
from fusedstep.kernels.targets.source import HEADER

f32, f64, i32, i64, u32, u64 = np.float32, np.float64, np.int32, np.int64, np.uint32, np.uint64
floor = np.floor
REAL, WHOLE, WORDS = (ArrayOf(np.dtype(t), 1, True) for t in ("f8", "i8", "u4"))
MATRIX = ArrayOf(np.dtype("f8"), 2, True)


def arithmetic(x, y, out):
    for i in range(x.shape[0]):
        out[0] += x[i] + y[i]
        out[1] += x[i] - y[i] * 2.0
        out[2] += x[i] / (y[i] * y[i] + 1.0)
        out[3] += -x[i]
        out[4] += abs(x[i]) + floor(y[i])


def mathematics(x, out):
    for i in range(x.shape[0]):
        a = abs(x[i]) + 0.5
        out[i] = math.exp(x[i]) + math.log(a) + math.sqrt(a) + math.sin(x[i]) * math.cos(x[i])
        out[i] += math.tanh(x[i]) + math.expm1(x[i]) + math.log1p(a) + math.erf(x[i])


def comparisons(x, out):
    for i in range(x.shape[0]):
        a = x[i]
        out[0] += 1 if a < 0.5 else 0
        out[1] += 1 if a <= 0.5 else 0
        out[2] += 1 if not a > 0.5 else 0
        out[3] += 1 if a == a else 0
        out[4] += 1 if a != a else 0
        out[5] += 1 if a > 0.0 and a < 1.0 else 0
        out[6] += 1 if a > 1.0 or a < 0.0 or a != a else 0


def branches(x, out):
    best, which = x[0], 0
    for i in range(1, x.shape[0]):
        if x[i] > best:
            best = x[i]
            which = i
        elif x[i] == best:
            which = -1
        else:
            out[1] += 1
    out[0] = which


def loops(out):
    for start in range(0, 10, 3):
        for i in range(start, min(10, start + 3)):
            out[i] += start
    k = 0
    while True:
        k += 1
        if k > 5:
            break
        if k > 3:
            out[k] += 100
    for i in range(5, 2):
        out[i] = -1
    while k < 9:
        k += 1
        out[k] -= 7 * max(k, 8) + k // 3 + k % 4


def short_circuit(table, x, out):
    for i in range(table.shape[0]):
        out[i] = x[table[i]] if table[i] >= 0 else 0.0
        if table[i] >= 0 and x[table[i]] > 0.0:
            out[i] += 1.0
        if table[i] < 0 or x[table[i]] < 0.0:
            out[i] -= 1.0


def matrices(x, out):
    rows, width = x.shape
    for i in range(rows):
        for j in range(width):
            out[j, i] = x[i, j] * f64(x.shape[1]) + f64(i)


def pieces(x, out):
    part = np.zeros(4, np.int64)
    rest = np.empty(x.shape[0], x.dtype)
    tail = x[1 : x.shape[0]]
    for i in range(tail.shape[0]):
        part[i % 4] += tail[i]
    rest[:] = 5
    part[:] = part[0] + rest[1]
    for i in range(4):
        out[i] = part[i]


def unsigned(x, out):
    for i in range(x.shape[0]):
        a = u32(u64(x[i]) * u64(3528531795))
        b = u32(u64(x[i]) >> u64(3)) ^ a
        out[i] = b & u32(4294901760) | u32(i)


def bits(x, out):
    for i in range(x.shape[0]):
        out[i] = i64(f64(x[i]).view(np.uint64) >> u64(52)) - 1023


def helper(x, i):
    if x[i] < 0.0:
        return 0.0
    return x[i] * 2.0


def calls(x, out):
    for i in range(x.shape[0]):
        out[i] = helper(x, i)


def compiled(function, *kinds, helpers=()):
    text = HEADER + "\n".join(textwrap.dedent(inspect.getsource(f)) for f in (*helpers, function))
    names = function.__code__.co_varnames
    return CpuKernel(function.__name__, text, {names[k]: kind for k, kind in enumerate(kinds)})


X = np.array([0.3, -1.7, 0.5, 2.0, -0.0, 1.0, 7.25, -3.5])
CASES = {
    arithmetic: ((REAL, REAL, REAL), (X, X[::-1].copy(), np.zeros(5))),
    mathematics: ((REAL, REAL), (X, np.zeros(8))),
    comparisons: ((REAL, WHOLE), (np.append(X, np.nan), np.zeros(7, "i8"))),
    branches: ((REAL, WHOLE), (X, np.zeros(2, "i8"))),
    loops: ((WHOLE,), (np.zeros(10, "i8"),)),
    short_circuit: ((WHOLE, REAL, REAL), (np.array([3, -(2**40), 0, 1]), X, np.zeros(4))),
    matrices: ((MATRIX, MATRIX), (np.arange(6.0).reshape(2, 3), np.zeros((3, 2)))),
    pieces: ((WHOLE, WHOLE), (np.arange(11), np.zeros(4, "i8"))),
    unsigned: ((WORDS, WORDS), (np.array([1, 2**31, 2**32 - 1, 77], "u4"), np.zeros(4, "u4"))),
    bits: ((REAL, WHOLE), (X[:4], np.zeros(4, "i8"))),
    calls: ((REAL, REAL), (X, np.zeros(8))),
}


@pytest.mark.parametrize("function", CASES, ids=lambda f: f.__name__)
def test_compiled_code_does_what_python_does(function):
    kinds, arguments = CASES[function]
    ours, pythons = ([a.copy() for a in arguments] for _ in range(2))
    compiled(function, *kinds, helpers=[helper] if function is calls else [])(*ours)
    with np.errstate(all="ignore"):
        function(*pythons)
    for own, expected, before in zip(ours, pythons, arguments, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-14, atol=0)
        assert own is not ours[-1] or (own != before).any()


def test_numbers_are_arguments_too():
    def scaled(out, factor, count, word, single):
        out[0] = factor * f64(count) + f64(word) + f64(single)

    out = np.zeros(1)
    compiled(scaled, REAL, F64, I64, U32, F32)(out, 0.1, -3, 2**32 - 1, 0.5)
    assert out[0] == 0.1 * -3.0 + (2**32 - 1) + 0.5


def test_loops_over_floats_use_vectors():
    def scale(x, factor):
        for i in range(x.shape[0]):
            x[i] *= factor

    kind = ArrayOf(np.dtype("f4"), 1, True)
    text = HEADER + textwrap.dedent(inspect.getsource(scale))
    module = Module(text)
    module.entry("scale", "scale", (kind, F32))
    from fusedstep.kernels.targets.llvm.machine import llvm, machine

    made = machine()
    code = made.object_of(module.assembly)
    assert len(code) > 0
    parsed = llvm.parse_assembly(module.assembly)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(made.target, options)
    builder.getModulePassManager().run(parsed, builder)
    assert " x float>" in str(parsed)


REFUSED = {
    "mixed": ("x[0] = f32(1.0) + x[0]", "type f"),
    "division of whole numbers": ("n = 3 / 2", "//"),
    "slice with a step": ("y = x[0:4:2]", "slice"),
    "unknown name": ("x[0] = nothing", "nothing"),
    "unknown function": ("x[0] = math.gamma(x[0])", "math.gamma"),
    "condition that is no comparison": ("if x[0]:\n        x[0] = 1.0", "comparison"),
    "loop over an array": ("for v in x:\n        x[0] = v", "range"),
    "statement": ("with x:\n        pass", "With"),
    "array made in a loop": ("for i in range(3):\n        y = np.zeros(3, x.dtype)", "before the loops"),
    "one index for two": ("z[0] = 1.0", "2 indices"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_of_the_language_is_named(case):
    line, message = REFUSED[case]
    wrong = CpuKernel("wrong", f"{HEADER}def wrong(x, z):\n    {line}\n", {"x": REAL, "z": MATRIX})
    with pytest.raises(KernelError, match=message):
        wrong.entry  # noqa: B018


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros(3, "f4"), "float64"), (np.zeros((3, 1)), "1 dimensions"), (np.zeros(6)[::2], "row-major"),
        (np.broadcast_to(np.float64(0), (3,)), "row-major"), (np.frombuffer(bytes(24)), "read-only"),
    ],
)  # fmt: skip
def test_other_arrays_are_refused(wrong, message):
    with pytest.raises(TypeError, match=message):
        compiled(mathematics, ArrayOf(np.dtype("f8"), 1, False), REAL)(np.zeros(3), wrong)


def test_words_of_memory_in_python():
    place = memory.reserve(2)
    memory.store(place, 5)
    memory.store(place + 8, -1)
    assert (memory.load(place), memory.add_atomic(place, 3), memory.load_atomic(place)) == (5, 5, 8)
    assert (memory.exchange(place, 1), memory.load(place), memory.load(place + 8)) == (8, 1, -1)
