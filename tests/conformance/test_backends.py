"""The conformance suite on numpy, numba, and the example of another package's backend."""

import pytest
from strict_backend import StrictBackend

from fusedstep.backends import backend, conformance


@pytest.mark.row("F1")
@pytest.mark.parametrize("check", conformance.checks(), ids=str)
@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_conformance(name, check):
    check(backend(name))


@pytest.fixture(scope="module")
def strict():
    return StrictBackend()


@pytest.mark.parametrize("check", conformance.checks(small=True), ids=str)
def test_conformance_of_the_example(strict, check):
    check(strict)
