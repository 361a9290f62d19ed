"""Exact Hessians of networks against torch.autograd.functional.hessian, in float64."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.layers.activations import ACTIVATION_LAYERS

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

F = torch.nn.functional
ACTIVATIONS = {name: getattr(F, name) for name in ACTIVATION_LAYERS if name not in ("identity", "prelu")}


def focal(entropy):
    return ((1.0 - torch.exp(-entropy)).pow(1.5) * entropy).mean()


LOSSES = {
    "SoftmaxCrossEntropy": (fs.SoftmaxCrossEntropy(), lambda z, y: F.cross_entropy(z, y)),
    "MSE": (fs.MSE(), lambda z, y: ((z - F.one_hot(y, 3).double()) ** 2).sum(dim=1).mean()),
    "Huber": (fs.Huber(0.3), lambda z, y: F.huber_loss(z, F.one_hot(y, 3).double(), delta=0.3) * 3),
    "Poisson": (fs.Poisson(), lambda z, y: F.poisson_nll_loss(z, F.one_hot(y, 3).double()) * 3),
    "Focal": (fs.Focal(1.5), lambda z, y: focal(F.cross_entropy(z, y, reduction="none"))),
    "BinaryCrossEntropy": (
        fs.BinaryCrossEntropy(),
        lambda z, y: F.binary_cross_entropy_with_logits(z, F.one_hot(y, 3).double(), reduction="sum") / len(y),
    ),
}


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_c8_the_hessian_is_that_of_torch(activation, loss, backend):
    generator = np.random.default_rng(4)
    x, y = generator.standard_normal((9, 4)), generator.integers(0, 3, 9)
    own, theirs = LOSSES[loss]
    model = fs.mlp([4, 5, 3], activation=activation).initialize(6, backend, "float64")
    objective = fs.Objective(model, own, x, y if own.head == "classes" else np.eye(3)[y])
    packed = np.empty(objective.count)
    objective.packing.pack(objective.parameters, packed)

    def value(theta):
        parts, position = [], 0
        for shape in ((4, 5), (5,), (5, 3), (3,)):
            size = int(np.prod(shape))
            parts.append(theta[position : position + size].reshape(shape))
            position += size
        hidden = ACTIVATIONS[activation](torch.tensor(x) @ parts[0] + parts[1])
        return theirs(hidden @ parts[2] + parts[3], torch.tensor(y))

    expected = torch.autograd.functional.hessian(value, torch.tensor(packed)).numpy()
    assert objective.value() == pytest.approx(float(value(torch.tensor(packed))), rel=1e-13)
    np.testing.assert_allclose(objective.hessian(), expected, rtol=1e-11, atol=1e-13)
