"""Ensembles that are trained as one network: k explicit computations, one product, losses of members, averaged predictions."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import HyperparameterError, ShapeError
from fusedstep.framework.losses import LOSSES

B, D, H, K, C = 12, 5, 8, 3, 4
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((B, D)), RNG.integers(0, C, B)
HOSTS = ["numpy", "numba"]


def step_of(model, loss=None, optimizer=None, backend="numba", **options):
    model.initialize(4, backend, "float64")
    rng = np.random.default_rng(1)
    model.load_parameters({n: np.asarray(v) + rng.normal(0.0, 0.1, v.shape) for n, v in model.parameters().items()})
    return fs.TrainStep(model, loss or fs.SoftmaxCrossEntropy(), optimizer or fs.Adam(1e-2), backend=backend, **options)


def parameters(model):
    return {name: np.array(value) for name, value in model.parameters().items()}


def softmax(z):
    raised = np.exp(z - z.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def member(p, i, x=X):
    """The logits of member i, and what its backward pass needs, from formulas on its own arrays."""
    r0, s0, b0 = (p[f"1.EnsembleLinear.{n}"].reshape(K, -1)[i] for n in ("scale_in", "scale_out", "bias"))
    r1, s1, b1 = (p[f"3.EnsembleLinear.{n}"].reshape(K, -1)[i] for n in ("scale_in", "scale_out", "bias"))
    w0, w1 = p["1.EnsembleLinear.weight"], p["3.EnsembleLinear.weight"]
    w2, b2 = p["5.SeparateLinear.weight"].reshape(K, H, C)[i], p["5.SeparateLinear.bias"].reshape(K, C)[i]
    z0 = (x * r0) @ w0
    h0 = np.tanh(s0 * z0 + b0)
    z1 = (h0 * r1) @ w1
    h1 = np.tanh(s1 * z1 + b1)
    return h1 @ w2 + b2, (r0, s0, w0, z0, h0, r1, s1, w1, z1, h1, w2)


def gradients(p, y=Y):
    """(loss, gradient by name) of the mean over members of their cross-entropies."""
    found = {name: np.zeros_like(value) for name, value in p.items()}
    total = 0.0
    for i in range(K):
        logits, (r0, s0, w0, z0, h0, r1, s1, w1, z1, h1, w2) = member(p, i)
        q = softmax(logits)
        total -= np.log(q[np.arange(B), y]).mean() / K
        d = (q - np.eye(C)[y]) / (B * K)

        def own(name, value, i=i):
            found[name].reshape(K, *value.shape)[i] = value

        own("5.SeparateLinear.weight", h1.T @ d)
        own("5.SeparateLinear.bias", d.sum(axis=0))
        d = d @ w2.T
        for name, r, s, w, x, z, h in (("3", r1, s1, w1, h0, z1, h1), ("1", r0, s0, w0, X, z0, h0)):
            d = d * (1.0 - h**2)
            own(f"{name}.EnsembleLinear.bias", d.sum(axis=0))
            own(f"{name}.EnsembleLinear.scale_out", (d * z).sum(axis=0))
            found[f"{name}.EnsembleLinear.weight"] += (x * r).T @ (d * s)
            u = (d * s) @ w.T
            own(f"{name}.EnsembleLinear.scale_in", (u * x).sum(axis=0))
            d = u * r
    return total, found


@pytest.mark.parametrize("backend", HOSTS)
def test_three_steps_of_adam_are_those_of_k_networks_that_share_weights(backend):
    step = step_of(fs.mlp([D, H, H, C], "tanh", n_ensemble=K), backend=backend)
    p, lr = parameters(step.model), 1e-2
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in p.items()}
    for t in range(1, 4):
        loss = float(step(X, Y))
        wanted, gradient = gradients(p)
        assert loss == pytest.approx(wanted, rel=1e-12)
        arena = step.model.arena
        views = arena.views_of(step.gradient)
        for parameter, name in arena.names.items():
            np.testing.assert_allclose(views[parameter], gradient[name], rtol=1e-9, atol=1e-15, err_msg=name)
            m, v = moments[name]
            m[...] = 0.9 * m + 0.1 * gradient[name]
            v[...] = 0.999 * v + 0.001 * gradient[name] ** 2
            p[name] -= lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    for name, value in parameters(step.model).items():
        np.testing.assert_allclose(value, p[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_members_share_one_product():
    step = step_of(fs.mlp([D, H, H, C], n_ensemble=K))
    for number, layer in enumerate(step.model.layers):
        if isinstance(layer, fs.EnsembleLinear):
            products = [p for p in step.profile(X, Y, 1) if p.operation == "matmul" and p.place.startswith(f"{number} ")]
            # Shards of rows are summed up in one part: 2 B K d e operations forward, and twice as many backward.
            assert sorted(p.flop for p in products) == [2 * B * K * layer.each * H, 4 * B * K * layer.each * H]


def test_one_member_is_the_plain_network():
    widths, options = [D, H, C], {"dropout": 0.2, "layer_norm": True}
    assert repr(fs.mlp(widths, n_ensemble=1, **options)) == repr(fs.mlp(widths, **options))
    plain = fs.Sequential(fs.Linear(D, H), fs.ReLU(), fs.Linear(H, C)).initialize(0, "numpy", "float64")
    one = fs.Sequential(fs.EnsembleLinear(D, H, 1), fs.ReLU(), fs.SeparateLinear(H, C, 1), fs.EnsembleMean(1))
    one.initialize(0, "numpy", "float64")
    scales = {name: value for name, value in parameters(one).items() if "scale" in name}
    assert all((value == 1.0).all() for value in scales.values())
    renamed = {name.replace("0.Linear", "0.EnsembleLinear").replace("2.Linear", "2.SeparateLinear"): value
               for name, value in parameters(plain).items()}  # fmt: skip
    one.load_parameters({**scales, **renamed})
    np.testing.assert_allclose(one(X), plain(X), rtol=1e-13)
    np.testing.assert_allclose(one.predict_proba(X), plain.predict_proba(X), rtol=1e-13)
    losses = [float(fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1))(X, Y)) for model in (one, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-13)


def test_members_begin_with_other_signs():
    signs = parameters(fs.mlp([200, H, H, C], n_ensemble=K).initialize(0, "numpy"))["1.EnsembleLinear.scale_in"].reshape(K, 200)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.2
    assert all((signs[i] != signs[j]).any() for i in range(K) for j in range(i))


def test_dropout_masks_differ_by_member():
    step = step_of(fs.Sequential(fs.RepeatColumns(D, K), fs.Dropout(0.5), fs.EnsembleMean(K)), fs.MSE())
    tape = step.new_tape(step.model.arena.new())
    tape.begin(B)
    kept = np.array(step.chain.forward(np.ones((B, D)), tape)).reshape(B, K, D) != 0.0
    assert all((kept[:, i] != kept[:, j]).any() for i in range(K) for j in range(i))


def outputs_of_members(model, x=X):
    """[B, K, e]."""
    tape = fs.framework.engine.tape.Tape(model.arena)
    tape.begin(len(x))
    z = model.backend.asarray(x, model.dtype)
    for layer in model.layers[:-1]:
        z = layer.forward(z, tape)
    return np.array(z).reshape(len(x), K, -1)


@pytest.mark.parametrize("backend", HOSTS)
def test_predictions_are_averages_of_what_members_predict(backend):
    def trained(loss, y, outputs):
        step = step_of(fs.mlp([D, H, outputs], n_ensemble=K), loss, backend=backend)
        step(X, y)
        return step, outputs_of_members(step.model)

    step, z = trained(fs.SoftmaxCrossEntropy(), Y, C)
    p = softmax(z).mean(axis=1)
    np.testing.assert_allclose(step.model.predict_proba(X), p, rtol=1e-12)
    np.testing.assert_array_equal(step.model.predict(X), p.argmax(axis=1))
    figures = step.evaluate(X, Y, metrics=["neg_log_loss"])
    assert figures["loss"] == pytest.approx(-np.log(p[np.arange(B), Y]).mean(), rel=1e-12)
    assert figures["accuracy"] == (p.argmax(axis=1) == Y).mean()
    assert figures["neg_log_loss"] == pytest.approx(-figures["loss"], rel=1e-12)

    step, z = trained(fs.BinaryCrossEntropy(), Y % 2, 1)
    one = (1 / (1 + np.exp(-z))).mean(axis=1)
    np.testing.assert_allclose(step.model.predict_proba(X), np.hstack([1 - one, one]), rtol=1e-12)
    np.testing.assert_array_equal(step.model.predict(X), one[:, 0] > 0.5)

    step, z = trained(fs.MSE(), X[:, :2], 2)
    np.testing.assert_allclose(step.model.predict(X), z.mean(axis=1), rtol=1e-12)
    assert step.evaluate(X, X[:, :2])["loss"] == pytest.approx(((z.mean(axis=1) - X[:, :2]) ** 2).sum(axis=1).mean())

    step, z = trained(fs.Poisson(), Y, 1)
    np.testing.assert_allclose(step.model.predict(X), np.exp(z).mean(axis=1)[:, 0], rtol=1e-12)

    step, z = trained(fs.Hinge(), Y % 2, 1)
    np.testing.assert_array_equal(step.model.predict(X), z.mean(axis=1)[:, 0] > 0.0)


def test_far_logits_stay_finite():
    layer = fs.Sequential(fs.EnsembleMean(2, "classes")).initialize(0, "numba")
    far = layer(np.array([[200.0, 0.0, 200.0, 0.0]]))
    np.testing.assert_allclose(far, [[0.0, np.log(1e-30)]], rtol=1e-6)
    both = fs.Sequential(fs.EnsembleMean(2, "binary")).initialize(0, "numba")(np.array([[20.0, 20.0], [-9.0, -9.0]]))
    np.testing.assert_allclose(both, [[20.0], [-9.0]], rtol=1e-6)


TARGETS = {"values": X[:, :C], "log_rates": np.abs(X[:, :C]), "binary": (X[:, :C] > 0) * 1.0, "signs": (X[:, :C] > 0) * 1.0}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_every_loss(name):
    loss = LOSSES[name]()
    model = fs.mlp([D, H, C], "tanh", layer_norm=True, n_ensemble=K)
    if loss.needs_simplex:
        with pytest.raises(HyperparameterError, match="Softmax"):
            fs.TrainStep(model, loss, fs.SGD(0.1))
        return
    y = TARGETS.get(loss.head, Y)
    report = fs.gradient_check(model, loss, X, y)
    assert report.passed, report
    step = step_of(model, loss)
    each = outputs_of_members(step.model)
    rows = {"values": y, "log_rates": y, "binary": y, "signs": 2 * np.asarray(y) - 1}.get(loss.head, y)
    losses = [fs.TrainStep(_fixed(each[:, i]), loss, fs.SGD(1e-12), backend="numpy") for i in range(K)]
    alone = np.mean([float(one(np.eye(B), rows)) for one in losses])
    assert float(step(X, y)) == pytest.approx(alone, rel=1e-9)


def _fixed(outputs):
    """A model whose outputs for the rows of the identity are these."""
    model = fs.Sequential(fs.Linear(B, outputs.shape[1], bias=False)).initialize(0, "numpy", "float64")
    model.load_parameters({"0.Linear.weight": outputs})
    return model


@pytest.mark.parametrize("loss", [fs.SoftmaxCrossEntropy(label_smoothing=0.1), fs.SoftmaxCrossEntropy(reduction="sum")])
def test_sample_weights_and_micro_batches(loss):
    def after(x, y, **options):
        weights = options.pop("sample_weight", None)
        step = step_of(fs.mlp([D, H, C], n_ensemble=K), loss, fs.SGD(0.1), **options)
        value = float(step(x, y, weights))
        return np.append(np.concatenate([v.ravel() for v in parameters(step.model).values()]), value)

    twice = after(np.vstack([X, X[:1]]), np.append(Y, Y[:1]))
    np.testing.assert_allclose(after(X, Y, sample_weight=[2.0] + [1.0] * (B - 1)), twice, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(after(X, Y, sample_weight=[0.0] + [1.0] * (B - 1)), after(X[1:], Y[1:]), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(after(X, Y, micro_batch=5), after(X, Y), rtol=1e-9, atol=1e-13)


def test_targets_may_be_distributions_and_classes_balanced():
    soft = fs.mlp([D, H, C], n_ensemble=K)
    hard = fs.mlp([D, H, C], n_ensemble=K)
    losses = [float(step_of(model)(X, y)) for model, y in ((soft, np.eye(C)[Y]), (hard, Y))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    step = step_of(fs.mlp([D, H, C], n_ensemble=K), fs.SoftmaxCrossEntropy(class_weights="balanced"))
    fs.Trainer(step).fit(X, Y, epochs=2, batch_size=4)
    assert len(step.class_weights) == C


def test_training_validation_stopping_and_checkpoints(tmp_path):
    x = RNG.standard_normal((240, D)).astype("f")
    y = (np.sin(3 * x[:, 0]) > 0).astype(int)

    def fit(epochs, folder):
        step = fs.TrainStep(fs.mlp([D, 32, 32, 2], dropout=0.1, n_ensemble=4), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1)
        trainer = fs.Trainer(step, callbacks=[fs.EarlyStopping(patience=50)], metrics=["roc_auc"])
        given = {"validation": (x[200:], y[200:]), "checkpoint": fs.Checkpoint(folder), "resume": "auto"}
        history = trainer.fit(x[:200], y[:200], epochs=epochs, batch_size=50, **given)
        return step, history

    whole, history = fit(6, tmp_path / "a")
    fit(3, tmp_path / "b")
    resumed, _ = fit(6, tmp_path / "b")
    for name, value in parameters(whole.model).items():
        np.testing.assert_array_equal(value, parameters(resumed.model)[name], err_msg=name)
    figures = whole.evaluate(x[200:], y[200:])
    assert figures["accuracy"] == (whole.model.predict(x[200:]) == y[200:]).mean()
    assert min(history["val_loss"]) < history["val_loss"][0]


def test_files_pickles_and_other_heads(tmp_path):
    step = step_of(fs.mlp([D, H, 2], categories={0: 3}, n_ensemble=K))
    x = np.hstack([np.arange(B)[:, None] % 3, X[:, 1:]])
    step(x, Y % 2)
    model = step.model
    assert [name.partition(".")[2] for name in model.parameters()][-6:] == [
        "EnsembleLinear.weight", "EnsembleLinear.scale_in", "EnsembleLinear.scale_out", "EnsembleLinear.bias",
        "SeparateLinear.weight", "SeparateLinear.bias",
    ]  # fmt: skip
    fs.save(model, tmp_path / "m.safetensors")
    for copy in (fs.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model))):
        assert repr(copy) == repr(model)
        np.testing.assert_array_equal(copy.predict_proba(x), model.predict_proba(x))
    assert "EnsembleMean(members=3, head='classes')" in model.summary()
    assert "EnsembleMean" in model._repr_html_()
    before = np.array(model(x))
    fs.TrainStep(model, fs.MSE(), fs.SGD(1e-9))(x, X[:, :2])
    np.testing.assert_allclose(model.predict(x), outputs_of_members(model, x).mean(axis=1), rtol=1e-12)
    assert np.abs(model.predict(x) - before).max() > 1e-3  # the pass that was captured before averaged probabilities
    assert step.memory(B).buffers > 0


def test_second_derivatives():
    model = fs.mlp([D, 3, 2], "tanh", n_ensemble=2)
    objective = fs.Objective(model, fs.SoftmaxCrossEntropy(), X, Y % 2)
    direction = objective.arena.new()
    direction[...] = RNG.standard_normal(direction.shape)
    objective.arena.hold(direction)
    product = np.array(objective.hessian_product(direction))
    h, values = 1e-5, np.array(objective.arena.values)
    sides = []
    for sign in (1.0, -1.0):
        objective.arena.values[...] = values + sign * h * direction
        sides.append(np.array(objective.gradient()[1]))
    objective.arena.values[...] = values
    np.testing.assert_allclose(product, (sides[0] - sides[1]) / (2 * h), rtol=1e-5, atol=1e-8)
    assert float(direction @ objective.gauss_newton_product(direction)) >= 0.0


@pytest.mark.parametrize("given", [0, -1, 2.5, True, "4", None])
def test_a_number_of_members_that_is_none(given):
    with pytest.raises(HyperparameterError, match="n_ensemble"):
        fs.mlp([D, H, C], n_ensemble=given)


def test_other_errors():
    with pytest.raises(ShapeError, match="multiple of 3"):
        fs.Sequential(fs.Linear(D, 4), fs.EnsembleMean(3))
    with pytest.raises(ShapeError, match="expected 6 input columns; got 5"):
        fs.Sequential(fs.Linear(4, 5), fs.EnsembleLinear(2, 4, 3))
    with pytest.raises(HyperparameterError, match="members of EnsembleLinear"):
        fs.EnsembleLinear(2, 3, 0)


class Pairs(fs.MSE):
    """Its targets are whole numbers [B, 2]."""

    def prepare(self, targets, width, backend, dtype):
        return backend.asarray(np.asarray(targets), "int32")


def test_targets_of_an_unknown_kind():
    step = step_of(fs.mlp([D, H, 2], n_ensemble=K), Pairs(), backend="numpy")
    with pytest.raises(HyperparameterError, match="int32"):
        step(X, np.ones((B, 2), int))
