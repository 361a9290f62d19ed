"""Metrics of a Trainer: columns of the history, and what monitors them with their direction."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.export.persistence import load_with_metadata
from fusedstep.framework.metrics.direction import larger_is_better

RNG = np.random.default_rng(0)
X = RNG.standard_normal((160, 5)).astype(np.float32)
THREE = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0.5)
TWO = (X[:, 0] + 0.7 * RNG.standard_normal(160) > 0).astype(int)
NUMBER = X[:, 0] - 2.0 * X[:, 1]
W = RNG.integers(0, 3, 160).astype(float)
LOSSES = {
    "three classes": (fs.SoftmaxCrossEntropy(), 3, THREE), "two classes": (fs.SoftmaxCrossEntropy(), 2, TWO),
    "one logit": (fs.BinaryCrossEntropy(), 1, TWO), "signs": (fs.Hinge(), 1, TWO), "hinge": (fs.MultiClassHinge(), 3, THREE),
    "questions": (fs.BinaryCrossEntropy(), 3, (X[:, :3] > 0.3).astype(int)), "number": (fs.MSE(), 1, NUMBER),
    "numbers": (fs.MAE(), 2, np.column_stack([NUMBER, -NUMBER])), "counts": (fs.Poisson(), 1, np.abs(np.round(NUMBER))),
}  # fmt: skip


def step_for(kind, backend="numpy", **options):
    loss, outputs, y = LOSSES[kind]
    return fs.TrainStep(fs.mlp([5, 8, outputs]), loss, fs.Adam(0.01), seed=0, backend=backend, **options), y


def fitted(kind, metrics, weights=None, backend="numpy", callbacks=(), epochs=3, step=(), fit=(), **options):
    made, y = step_for(kind, backend, **dict(step))
    trainer = fs.Trainer(made, callbacks, metrics=metrics, **options)
    validation = (X[100:], y[100:]) if weights is None else (X[100:], y[100:], weights[100:])
    return trainer, trainer.fit(X[:100], y[:100], validation, epochs=epochs, batch_size=25, **dict(fit))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("three classes", ("accuracy", "roc_auc_ovr", "f1_macro", "neg_log_loss")),
        ("two classes", ("roc_auc", "f1", "average_precision")), ("one logit", ("roc_auc", "neg_log_loss", "precision")),
        ("signs", ("roc_auc", "recall")), ("hinge", ("balanced_accuracy", "top_k_accuracy")),
        ("questions", ("roc_auc", "f1_micro")), ("number", ("r2", "neg_mean_absolute_error")),
        ("numbers", ("explained_variance",)), ("counts", ("neg_median_absolute_error",)),
    ],
)  # fmt: skip
def test_g4_the_history_has_what_scikit_learn_computes_from_predictions(kind, names, weighted, backend):
    sklearn = pytest.importorskip("sklearn.metrics")
    weights = W if weighted else None
    trainer, history = fitted(kind, list(names), weights, backend)
    model, (_, _, y) = trainer.step.model, LOSSES[kind]
    x, t, w = X[100:], np.asarray(y[100:]), {"sample_weight": W[100:]} if weighted else {}
    outputs, answers = model.backend.to_numpy(model(x)), np.asarray(model.predict(x))
    chance = np.asarray(model.predict_proba(x)) if kind not in ("signs", "hinge", "number", "numbers", "counts") else None
    second = None if chance is None else chance if chance.ndim == 1 or kind == "questions" else chance[:, -1]
    expected = {
        "accuracy": lambda: sklearn.accuracy_score(t, answers, **w),
        "roc_auc_ovr": lambda: sklearn.roc_auc_score(t, chance / chance.sum(axis=1, keepdims=True), multi_class="ovr", **w),
        "f1_macro": lambda: sklearn.f1_score(t, answers, average="macro", **w),
        "f1_micro": lambda: sklearn.f1_score(t, answers, average="micro", **w),
        "neg_log_loss": lambda: -sklearn.log_loss(t, chance if kind == "three classes" else second, **w),
        "roc_auc": lambda: sklearn.roc_auc_score(t, outputs.reshape(-1) if kind == "signs" else second, **w),
        "f1": lambda: sklearn.f1_score(t, answers, **w),
        "precision": lambda: sklearn.precision_score(t, answers.reshape(-1), **w),
        "recall": lambda: sklearn.recall_score(t, answers.reshape(-1) > 0, **w),
        "average_precision": lambda: sklearn.average_precision_score(t, second, **w),
        "balanced_accuracy": lambda: sklearn.balanced_accuracy_score(t, answers, **w),
        "top_k_accuracy": lambda: sklearn.top_k_accuracy_score(t, outputs, **w),
        "r2": lambda: sklearn.r2_score(t, answers, **w),
        "neg_mean_absolute_error": lambda: -sklearn.mean_absolute_error(t, answers, **w),
        "explained_variance": lambda: sklearn.explained_variance_score(t, answers, **w),
        "neg_median_absolute_error": lambda: -sklearn.median_absolute_error(t, answers.reshape(-1), **w),
    }  # fmt: skip
    for name in names:
        assert history[f"val_{name}"][-1] == pytest.approx(expected[name](), rel=1e-5, abs=1e-6), name
    again = trainer.step.evaluate(x, t, metrics=list(names), **w)
    assert {name: again[name] for name in names} == {name: history[f"val_{name}"][-1] for name in names}
    assert all(larger_is_better(f"val_{name}") for name in names)


def test_g4_streamed_rows_and_micro_batches_give_the_same():
    plain = fitted("three classes", ["roc_auc_ovr"], W)[1]["val_roc_auc_ovr"]
    assert fitted("three classes", ["roc_auc_ovr"], W, fit={"data": "stream"})[1]["val_roc_auc_ovr"] == plain
    small = fitted("three classes", ["roc_auc_ovr"], W, step={"micro_batch": 7})[1]["val_roc_auc_ovr"]
    assert small == pytest.approx(plain, rel=1e-6)


def test_g4_metrics_of_16_bit_outputs():
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    for kind, name in (("three classes", "roc_auc_ovr"), ("number", "neg_max_error")):
        history = fitted(kind, [name], step={"precision": "bfloat16"})[1]
        assert history[f"val_{name}"][-1] == pytest.approx(fitted(kind, [name])[1][f"val_{name}"][-1], rel=0.05)


def test_g4_metrics_of_weights_that_are_trained_with_a_checkpoint(tmp_path):
    """A fit that is resumed has the metrics of one that was not interrupted; other metrics are refused."""
    whole = fitted("two classes", {"auc": "roc_auc"}, W, epochs=4)[1]
    for epochs in (2, 4):
        fit = {"checkpoint": fs.Checkpoint(tmp_path / "run", best="val_auc"), "resume": "auto"}
        stop = fs.EarlyStopping(9, "val_auc", restore_best=False)
        history = fitted("two classes", {"auc": "roc_auc"}, W, epochs=epochs, callbacks=[stop], fit=fit)[1]
    assert history["val_auc"] == whole["val_auc"]
    assert stop.best_epoch == history.best("val_auc")["epoch"]
    fit["checkpoint"] = fs.Checkpoint(tmp_path / "run")
    with pytest.raises(fs.CheckpointError, match="metrics"):
        fitted("two classes", ["roc_auc"], W, epochs=5, callbacks=[stop], fit=fit)


def test_g4_metrics_change_nothing_else():
    plain, with_metrics = (fitted("three classes", metrics, W)[1] for metrics in (None, {"auc": "roc_auc_ovr"}))
    for row, other in zip(plain, with_metrics, strict=True):
        assert {**other, "seconds": 0, "samples_per_second": 0, "val_auc": 0} == {
            **row, "seconds": 0, "samples_per_second": 0, "val_auc": 0
        }  # fmt: skip


def test_p4_the_best_epoch_has_the_largest_auc_and_the_smallest_error(tmp_path):
    given = {
        "quality_loss": "roc_auc", "cost": fs.Metric(lambda t, y: float(np.mean(t != y)), greater_is_better=False),
        "gain": fs.Metric(lambda t, p: float(np.mean(p[t == 1])), "predict_proba", greater_is_better=True),
    }  # fmt: skip
    for name, best in (("quality_loss", max), ("cost", min), ("gain", max)):
        stop = fs.EarlyStopping(3, f"val_{name}")
        schedule = fs.ReduceOnPlateau(0.5, 1, monitor=f"val_{name}")
        checkpoint = fs.Checkpoint(tmp_path / name, best=f"val_{name}")
        fit = {"checkpoint": checkpoint}
        trainer, history = fitted("two classes", given, callbacks=[stop], epochs=12, schedule=schedule, fit=fit)
        values = history[f"val_{name}"]
        assert history.best(f"val_{name}")[f"val_{name}"] == best(values)
        assert stop.best_epoch == values.index(best(values)) + 1
        notes = load_with_metadata(tmp_path / name / "best.safetensors")[1].notes
        assert notes[f"val_{name}"] == best(values)
        worse = [epoch for epoch in range(1, len(values)) if best(values[: epoch + 1]) in values[:epoch]]
        assert (history["lr"][-1] < 0.01) == any(epoch < len(values) - 1 for epoch in worse)
        assert pickle.loads(pickle.dumps(fs.History(1, {"gain": True}))).directions == {"gain": True}
        assert trainer.directions == {"quality_loss": True, "cost": False, "gain": True}


@pytest.mark.parametrize(
    ("column", "advice"),
    [("auc", "did you mean 'val_auc'"), ("val_aux", "did you mean 'val_auc'"), ("val_los", "did you mean 'val_loss'")],
)
def test_p4_a_column_that_is_not_there_gets_the_nearest(column, advice):
    step, targets = step_for("two classes")
    trainer = fs.Trainer(step, metrics={"auc": "roc_auc"})
    history = trainer.fit(X, targets, validation=(X, targets), epochs=1)
    for ask in (lambda: history.best(column), lambda: history[column]):
        with pytest.raises(fs.UnknownColumn, match=advice):
            ask()
    trainer.callbacks = [fs.EarlyStopping(3, monitor=column)]
    with pytest.raises(fs.HyperparameterError, match=advice):
        trainer.fit(X, targets, validation=(X, targets), epochs=1)


def test_p4_a_function_without_direction_is_asked_for_it_before_training():
    def gain(targets, answers):
        return 1.0

    _, history = fitted("two classes", [gain])
    assert history["val_gain"] == [1.0] * 3
    for ask in (
        lambda: history.best("val_gain"),
        lambda: fitted("two classes", [gain], callbacks=[fs.EarlyStopping(2, "val_gain")]),
        lambda: fitted("two classes", [gain], schedule=fs.HalveOnWorse(monitor="val_gain")),
    ):
        with pytest.raises(fs.HyperparameterError, match=r"greater_is_better=True"):
            ask()
    fitted("two classes", [gain], schedule=fs.HalveOnWorse(monitor="val_gain", mode="max"))
    assert larger_is_better("val_neg_log_loss")
    assert not larger_is_better("val_loss")


def test_g4_scorers_and_functions_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    cost = metrics.make_scorer(metrics.log_loss, response_method="predict_proba", greater_is_better=False)
    history = fitted("two classes", {"d2": "d2_log_loss_score", "cost": cost, "mcc": metrics.matthews_corrcoef}, W)[1]
    np.testing.assert_allclose(history["val_cost"], [-row["val_loss"] for row in history], rtol=1e-5)
    assert history.best("val_cost")["val_cost"] == max(history["val_cost"])
    assert all(-1.0 <= value <= 1.0 for value in history["val_mcc"])
    history = fitted("number", [metrics.mean_absolute_error])[1]
    assert history["val_mean_absolute_error"] == pytest.approx(history["val_mae"], rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "metrics", "words"),
    [
        ("three classes", ["roc_auc"], "two classes or several questions .* predicts 3 classes; use roc_auc_ovr"),
        ("three classes", ["f1"], "f1_macro"), ("number", ["roc_auc"], "predicts a number"),
        ("two classes", ["r2"], "expected a model that predicts numbers"), ("signs", ["neg_log_loss"], "probabilities"),
        ("two classes", ["auc"], "did you mean 'roc_auc'"), ("two classes", ["roc_auk"], "did you mean 'roc_auc'"),
        ("two classes", ["f1_score"], "did you mean 'f1'"), ("two classes", ["roc_auc_score"], "did you mean 'roc_auc'"),
        ("two classes", ["acc"], "did you mean 'accuracy'"), ("number", ["mean_squared_error"], "'neg_mean_squared_error'"),
        ("number", ["mae"], "'neg_mean_absolute_error'"), ("number", ["qwertz"], "pass a function"),
        ("two classes", [lambda t, y: 1.0], "give it one"), ("two classes", {"val_auc": "roc_auc"}, "do not begin with val_"),
        ("two classes", ["roc_auc", "roc_auc"], "different names"), ("two classes", {"loss": "roc_auc"}, "other than"),
        ("questions", ["accuracy"], "my_accuracy"), ("numbers", ["r2"], "my_r2"), ("two classes", [3], "name of a metric"),
        ("two classes", 3, "list of names"), ("three classes", ["neg_mean_poisson_deviance"], "of scikit-learn: expected"),
        ("number", {"a": fs.Metric(max, "predict_proba")}, "predict_proba"),
        ("signs", {"a": fs.Metric(max, "predict_proba")}, "scores"),
    ],
)  # fmt: skip
def test_g4_metrics_that_do_not_fit_are_refused_before_training(kind, metrics, words):
    pytest.importorskip("sklearn")
    step, _ = step_for(kind)
    with pytest.raises(fs.HyperparameterError, match=words):
        fs.Trainer(step, metrics=metrics)
    with pytest.raises(fs.HyperparameterError, match=words):
        step.evaluate(X, LOSSES[kind][2], metrics=metrics)


def test_g4_metrics_that_cannot_be_computed_in_a_fit_are_refused():
    step, y = step_for("two classes")
    with pytest.raises(fs.HyperparameterError, match=r"expected validation=\(x, y\) for the metrics roc_auc"):
        fs.Trainer(step, metrics="roc_auc").fit(X, y)
    with pytest.raises(fs.HyperparameterError, match="takes sample_weight"):
        fitted("two classes", {"a": lambda t, y: 1.0}, W)
    with pytest.raises(fs.HyperparameterError, match="return one number"):
        fitted("two classes", {"a": lambda t, y: "much"})
    with pytest.raises(fs.HyperparameterError, match="greater_is_better"):
        fs.Metric(max, greater_is_better="yes")
    with pytest.raises(fs.HyperparameterError, match="function"):
        fs.Metric("roc_auc")
    assert step.steps == 0


def test_g4_metrics_of_the_training_data():
    trainer, history = fitted("two classes", {"auc": "roc_auc"}, evaluate_training=True)
    assert history["auc"][-1] == trainer.step.evaluate(X[:100], TWO[:100], metrics={"auc": "roc_auc"})["auc"]
    assert history.columns == [*trainer.columns]
    assert repr(fs.Metric(max, greater_is_better=True)) == "Metric(max, 'predict', greater_is_better=True)"


def test_g4_names_of_the_table_need_no_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import fusedstep as fs, numpy as np\n"
        "step = fs.TrainStep(fs.mlp([2, 2]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend='numpy')\n"
        "x, y = np.eye(2, dtype='f4'), np.arange(2)\n"
        "print(step.evaluate(x, y, metrics=['roc_auc', 'neg_brier_score', 'f1_macro']))\n"
        "for name in ('roc_auk', 'd2_brier_score'):\n"
        "    try: step.evaluate(x, y, metrics=[name])\n"
        "    except (fs.MissingDependency, fs.HyperparameterError) as error: print(type(error).__name__, error)\n"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'roc_auc': " in out
    assert out.count("HyperparameterError expected a metric") == 2
    assert "did you mean 'roc_auc'" in out
    assert out.count("other scorers need scikit-learn: pip install") == 2
