"""Steps that are captured once and replayed, in the simulator: the same bits as call by call, and what a graph forbids."""

import sys

import numpy as np
import pytest

numba_config = pytest.importorskip("numba.core.config")
if not numba_config.ENABLE_CUDASIM:
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

import fusedstep as fs  # noqa: E402
from fusedstep.backends import backend as find_backend  # noqa: E402
from fusedstep.tests.fakes.communicators import SecondOfTwo  # noqa: E402
from fusedstep.tests.fakes.cublaslt import Fault  # noqa: E402

ROWS, COLUMNS, CLASSES = 6, 5, 3
rng = np.random.default_rng(4)
BATCHES = [(rng.standard_normal((ROWS, COLUMNS)).astype("f4"), rng.integers(0, CLASSES, ROWS)) for _ in range(6)]
OPTIMIZERS = {
    "Adam, clipped": lambda: fs.Adam(1e-2, clip_norm=0.5),
    "AdamW": lambda: fs.AdamW(1e-2, weight_decay=0.1),
    "LAMB": lambda: fs.LAMB(1e-2),
    "look-ahead Nesterov": lambda: fs.Nesterov(0.05, form="look_ahead"),
}


def layers():
    return [fs.Linear(COLUMNS, 8), fs.ReLU(), fs.Dropout(0.3), fs.LayerNorm(8), fs.Linear(8, CLASSES)]


def new_step(optimizer=OPTIMIZERS["AdamW"], captured=True, chain=layers, **options):
    model = fs.Sequential(*chain())
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer(), seed=0, backend="cuda", **options)
    if not captured:
        step.executor.refusal = "this test wants it call by call"
    return step


def graphs(step):
    return [plan.graph for plan in step.executor._plans.values() if getattr(plan, "graph", None) is not None]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_replayed_step_gives_the_bits_of_one_that_is_not(name, precision):
    captured, plain = (new_step(OPTIMIZERS[name], way, precision=precision) for way in (True, False))
    for x, y in BATCHES:
        assert float(captured(x, y)) == float(plain(x, y))
    (graph,) = graphs(captured)
    assert graph.launches == len(BATCHES) - 2, "two steps warm up"
    assert captured.steps == plain.steps == len(BATCHES)
    assert captured.model.arena.values.tobytes() == plain.model.arena.values.tobytes()
    assert not graphs(plain)


def test_a_deterministic_step_is_captured_as_well():
    chain = lambda: [fs.Linear(COLUMNS, 8), fs.ReLU(), fs.Linear(8, CLASSES)]  # noqa: E731
    captured, plain = (new_step(captured=way, chain=chain, deterministic=True) for way in (True, False))
    for x, y in BATCHES[:4]:
        assert float(captured(x, y)) == float(plain(x, y))
    assert [graph.launches for graph in graphs(captured)] == [2]
    assert captured.model.arena.values.tobytes() == plain.model.arena.values.tobytes()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_g7_g14_embeddings_are_captured(precision):
    def chain():
        numbers = fs.PeriodicEmbedding(6, 2, 2, columns=[0, 1]), fs.PiecewiseLinearEmbedding(8, [[-1, 0, 1]], 3, [0])
        return [fs.ColumnEmbeddings(COLUMNS, {1: 300, 4: 2}, [2, 1]), *numbers, fs.Linear(10, CLASSES)]

    captured, plain = (new_step(captured=way, chain=chain, precision=precision) for way in (True, False))
    for number, (x, y) in enumerate(BATCHES):
        coded = x.copy()
        coded[:, 1], coded[:, 4] = np.arange(290 + number, 290 + number - ROWS, -1), y % 2
        assert float(captured(coded, y)) == float(plain(coded, y))
    assert [graph.launches for graph in graphs(captured)] == [len(BATCHES) - 2]
    assert captured.model.arena.values.tobytes() == plain.model.arena.values.tobytes()


def test_a_learning_rate_that_is_set_later_reaches_the_graph():
    captured, plain = new_step(), new_step(captured=False)
    for k, (x, y) in enumerate(BATCHES):
        captured.lr = plain.lr = 1e-2 / (k + 1)
        captured(x, y), plain(x, y)
    assert graphs(captured)
    assert captured.model.arena.values.tobytes() == plain.model.arena.values.tobytes()


