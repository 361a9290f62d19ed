"""Networks as ONNX files, run by onnxruntime: the outputs of every layer are those of the model."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.export.onnx.graph import FIRST_OPSET
from fusedstep.framework.export.onnx.layers import NODES
from fusedstep.framework.layers import LAYERS
from fusedstep.framework.layers.activations import ACTIVATION_LAYERS

pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
D = 6
RNG = np.random.default_rng(0)
X = RNG.normal(0.0, 2.0, (33, D)).astype("f4")
X[0] = 0.0
X[1], X[2] = 40.0, -40.0
CODES = np.concatenate([RNG.integers(0, 4, (33, 2)), RNG.normal(size=(33, 4))], axis=1).astype("f4")
PIXELS = RNG.normal(size=(9, 6 * 5 * 2)).astype("f4")


def tied():
    linear = fs.Linear(D, 4)
    return fs.Sequential(linear, fs.Tanh(), fs.TiedLinear(linear))


ACTIVATIONS = [name for name, kind in LAYERS.items() if kind in ACTIVATION_LAYERS.values() and name != "PReLU"]
CASES = {
    **{name: (lambda name=name: fs.Sequential(fs.Identity(), getattr(fs, name)()), X)
       for name in (*ACTIVATIONS, "Softmax", "Flatten")},
    "LeakyReLU(0.3)": (lambda: fs.Sequential(fs.LeakyReLU(0.3)), X),
    "ELU(0.4)": (lambda: fs.Sequential(fs.ELU(0.4)), X),
    "GELU tanh": (lambda: fs.Sequential(fs.GELU("tanh")), X),
    "PReLU": (lambda: fs.Sequential(fs.PReLU(D)), X),
    "Dropout": (lambda: fs.Sequential(fs.Dropout(0.5)), X),
    "GaussianNoise": (lambda: fs.Sequential(fs.GaussianNoise(1.0)), X),
    "LayerNorm": (lambda: fs.Sequential(fs.LayerNorm(D, 1e-3)), X),
    "LayerNorm of groups": (lambda: fs.Sequential(fs.LayerNorm(2, 1e-3, groups=3)), X[3:]),
    "RepeatColumns": (lambda: fs.Sequential(fs.RepeatColumns(D, 3), fs.Linear(3 * D, 2)), X),
    "EnsembleLinear": (lambda: fs.Sequential(fs.EnsembleLinear(3, 4, 2)), X),
    "SeparateLinear": (lambda: fs.Sequential(fs.SeparateLinear(2, 4, 3)), X),
    **{f"EnsembleMean {head}": (lambda head=head: fs.Sequential(fs.Linear(D, 6), fs.EnsembleMean(3), head=head), X[3:])
       for head in ("classes", "binary", "log_rates", "values")},
    "ensemble": (lambda: fs.mlp([D, 8, 8, 3], "prelu", layer_norm=True, n_ensemble=4), X),
    "Linear": (lambda: fs.Sequential(fs.Linear(D, 3)), X),
    "Linear without bias": (lambda: fs.Sequential(fs.Linear(D, 3, bias=False)), X),
    "TiedLinear": (tied, X),
    "Maxout": (lambda: fs.Sequential(fs.Maxout(D, 4, 3)), X),
    "Residual": (lambda: fs.Sequential(fs.Residual(fs.Linear(D, 8), fs.ReLU(), fs.Linear(8, D)), fs.Linear(D, 2)), X),
    "Embedding": (lambda: fs.Sequential(fs.Embedding(4, 3, 2)), CODES[:, :2]),
    "ColumnEmbeddings": (lambda: fs.Sequential(fs.ColumnEmbeddings(D, {1: 4, 0: 4}), fs.Linear(4 + 8, 2)), CODES),
    "ColumnEmbeddings alone": (lambda: fs.Sequential(fs.ColumnEmbeddings(2, {0: 4, 1: 5}, [2, 3])), CODES[:, :2]),
    "PeriodicEmbedding": (lambda: fs.Sequential(fs.PeriodicEmbedding(D, 5, 7, 0.3)), X[3:]),
    "PeriodicEmbedding of some": (lambda: fs.Sequential(fs.PeriodicEmbedding(D, 5, 7, 0.3, [4, 1])), X[3:]),
    "PiecewiseLinearEmbedding": (lambda: fs.Sequential(fs.PiecewiseLinearEmbedding.from_data(X, 5, 3)), X),
    "PiecewiseLinearEmbedding of some": (
        lambda: fs.Sequential(fs.PiecewiseLinearEmbedding(D, [[-1.0, 0.0, 2.0, 3.0], [0.0, 1.0]], 3, [5, 2])), X,
    ),
    "Conv2d": (lambda: fs.Sequential(fs.Conv2d(2, 3, (3, 2), (2, 1), (1, 0), image=(6, 5))), PIXELS),
    "Conv2d without bias": (lambda: fs.Sequential(fs.Conv2d(2, 3, 3, image=(6, 5), bias=False)), PIXELS),
    "MaxPool2d": (lambda: fs.Sequential(fs.MaxPool2d((3, 2), (2, 2), image=(6, 5, 2))), PIXELS),
    "images": (
        lambda: fs.Sequential(fs.Conv2d(2, 4, 3, padding=1, image=(6, 5)), fs.GELU(), fs.MaxPool2d(2), fs.Flatten(),
                              fs.Linear(3 * 2 * 4, 3)), PIXELS,
    ),
    "several": (lambda: fs.mlp([D, 8, 8, 3], "silu", dropout=0.2, layer_norm=True), X),
}  # fmt: skip


def drawn(model, dtype="float32"):
    """Initialised, with parameters that are neither 0 nor 1."""
    model.initialize(seed=1, backend="numpy", dtype=dtype)
    rng = np.random.default_rng(2)
    model.load_parameters({n: np.asarray(v) + rng.normal(0.0, 0.2, v.shape) for n, v in model.parameters().items()})
    return model


def run(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs), strict=True))


@pytest.mark.row("G12")
@pytest.mark.parametrize("opset", [FIRST_OPSET, 18, 20])
@pytest.mark.parametrize("name", CASES)
def test_outputs_of_layers(name, opset, tmp_path):
    make, x = CASES[name]
    model = drawn(make())
    fs.export_onnx(model, tmp_path / "m.onnx", opset=opset)
    found = run(tmp_path / "m.onnx", {"x": x})
    np.testing.assert_allclose(found["outputs"], np.asarray(model(x)), **CLOSE)
    one = run(tmp_path / "m.onnx", {"x": x[4:5]})
    np.testing.assert_allclose(one["outputs"], np.asarray(model(x[4:5])), **CLOSE)


def test_every_layer_has_nodes():
    ours = {kind for kind in LAYERS.values() if kind.__module__.startswith("fusedstep.framework.")}
    assert set(NODES) == ours
    built = {type(layer) for make, _ in CASES.values() for layer in make().walk()}
    assert ours <= built


def test_a_file_can_be_exported_from_any_backend_and_precision(tmp_path):
    for backend, dtype in (("numba", "float32"), ("numpy", "float64")):
        model = fs.mlp([D, 8, 3], "gelu").initialize(seed=3, backend=backend, dtype=dtype)
        fs.export_onnx(model, tmp_path / "m.onnx")
        np.testing.assert_allclose(run(tmp_path / "m.onnx", {"x": X})["outputs"], np.asarray(model(X)), **CLOSE)


def test_codes_without_a_row_are_nan_as_in_the_model(tmp_path):
    model = drawn(fs.Sequential(fs.ColumnEmbeddings(2, {0: 4}, 3)))
    x = np.array([[0, 1], [-1, 1], [4, 1], [1.5, 1], [np.nan, 1], [3, 1]], "f4")
    fs.export_onnx(model, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", {"x": x})["outputs"]
    np.testing.assert_array_equal(np.isnan(found).any(axis=1), [False, True, True, True, True, False])
    np.testing.assert_allclose(found, np.asarray(model(x)), **CLOSE)


def test_weights_of_a_layer_used_twice_are_stored_once(tmp_path):
    import onnx

    layer = fs.Linear(300, 300)
    fs.export_onnx(drawn(fs.Sequential(layer, fs.Tanh(), layer)), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size < 1.1 * 300 * 301 * 4
    model = onnx.load(tmp_path / "m.onnx")
    assert model.ir_version <= 9  # of the oldest format with these operators, for runtimes of early 2024
    assert model.producer_name == "fusedstep"


def test_names_of_columns_are_in_the_metadata(tmp_path):
    import json

    import onnx

    model = drawn(fs.mlp([2, 3]))
    model.feature_names = ("a", "b")
    fs.export_onnx(model, tmp_path / "m.onnx")
    stored = {one.key: one.value for one in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(stored["feature_names"]) == ["a", "b"]


class Doubled(fs.Tanh, public=False):
    def forward(self, x, tape):
        return super().forward(x, tape)


class Chain(fs.Sequential, public=False):
    def forward(self, x, tape):
        return super().forward(x, tape)


@pytest.mark.parametrize("make", [lambda: fs.Sequential(fs.Linear(2, 2), Doubled()), lambda: Chain(fs.Linear(2, 2))])
def test_layers_of_users_are_refused_by_name_and_nothing_is_written(make, tmp_path):
    model = make().initialize(backend="numpy")
    kept = tmp_path / "m.onnx"
    kept.write_text("before")
    with pytest.raises(fs.ExportError, match=r"layers that ONNX can represent \(.*Linear.*got (Doubled|Chain)"):
        fs.export_onnx(model, kept)
    assert kept.read_text() == "before"
    assert list(tmp_path.iterdir()) == [kept]


def test_what_cannot_be_exported_is_a_typed_error(tmp_path):
    model = drawn(fs.mlp([2, 2]))
    with pytest.raises(fs.HyperparameterError, match="opset of export_onnx to be a whole number from 17"):
        fs.export_onnx(model, tmp_path / "m.onnx", opset=16)
    with pytest.raises(fs.HyperparameterError, match="opset"):
        fs.export_onnx(model, tmp_path / "m.onnx", opset=10**6)
    with pytest.raises(fs.StateError, match="initialised model"):
        fs.export_onnx(fs.mlp([2, 2]), tmp_path / "m.onnx")
    with pytest.raises(fs.HyperparameterError, match="expected a model"):
        fs.export_onnx("model", tmp_path / "m.onnx")
    with pytest.raises(fs.OutputPathError, match="folder that exists"):
        fs.export_onnx(model, tmp_path / "none" / "m.onnx")
    assert list(tmp_path.iterdir()) == []
