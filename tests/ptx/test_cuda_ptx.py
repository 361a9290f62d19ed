"""Every Numba CUDA kernel compiles to PTX; in float32 without double arithmetic, calls, or spilled registers."""

# ruff: noqa: E402 – modules can be skipped before they import what they need
import re
import subprocess
import sys
from pathlib import Path

import pytest

numba_cuda = pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install 'fusedstep[test]'")

import kernel_cases as cases
import numba.core.config
import numpy as np

if numba.core.config.ENABLE_CUDASIM:
    pytest.skip("Numba's simulator is switched on, which compiles nothing", allow_module_level=True)

import numba.cuda.dispatcher
from numba.cuda import compile_ptx

from fusedstep.kernels.formula import REGISTRY
from fusedstep.kernels.rows import cuda as rows
from fusedstep.kernels.targets import cuda as target

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
CAPABILITIES = ((8, 0), (9, 0))
IN_DOUBLE = ("bias_gelu_dropout_kept", "gaussian_noise", "binary_cross_entropy", "row_product", "nadam_update")


@pytest.fixture(autouse=True)
def no_device(monkeypatch):
    """Numba asks the device for its capability when it types `view` of a scalar, although the code is inlined."""

    class Device:
        compute_capability = CAPABILITIES[-1]

    monkeypatch.setattr(numba.cuda.dispatcher, "get_current_device", lambda: Device)


@pytest.fixture(scope="module")
def ptxas():
    """The assembler that fits this Numba's PTX, from the wheel nvidia-cuda-nvcc."""
    import nvidia

    found = [p for root in nvidia.__path__ for p in Path(root).glob("*/bin/ptxas")]
    if not found:
        pytest.skip("needs ptxas: pip install nvidia-cuda-nvcc")
    return str(found[0])


def source_of(formula, dtype):
    return (target.update_source if formula.overwrites else target.map_source)(formula, (dtype,))


def ptx_of(generated, capability):
    text, result = compile_ptx(generated.function(), generated.parameters, cc=capability)
    assert str(result) in ("none", "void")
    assert ".entry" in text
    return text


def check_single(text):
    assert ".f64" not in text, "double arithmetic in a float32 kernel"
    assert not re.search(r"^\s*\.extern(?!.*\.shared)", text, re.MULTILINE), "a function that nothing defines"
    assert not re.search(r"^\s*call", text, re.MULTILINE), "a function that was not inlined"


def assemble(ptxas, text, tmp_path):
    """Registers and spills, for sm_90."""
    file = tmp_path / "kernel.ptx"
    file.write_text(text)
    command = [ptxas, "-v", "-arch=sm_90", str(file), "-o", str(tmp_path / "kernel.cubin")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", done.stderr)
    assert spills, done.stderr
    assert all(s == "0" for s in spills), done.stderr
    registers = int(re.findall(r"Used (\d+) registers", done.stderr)[0])
    assert registers * target.BLOCK <= 65_536, f"{registers} registers: a block does not fit a multiprocessor"


def check_everywhere(generated, ptxas, tmp_path):
    for capability in CAPABILITIES:
        text = ptx_of(generated, capability)
        check_single(text)
    assemble(ptxas, text, tmp_path)


@pytest.mark.parametrize("formula", list(REGISTRY.values()), ids=lambda f: f.name)
def test_formula(formula, ptxas, tmp_path):
    check_everywhere(source_of(formula, SINGLE), ptxas, tmp_path)


@pytest.mark.parametrize("function", list(rows.SIGNATURES), ids=lambda f: f.__name__)
def test_row_kernel(function, ptxas, tmp_path):
    check_everywhere(rows.source(function, SINGLE), ptxas, tmp_path)


def test_random_bits(ptxas, tmp_path):
    generated = target.bits_source()
    check_everywhere(generated, ptxas, tmp_path)
    text = ptx_of(generated, CAPABILITIES[-1])
    assert text.count("mul.wide.u32") >= 19, "Philox should multiply 32 by 32 bits"


@pytest.mark.parametrize("name", IN_DOUBLE)
def test_formula_in_double_precision(name):
    assert ".f64" in ptx_of(source_of(REGISTRY[name], DOUBLE), CAPABILITIES[-1])


@pytest.mark.parametrize("function", list(rows.SIGNATURES), ids=lambda f: f.__name__)
def test_row_kernel_in_double_precision(function):
    ptx_of(rows.source(function, DOUBLE), CAPABILITIES[-1])


def test_all_formulas_are_covered():
    """Asked in a fresh process, because other tests register formulas of their own."""
    ask = "import fusedstep.kernels.formulas; from fusedstep.kernels.formula import REGISTRY; print(*REGISTRY)"
    known = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert len(known) > 100
    assert set(known) <= {f.name for f in (*cases.MAPS, *cases.UPDATES)}
