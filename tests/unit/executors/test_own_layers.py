"""Layers and losses of a user: replayed only where their own class promises that it can be, and right in both cases."""

import numpy as np
import pytest
from networks import COLUMNS, InterpretedStep, kind_of_plan, plans, take

import fusedstep as fs
from fusedstep.backends import conformance
from fusedstep.backends.numba import splitting
from fusedstep.framework.engine.initializers import initializer
from fusedstep.framework.engine.parameter import Parameter
from fusedstep.kernels.formulas.elementwise import add, scale_columns

ROWS = 40
generator = np.random.default_rng(11)
X, Y = generator.standard_normal((ROWS, COLUMNS)), generator.standard_normal((ROWS, 2))


class Cube(fs.Layer, public=False):
    """y = x^3 in plain NumPy."""

    def forward(self, x, tape):
        tape.push(x)
        return x**3

    def backward(self, dy, tape, needs_input=True):
        (x,) = tape.pop()
        return 3.0 * x**2 * dy


class Scale(fs.Layer, public=False):
    """y = x gain, with gain [1, columns], by calls of the tape and its backend only."""

    recordable = True

    def __init__(self, features):
        self.features = features
        self.gain = Parameter("gain", (1, features), initializer(0.7), 1, 1)

    def declared(self):
        yield "gain", self.gain

    def forward(self, x, tape):
        backend, y, zero = tape.backend, tape.empty(x.shape), tape.empty((self.features,))
        backend.fill(zero, 0.0)
        backend.map(scale_columns, y, x, tape.parameter(self.gain)[0], zero)
        tape.push(x, zero)
        return y

    def backward(self, dy, tape, needs_input=True):
        x, zero = tape.pop()
        backend = tape.backend
        self.weigh(x, dy, tape)
        dx = tape.empty(x.shape)
        backend.map(scale_columns, dx, dy, tape.parameter(self.gain)[0], zero)
        return dx

    def weigh(self, x, dy, tape):
        part = tape.empty(x.shape)
        tape.backend.map(product, part, x, dy)
        tape.backend.rows("column_sum", part, tape.gradient_sum(self.gain)[0])


class SubScale(Scale, public=False):
    """Says nothing itself, so it does not promise anything, and does what could not be captured."""

    def forward(self, x, tape):
        return super().forward(np.array(x), tape)


class Double(fs.ReLU, public=False):
    """y = 2 max(0, x): not what the formula of its base says."""

    def forward(self, x, tape):
        y = super().forward(x, tape)
        y *= 2.0
        return y

    def backward(self, dy, tape, needs_input=True):
        return super().backward(2.0 * dy, tape, needs_input)


class HalfLinear(fs.Linear, public=False):
    """A Linear whose weights learn half as fast: its gradient is more than one product."""

    recordable = True

    def backward(self, dy, tape, needs_input=True):
        dx = super().backward(dy, tape, needs_input)
        gradient, _ = tape.gradient(self.weight)
        tape.backend.map(share_of, gradient, gradient, 0.5)
        return dx


class OwnLoss(fs.MSE):
    """MSE in plain NumPy."""

    def evaluate(self, y, targets, tape):
        gradient = 2.0 * (y - targets) * self.factor(tape.batch_rows)
        return ((y - targets) ** 2).sum(axis=1), gradient.astype(y.dtype)


class PromisingLoss(fs.MSE):
    """MSE by its base."""

    recordable = True


def _formulas():
    from fusedstep.kernels.formula import Each, Scalar, formula

    @formula
    def own_product(a: Each, b: Each) -> Each:
        return a * b

    @formula
    def own_share(a: Each, factor: Scalar) -> Each:
        return a * factor

    return own_product, own_share


product, share_of = _formulas()


def step_of(*layers, loss=None, dtype="float64", backend="numba", kind=fs.TrainStep, **options):
    model = fs.Sequential(*layers).initialize(5, backend, dtype)
    return kind(model, loss or fs.MSE(), fs.SGD(0.01), seed=2, backend=backend, **options)


