"""What compiles all kernels beforehand: that it takes all of them once, and what it says where it cannot."""

from __future__ import annotations

import pytest

pytest.importorskip("numba", reason="needs Numba CUDA, as the extras cuda12 and cuda13 install it")

from fusedstep.kernels.targets import cache
from fusedstep.tools import warm_cache
from fusedstep.tools.kernel_variants import doubles, variants


def test_shares_are_all_kernels_and_each_once():
    shares = [[str(v) for v in warm_cache.part(first, 7)] for first in range(7)]
    wanted = [str(v) for v in (*variants(), *doubles())]
    assert len(set(wanted)) == len(wanted)
    assert sorted(name for share in shares for name in share) == sorted(wanted)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_kernels_of_float64_are_of_that_type():
    found = [variant.source() for variant in doubles()]
    assert len(found) > 100
    for kernel in found:
        assert any("float64" in str(kind) for kind in kernel.parameters), kernel.name
        assert not any("float32" in str(kind) for kind in kernel.parameters), kernel.name


def test_without_a_device_or_a_cache_it_says_so(monkeypatch, capsys, tmp_path):
    from numba import cuda

    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    assert warm_cache.main() == 2
    assert "expected a CUDA device" in capsys.readouterr().err
    monkeypatch.setattr(cache, "folder", lambda: None)
    assert warm_cache.main() == 2
    assert "set FUSEDSTEP_CACHE_DIR" in capsys.readouterr().err
