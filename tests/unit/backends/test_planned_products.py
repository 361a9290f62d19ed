"""Dense layers on planned products: the same numbers as layer by layer, whatever is fused, and nothing but products later."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import Backend, conformance
from fusedstep.backends.cuda.cublaslt import Epilogue
from fusedstep.backends.cuda.cublaslt.dense import DenseProducts
from fusedstep.kernels.formulas.activations import ACTIVATIONS
from fusedstep.tests.fakes.cublaslt import IN_PLACE, FakeCublasLt, HostDevice
from fusedstep.tests.fakes.host_products import HostProducts

CHECKS = conformance.checks(groups=["products", "signatures"], small=True)
EVERYTHING = list(Epilogue.__members__.values())
FUSED = [e for e in EVERYTHING if e is not Epilogue.NONE]

rng = np.random.default_rng(2)
X, Y = rng.standard_normal((24, 10)).astype(np.float32), rng.integers(0, 3, 24)


def backend(**library) -> HostProducts:
    return HostProducts(FakeCublasLt(HostDevice(), **library))


@pytest.fixture
def epilogues(monkeypatch):
    """The epilogues of the plans that are run from now on, in order."""
    seen = []
    from fusedstep.backends.cuda.cublaslt.plan import ProductPlan

    run = ProductPlan.run

    def noting(plan, *arguments):
        seen.append(plan.problem.epilogue)
        run(plan, *arguments)

    monkeypatch.setattr(ProductPlan, "run", noting)
    return seen


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check):
    check(backend())


NETWORKS = {
    "relu": lambda: fs.mlp([10, 16, 24, 3], activation="relu"),
    "without bias": lambda: fs.Sequential(fs.Linear(10, 16, bias=False), fs.ReLU(), fs.Linear(16, 3, bias=False)),
    "gelu": lambda: fs.Sequential(fs.Linear(10, 16), fs.GELU("tanh"), fs.Linear(16, 24), fs.GELU("tanh"), fs.Linear(24, 3)),
    "odd gelu": lambda: fs.Sequential(fs.Linear(10, 15), fs.GELU("tanh"), fs.Linear(15, 3)),
    "exact gelu": lambda: fs.Sequential(fs.Linear(10, 16), fs.GELU(), fs.Linear(16, 3)),
    "tanh": lambda: fs.mlp([10, 16, 3], activation="tanh"),
    "dropout": lambda: fs.mlp([10, 16, 16, 3], activation="relu", dropout=0.3),
    "residual": lambda: fs.Sequential(
        fs.Linear(10, 16), fs.ReLU(), fs.Residual(fs.Linear(16, 16), fs.ReLU(), fs.Linear(16, 16), fs.ReLU()), fs.Linear(16, 3)
    ),
    "norm": lambda: fs.Sequential(fs.Linear(10, 16), fs.ReLU(), fs.LayerNorm(16), fs.Linear(16, 3), fs.Identity()),
    "maxout": lambda: fs.Sequential(fs.Linear(10, 16), fs.ReLU(), fs.Maxout(16, 8), fs.Linear(8, 3)),
}


def trained(make, on, steps=6, dtype="float32"):
    step = fs.TrainStep(make(), fs.SoftmaxCrossEntropy(), fs.SGD(0.2), seed=3, backend=on, precision=dtype)
    losses = [float(step(X, Y)) for _ in range(steps)]
    return losses, np.array(step.model.arena.values), np.array(step.gradient), step


@pytest.mark.parametrize("unsupported", [[], FUSED], ids=["fused", "not fused"])
@pytest.mark.parametrize("network", NETWORKS)
def test_training_is_that_of_numpy(network, unsupported):
    want = trained(NETWORKS[network], "numpy")
    got = trained(NETWORKS[network], backend(unsupported=unsupported))
    conformance.close(got[0], want[0], "float32", "loss")
    conformance.close(got[1], want[1], "float32", "parameter")
    conformance.close(got[2], want[2], "float32", "parameter")


def test_float64_is_not_fused_and_agrees(epilogues):
    want, got = (trained(NETWORKS["relu"], on, dtype="float64") for on in ("numpy", backend()))
    conformance.close(got[1], want[1], "float64", "parameter")
    assert set(epilogues) == {Epilogue.NONE}


@pytest.mark.parametrize("network", ["relu", "gelu", "dropout"])
@pytest.mark.parametrize(("precision", "step_size"), [("tf32", 2.0**-11), ("bfloat16", 2.0**-8), ("float16", 2.0**-11)])
def test_coarser_precisions_follow_float32_to_their_own_rounding(epilogues, precision, step_size, network):
    want = trained(NETWORKS[network], "numpy")
    got = trained(NETWORKS[network], backend(), dtype=precision)
    distance = np.abs(np.array(got[0]) / np.array(want[0]) - 1.0).max()
    assert 0.0 < distance < 4.0 * step_size
    narrow = precision in ("bfloat16", "float16")
    # Bias gradients are in float32, so a product into 16 bits cannot give them: the one for the weights does.
    assert (Epilogue.DRELU_BGRAD in epilogues) == (network == "relu" and not narrow)
    assert Epilogue.BGRADA in epilogues


def test_a_network_with_tied_weights_adds_up_its_gradient():
    def autoencoder():
        first = fs.Linear(10, 16)
        return fs.Sequential(first, fs.ReLU(), fs.TiedLinear(first))

    runs = []
    for on in ("numpy", backend()):
        step = fs.TrainStep(autoencoder(), fs.MSE(), fs.SGD(0.01), seed=3, backend=on)
        runs.append(([float(step(X, X)) for _ in range(4)], np.array(step.gradient)))
    conformance.close(runs[1][0], runs[0][0], "float32", "loss")
    conformance.close(runs[1][1], runs[0][1], "float32", "parameter")


def test_a_relu_step_is_one_product_for_each_pass_of_each_layer(epilogues):
    *_, step = trained(NETWORKS["relu"], backend())
    epilogues.clear()
    step(X, Y)
    assert epilogues == [
        Epilogue.RELU_AUX_BIAS, Epilogue.RELU_AUX_BIAS, Epilogue.BIAS,
        Epilogue.BGRADA, Epilogue.DRELU_BGRAD,  # the last layer: its weight and bias; back through the ReLU below, whose bias
        Epilogue.NONE, Epilogue.DRELU_BGRAD,
        Epilogue.NONE,
    ]  # fmt: skip


def test_a_gelu_step_is_one_product_for_each_pass_of_each_layer(epilogues):
    *_, step = trained(NETWORKS["gelu"], backend())
    epilogues.clear()
    step(X, Y)
    assert epilogues == [
        Epilogue.GELU_AUX_BIAS, Epilogue.GELU_AUX_BIAS, Epilogue.BIAS,
        Epilogue.BGRADA, Epilogue.DGELU_BGRAD, Epilogue.NONE, Epilogue.DGELU_BGRAD, Epilogue.NONE,
    ]  # fmt: skip


def test_fusing_may_be_switched_off(epilogues):
    host = backend()
    host.fuses = False
    trained(NETWORKS["relu"], host)
    assert set(epilogues) == {Epilogue.NONE}


def test_evaluation_writes_no_mask(epilogues):
    model = NETWORKS["relu"]().initialize(0, backend())
    model(X)
    epilogues.clear()
    model(X)
    assert epilogues == [Epilogue.RELU_BIAS, Epilogue.RELU_BIAS, Epilogue.BIAS]


def test_dropout_keeps_its_own_pass(epilogues):
    *_, step = trained(NETWORKS["dropout"], backend())
    epilogues.clear()
    step(X, Y)
    assert not {e for e in epilogues if e.takes_mask}


@pytest.mark.parametrize(
    ("missing", "instead"),
    [
        ([Epilogue.DRELU_BGRAD], Epilogue.DRELU),
        ([Epilogue.RELU_AUX_BIAS], Epilogue.RELU_BIAS),
        ([Epilogue.BGRADA], Epilogue.NONE),
    ],
    ids=lambda value: value[0].name if isinstance(value, list) else "",
)
def test_the_next_best_epilogue_is_taken_where_one_is_missing(epilogues, missing, instead):
    want = trained(NETWORKS["relu"], "numpy")
    got = trained(NETWORKS["relu"], backend(unsupported=missing))
    assert instead in epilogues
    assert not set(missing) & set(epilogues)
    conformance.close(got[1], want[1], "float32", "parameter")


def test_after_warming_up_a_step_may_be_captured():
    host = backend()
    *_, step = trained(NETWORKS["relu"], host)
    x, y = step.prepare(X, Y)
    step.run(x, y)
    with host.library.device.capture():
        step.run(x, y)
    with pytest.raises(fs.StateError, match="run the step once"), host.library.device.capture():
        step.run(*step.prepare(X[:7], Y[:7]))


def test_profiles_show_fused_operations_and_their_work():
    step = fs.TrainStep(NETWORKS["relu"](), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend=backend())
    parts = [p for p in step.profile(X, Y, repeats=1) if p.flop]
    assert {p.operation for p in parts} == {"dense_forward", "dense_input_gradient", "dense_weight_gradient"}
    products = 10 * 16 + 16 * 24 + 24 * 3
    assert sum(p.flop for p in parts) == 2 * 24 * (3 * products - 10 * 16)


def test_the_base_class_is_timed_by_its_parts():
    class Plain(Backend):
        name = "plain"

    step = fs.TrainStep(NETWORKS["relu"](), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend=Plain())
    operations = {p.operation for p in step.profile(X, Y, repeats=1)}
    assert {"matmul", "bias_relu", "relu_backward", "column_sum"} <= operations


# ReLU at the edges


def dead(zero_passes, precision="float32"):
    """Slopes of a ReLU at inputs below, at and above 0, through the products of a dense layer."""
    host = backend(zero_passes=zero_passes)
    model = fs.Sequential(fs.Linear(1, 3, weight_init=0.0), fs.ReLU(), fs.Linear(3, 1, weight_init=1.0, bias=False))
    model.initialize(0, host)
    host.copy(np.array([-1.0, 0.0, 1.0], np.float32), model.parameters()["0.Linear.bias"])
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(1e-9), backend=host, precision=precision)
    step(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32))
    start, stop = next(r for p, r in step.ranges.items() if p.shape == (3,))
    return np.sign(step.gradient[start:stop]).tolist()


def test_in_float32_the_slope_at_zero_is_zero_whatever_the_librarys_mask_says():
    assert dead(zero_passes=False) == [0.0, 0.0, 1.0]
    assert dead(zero_passes=True) == [0.0, 0.0, 1.0]


def test_in_tf32_the_library_chooses_the_subgradient():
    assert dead(zero_passes=True, precision="tf32") == [0.0, 1.0, 1.0]


def test_a_relu_that_hides_nan_is_not_used_and_that_is_said_once(epilogues):
    host = backend(drops_nan=True)
    model = fs.mlp([10, 16, 3]).initialize(0, host)
    with pytest.warns(RuntimeWarning, match="ReLU of cuBLASLt to keep NaN"):
        model(X)
    epilogues.clear()
    bad = X.copy()
    bad[1, 2] = np.nan
    assert np.isnan(np.array(model(bad))[1]).all()
    assert Epilogue.RELU_BIAS not in epilogues


def test_a_gelu_of_another_form_is_not_used_and_that_is_said_once(epilogues):
    want = trained(NETWORKS["gelu"], "numpy")
    with pytest.warns(RuntimeWarning, match="form with tanh") as caught:
        got = trained(NETWORKS["gelu"], backend(gelu="silu"))
    assert len(caught) == 1
    assert not {e for e in epilogues[4:] if e & Epilogue.GELU or e & 64}
    conformance.close(got[1], want[1], "float32", "parameter")


@pytest.mark.parametrize("width", [1, 127, 128, 129, 4096])
def test_masks_have_a_bit_for_each_column_in_rows_of_128(width):
    host = backend()
    dense = DenseProducts(host, host.gemms)
    assert dense.mask_bytes(ACTIVATIONS["relu"], width, "float32", False) == -(-width // 128) * 16
    assert dense.mask_bytes(ACTIVATIONS["relu"], width, "float64", False) == 0
    assert dense.mask_bytes(ACTIVATIONS["tanh"], width, "float32", False) == 0


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_empty_products(shape):
    m, k, n = shape
    host = backend()
    out = np.full((m, n), 5.0, np.float32)
    host.dense_forward(
        np.ones((m, k), np.float32), np.ones((k, n), np.float32), np.ones(n, np.float32), ACTIVATIONS["relu"], (), out
    )
    np.testing.assert_array_equal(out, np.full((m, n), k + 1.0))


def test_shapes_that_do_not_fit_are_refused_before_anything_is_read():
    host = backend()
    x, w, b, y = (np.ones(s, np.float32) for s in ((4, 8), (8, 16), (16,), (4, 16)))
    relu, mask = ACTIVATIONS["relu"], np.zeros((4, 16), np.uint8)
    host.dense_forward(x, w, b, relu, (), y, None, mask)
    with pytest.raises(fs.ShapeError, match="check the widths"):
        host.dense_forward(x, w, b, relu, (), y[:3], None, mask[:3])
    with pytest.raises(fs.ShapeError, match="bias"):
        host.dense_forward(x, w, b[:8], relu, (), y, None, mask)
    with pytest.raises(fs.ShapeError, match="mask"):
        host.dense_forward(x, w, b, relu, (), y, None, mask[:2])
    with pytest.raises(fs.ShapeError, match="check the widths"):
        host.dense_input_gradient(y, w[:, :8], relu, (), x, np.empty((4, 8), np.float32), mask)
    with pytest.raises(fs.ShapeError, match="check the widths"):
        host.dense_weight_gradient(x, y[:2], w, False, b)
    with pytest.raises(fs.MixedBackends):
        host.dense_forward(x.tolist(), w, b, relu, (), y)


# The same bits in every run


class Impatient(HostDevice):
    """A stopwatch that finds something else fastest in every run."""

    def __init__(self, seed: int) -> None:
        chance = np.random.default_rng(seed)
        super().__init__(lambda run: (run(), chance.random())[1])


def chosen(seed: int, deterministic: bool) -> tuple[list[tuple], list[float]]:
    """(epilogue, algorithm) of the plans that a step ended up with, and its losses, where nothing is known from before."""
    host = HostProducts(FakeCublasLt(Impatient(seed)))
    step = fs.TrainStep(NETWORKS["relu"](), fs.SoftmaxCrossEntropy(), fs.SGD(0.2), 3, host, deterministic=deterministic)
    losses = [float(step(X, Y)) for _ in range(3)]
    with step.products():
        plans = [plan for plan in host.gemms._plans.values() if plan is not None]
    # Where the host puts arrays differs from run to run, so that their alignment does; a device's are all alike.
    return [(plan.problem.name.partition(" align")[0], plan._algorithm.raw) for plan in plans], losses


@pytest.fixture
def forgetful(monkeypatch, tmp_path):
    """Each backend begins with a folder of its own for what was timed."""
    from fusedstep.kernels.targets import cache

    numbers = iter(range(1000))

    def folder():
        made = tmp_path / str(next(numbers))
        made.mkdir()
        return made

    monkeypatch.setattr(cache, "folder", folder)


@pytest.mark.usefixtures("forgetful")
def test_deterministic_products_do_not_depend_on_the_clock():
    free = [chosen(seed, deterministic=False)[0] for seed in range(4)]
    assert any(plans != free[0] for plans in free), "this clock changes its mind"
    fixed = [chosen(seed, deterministic=True) for seed in range(4)]
    assert all(run == fixed[0] for run in fixed)
    algorithms = {np.frombuffer(raw, np.uint64)[1:3].tobytes() for _, raw in fixed[0][0]}
    assert not algorithms & {np.array(pair, np.uint64).tobytes() for pair in IN_PLACE}


@pytest.mark.usefixtures("forgetful")
def test_deterministic_steps_leave_bias_gradients_to_kernels_and_fuse_the_rest(epilogues):
    host = HostProducts(FakeCublasLt(Impatient(0)))
    step = fs.TrainStep(NETWORKS["relu"](), fs.SoftmaxCrossEntropy(), fs.SGD(0.2), 3, host, deterministic=True)
    step(X, Y)
    epilogues.clear()
    loss = float(step(X, Y))
    assert epilogues == [
        Epilogue.RELU_AUX_BIAS, Epilogue.RELU_AUX_BIAS, Epilogue.BIAS,
        Epilogue.NONE, Epilogue.DRELU, Epilogue.NONE, Epilogue.DRELU, Epilogue.NONE,
    ]  # fmt: skip
    want = trained(NETWORKS["relu"], "numpy", steps=2)
    conformance.close(loss, want[0][-1], "float32", "loss")
    conformance.close(np.array(step.model.arena.values), want[1], "float32", "parameter")


@pytest.mark.usefixtures("forgetful")
def test_evaluation_of_a_deterministic_step_is_deterministic_too():
    host = HostProducts(FakeCublasLt(Impatient(0)))
    step = fs.TrainStep(NETWORKS["relu"](), fs.SoftmaxCrossEntropy(), fs.SGD(0.2), 3, host, deterministic=True)
    step.evaluate(X, Y)
    assert host.gemms.calls == 0, "none of the products was a timed one"
    with step.products():
        assert host.gemms.calls > 0