def gradients(make, **options):
    """(gradient on numba with 3 threads, gradient on numpy, the step on numba)."""
    fs.set_num_threads(3)
    step = step_of(*make(), **options)
    own = take(step, X, Y)
    return own, take(step_of(*make(), backend="numpy", kind=InterpretedStep, **options), X, Y), step


def require_right(make, kind, **options):
    own, reference, step = gradients(make, **options)
    assert kind_of_plan(step) == kind
    conformance.close(own[1], reference[1], "float64", "sum")
    conformance.close(own[0], reference[0], "float64", "loss")
    assert np.abs(reference[1]).max() > 0.0
    return step


def test_a_layer_in_numpy_is_interpreted():
    make = lambda: [fs.Linear(COLUMNS, 8), Cube(), fs.Linear(8, 2)]  # noqa: E731
    require_right(make, "InterpretedPlan")
    assert fs.gradient_check(fs.Sequential(*make()), None, X[:5], backend="numba").passed


def test_a_layer_in_numpy_inside_others_is_interpreted():
    require_right(
        lambda: [fs.Residual(fs.Linear(COLUMNS, 8), Cube(), fs.Linear(8, COLUMNS)), fs.Linear(COLUMNS, 2)], "InterpretedPlan"
    )


def test_a_layer_that_promises_is_replayed():
    make = lambda: [fs.Linear(COLUMNS, 8), Scale(8), fs.Linear(8, 2)]  # noqa: E731
    require_right(make, "RowsPlan")
    assert fs.gradient_check(fs.Sequential(*make()), None, X[:5], backend="numba").passed


def test_a_subclass_does_not_inherit_the_promise():
    require_right(lambda: [fs.Linear(COLUMNS, 8), SubScale(8), fs.Linear(8, 2)], "InterpretedPlan")


@pytest.mark.parametrize("before", [lambda: fs.Linear(COLUMNS, 8), lambda: fs.LayerNorm(COLUMNS)], ids=["linear", "norm"])
def test_a_subclass_of_an_activation_is_not_fused_away(before):
    first = before()
    width = first.output_width(COLUMNS)
    step = require_right(lambda: [before(), Double(), fs.Linear(width, 2)], "InterpretedPlan")
    plain = step_of(before(), fs.ReLU(), fs.Linear(width, 2))
    assert not np.allclose(take(plain, X, Y)[1], take(step, X, Y)[1])


def test_a_subclass_that_changes_nothing_is_right_too():
    class Mine(fs.Tanh, public=False):
        pass

    require_right(lambda: [fs.Linear(COLUMNS, 8), Mine(), fs.Dropout(0.4), fs.Linear(8, 2)], "InterpretedPlan")


def test_own_losses():
    layers = lambda: [fs.Linear(COLUMNS, 8), fs.ReLU(), fs.Linear(8, 2)]  # noqa: E731
    plain = take(step_of(*layers()), X, Y)
    for loss, kind in ((OwnLoss(), "InterpretedPlan"), (PromisingLoss(), "RowsPlan")):
        step = require_right(layers, kind, loss=loss)
        conformance.close(take(step, X, Y)[1], plain[1], "float64", "sum")


@pytest.mark.parametrize("deterministic", [False, True])
def test_gradients_that_cannot_be_split_are_summed(deterministic, monkeypatch):
    monkeypatch.setattr(splitting, "splits_weights", lambda *_: True)
    for make in (
        lambda: [fs.Linear(COLUMNS, 64), Scale(64), fs.Linear(64, 2)],
        lambda: [HalfLinear(COLUMNS, 64), fs.ReLU(), HalfLinear(64, 2)],
        lambda: [fs.Linear(COLUMNS, 64), fs.Tanh(), HalfLinear(64, 64), fs.Linear(64, 2)],
    ):
        step = require_right(make, "RowsPlan", deterministic=deterministic)
        (plan,) = plans(step)
        summed = {p.name for p in plan.summed if len(p.shape) == 2}
        assert summed == {"gain" if any(isinstance(a, Scale) for a in step.model.layers) else "weight"}


