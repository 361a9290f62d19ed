"""Every layer, loss and formula through the gradient check and the forward-mode check, by one table each.

A layer or loss that is missing from its table fails `test_every_layer_is_in_the_table` or its sister.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import backend
from fusedstep.framework.engine.arena import Arena
from fusedstep.framework.engine.tape import Tape
from fusedstep.framework.layers import LAYERS
from fusedstep.framework.layers.activations import ACTIVATION_LAYERS
from fusedstep.framework.losses import LOSSES

WIDTH = 6


def _tied() -> list[fs.Layer]:
    encoder = fs.Linear(WIDTH, 4)
    return [encoder, fs.Sigmoid(), fs.TiedLinear(encoder)]


def with_codes(x: np.ndarray, model: fs.Sequential) -> np.ndarray:
    """x with codes in the columns that hold some."""
    coded = x.copy()
    for column, codes in model.coded_columns.items():
        coded[:, column] = np.random.default_rng(column).integers(0, codes, len(x))
    return coded


LAYER_TABLE = {
    **{kind.__name__: partial(lambda kind: [kind.of_width(WIDTH)], kind) for kind in ACTIVATION_LAYERS.values()},
    "ColumnEmbeddings": lambda: [fs.ColumnEmbeddings(WIDTH, {1: 3, 4: 5}, [2, 3]), fs.Linear(9, 3)],
    "Conv2d": lambda: [fs.Conv2d(1, 3, 2, padding=1, image=(2, 3)), fs.Tanh(), fs.Conv2d(3, 2, (2, 1), stride=2, bias=False)],
    "Dropout": lambda: [fs.Dropout(0.4)],
    "ELU": lambda: [fs.ELU(0.7)],
    "Embedding": lambda: [fs.Embedding(4, 3, columns=WIDTH), fs.Tanh(), fs.Linear(18, 2)],
    "EnsembleLinear": lambda: [fs.EnsembleLinear(3, 4, 2, scale_init="random_signs"), fs.Tanh(), fs.EnsembleLinear(2, 1, 4)],
    "EnsembleMean": lambda: [*(fs.EnsembleMean(1, head) for head in ("classes", "binary", "log_rates")), fs.EnsembleMean(3)],
    "Flatten": lambda: [fs.Conv2d(2, 2, 1, image=(1, 3)), fs.Flatten(), fs.Linear(6, 2)],
    "GELU": lambda: [fs.GELU(), fs.Linear(WIDTH, 5), fs.GELU("tanh")],
    "GaussianNoise": lambda: [fs.GaussianNoise(0.3), fs.Linear(WIDTH, 3)],
    "LayerNorm": lambda: [fs.LayerNorm(WIDTH), fs.LayerNorm(2, 1e-3, groups=3)],
    "LeakyReLU": lambda: [fs.LeakyReLU(0.05)],
    "Linear": lambda: [fs.Linear(WIDTH, 4), fs.Linear(4, 3, bias=False)],
    "MaxPool2d": lambda: [fs.MaxPool2d(2, 1, image=(2, 3, 1)), fs.Linear(2, 3)],
    "Maxout": lambda: [fs.Maxout(WIDTH, 4, pieces=3)],
    "PeriodicEmbedding": lambda: [fs.PeriodicEmbedding(WIDTH, 2, 3, 0.3), fs.PeriodicEmbedding(12, 2, 1, columns=[3, 0, 11])],
    "PiecewiseLinearEmbedding": lambda: [
        fs.PiecewiseLinearEmbedding(WIDTH, [[-2, 0.1, 0.3, 1], [0.2, 1.2]], 3, [4, 1]), fs.Tanh(), fs.Linear(10, 2),
    ],
    "RepeatColumns": lambda: [fs.RepeatColumns(WIDTH, 2), fs.Tanh(), fs.Linear(12, 3)],
    "Residual": lambda: [fs.Residual(fs.Linear(WIDTH, 4), fs.Tanh(), fs.Dropout(0.2), fs.Linear(4, WIDTH))],
    "SeparateLinear": lambda: [fs.SeparateLinear(2, 4, 3), fs.Tanh(), fs.SeparateLinear(6, 9, 2)],
    "Softmax": lambda: [fs.Softmax()],
    "TiedLinear": _tied,
}


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((5, WIDTH))


def test_every_layer_is_in_the_table() -> None:
    assert set(LAYERS) == set(LAYER_TABLE)


@pytest.mark.row("A1", "A2", "A3", "A8")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("run", ["numpy", "numba"])
@pytest.mark.parametrize("name", LAYER_TABLE)
def test_layer_gradients(name: str, run: str, training: bool, x: np.ndarray) -> None:
    model = fs.Sequential(*LAYER_TABLE[name]())
    report = fs.gradient_check(model, None, with_codes(x, model), training=training, backend=run)
    assert report.passed, report


@pytest.mark.row("A11")
def test_gradient_check_finds_a_wrong_gradient(x: np.ndarray) -> None:
    class Wrong(fs.Linear, public=False):
        def backward(self, dy, tape, needs_input=True):
            dx = super().backward(dy, tape, needs_input)
            tape.gradient(self.weight)[0][0, 0] *= 1.001
            return dx

    report = fs.gradient_check(fs.Sequential(Wrong(WIDTH, 3)), None, x)
    assert not report.passed
    assert report.errors["0.Wrong.weight"] > 1e-7 > report.errors["input"]
    assert "WRONG" in str(report)


@pytest.mark.row("A12")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYER_TABLE)
def test_layer_jvp(name: str, training: bool, x: np.ndarray) -> None:
    """(y, dy) along a random direction of input and parameters, against central differences."""
    run = backend("numpy")
    chain = fs.Sequential(*LAYER_TABLE[name]())
    arena = Arena(chain.declared(), run, "float64")
    arena.initialize(1)
    rng = np.random.default_rng(4)
    x = with_codes(x, chain)
    dx, tangents = rng.standard_normal(x.shape), arena.new()
    dx[:, list(chain.coded_columns)] = 0.0
    for view in arena.views_of(tangents).values():
        view[...] = rng.standard_normal(view.shape)
    state = run.random_state(0, 1)
    tape = Tape(arena, training, state, arena.new(), tangents)
    tape.begin(len(x))
    y, dy = (a.copy() for a in chain.jvp(x.copy(), dx, tape))

    def forward(offset: float) -> np.ndarray:
        arena.values[...] += offset * tangents
        plain = Tape(arena, training, state, arena.new())
        plain.begin(len(x))
        out = chain.forward(x + offset * dx, plain).copy()
        arena.values[...] -= offset * tangents
        return out

    h = 1e-4
    numeric = (8 * (forward(h) - forward(-h)) - (forward(2 * h) - forward(-2 * h))) / (12 * h)
    np.testing.assert_allclose(y, forward(0.0), rtol=0, atol=1e-13)
    assert np.linalg.norm(dy - numeric) <= 1e-7 * (np.linalg.norm(dy) + np.linalg.norm(numeric)) + 1e-12


@pytest.mark.parametrize("name", LAYER_TABLE)
def test_jvp_and_backward_are_transposes(name: str, x: np.ndarray) -> None:
    """<w, J v> = <J^T w, v> for the direction (dx, dtheta) = v, on the tape that jvp left."""
    run = backend("numpy")
    chain = fs.Sequential(*LAYER_TABLE[name]())
    arena = Arena(chain.declared(), run, "float64")
    arena.initialize(1)
    x = with_codes(x, chain)
    rng = np.random.default_rng(5)
    dx, tangents, gradients = rng.standard_normal(x.shape), arena.new(), arena.new()
    for view in arena.views_of(tangents).values():
        view[...] = rng.standard_normal(view.shape)
    tape = Tape(arena, True, run.random_state(0, 1), gradients, tangents)
    tape.begin(len(x))
    _, dy = chain.jvp(x, dx, tape)
    w = rng.standard_normal(dy.shape)
    left = float((w * dy).sum())
    back = chain.backward_unfused(w.copy(), tape)
    right = float((back * dx).sum()) + float(gradients @ tangents)
    assert left == pytest.approx(right, rel=1e-11)


def _softmax_rows(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    raised = np.exp(rng.standard_normal((rows, classes)))
    return raised / raised.sum(axis=1, keepdims=True)


rng = np.random.default_rng(7)
LOGITS, LABELS = rng.standard_normal((6, 4)) * 2.0, rng.integers(0, 4, 6)
SIMPLEX, TARGET_SIMPLEX = _softmax_rows(rng, 6, 4), _softmax_rows(rng, 6, 4)
LOSS_TABLE = {
    "MSE": [(fs.MSE(), LOGITS, rng.standard_normal((6, 4))), (fs.MSE("sum"), LOGITS, rng.standard_normal((6, 4)))],
    "MAE": [(fs.MAE(), LOGITS, rng.standard_normal((6, 4)))],
    "Huber": [(fs.Huber(), LOGITS, rng.standard_normal((6, 4))), (fs.Huber(0.3, "sum"), LOGITS, rng.standard_normal((6, 4)))],
    "Quantile": [
        (fs.Quantile(0.3), LOGITS, rng.standard_normal((6, 4))),
        (fs.Quantile([0.1, 0.9]), LOGITS, rng.standard_normal((6, 2))),
    ],
    "Poisson": [(fs.Poisson(), LOGITS, rng.poisson(3.0, (6, 4)))],
    "Focal": [
        (fs.Focal(), LOGITS, LABELS),
        (fs.Focal(0.0, reduction="sum"), LOGITS, LABELS),
        (fs.Focal(0.5, [1.0, 2.0, 0.5, 0.0]), LOGITS, LABELS),
    ],
    "BinaryFocal": [
        (fs.BinaryFocal(), LOGITS[:, :1], LABELS % 2),
        (fs.BinaryFocal(0.5, [0.3, 2.0], "sum"), LOGITS, rng.integers(0, 2, (6, 4))),
    ],
    "BinaryCrossEntropy": [
        (fs.BinaryCrossEntropy(), LOGITS[:, :1], LABELS % 2),
        (fs.BinaryCrossEntropy(), LOGITS, rng.random((6, 4))),
    ],
    "Hinge": [(fs.Hinge(), LOGITS[:, :1] * 1.7, LABELS % 2 * 2 - 1)],
    "SoftmaxCrossEntropy": [
        (fs.SoftmaxCrossEntropy(), LOGITS, LABELS),
        (fs.SoftmaxCrossEntropy(reduction="sum"), LOGITS, LABELS),
        (fs.SoftmaxCrossEntropy(label_smoothing=0.1), LOGITS, LABELS),
        (fs.SoftmaxCrossEntropy(0.1, "uniform", [1.0, 2.0, 0.5, 0.0]), LOGITS, LABELS),
        (fs.SoftmaxCrossEntropy(), LOGITS, TARGET_SIMPLEX),
    ],
    "MultiClassHinge": [(fs.MultiClassHinge(), LOGITS, LABELS)],
    "KLDivergence": [(fs.KLDivergence(), SIMPLEX, TARGET_SIMPLEX)],
    "SymmetricKL": [(fs.SymmetricKL(), SIMPLEX, TARGET_SIMPLEX)],
    "Bhattacharyya": [(fs.Bhattacharyya(), SIMPLEX, TARGET_SIMPLEX)],
}


def test_every_loss_is_in_the_table() -> None:
    assert set(LOSSES) == set(LOSS_TABLE)


@pytest.mark.parametrize("run", ["numpy", "numba"])
@pytest.mark.parametrize(("name", "case"), [(n, k) for n, cases in LOSS_TABLE.items() for k in range(len(cases))])
def test_loss_gradients(name: str, case: int, run: str) -> None:
    loss, outputs, targets = LOSS_TABLE[name][case]
    report = fs.gradient_check(loss, x=outputs, y=targets, backend=run)
    assert report.passed, report


@pytest.mark.row("A11")
@pytest.mark.parametrize("activation", ["relu", "gelu", "prelu", "tanh"])
def test_whole_model(activation: str, x: np.ndarray) -> None:
    model = fs.mlp([WIDTH, 8, 7, 3], activation=activation, dropout=0.25, layer_norm=True)
    report = fs.gradient_check(model, fs.SoftmaxCrossEntropy(), x, np.array([0, 1, 2, 1, 0]), training=True)
    assert report.passed, report
    assert set(report.errors) == {name for name, _ in model.declared()} | {"input"}


def test_a_sequential_inside_a_sequential(x: np.ndarray) -> None:
    inner = fs.Sequential(fs.Linear(WIDTH, 4), fs.Tanh())
    model = fs.Sequential(inner, fs.Linear(4, 2)).initialize(backend="numpy")
    assert list(model.parameters()) == [
        "0.Sequential.0.Linear.weight", "0.Sequential.0.Linear.bias", "1.Linear.weight", "1.Linear.bias",
    ]  # fmt: skip
    assert fs.gradient_check(model, None, x).passed
