"""Ensembles as ONNX files, run by onnxruntime: the mean over the members, or over their votes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fusedstep as fs

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 7)).astype("f4")
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
BITS = (X[:, :3] > 0).astype(int)
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def trained(loss, y, outputs, x=X, make=None, **settings):
    """Five members of different widths and activations."""
    made = make or [lambda d: fs.mlp([d, 6, outputs]), lambda d: fs.mlp([d, 9, outputs], "tanh", layer_norm=True)]
    bagging = fs.Bagging(made, loss, members=5, optimizer=fs.Adam(0.02), n_jobs=1, backend="numpy", **settings)
    return bagging.fit(x, y, epochs=4, batch_size=32)


class Exported:
    """The graph of an ensemble in onnxruntime."""

    def __init__(self, bagging, folder, opset=20):
        fs.export_onnx(bagging, folder / "bagging.onnx", opset=opset)
        self.session = onnxruntime.InferenceSession(folder / "bagging.onnx", providers=["CPUExecutionProvider"])
        self.inputs = {one.name: (one.type, one.shape) for one in self.session.get_inputs()}
        self.names = [one.name for one in self.session.get_outputs()]
        self.metadata = self.session.get_modelmeta().custom_metadata_map

    def __call__(self, x=X):
        return dict(zip(self.names, self.session.run(None, {"x": x}), strict=True))


@pytest.mark.row("B12", "G12")
@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("features", [1.0, 0.5])
@pytest.mark.parametrize("combine", ["average", "vote"])
def test_classes(combine, features, opset, tmp_path):
    bagging = trained(fs.SoftmaxCrossEntropy(), LABELS, 3, combine=combine, features=features)
    exported = Exported(bagging, tmp_path, opset)
    for x in (X, X[4:5]):
        found = exported(x)
        np.testing.assert_allclose(found["probabilities"], bagging.predict_proba(x), **CLOSE)
        np.testing.assert_array_equal(found["prediction"], bagging.predict(x))
    assert found["prediction"].dtype == np.int64
    alone = bagging.members[0]
    seen = X if alone.features is None else X[:, alone.features]
    assert np.abs(exported()["probabilities"] - alone.model.predict_proba(seen)).max() > 0.01
    assert exported.inputs == {"x": ("tensor(float)", ["rows", 7 if features == 1.0 else "columns"])}
    assert exported.metadata["task"] == "classification"
    assert json.loads(exported.metadata["classes"]) == {"target": [0, 1, 2]}
    graph = onnx.load(tmp_path / "bagging.onnx").graph
    assert len([node for node in graph.node if node.op_type == "Gemm"]) == 10
    assert len({one.name for one in graph.initializer}) == len(graph.initializer)


@pytest.mark.parametrize("combine", ["average", "vote"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_binary_targets(outputs, combine, tmp_path):
    y = BITS[:, 0] if outputs == 1 else BITS
    bagging = trained(fs.BinaryCrossEntropy(), y, outputs, combine=combine)
    found = Exported(bagging, tmp_path)()
    np.testing.assert_allclose(found["probabilities"], bagging.predict_proba(X), **CLOSE)
    np.testing.assert_array_equal(found["prediction"], bagging.predict(X))


@pytest.mark.parametrize("name", ["MSE", "Poisson", "Quantile"])
@pytest.mark.parametrize("columns", [0, 1, 2])
def test_numbers(name, columns, tmp_path):
    y = np.floor(np.exp(X[:, : max(1, columns)])) if name == "Poisson" else 3.0 + X[:, : max(1, columns)]
    y = y[:, 0] if columns == 0 else y
    bagging = trained(getattr(fs, name)(), y, max(1, columns))
    exported = Exported(bagging, tmp_path)
    expected = np.asarray(bagging.predict(X))
    assert exported.names == ["prediction"]
    assert exported()["prediction"].shape == expected.shape == y.shape
    np.testing.assert_allclose(exported()["prediction"], expected, rtol=1e-5, atol=1e-5)
    assert exported.metadata["task"] == "regression"


def test_probabilities_that_the_network_computes_itself(tmp_path):
    make = lambda d: fs.Sequential(fs.Linear(d, 3), fs.Softmax())  # noqa: E731
    shares = np.eye(3)[LABELS] * 0.9 + 0.1 / 3
    bagging = trained(fs.KLDivergence(), shares, 3, make=make)
    np.testing.assert_allclose(Exported(bagging, tmp_path)()["probabilities"], bagging.predict_proba(X), **CLOSE)


def test_an_ensemble_from_its_file_with_names(tmp_path):
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    frame = pandas.DataFrame(X, columns=list("abcdefg"))
    bagging = trained(fs.SoftmaxCrossEntropy(), LABELS, 3, x=frame, features=0.5)
    bagging.save(tmp_path / "bagging.safetensors")
    exported = Exported(fs.Bagging.load(tmp_path / "bagging.safetensors", "numpy"), tmp_path)
    assert exported.inputs["x"][1] == ["rows", 7]
    assert json.loads(exported.metadata["feature_names"]) == list("abcdefg")
    np.testing.assert_allclose(exported()["probabilities"], bagging.predict_proba(frame), **CLOSE)


def test_ensembles_that_cannot_be_exported(tmp_path):
    with pytest.raises(fs.StateError, match="call fit first"):
        fs.export_onnx(fs.Bagging(lambda d: fs.mlp([d, 3]), fs.SoftmaxCrossEntropy()), tmp_path / "m.onnx")
    signs = trained(fs.Hinge(), BITS[:, 0], 1)
    with pytest.raises(fs.ExportError, match=r"signed scores of Hinge.*bagging.members\[0\].model"):
        fs.export_onnx(signs, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
