"""Several steps in one launch, scalars through pinned memory, and the same bits twice, on a real device."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import weight_cases

import fusedstep as fs
from fusedstep.backends.cuda.several import SeveralSteps
from fusedstep.backends.cupy.pinned_ring import SLOTS

pytestmark = pytest.mark.gpu

ROWS, COLUMNS, SIZE = 2_100, 64, 64


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0.5)


@pytest.fixture(scope="module")
def cuda():
    from fusedstep.backends import backend

    return backend("cuda")


def new_step(optimizer=None, **options):
    model = fs.Sequential(fs.Linear(COLUMNS, 128), fs.LayerNorm(128), fs.ReLU(), fs.Dropout(0.3), fs.Linear(128, 3))
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer or fs.AdamW(1e-3), seed=5, backend="cuda", **options)


def bits(step):
    states = (step.backend.to_numpy(array).tobytes() for array in step.state.states.values())
    return step.backend.to_numpy(step.model.arena.values).tobytes(), *states


CASES = {
    "float32": (lambda: fs.AdamW(1e-3, clip_norm=1.0), {}, {}),
    "tf32": (lambda: fs.AdamW(1e-3), {"precision": "tf32"}, {}),
    "bfloat16, states too": (lambda: fs.AdamW(1e-3, state_dtype="bfloat16"), {"precision": "bfloat16"}, {}),
    "float16": (lambda: fs.AdamW(1e-3, clip_norm=1.0), {"precision": "float16"}, {}),
    "LAMB": (lambda: fs.LAMB(1e-3), {}, {}),
    "Muon": (lambda: fs.Muon(1e-2), {}, {}),
    "Schedule-Free AdamW": (lambda: fs.ScheduleFreeAdamW(1e-3, warmup_steps=20), {}, {}),
    "an average": (lambda: fs.AdamW(1e-3), {"average": fs.EMA(0.99)}, {}),
    "one cycle": (lambda: fs.Momentum(0.05), {}, {"schedule": fs.OneCycle}),
}


@pytest.mark.parametrize("case", CASES)
def test_f5_a_launch_of_several_steps_gives_the_bits_of_single_ones(case, data, monkeypatch):
    optimizer, step_options, options = CASES[case]
    launched, run = [], SeveralSteps.run
    monkeypatch.setattr(SeveralSteps, "run", lambda self, *given: (launched.append(self.count), run(self, *given))[1])
    ends = []
    for per_launch in (16, 1):
        step = new_step(optimizer(), deterministic=True, **step_options)
        given = {name: make() for name, make in options.items()}
        history = fs.Trainer(step, steps_per_launch=per_launch, **given).fit(*data, epochs=4, batch_size=SIZE)
        ends.append((bits(step), list(history.step_losses), step.loss_scale, step.steps))
    assert ends[0] == ends[1]
    assert len(launched) >= 7
    assert set(launched) == {16}


def test_f5_after_warming_up_an_epoch_allocates_only_what_it_gives_back(data, allocations):
    step = new_step()
    trainer = fs.Trainer(step, shuffle="never")
    counts = []

    class Counting(fs.Callback):
        def on_epoch_begin(self, trainer, epoch):
            self.counter = allocations()
            self.seen = self.counter.__enter__()

        def on_epoch_end(self, trainer, row):
            self.counter.__exit__(None, None, None)
            counts.append(self.seen.count)

    trainer.callbacks.append(Counting())
    trainer.fit(*data, epochs=6, batch_size=SIZE)
    per_epoch = ROWS // SIZE
    assert max(counts[4:]) < per_epoch, "the results of a launch, and what single steps at the end need"


def test_f5_the_host_may_run_ahead_of_what_the_device_reads(cuda):
    cupy = pytest.importorskip("cupy")
    out, seen = cuda.zeros((2, 3)), cuda.zeros((4 * SLOTS, 2, 3))
    send, busy = cuda.sender(out), cupy.ones((2048, 2048), cupy.float32)
    for step in range(4 * SLOTS):
        busy = busy @ busy * 1e-4  # the device is behind the host
        send([[step] * 3, [0.1] * 3])
        seen[step] = out
    wanted = np.broadcast_to(np.arange(4 * SLOTS, dtype=np.float32)[:, None], (4 * SLOTS, 3))
    np.testing.assert_array_equal(seen.get()[:, 0], wanted)
    np.testing.assert_array_equal(seen.get()[:, 1], np.float32(0.1))


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
def test_a_deterministic_run_has_the_same_bits_twice_whatever_was_timed(precision, data, monkeypatch):
    ends = []
    for _ in range(2):
        step = new_step(fs.AdamW(1e-3, clip_norm=1.0), precision=precision, deterministic=True)
        with step.products():
            monkeypatch.setattr(step.backend.gemms, "_plans", {})  # products are chosen anew
        history = fs.Trainer(step).fit(*data, epochs=3, batch_size=SIZE)
        ends.append((bits(step), list(history.step_losses)))
    assert ends[0] == ends[1]


def test_what_a_graph_needs_for_itself_is_given_to_nobody_else(cuda):
    cupy = cuda.xp
    x, out = cuda.asarray(np.arange(4096, dtype=np.float32)), cuda.empty((4096,))

    def work():
        out[...] = (x * 2.0 + 1.0) * (x + 3.0)  # with three temporaries

    with cuda.apart():
        work()
        graph = cuda.capture(work)
        others = [cupy.full(4096, np.nan, cupy.float32) for _ in range(16)]
    out.fill(0.0)
    graph.launch()
    want = (np.arange(4096, dtype=np.float32) * 2.0 + 1.0) * (np.arange(4096, dtype=np.float32) + 3.0)
    np.testing.assert_array_equal(out.get(), want)
    assert all(bool(cupy.isnan(other).all()) for other in others)


def test_a_dropped_step_gives_its_memory_back(cuda, data):
    pool = cuda.xp.get_default_memory_pool()

    def run():
        step = new_step()
        fs.Trainer(step, shuffle="never").fit(*data, epochs=2, batch_size=SIZE)
        assert step.executor._plans, "it was captured"

    seen = []
    for _ in range(3):
        run()
        gc.collect()
        cuda.trim_memory()
        seen.append(pool.used_bytes())
    assert seen[1] == seen[2]


def test_small_steps_are_captured_without_a_word_of_warning(cuda, data, recwarn):
    step = new_step()
    fs.Trainer(step).fit(*data, epochs=2, batch_size=SIZE)
    # Of ours alone: other libraries may warn of each other while they compile.
    assert not [str(warning.message) for warning in recwarn if issubclass(warning.category, RuntimeWarning)]
    assert step.executor.refusal == ""


def test_after_a_step_that_was_broken_off_the_next_one_has_the_numbers_of_numpy(cuda, data, monkeypatch):
    x, y = data[0][:SIZE], data[1][:SIZE]
    steps = [
        fs.TrainStep(fs.mlp([COLUMNS, 512, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=1, backend=name)
        for name in ("numpy", cuda)
    ]
    update = type(cuda).update

    def broken(self, *_, **__):
        raise MemoryError("no more")

    for _ in range(2):  # call by call, then in the middle of a capture
        monkeypatch.setattr(type(cuda), "update", broken)
        with pytest.raises((MemoryError, fs.StateError)):
            steps[1](x, y)
        monkeypatch.setattr(type(cuda), "update", update)
        steps[1].state.t = steps[0].steps
        losses = [float(step(x, y)) for step in steps]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def table(rows, codes):
    """x with codes in two of four columns, and a label that only a row of the first matrix tells."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((rows, 4)).astype(np.float32)
    x[:, 1], x[:, 2] = rng.integers(0, codes, rows), rng.integers(0, 3, rows)
    return x, rng.integers(0, 3, codes)[x[:, 1].astype(int)]


