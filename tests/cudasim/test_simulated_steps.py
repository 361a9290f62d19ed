"""Whole steps of the cuda backend under Numba's simulator: agreement with numpy, and steps that are not finite."""


from __future__ import annotations

import os

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

import numpy as np
from weight_cases import CASES, COUNTS, FRACTIONS, REPEATED, gradient, new_step
from weight_cases import X as WEIGHTED_ROWS

import fusedstep as fs
from fusedstep.backends.conformance.tolerances import tolerance

rng = np.random.default_rng(2)
X, Y = rng.standard_normal((6, 5)).astype(np.float32), rng.integers(0, 3, 6)


def network(**options) -> fs.Sequential:
    return fs.Sequential(
        fs.Linear(5, 6), fs.LayerNorm(6), fs.GELU(), fs.Dropout(0.3), fs.Residual(fs.Linear(6, 6), fs.Tanh()), fs.Linear(6, 3)
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: fs.AdamW(1e-2, clip_norm=0.5, groups=[fs.ParameterGroup("5.*", lr_scale=0.5)]),
        lambda: fs.Nesterov(1e-2, form="look_ahead", l1=1e-3, l1_form="proximal"),
        lambda: fs.LAMB(1e-2, weight_decay=0.01),
    ],
    ids=["AdamW", "Nesterov", "LAMB"],
)
def test_a_network_trains_as_on_numpy(optimizer) -> None:
    runs = []
    for name in ("numpy", "cuda"):
        step = fs.TrainStep(network(), fs.SoftmaxCrossEntropy(0.1), optimizer(), seed=3, backend=name)
        start = np.array(step.model.arena.values)
        runs.append((start, [float(step(X, Y)) for _ in range(4)], np.array(step.model.arena.values)))
    (start_a, losses_a, end_a), (start_b, losses_b, end_b) = runs
    np.testing.assert_array_equal(start_a, start_b)
    np.testing.assert_allclose(losses_b, losses_a, rtol=1e-5)
    np.testing.assert_allclose(end_b, end_a, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", [lambda: fs.AdamW(1e-2, clip_norm=0.5), lambda: fs.LAMB(1e-2)], ids=["AdamW", "LAMB"])
def test_a_network_trains_in_16_bits_as_on_numpy(optimizer, precision, monkeypatch, cuda) -> None:
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    # numpy rounds the product before it adds the bias; a fused product rounds once, after it.
    monkeypatch.setattr(cuda, "fuses", False)
    runs = []
    for name in ("numpy", "cuda"):
        model = fs.Sequential(*network().layers[:-1], fs.PReLU(6), fs.Maxout(6, 4), fs.Linear(4, 3))
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(0.1), optimizer(), seed=3, backend=name, precision=precision)
        runs.append(([float(step(X, Y)) for _ in range(5)], np.array(step.model.arena.values), step.evaluate(X, Y)["loss"]))
    (losses_a, end_a, left_a), (losses_b, end_b, left_b) = runs
    assert losses_a[-1] < losses_a[0]
    assert tolerance(precision, "loss").allows([*losses_b, left_b], [*losses_a, left_a]).all()
    assert tolerance(precision, "parameter").allows(end_b, end_a).all()


@pytest.mark.parametrize("state_dtype", [None, "bfloat16"])
def test_overflow_in_float16_skips_the_step_without_a_question_to_the_device(state_dtype) -> None:
    optimizer = fs.Nesterov(0.1, form="look_ahead", state_dtype=state_dtype)
    step = fs.TrainStep(network(), fs.SoftmaxCrossEntropy(), optimizer, backend="cuda", precision="float16")
    step.state.loss_scale.numbers = (2.0**24, 3.0)
    before = np.array(step.model.arena.values)
    loss = step(100.0 * X, Y)
    assert not changed(step, before)
    assert np.isfinite(float(loss))
    assert step.state.loss_scale.numbers == (2.0**23, 0.0)
    step.state.loss_scale.numbers = (1024.0, 0.0)
    assert np.isfinite(float(step(X, Y)))
    assert changed(step, before)