def test_each_shape_has_a_graph_and_losses_outlive_the_next_step():
    step = new_step()
    losses = [step(x[:rows], y[:rows]) for x, y in BATCHES for rows in (ROWS, ROWS - 2)]
    assert [graph.launches for graph in graphs(step)] == [4, 4]
    plain = new_step(captured=False)
    assert [float(loss) for loss in losses] == [float(plain(x[:n], y[:n])) for x, y in BATCHES for n in (ROWS, ROWS - 2)]


def test_an_update_that_holds_pruned_weights_is_captured_anew():
    step, plain = new_step(), new_step(captured=False)
    for each in (step, plain):
        for x, y in BATCHES[:4]:
            each(x, y)
        fs.prune(each, 0.5)
        for x, y in BATCHES[:4]:
            each(x, y)
    first, second = graphs(step)
    assert (first.launches, second.launches) == (2, 2)
    assert step.model.arena.values.tobytes() == plain.model.arena.values.tobytes()


def test_a_minibatch_that_is_not_finite_changes_nothing_in_a_replay():
    step = new_step()
    for x, y in BATCHES[:4]:
        step(x, y)
    before = step.model.arena.values.tobytes()
    broken = BATCHES[4][0].copy()
    broken[2, 1] = np.inf
    with pytest.raises(fs.NonFiniteLossError):
        float(step(broken, BATCHES[4][1]))
    assert step.model.arena.values.tobytes() == before
    assert np.isfinite(float(step(*BATCHES[5])))


class Asking(fs.Tanh, public=False):
    """Asks for a value in the middle of a pass."""

    recordable = True

    def forward(self, x, tape):
        y = super().forward(x, tape)
        float(y[0, 0])
        return y


def test_a_question_to_the_device_is_a_fault_while_a_step_is_captured():
    step = new_step(chain=lambda: [fs.Linear(COLUMNS, 4), Asking(), fs.Linear(4, CLASSES)])
    step(*BATCHES[0]), step(*BATCHES[1])
    with pytest.raises(Fault, match="question"):
        step(*BATCHES[2])


def test_what_cannot_be_captured_runs_call_by_call_and_that_is_said_once(monkeypatch):
    monkeypatch.setattr(type(find_backend("cuda")), "capture_errors", (Fault,))
    chain = lambda: [fs.Linear(COLUMNS, 4), Asking(), fs.Linear(4, CLASSES)]  # noqa: E731
    captured, plain = new_step(chain=chain), new_step(captured=False, chain=chain)
    for k, (x, y) in enumerate(BATCHES):
        if k == 2:
            with pytest.warns(RuntimeWarning, match="call by call"):
                loss = float(captured(x, y))
        else:
            loss = float(captured(x, y))
        assert loss == float(plain(x, y))
    assert not graphs(captured)
    assert "Fault" in captured.executor.refusal
    assert captured.steps == len(BATCHES)


class Own(fs.Tanh, public=False):
    """Does not promise that it may be recorded."""


def test_layers_that_do_not_promise_to_be_recordable_are_not_captured():
    step = new_step(chain=lambda: [fs.Linear(COLUMNS, 4), Own(), fs.Linear(4, CLASSES)])
    for x, y in BATCHES[:4]:
        step(x, y)
    assert not graphs(step)


def test_the_trainer_replays():
    x, y = (np.concatenate(parts) for parts in zip(*BATCHES, strict=True))
    captured, plain = new_step(), new_step(captured=False)
    histories = [fs.Trainer(s, steps_per_launch=1).fit(x, y, epochs=2, batch_size=ROWS) for s in (captured, plain)]
    assert histories[0]["loss"] == histories[1]["loss"]
    (graph,) = graphs(captured)
    assert graph.launches == 2 * len(BATCHES) - 2


def test_no_module_of_the_device_is_loaded():
    assert "cupy" not in sys.modules


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_sum_over_processes_is_captured_with_the_step(precision):
    """Rows of one of two processes, whose other one adds nothing: the same bits as call by call, without a micro-batch."""
    captured, plain = (
        new_step(captured=way, precision=precision, parallel=SecondOfTwo()) for way in (True, False)
    )
    for x, y in BATCHES:
        assert float(captured(x, y)) == float(plain(x, y))
    (graph,) = graphs(captured)
    assert graph.launches == len(BATCHES) - 2
    assert captured.model.arena.values.tobytes() == plain.model.arena.values.tobytes()
    assert captured.communicator.sums == 2 * 3, "of losses and gradient, in two steps that warm up and during capture"
    alone = new_step(precision=precision)
    alone(*BATCHES[0])
    assert alone.model.arena.values.tobytes() != captured.model.arena.values.tobytes()
