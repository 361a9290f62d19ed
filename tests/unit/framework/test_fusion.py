"""A fused chain is the same function as its layers one by one, forward and backward."""

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import conformance
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.framework.engine.tape import Tape
from fusedstep.framework.layers import LAYERS
from fusedstep.framework.layers.activations import _Elementwise
from fusedstep.framework.layers.fused import DenseRun, fuse

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
    last = model.layers[-1]
    (fused,) = unnamed([*layers, last])
    for result, reference in zip(run(model, [fused], x, dy), run(model, [*layers, last], x, dy), strict=True):
        conformance.close(result, reference, dtype, "product")
    if share:
        assert (run(model, unnamed(layers), x, np.ones((9, 7), dtype))[0] == 0.0).any()


def unnamed(layers):
    """What runs in place of the layers."""
    return [node for _, node in fuse(layers).nodes]


def described(layers):
    """The names of what runs in place of the layers; those of a run in a list."""
    return [
        [place for place, _ in node.blocks] if isinstance(node, DenseRun) else place for place, node in fuse(layers).nodes
    ]


def test_what_is_fused():
    layers = [
        fs.Linear(4, 4), fs.ReLU(), fs.Dropout(0.5), fs.ReLU(), fs.Linear(4, 4), fs.Dropout(0.5), fs.Linear(4, 4),
        fs.LayerNorm(4),
        fs.Linear(4, 4), fs.PReLU(4), fs.Dropout(0.5), fs.Linear(4, 4), fs.Linear(4, 4),
    ]  # fmt: skip
    assert described(layers) == [
        ["0 Linear + ReLU + Dropout"], "1 ReLU", ["2 Linear + Dropout", "3 Linear"], "4 LayerNorm", ["5 Linear"], "6 PReLU",
        "7 Dropout", ["8 Linear", "9 Linear"],
    ]  # fmt: skip


def test_a_subclass_is_left_alone():
    class Own(fs.Linear, public=False):
        pass

    class OwnDropout(fs.Dropout, public=False):
        pass

    layers = [Own(3, 3), fs.ReLU(), fs.Linear(3, 3), OwnDropout(0.1), fs.Linear(3, 3)]
    assert described(layers) == ["0 Own", "1 ReLU", ["2 Linear"], "3 OwnDropout", ["4 Linear"]]


def test_evaluation_does_not_drop(name, data):
    layers = (fs.Linear(6, 5), fs.Tanh(), fs.Dropout(0.9), fs.GaussianNoise(3.0), fs.Linear(5, 3))
    model = fs.Sequential(*layers).initialize(0, name, "float64")
    x = data[0].astype("f8")
    weights = [np.array(values) for values in model.parameters().values()]
    wanted = np.tanh(x @ weights[0] + weights[1]) @ weights[2] + weights[3]
    conformance.close(model(x), wanted, "float64", "product")
    assert np.array_equal(model(x), model(x))


class SumsAsItGoes(NumpyBackend):
    """The column sums of the slope come with the loss, as on the cuda backend.

    Attributes: written – how often; asked – widths of the matrices whose column sums were asked for.
    """

    def __init__(self):
        super().__init__()
        self.written, self.asked = 0, []

    def rows(self, operation, *arguments):
        written = super().rows(operation, *arguments)
        if operation == "column_sum":
            self.asked.append(arguments[0].shape[1])
        if operation != "softmax_cross_entropy" or len(arguments) < 9 or arguments[8] is None:
            return written
        gradient, sums, accumulate = arguments[7:10]
        sums[...] = gradient.sum(axis=0, dtype=sums.dtype) + (sums if accumulate else 0.0)
        self.written += 1
        return True


SHARED = fs.Linear(3, 3)


@pytest.mark.parametrize(
    ("layers", "options", "written", "asked"),
    [
        (lambda: [fs.Linear(5, 3)], {}, 1, []),
        (lambda: [fs.Linear(5, 4), fs.ReLU(), fs.Linear(4, 3)], {}, 1, [4]),
        (lambda: [fs.Linear(5, 4), fs.ReLU(), fs.Linear(4, 3), fs.Softmax()], {}, 1, [4]),
        (lambda: [fs.Linear(5, 3, bias=False)], {}, 0, []),
        (lambda: [fs.Linear(5, 3), fs.Tanh()], {}, 0, [3]),
        (lambda: [fs.Linear(5, 3), fs.Residual(fs.Tanh(), fs.Linear(3, 3))], {}, 0, [3, 3]),
        (lambda: [fs.Linear(5, 3), SHARED, fs.Tanh(), SHARED], {}, 1, [3, 3]),
        (lambda: [fs.Linear(5, 4), fs.ReLU(), fs.Linear(4, 3)], {"micro_batch": 4}, 3, [4] * 3),
        (lambda: [fs.Linear(5, 4), fs.ReLU(), fs.Linear(4, 3)], {"precision": "float16"}, 1, [4]),
        (lambda: [fs.Linear(5, 3), fs.Tanh()], {"precision": "float16"}, 0, [3]),
        (lambda: [fs.Linear(5, 4), fs.ReLU(), fs.Linear(4, 3)], {"precision": "float16", "micro_batch": 4}, 3, [4] * 3),
    ],
    ids=["one", "two", "softmax", "no bias", "activation", "residual", "shared", "pieces",
         "float16", "float16, activation", "float16, pieces"],
)
def test_the_loss_may_sum_its_slope_for_the_bias_of_the_last_layer(layers, options, written, asked):
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(9, 5)).astype("f"), generator.integers(0, 3, 9)
    backend, gradients = SumsAsItGoes(), []
    for where in ("numpy", backend):
        step = fs.TrainStep(
            fs.Sequential(*layers()), fs.SoftmaxCrossEntropy(0.1), fs.SGD(0.1), seed=1, backend=where, **options
        )
        step(x, y)
        gradients.append(np.array(step.gradient))
    # In 16 bits the sum is taken of what was rounded, here and there.
    conformance.close(gradients[1], gradients[0], "float32", "sum")
    assert (backend.written, backend.asked) == (written, asked)


