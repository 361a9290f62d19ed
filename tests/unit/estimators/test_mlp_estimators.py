"""`fs.MLPClassifier` and `fs.MLPRegressor`: what they predict, and how they go on."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.utils import validation

import fusedstep as fs
from fusedstep.errors import HyperparameterError, LabelError, SampleWeightError, ShapeError, StateError
from fusedstep.framework.sources.feeds import ResidentFeed, StreamedFeed

SMALL = {
    "preset": "scikit-learn", "hidden_layer_sizes": (16,), "max_iter": 40, "learning_rate_init": 1e-2, "random_state": 0
}  # fmt: skip
"""A small network, trained as in scikit-learn; test_presets.py is about the other preset."""


def classifier(**settings):
    return fs.MLPClassifier(**{**SMALL, **settings})


def regressor(**settings):
    return fs.MLPRegressor(**{**SMALL, **settings})


def test_settings_have_the_names_of_scikit_learn():
    ours, theirs = fs.MLPClassifier().get_params(), TheirClassifier().get_params()
    both = set(ours) & set(theirs)
    assert len(both) >= 14
    own = {
        "preset", "optimizer", "dropout", "n_ensemble", "number_embedding", "label_smoothing", "schedule", "backend",
        "precision", "class_weight", "callbacks", "encoder", "device_batches", "parallel",
    }  # fmt: skip
    assert set(ours) - both == own
    assert set(ours) - set(fs.MLPRegressor().get_params()) == {"class_weight", "label_smoothing"}
    assert is_classifier(fs.MLPClassifier())
    assert is_regressor(fs.MLPRegressor())


@pytest.mark.parametrize("convert", [np.asarray, lambda y: (y == "low"), lambda y: np.where(y == "low", 7, 3), list])
def test_labels_come_back_in_their_own_type(data, convert):
    x, y = data
    labels = convert(y)
    fitted = classifier().fit(x, labels)
    found = fitted.predict(x)
    assert found.shape == (240,)
    assert found.dtype == np.asarray(labels).dtype
    assert np.array_equal(fitted.classes_, np.unique(labels))
    assert fitted.score(x, labels) > 0.9
    assert fitted.score(x, labels) == np.mean(found == np.asarray(labels))


def test_probabilities_belong_to_classes_and_do_not_depend_on_other_rows(data):
    x, y = data
    fitted = classifier(batch_size=32).fit(x, y)
    found = fitted.predict_proba(x)
    assert found.shape == (240, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(x)), found, rtol=1e-10)
    assert np.array_equal(fitted.classes_[found.argmax(axis=1)], fitted.predict(x))
    np.testing.assert_allclose(np.concatenate([fitted.predict_proba(x[k : k + 1]) for k in range(9)]), found[:9], rtol=1e-12)
    assert log_loss(y, found, labels=fitted.classes_) < 0.4


def test_several_labels_a_row(data):
    x, _ = data
    y = (x[:, :3] > 0).astype(np.uint8)
    fitted = classifier(max_iter=80).fit(x, y)
    assert fitted.predict(x).dtype == np.uint8
    assert fitted.predict(x).shape == fitted.predict_proba(x).shape == (240, 3)
    assert np.array_equal(fitted.predict_proba(x) > 0.5, fitted.predict(x))
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(x)), fitted.predict_proba(x), rtol=1e-10)
    assert fitted.score(x, y) > 0.8
    with pytest.raises(HyperparameterError, match="use sample_weight"):
        classifier(class_weight="balanced").fit(x, y)


@pytest.mark.parametrize("columns", [None, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_numbers_come_back_in_their_own_shape_and_unit(data, columns, dtype):
    x, _ = data
    y = np.round(1e4 + 100.0 * x[:, : columns or 1]).astype(dtype)
    y = y[:, 0] if columns is None else y
    fitted = regressor().fit(x, y)
    found = fitted.predict(x)
    assert found.shape == y.shape
    assert found.dtype == ("float32" if dtype == "float32" else "float64")
    assert fitted.score(x, y) > 0.9
    assert fitted.n_outputs_ == (columns or 1)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_the_same_int_gives_the_same_bits(data, backend):
    x, y = data
    settings = {"batch_size": 32, "dropout": 0.2, "backend": backend, "max_iter": 5}
    one, two, other = (classifier(**settings, random_state=seed).fit(x, y) for seed in (3, 3, 4))
    assert np.array_equal(one.predict_proba(x), two.predict_proba(x))
    assert not np.array_equal(one.predict_proba(x), other.predict_proba(x))
    generators = (classifier(**settings, random_state=np.random.RandomState(3)).fit(x, y) for _ in range(2))
    assert np.array_equal(*(fitted.predict_proba(x) for fitted in generators))
    assert one.model_.backend.name == backend


def test_ensembles_average_copy_and_go_on(data):
    x, y = data
    fitted = classifier(n_ensemble=4, max_iter=10, warm_start=True).fit(x, y)
    assert fitted.model_.layers[-1].members == 4
    np.testing.assert_allclose(fitted.predict_proba(x).sum(axis=1), 1.0)
    assert np.array_equal(fitted.predict(x), fitted.classes_[fitted.predict_proba(x).argmax(axis=1)])
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(x), fitted.predict_proba(x))
    assert clone(fitted).get_params()["n_ensemble"] == fitted.settings_["n_ensemble"] == 4
    before = fitted.loss_curve_[-1]
    assert fitted.fit(x, y).loss_curve_[0] < 1.1 * before
    assert regressor(n_ensemble=3).fit(x, x[:, 0] - x[:, 1]).score(x, x[:, 0] - x[:, 1]) > 0.9
    with pytest.raises(HyperparameterError, match="n_ensemble"):
        classifier(n_ensemble=2.5).fit(x, y)


@pytest.mark.parametrize("settings", [{"batch_size": 32}, {"batch_size": None}, {"batch_size": 32, "early_stopping": True}])
def test_batches_of_the_device_and_of_the_host_are_the_same(data, settings, monkeypatch):
    """And each comes from the feed that it names; with sample weights, in `fit` and in `partial_fit`."""
    x, y = data
    weights, feeds = np.linspace(0.5, 2.0, 240), []
    for feed in (ResidentFeed, StreamedFeed):
        monkeypatch.setattr(feed, "shuffle", noted(feed.shuffle, feeds))
    found = {}
    for setting in (None, True, False):
        fitted = classifier(device_batches=setting, dropout=0.2, max_iter=4, **settings).fit(x, y, weights)
        assert fitted.settings_["device_batches"] is setting
        assert clone(fitted).get_params()["device_batches"] is setting
        found[setting] = [fitted.predict_proba(x)]
        if not settings.get("early_stopping"):
            found[setting].append(fitted.set_params(warm_start=True).partial_fit(x, y, sample_weight=weights).predict_proba(x))
        assert {feed.__name__ for feed in feeds} == {"StreamedFeed" if setting is False else "ResidentFeed"}
        feeds.clear()
    for setting in (True, False):
        for one, other in zip(found[None], found[setting], strict=True):
            assert np.array_equal(one, other)


def noted(method, feeds):
    """The method, which adds the class of its object to a list."""

    def shuffle(self, *given):
        feeds.append(type(self))
        return method(self, *given)

    return shuffle


def test_numbers_from_the_device_and_from_the_host(data):
    x, _ = data
    found = [regressor(device_batches=given, max_iter=3).fit(x, x[:, :2]).predict(x) for given in (None, np.True_, np.False_)]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_minibatches_train_in_float32_and_full_batches_in_float64(data):
    x, y = data
    types = {}

    class Note(fs.Callback):
        def on_fit_begin(self, trainer):
            types[setting] = trainer.step.model.dtype

    for setting in (32, None, "auto"):
        fitted = classifier(batch_size=setting, max_iter=1, callbacks=Note()).fit(x, y)
        assert fitted.model_.dtype == "float64"
    assert types == {32: "float32", None: "float64", "auto": "float32"}
    assert classifier(precision="float32", max_iter=1).fit(x, y).predict_proba(x).dtype == np.float32


def test_fit_leaves_a_history(data):
    x, y = data
    fitted = classifier(tol=0.0, max_iter=7).fit(x, y)
    assert isinstance(fitted.history_, fs.History)
    assert fitted.loss_curve_ == fitted.history_["loss"]
    assert len(fitted.loss_curve_) == fitted.n_iter_ == 7
    assert fitted.best_loss_ == min(fitted.loss_curve_)
    assert fitted.n_features_in_ == 5


def test_training_ends_when_the_loss_stands_still(data):
    x, y = data
    assert classifier(max_iter=200, tol=0.1, n_iter_no_change=3).fit(x, y).n_iter_ < 50


def test_early_stopping_restores_the_best_epoch(data):
    x, y = data
    fitted = classifier(early_stopping=True, n_iter_no_change=5, max_iter=300, learning_rate_init=0.1, batch_size=20).fit(x, y)
    best = int(fitted.history_.best("val_loss")["epoch"])
    assert fitted.n_iter_ == best + 5
    again = classifier(early_stopping=True, n_iter_no_change=5, max_iter=best, learning_rate_init=0.1, batch_size=20).fit(x, y)
    assert np.array_equal(fitted.predict_proba(x), again.predict_proba(x))


def test_a_row_of_weight_0_counts_as_left_out(data):
    x, y = data
    weights = (np.arange(240) % 3 > 0).astype(float)
    chosen = weights > 0
    x[~chosen] = 1e6
    one, two = classifier().fit(x, y, weights), classifier().fit(x[chosen], y[chosen])
    np.testing.assert_allclose(one.predict_proba(x[chosen]), two.predict_proba(x[chosen]), rtol=1e-4, atol=1e-6)


def test_class_weights_multiply_sample_weights(data):
    x, y = data
    w = np.linspace(0.5, 1.5, 240)
    by_label = classifier(class_weight={"low": 3.0}).fit(x, y, w).predict_proba(x)
    assert np.array_equal(by_label, classifier().fit(x, y, w * np.where(y == "low", 3.0, 1.0)).predict_proba(x))
    classes, counts = np.unique(y, return_counts=True)
    expected = dict(zip(classes.tolist(), 240 / (3 * counts), strict=True))
    balanced = classifier(class_weight="balanced").fit(x, y).predict_proba(x)
    assert np.array_equal(balanced, classifier(class_weight=expected).fit(x, y).predict_proba(x))
    assert not np.array_equal(balanced, classifier().fit(x, y).predict_proba(x))


def test_warm_start_goes_on_where_the_last_fit_ended(data):
    x, y = data
    fitted = classifier(max_iter=10, warm_start=True).fit(x, y)
    before = fitted.loss_curve_[-1]
    assert fitted.fit(x, y).loss_curve_[0] < 1.2 * before
    assert classifier(max_iter=10).fit(x, y).loss_curve_[0] > 1.5 * before
    with pytest.raises(StateError, match="warm_start=False"):
        fitted.set_params(hidden_layer_sizes=(8,)).fit(x, y)
    with pytest.raises(LabelError, match="'other' in row 1"):
        fitted.set_params(hidden_layer_sizes=(16,)).fit(x, np.where(y == "low", "other", y)[np.argsort(y != "low")])


def test_partial_fit_takes_one_epoch_more(data):
    x, y = data
    once = classifier(batch_size=40).partial_fit(x, y, classes=["high", "low", "mid"])
    for _ in range(29):
        once.partial_fit(x, y)
    assert once.n_iter_ == len(once.loss_curve_) == 30
    assert once.score(x, y) > 0.9
    # The state of the optimiser goes on: the same bits as 30 epochs of one fit, which trains with the same seed.
    whole = classifier(batch_size=40, max_iter=30, tol=0.0, n_iter_no_change=50).fit(x, y)
    assert np.array_equal(once.predict_proba(x), whole.predict_proba(x))
    assert regressor().partial_fit(x, x[:, 0]).partial_fit(x, x[:, 0]).n_iter_ == 2


def test_an_optimiser_and_a_schedule_of_this_package(data):
    x, y = data
    rates = classifier(optimizer=fs.AdamW(3e-3), schedule="cosine", max_iter=5, tol=0.0).fit(x, y).history_["lr"]
    assert rates[0] > rates[-1]
    assert rates[0] <= 3e-3
    assert classifier(optimizer="sgd", activation="logistic", max_iter=3).fit(x, y).n_iter_ == 3


def test_alpha_is_the_penalty_over_the_rows_of_a_minibatch(data):
    x, y = data

    def norm(**settings):
        model = classifier(max_iter=60, tol=0.0, **settings).fit(x, y).model_
        return sum(float((weight**2).sum()) for name, weight in model.parameters().items() if name.endswith("weight"))

    assert norm(alpha=100.0) < 0.5 * norm(alpha=0.0)
    # 80 rows of a minibatch and alpha 80 are a penalty of 1.
    assert norm(alpha=80.0, batch_size=80) == norm(optimizer=fs.Adam(1e-2, l2=1.0), batch_size=80)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_layer_sizes": 2.5}, "hidden_layer_sizes to be widths"), ({"activation": "rel"}, "activation"),
        ({"optimizer": "adm"}, "did you mean 'Adam'"), ({"batch_size": "all"}, '"auto", or None'),
        ({"max_iter": 0}, "max_iter"),
        ({"encoder": fs.TableEncoder}, "write encoder=fs.TableEncoder"), ({"encoder": "table"}, '"auto", None'),
        ({"tol": -1.0}, "tol"), ({"alpha": -1.0}, "alpha"), ({"class_weight": 2.0}, "class_weight"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction"), ({"warm_start": 2}, "True or False"),
        ({"device_batches": "device"}, "device_batches to be True or False; got 'device'; .* None"),
        ({"device_batches": 1}, "device_batches"), ({"n_ensemble": 0}, "n_ensemble"),
    ],
)  # fmt: skip
def test_settings_are_checked_by_fit(data, settings, message):
    made = classifier(**settings)
    with pytest.raises(HyperparameterError, match=message):
        made.fit(*data)


def test_data_are_checked(data):
    x, y = data
    with pytest.raises(LabelError, match="1 class, 'low'"):
        classifier().fit(x, np.full(240, "low"))
    with pytest.raises(LabelError, match="got 'lwo'; give"):
        classifier(class_weight={"lwo": 2.0}).fit(x, y)
    with pytest.raises(SampleWeightError, match="above zero"):
        classifier().fit(x, y, np.zeros(240))
    with pytest.raises(ShapeError, match="several columns of labels"):
        classifier().fit(x, np.arange(480).reshape(240, 2) % 3)
    with pytest.raises(HyperparameterError, match="first call of partial_fit"):
        classifier().partial_fit(x, y)
    with pytest.raises(HyperparameterError, match="early_stopping=False"):
        regressor(early_stopping=True).partial_fit(x, x[:, 0])
    with pytest.raises(HyperparameterError, match="does not see all rows"):
        classifier(class_weight="balanced").partial_fit(x, y, classes=np.unique(y))
    with pytest.raises(ValueError, match="NaN"):
        classifier(encoder=None).fit(np.where(x > 2, np.nan, x), y)
    with pytest.raises(ShapeError, match="expected 1 targets"):
        regressor(warm_start=True).fit(x, x[:, 0]).fit(x, x[:, :2])


@pytest.fixture
def without_checks_of_scikit_learn(monkeypatch):
    """Once it is called, scikit-learn's checks of X fail."""

    def fail(*given, **settings):
        raise AssertionError("scikit-learn checks X")

    def change():
        for name in ("check_array", "validate_data"):
            monkeypatch.setattr(validation, name, fail)

    return change


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "bool", "float16"])
@pytest.mark.parametrize("encoder", ["auto", None])
def test_few_rows_are_predicted_without_the_cost_of_general_checks(data, dtype, encoder, without_checks_of_scikit_learn):
    x, y = (3.0 * data[0]).astype(dtype), data[1]
    fitted, numbers = classifier(encoder=encoder, max_iter=2).fit(x, y), regressor(max_iter=2).fit(x, data[0][:, 0])
    rows, strided = x[:3], x[::80]
    wanted = [model.predict(given.tolist()) for model in (fitted, numbers) for given in (rows, strided)]
    without_checks_of_scikit_learn()
    found = [model.predict(given) for model in (fitted, numbers) for given in (rows, strided)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("given", [
    lambda x: x.tolist(), lambda x: x[:, :4], lambda x: x[0], lambda x: x[:0], lambda x: x[None], lambda x: x.astype(complex),
    lambda x: np.where(x == x[0, 0], np.inf, x), lambda x: np.where(x == x[0, 0], np.nan, x), lambda x: x.astype(object),
    lambda x: x.astype(str), lambda x: np.ma.masked_less(x, 0.0), lambda x: np.tile(x, (2000, 1)),
])  # fmt: skip
def test_all_other_arrays_are_left_to_scikit_learn(data, given, without_checks_of_scikit_learn):
    fitted = classifier(max_iter=2).fit(*data)
    without_checks_of_scikit_learn()
    with pytest.raises(AssertionError, match="scikit-learn checks X"):
        fitted.predict(given(data[0][:3]))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_with_the_columns_of_fit_need_no_comparison_by_scikit_learn(people, library, without_checks_of_scikit_learn):
    frame, y = people
    if library != "pandas":
        frame = pytest.importorskip("polars", reason="needs polars: pip install polars").from_pandas(frame)
        frame = frame.to_arrow() if library == "pyarrow" else frame
    fitted = classifier(max_iter=2).fit(frame, y)
    wanted = fitted.predict_proba(frame[:2])
    other = frame.select(["age", "town", "member", "since"]) if library != "pandas" else frame[list(frame.columns)[::-1]]
    without_checks_of_scikit_learn()
    assert np.array_equal(fitted.predict_proba(frame[:2]), wanted)
    with pytest.raises(AssertionError, match="scikit-learn checks X"):
        fitted.predict(other[:2])
    with pytest.raises(AssertionError, match="scikit-learn checks X"):
        fitted.predict(np.zeros((2, 4)))