def test_a_parameter_without_a_gradient():
    class Idle(Scale, public=False):
        recordable = True

        def weigh(self, x, dy, tape):
            pass

    own, reference, _ = gradients(lambda: [fs.Linear(COLUMNS, 8), Idle(8), fs.Linear(8, 2)])
    conformance.close(own[1], reference[1], "float64", "sum")


# What a promise covers: whatever the tape's backend offers is captured, or makes the pass be interpreted

class Promise(fs.Layer, public=False):
    """y = x, and its gradient passes through the function that is tested; both sides in calls of the backend only."""

    recordable = True

    def forward(self, x, tape):
        return x

    def backward(self, dy, tape, needs_input=True):
        dx = tape.empty(dy.shape)
        tape.backend.map(add, dx, dy, self.extra(dy, tape))
        return dx


class WithZeros(Promise, public=False):
    """dx = dy + (a new array of zeros + sum of the columns' gradients), the array from backend.zeros."""

    def extra(self, dy, tape):
        backend = tape.backend
        fresh = backend.zeros(dy.shape, tape.dtype)
        backend.map(add, fresh, fresh, dy)
        return fresh

    recordable = True


class WithStrides(Promise, public=False):
    """Row sums of the left half of dy, a view with gaps, come into it by a formula."""

    recordable = True

    def forward(self, x, tape):
        half, wide = tape.empty((x.shape[0], 4)), tape.empty(x.shape)
        tape.backend.map(share_of, half, x[:, :4], 3.0)
        tape.backend.matmul(half, tape.parameter(self.mix), wide)
        tape.push(half)
        return wide

    def __init__(self):
        self.features = 8
        self.mix = Parameter("mix", (4, 8), initializer("he_normal"), 4, 8)

    def declared(self):
        yield "mix", self.mix

    def backward(self, dy, tape, needs_input=True):
        (half,) = tape.pop()
        gradient, again = tape.gradient(self.mix)
        tape.backend.matmul(half, dy, gradient, transpose_a=True, accumulate=again)
        return dy


class WithConversion(Promise, public=False):
    """dy is rounded to float32 by backend.asarray."""

    recordable = True

    def extra(self, dy, tape):
        return tape.backend.asarray(tape.backend.asarray(dy, "float32"), tape.dtype)


class WithCopy(Promise, public=False):
    """dy is copied by backend.copy."""

    recordable = True

    def extra(self, dy, tape):
        out = tape.empty(dy.shape)
        tape.backend.copy(dy, out)
        return out


class WithTotal(Promise, public=False):
    """Adds a number that the backend summed up."""

    recordable = True

    def extra(self, dy, tape):
        out = tape.empty(dy.shape)
        tape.backend.map(share_of, out, dy, 0.01 * float(tape.backend.item(tape.backend.sum_of_squares(dy.reshape(-1)))))
        return out



@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("layer", [WithZeros, WithStrides, WithConversion, WithCopy, WithTotal])
def test_whatever_a_promising_layer_calls_on_its_backend_is_done_in_every_step(layer, backend):
    make = lambda: [fs.Linear(COLUMNS, 8), layer(), fs.Linear(8, 2)]  # noqa: E731
    fs.set_num_threads(1)  # sums over the rows at hand are those of the minibatch only so
    step, interpreted = step_of(*make(), backend=backend), step_of(*make(), backend="numpy", kind=InterpretedStep)
    other = np.random.default_rng(12).standard_normal(X.shape)
    for x in (X, other, X):
        own, reference = take(step, x, Y), take(interpreted, x, Y)
        conformance.close(own[0], reference[0], "float64", "loss")
        conformance.close(own[1], reference[1], "float64" if layer is not WithConversion else "float32", "sum")
