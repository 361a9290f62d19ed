"""Parameters and optimiser state stay finite, whatever the gradient, the learning rate and the penalties are.

A step whose update would overflow changes nothing: it raises, or is left out with on_nonfinite="skip".
"""

import pickle

import numpy as np
import pytest
from optimizer_cases import NOT_PROXIMAL
from pairs import pairs_of

import fusedstep as fs
from fusedstep.framework.optimizers import headroom
from fusedstep.framework.optimizers.base import OPTIMIZERS, OptimizerState
from fusedstep.kernels.formulas.updates import RULES

LARGEST = {"float32": 3e38, "float64": 1.7e308}
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((64, 4)), RNG.integers(0, 3, 64)


def variants():
    """Every optimiser that takes steps on minibatches, in each of its forms."""
    for name, kind in sorted(OPTIMIZERS.items()):
        if kind.__module__.startswith("fusedstep.") and not kind.__module__.endswith("full_batch"):
            for form in getattr(kind, "FORMS", (None,)):
                yield pytest.param(kind, {} if form is None else {"form": form}, id=f"{name}-{form}" if form else name)
    for kind in (fs.AdaGrad, fs.RMSProp, fs.AdaDelta, fs.Adam):
        placement = "outside" if kind is fs.AdaDelta else "inside"
        yield pytest.param(kind, {"epsilon_placement": placement}, id=f"{kind.__name__}-{placement}")


every_optimizer = pytest.mark.parametrize(("kind", "form"), [*variants()])
both_precisions = pytest.mark.parametrize("precision", ["float32", "float64"])
both_backends = pytest.mark.parametrize("backend", ["numpy", "numba"])


def new_step(optimizer, backend="numpy", precision="float32", weight=0.01, **options):
    model = fs.mlp([4, 3]).initialize(0, backend, "float64" if precision == "float64" else "float32")
    for view in model.parameters().values():
        view[...] = weight
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer, backend=backend, precision=precision, **options)


def content(step):
    return [step.model.arena.values.tobytes(), *(state.tobytes() for state in step.state.states.values())]


def require_finite(step):
    for name, array in {"theta": step.model.arena.values, **step.state.states}.items():
        assert np.isfinite(array).all(), name


def take(step, scale):
    """One step whose gradient has about that size; returns whether it was taken, after checking what an error promises."""
    x = (X * scale).astype(step.model.dtype)
    before, steps = content(step), step.steps
    try:
        with np.errstate(all="ignore"):
            step(x, Y)
    except fs.NonFiniteLossError:
        assert content(step) == before
        assert step.steps == steps
        return False
    require_finite(step)
    return True


@every_optimizer
@both_precisions
@both_backends
def test_a_huge_gradient_is_an_error_or_gives_finite_numbers(kind, form, precision, backend):
    step = new_step(kind(**form), backend, precision)
    for scale in (1.0, 1e12, 1e20, 1e30, LARGEST[precision] / 10.0, 1e-30, 1e18, 1e150 if precision == "float64" else 1e17):
        take(step, scale)
    # The usual steps go on from parameters that were kept, where these are not huge already.
    step = new_step(kind(**form), backend, precision)
    take(step, LARGEST[precision] / 10.0)
    if np.abs(step.model.arena.values).max() < 1e3:
        assert take(step, 1.0)


HUGE = (
    {"lr": 1e20}, {"lr": 3e38}, {"l2": 1e30}, {"weight_decay": 1e30}, {"weight_decay": 3e38}, {"l1": 3e38},
    {"l1": 3e38, "l1_form": "proximal"}, {"l2": 1e3, "groups": [fs.ParameterGroup("*", lr_scale=1e30)]},
)  # fmt: skip
VARIANTS = {variant.id: variant.values for variant in variants()}


@pytest.mark.parametrize(
    ("variant", "settings", "precision", "backend"), pairs_of(VARIANTS, HUGE, ["float32", "float64"], ["numpy", "numba"]),
    ids=str,
)  # fmt: skip
def test_huge_settings_are_an_error_or_give_finite_numbers(variant, settings, precision, backend):
    kind, form = VARIANTS[variant]
    if "l1_form" in settings and kind.__name__ in NOT_PROXIMAL:
        pytest.skip(f"{kind.__name__} refuses the proximal form")
    step = new_step(kind(**form, **settings), backend, precision, weight=1e8)
    for scale in (1.0, 1e10, 1.0, 1.0):
        take(step, scale)


@every_optimizer
@both_backends
def test_huge_weights_are_an_error_or_stay_finite(kind, form, backend):
    step = new_step(kind(**form, l2=1e-4, weight_decay=0.01), backend, weight=3.3e38)
    for scale in (1e-30, 1.0, 1e-38):
        take(step, scale)