@pytest.mark.parametrize("pooling", [(2, None), (2, 1)], ids=["apart", "overlapping"])
def test_a9_a_small_cnn_trains_as_on_numpy(pooling) -> None:
    images = rng.standard_normal((4, 12)).astype(np.float32)
    runs = []
    for name in ("numpy", "cuda"):
        model = fs.Sequential(
            fs.Conv2d(1, 2, 2, padding=1, image=(3, 4)), fs.Tanh(), fs.MaxPool2d(*pooling), fs.Conv2d(2, 2, 2), fs.Flatten(),
            fs.Linear(2 if pooling[1] is None else 12, 3),
        )  # fmt: skip
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=3, backend=name)
        runs.append(([float(step(images, Y[:4])) for _ in range(3)], np.array(step.model.arena.values)))
    np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=1e-5)
    np.testing.assert_allclose(runs[1][1], runs[0][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("precision", "allowed"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("kind", ["Muon", "ScheduleFreeAdamW", "AdamW"])
def test_averages_and_matrices_are_those_of_numpy(kind, precision, allowed, monkeypatch, cuda) -> None:
    """Two matrices of one shape are multiplied together.

    In float32 Muon multiplies in bfloat16. Gradients here have rank 2, as there are three classes, and Newton-Schulz steps
    multiply what rounding leaves of the other directions by up to 3.4 each, so the distance as a whole is what is bounded.
    """
    monkeypatch.setattr(cuda, "fuses", False)
    ends = []
    for name in ("numpy", "cuda"):
        average = fs.EMA(0.8) if kind != "ScheduleFreeAdamW" else None
        optimizer = getattr(fs, kind)(1e-2, weight_decay=0.1)
        model = fs.mlp([5, 6, 6, 6, 3], activation="tanh")
        step = fs.TrainStep(
            model, fs.SoftmaxCrossEntropy(), optimizer, seed=3, backend=name, precision=precision, average=average
        )  # fmt: skip
        start = np.array(step.model.arena.values)
        for _ in range(4):
            step(X, Y)
        trained = np.array(step.model.arena.values)
        step.show_average()
        ends.append((trained - start, np.array(step.model.arena.values) - start))
    for ours, wanted in zip(ends[1], ends[0], strict=True):
        if kind == "Muon" and precision == "float32":
            assert np.linalg.norm(ours - wanted) < 0.1 * np.linalg.norm(wanted)
        else:
            np.testing.assert_allclose(ours, wanted, rtol=0.0, atol=allowed)
    assert np.abs(ends[0][0] - ends[0][1]).max() > 1e-4


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_g7_embeddings_train_as_on_numpy(precision, monkeypatch, cuda) -> None:
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    monkeypatch.setattr(cuda, "fuses", False)  # see above
    x = X.copy()
    x[:, 1], x[:, 4] = [299, 0, 3, 299, 298, 297], [0, 1, 1, 1, 0, 1]  # bfloat16 has no 299, 298 and 297
    runs = []
    for name in ("numpy", "cuda"):
        model = fs.mlp([5, 6, 3], categories={1: 300, 4: 2}, embedding_widths=[3, 2], dropout=0.3)
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=3, backend=name, precision=precision)
        losses = [float(step(x, Y)) for _ in range(5)]
        runs.append(([*losses, step.evaluate(x, Y)["loss"]], np.array(step.model.arena.values)))
        broken = x.copy()
        broken[2, 1] = 300.0
        with pytest.raises(fs.CategoryError, match="0 to 299"):
            float(step(broken, Y))
    assert runs[0][0][4] < runs[0][0][0]
    assert tolerance(precision, "loss").allows(runs[1][0], runs[0][0]).all()
    assert tolerance(precision, "parameter").allows(runs[1][1], runs[0][1]).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_g14_embeddings_of_numbers_train_as_on_numpy(precision, monkeypatch, cuda) -> None:
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    monkeypatch.setattr(cuda, "fuses", False)  # see above
    runs = []
    for name in ("numpy", "cuda"):
        model = fs.Sequential(
            fs.PiecewiseLinearEmbedding(5, [[-1.0, 0.0, 1.0], [0.0, 1.0]], 2, columns=[0, 3]),
            fs.PeriodicEmbedding(7, 3, 2, deviation=0.3), fs.Linear(21, 3),
        )  # fmt: skip
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=3, backend=name, precision=precision)
        runs.append(([float(step(X, Y)) for _ in range(4)], np.array(step.model.arena.values)))
    assert runs[0][0][3] < runs[0][0][0]
    assert tolerance(precision, "loss").allows(runs[1][0], runs[0][0]).all()
    assert tolerance(precision, "parameter").allows(runs[1][1], runs[0][1]).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_ensembles_train_and_predict_as_on_numpy(precision, monkeypatch, cuda) -> None:
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    monkeypatch.setattr(cuda, "fuses", False)  # see above
    runs = []
    for name in ("numpy", "cuda"):
        model = fs.mlp([5, 4, 3], "tanh", dropout=0.2, layer_norm=True, n_ensemble=3)
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=3, backend=name, precision=precision)
        losses = [float(step(X, Y, [1.0, 2.0, 0.0, 1.0, 1.0, 1.0])) for _ in range(4)]
        runs.append(([*losses, step.evaluate(X, Y)["loss"]], np.array(model.arena.values), np.array(model.predict_proba(X))))
    assert tolerance(precision, "loss").allows(runs[1][0], runs[0][0]).all()
    assert tolerance(precision, "parameter").allows(runs[1][1], runs[0][1]).all()
    assert np.allclose(runs[1][2].sum(axis=1), 1.0)
    assert tolerance(precision, "loss").allows(runs[1][2], runs[0][2]).all()