@pytest.mark.parametrize("codes", [3, 50, 100_000])
@pytest.mark.parametrize("rows", [100, 5_000])
def test_g7_gradients_of_embeddings_are_those_on_numpy_and_have_the_same_bits_each_time(rows, codes):
    x, y = table(rows, codes)
    gradients = []
    for name in ("numpy", "cuda", "cuda", "cupy"):
        model = fs.mlp([4, 32, 3], categories={1: codes, 2: 3}, embedding_widths=[16, 2])
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=5, backend=name, deterministic=True)
        start, stop = step.ranges[model.layers[0].weight]
        float(step(x, y))
        gradients.append(step.backend.to_numpy(step.gradient)[start:stop])
    for other in gradients[1:]:
        np.testing.assert_allclose(other, gradients[0], rtol=1e-4, atol=1e-6)
    assert gradients[1].tobytes() == gradients[2].tobytes()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_g7_embeddings_are_captured_and_give_the_bits_of_single_steps(precision):
    x, y = table(2_000, 1_000)
    ends = []
    for per_launch in (16, 1):
        model = fs.mlp([4, 64, 3], categories={1: 1_000, 2: 3}, dropout=0.2)
        step = fs.TrainStep(
            model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=5, backend="cuda", precision=precision, deterministic=True
        )
        history = fs.Trainer(step, steps_per_launch=per_launch).fit(x, y, epochs=6, batch_size=50)
        ends.append((bits(step), list(history.step_losses)))
        assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert ends[0] == ends[1]
    x[0, 1] = 1_000
    with pytest.raises(fs.CategoryError, match="0 to 999"):
        float(step(x, y))
    with pytest.raises(fs.CategoryError, match="0 to 999"):
        step.model.predict(x)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["periodic", "piecewise"])
