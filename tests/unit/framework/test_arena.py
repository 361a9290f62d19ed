"""One flat array for all parameters: its layout, its gaps, its groups, and what shares a place in it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fusedstep as fs
from fusedstep.framework.engine.arena import ALIGNMENT


def gaps(arena):
    """True where no parameter lives."""
    free = np.ones(arena.size, bool)
    for start, stop in arena.ranges.values():
        free[start:stop] = False
    return free


@given(widths=st.lists(st.integers(1, 70), min_size=2, max_size=5), norm=st.booleans())
@settings(deadline=None, max_examples=40)
def test_layout(widths, norm):
    model = fs.mlp(widths, layer_norm=norm).initialize(0, "numpy")
    arena = model.arena
    ranges = sorted(arena.ranges.values())
    assert all(start % ALIGNMENT == 0 for start, _ in ranges)
    assert all(stop <= start for (_, stop), (start, _) in pairwise(ranges))
    assert arena.size == arena.values.size
    assert arena.size % ALIGNMENT == 0
    assert arena.count == sum(values.size for values in model.parameters().values()) == sum(b - a for a, b in ranges)
    assert not arena.values[gaps(arena)].any()
    # What decays comes first, so that the two groups are two runs.
    decays = [parameter.decays for parameter, _ in sorted(arena.ranges.items(), key=lambda item: item[1])]
    assert decays == sorted(decays, reverse=True)
    group_of = {parameter: int(not parameter.decays) for parameter in arena.parameters}
    assert [group for _, _, group in arena.merged_ranges(group_of)] == sorted(set(group_of.values()))


def test_views_are_the_arena(name):
    model = fs.mlp([3, 4, 2]).initialize(0, name)
    for parameter, (start, stop) in model.arena.ranges.items():
        view = model.arena.views[parameter]
        assert np.shares_memory(view, model.arena.values)
        assert view.shape == parameter.shape
        view[...] = start
        assert (model.arena.values[start:stop] == start).all()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: fs.AdamW(0.1, weight_decay=0.5, l2=0.1, l1=0.1, clip_norm=1.0, clip_value=0.5),
        lambda: fs.Momentum(0.1, l1=0.1, l1_form="proximal"),
        lambda: fs.Nesterov(0.1, form="look_ahead"),
        lambda: fs.LAMB(0.1, weight_decay=0.1),
        lambda: fs.AdaDelta(),
        lambda: fs.Adam(groups=[fs.ParameterGroup("0.*", lr_scale=0.5, l2=0.1), fs.ParameterGroup("*.bias", l2=0.2)]),
    ],
)
def test_gaps_stay_zero(name, data, optimizer):
    step = fs.TrainStep(fs.mlp([6, 7, 5, 3], layer_norm=True), fs.SoftmaxCrossEntropy(), optimizer(), backend=name)
    free = gaps(step.model.arena)
    assert free.any()
    for _ in range(5):
        step(*data)
    for values in (step.model.arena.values, step.gradient, *step.state.states.values()):
        assert not values[free].any()


def test_groups_have_their_own_rates(name, data):
    groups = [fs.ParameterGroup("0.Linear.*", lr_scale=3.0), fs.ParameterGroup("*.bias", lr_scale=0.5)]
    grouped = fs.TrainStep(fs.mlp([6, 5, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1, groups=groups), seed=1, backend=name)
    plain = fs.TrainStep(fs.mlp([6, 5, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=1, backend=name)
    start = {key: np.array(values) for key, values in plain.model.parameters().items()}
    plain(*data)
    grouped(*data)
    for key, scale in (("0.Linear.weight", 3.0), ("0.Linear.bias", 3.0), ("2.Linear.weight", 1.0), ("2.Linear.bias", 0.5)):
        moved = grouped.model.parameters()[key] - start[key]
        np.testing.assert_allclose(moved, scale * (plain.model.parameters()[key] - start[key]), rtol=1e-3, atol=1e-7)


def test_penalties_spare_biases_unless_a_group_says_otherwise(name):
    x, y = np.zeros((4, 3), "f4"), np.zeros((4, 2), "f4")
    for group, wanted in (((), 1.0), ((fs.ParameterGroup("*.bias", l2=0.5),), 0.95)):
        model = fs.Sequential(fs.Linear(3, 2, weight_init=1.0, bias_init=1.0)).initialize(0, name)
        step = fs.TrainStep(model, fs.MSE("sum"), fs.SGD(0.1, l2=0.5, groups=group))
        bias = model.parameters()["0.Linear.bias"]
        step.model.parameters()["0.Linear.bias"][...] = 1.0
        step(x, y + 1.0)
        np.testing.assert_allclose(model.parameters()["0.Linear.weight"], 0.95, rtol=1e-6)
        np.testing.assert_allclose(bias, wanted, rtol=1e-6)


def tied():
    encoder = fs.Linear(6, 4)
    return fs.Sequential(encoder, fs.Tanh(), fs.TiedLinear(encoder))


def test_tied_weights_have_one_place(name):
    model = tied().initialize(0, name)
    assert list(model.parameters()) == ["0.Linear.weight", "0.Linear.bias", "2.TiedLinear.bias"]
    assert model.arena.count == 6 * 4 + 4 + 6


@pytest.mark.row("A7")
def test_tied_weights_share_one_gradient(name, data):
    x = data[0].astype("f8")
    step = fs.TrainStep(tied(), fs.MSE(), fs.SGD(1e-30), seed=2, backend=name, precision="float64")
    step(x, x)
    arena = step.model.arena
    views = {arena.names[parameter]: view for parameter, view in arena.views_of(step.gradient).items()}
    w, b, c = (np.array(step.model.parameters()[key]) for key in step.model.parameters())
    hidden = np.tanh(x @ w + b)
    derivative = 2.0 * (hidden @ w.T + c - x) / len(x)
    inner = (derivative @ w) * (1.0 - hidden**2)
    np.testing.assert_allclose(views["0.Linear.weight"], derivative.T @ hidden + x.T @ inner, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(views["0.Linear.bias"], inner.sum(axis=0), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(views["2.TiedLinear.bias"], derivative.sum(axis=0), rtol=1e-10, atol=1e-13)
    before = np.array(views["0.Linear.weight"])
    step(x, x)
    np.testing.assert_allclose(views["0.Linear.weight"], before, rtol=1e-12)


@pytest.mark.row("A4")
def test_residual_is_its_input_plus_its_inside(name, data):
    inner = (fs.Linear(6, 5), fs.SiLU(), fs.Linear(5, 6))
    model = fs.Sequential(fs.Residual(*inner), fs.Linear(6, 3)).initialize(1, name, "float64")
    assert next(iter(model.parameters())) == "0.Residual.0.Linear.weight"
    x = data[0].astype("f8")
    w1, b1, w2, b2, w3, b3 = (np.array(values) for values in model.parameters().values())
    z = x @ w1 + b1
    wanted = (x + (z / (1.0 + np.exp(-z))) @ w2 + b2) @ w3 + b3
    np.testing.assert_allclose(np.asarray(model(x)), wanted, rtol=1e-11, atol=1e-13)


def test_a_residual_without_effect_is_the_identity(name, data):
    model = fs.Sequential(fs.Residual(fs.Linear(6, 6, weight_init=0.0))).initialize(0, name)
    assert np.array_equal(model(data[0]), data[0])
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(0.1))
    assert float(step(data[0], data[0])) == 0.0
