"""Data frames, text and missing values in fs.MLPClassifier and fs.MLPRegressor."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.estimators.input_coding import Standardizer
from fusedstep.framework.tables.moments import column_moments, weighted_moments


def fitted(x, y, **settings):
    small = {"preset": "scikit-learn", "hidden_layer_sizes": (16,), "max_iter": 60, "learning_rate_init": 1e-2}
    return fs.MLPClassifier(**small, random_state=0, **settings).fit(x, y)


def test_a_frame_with_text_dates_and_missing_values(people):
    frame, y = people
    made = fitted(frame, y)
    assert isinstance(made.encoder_, fs.TableEncoder)
    assert made.feature_names_in_.tolist() == list(frame.columns)
    assert made.n_features_in_ == 4
    assert made.score(frame, y) > 0.95
    with pytest.raises(ValueError, match="feature names should match"):
        made.predict(frame[["town", "age", "since", "member"]])


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_other_frames_give_the_same(people, library):
    frame, y = people
    polars = pytest.importorskip("polars", reason="needs polars: pip install polars")
    other = polars.from_pandas(frame)
    other = other.to_arrow() if library == "pyarrow" else other
    assert np.array_equal(fitted(other, y).predict_proba(other), fitted(frame, y).predict_proba(frame))


def test_a_frame_of_numbers_is_an_array_with_names(people, data):
    x, y = data
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame = pandas.DataFrame(x, columns=list("abcde"))
    made, plain = fitted(frame, y), fitted(x, y)
    assert isinstance(made.encoder_, Standardizer)
    assert np.array_equal(made.predict_proba(frame), plain.predict_proba(x))
    assert np.array_equal(fitted(polars.from_pandas(frame), y).predict_proba(polars.from_pandas(frame)), plain.predict_proba(x))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        made.predict(x)


def test_missing_numbers_in_arrays(data):
    x, y = data
    x = np.where(np.arange(240)[:, None] % 7 == np.arange(5), np.nan, x)
    made = fitted(x, y)
    assert isinstance(made.encoder_, fs.TableEncoder)
    assert made.score(x, y) > 0.8
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(x, columns=list("abcde"))
    assert np.array_equal(fitted(frame, y).predict_proba(frame), made.predict_proba(x))
    masked = np.ma.masked_invalid(x)
    assert np.array_equal(fitted(masked, y).predict_proba(masked), made.predict_proba(x))


def test_a_number_that_is_missing_only_later_counts_as_the_mean(data):
    x, y = data
    made = fitted(x, y)
    mean = np.where(np.arange(5) == 2, x.mean(axis=0), x[:9])
    np.testing.assert_allclose(
        made.predict_proba(np.where(np.arange(5) == 2, np.nan, x[:9])), made.predict_proba(mean), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("kind", [list, lambda rows: np.array(rows, dtype=object), lambda rows: np.array(rows)])
def test_text_in_rows_and_arrays(kind):
    rows = kind([["a", 1.0], ["b", 2.0], ["a", 3.0], ["b", 4.0]] * 10)
    made = fitted(rows, [0, 1] * 20)
    assert made.predict(rows).tolist() == [0, 1] * 20


def test_many_categories_are_embedded():
    rng = np.random.default_rng(0)
    pandas = pytest.importorskip("pandas")
    codes = rng.integers(0, 100, 1000)
    frame = pandas.DataFrame({"code": [f"c{code}" for code in codes], "x": rng.random(1000)})
    made = fitted(frame, codes % 2)
    assert type(made.model_.layers[0]).__name__ == "ColumnEmbeddings"
    assert made.score(frame, codes % 2) > 0.95


def test_columns_are_scaled_by_themselves(data):
    """Also far from 0, in very different units."""
    x, y = data
    scaled = x * np.array([1e-6, 1e6, 1.0, 1e3, 1e-3]) + np.array([1.0, 1e9, 0.0, -1e3, 5.0])
    assert fitted(scaled, y).score(scaled, y) > 0.9


def test_an_encoder_of_ones_own(people, data):
    from sklearn.preprocessing import StandardScaler

    frame, y = people
    given = fs.TableEncoder(scaling="robust", max_one_hot=2)
    made = fitted(frame, y, encoder=given)
    assert made.encoder_ is not given
    assert made.encoder_.scaling == "robust"
    assert made.get_params()["encoder__max_one_hot"] == 2
    with pytest.raises(fs.StateError):
        given.width  # noqa: B018
    x, labels = data
    scaler = fitted(x, labels, encoder=StandardScaler())
    np.testing.assert_allclose(scaler.predict_proba(x), fitted(x, labels).predict_proba(x), rtol=1e-3, atol=1e-4)
    assert fitted(x, labels, encoder=None).encoder_ is None


def test_zero_weights_in_frames(people):
    frame, y = people
    weights = np.arange(240) % 2
    one, two = fitted(frame, y, batch_size=None), fitted(frame[weights > 0], y[weights > 0], batch_size=None)
    assert not np.array_equal(one.predict_proba(frame), two.predict_proba(frame))
    one.fit(frame, y, weights)
    np.testing.assert_allclose(one.predict_proba(frame), two.predict_proba(frame), rtol=1e-8)


@pytest.mark.parametrize("dtype", ["category", "boolean", "Int64", "object"])
def test_labels_in_types_of_pandas(people, dtype):
    pandas = pytest.importorskip("pandas")
    frame, y = people
    plain = {"boolean": y == "yes", "Int64": (y == "yes").astype(int)}.get(dtype, y)
    found = fitted(frame, pandas.Series(plain).astype(dtype)).predict(frame)
    assert found.dtype.kind == {"boolean": "b", "Int64": "i"}.get(dtype, "O")
    assert np.mean(found == plain) > 0.95
    with pytest.raises(ValueError, match=r"missing|NaN"):
        fitted(frame, pandas.Series(plain).astype(dtype).where(np.arange(240) != 3, None))


def test_weighted_moments_are_those_of_repeated_rows():
    rng = np.random.default_rng(0)
    values = rng.normal(1e3, 5.0, (50, 4)) * np.array([1.0, 1e-200, 1e200, 0.0])
    counts = rng.integers(1, 5, 50)
    expected = column_moments(values.repeat(counts, axis=0))
    for weights in (counts.astype(float), counts * 1e300):
        for found, wanted in zip(weighted_moments(values, weights), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-11)
    assert expected[1][3] == 1.0