@pytest.mark.parametrize("optimizer", [lambda: fs.Adam(1e-2, clip_norm=0.5), lambda: fs.LAMB(1e-2)], ids=["Adam", "LAMB"])
def test_b9_pruned_weights_stay_zero(optimizer) -> None:
    runs = []
    for name in ("numpy", "cuda"):
        step = fs.TrainStep(network(), fs.SoftmaxCrossEntropy(), optimizer(), seed=3, backend=name)
        float(step(X, Y))
        fs.prune(step, 0.5)
        gone = np.array(step.model.arena.mask) == 0.0
        losses = [float(step(X, Y)) for _ in range(3)]
        assert np.all(np.array(step.model.arena.values)[gone] == 0.0)
        runs.append((gone, losses))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_allclose(runs[1][1], runs[0][1], rtol=1e-5)


def test_b10_minibatches_are_augmented_as_on_numpy() -> None:
    runs = []
    for name in ("numpy", "cuda"):
        step = fs.TrainStep(network(), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=3, backend=name)
        augment = [fs.InputNoise(0.1), fs.FeatureMasking(0.2), fs.Mixup(0.5)]
        history = fs.Trainer(step, augment=augment).fit(X, Y, epochs=2, batch_size=3)
        runs.append((history["loss"], np.array(step.model.arena.values)))
    np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=1e-5)
    np.testing.assert_allclose(runs[1][1], runs[0][1], rtol=1e-4, atol=1e-5)


def changed(step: fs.TrainStep, before: np.ndarray) -> bool:
    return not np.array_equal(step.model.arena.values, before)


@pytest.mark.parametrize("form", ["reformulated", "look_ahead"])
def test_a_step_with_an_infinite_gradient_changes_nothing_and_says_so(form: str) -> None:
    step = fs.TrainStep(fs.mlp([5, 4, 3]), fs.SoftmaxCrossEntropy(), fs.Nesterov(0.1, form=form), backend="cuda")
    float(step(X, Y))
    before = np.array(step.model.arena.values)
    bad = X.copy()
    bad[2, 1] = 3e38
    loss = step(bad, Y)
    assert not changed(step, before)
    with pytest.raises(fs.NonFiniteLossError, match=r"step 2, first in .*kept") as caught:
        float(loss)
    assert caught.value.step == 2
    assert np.isfinite(float(step(X, Y)))
    assert changed(step, before)