def test_g14_embeddings_of_numbers_are_captured_and_learn(kind, precision, data):
    x, y = data[0][:, :20], data[1]
    first = fs.PeriodicEmbedding(20) if kind == "periodic" else fs.PiecewiseLinearEmbedding.from_data(x)
    gradients, losses = [], []
    for name in ("numpy", "cuda"):
        model = fs.Sequential(first, fs.Linear(160, 64), fs.ReLU(), fs.Linear(64, 3))
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=5, backend=name)
        losses.append(float(step(x, y)))
        gradients.append(step.backend.to_numpy(step.gradient))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-3, atol=1e-5)
    model = fs.Sequential(first, fs.Linear(160, 64), fs.ReLU(), fs.Linear(64, 3))
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=5, backend="cuda", precision=precision)
    history = fs.Trainer(step).fit(x, y, epochs=10, batch_size=100)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", weight_cases.CASES)
def test_g2_whole_weights_are_repeated_rows(gpu_backend, name, reduction):
    x, y, repeated = weight_cases.X, weight_cases.CASES[name][1], weight_cases.REPEATED
    weighted, plain = (weight_cases.new_step(name, reduction, gpu_backend) for _ in range(2))
    for _ in range(4):
        loss, wanted = weighted(x, y, sample_weight=weight_cases.COUNTS), plain(x[repeated], y[repeated])
        assert float(loss) == pytest.approx(float(wanted), rel=1e-12)
    np.testing.assert_allclose(weight_cases.gradient(weighted), weight_cases.gradient(plain), rtol=1e-11, atol=1e-12)
    figures = weighted.evaluate(x, y, sample_weight=weight_cases.COUNTS)
    assert figures == pytest.approx(plain.evaluate(x[repeated], y[repeated]), rel=1e-11)


def test_g2_weights_in_launches_give_the_bits_of_single_steps(cuda):
    rng = np.random.default_rng(5)
    x, y, w = rng.standard_normal((4096, 16)), rng.integers(0, 3, 4096), rng.uniform(0.0, 2.0, 4096)
    runs = []
    for count in (None, 1):
        step = fs.TrainStep(fs.mlp([16, 32, 3]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=0, backend="cuda")
        history = fs.Trainer(step, steps_per_launch=count).fit(x, y, sample_weight=w, epochs=3, batch_size=64)
        runs.append((list(history.step_losses), weight_cases.parameters(step).tobytes()))
    assert runs[0] == runs[1]
