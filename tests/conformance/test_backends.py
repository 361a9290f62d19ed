"""The conformance suite on numpy, numba, and the example of another package's backend."""

import pytest
from strict_backend import StrictBackend

from fusedstep.backends import backend, conformance
from fusedstep.backends.conformance.formulas import ELEMENTWISE
from fusedstep.kernels.formulas.activations import ACTIVATIONS

ALL_FORMS = ("gelu", "elu")
"""Activations whose fused forms are checked in both precisions: between them they have all forms."""


def fused(name):
    """Whether this is the formula of an activation with a bias, with dropout, or that stores its input as well."""
    return name.startswith("bias_") or "_dropout" in name or name.endswith("_saved")


def in_double_too(name):
    """Whether a formula is checked in float64 by default: fused forms of most activations only in float32."""
    return not fused(name) or name.removeprefix("bias_").partition("_dropout")[0].removesuffix("_saved") in ALL_FORMS


def left_out(check):
    """Whether only --exhaustive runs it."""
    kind, _, rest = check.name.partition("-")
    name, _, dtype = rest.partition("-")
    double = kind == "in_place" or (kind == "values" and dtype == "float64")
    return check.group == "formulas" and double and not in_double_too(name)


def failures(run, group, small=False, rest=False):
    """The messages of the checks that fail."""
    failed = {}
    for check in conformance.checks([group], small):
        if left_out(check) == rest:
            try:
                check(run)
            except conformance.ConformanceError as error:
                failed[str(check)] = str(error)
    return failed


def test_every_activation_and_every_form_is_checked_in_float64():
    def form(name):
        fitting = [a for a in ACTIVATIONS if f"{name.removeprefix('bias_')}_".startswith(f"{a}_")]
        return name.replace(max(fitting, key=len), "activation")

    names = {formula.name for formula in ELEMENTWISE}
    forms = {name: form(name) for name in names if fused(name) and name != "dropout"}
    chosen = {name for name in names if in_double_too(name)}
    assert {a.forward.name for a in ACTIVATIONS.values()} <= chosen
    assert {forms[name] for name in chosen if name in forms} == set(forms.values())
    assert len(names - chosen) > 30


@pytest.mark.row("F1")
@pytest.mark.parametrize("group", conformance.GROUPS)
@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_conformance(name, group):
    assert failures(backend(name), group) == {}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_conformance_of_the_rest(name):
    assert failures(backend(name), "formulas", rest=True) == {}


@pytest.fixture(scope="module")
def strict():
    return StrictBackend()


@pytest.mark.parametrize("group", conformance.GROUPS)
def test_conformance_of_the_example(strict, group):
    assert failures(strict, group, small=True) == {}