def test_an_infinite_loss_changes_nothing_and_names_the_place() -> None:
    model = fs.Sequential(fs.Linear(5, 1))
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(0.1), backend="cuda")
    target = X[:, :1].copy()
    target[4] = 2e19
    before = np.array(model.arena.values)
    loss = step(X, target)
    assert not changed(step, before)
    with pytest.raises(fs.NonFiniteLossError) as caught:
        float(loss)
    assert "MSE" in caught.value.layer


def test_the_trainer_names_the_place_after_the_epoch() -> None:
    model = fs.Sequential(fs.Linear(5, 1))
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(1e25), backend="cuda")
    with pytest.raises(fs.NonFiniteLossError, match="first in") as caught:
        fs.Trainer(step, shuffle="never").fit(X, X[:, :1], epochs=3, batch_size=3)
    assert caught.value.layer
    assert np.isfinite(model.arena.values).all()


@pytest.mark.row("F2")
def test_one_launch_updates_every_parameter() -> None:
    step = fs.TrainStep(network(), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), backend="cuda")
    step(X, Y)
    calls = []
    original = step.backend._update

    def counting(*arguments):
        before = step.backend.launches
        original(*arguments)
        calls.append(step.backend.launches - before)

    step.backend._update = counting  # type: ignore[method-assign]
    try:
        step(X, Y)
    finally:
        del step.backend._update
    assert calls == [1]


PARTS = pytest.mark.parametrize("micro_batch", [None, 4], ids=["whole", "pieces"])


@PARTS
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_no_pass_over_the_slope_of_the_loss_is_made_for_the_last_bias(monkeypatch, precision, micro_batch, cuda) -> None:
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    names: list[str] = []
    launch = type(cuda).launch
    summed: list[tuple[int, ...]] = []

    def recording(self, kernel, geometry, arguments):
        names.append(kernel.name)
        launch(self, kernel, geometry, arguments)

    monkeypatch.setattr(type(cuda), "launch", recording)
    monkeypatch.setattr(cuda, "fuses", False)
    rows = type(cuda).rows

    def summing(self, operation, *arguments):
        if operation == "column_sum":
            summed.append(arguments[0].shape)
        return rows(self, operation, *arguments)

    monkeypatch.setattr(type(cuda), "rows", summing)
    model = fs.Sequential(fs.Linear(5, 4), fs.ReLU(), fs.Linear(4, 3))
    options = {"precision": precision, "micro_batch": micro_batch}
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="cuda", **options)
    assert step.chain is model, "no layer stands between the last one and the loss"
    derivative = model.predict_proba(X) - np.eye(3, dtype="f")[Y]
    names.clear()
    scale = step.loss_scale
    step(X, Y)
    assert summed == ([(6, 4)] if micro_batch is None else [(4, 4), (2, 4)]), "that of the hidden layer, and no other"
    pieces = len(summed)
    assert names.count("softmax_cross_entropy") == names.count("column_sum") == names.count("sum_of_squares") == pieces
    bias = next(p for p in step.ranges if p.shape == (3,))
    start, stop = step.ranges[bias]
    allowed = 1e-6 if precision == "float32" else 2.0**-7
    np.testing.assert_allclose(np.array(step.gradient)[start:stop] / scale, derivative.mean(axis=0), atol=allowed)


