"""Numba CUDA kernels compile to PTX without double arithmetic, calls or spilled registers, as the committed table says."""

# ruff: noqa: E402 – modules can be skipped before they import what they need
import dataclasses
import re
import subprocess
import sys

import pytest

numba_cuda = pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install -e '.[test-cuda]'")

import kernel_cases as cases
import numba.core.config
import numpy as np

if numba.core.config.ENABLE_CUDASIM:
    pytest.skip("Numba's simulator is switched on, which compiles nothing", allow_module_level=True)

from fusedstep.kernels.formula import REGISTRY
from fusedstep.kernels.rows.cuda import compiled
from fusedstep.kernels.targets.cuda.bits import bits_source
from fusedstep.kernels.targets.cuda.geometry import BLOCK
from fusedstep.kernels.targets.cuda.maps import map_source
from fusedstep.kernels.targets.cuda.updates import update_source
from fusedstep.tools import register_table
from fusedstep.tools.kernel_variants import digest, variants
from fusedstep.tools.ptx import CAPABILITY, OLDER, find_ptxas, ptx_for, ptx_of, require_single

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
IN_DOUBLE = ("bias_gelu_dropout_saved", "gaussian_noise", "binary_cross_entropy", "row_product", "nadam_update")
OWN = [f for f in REGISTRY.values() if f.function.__module__.startswith("fusedstep.kernels.")]
"""Without those that other tests register."""
VARIANTS = list(variants(OWN))


@pytest.fixture(scope="module")
def ptxas():
    """The assembler that fits this Numba's PTX, from the wheel nvidia-cuda-nvcc."""
    found = find_ptxas()
    if found is None:
        pytest.skip("needs ptxas: pip install nvidia-cuda-nvcc")
    return found


@pytest.fixture(scope="module")
def table():
    """(versions of the compilers, entries) as committed."""
    return register_table.read(register_table.results())


def without_names(text):
    """The PTX of a kernel without its name and that of what belongs to it, for Numba gives it another one each time."""
    return re.sub(r"_ZN[\w$]+?(?=_param_\d|[^\w$])", "name", text)


def check_compiled(variant, ptxas, table):
    """Compiles a kernel for both capabilities, and compares what the assembler says with the table where that is of it."""
    text, older = ptx_for(variant.source(), CAPABILITY, OLDER)
    require_single(variant, text)
    require_single(variant, older)
    assert ".target sm_80" in older
    found = register_table.entry(variant, text, ptxas)
    assert found.spills == 0
    assert found.registers * BLOCK <= 65_536, "a block does not fit a multiprocessor"
    if is_listed(variant, ptxas, table):
        listed = table[1][variant.kernel, variant.stored]
        assert found == listed, "not what the committed table says; run python -m fusedstep.tools.register_table"


def is_listed(variant, ptxas, table):
    """Whether the table was made from this source by these compilers; what made it refused what `check_compiled` refuses."""
    compilers, entries = table
    listed = entries.get((variant.kernel, variant.stored))
    is_same = listed is not None and listed.source == digest(variant.source())
    return is_same and compilers == register_table.compilers(ptxas)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_kernel_that_is_not_in_the_table_compiles_for_both_capabilities(variant, ptxas, table):
    if not is_listed(variant, ptxas, table):
        check_compiled(variant, ptxas, table)


@pytest.mark.exhaustive
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_kernel_for_both_capabilities(variant, ptxas, table):
    check_compiled(variant, ptxas, table)


@pytest.mark.parametrize("name", ["sgd_update-float32", "softmax_cross_entropy-bfloat16", "gaussian_noise-float32"])
def test_some_are_compiled_always(name, ptxas, table):
    check_compiled(next(v for v in VARIANTS if str(v) == name), ptxas, table)