class Doubled(fs.SoftmaxCrossEntropy):
    """Changes in place what it inherits."""

    def evaluate(self, y, targets, tape):
        losses, derivative = super().evaluate(y, targets, tape)
        losses *= 2.0
        derivative *= 2.0
        return losses, derivative


def test_a_loss_that_changes_its_slope_does_not_leave_the_sum_of_the_old_one():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(9, 5)).astype("f"), generator.integers(0, 3, 9)
    backend, gradients = SumsAsItGoes(), []
    for where in ("numpy", backend):
        step = fs.TrainStep(fs.Sequential(fs.Linear(5, 3)), Doubled(), fs.SGD(0.1), seed=1, backend=where)
        step(x, y)
        gradients.append(np.array(step.gradient))
    conformance.close(gradients[1], gradients[0], "float32", "sum")
    assert backend.written == 0


def test_c8_rows_with_signs_do_not_leave_the_sum_of_the_rows_without():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(9, 5)), generator.integers(0, 3, 9)
    signs, gradients = generator.choice([-1.0, 1.0], 9), []
    for where in ("numpy", SumsAsItGoes()):
        f = fs.Objective(fs.Sequential(fs.Linear(5, 3)), fs.SoftmaxCrossEntropy(), x, y, backend=where, seed=1)
        out = f.arena.new()
        f.signed_gradient(signs, out)
        gradients.append(out)
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-12)


class Doubling(fs.Sequential, public=False):
    """Gives the loss something else than the output of its last layer."""

    def forward(self, x, tape):
        y = super().forward(x, tape)
        y *= 2.0
        return y

    def backward(self, dy, tape, needs_input=True):
        return super().backward(2.0 * dy, tape, needs_input)


def test_a_loss_of_something_else_than_the_output_does_not_sum_its_gradient():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(9, 5)).astype("f"), generator.integers(0, 3, 9)
    backend, gradients = SumsAsItGoes(), []
    for where in ("numpy", backend):
        step = fs.TrainStep(Doubling(fs.Linear(5, 3)), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=1, backend=where)
        step(x, y)
        gradients.append(np.array(step.gradient))
    conformance.close(gradients[1], gradients[0], "float32", "sum")
    assert (backend.written, backend.asked) == (0, [3])


def test_looking_at_the_loss_writes_no_gradient():
    backend = SumsAsItGoes()
    step = fs.TrainStep(fs.Sequential(fs.Linear(5, 3)), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=1, backend=backend)
    step.evaluate(np.ones((4, 5), "f"), [0, 1, 2, 0])
    assert (backend.written, backend.asked) == (0, [])


def test_only_a_subclass_that_evaluates_as_its_base_is_one_operation():
    class Heavier(fs.SoftmaxCrossEntropy):
        def factor(self, rows):
            return 2.0 * super().factor(rows)

    class Mixed:
        def evaluate(self, y, targets, tape):
            raise NotImplementedError

    class FromMixed(Mixed, Heavier):
        pass

    class Again(Doubled):
        is_one_operation = True

    kinds = (fs.Loss, fs.MSE, fs.SoftmaxCrossEntropy, Heavier, Doubled, FromMixed, Again)
    assert [kind.is_one_operation for kind in kinds] == [False, False, True, True, False, False, True]
    x, y = np.ones((9, 5), "f"), [0, 1, 2] * 3
    backend, gradients = SumsAsItGoes(), []
    for loss in (fs.SoftmaxCrossEntropy(), Heavier()):
        step = fs.TrainStep(fs.Sequential(fs.Linear(5, 3)), loss, fs.SGD(0.1), seed=1, backend=backend)
        step(x, y)
        gradients.append(np.array(step.gradient))
    conformance.close(gradients[1], 2.0 * gradients[0], "float32", "sum")
    assert backend.written == 2