@both_backends
def test_one_target_of_a_million_millions_leaves_adam_finite(backend):
    x, y = RNG.standard_normal((32, 4)).astype("f"), np.zeros(32, "f")
    y[3] = 1e12
    step = fs.TrainStep(fs.mlp([4, 8, 1]), fs.MSE(), fs.Adam(1e-3), backend=backend)
    for _ in range(10):
        before = content(step)
        try:
            step(x, y)
        except fs.NonFiniteLossError:
            assert content(step) == before
        require_finite(step)


@both_backends
def test_the_error_names_what_would_overflow(backend):
    step = new_step(fs.Adam(1e-3), backend)
    wanted = r"stays finite in float32; got .* state v infinite in step 1; .* step 0 are kept; lower"
    with pytest.raises(fs.NonFiniteLossError, match=wanted):
        step((X * 1e25).astype("f"), Y)
    step = new_step(fs.SGD(3e38), backend)
    with pytest.raises(fs.NonFiniteLossError, match="makes the parameters infinite"):
        step((X * 1e10).astype("f"), Y)


@both_backends
def test_what_does_not_overflow_is_applied_whatever_the_bounds_say(backend):
    """A gradient above the limit of the bounds, and a rate at which no bound holds: plain descent is finite all the same."""
    for scale, lr in ((1e25, 1e-26), (1e-12, 1e25)):
        step = new_step(fs.SGD(lr), backend)
        before = step.model.arena.values.copy()
        x = (X * scale).astype("f")
        loss = step(x, Y)
        assert np.isfinite(float(loss))
        assert step.steps == 1
        wanted = before - np.float32(lr) * step.gradient
        np.testing.assert_allclose(step.model.arena.values, wanted, rtol=1e-5)


@both_backends
def test_clipping_allows_any_finite_norm(backend):
    for settings in ({"clip_norm": 1.0}, {"clip_value": 1.0}):
        step = new_step(fs.Adam(1e-3, **settings), backend)
        assert take(step, 1e30)
        assert step.state.proven


@both_backends
@pytest.mark.parametrize("together", [None, 1, 5])
def test_steps_that_are_not_finite_are_skipped_and_counted(backend, together):
    """A training with two minibatches of huge numbers loses two steps, and is otherwise the one without them."""
    x, y = np.tile(X, (4, 1)).astype("f"), np.tile(Y, 4)
    x[3 * 16 : 4 * 16] = x[10 * 16] = 3e38  # the sums of products overflow
    step, wanted = (new_step(fs.SGD(0.1), backend, weight=5.0, on_nonfinite="skip") for _ in range(2))
    trainer = fs.Trainer(step, shuffle="never", steps_per_launch=together)
    history = trainer.fit(x, y, epochs=1, batch_size=16)
    for k in set(range(16)) - {3, 10}:
        wanted(x[k * 16 : k * 16 + 16], y[k * 16 : k * 16 + 16])
    assert (step.skipped, step.steps, trainer.steps_done) == (2, 16, 16)
    assert content(step) == content(wanted)
    assert np.isfinite(history[-1]["loss"])
    losses = np.array(history.step_losses)
    assert list(np.flatnonzero(~np.isfinite(losses))) == [3, 10]
    assert history[-1]["loss"] == pytest.approx(losses[np.isfinite(losses)].mean())


@both_backends
def test_the_count_of_skipped_steps_is_in_pickles(backend):
    step = new_step(fs.Adam(1e-3), backend, on_nonfinite="skip")
    before = content(step)
    loss = step((X * 1e30).astype("f"), Y)
    assert np.isfinite(float(loss))
    assert content(step) == before
    again = pickle.loads(pickle.dumps(step))
    assert (again.skipped, again.on_nonfinite, again.steps) == (1, "skip", 1)
    again((X * 1e30).astype("f"), Y)
    assert again.skipped == 2
    with pytest.raises(fs.HyperparameterError, match="on_nonfinite"):
        new_step(fs.SGD(0.1), backend, on_nonfinite="ignore")


@both_backends
def test_lamb_with_gradients_that_are_nearly_zero(backend):
    step = new_step(fs.LAMB(0.1), backend, weight=1.0)
    for scale in (1e-20, 1e-24, 1e-26, 1e-28, 1e-30, 1e-38):
        assert take(step, scale)


@both_backends
def test_weights_that_the_caller_overwrites_are_read_again(backend):
    step = new_step(fs.Adam(1e-3, l2=1e-4), backend)
    assert take(step, 1.0)
    for value in step.model.parameters().values():
        value[...] = 1e30
    assert not take(step, 1e-38)
    step.model.load_parameters({name: np.ones_like(value) for name, value in step.model.parameters().items()})
    assert take(step, 1.0)


