"""Settings of what a step is made of stay as they are, and nothing is captured again without need."""

import numpy as np
import pytest
from networks import COLUMNS, gradient_of

import fusedstep as fs
from fusedstep.framework.optimizers import OPTIMIZERS
from fusedstep.kernels.formulas.activations import ACTIVATIONS

ROWS = 33
generator = np.random.default_rng(21)
X, LABELS = generator.standard_normal((ROWS, COLUMNS)).astype("f4"), generator.integers(0, 3, ROWS)
NUMBERS = generator.standard_normal((ROWS, 3)).astype("f4")
leaky_relu, leaky_relu_backward = ACTIVATIONS["leaky_relu"].forward, ACTIVATIONS["leaky_relu"].backward


def _around(layer):
    return [fs.Linear(COLUMNS, 8), layer, fs.Linear(8, 3)]


def _fused(layer):
    return [fs.Linear(COLUMNS, 8), fs.ReLU(), layer, fs.Linear(8, 3)]


def _residual(layer):
    return [fs.Residual(fs.Linear(COLUMNS, COLUMNS), layer), fs.Linear(COLUMNS, 3)]


LAYER_SETTINGS = {
    "dropout, alone": (lambda p: [fs.Dropout(p), fs.Linear(COLUMNS, 3)], fs.Dropout, "p", 0.6, 0.3),
    "dropout, fused": (lambda p: _fused(fs.Dropout(p)), fs.Dropout, "p", 0.6, 0.3),
    "dropout, inside": (lambda p: _residual(fs.Dropout(p)), fs.Dropout, "p", 0.6, 0.3),
    "dropout, switched off": (lambda p: _fused(fs.Dropout(p)), fs.Dropout, "p", 0.6, 0.0),
    "dropout, switched on": (lambda p: _fused(fs.Dropout(p)), fs.Dropout, "p", 0.0, 0.6),
    "noise": (lambda s: [fs.GaussianNoise(s), *_around(fs.Tanh())], fs.GaussianNoise, "sigma", 0.1, 0.7),
    "noise, switched on": (lambda s: [fs.GaussianNoise(s), *_around(fs.Tanh())], fs.GaussianNoise, "sigma", 0.0, 0.7),
    "epsilon": (lambda e: _around(fs.LayerNorm(8, e)), fs.LayerNorm, "epsilon", 1e-5, 0.5),
    "slope": (lambda s: _around(fs.LeakyReLU(s)), fs.LeakyReLU, "slope", 0.01, 0.4),
    "slope, alone": (lambda s: [*_residual(fs.Tanh()), fs.LeakyReLU(s)], fs.LeakyReLU, "slope", 0.01, 0.4),
    "a": (lambda a: _around(fs.ELU(a)), fs.ELU, "a", 1.0, 0.4),
    "approximate": (lambda a: _around(fs.GELU(a)), fs.GELU, "approximate", "none", "tanh"),
}
LOSS_SETTINGS = {
    "label smoothing": (lambda v: fs.SoftmaxCrossEntropy(v), "label_smoothing", 0.0, 0.2, LABELS),
    "form of smoothing": (lambda v: fs.SoftmaxCrossEntropy(0.2, v), "smoothing", "notes", "uniform", LABELS),
    "class weights": (
        lambda v: fs.SoftmaxCrossEntropy(class_weights=v), "class_weights", (1.0, 1.0, 1.0), (1.0, 2.0, 0.5), LABELS,
    ),
    "class weights, first": (
        lambda v: fs.SoftmaxCrossEntropy(class_weights=v), "class_weights", None, (1.0, 2.0, 0.5), LABELS,
    ),
    "reduction": (lambda v: fs.SoftmaxCrossEntropy(reduction=v), "reduction", "mean", "sum", LABELS),
    "reduction of mse": (fs.MSE, "reduction", "mean", "sum", NUMBERS),
}  # fmt: skip


def step_of(layers, loss, backend="numba"):
    return fs.TrainStep(fs.Sequential(*layers).initialize(4, backend), loss, fs.SGD(0.05), seed=4)


def owner(step, kind):
    return next(layer for layer in step.model.walk() if type(layer) is kind)


def require_refused(step, thing, name, value, y):
    """The setting cannot be changed in use, and the step goes on as if nobody had tried."""
    fs.set_num_threads(2)
    first = gradient_of(step, X, y, 4)
    before = getattr(thing, name)
    with pytest.raises(fs.StateError, match=rf"{type(thing).__name__}.* to stay as it was made; got {name} = .*; make a new"):
        setattr(thing, name, value)
    with pytest.raises(fs.StateError, match=rf"got del {name}; make a new"):
        delattr(thing, name)
    assert getattr(thing, name) == before
    assert gradient_of(step, X, y, 4).tobytes() == first.tobytes()


@pytest.mark.parametrize("case", LAYER_SETTINGS)
def test_settings_of_layers(case):
    layers, kind, name, old, new = LAYER_SETTINGS[case]
    step = step_of(layers(old), fs.SoftmaxCrossEntropy())
    require_refused(step, owner(step, kind), name, new, LABELS)


@pytest.mark.parametrize("case", LOSS_SETTINGS)
def test_settings_of_losses(case):
    make, name, old, new, y = LOSS_SETTINGS[case]
    step = step_of(_around(fs.Tanh()), make(old))
    require_refused(step, step.loss, name, new, y)


@pytest.mark.parametrize("name", ["model", "loss", "optimizer"])
def test_what_a_step_is_made_of(name):
    step = step_of(_around(fs.Tanh()), fs.MSE())
    step(X, NUMBERS)
    with pytest.raises(fs.StateError, match=f"keep its {name}; got .*; make a new TrainStep"):
        setattr(step, name, getattr(step, name))


