"""The conformance suite on the cuda backend under Numba's simulator, with small shapes.

Its training group is left out here: test_simulated_steps.py trains networks in a fraction of the time.
"""

from __future__ import annotations

import os

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

from fusedstep.backends import backend, conformance

CHECKS = conformance.checks(groups=[g for g in conformance.GROUPS if g != "training"], small=True)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check):
    check(backend("cuda"))
