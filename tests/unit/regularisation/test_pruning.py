"""L0 by pruning: what is removed stays exactly 0, with every optimiser, in files and copies, and costs little accuracy."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from pairs import pairs_of
from safetensors import safe_open
from sklearn.datasets import load_digits

import fusedstep as fs
from fusedstep.errors import HyperparameterError, ModelFileError
from fusedstep.framework.optimizers import OPTIMIZERS
from fusedstep.framework.tables.splits import split

BACKENDS = ["numpy", "numba"]
VARIANTS = [
    (name, {"form": form} if form else {}) for name, kind in OPTIMIZERS.items() for form in getattr(kind, "FORMS", (None,))
]
IDS = [" ".join([n, *a.values()]) for n, a in VARIANTS]
FULL = {"clip_norm": 1.0, "clip_value": 0.5, "l2": 0.01, "l1": 0.01, "weight_decay": 0.01}


def make_step(optimizer, backend="numpy", seed=0, dtype="float64"):
    """A step on 9-40-20-3, a share of whose inputs is always 0, and minibatches for it."""
    model = fs.Sequential(
        fs.Linear(9, 40, bias_init=0.1), fs.LayerNorm(40), fs.ReLU(), fs.Linear(40, 20), fs.Tanh(), fs.Linear(20, 3)
    )
    model.initialize(seed, backend, dtype)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 16, 9)), rng.integers(0, 3, (60, 16))
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer, backend=backend), x, y


def zeros(model):
    """Where each weight matrix is exactly 0."""
    return {name: np.array(v) == 0.0 for name, v in model.parameters().items() if name.endswith("weight")}


@pytest.mark.parametrize(("variant", "settings", "backend"), pairs_of(IDS, ["plain", "with everything"], BACKENDS))
def test_b9_pruned_weights_stay_exactly_zero(variant, settings, backend):
    name, arguments = VARIANTS[IDS.index(variant)]
    step, x, y = make_step(OPTIMIZERS[name](**arguments | (FULL if settings == "with everything" else {})), backend)
    for t in range(10):
        step(x[t], y[t])
    others = {n: np.array(v) for n, v in step.model.parameters().items() if not n.endswith("weight")}
    fs.prune(step, 0.6)
    pruned = zeros(step.model)
    assert sum(z.sum() for z in pruned.values()) == round(0.6 * (9 * 40 + 40 * 20 + 20 * 3))
    for n, before in others.items():
        np.testing.assert_array_equal(np.array(step.model.parameters()[n]), before, err_msg=f"{n} is exempt")
    saved = {n: np.array(step.model.parameters()[n])[~z] for n, z in pruned.items()}
    for t in range(10, 60):
        step(x[t], y[t])
        # Nesterov's look-ahead must not move them either when it takes the gradient.
        assert all(np.all(np.array(s)[np.array(step.model.arena.mask) == 0.0] == 0.0) for s in step.state.states.values())
    for n, z in pruned.items():
        values = np.array(step.model.parameters()[n])
        assert np.all(values[z] == 0.0)
        assert np.mean(values[~z] != saved[n]) > 0.5  # a unit without any weight after it rests


@pytest.mark.parametrize("name", ["Momentum", "Adam", "LAMB"])
def test_b9_the_mask_adds_no_kernel_call(name, monkeypatch):
    step, x, y = make_step(OPTIMIZERS[name](), "numba")
    from fusedstep.backends.numba.replay import Replay

    calls, run = [], Replay.run

    def counted(program, *given, **rest):
        calls.append(sum(label.stage == "update" for label in program.labels))
        return run(program, *given, **rest)

    monkeypatch.setattr(Replay, "run", counted)
    step(x[0], y[0])
    before = sum(calls)
    fs.prune(step, 0.5)
    calls.clear()
    step(x[1], y[1])
    assert sum(calls) == before > 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["Momentum", "Adam"])
def test_b9_the_mask_leaves_the_other_weights_their_update(name, backend):
    """Against a copy whose pruned weights are 0 but free: in the first step all others get the same bits."""
    masked, x, y = make_step(OPTIMIZERS[name](), backend)
    fs.prune(masked, 0.5)
    free, _, _ = make_step(OPTIMIZERS[name](), backend)
    free.model.load_parameters({n: np.array(v) for n, v in masked.model.parameters().items()})
    masked(x[0], y[0])
    free(x[0], y[0])
    mask = np.array(masked.model.arena.mask)
    values = np.array(masked.model.arena.values), np.array(free.model.arena.values)
    np.testing.assert_array_equal(values[0][mask > 0], values[1][mask > 0])
    assert np.any(values[1][mask == 0.0] != 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b9_clipping_by_norm_does_not_see_pruned_weights(backend):
    x, y = make_step(fs.SGD(1.0))[1:]
    step = make_step(fs.SGD(1.0), backend)[0]
    fs.prune(step, 0.7)
    start, mask = np.array(step.model.arena.values), np.array(step.model.arena.mask)
    step(x[0], y[0])
    gradient = start - np.array(step.model.arena.values)
    norm = np.linalg.norm(gradient)
    clipped = make_step(fs.SGD(1.0, clip_norm=0.5 * norm), backend)[0]
    fs.prune(clipped, 0.7)
    clipped(x[0], y[0])
    moved = start - np.array(clipped.model.arena.values)
    assert np.linalg.norm(np.array(step.gradient)) > 1.05 * norm  # the whole gradient would have been clipped further
    np.testing.assert_allclose(moved, 0.5 * gradient * mask, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b9_global_and_layer_scope_remove_the_smallest(backend):
    for scope in ("global", "layer"):
        step, _, _ = make_step(fs.SGD(0.1), backend)
        before = {n: np.abs(np.array(v)) for n, v in step.model.parameters().items() if n.endswith("weight")}
        figures = fs.prune(step, 0.5, scope)
        gone = zeros(step.model)
        if scope == "layer":
            assert [int(z.sum()) for z in gone.values()] == [180, 400, 30]
            assert all(before[n][z].max() <= before[n][~z].min() for n, z in gone.items())
        else:
            assert max(before[n][z].max() for n, z in gone.items()) <= min(before[n][~z].min() for n, z in gone.items())
        assert figures == fs.sparsity(step.model)
        assert (figures["sparsity"], figures["nonzero"], figures["weights"]) == (0.5, 610.0, 1220.0)
        others = 8 * (40 + 40 + 40 + 20 + 3)
        assert figures["dense_bytes"] == 8 * 1220 + others
        assert figures["sparse_bytes"] == 610 * 12 + 4 * (10 + 41 + 21) + others


def test_b9_equal_weights_are_pruned_in_their_order_and_pruned_ones_never_come_back():
    model = fs.Sequential(fs.Linear(4, 5, weight_init=1.0)).initialize(0, "numpy", "float64")
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(0.1), backend="numpy")
    fs.prune(step, 0.25)
    values = np.array(model.parameters()["0.Linear.weight"]).reshape(-1)
    np.testing.assert_array_equal(values, [0.0] * 5 + [1.0] * 15)
    model.parameters()["0.Linear.weight"][...] *= -1e-9  # now smaller than any other would be
    fs.prune(step, 0.5)
    assert np.sum(np.array(model.parameters()["0.Linear.weight"]) == 0.0) == 10
    fs.prune(step, 0.1)  # less than there is: nothing comes back
    assert fs.sparsity(model)["nonzero"] == 10
    fs.prune(step, 0.0)
    assert fs.sparsity(model)["nonzero"] == 10


def test_b9_backends_prune_the_same_weights():
    found = []
    for backend in BACKENDS:
        step, x, y = make_step(fs.Adam(), backend)
        for t in range(5):
            step(x[t], y[t])
        fs.prune(step, 0.7)
        found.append(np.array(step.model.arena.mask))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("target", [-0.1, 1.0, 1.5, math.nan, "0.5", None, True])
def test_b9_targets_outside_0_to_1_are_refused(target):
    step, _, _ = make_step(fs.SGD(0.1))
    with pytest.raises(HyperparameterError, match=r"\[0, 1\)"):
        fs.prune(step, target)
    with pytest.raises(HyperparameterError, match=r"\[0, 1\)"):
        fs.Pruning(target)
    assert step.model.arena.mask is None


def test_b9_impossible_schedules_are_refused():
    for wrong in ({"start": 0}, {"start": 5, "stop": 4}, {"every": 0}, {"schedule": "square"}, {"scope": "row"}):
        with pytest.raises(HyperparameterError):
            fs.Pruning(0.5, **wrong)
    step, x, y = make_step(fs.SGD(0.1))
    for wrong in ({"start": 4}, {"stop": 4}):
        trainer = fs.Trainer(step, callbacks=[fs.Pruning(0.5, **wrong)])
        with pytest.raises(HyperparameterError, match="within the 3 epochs"):
            trainer.fit(x[0], y[0], epochs=3)
    with pytest.raises(HyperparameterError, match="TrainStep"):
        fs.prune(step.model, 0.5)
    with pytest.raises(HyperparameterError, match="scope"):
        fs.prune(step, 0.5, "rows")


def test_b9_the_schedules_follow_their_formulas():
    cubic = fs.Pruning(0.8, start=2, stop=8, every=2)  # prunings before epochs 2, 4, 6, 8
    assert [round(cubic.sparsity_at(e, 8), 12) for e in range(1, 11)] == [
        round(0.8 * (1 - (1 - k / 4) ** 3), 12) for k in (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
    ]
    linear = fs.Pruning(0.8, start=1, stop=4, schedule="linear")
    assert [linear.sparsity_at(e, 4) for e in range(1, 6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    step, x, y = make_step(fs.SGD(0.1))
    pruning = fs.Pruning(0.5, start=2, stop=3)
    fs.Trainer(step, callbacks=[pruning]).fit(x.reshape(-1, 9), y.reshape(-1), epochs=4)
    counts = [0, round(0.5 * (1 - 0.5**3) * 1220), 610, 610]
    assert [row["weights"] - row["nonzero"] for row in pruning.report] == counts
    assert [row["epoch"] for row in pruning.report] == [1, 2, 3, 4]


def test_b9_early_stopping_brings_no_pruned_weight_back():
    """The best epoch before a pruning is forgotten: what comes back is a pruned model with the figures it had."""
    step, x, y = make_step(fs.Adam(0.01), "numba")
    x, y = x.reshape(-1, 9), y.reshape(-1)
    data, held_out = (x[:700], y[:700]), (x[700:], y[700:])
    for order in ([0, 1], [1, 0]):
        step, _, _ = make_step(fs.Adam(0.01), "numba")
        callbacks = [fs.EarlyStopping(patience=50), fs.Pruning(0.9, start=4, stop=6)]
        history = fs.Trainer(step, callbacks=[callbacks[k] for k in order]).fit(*data, validation=held_out, epochs=9)
        assert callbacks[0].best_epoch >= 6
        assert fs.sparsity(step.model)["nonzero"] == 122
        best = history[callbacks[0].best_epoch - 1]
        assert step.evaluate(*held_out)["loss"] == pytest.approx(best["val_loss"], rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b9_files_copies_and_moves_keep_the_mask(backend, tmp_path):
    step, x, y = make_step(fs.Nesterov(0.05), backend)
    step(x[0], y[0])
    fs.prune(step, 0.8)
    before = zeros(step.model)
    fs.save(step.model, tmp_path / "pruned.safetensors")
    with safe_open(tmp_path / "pruned.safetensors", "numpy") as file:
        masks = [name for name in file.keys() if name.startswith("mask of ")]  # noqa: SIM118
        assert sum(file.get_tensor(n).nbytes for n in masks) == 45 + 100 + 8
    loaded = fs.load(tmp_path / "pruned.safetensors", backend)
    moved = copy.deepcopy(step.model).to("numba" if backend == "numpy" else "numpy", "float32")
    for model in (loaded, moved, copy.deepcopy(step).model):
        again = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(0.05, weight_decay=0.1), backend=model.backend)
        for t in range(20):
            again(x[t], y[t])
        after = zeros(model)
        assert all(np.array_equal(after[n], before[n]) for n in before)
    # A weight that is 0 by chance and not by its mask may become another number.
    fresh, _, _ = make_step(fs.SGD(0.1), backend)
    fresh.model.parameters()["0.Linear.weight"][...] = 0.0
    fs.save(fresh.model, tmp_path / "zeros.safetensors")
    assert fs.load(tmp_path / "zeros.safetensors", backend).masks() == {}
    # Loading parameters into a pruned model keeps it pruned; a new initialisation begins without a mask.
    full, _, _ = make_step(fs.SGD(0.1), backend, seed=3)
    loaded.load_parameters({n: np.array(v) for n, v in full.model.parameters().items()})
    assert all(np.array_equal(zeros(loaded)[n], before[n]) for n in before)
    assert loaded.initialize(1, backend).masks() == {}


def test_b9_a_damaged_mask_is_refused(tmp_path):
    from safetensors.numpy import save_file

    step, _, _ = make_step(fs.SGD(0.1))
    fs.prune(step, 0.5)
    fs.save(step.model, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "numpy") as file:
        header, tensors = file.metadata(), {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    name = next(n for n in tensors if n.startswith("mask of "))
    for wrong in ({name: tensors[name][:-1]}, {name: tensors[name].astype("f4")}, {"mask of 7.Linear.weight": tensors[name]}):
        save_file({**tensors, **wrong}, tmp_path / "wrong.safetensors", header)
        with pytest.raises(ModelFileError, match="mask"):
            fs.load(tmp_path / "wrong.safetensors")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in (1, 2))])
def test_b9_digits_keep_their_accuracy_with_85_percent_of_the_weights_gone(seed):
    """Against the same training without pruning: at most one point is lost."""
    digits = load_digits()
    x, y = (digits.data / 16.0).astype("f4"), digits.target
    train, _, test = split(y, (0.25, 0.0), seed)
    accuracy = {}
    for name in ("dense", "pruned"):
        model = fs.mlp([64, 128, 64, 10])
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(2e-3, weight_decay=0.01), seed=seed, backend="numba")
        pruning = fs.Pruning(0.85, start=5, stop=25)
        callbacks = [pruning] if name == "pruned" else []
        fs.Trainer(step, callbacks=callbacks).fit(x[train], y[train], validation=(x[test], y[test]), epochs=40, batch_size=64)
        accuracy[name] = step.evaluate(x[test], y[test])["accuracy"]
    last = pruning.report[-1]
    assert last["sparsity"] >= 0.8499
    assert last["sparse_bytes"] < 0.36 * last["dense_bytes"]
    assert last["val_accuracy"] == pytest.approx(accuracy["pruned"])
    assert accuracy["dense"] > 0.95
    assert accuracy["pruned"] >= accuracy["dense"] - 0.01



@pytest.mark.parametrize("state_dtype", [None, "bfloat16"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_b9_pruned_weights_stay_zero_in_16_bits(precision, state_dtype):
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    model = fs.mlp([9, 20, 3])
    optimizer = fs.Nesterov(0.05, form="look_ahead", clip_norm=1.0, weight_decay=0.01, state_dtype=state_dtype)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer, seed=0, backend="numpy", precision=precision)
    x, y = make_step(fs.SGD(0.1))[1:]
    for t in range(5):
        step(x[t].astype("f4"), y[t])
    fs.prune(step, 0.5)
    gone = np.array(model.arena.mask) == 0.0
    assert gone.sum() == 120
    for t in range(5, 30):
        assert np.isfinite(float(step(x[t].astype("f4"), y[t])))
        assert np.all(np.array(model.arena.values)[gone] == 0.0)
