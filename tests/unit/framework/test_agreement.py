"""The numpy and the numba backend give the same numbers, and the same seed gives the same bits."""

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import Random
from fusedstep.framework.optimizers import OPTIMIZERS
from fusedstep.framework.streams import INITIAL, LAYER, SHUFFLE
from fusedstep.kernels.formulas.random import dropout

LIMITS = {"float32": 1e-5, "float64": 1e-12}


def network(loss="cross entropy"):
    hidden = [
        fs.Linear(6, 16),
        fs.LayerNorm(16),
        fs.GELU(),
        fs.Dropout(0.2),
        fs.Linear(16, 9),
        fs.GELU("tanh"),
        fs.Dropout(0.5),
    ]
    return fs.Sequential(fs.GaussianNoise(0.05), *hidden, fs.Linear(9, 3))


def trained(name, dtype, steps=50, seed=4, rows=24, optimizer=None):
    model = network().initialize(seed, name, dtype)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(0.1), optimizer or fs.AdamW(3e-3, clip_norm=0.5), seed=seed)
    generator = np.random.default_rng(9)
    losses = []
    for _ in range(steps):
        x, y = generator.normal(size=(rows, 6)).astype(dtype), generator.integers(0, 3, rows)
        losses.append(float(step(x, y)))
    return np.array(losses), step


@pytest.mark.row("F1")
@pytest.mark.parametrize("rows", [1, 7, 24, 130])
def test_fifty_steps_agree(dtype, rows):
    reference, _ = trained("numpy", dtype, rows=rows)
    losses, _ = trained("numba", dtype, rows=rows)
    difference = np.max(np.abs(losses - reference) / np.abs(reference))
    assert difference <= LIMITS[dtype]
    assert reference.std() > 0.0


OPTIMIZER_TABLE = OPTIMIZERS | {
    "SGD": lambda: fs.SGD(0.05, l2=0.01),
    "Momentum": lambda: fs.Momentum(0.02, l1=1e-3, l1_form="proximal"),
    "Nesterov": lambda: fs.Nesterov(0.02, form="look_ahead", clip_value=0.1),
    "RMSProp": lambda: fs.RMSProp(1e-3, groups=[fs.ParameterGroup("*.bias", lr_scale=2.0)]),
    "LAMB": lambda: fs.LAMB(1e-3, weight_decay=0.01),
}


@pytest.mark.parametrize("optimizer", OPTIMIZER_TABLE)
def test_every_optimizer_agrees_in_float64(optimizer):
    reference, _ = trained("numpy", "float64", optimizer=OPTIMIZER_TABLE[optimizer]())
    losses, _ = trained("numba", "float64", optimizer=OPTIMIZER_TABLE[optimizer]())
    assert np.max(np.abs(losses - reference) / np.abs(reference)) <= LIMITS["float64"]


def test_the_same_seed_twice_is_bit_identical(name, dtype):
    first, second = (trained(name, dtype) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].model.arena.values.tobytes() == second[1].model.arena.values.tobytes()
    for key, values in first[1].state.states.items():
        assert values.tobytes() == second[1].state.states[key].tobytes()


def test_another_seed_is_something_else(name):
    assert trained(name, "float32", 3, seed=4)[0].tobytes() != trained(name, "float32", 3, seed=5)[0].tobytes()


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
def test_initial_weights_are_bit_identical(seed, dtype):
    values = [network().initialize(seed, name, dtype).arena.values.tobytes() for name in ("numpy", "numba")]
    assert values[0] == values[1]


def test_float32_weights_are_the_float64_ones_rounded(name):
    single, double = (network().initialize(3, name, dtype).parameters() for dtype in ("float32", "float64"))
    for key, values in double.items():
        assert single[key].dtype == np.float32
        assert np.array_equal(single[key], values.astype("f4"))


def test_initial_weights_depend_on_seed_and_place_only():
    weight = fs.Sequential(fs.Linear(4, 4), fs.Linear(4, 4)).initialize(1, "numpy").parameters()
    again = fs.Sequential(fs.Linear(4, 4), fs.ReLU(), fs.Linear(4, 4)).initialize(1, "numpy").parameters()
    assert np.array_equal(weight["0.Linear.weight"], again["0.Linear.weight"])
    assert np.array_equal(weight["1.Linear.weight"], again["2.Linear.weight"])
    assert not np.array_equal(weight["0.Linear.weight"], weight["1.Linear.weight"])


def test_dropout_masks_are_bit_identical(dtype):
    for shape in ((1, 1), (7, 130), (129, 5)):
        masks = []
        for name in ("numpy", "numba"):
            backend = fs.backend(name)
            out = backend.empty(shape, dtype)
            random = Random(backend.random_state(6, 11), LAYER + 1)
            backend.map(dropout, out, backend.asarray(np.ones(shape, dtype)), 0.4, 1.0 / 0.6, random=random)
            masks.append(out.tobytes())
        assert masks[0] == masks[1]


def test_shuffles_are_bit_identical():
    for count in (1, 2, 1000):
        orders = [
            np.asarray(backend.permutation(count, Random(backend.random_state(6, epoch), SHUFFLE)))
            for epoch in (0, 1)
            for backend in map(fs.backend, ("numpy", "numba"))
        ]
        assert np.array_equal(orders[0], orders[1])
        assert np.array_equal(orders[2], orders[3])
        assert np.array_equal(np.sort(orders[0]), np.arange(count))
        assert count < 3 or not np.array_equal(orders[0], orders[2])


def test_streams_are_apart():
    assert len({stream >> 28 for stream in (INITIAL, LAYER, SHUFFLE)}) == 3


def test_noise_and_masks_change_from_step_to_step(name, data):
    model = fs.Sequential(fs.Dropout(0.5), fs.Linear(6, 3)).initialize(0, name)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(1e-30), seed=0)
    assert len({float(step(*data)) for _ in range(5)}) == 5


@pytest.mark.row("A5")
def test_dropout_drops_its_share(name):
    model = fs.Sequential(fs.Dropout(0.3), fs.Linear(500, 1, weight_init=1.0)).initialize(0, name, "float64")
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(1e-30), seed=2)
    x = np.ones((200, 500))
    # With weights of 1 the output is the sum of what is left, whose mean over rows is 500; its deviation follows from p.
    loss = float(step(x, np.full(200, 500.0)))
    assert loss == pytest.approx(500 * 0.3 / 0.7, rel=0.5)
    assert float(np.mean(np.asarray(model(x)))) == 500.0
