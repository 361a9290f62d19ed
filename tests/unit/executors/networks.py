"""Small networks with every layer and every loss, their minibatches, and steps that are not replayed."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

import fusedstep as fs
from fusedstep.framework.layers.activations import ACTIVATION_LAYERS

COLUMNS = 6


def _simplex(generator, rows, classes):
    raised = np.exp(generator.standard_normal((rows, classes)))
    return raised / raised.sum(axis=1, keepdims=True)


def labels(generator, rows):
    return generator.integers(0, 3, rows)


def distributions(generator, rows):
    return _simplex(generator, rows, 3)


def yes_or_no(generator, rows):
    return generator.integers(0, 2, rows)


def counts(generator, rows):
    return generator.poisson(2.0, (rows, 2))


def numbers(width):
    return lambda generator, rows: generator.standard_normal((rows, width))


def _tied():
    encoder = fs.Linear(COLUMNS, 40, weight_init="glorot_uniform")
    return [encoder, fs.Sigmoid(), fs.TiedLinear(encoder)]


def _tied_wide():
    encoder = fs.Linear(96, 40, weight_init="glorot_uniform")
    return [fs.Linear(COLUMNS, 96), fs.Tanh(), encoder, fs.Sigmoid(), fs.TiedLinear(encoder), fs.Linear(96, 2)]


def _twice():
    shared = fs.Linear(COLUMNS, COLUMNS)
    return [shared, fs.Tanh(), shared, fs.ReLU(), shared]


def _hidden(*between, inputs=COLUMNS, units=16, outputs=3):
    return [fs.Linear(inputs, units, bias_init=0.1), *between, fs.Linear(units, outputs)]


def _every_activation():
    links = [[kind.of_width(8), fs.Linear(8, 8)] for kind in ACTIVATION_LAYERS.values()]
    return [fs.Linear(COLUMNS, 8), *(layer for link in links for layer in link)]


ZOO = {
    "relu, dropout, labels": (lambda: _hidden(fs.ReLU(), fs.Dropout(0.3)), fs.SoftmaxCrossEntropy, labels),
    "layer norm, gelu, smoothing": (
        lambda: _hidden(fs.LayerNorm(16), fs.GELU()), lambda: fs.SoftmaxCrossEntropy(0.1), labels,
    ),
    "gelu tanh, class weights": (
        lambda: _hidden(fs.GELU("tanh")), lambda: fs.SoftmaxCrossEntropy(0.1, "uniform", [1.0, 2.0, 0.5]), labels,
    ),
    "silu, distributions": (lambda: _hidden(fs.SiLU()), fs.SoftmaxCrossEntropy, distributions),
    "every activation": (_every_activation, fs.MSE, numbers(8)),
    "softmax end, sum": (
        lambda: [*_hidden(fs.Tanh()), fs.Softmax()], lambda: fs.SoftmaxCrossEntropy(reduction="sum"), labels,
    ),
    "absolute error": (lambda: _hidden(fs.Tanh(), outputs=2), fs.MAE, numbers(2)),
    "huber": (lambda: _hidden(fs.Tanh(), outputs=2), lambda: fs.Huber(0.5), numbers(2)),
    "quantiles of two": (lambda: _hidden(fs.Tanh(), outputs=6), lambda: fs.Quantile([0.1, 0.5, 0.9]), numbers(2)),
    "counts": (lambda: _hidden(fs.Tanh(), outputs=2), fs.Poisson, counts),
    "focal, class weights": (
        lambda: _hidden(fs.ReLU(), fs.Dropout(0.3)), lambda: fs.Focal(1.5, [1.0, 2.0, 0.5]), labels,
    ),
    "kl": (lambda: [*_hidden(fs.Tanh()), fs.Softmax()], fs.KLDivergence, distributions),
    "symmetric kl": (lambda: [*_hidden(fs.Sigmoid()), fs.Softmax()], fs.SymmetricKL, distributions),
    "bhattacharyya": (lambda: [*_hidden(), fs.Softmax()], fs.Bhattacharyya, distributions),
    "maxout, prelu, hinge": (
        lambda: [fs.Maxout(COLUMNS, 7, pieces=3), fs.PReLU(7), fs.Linear(7, 3)], fs.MultiClassHinge, labels,
    ),
    "noise, residual": (
        lambda: [
            fs.GaussianNoise(0.1),
            fs.Residual(fs.Linear(COLUMNS, 4), fs.ELU(0.7), fs.Dropout(0.2), fs.Linear(4, COLUMNS)),
            fs.LeakyReLU(0.05), fs.Linear(COLUMNS, 2, bias=False),
        ], lambda: fs.MSE("sum"), numbers(2),
    ),
    "tied": (_tied, fs.MSE, numbers(COLUMNS)),
    "tied, wide": (_tied_wide, fs.MSE, numbers(2)),
    "one layer three times": (_twice, fs.MSE, numbers(COLUMNS)),
    "binary": (lambda: _hidden(fs.Sigmoid(), outputs=1), fs.BinaryCrossEntropy, yes_or_no),
    "binary, focal": (lambda: _hidden(fs.Sigmoid(), outputs=1), lambda: fs.BinaryFocal(1.5, [1.0, 3.0]), yes_or_no),
    "signs": (lambda: _hidden(fs.Identity(), outputs=1), fs.Hinge, yes_or_no),
    "wide": (
        lambda: [*_hidden(fs.ReLU(), units=64, outputs=96), fs.Tanh(), fs.Dropout(0.5), fs.Linear(96, 2)], fs.MSE, numbers(2),
    ),
    "convolution, pooling": (
        lambda: [
            fs.Conv2d(1, 4, 2, padding=1, image=(2, 3)), fs.ReLU(), fs.MaxPool2d(2, 1), fs.Conv2d(4, 5, (1, 2), bias=False),
            fs.Flatten(), fs.Linear(20, 3),
        ], fs.SoftmaxCrossEntropy, labels,
    ),
    "wide convolution": (
        lambda: [fs.Linear(COLUMNS, 72), fs.Tanh(), fs.Conv2d(8, 16, 2, image=(3, 3)), fs.Linear(64, 2)], fs.MSE, numbers(2),
    ),
    "one embedding": (lambda: [fs.Embedding(70, 5, columns=COLUMNS), fs.ReLU(), fs.Linear(30, 2)], fs.MSE, numbers(2)),
    "embeddings of columns": (
        lambda: [fs.ColumnEmbeddings(COLUMNS, {0: 3, 2: 90, 5: 2}), fs.Dropout(0.1), fs.Linear(29, 3)],
        fs.SoftmaxCrossEntropy, labels,
    ),
    "embeddings of numbers": (
        lambda: [
            fs.PiecewiseLinearEmbedding(COLUMNS, [[-1.0, 0.1, 0.7], [-0.3, 1.0]], 3, columns=[1, 4]),
            fs.PeriodicEmbedding(10, 2, 4), fs.Dropout(0.1), fs.Linear(20, 3),
        ], fs.SoftmaxCrossEntropy, labels,
    ),
    "ensemble, labels": (
        lambda: fs.mlp([COLUMNS, 16, 24, 3], dropout=0.2, layer_norm=True, n_ensemble=3).layers,
        lambda: fs.SoftmaxCrossEntropy(class_weights=[1.0, 2.0, 0.5]), labels,
    ),
    "ensemble, numbers": (
        lambda: fs.mlp([COLUMNS, 64, 2], "prelu", n_ensemble=2).layers, lambda: fs.Huber(0.5, "sum"), numbers(2),
    ),
    "softmax between, sequences": (
        lambda: [fs.Sequential(*_hidden(fs.ReLU(), outputs=8)), fs.Softmax(), fs.Sequential(fs.Linear(8, 2))],
        fs.MSE, numbers(2),
    ),
}  # fmt: skip
"""Name -> (layers, loss, targets), all of which make new ones; x has COLUMNS columns."""


class InterpretedStep(fs.TrainStep):
    """A step that is never replayed."""

    @property
    def recordable(self):
        return False


def step_for(name, dtype="float32", backend="numba", kind=fs.TrainStep, optimizer=None, seed=3, **options):
    """A new step of a network of the zoo."""
    layers, loss, _ = ZOO[name]
    model = fs.Sequential(*layers()).initialize(seed, backend, dtype)
    return kind(model, loss(), optimizer or fs.SGD(0.05), seed=seed, backend=backend, **options)


def batch_for(name, rows, dtype="float32", number=0):
    """(x, y) for it."""
    generator = np.random.default_rng([rows, number])
    x = generator.standard_normal((rows, COLUMNS)).astype(dtype)
    for column, codes in fs.Sequential(*ZOO[name][0]()).coded_columns.items():
        x[:, column] = generator.integers(0, codes, rows)
    y = ZOO[name][2](generator, rows)
    return x, y.astype(dtype) if y.dtype.kind == "f" else y


def take(step, x, y, number=1):
    """(sum of the losses, gradient) of a pass, without an update."""
    inputs, targets = step.prepare(x, y)
    step.gradient[...] = np.nan
    for start, stop in zip([0, *(b for _, b in sorted(step.ranges.values()))],
                           [*(a for a, _ in sorted(step.ranges.values())), step.gradient.size], strict=True):  # fmt: skip
        step.gradient[start:stop] = 0.0
    total, squares = step.executor.gradient((inputs, targets), number)
    np.testing.assert_allclose(float(squares), float((step.gradient.astype("f8") ** 2).sum()), rtol=1e-6)
    return float(total), np.array(step.gradient)


def gradient_of(step, x, y, number=1):
    """Only the gradient."""
    return take(step, x, y, number)[1]


def plans(step):
    """The plans that the executor of a step keeps, the oldest first."""
    return list(step.executor._plans.values())


def kind_of_plan(step):
    """The name of the class of its latest plan."""
    return type(plans(step)[-1]).__name__


def train(step, batches):
    """Losses, and the parameters afterwards as bytes."""
    losses = [float(step(x, y)) for x, y in batches]
    return losses, step.model.arena.values.tobytes()


def in_a_process(program, *arguments, seconds=60, **environment):
    """What a program prints, with as many threads of BLAS as users have; a hang fails, and shows where every thread is."""
    watched = f"import faulthandler\nfaulthandler.dump_traceback_later({seconds}, exit=True)\n{program}"
    command = [sys.executable, "-c", watched, *map(str, arguments)]
    usual = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    surroundings = usual | {name: str(value) for name, value in environment.items()}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=surroundings, timeout=seconds + 10,
        cwd=os.path.dirname(__file__),
    )  # fmt: skip
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
