"""A fused chain is the same function as its layers one by one, forward and backward."""

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import conformance
from fusedstep.framework.layers import LAYERS
from fusedstep.framework.layers.activations import _Elementwise
from fusedstep.framework.layers.fused import _Dense, fuse
from fusedstep.framework.tape import Tape

ACTIVATIONS = [cls for cls in LAYERS.values() if issubclass(cls, _Elementwise)]
MADE = [*(cls() for cls in ACTIVATIONS), fs.GELU("tanh"), fs.LeakyReLU(0.2), fs.ELU(0.5), None]


def run(model, layers, x, dy, seed=3):
    """Output and all gradients of a pass over some layers in training."""
    backend = model.backend
    gradient = model.arena.new()
    tape = Tape(model.arena, training=True, random=backend.random_state(seed, 1), gradients=gradient)
    tape.begin(x.shape[0])
    y = x
    for layer in layers:
        y = layer.forward(y, tape)
    y = np.array(y)
    back = dy
    for layer in reversed(layers):
        back = layer.backward(back, tape)
    return y, np.array(back), np.array(gradient)


@pytest.mark.parametrize("share", [0.0, 0.4, None])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", MADE, ids=repr)
def test_fused_equals_unfused(name, dtype, activation, bias, share):
    layers = [fs.Linear(5, 7, bias=bias, bias_init=0.1), *([activation] if activation else [])]
    layers += [fs.Dropout(share)] if share is not None else []
    model = fs.Sequential(*layers, fs.Linear(7, 2)).initialize(1, name, dtype)
    generator = np.random.default_rng(0)
    x, dy = generator.normal(size=(9, 5)).astype(dtype), generator.normal(size=(9, 2)).astype(dtype)
    fused = fuse(layers)
    assert len(fused) == 1
    assert isinstance(fused[0], _Dense) == (len(layers) > 1)
    last = model.layers[-1]
    for result, reference in zip(run(model, [*fused, last], x, dy), run(model, [*layers, last], x, dy), strict=True):
        conformance.close(result, reference, dtype, "product")
    if share:
        assert (run(model, fused, x, np.ones((9, 7), dtype))[0] == 0.0).any()


def test_what_is_fused():
    layers = [
        fs.Linear(4, 4), fs.ReLU(), fs.Dropout(0.5), fs.ReLU(), fs.Linear(4, 4), fs.Dropout(0.5), fs.Linear(4, 4),
        fs.LayerNorm(4),
        fs.Linear(4, 4), fs.PReLU(4), fs.Dropout(0.5), fs.Linear(4, 4), fs.Linear(4, 4),
    ]  # fmt: skip
    assert [type(layer).__name__ for layer in fuse(layers)] == [
        "_Dense", "ReLU", "_Dense", "Linear", "LayerNorm", "Linear", "PReLU", "Dropout", "Linear", "Linear",
    ]  # fmt: skip


def test_a_subclass_is_left_alone():
    class Own(fs.Linear, public=False):
        pass

    assert [type(layer).__name__ for layer in fuse([Own(3, 3), fs.ReLU()])] == ["Own", "ReLU"]


def test_evaluation_does_not_drop(name, data):
    layers = (fs.Linear(6, 5), fs.Tanh(), fs.Dropout(0.9), fs.GaussianNoise(3.0), fs.Linear(5, 3))
    model = fs.Sequential(*layers).initialize(0, name, "float64")
    x = data[0].astype("f8")
    weights = [np.array(values) for values in model.parameters().values()]
    wanted = np.tanh(x @ weights[0] + weights[1]) @ weights[2] + weights[3]
    conformance.close(model(x), wanted, "float64", "product")
    assert np.array_equal(model(x), model(x))
