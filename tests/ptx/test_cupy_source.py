"""The CUDA C of the CuPy target: compiled by NVRTC as CuPy would, and run on the host with the host's compiler."""

import ctypes
import itertools
import re
import shutil
import subprocess
from pathlib import Path

import kernel_cases as cases
import numpy as np
import pytest

from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.kernels.formula import REGISTRY
from fusedstep.kernels.targets import cupy as target
from fusedstep.kernels.targets.numpy import random_bits
from fusedstep.kernels.targets.segments import segment_table

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
FORMULAS = list(REGISTRY.values())
C_TYPES = {"float32": "float", "float64": "double", "uint32": "unsigned int", "int32": "int", "int64": "long long"}
NDARRAY, INDEXER, SCALAR = 1, 2, 3  # kinds of arguments in cupy/_core/_kernel.pxd


def source_of(formula, dtype):
    return (target.update_source if formula.overwrites else target.map_source)(formula, dtype)


def scalars_of(formula):
    return {f"a{i}" for i, kind in enumerate(formula.kinds) if kind == "scalar"}


# NVRTC


def cuda_code(source, numbers, dimensions):
    """What CuPy would hand to NVRTC, for contiguous arrays; `numbers` are the parameters that are no arrays."""
    cupy = pytest.importorskip("cupy", reason="needs CuPy, as the extras cuda12 and cuda13 install it")
    from cupy._core import _carray, _kernel, _scalar

    kernel = target.build(source)
    infos = []
    for p in kernel.params:
        if p.name == "_ind":
            infos.append(_kernel._ArgInfo(INDEXER, _carray.Indexer, None, dimensions, True, True))
        elif not p.raw and p.name in numbers:
            infos.append(_kernel._ArgInfo(SCALAR, _scalar.CScalar, np.dtype(p.dtype), 0, True, True))
        else:
            infos.append(_kernel._ArgInfo(NDARRAY, cupy.ndarray, np.dtype(p.dtype), dimensions, dimensions == 1, True))
    code = _kernel._get_elementwise_kernel_code(
        tuple(infos), _kernel._TypeMap(()), kernel.params, kernel.operation, kernel.name, kernel.preamble, **kernel.kwargs
    )
    return f"#include <cupy/carray.cuh>\n{code}"


