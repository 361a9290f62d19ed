"""`fs.load_state_dict`: weights by the names and in the layout of PyTorch, read without torch."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import fusedstep as fs


@pytest.fixture
def model():
    return fs.mlp([3, 4, 2], layer_norm=True).initialize(seed=0, backend="numpy")


@pytest.fixture
def state():
    rng = np.random.default_rng(1)
    shapes = {"0.weight": (4, 3), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,), "3.weight": (2, 4), "3.bias": (2,)}
    return {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def require_loaded(model, state):
    own = {name: np.asarray(value) for name, value in model.parameters().items()}
    assert np.array_equal(own["0.Linear.weight"], state["0.weight"].T)
    assert np.array_equal(own["1.LayerNorm.gain"], state["1.weight"])
    assert np.array_equal(own["3.Linear.weight"], state["3.weight"].T)
    assert np.array_equal(own["3.Linear.bias"], state["3.bias"])


def test_of_a_mapping_and_of_a_file(model, state, tmp_path):
    fs.load_state_dict(model, state)
    require_loaded(model, state)
    model.initialize(seed=2, backend="numba")
    save_file(state, tmp_path / "w.safetensors")
    fs.load_state_dict(model, tmp_path / "w.safetensors")
    require_loaded(model, state)


def test_layers_inside_others_and_layers_used_twice():
    layer = fs.Linear(2, 2)
    model = fs.Sequential(layer, fs.Tanh(), layer).initialize(backend="numpy")
    weight, bias = np.arange(4.0).reshape(2, 2), np.ones(2)
    fs.load_state_dict(model, {"2.weight": weight, "2.bias": bias})
    assert np.array_equal(model.parameters()["0.Linear.weight"], weight.T)
    embedded = fs.Sequential(fs.Embedding(3, 2), fs.Linear(2, 1, bias=False)).initialize(backend="numpy")
    fs.load_state_dict(embedded, {"0.weight": np.ones((3, 2)), "2.weight": np.full((1, 2), 3.0)})  # 1 is the Flatten
    assert np.array_equal(embedded(np.zeros((1, 1))), [[6.0]])


def test_other_names_and_shapes_are_refused_and_nothing_is_overwritten(model, state, tmp_path):
    before = {name: np.array(value) for name, value in model.parameters().items()}
    with pytest.raises(fs.ShapeError, match=r"missing: \['0.weight'\]; unknown: \['fc.weight'\]"):
        fs.load_state_dict(model, {**{n: v for n, v in state.items() if n != "0.weight"}, "fc.weight": state["0.weight"]})
    with pytest.raises(fs.ShapeError, match=r"parameter 0.weight: expected shape \(4, 3\); got \(3, 4\)"):
        fs.load_state_dict(model, {**state, "0.weight": state["0.weight"].T})
    with pytest.raises(fs.HyperparameterError, match=r"module\.state_dict\(\)"):
        fs.load_state_dict(model, list(state))
    with pytest.raises(fs.ModelFileError, match="No such file"):
        fs.load_state_dict(model, tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(fs.ModelFileError, match="expected a safetensors file of weights"):
        fs.load_state_dict(model, tmp_path / "bad.safetensors")
    with pytest.raises(fs.ExportError, match="got Maxout"):
        fs.load_state_dict(fs.Sequential(fs.Maxout(2, 2)).initialize(backend="numpy"), {})
    with pytest.raises(fs.StateError):
        fs.load_state_dict(fs.mlp([3, 4, 2], layer_norm=True), state)
    assert all(np.array_equal(value, before[name]) for name, value in model.parameters().items())


def test_numbers_of_other_types_in_files(model, tmp_path):
    """bfloat16 is the upper half of float32; NumPy has no such type, so the file is written by hand."""
    words = {"0.weight": ("BF16", [2, 1], [0x3F80, 0xC049]), "0.bias": ("F16", [2], [0x3C00, 0x0001])}
    header, data = {}, b""
    for name, (dtype, shape, bits) in words.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + 4]}
        data += struct.pack("<2H", *bits)
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    small = fs.mlp([1, 2]).initialize(backend="numpy")
    fs.load_state_dict(small, tmp_path / "w.safetensors")
    assert small.parameters()["0.Linear.weight"].tolist() == [[1.0, -3.140625]]
    assert small.parameters()["0.Linear.bias"].tolist() == [1.0, 2.0**-24]
    save_file({"0.weight": np.ones((2, 1), np.int64)}, tmp_path / "w.safetensors")
    with pytest.raises(fs.DtypeError, match=r"'0\.weight' is I64"):
        fs.load_state_dict(small, tmp_path / "w.safetensors")


def test_without_torch_the_message_says_how_to_install_it():
    code = (
        "import sys; sys.modules['torch'] = None\nimport fusedstep as fs\n"
        "try: fs.to_torch(fs.mlp([2, 2]).initialize(backend='numpy'))\nexcept fs.MissingDependency as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'to_torch needs torch' in done.stdout
    assert 'pip install "torch>=' in done.stdout
