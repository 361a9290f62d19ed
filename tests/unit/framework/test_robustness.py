"""What a review found once: threads, copies, layers used twice, NaN where it could hide, caches, interrupts."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import backend

BACKENDS = ["numpy", "numba"]
rng = np.random.default_rng(5)
X, Y = rng.standard_normal((200, 6)).astype(np.float32), rng.integers(0, 3, 200)


def step_for(run: str, **options) -> fs.TrainStep:
    return fs.TrainStep(fs.mlp([6, 16, 3], **options), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=0, backend=run)


@pytest.mark.parametrize("run", BACKENDS)
def test_predictions_from_many_threads(run: str) -> None:
    model = fs.mlp([6, 32, 3]).initialize(backend=run)
    parts = [rng.standard_normal((100, 6)).astype(np.float32) for _ in range(4)]
    expected = [np.array(model(part)) for part in parts]
    wrong: list[int] = []

    def ask(k: int) -> None:
        wrong.extend(k for _ in range(40) if not np.array_equal(model(parts[k]), expected[k]))

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_training_in_many_threads_is_bit_identical() -> None:
    alone = step_for("numba")
    for _ in range(20):
        alone(X, Y)
    steps = [step_for("numba") for _ in range(3)]

    def train(step: fs.TrainStep) -> None:
        for _ in range(20):
            step(X, Y)

    threads = [threading.Thread(target=train, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step in steps:
        np.testing.assert_array_equal(step.model.arena.values, alone.model.arena.values)


def test_blas_keeps_the_users_number_of_threads() -> None:
    from threadpoolctl import threadpool_info, threadpool_limits

    def counts() -> list[int]:
        return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

    with threadpool_limits(2, "blas"):
        before = counts()
        assert 2 in before
        step_for("numba")(X, Y)
        assert counts() == before


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_of_models(make) -> None:
    encoder = fs.Linear(6, 4)
    inner = fs.Residual(fs.Linear(4, 4), fs.GELU(), fs.Dropout(0.2))
    model = fs.Sequential(encoder, fs.ELU(), inner, fs.TiedLinear(encoder)).initialize(3, "numba")
    twin = make(model)
    np.testing.assert_array_equal(twin(X), model(X))
    twin.parameters()["0.Linear.weight"][...] = 0.0
    assert not np.array_equal(twin(X), model(X))
    assert len(list(twin.declared())) == len(list(model.declared()))
    fs.TrainStep(twin, fs.MSE(), fs.SGD(0.01))(X, X)
    assert not make(fs.mlp([2, 2])).initialized


@pytest.mark.parametrize("first", ["Linear", "PReLU"])
def test_a_layer_used_twice(first: str) -> None:
    layer = fs.Linear(6, 6) if first == "Linear" else fs.PReLU(6)
    model = fs.Sequential(layer, fs.LayerNorm(6), layer)
    assert len(list(model.declared())) == len(list(layer.declared())) + 2
    assert fs.gradient_check(model, None, X[:5].astype(np.float64)).passed


def test_the_gradient_check_does_not_pass_nan() -> None:
    class Broken(fs.Linear, public=False):
        def backward(self, dy, tape, needs_input=True):
            dx = super().backward(dy, tape, needs_input)
            tape.gradient(self.bias)[0][...] = np.nan
            return dx

    report = fs.gradient_check(fs.Sequential(Broken(6, 2)), None, X[:4])
    assert not report.passed
    assert math.isnan(report.worst)
    with pytest.raises(fs.HyperparameterError, match="samples"):
        fs.gradient_check(fs.Linear(6, 2), None, X[:4], samples=0)


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("loss", [fs.BinaryCrossEntropy(), fs.Hinge()])
def test_several_yes_or_no_questions(run: str, loss: fs.Loss) -> None:
    answers = (X[:, :3] > 0).astype(np.float32)
    model = fs.Sequential(fs.Linear(6, 3))
    step = fs.TrainStep(model, loss, fs.Adam(0.05), backend=run)
    for _ in range(150):
        step(X, answers)
    predicted = np.asarray(model.predict(X))
    assert predicted.shape == (200, 3)
    assert (predicted == answers).mean() > 0.95
    assert step.evaluate(X, answers)["accuracy"] == pytest.approx((predicted == answers).mean())
    if isinstance(loss, fs.BinaryCrossEntropy):
        assert np.asarray(model.predict_proba(X)).shape == (200, 3)


@pytest.mark.parametrize("run", [*BACKENDS, "base"])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_hinge_and_maxout_do_not_hide_nan(run: str, column: int) -> None:
    chosen = fs.Backend(np) if run == "base" else backend(run)
    scores = np.array([[0.3, -1.0, 5.0]])
    scores[0, column] = np.nan
    losses, gradient = chosen.zeros((1,), "float64"), chosen.zeros((1, 3), "float64")
    for label in (0, 1, 2):
        chosen.rows("multi_class_hinge", scores, chosen.asarray([label], "int32"), 1.0, losses, gradient)
        assert np.isnan(losses[0])
    out, winner = chosen.zeros((1, 1), "float64"), chosen.empty((1, 1), "uint8")
    chosen.rows("maxout", scores, out, winner)
    assert np.isnan(out[0, 0])


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("call", ["predict", "predict_proba", "evaluate"])
def test_predictions_of_nan_are_refused(run: str, call: str) -> None:
    step = step_for(run)
    bad = X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(fs.NonFiniteDataError, match="1 "):
        step.evaluate(bad, Y) if call == "evaluate" else getattr(step.model, call)(bad)
    step.model.parameters()["0.Linear.bias"][...] = np.inf
    with pytest.raises(fs.NonFiniteDataError, match="parameters"):
        step.model.predict(X)


@pytest.mark.parametrize("run", BACKENDS)
def test_numbers_too_large_for_float32(run: str) -> None:
    bad = X.astype(np.float64)
    bad[3, 1] = 1e200
    with pytest.raises(fs.NonFiniteDataError, match="float32 can square"):
        fs.Trainer(step_for(run)).fit(bad, Y)


@pytest.mark.parametrize("run", BACKENDS)
def test_an_interrupt_leaves_the_parameters(run: str) -> None:
    class Interrupting(fs.MSE, frozen=False):
        broken = False

        def evaluate(self, y, targets, tape):
            if self.broken:
                raise KeyboardInterrupt
            return super().evaluate(y, targets, tape)

    loss = Interrupting()
    step = fs.TrainStep(fs.mlp([6, 8, 1]), loss, fs.Nesterov(0.01, form="look_ahead"), backend=run)
    step(X, X[:, :1])
    step(X, X[:, :1])
    before = np.array(step.model.arena.values)
    loss.broken = True
    with pytest.raises(KeyboardInterrupt):
        step(X, X[:, :1])
    np.testing.assert_array_equal(step.model.arena.values, before)
    assert step.steps == 2


def test_early_stopping_with_nan_first() -> None:
    stop = fs.EarlyStopping(patience=2, restore_best=False)
    stopped: list[str] = []

    class Fake:
        step = step_for("numpy")

        def stop(self, reason: str) -> None:
            stopped.append(reason)

    for epoch, value in enumerate([math.nan, 1.0, 0.5, 0.4], 1):
        stop.on_epoch_end(Fake(), {"epoch": epoch, "val_loss": value})
    assert not stopped
    assert (stop.best, stop.best_epoch) == (0.4, 4)


def test_a_wrong_monitor_is_refused_before_training() -> None:
    step = step_for("numpy")
    with pytest.raises(fs.HyperparameterError, match="validation="):
        fs.Trainer(step, [fs.EarlyStopping(3)]).fit(X, Y)
    assert step.steps == 0


def test_every_callback_that_began_also_ends() -> None:
    ended: list[str] = []

    class Good(fs.Callback):
        def on_fit_end(self, trainer):
            ended.append("good")

    class Bad(fs.Callback):
        def on_fit_begin(self, trainer):
            raise RuntimeError("no")

    class AlsoBad(fs.Callback):
        def on_fit_end(self, trainer):
            raise RuntimeError("at the end")

    with pytest.raises(RuntimeError, match="no"):
        fs.Trainer(step_for("numpy"), [Good(), Bad()]).fit(X, Y, epochs=1)
    with pytest.raises(RuntimeError, match="at the end"):
        fs.Trainer(step_for("numpy"), [Good(), AlsoBad()]).fit(X, Y, epochs=1)
    assert ended == ["good", "good"]


def test_a_new_loss_sets_how_predictions_are_read() -> None:
    model = fs.mlp([6, 3])
    fs.TrainStep(model, fs.MSE(), fs.SGD(0.1), backend="numpy")
    assert np.asarray(model.predict(X)).shape == (200, 3)
    fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numpy")
    assert np.asarray(model.predict(X)).shape == (200,)
    given = fs.Sequential(fs.Linear(6, 3), head="values")
    fs.TrainStep(given, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numpy")
    assert given.head == "values"


@pytest.mark.parametrize("run", BACKENDS)
def test_r2_of_a_constant_target_is_undefined(run: str) -> None:
    step = fs.TrainStep(fs.mlp([6, 1]), fs.MSE(), fs.SGD(0.1), backend=run)
    assert math.isnan(step.evaluate(X, np.full(200, 0.1))["r2"])


@pytest.mark.parametrize("run", BACKENDS)
def test_evaluation_of_a_diverged_model_does_not_warn(run: str) -> None:
    step = step_for(run)
    step.model.parameters()["0.Linear.weight"][...] = 1e30
    assert not step.evaluate(X, Y)["loss"] < 1e9


@pytest.mark.parametrize("loss", [fs.KLDivergence(), fs.SymmetricKL(), fs.Bhattacharyya()])
def test_divergences_ask_for_a_softmax(loss: fs.Loss) -> None:
    model = fs.mlp([6, 3])
    with pytest.raises(fs.HyperparameterError, match="Softmax"):
        fs.TrainStep(model, loss, fs.SGD(0.1))
    assert not model.initialized


def test_the_loss_of_a_step_is_a_number() -> None:
    step = step_for("numpy")
    losses = [step(X, Y) for _ in range(3)]
    assert losses[2] < losses[0] < 100
    assert losses[0] >= losses[2]
    assert losses[0] > 0 <= losses[1]
    assert sum(losses) == pytest.approx(sum(map(float, losses)))
    first, second = map(float, losses[:2])
    assert losses[0] - losses[1] == losses[0] - second == first - losses[1] == first - second
    assert losses[0] * 2 == 2 * losses[0] == 2.0 * first
    assert losses[0] / 4 == first / 4
    assert (round(losses[0], 2), round(losses[0])) == (round(first, 2), round(first))
    assert losses[0].item() == first == losses[0] != losses[1]
    assert losses[0] != "a loss"
    assert len({losses[0], first}) == 1
    assert f"{losses[0]:.3f}" == f"{float(losses[0]):.3f}"


PROGRAM = """
import sys
import fusedstep.kernels.formulas.random as random
random.ROUNDS = int(sys.argv[1])
from fusedstep.backends import Random, backend
run = backend("numba")
from fusedstep.kernels.formulas.random import uniform
out = run.empty((3, 5), "float32")
run.map(uniform, out, 0.0, 1.0, random=Random(run.random_state(1), 2))
print(out.ravel()[:3].tolist(), run.random_bits(1, 3, Random(run.random_state(1), 2)).tolist())
"""


def test_kept_kernels_follow_a_change_of_what_they_call(tmp_path) -> None:
    environment = {**os.environ, "FUSEDSTEP_CACHE_DIR": str(tmp_path / "kernels")}

    def run(rounds: int) -> str:
        command = [sys.executable, "-c", PROGRAM, str(rounds)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path).stdout

    ten = run(10)
    assert run(7) != ten
    assert run(10) == ten
    assert any((tmp_path / "kernels").glob("*uniform*.o"))


@pytest.mark.parametrize("place", ["", "relative", "/proc/nowhere"])
def test_any_cache_folder_will_do(place: str, tmp_path) -> None:
    program = "import os\nos.environ.get('X') or os.chdir('/')\n" + PROGRAM
    environment = {**os.environ, "FUSEDSTEP_CACHE_DIR": place}
    command = [sys.executable, "-c", program, "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**environment, "X": "1"}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("make", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["deepcopy", "pickle"])
def test_a_copied_trainer_goes_on_as_the_first_does(run: str, make) -> None:
    trainer = fs.Trainer(step_for(run), [fs.EarlyStopping(3), fs.LayerStatistics()], schedule=fs.StepDecay(every=1))
    trainer.fit(X, Y, validation=(X, Y), epochs=2)
    other = make(trainer)
    assert float(other.last_loss) == float(trainer.last_loss)
    first, second = (each.fit(X, Y, validation=(X, Y), epochs=2)["val_loss"] for each in (trainer, other))
    assert first == second


def test_a_column_that_the_history_lacks() -> None:
    history = fs.Trainer(step_for("numpy")).fit(X, Y, epochs=3)
    for ask in (history.best, lambda: history["val_loss"]):
        with pytest.raises(fs.UnknownColumn, match=r"columns epoch, loss, lr.*; got 'val_loss'; pass validation=") as caught:
            ask()
        assert isinstance(caught.value, KeyError)
    assert history.best("loss") == history[-1]
    assert history[1:] == history.rows[1:]


def test_a_copied_loss_that_was_not_finite_says_so_again() -> None:
    def broken(what: str) -> fs.NonFiniteLossError:
        return fs.NonFiniteLossError(what, 3, "the input data")

    for total, squares in ((math.inf, 1.0), (1.0, math.nan)):
        loss = pickle.loads(pickle.dumps(fs.StepLoss(total, squares, 1.0, float, broken)))
        with pytest.raises(fs.NonFiniteLossError, match="expected a finite loss"):
            float(loss)