def compile_cuda(code, architecture):
    """PTX from NVRTC, with the options of CuPy."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="needs cuda-bindings, as the extras cuda12 and cuda13 install it")
    import cupy
    import nvidia

    include = Path(cupy.__file__).parent / "_core/include"
    folders = [include, *(p for p in (include / "cupy/_cccl").iterdir() if p.is_dir())]
    folders += [p for root in nvidia.__path__ for p in Path(root).glob("*/include")]
    options = [f"--gpu-architecture=compute_{architecture}", "--std=c++17", "--device-as-default-execution-space"]
    options = [o.encode() for o in (*options, *(f"-I{f}" for f in folders))]
    error, program = nvrtc.nvrtcCreateProgram(code.encode(), b"kernel.cu", 0, [], [])
    assert int(error) == 0
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(error):
        log = b" " * nvrtc.nvrtcGetProgramLogSize(program)[1]
        nvrtc.nvrtcGetProgramLog(program, log)
        raise AssertionError(log.decode() + code)
    text = b" " * nvrtc.nvrtcGetPTXSize(program)[1]
    nvrtc.nvrtcGetPTX(program, text)
    nvrtc.nvrtcDestroyProgram(program)
    return text.decode()


def check(source, numbers, dimensions, architectures=(80, 90)):
    code = cuda_code(source, numbers, dimensions)
    for architecture in architectures:
        text = compile_cuda(code, architecture)
        assert f".entry fusedstep_{source.name}" in text
        assert ".f64" not in text, "double arithmetic in a float32 kernel"
        assert not re.search(r"^\s*\.extern", text, re.MULTILINE)


# In turn for one architecture; the source does not depend on it.
COMPILED = list(zip(FORMULAS, itertools.cycle((80, 90)), strict=False))
OTHERWISE = [pytest.param(formula, 170 - architecture, marks=pytest.mark.exhaustive) for formula, architecture in COMPILED]


@pytest.mark.parametrize(("formula", "architecture"), [*COMPILED, *OTHERWISE], ids=lambda value: getattr(value, "name", None))
def test_formula_compiles(formula, architecture):
    numbers = scalars_of(formula) | {"stream", "width", "groups", "runs"}
    flat = formula.flat or "rowsum" in formula.outputs
    check(source_of(formula, SINGLE), numbers, 1 if flat else 2, [architecture])


def test_other_kernels_compile():
    check(target.bits_source(), {"stream", "width"}, 2)
    check(target.limit_source(SINGLE), {"largest", "most"}, 1)


# The host's compiler

PRELUDE = """
#include <cmath>
#include <cstddef>
#include <cstring>
#define __syncthreads()
#define __shared__
template <class To, class From> static To bit_cast(From x) { To y; memcpy(&y, &x, sizeof y); return y; }
static unsigned int __float_as_uint(float x) { return bit_cast<unsigned int>(x); }
static float __uint_as_float(unsigned int x) { return bit_cast<float>(x); }
static long long __double_as_longlong(double x) { return bit_cast<long long>(x); }
static double __longlong_as_double(long long x) { return bit_cast<double>(x); }
static const struct { unsigned int x; } threadIdx = {0}, blockDim = {1};
struct Indexer { ptrdiff_t place[2]; const ptrdiff_t* get() const { return place; } };
"""


def host_code(source, numbers, access):
    """A C function (arguments, count, step, columns) that runs the kernel's loop on one thread.

    Args: numbers – parameters passed by value; access – how the others are indexed, where it is not [i].
    """
    lines = [f'extern "C" void run_{source.name}(void** given, ptrdiff_t count, ptrdiff_t step, ptrdiff_t columns) {{']
    inside = []
    for position, text in enumerate((*source.inputs, *source.outputs)):
        *raw, kind, name = text.split()
        kind = C_TYPES[kind]
        if name in numbers and not raw:
            lines.append(f"  const {kind} {name} = *({kind}*)given[{position}];")
        elif raw:
            lines.append(f"  {kind}* {name} = ({kind}*)given[{position}];")
        else:
            lines.append(f"  {kind}* {name}_all = ({kind}*)given[{position}];")
            const = "const " if position < len(source.inputs) else ""
            inside.append(f"    {const}{kind} &{name} = {name}_all[{access.get(name, 'i')}];")
    lines += [
        source.loop_prep,
        "  for (ptrdiff_t i = 0; i < count; i += step) {",
        "    const Indexer _ind = {{i / columns, i % columns}};",
        *inside,
        source.operation,
        "  }",
        "}",
    ]
    return "\n".join(lines)


NUMBERS = {"stream", "width", "groups", "runs", "largest", "most"}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """For each dtype the library of all kernels."""
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler on the host (g++)")
    folder = tmp_path_factory.mktemp("host")
    libraries = {}
    for dtype in (SINGLE, DOUBLE):
        parts = [PRELUDE, host_code(target.bits_source(), NUMBERS, {})]
        parts.append(host_code(target.limit_source(dtype), NUMBERS, {"squares": "0"}))
        for formula in FORMULAS:
            views = {"row": "i % columns", "column": "i / columns"}
            access = {f"a{i}": views[k] for i, k in enumerate(formula.kinds) if k in views}
            parts.append(host_code(source_of(formula, dtype), NUMBERS | scalars_of(formula), access))
        code = folder / f"{dtype}.cpp"
        code.write_text("\n".join(parts))
        library = folder / f"{dtype}.so"
        command = [compiler, "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-std=c++17", str(code), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:4000]
        libraries[dtype.name] = ctypes.CDLL(str(library))
    return libraries


def call(library, source, arguments, count, step, columns):
    """Runs a kernel; numbers are passed in the type that the kernel declares."""
    dtypes = [np.dtype(text.split()[-2]) for text in (*source.inputs, *source.outputs)]
    held = [a if isinstance(a, np.ndarray) else np.array([a], d) for a, d in zip(arguments, dtypes, strict=True)]
    for array, dtype in zip(held, dtypes, strict=True):
        assert array.dtype == dtype
        assert array.flags.c_contiguous
    pointers = (ctypes.c_void_p * len(held))(*(a.ctypes.data for a in held))
    function = getattr(library, f"run_{source.name}")
    function.argtypes = [ctypes.c_void_p, *(ctypes.c_ssize_t,) * 3]
    function.restype = None
    function(pointers, count, step, columns)


@pytest.fixture
def launched(host, monkeypatch):
    """Lets the functions of the target launch their kernels on the host, for matrices of so many elements and columns."""

    def on(dtype, elements, columns):
        def kernel(made, *of):
            source = made(*of)
            return lambda *given, size=elements, block_size=1: call(
                host[dtype], source, list(given), size, block_size, columns
            )

        monkeypatch.setattr(target, "_kernel", kernel)

    return on


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("formula", cases.MAPS, ids=lambda f: f.name)
def test_map_computes_what_numpy_does(launched, formula, dtype):
    for rows, width in ((1, 1), (3, 4), (5, 9), (2, 33)):
        given = cases.arguments(formula, rows, width, dtype)
        outputs = [np.full(s, np.nan, dtype) for s in cases.output_shapes(formula, rows, width)]
        launched(dtype, rows * width, width)
        target.run_map(formula, outputs, given, (cases.state(NumpyBackend()), cases.STREAM) if formula.random else None)
        for got, want in zip(outputs, cases.expected(formula, given, rows, width), strict=True):
            np.testing.assert_allclose(got, want, **cases.TOLERANCE[dtype])


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("formula", cases.UPDATES, ids=lambda f: f.name)
def test_update_computes_what_numpy_does(launched, formula, dtype, gate):
    ranges, size = [(0, 70, 0), (128, 192, 2), (192, 200, 1)], 256
    arrays, scalars = cases.update_arguments(formula, size, 3, dtype)
    if gate:
        scalars[0, 0] = np.nan
    named = {n: a.copy() for n, a in zip(formula.parameters, arrays, strict=False)}
    table = segment_table(ranges)
    launched(dtype, size, size)
    target.run_update(formula, list(named.values()), scalars, table)
    oracle = NumpyBackend()
    wide = [a.astype(np.float64) for a in arrays]
    oracle.update(formula, wide, scalars.astype(np.float64), oracle.segments(ranges))
    for got, want, before in zip(named.values(), wide, arrays, strict=True):
        np.testing.assert_allclose(got, before if gate else want, **cases.TOLERANCE[dtype])


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 9, 33])
def test_random_bits_are_those_of_numpy(launched, width):
    state = cases.state(NumpyBackend())
    out = np.zeros((3, width), np.uint32)
    launched("float32", out.size, width)
    target.random_bits(out, state, 9)
    np.testing.assert_array_equal(out, random_bits(3, width, state, 9))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limit_norm(launched, dtype):
    finite = ((0.25, 1.0), (16.0, 0.25), (0.0, 1.0), (1e4, 0.01), (1.1e4, np.nan))
    for square, factor in (*finite, (np.inf, np.nan), (np.nan, np.nan)):
        scales = np.array([1.0, 0.5], dtype)
        launched(dtype, 2, 2)
        target.limit_norm(scales, square, 1.0, 1e4)
        np.testing.assert_allclose(scales, factor * np.array([1.0, 0.5]), rtol=1e-6)


def test_nan_stays_nan_through_relu(host):
    x, out = np.array([[np.nan, -1.0, 2.0]], np.float32), np.zeros((1, 3), np.float32)
    call(host["float32"], source_of(REGISTRY["relu"], SINGLE), [x, out], 3, 1, 3)
    np.testing.assert_array_equal(out, [[np.nan, 0.0, 2.0]])


def test_text_needs_no_cupy(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    for formula in FORMULAS:
        assert "float" in source_of(formula, SINGLE).operation