def test_a_changed_kernel_and_other_compilers_are_noticed(ptxas, table):
    variant = VARIANTS[0]
    entries = table[1]
    now = register_table.compilers(ptxas)
    saved = entries[variant.kernel, variant.stored]
    same = {(variant.kernel, variant.stored): dataclasses.replace(saved, source=digest(variant.source()))}
    assert is_listed(variant, ptxas, (now, same))
    assert not is_listed(variant, ptxas, ({**now, "numpy": "1.0"}, same))
    assert not is_listed(variant, ptxas, (now, {}))
    assert not is_listed(variant, ptxas, (now, {(variant.kernel, variant.stored): dataclasses.replace(saved, source="other")}))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("nothing", "a kernel"),
        (".entry\nadd.f64 x;", "no double arithmetic"),
        (".entry\n.extern .func f", "no function that nothing defines"),
        (".entry\n  call f;", "every function inlined"),
    ],
)
def test_what_no_kernel_may_hold_is_refused(text, what):
    with pytest.raises(RuntimeError, match=f"expected {what} in kernel {VARIANTS[0]}"):
        require_single(VARIANTS[0], text)


def test_the_committed_table_is_that_of_these_kernels(table):
    """Compared by the digests of their sources, so nothing is compiled for it."""
    now = {(v.kernel, v.stored): digest(v.source()) for v in VARIANTS}
    listed = {key: e.source for key, e in table[1].items()}
    stale = sorted(key for key in {*now, *listed} if now.get(key) != listed.get(key))
    assert not stale, f"{len(stale)} kernels changed since, such as {stale[0]}; run python -m fusedstep.tools.register_table"


def test_the_committed_table_has_neither_spills_nor_double_arithmetic(table):
    assert all((e.spills, e.double) == (0, False) for e in table[1].values())
    lines = (register_table.results() / f"{register_table.NAME}.md").read_text().splitlines()
    rows_of_it = [line.split("|")[1:4] for line in lines if line.startswith("| ") and "kernel" not in line]
    assert {(k.strip(), s.strip(), int(r)) for k, s, r in rows_of_it} == {(*key, e.registers) for key, e in table[1].items()}


@pytest.mark.parametrize(
    "name", ["bias_relu-float32", pytest.param("adam_inside_update-bfloat16", marks=pytest.mark.exhaustive)]
)
def test_each_capability_gets_what_is_compiled_for_it_alone(name):
    generated = next(v for v in VARIANTS if str(v) == name).source()
    together = [without_names(text) for text in ptx_for(generated, CAPABILITY, OLDER)]
    assert together == [without_names(ptx_of(generated, capability)) for capability in (CAPABILITY, OLDER)]


def test_random_bits():
    text = ptx_of(bits_source())
    assert text.count("mul.wide.u32") >= 19, "Philox should multiply 32 by 32 bits"


@pytest.mark.parametrize("name", ["lion_update", "bias_gelu", "as_stored"])
def test_memory_is_accessed_in_words_of_8_bytes(name):
    formula = REGISTRY[name]
    make = update_source if formula.overwrites else map_source
    text = ptx_of(make(formula, (SINGLE,)))
    whole = [k for k, kind in zip(formula.parameters, formula.kinds, strict=True) if kind in ("each", "row")]
    assert len(re.findall(r"ld\.global\.[bu]64|ld\.global\.v2", text)) >= 2 * len(whole)
    assert len(re.findall(r"st\.global\.[bu]64|st\.global\.v2", text)) >= 2 * len(formula.outputs)
    assert not re.search(r"st\.global\.[bfu](8|16|32)\b", text)


@pytest.mark.parametrize("name", IN_DOUBLE)
def test_formula_in_double_precision(name):
    formula = REGISTRY[name]
    make = update_source if formula.overwrites else map_source
    assert ".f64" in ptx_of(make(formula, (DOUBLE,)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("function", list(compiled.SIGNATURES), ids=lambda f: f.__name__)
def test_row_kernel_in_double_precision(function):
    ptx_of(compiled.source(function, DOUBLE))


def test_all_formulas_are_covered():
    """Asked in a fresh process, because other tests register formulas of their own."""
    ask = "import fusedstep.kernels.formulas; from fusedstep.kernels.formula import REGISTRY; print(*REGISTRY)"
    known = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert len(known) > 100
    assert set(known) <= {f.name for f in (*cases.MAPS, *cases.UPDATES)}


def test_what_the_assembler_refuses_is_told(ptxas):
    variant = next(v for v in VARIANTS if str(v) == "sgd_update-float32")
    with pytest.raises(RuntimeError, match="kernel sgd_update-float32"):
        register_table.entry(variant, ".version 9.0\n.target sm_90\n.entry nonsense", ptxas)
