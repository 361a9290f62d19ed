"""Columns of tables in ONNX files, run by onnxruntime: their encoding is that of the preprocessor, also at its limits."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.tables.column_kind import ColumnKind, kinds_to_json
from fusedstep.framework.tables.preprocessing import Preprocessor

pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

RNG = np.random.default_rng(0)


def table_model(columns, target, text=(), task=None, layers=None):
    """A model of one layer, so that each encoded column counts; `text` – columns as they are read from a file."""
    made = Preprocessor().fit(columns, target, task)
    if text:
        made.kinds = kinds_to_json([ColumnKind(name, "text" if name in text else "number") for name in columns])
    model = layers or fs.mlp([made.width, made.outputs], categories=made.categories)
    return fs.TableModel(model.initialize(seed=0, backend="numpy"), made)


def run(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs), strict=True))


def objects(texts):
    return np.array(list(texts), dtype=object)


def test_dates_of_all_centuries(tmp_path):
    """Every day of several hundred years around leap days, every hour, and dates before 1970."""
    days = np.arange("1582-01-01", "2105-01-01", 7, dtype="datetime64[D]")
    far = np.array(["0001-01-01", "0400-02-29", "1600-02-29", "1900-02-28", "1900-03-01", "9999-12-31"], "datetime64[D]")
    moments = np.concatenate([days, far]).astype("datetime64[us]")
    moments = moments + RNG.integers(0, 86_400_000_000, len(moments)).astype("timedelta64[us]")
    moments[::50] = "NaT"
    table = table_model({"d": moments}, RNG.integers(0, 3, len(moments)))
    (_, coding), = table.preprocessor.columns
    assert coding.parts == ("month", "day", "weekday", "hour")
    fs.export_onnx(table, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", {"d": moments.astype("int64")})
    np.testing.assert_allclose(found["probabilities"], table.predict_proba({"d": moments}), rtol=1e-5, atol=1e-5)
    every = np.arange("1999-12-25", "2001-03-05", dtype="datetime64[D]").astype("datetime64[us]")
    found = run(tmp_path / "m.onnx", {"d": every.astype("int64")})
    np.testing.assert_allclose(found["probabilities"], table.predict_proba({"d": every}), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_numbers_at_the_limits_of_float64(tmp_path, task):
    numbers = np.concatenate([RNG.normal(1e6, 3.0, 200), [np.nan]])
    plain = RNG.normal(size=201)
    table = table_model({"n": numbers, "p": plain}, RNG.integers(0, 3, 201), task=task)
    fs.export_onnx(table, tmp_path / "m.onnx")
    clipped = task == "classification"
    n = np.array([1e6, 1e6 + 1.0, np.nan, 0.0, -1e6, *([1.7e308, -1.7e308, 1e200] if clipped else [])])
    given = {"n": n, "p": np.full(len(n), np.nan)}
    found = run(tmp_path / "m.onnx", given)
    expected = table.predict(given)
    np.testing.assert_allclose(found["prediction"], expected, rtol=1e-5, atol=1e-5)
    if clipped:
        np.testing.assert_allclose(found["probabilities"], table.predict_proba(given), rtol=1e-5, atol=1e-5)


def test_infinite_numbers_give_nan_and_no_probabilities(tmp_path):
    table = table_model({"n": RNG.normal(size=50)}, RNG.integers(0, 2, 50))
    fs.export_onnx(table, tmp_path / "m.onnx")
    assert np.isnan(run(tmp_path / "m.onnx", {"n": np.array([np.inf, -np.inf])})["probabilities"]).all()


def test_blank_text_is_missing_where_it_is_in_files(tmp_path):
    """Each character of Unicode that `str.isspace` knows, and no other."""
    blanks = [chr(k) for k in range(1, 0x3100) if chr(k).isspace()]
    others = ["a", "b", "a ", " a", "\u200b", "\u0000x", "-", "NA"]
    cells = [None, "a", "b", "NA"] * 10
    assert len(blanks) > 20
    for text, same in ((("t",), True), ((), False)):
        table = table_model({"t": objects(cells)}, RNG.integers(0, 2, 40), text)
        fs.export_onnx(table, tmp_path / "m.onnx")
        given = objects([*blanks, "\t \u3000", *others])
        found = run(tmp_path / "m.onnx", {"t": given})["probabilities"]
        np.testing.assert_allclose(found, table.predict_proba({"t": given}), rtol=1e-5, atol=1e-6)
        missing = run(tmp_path / "m.onnx", {"t": objects([""])})["probabilities"]
        np.testing.assert_allclose(missing, table.predict_proba({"t": objects([None])}), rtol=1e-5, atol=1e-6)
        assert np.allclose(found[: len(blanks)], missing, atol=1e-6) == same


@pytest.mark.row("G12")
def test_many_categories_as_codes(tmp_path):
    names = objects(f"name {k % 150}" for k in range(600))
    table = table_model({"t": names, "n": RNG.normal(size=600)}, RNG.integers(0, 3, 600))
    assert table.preprocessor.categories
    fs.export_onnx(table, tmp_path / "m.onnx", opset=17)
    given = {"t": objects(["name 3", "name 149", "other", ""]), "n": np.zeros(4)}
    found = run(tmp_path / "m.onnx", given)["probabilities"]
    np.testing.assert_allclose(found, table.predict_proba(given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [[fs.Softmax()], []])
def test_a_network_that_ends_in_softmax(tmp_path, layers):
    table = table_model({"n": RNG.normal(size=50)}, objects("xyz"[k % 3] for k in range(50)),
                        layers=fs.Sequential(fs.Linear(1, 3), *layers))  # fmt: skip
    fs.export_onnx(table, tmp_path / "m.onnx")
    given = {"n": np.linspace(-2, 2, 9)}
    found = run(tmp_path / "m.onnx", given)
    np.testing.assert_allclose(found["probabilities"], table.predict_proba(given), rtol=1e-5, atol=1e-6)
    assert found["prediction"].tolist() == table.predict(given).tolist()


def test_labels_that_are_fractions(tmp_path):
    table = table_model({"n": RNG.normal(size=50)}, np.tile([0.5, 1.5], 25), task="classification")
    fs.export_onnx(table, tmp_path / "m.onnx")
    given = {"n": np.linspace(-2, 2, 9)}
    assert run(tmp_path / "m.onnx", given)["prediction"].tolist() == table.predict(given).tolist()


REFUSED = {
    "missing and empty text": ({"t": objects([None, "", "a", "b"] * 5)}, "column 't': expected one category for missing text"),
    "a column named as an output": ({"prediction": np.arange(20.0)}, "'prediction'; rename the column"),
    "a column without a name": ({"": np.arange(20.0)}, "columns with names"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_columns_that_cannot_be_exported(case, tmp_path):
    columns, words = REFUSED[case]
    table = table_model(columns, RNG.integers(0, 2, 20))
    with pytest.raises(fs.ExportError, match=words):
        fs.export_onnx(table, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_scores_that_are_no_logits_are_refused(tmp_path):
    table = table_model({"n": RNG.normal(size=50)}, RNG.integers(0, 2, 50))
    table.model.head = "values"
    with pytest.raises(fs.ExportError, match="head 'values'"):
        fs.export_onnx(table, tmp_path / "m.onnx")
