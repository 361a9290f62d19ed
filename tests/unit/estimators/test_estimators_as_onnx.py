"""fs.MLPClassifier and fs.MLPRegressor as ONNX files: onnxruntime answers as predict and predict_proba."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs

pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

CLOSE = {"rtol": 0.0, "atol": 1e-5}
SMALL = {
    "preset": "scikit-learn", "hidden_layer_sizes": (16,), "max_iter": 60, "learning_rate_init": 1e-2, "random_state": 0
}  # fmt: skip


class Exported:
    """The file of an estimator in onnxruntime."""

    def __init__(self, estimator, folder, **options):
        fs.export_onnx(estimator, folder / "m.onnx", **options)
        self.session = onnxruntime.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"])
        self.inputs = {one.name: (one.type, one.shape) for one in self.session.get_inputs()}
        self.outputs = {one.name: (one.type, one.shape) for one in self.session.get_outputs()}
        self.metadata = self.session.get_modelmeta().custom_metadata_map

    def __call__(self, given):
        inputs = given if isinstance(given, dict) else {"x": np.asarray(given, np.float32)}
        return dict(zip(self.outputs, self.session.run(None, inputs), strict=True))


def as_inputs(frame):
    """The columns of a data frame as docs/serving.md says."""
    made = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype.kind == "M":
            made[name] = column.to_numpy().astype("datetime64[us]").astype("int64")
        elif column.dtype.kind in "biuf":
            made[name] = column.to_numpy(np.float64)
        else:
            made[name] = column.astype(object).where(column.notna(), "").to_numpy(object)
    return made


def same_labels(exported, estimator, given, x):
    """The answers of the file, compared with those here."""
    found = exported(given)
    expected = estimator.predict_proba(x)
    np.testing.assert_allclose(found["probabilities"], expected, **CLOSE)
    assert found["prediction"].tolist() == estimator.predict(x).tolist()
    return found


LABELS = {
    "text": (lambda y: y, "tensor(string)"),
    "objects": (lambda y: y.astype(object), "tensor(string)"),
    "numbers": (lambda y: np.unique(y, return_inverse=True)[1].astype(np.int32) * 10 - 3, "tensor(int64)"),
    "booleans": (lambda y: y == "low", "tensor(bool)"),
    "fractions": (lambda y: np.where(y == "low", 1.0, 2.0), "tensor(double)"),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("settings", [{}, {"encoder": None}, {"precision": "float32"}, {"batch_size": None}])
def test_an_array_of_numbers(data, tmp_path, kind, settings):
    x, y = data
    labels, written = LABELS[kind]
    x = x.astype(np.float32)
    made = fs.MLPClassifier(**SMALL, **settings).fit(x, labels(y))
    exported = Exported(made, tmp_path, opset=17)
    classes = made.classes_.tolist()
    assert exported.inputs == {"x": ("tensor(float)", ["rows", 5])}
    assert exported.outputs == {
        "prediction": (written, ["rows"]), "probabilities": ("tensor(float)", ["rows", len(classes)])
    }  # fmt: skip
    assert json.loads(exported.metadata["classes"]) == {"target": classes}
    assert len(set(same_labels(exported, made, x, x)["prediction"].tolist())) == len(classes)


@pytest.mark.parametrize("encoder", ["auto", None])
def test_a_missing_number_of_an_array(data, tmp_path, encoder):
    """With statistics of a table it has a column of its own; where none was missing in fit it counts as the mean."""
    x, y = data
    x = x.astype(np.float32)
    holes = np.where(np.arange(240)[:, None] % 7 == np.arange(5), np.float32(np.nan), x)
    chosen = [fs.MLPClassifier(**SMALL, encoder=encoder).fit(x, y)]
    if encoder is not None:
        given = fs.TableEncoder(scaling="robust")
        chosen += [fs.MLPClassifier(**SMALL).fit(holes, y), fs.MLPClassifier(**SMALL, encoder=given).fit(holes[:, ::-1], y)]
        assert [type(one.encoder_).__name__ for one in chosen] == ["Standardizer", "TableEncoder", "TableEncoder"]
    for made in chosen:
        exported = Exported(made, tmp_path)
        assert list(exported.inputs) == ["x"]
        if encoder is None:
            assert np.isnan(exported(holes)["probabilities"][:5]).all()
            same_labels(exported, made, x, x)
        else:
            same_labels(exported, made, holes, holes)


def test_a_frame_with_text_dates_and_missing_values(people, tmp_path):
    frame, y = people
    made = fs.MLPClassifier(**SMALL).fit(frame, y)
    exported = Exported(made, tmp_path)
    types = {"age": "tensor(double)", "town": "tensor(string)", "since": "tensor(int64)", "member": "tensor(double)"}
    assert exported.inputs == {name: (written, ["rows"]) for name, written in types.items()}
    given = frame.copy()
    given.loc[::11, "town"] = "Paris"
    given.loc[::13, "since"] = None
    assert len(set(same_labels(exported, made, as_inputs(given), given)["prediction"].tolist())) == 2


@pytest.mark.parametrize("encoder", ["auto", None])
def test_a_frame_of_numbers_has_its_columns(data, tmp_path, encoder):
    """They are float64, so that nothing is lost far from 0."""
    pandas = pytest.importorskip("pandas")
    x, y = data
    far = np.zeros(5) if encoder is None else np.array([0.0, 1e9, 0.0, 0.0, -1e7])
    frame = pandas.DataFrame(x + far, columns=list("abcde"))
    made = fs.MLPClassifier(**SMALL, encoder=encoder).fit(frame, y)
    exported = Exported(made, tmp_path)
    assert exported.inputs == {name: ("tensor(double)", ["rows"]) for name in "abcde"}
    same_labels(exported, made, as_inputs(frame), frame)


def test_missing_numbers_in_a_frame_keep_the_names(data, tmp_path):
    pandas = pytest.importorskip("pandas")
    x, y = data
    frame = pandas.DataFrame(np.where(np.arange(5) == np.arange(240)[:, None] % 9, np.nan, x), columns=list("abcde"))
    made = fs.MLPClassifier(**SMALL).fit(frame, y)
    exported = Exported(made, tmp_path)
    assert list(exported.inputs) == list("abcde")
    same_labels(exported, made, as_inputs(frame), frame)


def test_text_without_names(tmp_path):
    rows = np.array([["a", 1.0], ["b", 2.0], ["a", 3.0], [None, 4.0]] * 10, dtype=object)
    made = fs.MLPClassifier(**SMALL).fit(rows, [0, 1, 0, 1] * 10)
    exported = Exported(made, tmp_path)
    assert exported.inputs == {"x0": ("tensor(string)", ["rows"]), "x1": ("tensor(double)", ["rows"])}
    text = np.array([cell or "" for cell in rows[:, 0]], dtype=object)
    same_labels(exported, made, {"x0": text, "x1": rows[:, 1].astype(float)}, rows)


@pytest.mark.parametrize("dtype", ["boolean", "object"])
def test_booleans_of_which_some_are_missing_are_text(tmp_path, dtype):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"b": pandas.array([True, False, None] * 20, dtype=dtype), "n": np.linspace(-1.0, 1.0, 60)})
    made = fs.MLPClassifier(**SMALL).fit(frame, [0, 1, 1] * 20)
    given = {"b": np.array(["true", "false", ""] * 20, dtype=object), "n": frame["n"].to_numpy()}
    assert same_labels(Exported(made, tmp_path), made, given, frame)["prediction"].tolist() == [0, 1, 1] * 20


def test_many_categories_are_embedded(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"code": [f"c{k % 100}" for k in range(600)], "x": np.linspace(-1.0, 1.0, 600)})
    made = fs.MLPClassifier(**SMALL).fit(frame, np.arange(600) % 2)
    same_labels(Exported(made, tmp_path), made, as_inputs(frame), frame)


@pytest.mark.parametrize(("dtype", "written"), [("int8", "int64"), ("bool", "bool"), ("float64", "double")])
def test_several_labels_a_row(data, tmp_path, dtype, written):
    x, _ = data
    x = x.astype(np.float32)
    made = fs.MLPClassifier(**SMALL).fit(x, (x[:, :3] > 0).astype(dtype))
    exported = Exported(made, tmp_path)
    assert exported.outputs["prediction"][0] == f"tensor({written})"
    assert same_labels(exported, made, x, x)["prediction"].shape == (240, 3)
    assert exported.metadata["task"] == "classification"


@pytest.mark.parametrize("columns", [None, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_in_their_unit(data, tmp_path, columns, dtype):
    x, _ = data
    x = x.astype(np.float32)
    y = (1e4 * x[:, 0] + 3e5).astype(dtype)
    if columns:
        y = np.stack([y, x[:, 1]], axis=1)[:, :columns].astype(dtype)
    made = fs.MLPRegressor(**SMALL).fit(x, y)
    exported = Exported(made, tmp_path)
    found, expected = exported(x)["prediction"], made.predict(x)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape) == (np.dtype(dtype), y.shape)
    rounding = 4.0 * np.finfo(dtype).eps * np.abs(expected).max(axis=0)
    assert bool((np.abs(found - expected) <= 1e-5 * y.std(axis=0) + rounding).all())
    assert exported.metadata["task"] == "regression"


def test_a_regression_of_a_frame_after_partial_fit(people, tmp_path):
    frame, _ = people
    prices = 1e3 * frame["age"].fillna(40.0) + 5e3 * frame["member"]
    made = fs.MLPRegressor(**SMALL).partial_fit(frame, prices).partial_fit(frame, prices)
    found = Exported(made, tmp_path)(as_inputs(frame))["prediction"]
    np.testing.assert_allclose(found, made.predict(frame), rtol=0.0, atol=1e-5 * prices.std())


def test_other_encoders_say_how_the_network_is_exported(data, tmp_path):
    from sklearn.preprocessing import StandardScaler

    x, y = data
    made = fs.MLPClassifier(**SMALL, encoder=StandardScaler()).fit(x, y)
    with pytest.raises(fs.ExportError, match=r"got StandardScaler\(\); write fs.export_onnx\(estimator.model_, path\)"):
        fs.export_onnx(made, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    outputs = Exported(made.model_, tmp_path)(made.encoder_.transform(x))["outputs"]
    assert made.classes_[outputs.argmax(axis=1)].tolist() == made.predict(x).tolist()


def test_what_is_no_fitted_estimator(data, people, tmp_path):
    from sklearn.exceptions import NotFittedError
    from sklearn.pipeline import make_pipeline

    x, y = data
    with pytest.raises(NotFittedError):
        fs.export_onnx(fs.MLPClassifier(), tmp_path / "m.onnx")
    with pytest.raises(fs.HyperparameterError, match="expected a model"):
        fs.export_onnx(fs.MLPClassifier, tmp_path / "m.onnx")
    with pytest.raises(fs.ExportError, match=r"got Pipeline; .* pipeline\[-1\]"):
        fs.export_onnx(make_pipeline(fs.MLPClassifier(**SMALL)).fit(x, y), tmp_path / "m.onnx")
    frame, labels = people
    with pytest.raises(fs.ExportError, match="'prediction'; rename the column"):
        fs.export_onnx(fs.MLPClassifier(**SMALL).fit(frame.rename(columns={"age": "prediction"}), labels), tmp_path / "m.onnx")
    with pytest.raises(fs.ExportError, match=r"labels below 2\^63"):
        fs.export_onnx(fs.MLPClassifier(**SMALL).fit(x, np.where(y == "low", 2**63, 1).astype("uint64")), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_save_and_load_name_what_keeps_an_estimator(data, tmp_path):
    made = fs.MLPClassifier(**SMALL).fit(*data)
    with pytest.raises(fs.HyperparameterError, match=r"joblib.dump\(estimator, path\).*fs.export_onnx\(estimator, path\)"):
        fs.save(made, tmp_path / "m.safetensors")
    (tmp_path / "m.pickle").write_bytes(pickle.dumps(made))
    with pytest.raises(fs.ModelFileError, match=r"begins as a pickle: .* joblib.load or pickle.load"):
        fs.load(tmp_path / "m.pickle")
    (tmp_path / "m.safetensors").write_bytes(b"\x80")
    with pytest.raises(fs.ModelFileError, match="copy it again"):
        fs.load(tmp_path / "m.safetensors")


def test_the_block_of_the_documentation(tmp_path):
    page = (Path(fs.__file__).parent / "docs" / "estimators.md").read_text(encoding="utf-8")
    first = re.search(r"^```python\n(.*?)^```", page, re.M | re.S)
    block = re.search(r"^```py\n(.*?)^```", page, re.M | re.S)
    code = first[1] + block[1] + "assert labels.tolist() == clf.predict(X[1600:1605]).tolist()\nprint(probabilities.shape)\n"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("(5, 2)\n")