@PARTS
@pytest.mark.parametrize("targets", ["labels", "distributions"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_loss_with_all_that_follows_it_is_the_one_without(monkeypatch, precision, targets, micro_batch, cuda) -> None:
    """Beside the loss, its scale and the sum for the last bias one after the other, and all of it in float64."""
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    monkeypatch.setattr(cuda, "fuses", False)
    y = Y if targets == "labels" else np.random.default_rng(4).dirichlet(np.ones(3), 6).astype("f")

    def stepped(precision, fused):
        monkeypatch.setattr(fs.SoftmaxCrossEntropy, "is_one_operation", fused)
        model = fs.Sequential(fs.Linear(5, 4), fs.Tanh(), fs.Linear(4, 3))
        options = {"precision": precision, "micro_batch": micro_batch}
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=2, backend="cuda", **options)
        scale = step.loss_scale
        loss = float(step(X, y))
        start, stop = next(place for p, place in step.ranges.items() if p.shape == (3,))
        gradient = np.array(step.gradient, np.float64) / scale
        return loss, gradient, slice(start, stop)

    loss, gradient, bias = stepped(precision, True)
    plain_loss, plain, _ = stepped(precision, False)
    exact_loss, exact, _ = stepped("float64", True)
    others = np.ones(len(gradient), bool)
    others[bias] = False
    assert loss == plain_loss
    np.testing.assert_array_equal(gradient[others], plain[others])
    unit = {"float32": 1e-6, "bfloat16": 2.0**-8, "float16": 2.0**-11}[precision]
    # Each of 6 rows has a slope of at most 1/6, whose rounding the sum beside the loss does not have.
    np.testing.assert_allclose(gradient[bias], plain[bias], rtol=0.0, atol=unit)
    np.testing.assert_allclose(gradient, exact, rtol=0.0, atol=4 * unit)
    assert abs(loss - exact_loss) <= 4 * unit * exact_loss


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_g2_whole_weights_are_repeated_rows(name, reduction) -> None:
    x, y = WEIGHTED_ROWS, CASES[name][1]
    weighted, repeated = (new_step(name, reduction, "cuda") for _ in range(2))
    for _ in range(2):
        loss, wanted = weighted(x, y, sample_weight=COUNTS), repeated(x[REPEATED], y[REPEATED])
        assert float(loss) == pytest.approx(float(wanted), rel=1e-12)
        np.testing.assert_allclose(gradient(weighted), gradient(repeated), rtol=1e-12, atol=1e-12)
    figures = weighted.evaluate(x, y, sample_weight=COUNTS)
    assert figures == pytest.approx(repeated.evaluate(x[REPEATED], y[REPEATED]), rel=1e-11)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_g2_fractions_count_as_on_numpy(name, reduction) -> None:
    """Where they are compared with single rows."""
    x, y = WEIGHTED_ROWS, CASES[name][1]
    found, wanted = (new_step(name, reduction, backend) for backend in ("cuda", "numpy"))
    assert float(found(x, y, sample_weight=FRACTIONS)) == pytest.approx(float(wanted(x, y, sample_weight=FRACTIONS)), rel=1e-12)
    np.testing.assert_allclose(gradient(found), gradient(wanted), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["SoftmaxCrossEntropy", "distributions", "MSE"])
def test_g2_weights_in_16_bits(name, precision) -> None:
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    runs = []
    for backend in ("numpy", "cuda"):
        step = new_step(name, backend=backend, dtype="float32", precision=precision)
        losses = [float(step(WEIGHTED_ROWS, CASES[name][1], sample_weight=COUNTS)) for _ in range(3)]
        runs.append((losses, np.array(step.model.arena.values)))
    assert tolerance(precision, "loss").allows(runs[1][0], runs[0][0]).all()
    assert tolerance(precision, "parameter").allows(runs[1][1], runs[0][1]).all()


def test_g4_metrics_are_those_of_numpy() -> None:
    names = ["accuracy", "roc_auc_ovr", "f1_macro", "neg_log_loss"]
    found = []
    for name in ("numpy", "cuda"):
        step = fs.TrainStep(network(), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=3, backend=name)
        found.append(step.evaluate(X, Y, metrics=names, sample_weight=np.arange(6)))
    assert list(found[0]) == ["loss", "accuracy", "error", *names[1:]]
    assert list(found[1].values()) == pytest.approx(list(found[0].values()), rel=1e-5)
