"""Hyperparameters one by one: what each check takes and refuses, and names of layers and formulas that are taken."""

from __future__ import annotations

import decimal
import math

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.engine.initializers import initializer
from fusedstep.framework.layers import LAYERS
from fusedstep.framework.settings import (
    LARGEST,
    choice,
    epsilon_above_zero,
    finite,
    fraction,
    not_negative,
    positive,
    real,
    shown,
    whole,
)
from fusedstep.kernels.formula import REGISTRY, Each, formula, make_formula

NAN, INF = math.nan, math.inf
NO_NUMBERS = ("1", None, True, False, np.True_, NAN, INF, -INF, np.float32("nan"), 1j, [1.0], decimal.Decimal(1), 10**400, 1e39)


@pytest.mark.parametrize("check", [whole, finite, positive, not_negative, fraction, epsilon_above_zero])
@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_finite_number_is_refused(check, value):
    if check is whole and type(value) is int:
        pytest.skip("a whole number has no largest value unless one is given")
    with pytest.raises(fs.HyperparameterError) as caught:
        check(value, "gamma")
    message = str(caught.value)
    assert message.startswith("expected gamma ")
    assert f"; got {shown(value)}; " in message
    assert len(message) < 300
    assert len(message.rpartition("; ")[2]) > 10, "it has to say what to do"


def test_a_long_value_is_not_printed_in_full():
    with pytest.raises(fs.HyperparameterError, match=r"got array\(\[1\., 1\., [^;]{,70}…; pass an int") as caught:
        whole(np.ones(1000), "batch_rows")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [int, np.int8, np.int64, np.uint8, np.uint64])
def test_whole_numbers(kind):
    result = whole(kind(3), "epochs")
    assert (result, type(result)) == (3, int)
    assert whole(kind(0), "patience", low=0) == 0
    for value, low, high in ((0, 1, None), (3, 4, None), (3, 1, 2)):
        with pytest.raises(fs.HyperparameterError, match=r"expected n to be a whole number (>=|from) "):
            whole(kind(value), "n", low, high)
    with pytest.raises(fs.HyperparameterError, match=r"got 3\.0"):
        whole(3.0, "n")


@pytest.mark.parametrize("kind", [int, float, np.float16, np.float32, np.float64, np.int32])
def test_real_numbers_of_every_kind(kind):
    for check in (finite, positive, not_negative):
        result = check(kind(1), "x")
        assert (result, type(result)) == (1.0, float)


@pytest.mark.parametrize(
    ("ends", "low", "high"),
    [("[]", True, True), ("[)", True, False), ("(]", False, True), ("()", False, False)],
)
def test_ends_of_a_range(ends, low, high):
    assert real(0.5, "x", 0.0, 1.0, ends) == 0.5
    for value, allowed in ((0.0, low), (1.0, high), (-0.1, False), (1.1, False)):
        if allowed:
            assert real(value, "x", 0.0, 1.0, ends) == value
        else:
            with pytest.raises(fs.HyperparameterError) as caught:
                real(value, "x", 0.0, 1.0, ends)
            assert f"expected x in {ends[0]}0, 1{ends[1]}; got {value}; pass a number in that range" in str(caught.value)


def test_ranges_without_an_end_and_numbers_that_float32_cannot_hold():
    assert finite(-LARGEST, "x") == -LARGEST
    with pytest.raises(fs.HyperparameterError, match=r"expected x in \(0, inf\); got 1e\+39; that is infinite in float32"):
        positive(1e39, "x")
    with pytest.raises(fs.HyperparameterError, match=r"expected x in \(-inf, inf\); got -1e\+39"):
        finite(-1e39, "x")
    with pytest.raises(fs.HyperparameterError, match=r"expected x in \[0, inf\); got -1; use abs"):
        not_negative(-1, "x", "use abs")


def test_stabilisers_do_not_vanish_in_float32():
    assert np.float32(epsilon_above_zero(1.2e-38)) >= np.finfo(np.float32).tiny
    for value in (0.0, 1e-39, 1e-46, 1e-300):
        with pytest.raises(fs.HyperparameterError, match=r"expected epsilon .* are 0 in float32"):
            epsilon_above_zero(value)


def test_names_out_of_a_set():
    assert choice("b", "form", ("a", "b")) == "b"
    for value in ("c", "", None, 1, ["a"], np.array(["a", "b"])):
        with pytest.raises(fs.HyperparameterError, match="expected form to be one of 'a', 'b'; got "):
            choice(value, "form", ("a", "b"))


