"""Files and copies that are made while another thread trains hold the parameters after one step, never a mix of two."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.engine.snapshot import Snapshot
from fusedstep.framework.export.persistence import load_with_metadata

BACKENDS = ("numpy", "numba")
STEPS, COPIES = 200, 40
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((STEPS * 16, 24)).astype("f4"), RNG.integers(0, 3, STEPS * 16)


def new_step(backend, widths=(24, 96, 96, 3), **settings):
    fs.set_num_threads(2)
    return fs.TrainStep(fs.mlp(widths), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1, backend=backend, **settings)


def fit(step):
    """One epoch, on numba by launches of many steps."""
    fs.Trainer(step, shuffle="never").fit(X, Y, epochs=1, batch_size=16)


def one_by_one(step):
    for start in range(0, len(X), 16):
        step(X[start : start + 16], Y[start : start + 16])


def content(model):
    """The bits of all parameters."""
    values, _ = model.host_copies()
    return b"".join(values[name].tobytes() for name in sorted(values))


@pytest.fixture(scope="module", params=BACKENDS)
def known(request):
    """(backend, content after each number of steps), of a training without company."""
    step = new_step(request.param)
    found = {content(step.model): 0}
    for start in range(0, len(X), 16):
        step(X[start : start + 16], Y[start : start + 16])
        found[content(step.model)] = step.steps
    return request.param, found


@contextmanager
def training(train, step):
    """Within it another thread trains; gives a function that tells whether it still does."""
    wrong = []

    def work():
        try:
            train(step)
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield thread.is_alive
    thread.join()
    assert wrong == []


def save_and_load(step, path):
    fs.save(step.model, path)
    return content(fs.load(path, backend=step.backend))


WAYS = {
    "save": save_and_load,
    "model.save": lambda step, path: (step.model.save(path), content(fs.load(path, backend=step.backend)))[1],
    "copy": lambda step, _: content(copy.deepcopy(step.model)),
    "pickle": lambda step, _: content(pickle.loads(pickle.dumps(step.model))),
}


@pytest.mark.parametrize(
    ("train", "way"), [(fit, "save"), (one_by_one, "save"), (fit, "model.save"), (one_by_one, "copy"), (fit, "pickle")]
)
def test_a_copy_while_another_thread_trains_is_of_one_step(known, train, way, tmp_path):
    backend, states = known
    seen = []
    while len(seen) < COPIES:
        step = new_step(backend)
        with training(train, step) as alive:
            while alive():
                seen.append(WAYS[way](step, tmp_path / "model"))
        assert content(step.model) == next(reversed(states)), "the training itself is not changed"
    assert {states.get(one, "a mix") for one in seen} <= set(range(STEPS + 1))


@pytest.mark.parametrize(
    ("train", "way"), [(fit, copy.deepcopy), (one_by_one, lambda step: pickle.loads(pickle.dumps(step)))], ids=["fit", "steps"]
)
def test_a_copied_step_has_parameters_and_state_of_the_same_step(known, train, way):
    backend, states = known
    seen = []
    while len(seen) < COPIES:
        step = new_step(backend)
        with training(train, step) as alive:
            while alive():
                seen.append(way(step))
    for one in seen[:: len(seen) // 10]:
        done = one.steps
        assert states[content(one.model)] == done
        if done < STEPS:
            rows = slice(16 * done, 16 * (done + 1))
            one(X[rows], Y[rows])
            assert states[content(one.model)] == done + 1


def test_an_ensemble_is_saved_between_steps(tmp_path):
    bagging = fs.Bagging(lambda width: fs.mlp([width, 64, 3]), fs.SoftmaxCrossEntropy(), 2, n_jobs=1, backend="numba")
    bagging.fit(X[:64], Y[:64], epochs=1)
    model = bagging.members[0].model
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=1)
    states = {content(model)}

    def train(step):
        for start in range(0, len(X), 16):
            step(X[start : start + 16], Y[start : start + 16])
            states.add(content(model))

    saved = []
    with training(train, step) as alive:
        while alive():
            bagging.save(tmp_path / "bag")
            saved.append(content(fs.Bagging.load(tmp_path / "bag", "numba").members[0].model))
    assert set(saved) <= states


def test_a_minimisation_is_saved_between_its_iterations(tmp_path):
    model = fs.mlp([24, 16, 3]).initialize(0, "numpy", "float64")
    states, saved = {content(model)}, []

    def minimize(model):
        fs.minimize(
            model, fs.SoftmaxCrossEntropy(), X[:256], Y[:256], fs.LBFGS(), iterations=60,
            callback=lambda _: states.add(content(model)),
        )  # fmt: skip
        states.add(content(model))

    with training(minimize, model) as alive:
        while alive():
            fs.save(model, tmp_path / "model")
            saved.append(content(fs.load(tmp_path / "model", backend="numpy", dtype="float64")))
    assert set(saved) <= states


def test_the_short_form_writes_the_same_file(tmp_path):
    model = fs.mlp([24, 3], activation="tanh").initialize(3)
    fs.save(model, tmp_path / "long", notes={"a": 1})
    model.save(tmp_path / "short", notes={"a": 1})
    long, short = (load_with_metadata(tmp_path / name) for name in ("long", "short"))
    assert content(long[0]) == content(short[0]) == content(model)
    assert long[1] == short[1]


# Who waits for whom

def visited(visit):
    """A step that calls a function while it is under way."""
    step = new_step("numpy", (24, 8, 3))
    run = step.executor.run

    def visited_run(*arguments):
        visit()
        return run(*arguments)

    step.executor.run = visited_run
    return step


INSIDE = {
    "save": lambda model, path: fs.save(model, path / "model"),
    "copy": lambda model, _: copy.deepcopy(model),
    "load_parameters": lambda model, _: model.load_parameters(model.parameters()),
    "load_masks": lambda model, _: model.load_masks({"0.Linear.weight": np.ones((24, 8))}),
    "to": lambda model, _: model.to("numpy"),
}


@pytest.mark.parametrize("way", INSIDE)
def test_inside_a_step_it_is_refused(tmp_path, way):
    step = visited(lambda: INSIDE[way](step.model, tmp_path))
    before = content(step.model)
    with pytest.raises(fs.StateError, match="between two steps; got a call from inside a step"):
        step(X[:16], Y[:16])
    assert content(step.model) == before
    assert os.listdir(tmp_path) == []
    INSIDE[way](step.model, tmp_path)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="sends a signal after some time")
def test_inside_a_step_it_is_refused_to_signal_handlers_too(tmp_path):
    told = []

    def handler(*_):
        try:
            fs.save(step.model, tmp_path / "model")
            told.append("saved")
        except fs.StateError as error:
            told.append(str(error))

    step = visited(lambda: signal.raise_signal(signal.SIGALRM))
    before = signal.signal(signal.SIGALRM, handler)
    try:
        step(X[:16], Y[:16])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(told) == 1
    assert "signal handler" in told[0]


def test_callbacks_save_after_steps_launches_and_epochs(known, tmp_path):
    (backend, states), seen, rows = known, [], 20 * 16

    class Launches(fs.Callback):
        def on_launch_end(self, trainer, done, total):
            seen.append(save_and_load(trainer.step, tmp_path / "model"))

        def on_epoch_end(self, trainer, row):
            seen.append(save_and_load(trainer.step, tmp_path / "model"))

    class Steps(Launches):
        def on_step_end(self, trainer, done, total):
            seen.append(save_and_load(trainer.step, tmp_path / "model"))

    for kind in (Launches, Steps):
        fs.Trainer(new_step(backend), [kind()], shuffle="never").fit(X[:rows], Y[:rows], epochs=1, batch_size=16)
    assert {states.get(one, "a mix") for one in seen} >= {1, 2, 19, 20}
    assert "a mix" not in {states.get(one, "a mix") for one in seen}


def test_it_waits_for_the_step_at_hand(tmp_path):
    entered, leave, order = threading.Event(), threading.Event(), []

    def visit():
        entered.set()
        leave.wait(30)
        order.append("step")

    step = visited(visit)
    before = content(step.model)
    with training(lambda step: step(X[:16], Y[:16]), step):
        entered.wait(30)
        saving = threading.Thread(target=lambda: (fs.save(step.model, tmp_path / "model"), order.append("saved")))
        saving.start()
        saving.join(0.1)
        assert order == []
        leave.set()
        saving.join()
    assert order == ["step", "saved"]
    assert content(fs.load(tmp_path / "model", backend="numpy")) == content(step.model) != before


def test_parameters_are_restored_when_nobody_reads_them():
    step, order, entered, leave = new_step("numpy"), [], threading.Event(), threading.Event()
    snapshot = Snapshot(step)

    def read(step):
        with step.model.arena.between_steps():
            entered.set()
            leave.wait(30)
            order.append("read")

    with training(read, step):
        entered.wait(30)
        restoring = threading.Thread(target=lambda: (snapshot.put_back(), order.append("restored")))
        restoring.start()
        restoring.join(0.1)
        leave.set()
        restoring.join()
    assert order == ["read", "restored"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_however_short_the_steps_are_it_comes_soon(backend):
    """Only the step at hand is waited for, and perhaps the next one, which had begun before."""
    step, waits = new_step(backend, (24, 3)), []

    def train(step):
        for _ in range(10):
            one_by_one(step)

    with training(train, step) as alive:
        while alive() and len(waits) < 200:
            before = step.steps
            with step.model.arena.between_steps():
                waits.append(step.steps - before)
            time.sleep(1e-4)
    assert sorted(waits)[len(waits) // 2] <= 3


def test_after_an_error_or_interrupt_in_a_step_the_parameters_are_free(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    step = visited(interrupt)
    for run in (lambda: step(X[:16], Y[:16]), lambda: step.profile(X[:16], Y[:16])):
        with pytest.raises(KeyboardInterrupt):
            run()
        fs.save(step.model, tmp_path / "model")
        saving = threading.Thread(target=lambda: fs.save(step.model, tmp_path / "other"))
        saving.start()
        saving.join(10)
        assert not saving.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("reads", [False, True], ids=["in a step", "while it saves"])
def test_a_child_that_is_forked_meanwhile_does_not_wait_for_ever(tmp_path, reads):
    entered, leave = threading.Event(), threading.Event()

    def visit():
        entered.set()
        leave.wait(30)

    step = visited(lambda: None if reads else visit())

    def read(step):
        with step.model.arena.between_steps():
            visit()

    with training(read if reads else lambda step: step(X[:16], Y[:16]), step):
        entered.wait(30)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                fs.save(step.model, tmp_path / "model")
                step(X[:16], Y[:16])
                os._exit(0)
            except fs.StateError as error:
                os._exit(1 if "forked" in str(error) else 2)
            finally:
                os._exit(3)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        leave.set()
    assert status == (0 if reads else 1)
