"""Settings that change between steps count from the next step on; where none changes, nothing is captured again."""

import numpy as np
import pytest
from networks import COLUMNS, gradient_of

import fusedstep as fs

ROWS = 33
generator = np.random.default_rng(21)
X, LABELS = generator.standard_normal((ROWS, COLUMNS)).astype("f4"), generator.integers(0, 3, ROWS)
NUMBERS = generator.standard_normal((ROWS, 3)).astype("f4")


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


def require_followed(make, change, old, new, y):
    """make(value) -> step; change(step, value)."""
    fs.set_num_threads(2)
    step = make(old)
    for _ in range(3):
        step(X, y)
    state = step.model.arena.values.copy()

    def fresh(value):
        other = make(value)
        other.model.arena.values[...] = state
        return gradient_of(other, X, y, 4)

    assert gradient_of(step, X, y, 4).tobytes() == fresh(old).tobytes()
    change(step, new)
    assert fresh(new).tobytes() != fresh(old).tobytes()
    assert gradient_of(step, X, y, 4).tobytes() == fresh(new).tobytes()
    change(step, old)
    assert gradient_of(step, X, y, 4).tobytes() == fresh(old).tobytes()


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("case", LAYER_SETTINGS)
def test_settings_of_layers(case, backend):
    layers, kind, name, old, new = LAYER_SETTINGS[case]
    require_followed(
        lambda value: step_of(layers(value), fs.SoftmaxCrossEntropy(), backend),
        lambda step, value: setattr(owner(step, kind), name, value), old, new, LABELS,
    )  # fmt: skip


@pytest.mark.parametrize("case", LOSS_SETTINGS)
def test_settings_of_losses(case):
    make, name, old, new, y = LOSS_SETTINGS[case]
    require_followed(
        lambda value: step_of(_around(fs.Tanh()), make(value)), lambda step, value: setattr(step.loss, name, value), old, new, y
    )


def test_another_loss_that_was_there_before():
    losses = {"mean": fs.MSE(), "sum": fs.MSE("sum")}
    require_followed(
        lambda value: step_of(_around(fs.Tanh()), losses[value]),
        lambda step, value: setattr(step, "loss", losses[value]), "mean", "sum", NUMBERS,
    )  # fmt: skip


def test_a_setting_that_is_shared_counts_for_both():
    drop = fs.Dropout(0.5)
    steps = [step_of([fs.Linear(COLUMNS, 8), fs.ReLU(), drop, fs.Linear(8, 3)], fs.SoftmaxCrossEntropy()) for _ in range(2)]
    before = [gradient_of(step, X, LABELS) for step in steps]
    drop.p = 0.1
    after = [gradient_of(step, X, LABELS) for step in steps]
    assert before[0].tobytes() == before[1].tobytes()
    assert after[0].tobytes() == after[1].tobytes() != before[0].tobytes()


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
    shares = np.eye(3, dtype="f4")[LABELS]
    first = gradient_of(step, X, LABELS)
    second = gradient_of(step, X, shares)
    assert made_plans == ["RowsPlan"] * 2
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert gradient_of(step, X, LABELS).tobytes() == first.tobytes()
    assert len(made_plans) == 2


def test_setting_the_same_schedule_in_every_step_is_right_and_does_not_pile_up():
    step = step_of(_fused(fs.Dropout(0.2)), fs.SoftmaxCrossEntropy())
    for k in range(12):
        owner(step, fs.Dropout).p = 0.05 * k
        step(X, LABELS)
    assert len(step.executor._plans) <= 4