REFUSED = [
    (lambda: fs.Dropout("0.5"), "p of Dropout"), (lambda: fs.Dropout(None), "p of Dropout"),
    (lambda: fs.Dropout(True), "p of Dropout"), (lambda: fs.ELU("a"), "a of ELU"), (lambda: fs.ELU(INF), "a of ELU"),
    (lambda: fs.LeakyReLU(None), "slope of LeakyReLU"), (lambda: fs.GaussianNoise("x"), "sigma of GaussianNoise"),
    (lambda: fs.GaussianNoise(INF), "sigma of GaussianNoise"), (lambda: fs.GELU(None), "approximate of GELU"),
    (lambda: fs.PReLU(3, NAN), "alpha of PReLU"), (lambda: fs.PReLU(3, "x"), "alpha of PReLU"),
    (lambda: fs.PReLU(None), "features of PReLU"), (lambda: fs.LayerNorm(3, "x"), "epsilon of LayerNorm"),
    (lambda: fs.LayerNorm(3, 1e-46), "epsilon of LayerNorm"), (lambda: fs.LayerNorm([3]), "features of LayerNorm"),
    (lambda: fs.Linear(2, 2, weight_init=None), "initializer"),
    (lambda: fs.Linear(2, 2, weight_init=fs.HeNormal), "initializer"),
    (lambda: fs.Linear(2, 2, bias_init=NAN), "initializer"), (lambda: fs.Linear(2, 2, bias_init=True), "initializer"),
    (lambda: fs.Linear(2, np.array([1, 2])), "outputs of Linear"), (lambda: fs.Maxout(2, 2, "4"), "pieces of Maxout"),
    (lambda: initializer(INF), "initializer"), (lambda: fs.Normal("x"), "deviation"), (lambda: fs.Normal(INF), "deviation"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_settings_of_layers(make, words):
    with pytest.raises(fs.HyperparameterError, match=r"expected .*; got .*; ") as caught:
        make()
    assert words in str(caught.value)


def test_numpy_scalars_as_settings_of_layers():
    model = fs.Sequential(
        fs.Linear(np.int64(3), np.uint8(4), weight_init=np.float32(0.5)), fs.Dropout(np.float32(0.25)),
        fs.LayerNorm(np.int32(4), np.float64(1e-3)), fs.PReLU(np.int16(4), np.float32(0.5)),
    )  # fmt: skip
    for layer in model.layers:
        assert all(type(value) in (int, float) for value in layer.settings.values()), layer
    assert model.initialize(0, "numpy").parameters()["0.Linear.weight"][0, 0] == 0.5


def test_a_layer_with_the_name_of_a_built_in_one_does_not_replace_it():
    built_in = LAYERS["Linear"]
    for _ in range(2):
        kind = type("Linear", (fs.Linear,), {"__module__": "__main__"})
        assert LAYERS["Linear"] is built_in is not kind


def test_a_layer_of_ones_own_may_be_defined_again_in_the_same_place_only():
    def make(module, qualname="Wavy"):
        return type("Wavy", (fs.Identity,), {"__module__": module, "__qualname__": qualname})

    try:
        first = make("notebook")
        assert LAYERS["Wavy"] is first
        second = make("notebook")
        assert LAYERS["Wavy"] is second
        for other in (("elsewhere",), ("notebook", "outer.<locals>.Wavy")):
            with pytest.raises(fs.HyperparameterError, match=r"expected one layer class with the name 'Wavy'; got .*; rename"):
                make(*other)
        assert LAYERS["Wavy"] is second
    finally:
        del LAYERS["Wavy"]


@pytest.fixture
def registry():
    """The registry of formulas, put back afterwards."""
    before = dict(REGISTRY)
    yield REGISTRY
    REGISTRY.clear()
    REGISTRY.update(before)


def test_a_formula_does_not_take_the_name_of_another(registry):
    before = registry["prelu"]

    def prelu(x: Each, alpha: Each) -> Each:
        return x + alpha

    prelu.__annotations__ = {"x": Each, "alpha": Each, "return": Each}
    with pytest.raises(ValueError, match=r"no other formula has; got 'prelu', which .*activations\.prelu has; give .* another"):
        formula(prelu)
    with pytest.raises(ValueError, match="got 'prelu'"):
        make_formula("prelu", before.function, {"x": "each", "alpha": "scalar"}, ("each",))
    assert registry["prelu"] is before


def test_a_formula_may_be_defined_again_in_the_same_place(registry):
    def define(term):
        def shifted(x):
            return x + term

        return make_formula("shifted_in_this_test", shifted, {"x": "each"}, ("each",))

    first, second = define(1.0), define(1.0)
    assert registry["shifted_in_this_test"] is second is not first
    with pytest.raises(ValueError, match="shifted_in_this_test"):
        define(2.0)
    make_formula("sum_in_this_test", lambda x: x + 1.0, {"x": "each"}, ("each",))
    with pytest.raises(ValueError, match="sum_in_this_test"):
        make_formula("sum_in_this_test", lambda x: x + 2.0, {"x": "each"}, ("each",))


def test_formulas_that_are_composed_may_be_composed_again(registry):
    from fusedstep.kernels.formulas.activations import ACTIVATIONS, dense_forward
    from fusedstep.kernels.formulas.updates import RULES, Rule, lamb_direction, update_formula

    for builder, *arguments in (
        (update_formula, RULES["adam_outside"], ("l2",)), (lamb_direction,), (dense_forward, ACTIVATIONS["relu"], True, False),
    ):  # fmt: skip
        for _ in range(2):
            again = builder.__wrapped__(*arguments)
            assert registry[again.name] is again

    def define(name):
        def own(theta, g, lr):
            return (theta - 2.0 * lr * g,)

        return Rule(name, own)

    update_formula(define("own_in_this_test"))
    update_formula(define("own_in_this_test"))
    with pytest.raises(ValueError, match="sgd_update"):
        update_formula(define("sgd"))