@both_backends
def test_nothing_that_is_infinite_is_called_kept(backend):
    """Numbers that are written to views of an earlier call are not looked at; the error that comes later says what happened."""
    step = new_step(fs.Adam(1e-3, l2=1.0), backend)
    views = step.model.parameters()
    assert take(step, 1.0)
    for value in views.values():
        value[...] = 1e30
    with np.errstate(all="ignore"):
        step(X.astype("f"), Y)
        assert np.isinf(step.state.states["v"]).any()
        with pytest.raises(fs.NonFiniteLossError, match=r"; state v had NaN or infinity before it, because") as caught:
            step((X * 1e30).astype("f"), Y)
        assert "kept" not in str(caught.value)
        with pytest.raises(fs.NonFiniteLossError, match=r"parameters infinite in step 3; state v had NaN or infinity"):
            fs.Trainer(step).fit(X.astype("f"), Y)
    views["0.Linear.bias"][...] = np.inf
    with np.errstate(all="ignore"), pytest.raises(fs.NonFiniteLossError, match=r"in parameter .*; the parameters had NaN"):
        step(X.astype("f"), Y)


@both_backends
def test_a_rule_without_bounds_is_looked_at_after_every_step(backend, monkeypatch):
    step, wanted = new_step(fs.Adam(1e-3), backend), new_step(fs.Adam(1e-3), backend)
    x, y = np.tile(X, (4, 1)).astype("f"), np.tile(Y, 4)
    fs.Trainer(wanted).fit(x, y, epochs=2, batch_size=32)
    monkeypatch.setattr(OptimizerState, "reach", None)
    fs.Trainer(step).fit(x, y, epochs=2, batch_size=32)
    assert not step.state.proven
    assert content(step) == content(wanted)
    assert not take(step, 1e25)


def test_launches_have_as_many_steps_as_the_bounds_cover(monkeypatch):
    """Those of AdaDelta cover about a hundred steps."""
    counts, own = [], OptimizerState.scalars_for_steps
    noting = lambda state, rates: counts.append(len(rates)) or own(state, rates)  # noqa: E731
    monkeypatch.setattr(OptimizerState, "scalars_for_steps", noting)
    step = new_step(fs.AdaDelta(), "numba")
    fs.Trainer(step, steps_per_launch=1000).fit(np.tile(X, (20, 1)).astype("f"), np.tile(Y, 20), epochs=4, batch_size=1)
    assert step.steps == 4 * 20 * 64
    assert len(counts) < step.steps / 30
    assert sum(counts) > 0.7 * step.steps


def test_every_rule_says_how_far_it_reaches():
    assert not [name for name, rule in RULES.items() if rule.reach is None]


@every_optimizer
@pytest.mark.parametrize("settings", [{}, {"l2": 1e-4, "l1": 1e-5, "weight_decay": 1e-2}], ids=["plain", "penalties"])
def test_ordinary_training_hardly_ever_reads_the_arrays(kind, form, settings, monkeypatch):
    read = []
    monkeypatch.setattr(headroom, "largest_element", lambda *a, own=headroom.largest_element: read.append(1) or own(*a))
    step = new_step(kind(**form, **settings))
    x = X.astype("f")
    steps = 400
    for _ in range(steps):
        step(x, Y)
        assert step.state.proven
    arrays = 1 + len(step.state.states)
    assert len(read) <= arrays * (steps // 50 if kind is fs.AdaDelta else 2)


@every_optimizer
@both_precisions
def test_bounds_hold(kind, form, precision):
    """The arrays stay below the bounds while gradients of all sizes up to the limit come in the worst order."""
    step = new_step(kind(**form, l2=1e-3), precision=precision)
    state, rng = step.state, np.random.default_rng(1)
    most = headroom.most_squares(precision) ** 0.5
    state.begin()
    for k in range(200):
        size = most * 10.0 ** rng.choice([0.0, -0.1, -3.0, -20.0, -35.0, -np.inf], p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
        step.gradient[...] = (rng.standard_normal(step.gradient.size) * size / step.gradient.size).astype(precision)
        if not state.proven:
            break
        state.apply(step.gradient, float((step.gradient.astype("float64") ** 2).sum()))
        after = state.headroom._after(state.headroom._taken)
        arrays = {"theta": step.model.arena.values, **state.states}
        for (name, array), bound in zip(arrays.items(), after, strict=True):
            assert np.abs(array).max() <= bound, (name, k)
        state.begin()
    assert k > 1
