"""Checks that small networks, trained through the public interface, agree with the reference backend at every step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import NonFiniteLossError
from ..contract import Backend
from .comparison import between, close, exactly, expect, labels, normal
from .errors import refused
from .suite import REALS, Sizes, check

ROWS = 12


def _library() -> Any:
    """The public package; imported only when a check runs, because the framework depends on the backends."""
    import fusedstep

    return fusedstep


def classifier(backend: Backend | str, dtype: str) -> Any:
    """A step with GELU, layer normalisation, dropout, clipping and decoupled decay."""
    fs = _library()
    model = fs.mlp([5, 16, 9, 3], activation="gelu", dropout=0.25, layer_norm=True)
    model.initialize(7, backend, dtype)
    loss = fs.SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=[1.0, 2.0, 0.5])
    return fs.TrainStep(model, loss, fs.AdamW(3e-3, clip_norm=1.0), seed=7, backend=backend)


def autoencoder(backend: Backend | str, dtype: str) -> Any:
    """A step with maxout, PReLU, a residual block, tied weights, noise, L2 and a group."""
    fs = _library()
    encoder = fs.Linear(5, 6, weight_init="glorot_uniform")
    inner = (fs.Maxout(6, 7, pieces=3), fs.PReLU(7), fs.Linear(7, 6))
    model = fs.Sequential(fs.GaussianNoise(0.1), encoder, fs.Tanh(), fs.Residual(*inner), fs.ELU(), fs.TiedLinear(encoder))
    model.initialize(8, backend, dtype)
    groups = [fs.ParameterGroup("*.bias", lr_scale=2.0)]
    return fs.TrainStep(model, fs.MSE(), fs.Momentum(0.01, l2=0.01, groups=groups), seed=8, backend=backend)


NETWORKS = (classifier, autoencoder)


def batches(network: Any, dtype: str, steps: int) -> list[tuple[Any, Any]]:
    """One minibatch for each step."""
    xs = [normal(dtype, (ROWS, 5), "x", step) for step in range(steps)]
    return [(x, labels(ROWS, 3, "y", step) if network is classifier else x) for step, x in enumerate(xs)]


def parameters(step: Any) -> dict[str, np.ndarray[Any, Any]]:
    """All parameters, on the host."""
    return {name: step.backend.to_numpy(values) for name, values in step.model.parameters().items()}


@check("training", network=NETWORKS, dtype=REALS)
def agrees_with_numpy(backend: Backend, sizes: Sizes, network: Any, dtype: str) -> None:
    """Initial parameters have the same bits as on numpy, and losses and parameters agree after training."""
    own, reference = network(backend, dtype), network("numpy", dtype)
    for name, values in parameters(reference).items():
        exactly(parameters(own)[name], values, f"initial {name}")
    data = batches(network, dtype, sizes.steps)
    losses = np.array([[float(own(x, y)), float(reference(x, y))] for x, y in data])
    close(losses[:, 0], losses[:, 1], dtype, "loss", "losses")
    expect(losses[-1, 1] != losses[0, 1], "expected the loss to change")
    for name, values in parameters(reference).items():
        close(parameters(own)[name], values, dtype, "parameter", name)
    x = data[0][0]
    close(backend.to_numpy(own.model(x)), reference.backend.to_numpy(reference.model(x)), dtype, "parameter", "outputs")


@check("training", network=NETWORKS, dtype=REALS)
def twice_the_same(backend: Backend, sizes: Sizes, network: Any, dtype: str) -> None:
    """Two runs with the same seed give the same bits."""
    first, second = network(backend, dtype), network(backend, dtype)
    for x, y in batches(network, dtype, sizes.steps):
        expect(float(first(x, y)) == float(second(x, y)), "expected the same loss twice")
    for name, values in parameters(first).items():
        exactly(parameters(second)[name], values, name)


@check("training", network=NETWORKS, dtype=REALS)
def micro_batches_of_a_minibatch(backend: Backend, sizes: Sizes, network: Any, dtype: str) -> None:
    """Micro-batches give the losses and parameters of whole minibatches, with the same masks and noise."""
    whole, cut = network(backend, dtype), network(backend, dtype)
    for x, y in batches(network, dtype, sizes.steps):
        inputs, targets = cut.prepare(x, y)

        def micro_batches(size: int, inputs: Any = inputs, targets: Any = targets) -> Any:  # noqa: ARG001
            return ((inputs[a:b, ...], targets[a:b, ...]) for a, b in ((0, 5), (5, 10), (10, ROWS)))

        cut.micro.setting = 5
        close(float(cut.take(ROWS, micro_batches)), float(whole(x, y)), dtype, "loss", "loss")
    for name, values in parameters(whole).items():
        close(parameters(cut)[name], values, dtype, "parameter", name)


@check("training", dtype=REALS)
def streamed_rows(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """Training on streamed rows gives the same parameters as training on arrays."""
    fs = _library()
    (x, y), *_ = batches(classifier, dtype, 1)
    results = []
    for place in ("device", "stream"):
        step = classifier(backend, dtype)
        fs.Trainer(step).fit(fs.ArrayRows(x), y, epochs=2, batch_size=5, data=place)
        results.append(parameters(step))
    for name, values in results[0].items():
        exactly(results[1][name], values, name)


@check("training", dtype=REALS)
def broken_minibatch(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """NaN in the data raises NonFiniteLossError, at the latest when the loss is read, and leaves the parameters unchanged."""
    step = classifier(backend, dtype)
    (x, y), (x2, y2) = batches(classifier, dtype, 2)
    float(step(x, y))
    before = parameters(step)
    broken = x2.copy()
    broken[3, 1] = np.nan
    refused(NonFiniteLossError, lambda: float(step(broken, y2)), "a minibatch with NaN", "step 2")
    for name, values in before.items():
        exactly(parameters(step)[name], values, name)
    float(step(x2, y2))


@check("training")
def targets_of_every_kind(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """Training, evaluation and prediction with every loss, with targets on the host and on the backend."""
    fs = _library()
    x = normal("float32", (ROWS, 4))
    classes = between("float32", (ROWS, 3), 0.1, 1.0)
    shards = classes / classes.sum(axis=1, keepdims=True)
    two = labels(ROWS, 2)
    for loss, width, y, softmax in (
        (fs.SoftmaxCrossEntropy(), 3, labels(ROWS, 3), False),
        (fs.SoftmaxCrossEntropy(), 3, labels(ROWS, 3).astype(np.int64), True),
        (fs.SoftmaxCrossEntropy(), 3, labels(ROWS, 3).astype(np.float64), False),
        (fs.SoftmaxCrossEntropy(), 3, shards, False),
        (fs.MultiClassHinge(), 3, labels(ROWS, 3), False),
        (fs.BinaryCrossEntropy(), 1, two, False),
        (fs.Hinge(), 1, two, False),
        (fs.MSE(), 2, normal("float32", (ROWS, 2), "y"), False),
        (fs.MAE(), 2, normal("float32", (ROWS, 2), "y"), False),
        (fs.Huber(0.5), 2, normal("float32", (ROWS, 2), "y"), False),
        (fs.Quantile([0.1, 0.5, 0.9]), 6, normal("float32", (ROWS, 2), "y"), False),
        (fs.Quantile([0.1, 0.5, 0.9]), 3, normal("float32", (ROWS,), "y"), False),
        (fs.Poisson(), 2, labels(2 * ROWS, 5).reshape(ROWS, 2), False),
        (fs.Focal(2.0, [1.0, 2.0, 0.5]), 3, labels(ROWS, 3), True),
        (fs.KLDivergence(), 3, shards, True),
        (fs.SymmetricKL(), 3, shards, True),
        (fs.Bhattacharyya(), 3, shards, True),
    ):
        layers = [fs.Linear(4, width), *([fs.Softmax()] if softmax else [])]
        results = []
        for target in (backend, fs.backend("numpy")):
            step = fs.TrainStep(fs.Sequential(*layers), loss, fs.SGD(0.1), seed=1, backend=target)
            values = [float(step(x, y)), float(step(target.asarray(x), target.asarray(y)))]
            scores = step.evaluate(x, y)
            guesses = target.to_numpy(step.model.predict(x)).astype(np.float64)
            results.append((values, scores, guesses))
        what = f"{loss!r} with targets of {y.dtype} {y.shape}"
        close(results[0][0], results[1][0], "float32", "loss", f"losses of {what}")
        expect(results[0][1].keys() == results[1][1].keys(), f"{what}: expected the same metrics")
        for key, value in results[1][1].items():
            close(results[0][1][key], value, "float32", "parameter", f"{key} of {what}")
        close(results[0][2], results[1][2], "float32", "parameter", f"predictions of {what}")
