"""Models as modules of PyTorch and the way back: the same outputs, the same gradients, the same bits of weights."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.export.torch.pairs import OF_LAYER, OF_MODULE
from fusedstep.framework.layers.sequence import Sequence

torch = pytest.importorskip("torch", reason="PyTorch is not installed; pip install torch to compare with it")

pytestmark = pytest.mark.peers

nn = torch.nn
D = 6
RNG = np.random.default_rng(0)
X = RNG.normal(0.0, 2.0, (17, D))
CODES = RNG.integers(0, 4, (17, 3))
CLOSE = {"float64": {"rtol": 1e-12, "atol": 1e-12}, "float32": {"rtol": 1e-5, "atol": 1e-5}}
LAYERS = {
    "Linear": lambda: [fs.Linear(D, 3)],
    "Linear without bias": lambda: [fs.Linear(D, 3, bias=False)],
    "LayerNorm": lambda: [fs.LayerNorm(D, 1e-3)],
    "PReLU": lambda: [fs.PReLU(D)],
    "LeakyReLU(0.3)": lambda: [fs.LeakyReLU(0.3)],
    "ELU(0.4)": lambda: [fs.ELU(0.4)],
    "GELU tanh": lambda: [fs.GELU("tanh")],
    "Dropout": lambda: [fs.Dropout(0.3)],
    **{name: (lambda name=name: [getattr(fs, name)()])
       for name in ("Identity", "ReLU", "Sigmoid", "Tanh", "SiLU", "Mish", "LeakyReLU", "ELU", "GELU", "Softmax", "Flatten")},
    "PeriodicEmbedding": lambda: [fs.PeriodicEmbedding(D, 3, 4, 0.3), fs.Linear(3 * D, 2)],
    "PeriodicEmbedding of some": lambda: [fs.PeriodicEmbedding(D, 3, 4, 0.1, [4, 1])],
    "Embedding": lambda: [fs.Embedding(4, 5, 3), fs.Linear(15, 2)],
    "inside": lambda: [fs.Linear(D, 4), Sequence(fs.Linear(4, 5), fs.GELU(), fs.Linear(5, 4)), fs.ReLU(), fs.Linear(4, 2)],
    "several": lambda: list(fs.mlp([D, 8, 8, 3], "silu", dropout=0.2, layer_norm=True).layers),
}  # fmt: skip


def drawn(layers, dtype="float32", backend="numpy"):
    model = fs.Sequential(*layers).initialize(seed=1, backend=backend, dtype=dtype)
    rng = np.random.default_rng(2)
    model.load_parameters({n: np.asarray(v) + rng.normal(0.0, 0.2, v.shape) for n, v in model.parameters().items()})
    return model


def same_bits(a, b):
    first, second = a.parameters(), b.parameters()
    return list(first) == list(second) and all(np.array_equal(np.asarray(first[n]), np.asarray(second[n])) for n in first)


@pytest.mark.row("G13")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", LAYERS)
def test_there_and_back(name, dtype, backend):
    model = drawn(LAYERS[name](), dtype, backend)
    module = fs.to_torch(model)
    assert isinstance(module, nn.Sequential)
    assert not module.training
    given = CODES if name == "Embedding" else X.astype(dtype)
    with torch.no_grad():
        theirs = module(torch.from_numpy(given)).numpy()
    assert theirs.dtype == dtype or not dict(model.declared())
    np.testing.assert_allclose(np.asarray(model(given.astype(dtype))), theirs, **CLOSE[dtype])
    again = fs.from_torch(module, backend=backend, dtype=dtype)
    assert repr(again) == repr(model)
    assert same_bits(again, model)
    assert np.array_equal(np.asarray(again(given.astype(dtype))), np.asarray(model(given.astype(dtype))))
    state, round_trip = module.state_dict(), fs.to_torch(again).state_dict()
    assert list(state) == list(round_trip)
    assert all(torch.equal(state[n], round_trip[n]) for n in state)


def test_every_pair_is_tried():
    tried = {type(layer) for make in LAYERS.values() for layer in make()}
    assert set(OF_LAYER) <= tried
    assert {name for name in OF_MODULE if not isinstance(getattr(nn, name, None), type)} == {"PeriodicModule"}


def test_copies_are_independent_and_gradients_are_the_same():
    model = drawn(fs.mlp([D, 8, 8, 3], "silu", layer_norm=True).layers, "float64")
    module = fs.to_torch(model)
    labels = RNG.integers(0, 3, 17)
    nn.functional.cross_entropy(module(torch.from_numpy(X)), torch.from_numpy(labels)).backward()
    before = copy.deepcopy(module.state_dict())
    fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(1.0), backend="numpy", precision="float64")(X, labels)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    after = fs.to_torch(model).state_dict()
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose((before[name] - after[name]).numpy(), parameter.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_random_numbers_of_torch_are_left_alone():
    state = torch.get_rng_state()
    fs.from_torch(fs.to_torch(drawn(LAYERS["several"]())))
    assert torch.equal(state, torch.get_rng_state())


def test_modules_of_others_with_other_names():
    from collections import OrderedDict

    module = nn.Sequential(OrderedDict(first=nn.Linear(D, 5), act=nn.Tanh(), last=nn.Sequential(nn.Linear(5, 2))))
    model = fs.from_torch(module)
    with torch.no_grad():
        np.testing.assert_allclose(np.asarray(model(X)), module(torch.from_numpy(X).float()).numpy(), **CLOSE["float32"])


def test_half_precision_becomes_float32_and_dtype_can_be_chosen():
    module = nn.Sequential(nn.Linear(D, 2)).to(torch.bfloat16)
    model = fs.from_torch(module)
    assert model.dtype == "float32"
    assert np.array_equal(model.parameters()["0.Linear.weight"], module[0].weight.detach().float().numpy().T)
    assert fs.from_torch(module, dtype="float64").dtype == "float64"
    assert fs.from_torch(nn.Linear(2, 1).double()).dtype == "float64"


def test_a_module_used_twice_is_a_layer_used_twice():
    inner = nn.Linear(D, D)
    model = fs.from_torch(nn.Sequential(inner, nn.ReLU(), inner))
    assert model.layers[0] is model.layers[2]
    module = fs.to_torch(model)
    assert module[0] is module[2]


def test_a_state_dict_as_safetensors_both_ways(tmp_path):
    from safetensors.torch import load_file, save_file

    model = drawn(LAYERS["several"]())
    save_file(fs.to_torch(model).state_dict(), tmp_path / "w.safetensors")
    other = fs.Sequential(*LAYERS["several"]()).initialize(seed=5, backend="numpy")
    assert not same_bits(other, model)
    fs.load_state_dict(other, tmp_path / "w.safetensors")
    assert same_bits(other, model)
    other.initialize(seed=6, backend="numba")
    fs.load_state_dict(other, load_file(tmp_path / "w.safetensors"))
    assert same_bits(other, model)


class Own(nn.Linear):
    pass


def shared():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    return nn.Sequential(first, second)


def hooked():
    module = nn.Linear(2, 2)
    module.register_forward_hook(lambda *_: None)
    return nn.Sequential(module)


REFUSED = {
    "BatchNorm1d": (lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "got BatchNorm1d"),
    "a subclass": (lambda: nn.Sequential(Own(2, 2)), "Own; put such modules"),
    "not a Sequential": (lambda: nn.ModuleList([nn.Linear(2, 2)]), "ModuleList"),
    "LayerNorm without weights": (lambda: nn.LayerNorm(3, elementwise_affine=False), "without elementwise_affine=False, "),
    "LayerNorm without bias": (lambda: nn.LayerNorm(3, bias=False), "LayerNorm without bias=False, "),
    "PReLU with one slope": (
        lambda: nn.Sequential(nn.Linear(3, 8), nn.PReLU()), r"slope for each of the 8 columns; .*write torch\.nn\.PReLU\(8\)"
    ),
    "LayerNorm over two axes": (lambda: nn.LayerNorm((2, 3)), "normalized_shape"),
    "Softmax over rows": (lambda: nn.Softmax(dim=0), "dim=0"),
    "Flatten of all": (lambda: nn.Flatten(0), "other dimensions"),
    "Embedding without Flatten": (lambda: nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2)), "Flatten after Embedding"),
    "Embedding with padding": (lambda: nn.Sequential(nn.Embedding(3, 2, padding_idx=0), nn.Flatten()), "padding_idx=0"),
    "a weight of two modules": (shared, "that share one"),
    "a hook": (hooked, "without hooks"),
    "weight norm": (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))), "ParametrizedLinear"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_modules_that_are_no_layers_are_refused_by_name(case):
    make, words = REFUSED[case]
    with pytest.raises(fs.ExportError, match=words):
        fs.from_torch(make())


def test_other_mistakes():
    with pytest.raises(fs.ExportError, match=r"torch\.nn\.Module"):
        fs.from_torch(torch.zeros(3))
    with pytest.raises(fs.DtypeError, match="float16"):
        fs.from_torch(nn.Linear(3, 2), dtype="float16")
    with pytest.raises(fs.ShapeError, match="no multiple"):
        fs.from_torch(nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(5, 2)))
    with pytest.raises(fs.ShapeError, match="layer 1"):
        fs.from_torch(nn.Sequential(nn.Linear(3, 2), nn.Linear(5, 2)))


class OfUser(fs.Tanh, public=False):
    pass


@pytest.mark.parametrize(
    "layer",
    [
        fs.Maxout(3, 2), fs.GaussianNoise(0.1), fs.Residual(fs.Linear(3, 3)), fs.LayerNorm(1, groups=3),
        fs.EnsembleLinear(1, 2, 3), OfUser(),
    ],
)
def test_layers_that_are_no_modules_are_refused_by_name(layer):
    with pytest.raises(fs.ExportError, match=f"got {type(layer).__name__}"):
        fs.to_torch(fs.Sequential(fs.Linear(3, 3), layer).initialize(backend="numpy"))


def test_torch_is_imported_only_by_these_calls():
    code = (
        "import sys, fusedstep as fs\nmodel = fs.mlp([2, 2]).initialize(backend='numpy')\n"
        "fs.load_state_dict(model, {'0.weight': [[1.0, 2.0], [3.0, 4.0]], '0.bias': [0.0, 0.0]})\n"
        "assert 'torch' not in sys.modules\nfs.to_torch(model)\nassert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