class Scaled(fs.Layer, public=False):
    """y = scale x, by a class of a user."""

    recordable = True
    offset = 0.0

    def __init__(self, scale):
        self.scale = scale

    def forward(self, x, tape):
        y = tape.empty(x.shape)
        tape.backend.map(leaky_relu, y, x, self.scale)
        tape.push(x)
        return y

    def backward(self, dy, tape, needs_input=True):
        (x,) = tape.pop()
        dx = tape.empty(dy.shape)
        tape.backend.map(leaky_relu_backward, dx, dy, x, self.scale)
        return dx


class Interpreted(Scaled, public=False):
    """The same, called in every step."""


class OpenLeakyReLU(fs.LeakyReLU, public=False, frozen=False):
    """Called in every step as well, though it is computed together with the Linear layer before it."""


class OpenDropout(fs.Dropout, public=False, frozen=False):
    """A layer of the package that may be set."""

    recordable = True


class OwnLoss(fs.MSE, frozen=False):
    """A loss of the package that may be set."""

    recordable = True


@pytest.fixture
def own_optimizer(monkeypatch):
    """A class that counts its steps; what a step read of it when that was made would not count any more."""
    monkeypatch.setitem(OPTIMIZERS, "Own", None)

    class Own(fs.Adam, frozen=False):
        asked = 0

        def scalars(self, t, lr):
            self.asked += 1
            return super().scalars(t, lr)

    return Own(0.01)


def own_step(kind, backend):
    """A step, and the object of a user's class in it that has the setting."""
    if kind is OwnLoss:
        step = step_of(_around(fs.Tanh()), OwnLoss(), backend)
        return step, step.loss, "reduction", "sum"
    layer = kind(0.3)
    return step_of(_residual(layer), fs.MSE(), backend), layer, "p" if kind is OpenDropout else "scale", 0.6


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("kind", [Scaled, OpenDropout, OwnLoss])
def test_an_own_class_stays_the_same_while_it_is_captured(kind, backend):
    step, thing, name, new = own_step(kind, backend)
    setattr(thing, name, new)  # nothing is captured yet
    first = float(step(X, NUMBERS))
    fresh, other, _, _ = own_step(kind, backend)
    assert first != float(fresh(X, NUMBERS))
    setattr(thing, name, type(new)(new))
    step(X, NUMBERS)
    state = step.model.arena.values.tobytes()
    setattr(thing, name, getattr(other, name))
    with pytest.raises(fs.StateError, match=rf"keep its {name} while a TrainStep uses it; .*, or leave recordable = True out"):
        step(X, NUMBERS)
    assert (step.steps, step.model.arena.values.tobytes()) == (2, state)
    setattr(thing, name, new)
    step(X, NUMBERS)
    thing.note = "an attribute that nobody reads"
    step(X, NUMBERS)


def test_an_own_optimizer_stays_the_same_too(own_optimizer):
    step = fs.TrainStep(fs.Sequential(*_around(Interpreted(0.3))), fs.MSE(), own_optimizer, backend="numba")
    for _ in range(3):
        step(X, NUMBERS)
    assert own_optimizer.asked == 3
    own_optimizer.l2 = 0.1
    with pytest.raises(fs.StateError, match=r"keep its l2 while .* got 0.1 in place of 0.0; make a new Own and a new Train"):
        step(X, NUMBERS)


def test_an_attribute_that_hides_one_of_the_class_is_a_change():
    step, layer, _, _ = own_step(Scaled, "numba")
    step(X, NUMBERS)
    layer.offset = 1.0
    with pytest.raises(fs.StateError, match="keep its offset"):
        step(X, NUMBERS)
    del layer.offset
    step(X, NUMBERS)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize(("kind", "name"), [(Interpreted, "scale"), (OpenLeakyReLU, "slope")])
def test_an_own_class_that_is_called_in_every_step_may_change(backend, kind, name):
    layer = kind(0.3)
    step = step_of(_residual(layer), fs.MSE(), backend)
    for value in (0.3, 0.9, 0.3):
        setattr(layer, name, value)
        wanted = step_of(_residual(kind(value)), fs.MSE(), backend)
        wanted.model.arena.values[...] = step.model.arena.values
        assert float(step(X, NUMBERS)) == float(wanted(X, NUMBERS))


def test_steady_training_makes_one_plan(made_plans):
    fs.set_num_threads(2)
    step = step_of(_fused(fs.Dropout(0.2)), fs.SoftmaxCrossEntropy())
    for _ in range(20):
        step(X, LABELS)
    assert made_plans == ["RowsPlan"]
    step.lr = 0.01
    step.evaluate(X, LABELS)
    step.model.predict(X)
    step(X, LABELS)
    assert len(made_plans) == 1


def test_an_epoch_with_a_remainder_makes_two_plans(made_plans):
    fs.set_num_threads(2)
    step = step_of(_fused(fs.Dropout(0.2)), fs.SoftmaxCrossEntropy())
    trainer = fs.Trainer(step)
    trainer.fit(X, LABELS, validation=(X, LABELS), epochs=4, batch_size=10)
    assert made_plans == ["RowsPlan"] * 2


def test_distributions_after_labels_make_a_plan_of_their_own(made_plans):
    step = step_of(_around(fs.Tanh()), fs.SoftmaxCrossEntropy())
    targets = np.eye(3, dtype="f4")[LABELS]
    first = gradient_of(step, X, LABELS)
    second = gradient_of(step, X, targets)
    assert made_plans == ["RowsPlan"] * 2
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert gradient_of(step, X, LABELS).tobytes() == first.tobytes()
    assert len(made_plans) == 2
