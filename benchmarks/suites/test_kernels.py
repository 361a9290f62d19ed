"""Kernels that are bound by memory; bytes moved stand in extra_info."""

from __future__ import annotations

import pytest

from fusedstep.benchmarks import kernels
from fusedstep.benchmarks.copying import copies


@pytest.mark.parametrize("name", ["bias_relu", "layer_norm", "softmax_cross_entropy"])
def test_rows(measure, backend, threads, name):
    measure(getattr(kernels, name)(backend, threads), bytes=8 * kernels.ROWS * kernels.COLUMNS)


def test_adam(measure, backend, threads):
    measure(kernels.adam(backend, 1_000_000, threads), bytes=28_000_000)


def test_copy(measure, threads):
    elements = 2**22
    for name, prepared in copies(threads, elements).items():
        if name.startswith(f"copy, {threads}"):
            measure(prepared, bytes=8 * elements)
