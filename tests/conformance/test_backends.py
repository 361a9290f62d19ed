"""The conformance suite on numpy, numba, and the example of another package's backend."""

import pytest
from strict_backend import StrictBackend

from fusedstep.backends import backend, conformance


@pytest.mark.row("F1")
@pytest.mark.parametrize("group", conformance.GROUPS)
@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_conformance(name, group):
    report = conformance.run(backend(name), [group])
    assert report.passed, str(report)


@pytest.fixture(scope="module")
def strict():
    return StrictBackend()


@pytest.mark.parametrize("group", conformance.GROUPS)
def test_conformance_of_the_example(strict, group):
    report = conformance.run(strict, [group], small=True)
    assert report.passed, str(report)
