"""The preset "tabular", which is the default of the estimators, and that of the name "scikit-learn"."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier as TheirClassifier

import fusedstep as fs
from fusedstep.errors import HyperparameterError
from fusedstep.framework.estimators.chosen_settings import SCIKIT_LEARN
from fusedstep.framework.training.presets import MOST_EMBEDDED, ROWS_FOR_EACH, columns_to_embed, network, tabular


def classifier(**settings):
    return fs.MLPClassifier(random_state=0, **settings)


def kinds(fitted):
    return [type(layer).__name__ for layer in fitted.model_.layers]


def test_auto_is_the_preset(data):
    x, y = data
    fitted = classifier().fit(x, y)
    preset, chosen = tabular(240, "classification"), fitted.settings_
    assert chosen["hidden_layer_sizes"] == preset.hidden
    assert (chosen["schedule"], chosen["dropout"], chosen["label_smoothing"]) == ("coslog", 0.15, 0.1)
    assert (chosen["batch_size"], chosen["max_iter"], fitted.n_iter_) == (32, 64, 64)
    optimizer = chosen["optimizer"]
    assert isinstance(optimizer, fs.AdamW)
    assert (optimizer.lr, optimizer.beta2, optimizer.weight_decay, optimizer.l2) == (3e-3, 0.95, 0.02, 0.0)
    assert kinds(fitted)[:2] == ["PeriodicEmbedding", "Linear"]
    assert fitted.encoder_.scaling == "robust"
    assert "val_loss" in fitted.history_.columns
    assert fitted.score(x, y) > 0.9
    assert fitted.get_params()["hidden_layer_sizes"] == "auto", "a clone is to be as this one was"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", (8,)), ("activation", "tanh"), ("dropout", 0.0), ("number_embedding", None), ("batch_size", 100),
        ("schedule", None), ("max_iter", 2), ("tol", 0.5), ("early_stopping", False), ("validation_fraction", 0.5),
        ("n_iter_no_change", 2), ("label_smoothing", 0.0),
    ],
)  # fmt: skip
def test_a_setting_that_is_given_replaces_that_of_the_preset_and_no_other(data, name, value):
    few = {} if name == "max_iter" else {"max_iter": 3}
    whole, other = (classifier(**few, **given).fit(*data).settings_ for given in ({}, {name: value}))
    assert other[name] == value
    if name == "max_iter":
        assert other.pop("n_iter_no_change") == 2
    assert all(other[key] == whole[key] for key in other if key not in (name, "optimizer"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, fs.AdamW(3e-3, beta2=0.95, weight_decay=0.02)),
        ({"learning_rate_init": 0.1}, fs.AdamW(0.1, beta2=0.95, weight_decay=0.02)),
        ({"alpha": 64.0}, fs.AdamW(3e-3, beta2=0.95, weight_decay=0.0, l2=2.0)),
        ({"optimizer": "adam"}, fs.Adam(weight_decay=0.02)),
        ({"optimizer": "adam", "alpha": 64.0, "learning_rate_init": 0.5}, fs.Adam(0.5, l2=2.0)),
        ({"optimizer": fs.SGD(0.25)}, fs.SGD(0.25)),
        ({"preset": "scikit-learn", "alpha": 64.0, "batch_size": 32}, fs.Adam(1e-3, l2=2.0)),
    ],
)
def test_learning_rate_and_penalty(data, given, expected):
    found = classifier(max_iter=1, **given).fit(*data).settings_["optimizer"]
    assert type(found) is type(expected)
    assert vars(found) == vars(expected)


def test_the_preset_of_scikit_learn_has_its_defaults(data):
    theirs = TheirClassifier().get_params()
    same = {name: value for name, value in SCIKIT_LEARN.items() if name in theirs and name != "batch_size"}
    assert len(same) >= 9
    assert same == {name: theirs[name] for name in same}
    fitted = classifier(preset="scikit-learn", max_iter=2).fit(*data)
    assert kinds(fitted) == ["Linear", "ReLU", "Linear"]
    assert fitted.settings_["batch_size"] == 200
    with pytest.raises(HyperparameterError, match="preset to be one of 'tabular'"):
        classifier(preset="sklearn").fit(*data)


@pytest.mark.parametrize("rows", [2, 3, 10, 49, 50, 60])
def test_few_rows(data, rows):
    """One row of a class is enough, and below 50 rows nothing is held out."""
    x, _ = data
    labels = np.where(np.arange(rows) == 0, "rare", "other")
    fitted = classifier(max_iter=3).fit(x[:rows], labels)
    assert fitted.predict(x).shape == (240,)
    assert ("val_loss" in fitted.history_.columns) == (rows >= 50)
    assert fitted.settings_["dropout"] == (0.15 if rows >= 50 else 0.0)
    assert fs.MLPRegressor(random_state=0, max_iter=3).fit(x[:rows], x[:rows, 0]).predict(x).shape == (240,)


def test_all_rows_in_one_batch_depend_on_no_order_and_equal_repetitions(data):
    x, y = data
    times = np.arange(240) % 3
    full = {"batch_size": None, "max_iter": 20}
    weighted = classifier(**full).fit(x, y, times).predict_proba(x)
    repeated = classifier(**full).fit(x.repeat(times, 0), y.repeat(times))
    np.testing.assert_allclose(repeated.predict_proba(x), weighted, rtol=1e-7)
    order = np.random.default_rng(0).permutation(240)
    np.testing.assert_allclose(classifier(**full).fit(x[order], y[order], times[order]).predict_proba(x), weighted, rtol=1e-7)


def test_a_network_that_is_trained_further_stays_the_same(data):
    """Also where another number of rows would have another preset."""
    x, y = data
    fitted = classifier(max_iter=3, warm_start=True).fit(x[:30], y[:30])
    before = repr(fitted.model_)
    assert repr(fitted.fit(x, y).model_) == before
    assert repr(fitted.partial_fit(x, y).model_) == before
    first = classifier().partial_fit(x[:20], y[:20], classes=np.unique(y)).partial_fit(x, y)
    assert first.settings_["dropout"] == 0.15
    assert first.settings_["schedule"] is None
    assert first.history_["lr"] == [3e-3]


def test_numbers_are_embedded_behind_codes_of_categories():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 100, 600)
    frame = pandas.DataFrame({"x": rng.random(600), "code": [f"c{code}" for code in codes], "flag": codes % 3 == 0})
    fitted = classifier(max_iter=30).fit(frame, codes % 2)
    assert kinds(fitted)[:3] == ["ColumnEmbeddings", "PeriodicEmbedding", "Linear"]
    assert len(fitted.model_.layers[1].columns) == 1
    assert fitted.score(frame, codes % 2) > 0.9
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(frame), fitted.predict_proba(frame))


def test_columns_that_are_embedded():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random(50), np.arange(50) % 2, np.arange(50) % 3, np.ones(50), np.arange(50) % 5])
    assert columns_to_embed(x, coded=(4,)) == (0, 2)
    assert columns_to_embed(x[:2], limited=False) == ()
    assert columns_to_embed(x[: 2 * ROWS_FOR_EACH], coded=(4,)) == (0, 2)
    assert columns_to_embed(x[: 2 * ROWS_FOR_EACH - 1], coded=(4,)) == (), "too few rows"
    wide = rng.random((ROWS_FOR_EACH * (MOST_EMBEDDED + 1), MOST_EMBEDDED + 1))
    assert columns_to_embed(wide) == ()
    assert len(columns_to_embed(wide, limited=False)) == MOST_EMBEDDED + 1
    assert len(columns_to_embed(wide[:, 1:])) == MOST_EMBEDDED
    plain = network([4, 3, 2], "relu", 0.1, {1: 7})
    assert repr(plain) == repr(fs.mlp([4, 3, 2], "relu", 0.1, categories={1: 7}))
    embedded = network([4, 3, 2], "relu", 0.1, {1: 7}, (0, 3))
    assert embedded.layers[1].columns == (0, 2)


def test_numbers_of_unknown_scale_are_embedded_only_if_asked(data):
    x, y = data
    assert "PeriodicEmbedding" not in kinds(classifier(max_iter=1, encoder=None).fit(x, y))
    assert "PeriodicEmbedding" in kinds(classifier(max_iter=1, encoder=None, number_embedding="periodic").fit(x, y))
    assert kinds(classifier(max_iter=1, hidden_layer_sizes=()).fit(x, y)) == ["Linear"]
    with pytest.raises(HyperparameterError, match="number_embedding to be one of 'periodic'"):
        classifier(number_embedding="plr").fit(x, y)


def test_the_page_says_what_the_presets_are():
    page = (Path(fs.__file__).parent / "docs" / "presets.md").read_text(encoding="utf-8")
    stated = dict(line.strip("| ").split(" | ", 1) for line in page.splitlines() if line.count(" | ") == 1)
    usual, small, few = tabular(5_000, "classification"), tabular(999, "regression"), tabular(49, "classification")
    widths = ", ".join(map(str, usual.hidden))
    assert stated["hidden layers"] == f"{widths} with {usual.activation} and dropout {usual.dropout}"
    assert stated["loss"].startswith(f"cross-entropy with label smoothing {usual.label_smoothing} ")
    rates = f"{1e3 * usual.lr:g}e-3, beta2={usual.beta2}, weight_decay={usual.weight_decay}"
    assert stated["optimiser"] == f"`fs.{usual.optimizer}({rates})`"
    assert stated["epochs"].startswith(f"{usual.epochs};")
    rates = f"{1e3 * small.lr:g}e-3, weight_decay={small.weight_decay}"
    assert stated["a regression on fewer than 1,000 rows"] == (
        f"{small.hidden[0]} {small.activation} units, no embedding, dropout {small.dropout}, `fs.{small.optimizer}({rates})`, "
        f"at most {small.epochs} epochs, patience {small.patience}"
    )
    assert not small.number_embedding
    assert len(small.hidden) == 1
    assert few.batch_size is None
    assert f", {few.epochs} epochs, " in stated["fewer than 50 rows, or `batch_size=None`"]


def test_many_rows_are_passed_fewer_times():
    assert tabular(200, "classification").batch_size == 32
    assert [tabular(rows, "classification").batch_size for rows in (2_000, 20_000, 200_000)] == [128, 256, 512]
    assert [tabular(rows, "classification").epochs for rows in (60_000, 130_000, 10**7)] == [64, 32, 8]


def test_several_labels_a_row_and_numbers(data):
    x, _ = data
    flags = (x[:, :3] > 0).astype(int)
    assert classifier(max_iter=30).fit(x, flags).score(x, flags) > 0.7
    small = fs.MLPRegressor(random_state=0).fit(x, x[:, 0])
    assert small.settings_["hidden_layer_sizes"] == (32,)
    assert small.score(x, x[:, 0]) > 0.8
    rng = np.random.default_rng(1)
    more = rng.standard_normal((1_200, 5))
    large = fs.MLPRegressor(random_state=0, max_iter=20).fit(more, more[:, 0] * more[:, 1])
    assert kinds(large)[0] == "PeriodicEmbedding"
    assert large.score(more, more[:, 0] * more[:, 1]) > 0.8


def test_the_network_of_the_preset_as_onnx(data, tmp_path):
    x, y = data
    fitted = classifier(max_iter=5).fit(x, y)
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    fs.export_onnx(fitted, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    labels, chances = session.run(None, {"x": x.astype(np.float32)})
    np.testing.assert_allclose(chances, fitted.predict_proba(x), rtol=0.0, atol=1e-5)
    assert labels.tolist() == fitted.predict(x).tolist()


def test_the_network_of_the_preset_in_pytorch(data):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    fitted = classifier(max_iter=5).fit(*data)
    x = fitted.encoder_.transform(data[0])
    with torch.no_grad():
        logits = fs.to_torch(fitted.model_)(torch.from_numpy(x.astype(np.float64)))
    np.testing.assert_allclose(logits.numpy(), np.asarray(fitted.model_(x)), rtol=1e-9, atol=1e-11)
